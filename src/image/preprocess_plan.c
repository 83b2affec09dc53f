/* Plans of pictures: sizes checked, before anything of that size is in memory. */
#include "base/limits.h"
#include "image/preprocess.h"
#include "image/preprocess_sizes.h"

static bool extent_check(struct extent extent, struct error *error) {
  if (extent.height >= 1 && extent.width >= 1 && extent.height <= LIMIT_IMAGE_SIDE &&
      extent.width <= LIMIT_IMAGE_SIDE && extent.height * extent.width <= LIMIT_IMAGE_PIXELS)
    return true;
  return error_set(error, ERROR_LIMIT,
                   "The image would be resized to %lld × %lld pixels for this model, expected sides of 1 to %d and at "
                   "most %d pixels: "
                   "send one that is less long or less narrow.",
                   (long long)extent.width, (long long)extent.height, LIMIT_IMAGE_SIDE, LIMIT_IMAGE_PIXELS);
}

static void plan_set(struct preprocess_plan *plan, struct extent canvas, struct extent tile, int64_t rows,
                     int64_t columns) {
  *plan = (struct preprocess_plan){
      .tiles = (int)(1 + rows * columns),
      .tile_height = (int)tile.height,
      .tile_width = (int)tile.width,
      .rows = (int)rows,
      .columns = (int)columns,
      .canvas_height = (int)canvas.height,
      .canvas_width = (int)canvas.width,
  };
}

static bool whole_measure(const struct preprocess_config *config, struct extent from, struct preprocess_plan *plan,
                          struct error *error) {
  int64_t longer = from.height > from.width ? from.height : from.width;
  if (config->pads_square) from = (struct extent){longer, longer};
  struct extent canvas = extent_resized(config, from);
  if (!extent_check(from, error) || !extent_check(canvas, error)) return false;
  plan_set(plan, canvas, extent_cropped(config, canvas), 0, 0);
  return true;
}

static bool grid_measure(const struct preprocess_config *config, struct extent from, struct preprocess_plan *plan,
                         struct error *error) {
  const int *grid = config->grid[grid_choose(config, from)];
  int edge = edge_of_tile(config);
  struct extent canvas = {grid[0], grid[1]}, inner = extent_within(from, canvas);
  struct extent whole_before = extent_of_whole(config), whole_resized = extent_resized(config, whole_before);
  struct extent tile_resized = extent_resized(config, (struct extent){edge, edge});
  struct extent tile = extent_cropped(config, tile_resized), whole = extent_cropped(config, whole_resized);
  if (!extent_check(canvas, error) || !extent_check(inner, error) || !extent_check(whole_before, error) ||
      !extent_check(whole_resized, error) || !extent_check(tile_resized, error) || !extent_check(tile, error))
    return false;
  if (whole.height != tile.height || whole.width != tile.width)
    return error_set(
        error, ERROR_UNSUPPORTED,
        "preprocessor_config.json makes tiles of %lld × %lld pixels beside a whole of %lld × %lld: they must be alike.",
        (long long)tile.width, (long long)tile.height, (long long)whole.width, (long long)whole.height);
  plan_set(plan, canvas, tile, canvas.height / edge, canvas.width / edge);
  return true;
}

static bool split_measure(const struct preprocess_config *config, struct extent from, struct preprocess_plan *plan,
                          struct error *error) {
  int edge = config->split_edge;
  struct extent canvas = config->resizes ? extent_by_longest(&config->size, from) : from, tile = {edge, edge};
  if (!extent_check(canvas, error) || !extent_check(tile, error)) return false;
  if (config->splits) canvas = extent_of_tiles(canvas, edge);
  if (!extent_check(canvas, error)) return false;
  bool one = !config->splits || (canvas.height <= edge && canvas.width <= edge);
  plan_set(plan, canvas, tile, one ? 0 : canvas.height / edge, one ? 0 : canvas.width / edge);
  return true;
}

static bool pan_measure(const struct preprocess_config *config, struct extent from, struct preprocess_plan *plan,
                        struct error *error) {
  struct extent part, parts = pan_parts(config, from, &part), tile = extent_resized(config, from);
  if (!extent_check(tile, error)) return false;
  if ((parts.width > 1 && part.width * (parts.width - 1) >= from.width) ||
      (parts.height > 1 && part.height * (parts.height - 1) >= from.height))
    return error_set(error, ERROR_UNSUPPORTED,
                     "The image of %lld × %lld pixels cannot be cut into %lld parts: send one of another shape.",
                     (long long)from.width, (long long)from.height, (long long)(parts.width * parts.height));
  if (parts.height && !(config->resizes && config->size.height && config->size.width))
    return error_set(error, ERROR_UNSUPPORTED,
                     "preprocessor_config.json cuts an image into parts and states no height and width for them.");
  plan_set(plan, from, tile, parts.height, parts.width);
  return true;
}

static bool area_measure(const struct preprocess_config *config, struct extent from, struct preprocess_plan *plan,
                         struct error *error) {
  struct extent canvas = from;
  int factor = config->patch_height * config->merge;
  if (config->resizes && !extent_of_area(config, from, &canvas))
    return error_set(
        error, ERROR_INVALID,
        "The image is %lld × %lld pixels, but this model takes none that is over 200 times as long as wide: cut it.",
        (long long)from.width, (long long)from.height);
  if (!extent_check(canvas, error)) return false;
  if (canvas.height % factor || canvas.width % factor)
    return error_set(
        error, ERROR_INVALID,
        "The image is %lld × %lld pixels, but this model, which resizes none, takes multiples of %d: resize it.",
        (long long)canvas.width, (long long)canvas.height, factor);
  plan_set(plan, canvas, canvas, 0, 0);
  return true;
}

static bool fit_measure(const struct preprocess_config *config, struct extent from, struct preprocess_plan *plan,
                        struct error *error) {
  struct extent canvas = config->resizes ? extent_to_fit(config, from) : from;
  if (!extent_check(canvas, error)) return false;
  plan_set(plan, canvas, extent_cropped(config, canvas), 0, 0);
  return true;
}

bool preprocess_measure(const struct preprocess_config *config, int width, int height, struct preprocess_plan *plan,
                        struct error *error) {
  static bool (*const measures[])(const struct preprocess_config *, struct extent, struct preprocess_plan *,
                                  struct error *) = {
      [PREPROCESS_WHOLE] = whole_measure, [PREPROCESS_GRID] = grid_measure, [PREPROCESS_SPLIT] = split_measure,
      [PREPROCESS_PAN] = pan_measure,     [PREPROCESS_AREA] = area_measure, [PREPROCESS_FIT] = fit_measure,
  };
  struct extent from = {height, width};
  if (!extent_check(from, error) || !measures[config->kind](config, from, plan, error)) return false;
  if (plan->tiles > LIMIT_IMAGE_TILES ||
      (int64_t)plan->tiles * plan->tile_height * plan->tile_width > LIMIT_IMAGE_PIXELS)
    return error_set(
        error, ERROR_LIMIT,
        "The image would become %d tiles of %d × %d pixels, expected at most %d and %d pixels together: scale it down.",
        plan->tiles, plan->tile_width, plan->tile_height, LIMIT_IMAGE_TILES, LIMIT_IMAGE_PIXELS);
  return true;
}

struct preprocess_layout preprocess_layout_of(const struct preprocess_config *config) {
  if (config->kind != PREPROCESS_AREA) return (struct preprocess_layout){0};
  return (struct preprocess_layout){config->patch_height, config->merge, config->frames};
}
