/* Plans of pictures, their tiles, and the numbers of those. */
#include "image/preprocess.h"

#include "base/limits.h"
#include "image/preprocess_sizes.h"

#include <math.h>
#include <stdlib.h>

/* --- plans ------------------------------------------------------------------------------------------------------ */

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

static struct extent cropped(const struct preprocess_config *config, struct extent extent) {
  return config->crops ? (struct extent){config->crop_height, config->crop_width} : extent;
}

static struct extent resized(const struct preprocess_config *config, struct extent extent) {
  return config->resizes ? extent_of_size(&config->size, extent) : extent;
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
  struct extent canvas = resized(config, from);
  if (!extent_check(from, error) || !extent_check(canvas, error)) return false;
  plan_set(plan, canvas, cropped(config, canvas), 0, 0);
  return true;
}

/* What the whole is resized to, and what it is then. */
static struct extent grid_whole(const struct preprocess_config *config) {
  const struct preprocess_size *size = &config->size;
  if (size->height && size->width) return (struct extent){size->height, size->width};
  return (struct extent){size->shortest_edge, size->shortest_edge};
}

static int grid_tile(const struct preprocess_config *config) {
  return config->crop_height ? config->crop_height : (int)grid_whole(config).height;
}

static bool grid_measure(const struct preprocess_config *config, struct extent from, struct preprocess_plan *plan,
                         struct error *error) {
  const int *grid = config->grid[grid_choose(config, from)];
  int edge = grid_tile(config);
  struct extent canvas = {grid[0], grid[1]}, inner = extent_within(from, canvas);
  struct extent tile = cropped(config, resized(config, (struct extent){edge, edge}));
  struct extent whole = cropped(config, resized(config, grid_whole(config)));
  if (!extent_check(canvas, error) || !extent_check(inner, error) || !extent_check(tile, error)) return false;
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
  struct extent part, parts = pan_parts(config, from, &part), tile = resized(config, from);
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
  plan_set(plan, canvas, cropped(config, canvas), 0, 0);
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

/* --- numbers ---------------------------------------------------------------------------------------------------- */

/* One picture on its way. */
struct run {
  const struct preprocess_config *config;
  const struct preprocess_plan *plan;
  struct preprocess_layout layout;
  float value[3][256]; /* of each byte of each channel */
  uint8_t *row;        /* [tile_width × 3]: one that the picture does not fill */
  float *numbers;      /* of the next tile */
  struct error *error;
};

/* In double, rounded to float, then in float: as numpy has it. */
static void values_fill(struct run *run) {
  const struct preprocess_config *config = run->config;
  for (int c = 0; c < 3; c++)
    for (int byte = 0; byte < 256; byte++) {
      float value = config->rescales ? (float)(byte * config->rescale_factor) : (float)byte;
      run->value[c][byte] = config->normalizes ? (value - (float)config->mean[c]) / (float)config->std[c] : value;
    }
}

static void pixels_write(const struct run *run, const uint8_t *from, int count, float *red, float *green, float *blue) {
  for (int x = 0; x < count; x++) {
    red[x] = run->value[0][from[3 * x]];
    green[x] = run->value[1][from[3 * x + 1]];
    blue[x] = run->value[2][from[3 * x + 2]];
  }
}

/* Row y of a tile, into the row of each patch that it goes through. */
static void patches_write(const struct run *run, const uint8_t *from, int y) {
  size_t p = (size_t)run->layout.patch, merge = (size_t)run->layout.merge, frames = (size_t)run->layout.frames;
  size_t across = (size_t)run->plan->tile_width / p, down = (size_t)y / p, channel = frames * p * p;
  size_t first = (down / merge * merge) * across + (down % merge) * merge;
  for (size_t i = 0; i < across; i++) {
    size_t patch = first + i / merge * merge * merge + i % merge;
    float *to = run->numbers + patch * 3 * channel + (size_t)y % p * p;
    pixels_write(run, from + 3 * i * p, (int)p, to, to + channel, to + 2 * channel);
    for (size_t c = 0; c < 3; c++)
      for (size_t frame = 1; frame < frames; frame++)
        memcpy(to + c * channel + frame * p * p, to + c * channel, p * sizeof *to);
  }
}

static void row_write(const struct run *run, const uint8_t *from, int y) {
  size_t width = (size_t)run->plan->tile_width, channel = width * (size_t)run->plan->tile_height;
  float *to = run->numbers + width * (size_t)y;
  if (run->layout.patch)
    patches_write(run, from, y);
  else
    pixels_write(run, from, (int)width, to, to + channel, to + 2 * channel);
}

/* Bytes of row y of the middle of a picture: zeros where it does not reach. */
static const uint8_t *middle_row(const struct run *run, struct image_view view, int top, int left, int y) {
  int width = run->plan->tile_width, from = left < 0 ? -left : 0,
      end = view.width - left < width ? view.width - left : width;
  bool inside = y + top >= 0 && y + top < view.height;
  if (inside && from == 0 && end == width) return image_part(view, left, y + top, width, 1).pixels;
  memset(run->row, 0, image_bytes(width, 1));
  if (inside)
    memcpy(run->row + 3 * from, image_part(view, left + from, y + top, end - from, 1).pixels, 3 * (size_t)(end - from));
  return run->row;
}

/* a / 2, rounded down. */
static int half_down(int a) { return (a - (a & 1)) / 2; }

/* The middle of what is there, by numbers. Moves on to the next tile. */
static void tile_write(struct run *run, struct image_view view) {
  const struct preprocess_plan *plan = run->plan;
  int top = half_down(view.height - plan->tile_height), left = half_down(view.width - plan->tile_width);
  for (int y = 0; y < plan->tile_height; y++) row_write(run, middle_row(run, view, top, left, y), y);
  struct preprocess_plan one = *plan;
  one.tiles = 1;
  run->numbers += preprocess_count(&one, &run->layout);
}

/* --- tiles ------------------------------------------------------------------------------------------------------ */

/* A picture that may be somebody's, or a copy of another size that is ours. */
struct stage {
  struct image_view view;
  struct image owned;
};

static bool stage_resize(const struct run *run, struct stage *stage, struct extent to) {
  struct image image;
  if (stage->view.width == to.width && stage->view.height == to.height) return true;
  if (!image_resize(stage->view, run->config->resample, (int)to.width, (int)to.height, &image, run->error))
    return false;
  image_release(&stage->owned);
  *stage = (struct stage){image_view(&image), image};
  return true;
}

/* Puts the picture into the middle of a larger one of one colour. */
static bool stage_pad(const struct run *run, struct stage *stage, int width, int height, const uint8_t colour[3]) {
  struct image image;
  struct image_view view = stage->view;
  if (!image_init(&image, width, height, run->error)) return false;
  for (size_t i = 0; i < (size_t)width * (size_t)height; i++) memcpy(image.pixels + 3 * i, colour, 3);
  size_t left = (size_t)(width - view.width) / 2, top = (size_t)(height - view.height) / 2;
  for (int y = 0; y < view.height; y++)
    memcpy(image.pixels + 3 * ((top + (size_t)y) * (size_t)width + left), view.pixels + (size_t)y * view.stride,
           image_bytes(view.width, 1));
  image_release(&stage->owned);
  *stage = (struct stage){image_view(&image), image};
  return true;
}

/* Resizes a part by `to`, and writes its middle. */
static bool part_write(struct run *run, struct image_view view, struct extent to) {
  struct stage stage = {.view = view};
  bool done = stage_resize(run, &stage, to);
  if (done) tile_write(run, stage.view);
  image_release(&stage.owned);
  return done;
}

static bool parts_write(struct run *run, struct image_view view, int height, int width) {
  bool done = true;
  for (int y = 0; done && y < view.height; y += height)
    for (int x = 0; done && x < view.width; x += width) {
      int w = view.width - x < width ? view.width - x : width, h = view.height - y < height ? view.height - y : height;
      done = part_write(run, image_part(view, x, y, w, h), resized(run->config, (struct extent){h, w}));
    }
  return done;
}

static bool whole_run(struct run *run, struct stage *stage) {
  const struct preprocess_config *config = run->config;
  int longer = stage->view.height > stage->view.width ? stage->view.height : stage->view.width;
  uint8_t mean[3];
  for (int c = 0; c < 3; c++) mean[c] = (uint8_t)(int)(config->mean[c] * 255);
  if (config->pads_square && !stage_pad(run, stage, longer, longer, mean)) return false;
  if (!stage_resize(run, stage, (struct extent){run->plan->canvas_height, run->plan->canvas_width})) return false;
  tile_write(run, stage->view);
  return true;
}

static bool grid_run(struct run *run, struct stage *stage) {
  const struct preprocess_config *config = run->config;
  struct extent from = {stage->view.height, stage->view.width},
                canvas = {run->plan->canvas_height, run->plan->canvas_width};
  struct stage whole = {.view = stage->view};
  bool done =
      stage_resize(run, &whole, grid_whole(config)) && part_write(run, whole.view, resized(config, grid_whole(config)));
  image_release(&whole.owned);
  return done && stage_resize(run, stage, extent_within(from, canvas)) &&
         stage_pad(run, stage, run->plan->canvas_width, run->plan->canvas_height, (const uint8_t[3]){0}) &&
         parts_write(run, stage->view, grid_tile(config), grid_tile(config));
}

static bool split_run(struct run *run, struct stage *stage) {
  const struct preprocess_plan *plan = run->plan;
  int edge = run->config->split_edge;
  struct extent from = {stage->view.height, stage->view.width};
  if (run->config->resizes && !stage_resize(run, stage, extent_by_longest(&run->config->size, from))) return false;
  if (!stage_resize(run, stage, (struct extent){plan->canvas_height, plan->canvas_width})) return false;
  for (int i = 0; i < plan->rows * plan->columns; i++)
    tile_write(run, image_part(stage->view, i % plan->columns * edge, i / plan->columns * edge, edge, edge));
  return part_write(run, stage->view, (struct extent){edge, edge});
}

static bool pan_run(struct run *run, struct stage *stage) {
  struct extent from = {stage->view.height, stage->view.width}, part;
  pan_parts(run->config, from, &part);
  return part_write(run, stage->view, resized(run->config, from)) &&
         (run->plan->rows == 0 || parts_write(run, stage->view, (int)part.height, (int)part.width));
}

static bool plan_run(struct run *run, struct stage *stage) {
  switch (run->config->kind) {
  case PREPROCESS_GRID: return grid_run(run, stage);
  case PREPROCESS_SPLIT: return split_run(run, stage);
  case PREPROCESS_PAN: return pan_run(run, stage);
  default: return whole_run(run, stage);
  }
}

static bool layout_check(const struct preprocess_plan *plan, const struct preprocess_layout *layout,
                         struct error *error) {
  int block = layout->patch * layout->merge;
  if (layout->patch == 0 ||
      (block > 0 && layout->frames > 0 && plan->tile_height % block == 0 && plan->tile_width % block == 0))
    return true;
  return error_set(
      error, ERROR_UNSUPPORTED,
      "Tiles of %d × %d pixels cannot be cut into blocks of %d: preprocessor_config.json is another model's.",
      plan->tile_width, plan->tile_height, block);
}

bool preprocess_run(const struct preprocess_config *config, const struct preprocess_plan *plan,
                    const struct preprocess_layout *layout, const struct image *image, float *numbers,
                    struct error *error) {
  struct run run = {.config = config, .plan = plan, .layout = *layout, .numbers = numbers, .error = error};
  struct stage stage = {.view = image_view(image)};
  if (!layout_check(plan, layout, error)) return false;
  values_fill(&run);
  run.row = malloc(image_bytes(plan->tile_width, 1));
  bool done =
      run.row ? plan_run(&run, &stage) : error_set(error, ERROR_MEMORY, "There is no memory to preprocess an image.");
  image_release(&stage.owned);
  free(run.row);
  return done;
}
