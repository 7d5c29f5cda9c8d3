#include "eval/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace sparing {
namespace {

constexpr double kWidth = 720, kHeight = 340, kLeft = 80, kRight = 20, kTop = 16, kBottom = 60;

std::string number(double value, int digits = 1) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

/// As few digits as tell the ticks apart.
std::string tick_text(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.6g", std::abs(value) < 1e-12 ? 0.0 : value);
  return text;
}

struct Axis {
  double low = 0, high = 1, begin = 0, end = 1;  ///< data, pixels
  bool log = false;

  double at(double v) const {
    const double a = log ? std::log10(low) : low, b = log ? std::log10(high) : high, x = log ? std::log10(v) : v;
    return begin + (x - a) / (b - a) * (end - begin);
  }
  std::vector<double> ticks() const {
    std::vector<double> out;
    if (log) {
      for (double p = std::pow(10.0, std::floor(std::log10(low))); p <= high * 1.0001; p *= 10) {
        for (const double m : {1.0, 2.0, 5.0}) {
          if (p * m >= low * 0.9999 && p * m <= high * 1.0001) out.push_back(p * m);
        }
      }
      return out;
    }
    const double raw = (high - low) / 6, power = std::pow(10.0, std::floor(std::log10(raw)));
    const double step = power * (raw / power < 1.5 ? 1 : raw / power < 3.5 ? 2 : raw / power < 7.5 ? 5 : 10);
    for (double v = std::ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) out.push_back(v);
    return out;
  }
};

void widen(Axis& axis, bool from_zero) {
  if (axis.log) {
    axis.low /= 1.2;
    axis.high *= 1.2;
    return;
  }
  if (from_zero) axis.low = std::min(axis.low, 0.0);
  if (axis.high - axis.low < 1e-12) axis.high = axis.low + std::max(1e-6, std::abs(axis.low) * 0.1);
  const double margin = (axis.high - axis.low) * 0.06;
  axis.high += margin;
  if (!from_zero) axis.low -= margin;
}

bool drawable(const std::pair<double, double>& point, bool log_y) {
  return std::isfinite(point.first) && std::isfinite(point.second) && (!log_y || point.second > 0);
}

std::string line_of(double x1, double y1, double x2, double y2, const char* style) {
  return "<line x1='" + number(x1) + "' y1='" + number(y1) + "' x2='" + number(x2) + "' y2='" + number(y2) +
         "' class='" + style + "'/>";
}

std::string text_at(double x, double y, const char* style, const std::string& text, const std::string& more = {}) {
  return "<text x='" + number(x) + "' y='" + number(y) + "' class='" + style + "'" + more + ">" + html_escaped(text) +
         "</text>";
}

std::string draw_series(const Series& series, const Axis& x, const Axis& y) {
  const std::string colour = "c" + std::to_string(series.colour % 8);
  std::string out, path;
  for (const auto& point : series.points) {
    if (!drawable(point, y.log)) continue;
    path += (path.empty() ? "M" : " L") + number(x.at(point.first)) + " " + number(y.at(point.second));
  }
  if (series.line && !path.empty()) {
    out += "<path class='series " + colour + (series.dashed ? " dashed" : "") + "' d='" + path + "'/>";
  }
  for (std::size_t i = 0; series.dots && i < series.points.size(); ++i) {
    const auto& point = series.points[i];
    if (!drawable(point, y.log)) continue;
    const double px = x.at(point.first), py = y.at(point.second);
    const std::string label = i < series.labels.size() ? series.labels[i] : series.name;
    out += "<circle class='dot " + colour + "' cx='" + number(px) + "' cy='" + number(py) + "' r='5'><title>" +
           html_escaped(label + ": " + tick_text(point.first) + ", " + tick_text(point.second)) + "</title></circle>";
    if (i < series.labels.size()) {
      const bool left = px > kWidth * 0.7;
      out += text_at(px + (left ? -9 : 9), py - 7, "label", label, left ? " text-anchor='end'" : "");
    }
  }
  return out;
}

std::string legend(const std::vector<Series>& series) {
  std::string out = "<div class='legend'>";
  for (const Series& s : series) {
    if (s.points.empty() || s.name.empty()) continue;
    out += "<span><i class='c" + std::to_string(s.colour % 8) + "'></i>" + html_escaped(s.name) + "</span>";
  }
  return out + "</div>";
}

}  // namespace

std::string html_escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string svg(const Plot& plot) {
  Axis x{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), kLeft, kWidth - kRight,
         false};
  Axis y{x.low, x.high, kHeight - kBottom, kTop, plot.log_y};
  for (const Series& series : plot.series) {
    for (const auto& point : series.points) {
      if (!drawable(point, plot.log_y)) continue;
      x.low = std::min(x.low, point.first), x.high = std::max(x.high, point.first);
      y.low = std::min(y.low, point.second), y.high = std::max(y.high, point.second);
    }
  }
  if (!(x.low <= x.high)) return {};
  widen(x, plot.x_from_zero);
  widen(y, plot.y_from_zero);
  std::string out = "<figure><figcaption>" + html_escaped(plot.title) + "</figcaption><svg viewBox='0 0 " +
                    number(kWidth, 0) + " " + number(kHeight, 0) + "' role='img' aria-label='" +
                    html_escaped(plot.title) + "'>";
  for (const double t : x.ticks()) {
    out += line_of(x.at(t), kTop, x.at(t), kHeight - kBottom, "grid");
    out += text_at(x.at(t), kHeight - kBottom + 22, "tick", tick_text(t), " text-anchor='middle'");
  }
  for (const double t : y.ticks()) {
    out += line_of(kLeft, y.at(t), kWidth - kRight, y.at(t), "grid");
    out += text_at(kLeft - 8, y.at(t) + 4, "tick", tick_text(t), " text-anchor='end'");
  }
  out += line_of(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom, "axis");
  out += line_of(kLeft, kTop, kLeft, kHeight - kBottom, "axis");
  out += text_at((kLeft + kWidth - kRight) / 2, kHeight - 8, "name", plot.x, " text-anchor='middle'");
  out += text_at(18, (kTop + kHeight - kBottom) / 2, "name", plot.y,
                 " text-anchor='middle' transform='rotate(-90 18 " + number((kTop + kHeight - kBottom) / 2) + ")'");
  for (const Series& series : plot.series) out += draw_series(series, x, y);
  return out + "</svg>" + legend(plot.series) + "</figure>";
}

}  // namespace sparing
