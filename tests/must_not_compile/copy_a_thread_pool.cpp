// There is one pool per process; it goes by reference.
// expected: (use of deleted function|call to deleted)
#include "base/thread_pool.h"

#ifdef MISUSE
int size(sparing::ThreadPool pool) {
#else
int size(const sparing::ThreadPool& pool) {
#endif
  return pool.size();
}
int of(const sparing::ThreadPool& pool) {
  return size(pool);
}
