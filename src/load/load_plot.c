/* Four panels over one axis of loads. A run without an answer has no point. */
#include "load/load_plot.h"

#include "base/svg.h"

#include <math.h>

enum { WIDTH = 1000, HEIGHT = 860, PANEL = 390, TALL = 320, TOP = 40, DOWN = 420, LINES = 4 };
static const double edge[] = {70, 560};
static const char style[] =
    "line{stroke:#ddd}polyline{fill:none!important;stroke-width:2}.s0{fill:#1f6feb;stroke:#1f6feb}"
    ".s1{fill:#bc4c00;stroke:#bc4c00}.s2{fill:#8250df;stroke:#8250df}.s3{fill:#57606a;stroke:#57606a}";

struct plot {
  const double *load;
  const struct load_tally *tally;
  int count;
  const char *load_name;
  struct buffer *svg;
};

enum panel { PANEL_TTFT, PANEL_ITL, PANEL_E2E, PANEL_RATE };

/* Of a line in a panel: quantiles in their order, or answers, and those within the SLO. NAN: the run has none. */
static double value_of(const struct load_tally *tally, enum panel panel, int line) {
  const struct load_spread *spreads[] = {&tally->ttft, &tally->itl, &tally->e2e};
  if (panel == PANEL_RATE) return load_per_second(tally, line == 0 ? tally->ended[LOAD_OK] : tally->good);
  return spreads[panel]->quantile[line];
}

static struct svg_axis values_axis(const struct plot *plot, enum panel panel, int lines, double top) {
  double low = INFINITY, high = 0;
  for (int line = 0; line < lines; line++)
    for (int i = 0; i < plot->count; i++) {
      double value = value_of(&plot->tally[i], panel, line);
      if (!(value > 0)) continue;
      low = fmin(low, value);
      high = fmax(high, value);
    }
  bool is_log = panel != PANEL_RATE && high > 20 * low;
  struct svg_axis axis = svg_axis_make(top + TALL, top, is_log);
  svg_axis_widen(&axis, is_log ? log10(low) : 0);
  svg_axis_widen(&axis, is_log ? log10(high) : high);
  svg_axis_round(&axis);
  return axis;
}

static void line_draw(const struct plot *plot, enum panel panel, int line, const struct svg_axis *x,
                      const struct svg_axis *y) {
  buffer_print(plot->svg, "<polyline class=\"s%d\" points=\"", line);
  for (int i = 0; i < plot->count; i++) {
    double value = value_of(&plot->tally[i], panel, line);
    if (!isnan(value))
      buffer_print(plot->svg, "%.1f,%.1f ", svg_axis_place(x, plot->load[i]), svg_axis_place(y, value));
  }
  buffer_text(plot->svg, "\"/>\n");
  for (int i = 0; i < plot->count; i++) {
    double value = value_of(&plot->tally[i], panel, line);
    if (!isnan(value))
      buffer_print(plot->svg, "<circle class=\"s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>%.4g</title></circle>\n",
                   line, svg_axis_place(x, plot->load[i]), svg_axis_place(y, value), value);
  }
}

/* The names of the lines stand in a row above the panel, at its right. */
static void panel_draw(const struct plot *plot, enum panel panel, const char *name, const char *const names[LINES]) {
  double left = edge[panel % 2], top = panel < 2 ? TOP : TOP + DOWN;
  int lines = 0;
  while (lines < LINES && names[lines]) lines++;
  struct svg_axis x = svg_axis_make(left, left + PANEL, false), y = values_axis(plot, panel, lines, top);
  svg_axis_widen(&x, 0);
  for (int i = 0; i < plot->count; i++) svg_axis_widen(&x, plot->load[i]);
  svg_axis_round(&x);
  svg_ticks(plot->svg, &x, top + TALL, top, true);
  svg_ticks(plot->svg, &y, left, left + PANEL, false);
  svg_text(plot->svg, left + PANEL / 2.0, top + TALL + 36, "middle", plot->load_name);
  svg_text(plot->svg, left, top - 14, "start", name);
  for (int line = 0; line < lines; line++) {
    double at = left + PANEL - (panel == PANEL_RATE ? 90 : 58) * (lines - line);
    buffer_print(plot->svg, "<circle class=\"s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n", line, at, top - 18);
    svg_text(plot->svg, at + 8, top - 14, "start", names[line]);
    line_draw(plot, panel, line, &x, &y);
  }
}

void load_plot_draw(const double *load, const struct load_tally *tally, int count, const char *load_name,
                    bool with_good, struct buffer *svg) {
  const char *const rates[LINES] = {"answered", with_good ? "within SLO" : NULL};
  struct plot plot = {load, tally, count, load_name, svg};
  svg_begin(svg, WIDTH, HEIGHT, style);
  panel_draw(&plot, PANEL_TTFT, "first token, ms", load_quantile_name);
  panel_draw(&plot, PANEL_ITL, "between tokens, ms", load_quantile_name);
  panel_draw(&plot, PANEL_E2E, "whole answer, ms", load_quantile_name);
  panel_draw(&plot, PANEL_RATE, "answers a second", rates);
  svg_end(svg);
}
