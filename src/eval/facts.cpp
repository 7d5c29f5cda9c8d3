#include "eval/facts.h"

namespace sparing {
namespace {

// clang-format off
constexpr Fact kCapitals[] = {
    {"France", "Paris"}, {"Italy", "Rome"}, {"Spain", "Madrid"}, {"Germany", "Berlin"}, {"England", "London"},
    {"Portugal", "Lisbon"}, {"Greece", "Athens"}, {"Austria", "Vienna"}, {"Hungary", "Budapest"}, {"Poland", "Warsaw"},
    {"Russia", "Moscow"}, {"China", "Beijing"}, {"Japan", "Tokyo"}, {"Egypt", "Cairo"}, {"Turkey", "Ankara"},
    {"Cuba", "Havana"}, {"Peru", "Lima"}, {"Chile", "Santiago"}, {"Kenya", "Nairobi"}, {"Norway", "Oslo"},
    {"Sweden", "Stockholm"}, {"Finland", "Helsinki"}, {"Denmark", "Copenhagen"}, {"Ireland", "Dublin"},
    {"Scotland", "Edinburgh"}, {"Canada", "Ottawa"}, {"Australia", "Canberra"}, {"Thailand", "Bangkok"},
    {"Iraq", "Baghdad"}, {"Iran", "Tehran"}, {"Syria", "Damascus"}, {"Argentina", "Buenos Aires"},
    {"Venezuela", "Caracas"}, {"Colombia", "Bogota"}, {"Belgium", "Brussels"}, {"Ukraine", "Kyiv"},
    {"Romania", "Bucharest"}, {"Bulgaria", "Sofia"}, {"South Korea", "Seoul"}, {"Vietnam", "Hanoi"},
};
constexpr Fact kSymbols[] = {
    {"hydrogen", "H"}, {"helium", "He"}, {"carbon", "C"}, {"nitrogen", "N"}, {"oxygen", "O"}, {"sodium", "Na"},
    {"magnesium", "Mg"}, {"aluminum", "Al"}, {"silicon", "Si"}, {"sulfur", "S"}, {"chlorine", "Cl"}, {"potassium", "K"},
    {"calcium", "Ca"}, {"iron", "Fe"}, {"copper", "Cu"}, {"zinc", "Zn"}, {"silver", "Ag"}, {"tin", "Sn"},
    {"gold", "Au"}, {"mercury", "Hg"}, {"lead", "Pb"}, {"uranium", "U"},
};
constexpr Fact kOpposites[] = {
    {"hot", "cold"}, {"big", "small"}, {"fast", "slow"}, {"up", "down"}, {"left", "right"}, {"good", "bad"},
    {"light", "dark"}, {"happy", "sad"}, {"rich", "poor"}, {"young", "old"}, {"early", "late"}, {"open", "closed"},
    {"hard", "soft"}, {"wet", "dry"}, {"strong", "weak"}, {"high", "low"}, {"long", "short"}, {"near", "far"},
    {"full", "empty"}, {"clean", "dirty"}, {"loud", "quiet"}, {"thick", "thin"}, {"true", "false"}, {"win", "lose"},
    {"buy", "sell"}, {"love", "hate"}, {"begin", "end"}, {"push", "pull"}, {"north", "south"}, {"east", "west"},
    {"inside", "outside"}, {"sweet", "bitter"}, {"sharp", "blunt"}, {"war", "peace"}, {"friend", "enemy"},
    {"heavy", "light"}, {"brave", "cowardly"}, {"ancient", "modern"}, {"above", "below"}, {"accept", "reject"},
};
constexpr Fact kLanguages[] = {
    {"France", "French"}, {"Germany", "German"}, {"Spain", "Spanish"}, {"Italy", "Italian"}, {"Japan", "Japanese"},
    {"Russia", "Russian"}, {"Portugal", "Portuguese"}, {"Greece", "Greek"}, {"Poland", "Polish"}, {"Sweden", "Swedish"},
    {"Denmark", "Danish"}, {"Finland", "Finnish"}, {"Hungary", "Hungarian"}, {"Turkey", "Turkish"},
    {"Israel", "Hebrew"}, {"Egypt", "Arabic"}, {"Iran", "Persian"}, {"Korea", "Korean"}, {"Thailand", "Thai"},
    {"Norway", "Norwegian"},
};
constexpr Fact kContinents[] = {
    {"France", "Europe"}, {"Germany", "Europe"}, {"Italy", "Europe"}, {"Poland", "Europe"}, {"Sweden", "Europe"},
    {"China", "Asia"}, {"India", "Asia"}, {"Japan", "Asia"}, {"Vietnam", "Asia"}, {"Thailand", "Asia"},
    {"Egypt", "Africa"}, {"Kenya", "Africa"}, {"Nigeria", "Africa"}, {"Morocco", "Africa"}, {"Ethiopia", "Africa"},
    {"Brazil", "South America"}, {"Peru", "South America"}, {"Chile", "South America"}, {"Bolivia", "South America"},
    {"Canada", "North America"}, {"Mexico", "North America"}, {"Guatemala", "North America"},
};
constexpr Fact kYoung[] = {
    {"dog", "puppy"}, {"cat", "kitten"}, {"cow", "calf"}, {"sheep", "lamb"}, {"horse", "foal"}, {"pig", "piglet"},
    {"goat", "kid"}, {"bear", "cub"}, {"duck", "duckling"}, {"goose", "gosling"}, {"frog", "tadpole"},
    {"deer", "fawn"}, {"hen", "chick"}, {"kangaroo", "joey"}, {"swan", "cygnet"}, {"butterfly", "caterpillar"},
};
constexpr Fact kPast[] = {
    {"go", "went"}, {"see", "saw"}, {"eat", "ate"}, {"take", "took"}, {"give", "gave"}, {"run", "ran"},
    {"write", "wrote"}, {"speak", "spoke"}, {"break", "broke"}, {"think", "thought"}, {"buy", "bought"},
    {"bring", "brought"}, {"catch", "caught"}, {"teach", "taught"}, {"fly", "flew"}, {"know", "knew"},
    {"grow", "grew"}, {"throw", "threw"}, {"swim", "swam"}, {"sing", "sang"}, {"drink", "drank"}, {"begin", "began"},
    {"sleep", "slept"}, {"feel", "felt"}, {"leave", "left"}, {"lose", "lost"}, {"send", "sent"}, {"build", "built"},
    {"tell", "told"}, {"sell", "sold"}, {"find", "found"}, {"hold", "held"}, {"sit", "sat"}, {"stand", "stood"},
    {"win", "won"}, {"fall", "fell"}, {"drive", "drove"}, {"ride", "rode"}, {"choose", "chose"}, {"wear", "wore"},
};
constexpr Fact kTrades[] = {
    {"teaches children in a school", "teacher"}, {"bakes bread", "baker"}, {"catches fish", "fisherman"},
    {"grows crops", "farmer"}, {"flies airplanes", "pilot"}, {"puts out fires", "firefighter"},
    {"repairs teeth", "dentist"}, {"writes books", "author"}, {"paints pictures", "painter"},
    {"designs buildings", "architect"}, {"makes clothes", "tailor"}, {"cuts hair", "barber"},
    {"sells meat", "butcher"}, {"studies the stars", "astronomer"}, {"treats sick animals", "veterinarian"},
    {"repairs water pipes", "plumber"}, {"plays in an orchestra", "musician"}, {"argues cases in court", "lawyer"},
    {"digs for coal", "miner"}, {"cooks in a restaurant", "chef"},
};
constexpr Fact kWorks[] = {
    {"Hamlet", "William Shakespeare"}, {"Pride and Prejudice", "Jane Austen"}, {"Oliver Twist", "Charles Dickens"},
    {"War and Peace", "Leo Tolstoy"}, {"Don Quixote", "Miguel de Cervantes"}, {"The Odyssey", "Homer"},
    {"Crime and Punishment", "Fyodor Dostoevsky"}, {"Moby Dick", "Herman Melville"}, {"The Divine Comedy", "Dante"},
    {"The Metamorphosis", "Franz Kafka"}, {"Frankenstein", "Mary Shelley"}, {"Dracula", "Bram Stoker"},
    {"Faust", "Goethe"}, {"Les Miserables", "Victor Hugo"}, {"Paradise Lost", "John Milton"},
    {"Treasure Island", "Robert Louis Stevenson"},
};
constexpr Fact kFound[] = {
    {"gravity", "Isaac Newton"}, {"relativity", "Albert Einstein"}, {"evolution", "Charles Darwin"},
    {"radioactivity", "Marie Curie"}, {"penicillin", "Alexander Fleming"}, {"vaccination", "Edward Jenner"},
    {"the laws of planetary motion", "Johannes Kepler"}, {"the telephone", "Alexander Graham Bell"},
    {"the light bulb", "Thomas Edison"}, {"dynamite", "Alfred Nobel"}, {"the printing press", "Johannes Gutenberg"},
    {"the steam engine", "James Watt"},
};

constexpr Relation kRelations[] = {
    {"capitals", "The capital of ", " is", kCapitals},
    {"symbols", "The chemical symbol of ", " is", kSymbols},
    {"opposites", "The opposite of ", " is", kOpposites},
    {"languages", "The language that most people speak in ", " is", kLanguages},
    {"continents", "The country ", " lies in", kContinents},
    {"young", "The young of a ", " is called a", kYoung},
    {"past", "The past tense of ", " is", kPast},
    {"trades", "A person who ", " is called a", kTrades},
    {"works", "The author of ", " is", kWorks},
    {"discoveries", "The name that is linked most with ", " is", kFound},
};
// clang-format on

}  // namespace

std::span<const Relation> all_relations() {
  return kRelations;
}

}  // namespace sparing
