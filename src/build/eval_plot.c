/* Plots. */
#include "build/eval_plot.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/svg.h"

#include <math.h>
#include <stdlib.h>

enum { WIDTH = 1000, HEIGHT = 420, TOP = 40, BOTTOM = 360, PANEL = 400, LABEL_MAX = 48, LINE = 14 };
static const double edge[] = {70, 570}; /* left edges of the panels */
static const double most_number = 1e15; /* of anything that is plotted */

struct point {
  char label[LABEL_MAX + 1];
  bool is_base;                         /* of FP32: it may lack a divergence */
  double kl, perplexity, decode, speed; /* NAN: the result does not tell */
  double bytes, loss;
};

struct plot {
  struct point point[LIMIT_PLOT_POINTS];
  size_t count;
  const char *loss_name, *speed_name;
  struct svg_axis loss;
  struct buffer *svg;
};

/* --- results ------------------------------------------------------------------------------------------------------ */

static double number_of(const json_t *object, const char *name) {
  const json_t *value = json_object_get(object, name);
  return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static const char *text_of(const json_t *object, const char *name) {
  const char *text = json_string_value(json_object_get(object, name));
  return text ? text : "";
}

/* name: of a mode in a table; NULL: the engine's own. */
static bool point_add(struct plot *plot, const json_t *result, const char *name, const json_t *decode,
                      struct error *error) {
  const json_t *text = json_object_get(result, "text"), *against = json_object_get(result, "against");
  const char *algo = text_of(result, "quant_algo");
  if (plot->count == LIMIT_PLOT_POINTS)
    return error_set(error, ERROR_LIMIT, "More than %d engines do not fit in one plot.", LIMIT_PLOT_POINTS);
  struct point *point = &plot->point[plot->count++];
  *point = (struct point){.is_base = strcmp(text_of(result, "quant_mode"), "FP32") == 0,
                          .kl = number_of(against, "mean_kl"),
                          .perplexity = number_of(text, "perplexity"),
                          .decode = number_of(json_array_get(decode, 0), "tokens_per_second"),
                          .speed = number_of(text, "tokens_per_second"),
                          .bytes = number_of(result, "weight_bytes")};
  if (name)
    snprintf(point->label, sizeof point->label, "%s", name);
  else
    snprintf(point->label, sizeof point->label, "%.20s %.14s %.12s", text_of(result, "model"),
             text_of(result, "quant_mode"), strcmp(algo, "RTN") == 0 ? "" : algo);
  bool sound = point->perplexity >= 1 && point->speed > 0 && point->bytes > 0 && point->perplexity < most_number &&
               point->speed < most_number && point->bytes < most_number && !(point->decode > most_number) &&
               !(point->kl > most_number);
  return sound || error_set(error, ERROR_INVALID,
                            "It has no perplexity, speed and size to plot: evaluate the engine on a text.");
}

/* Modes that could not be measured have no evaluation. */
static bool modes_add(struct plot *plot, const json_t *modes, struct error *error) {
  for (size_t i = 0; i < json_array_size(modes); i++) {
    const json_t *mode = json_array_get(modes, i), *result = json_object_get(mode, "evaluation");
    if (result && !point_add(plot, result, text_of(mode, "name"), json_object_get(mode, "decode"), error)) return false;
  }
  return true;
}

static bool result_add(struct plot *plot, struct slice text, struct error *error) {
  json_t *root = json_parse(text, error);
  if (!root) return false;
  const json_t *modes = json_object_get(root, "modes");
  bool done = modes ? modes_add(plot, modes, error) : point_add(plot, root, NULL, NULL, error);
  json_decref(root);
  return done;
}

/* --- what is plotted ---------------------------------------------------------------------------------------------- */

static void metrics_choose(struct plot *plot) {
  bool kl = false, decode = true;
  for (size_t i = 0; i < plot->count; i++) kl = kl || plot->point[i].kl > 0;
  for (size_t i = 0; i < plot->count; i++) {
    kl = kl && (plot->point[i].kl >= 0 || plot->point[i].is_base);
    decode = decode && plot->point[i].decode > 0;
  }
  plot->loss_name = kl ? "mean KL divergence, nats" : "perplexity";
  plot->speed_name = decode ? "tokens/s, decoding at batch 1" : "tokens/s, evaluating";
  plot->loss = svg_axis_make(BOTTOM, TOP, kl);
  for (size_t i = 0; i < plot->count; i++) {
    struct point *point = &plot->point[i];
    point->loss = !kl ? point->perplexity : point->kl > 0 ? point->kl : 0;
    if (decode) point->speed = point->decode;
    if (!kl || point->loss > 0) svg_axis_widen(&plot->loss, kl ? log10(point->loss) : point->loss);
  }
  svg_axis_round(&plot->loss);
}

/* --- drawing ------------------------------------------------------------------------------------------------------ */

/* Labels stand beside their points, pushed down where they would meet; points are in the order of their loss. */
static void points_draw(const struct plot *plot, const struct svg_axis *x, double (*value)(const struct point *)) {
  double free = 0;
  for (size_t i = 0; i < plot->count; i++) {
    const struct point *point = &plot->point[i];
    double px = svg_axis_place(x, value(point)), py = svg_axis_place(&plot->loss, point->loss);
    double label = py + 4 > free ? py + 4 : free;
    bool left = px > (x->from + x->to) / 2;
    buffer_print(plot->svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n", px, py);
    svg_text(plot->svg, left ? px - 8 : px + 8, label, left ? "end" : "start", point->label);
    free = label + LINE;
  }
}

static double speed_of(const struct point *point) { return point->speed; }
static double size_of(const struct point *point) { return point->bytes / 1e6; }

static void panel_draw(const struct plot *plot, double left, const char *name, double (*value)(const struct point *)) {
  struct svg_axis x = svg_axis_make(left, left + PANEL, false);
  for (size_t i = 0; i < plot->count; i++) svg_axis_widen(&x, value(&plot->point[i]));
  svg_axis_round(&x);
  svg_ticks(plot->svg, &x, BOTTOM, TOP, true);
  svg_ticks(plot->svg, &plot->loss, left, left + PANEL, false);
  svg_text(plot->svg, left + PANEL / 2.0, BOTTOM + 38, "middle", name);
  svg_text(plot->svg, left, TOP - 14, "start", plot->loss_name);
  points_draw(plot, &x, value);
}

/* From the top of the picture down. */
static int loss_order(const void *a, const void *b) {
  double x = ((const struct point *)a)->loss, y = ((const struct point *)b)->loss;
  return (x < y) - (x > y);
}

static void plot_draw(struct plot *plot) {
  qsort(plot->point, plot->count, sizeof *plot->point, loss_order);
  svg_begin(plot->svg, WIDTH, HEIGHT, "line{stroke:#ddd}circle{fill:#1f6feb}");
  panel_draw(plot, edge[0], plot->speed_name, speed_of);
  panel_draw(plot, edge[1], "MB of weights", size_of);
  svg_end(plot->svg);
}

bool eval_plot(const struct slice *results, size_t count, struct buffer *svg, struct error *error) {
  struct plot *plot = calloc(1, sizeof *plot);
  bool done = plot || error_set(error, ERROR_MEMORY, "Out of memory for a plot.");
  for (size_t i = 0; done && i < count; i++)
    done = result_add(plot, results[i], error) || error_prefix(error, "Result %zu: ", i + 1);
  if (done && plot->count == 0) done = error_set(error, ERROR_INVALID, "There are no results to plot.");
  if (done) {
    plot->svg = svg;
    metrics_choose(plot);
    plot_draw(plot);
    done = !svg->failed || error_set(error, ERROR_LIMIT, "The plot does not fit in %zu bytes.", svg->max);
  }
  free(plot);
  return done;
}
