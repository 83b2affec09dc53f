/* The arithmetic of sizes. Python's int() cuts off, its round() takes halves to the even, as rint() does. */
#include "image/preprocess_sizes.h"

#include <math.h>

static int64_t up_to_multiple(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* --- one tile --------------------------------------------------------------------------------------------------- */

static struct extent by_shortest(struct extent from, int edge) {
  int64_t less = least(from.height, from.width), more = most(from.height, from.width);
  int64_t longest = (int64_t)((double)(edge * more) / (double)less);
  return from.width <= from.height ? (struct extent){longest, edge} : (struct extent){edge, longest};
}

/* The shorter side is `edge`, unless the longer one would be more than `bound`. */
static struct extent by_shortest_within(struct extent from, int edge, int bound) {
  double h = (double)from.height, w = (double)from.width, less = fmin(h, w), more = fmax(h, w), exact = edge;
  int64_t size = edge;
  if (more / less * edge > bound) {
    exact = bound * less / more;
    size = (int64_t)rint(exact);
  }
  if ((from.height <= from.width && from.height == size) || (from.width <= from.height && from.width == size))
    return from;
  return from.width < from.height ? (struct extent){(int64_t)(exact * h / w), size}
                                  : (struct extent){size, (int64_t)(exact * w / h)};
}

static struct extent within_both(struct extent from, int height, int width) {
  double scale = fmin(height / (double)from.height, width / (double)from.width);
  return (struct extent){(int64_t)((double)from.height * scale), (int64_t)((double)from.width * scale)};
}

struct extent extent_of_size(const struct preprocess_size *size, struct extent from) {
  if (size->shortest_edge && size->longest_edge)
    return by_shortest_within(from, size->shortest_edge, size->longest_edge);
  if (size->shortest_edge) return by_shortest(from, size->shortest_edge);
  if (size->max_height && size->max_width) return within_both(from, size->max_height, size->max_width);
  return (struct extent){size->height, size->width};
}

struct extent extent_resized(const struct preprocess_config *config, struct extent from) {
  return config->resizes ? extent_of_size(&config->size, from) : from;
}

struct extent extent_cropped(const struct preprocess_config *config, struct extent from) {
  return config->crops ? (struct extent){config->crop_height, config->crop_width} : from;
}

/* --- GRID ------------------------------------------------------------------------------------------------------- */

struct extent extent_of_whole(const struct preprocess_config *config) {
  const struct preprocess_size *size = &config->size;
  if (size->height && size->width) return (struct extent){size->height, size->width};
  return (struct extent){size->shortest_edge, size->shortest_edge};
}

int edge_of_tile(const struct preprocess_config *config) {
  return config->crop_height ? config->crop_height : (int)extent_of_whole(config).height;
}

int grid_choose(const struct preprocess_config *config, struct extent from) {
  int best = -1;
  int64_t most_used = 0, least_wasted = INT64_MAX;
  for (int i = 0; i < config->grid_count; i++) {
    int64_t height = config->grid[i][0], width = config->grid[i][1];
    double scale = fmin((double)width / (double)from.width, (double)height / (double)from.height);
    int64_t w = (int64_t)((double)from.width * scale), h = (int64_t)((double)from.height * scale);
    int64_t used = least(w * h, from.width * from.height), wasted = width * height - used;
    if (used > most_used || (used == most_used && wasted < least_wasted)) {
      most_used = used;
      least_wasted = wasted;
      best = i;
    }
  }
  return best;
}

struct extent extent_within(struct extent from, struct extent target) {
  double across = (double)target.width / (double)from.width, down = (double)target.height / (double)from.height;
  if (across < down)
    return (struct extent){least((int64_t)ceil((double)from.height * across), target.height), target.width};
  return (struct extent){target.height, least((int64_t)ceil((double)from.width * down), target.width)};
}

/* --- SPLIT ------------------------------------------------------------------------------------------------------ */

enum { SPLIT_MOST = 4096 }; /* pixels of a side, whatever the size that is stated */

struct extent extent_by_longest(const struct preprocess_size *size, struct extent from) {
  if (!size->longest_edge) return (struct extent){size->height, size->width};
  struct extent to = from;
  double ratio = (double)from.width / (double)from.height;
  if (from.width >= from.height) {
    to.width = size->longest_edge;
    to.height = (int64_t)((double)to.width / ratio);
    to.height += to.height % 2;
  } else {
    to.height = size->longest_edge;
    to.width = (int64_t)((double)to.height * ratio);
    to.width += to.width % 2;
  }
  to = (struct extent){most(to.height, 1), most(to.width, 1)};
  ratio = (double)to.width / (double)to.height;
  if (to.width >= to.height && to.width > SPLIT_MOST) to = (struct extent){(int64_t)(SPLIT_MOST / ratio), SPLIT_MOST};
  if (to.height > to.width && to.height > SPLIT_MOST) to = (struct extent){SPLIT_MOST, (int64_t)(SPLIT_MOST * ratio)};
  return (struct extent){most(to.height, 1), most(to.width, 1)};
}

struct extent extent_of_tiles(struct extent from, int edge) {
  double ratio = (double)from.width / (double)from.height;
  if (from.width >= from.height) {
    int64_t width = up_to_multiple(from.width, edge);
    return (struct extent){up_to_multiple((int64_t)((double)width / ratio), edge), width};
  }
  int64_t height = up_to_multiple(from.height, edge);
  return (struct extent){height, up_to_multiple((int64_t)((double)height * ratio), edge)};
}

/* --- PAN, AREA, FIT --------------------------------------------------------------------------------------------- */

struct extent pan_parts(const struct preprocess_config *config, struct extent from, struct extent *part) {
  const struct extent none = {0, 0};
  bool lies = from.width >= from.height;
  int64_t longer = lies ? from.width : from.height, shorter = lies ? from.height : from.width;
  *part = none;
  if (!config->pans || (double)longer / (double)shorter < config->pan_ratio) return none;
  int64_t count = (int64_t)floor((double)longer / (double)shorter + 0.5);
  count = least(most(2, least(longer / config->pan_least, count)), config->pan_most);
  int64_t length = (longer + count - 1) / count;
  if (least(length, shorter) < config->pan_least) return none;
  *part = lies ? (struct extent){shorter, length} : (struct extent){length, shorter};
  return lies ? (struct extent){1, count} : (struct extent){count, 1};
}

bool extent_of_area(const struct preprocess_config *config, struct extent from, struct extent *to) {
  double h = (double)from.height, w = (double)from.width, factor = config->patch_height * config->merge;
  if (fmax(h, w) / fmin(h, w) > 200) return false;
  double height = rint(h / factor) * factor, width = rint(w / factor) * factor;
  if (height * width > config->size.longest_edge) {
    double beta = sqrt(h * w / config->size.longest_edge);
    height = fmax(factor, floor(h / beta / factor) * factor);
    width = fmax(factor, floor(w / beta / factor) * factor);
  } else if (height * width < config->size.shortest_edge) {
    double beta = sqrt(config->size.shortest_edge / (h * w));
    height = ceil(h * beta / factor) * factor;
    width = ceil(w * beta / factor) * factor;
  }
  *to = (struct extent){(int64_t)height, (int64_t)width};
  return true;
}

struct extent extent_to_fit(const struct preprocess_config *config, struct extent from) {
  const struct preprocess_size *size = &config->size;
  int bound_height = size->longest_edge ? size->longest_edge : size->height;
  int bound_width = size->longest_edge ? size->longest_edge : size->width;
  double ratio = fmax((double)from.height / bound_height, (double)from.width / bound_width);
  struct extent to = from;
  if (ratio > 1)
    to = (struct extent){(int64_t)floor((double)from.height / ratio), (int64_t)floor((double)from.width / ratio)};
  /* of a side that became 0 Python's quotient is −1, and the tile 0 */
  return (struct extent){to.height ? up_to_multiple(to.height, config->patch_height) : 0,
                         to.width ? up_to_multiple(to.width, config->patch_width) : 0};
}
