/* Tiles of a picture by its plan, and their numbers. */
#include "image/preprocess.h"

#include "image/preprocess_sizes.h"

#include <stdlib.h>

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
      done = part_write(run, image_part(view, x, y, w, h), extent_resized(run->config, (struct extent){h, w}));
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
  bool done = stage_resize(run, &whole, extent_of_whole(config)) &&
              part_write(run, whole.view, extent_resized(config, extent_of_whole(config)));
  image_release(&whole.owned);
  return done && stage_resize(run, stage, extent_within(from, canvas)) &&
         stage_pad(run, stage, run->plan->canvas_width, run->plan->canvas_height, (const uint8_t[3]){0}) &&
         parts_write(run, stage->view, edge_of_tile(config), edge_of_tile(config));
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
  return part_write(run, stage->view, extent_resized(run->config, from)) &&
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
