/* Pictures of measurements: axes, ticks, lines and texts, as SVG without a library. */
#ifndef SPATE_BASE_SVG_H
#define SPATE_BASE_SVG_H

#include "base/buffer.h"

struct svg_axis {
  double low, high; /* of the values, or of their decimal logarithms */
  double from, to;  /* pixels */
  bool is_log;
};

/* The values widen an empty axis one by one, as they are or as logarithms; then it is rounded, once. */
struct svg_axis svg_axis_make(double from, double to, bool is_log);
void svg_axis_widen(struct svg_axis *axis, double value);
void svg_axis_round(struct svg_axis *axis);

/* The pixel of a value. On a logarithmic axis what has no logarithm lies at its lower end. */
double svg_axis_place(const struct svg_axis *axis, double value);

/* style: what the elements look like, CSS. */
void svg_begin(struct buffer *svg, int width, int height, const char *style);
void svg_end(struct buffer *svg);

/* anchor: "start", "middle" or "end". The text may come from a file. */
void svg_text(struct buffer *svg, double x, double y, const char *anchor, const char *text);
void svg_line(struct buffer *svg, double x1, double y1, double x2, double y2);

/* A line from across to end at each tick, its value beside across. */
void svg_ticks(struct buffer *svg, const struct svg_axis *axis, double across, double end, bool is_x);

#endif
