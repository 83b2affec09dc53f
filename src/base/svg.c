/* Pictures. */
#include "base/svg.h"

#include <math.h>
#include <stdio.h>

enum { TICKS = 5 };

struct svg_axis svg_axis_make(double from, double to, bool is_log) {
  return (struct svg_axis){.low = INFINITY, .high = -INFINITY, .from = from, .to = to, .is_log = is_log};
}

void svg_axis_widen(struct svg_axis *axis, double value) {
  if (value < axis->low) axis->low = value;
  if (value > axis->high) axis->high = value;
}

/* A margin around the values, which may all be one. */
void svg_axis_round(struct svg_axis *axis) {
  if (axis->is_log) {
    axis->low = floor(axis->low - 0.01);
    axis->high = ceil(axis->high + 0.01);
    return;
  }
  double margin = 0.08 * (axis->high - axis->low);
  if (!(margin > 0)) margin = 0.1 * fabs(axis->high) + 1e-9;
  axis->low = fmax(0, axis->low - margin);
  axis->high += margin;
}

double svg_axis_place(const struct svg_axis *axis, double value) {
  double v = !axis->is_log ? value : value > 0 ? log10(value) : axis->low;
  return axis->from + (v - axis->low) / (axis->high - axis->low) * (axis->to - axis->from);
}

void svg_begin(struct buffer *svg, int width, int height, const char *style) {
  buffer_print(svg,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
               "font-size=\"12\" stroke=\"none\">\n<style>%s</style>\n"
               "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n",
               width, height, style, width, height);
}

void svg_end(struct buffer *svg) { buffer_text(svg, "</svg>\n"); }

/* Text from a file: what XML would read as its own, and what it forbids, is replaced. */
void svg_text(struct buffer *svg, double x, double y, const char *anchor, const char *text) {
  buffer_print(svg, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
  for (; *text; text++) {
    if (*text == '<' || *text == '>' || *text == '&')
      buffer_text(svg, *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : "&amp;");
    else
      buffer_append(svg, (unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e ? "?" : text, 1);
  }
  buffer_text(svg, "</text>\n");
}

void svg_line(struct buffer *svg, double x1, double y1, double x2, double y2) {
  buffer_print(svg, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x1, y1, x2, y2);
}

/* 1, 2 or 5 times a power of ten, about TICKS of them in the range. */
static double tick_step(const struct svg_axis *axis) {
  double rough = (axis->high - axis->low) / TICKS, unit = pow(10, floor(log10(rough)));
  return axis->is_log ? fmax(1, ceil((axis->high - axis->low) / 8))
                      : unit * (rough > 5 * unit   ? 10
                                : rough > 2 * unit ? 5
                                : rough > unit     ? 2
                                                   : 1);
}

void svg_ticks(struct buffer *svg, const struct svg_axis *axis, double across, double end, bool is_x) {
  double step = tick_step(axis), first = ceil(axis->low / step - 1e-9);
  for (int i = 0; i < 4 * TICKS; i++) {
    double value = (first + i) * step, at;
    char text[32];
    if (value > axis->high + 1e-9 * step) return;
    snprintf(text, sizeof text, "%.4g", axis->is_log ? pow(10, value) : value);
    at = svg_axis_place(axis, axis->is_log ? pow(10, value) : value);
    svg_line(svg, is_x ? at : across, is_x ? across : at, is_x ? at : end, is_x ? end : at);
    svg_text(svg, is_x ? at : across - 6, is_x ? across + 16 : at + 4, is_x ? "middle" : "end", text);
  }
}
