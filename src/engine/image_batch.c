/* Images to tokens. Squares of merge × merge patches follow each other line by line, and so do the patches of a square,
 * so that an output joins neighbours in memory. Where attention has windows, the squares of each lie together. */
#include "engine/image_batch.h"

#include <stdlib.h>

static int32_t patches_of(const struct plan *plan, int32_t pixels) { return pixels / plan->vision.patch; }

bool image_batch_size_check(const struct plan *plan, int32_t width, int32_t height, struct error *error) {
  const struct plan_vision *v = &plan->vision;
  int32_t unit = v->patch * v->merge, most = v->patch * v->grid;
  bool whole = width > 0 && height > 0 && width % unit == 0 && height % unit == 0;
  bool fits = v->sizes == SIZES_ONE ? width == most && height == most : width <= most && height <= most;
  bool area = whole && fits && (width / v->patch) * (height / v->patch) <= v->area;
  if (area) return true;
  if (whole && fits)
    return error_set(error, ERROR_INVALID,
                     "The image has %d × %d pixels, which is %d patches, and the model sees images of up to %d.", width,
                     height, (width / v->patch) * (height / v->patch), v->area);
  if (v->sizes == SIZES_ONE)
    return error_set(error, ERROR_INVALID, "The image has %d × %d pixels, and the model sees images of %d × %d.", width,
                     height, most, most);
  return error_set(error, ERROR_INVALID,
                   "The image has %d × %d pixels, and the model sees images of up to %d × %d, multiples of %d.", width,
                   height, most, most, unit);
}

int32_t image_tokens(const struct plan *plan, int32_t width, int32_t height) {
  return plan->vision.lead + patches_of(plan, width) * patches_of(plan, height);
}

int32_t image_rows(const struct plan *plan, int32_t width, int32_t height) {
  const struct plan_vision *v = &plan->vision;
  return v->keep * v->lead + patches_of(plan, width) * patches_of(plan, height) / (v->merge * v->merge);
}

struct limits image_limits(const struct plan *plan, int32_t images, uint8_t kv) {
  const struct plan_vision *v = &plan->vision;
  int32_t tokens = v->lead + v->area, rows = v->keep * v->lead + v->area / (v->merge * v->merge);
  return (struct limits){.seats = images,
                         .tokens = images * tokens,
                         .outputs = images * rows,
                         .length = tokens,
                         .opt_batch = 1,
                         .block_size = 16,
                         .kv_dtype = kv};
}

/* --- batches ------------------------------------------------------------------------------------------------------ */

static size_t patch_numbers(const struct plan *plan) {
  const struct plan_vision *v = &plan->vision;
  return (size_t)v->channels * (size_t)v->frames * (size_t)v->patch * (size_t)v->patch;
}

void image_batch_clear(struct image_batch *images) {
  images->batch = (struct batch){.row = images->row,
                                 .position = (const int32_t(*)[3])images->position,
                                 .patches = images->patches,
                                 .span = (const int32_t(*)[2])images->span,
                                 .out = images->out,
                                 .want_logits = true};
}

bool image_batch_init(struct image_batch *images, const struct plan *plan, const struct limits *limits,
                      struct error *error) {
  size_t tokens = (size_t)limits->tokens;
  *images = (struct image_batch){.plan = plan,
                                 .limits = *limits,
                                 .row = calloc((size_t)limits->seats + 1, sizeof *images->row),
                                 .position = calloc(tokens + 1, sizeof *images->position),
                                 .patches = calloc(tokens * patch_numbers(plan) + 1, sizeof *images->patches),
                                 .out = calloc((size_t)limits->outputs + 1, sizeof *images->out)};
  bool spans = plan->vision.window > 0;
  if (spans) images->span = calloc(tokens + 1, sizeof *images->span);
  image_batch_clear(images);
  if (images->row && images->position && images->patches && images->out && (images->span || !spans)) return true;
  image_batch_release(images);
  return error_set(error, ERROR_MEMORY, "Out of memory for a batch of images of %d patches.", limits->tokens);
}

void image_batch_release(struct image_batch *images) {
  free(images->row);
  free(images->position);
  free(images->patches);
  free(images->span);
  free(images->out);
  *images = (struct image_batch){0};
}

/* Column or line i of n, spread over the table's grid. */
static int32_t spread(const struct plan *plan, int32_t i, int32_t n) { return i * plan->vision.grid / n; }

static void patch_cut(const struct plan *plan, const struct image_pixels *image, int32_t x, int32_t y, float *to) {
  size_t side = (size_t)plan->vision.patch, width = (size_t)image->width;
  for (size_t c = 0; c < (size_t)plan->vision.channels; c++)
    for (int32_t frame = 0; frame < plan->vision.frames; frame++) {
      const float *from = image->number + (c * (size_t)image->height + (size_t)y * side) * width + (size_t)x * side;
      for (size_t line = 0; line < side; line++, to += side, from += width) memcpy(to, from, side * sizeof *to);
    }
}

/* Appends a token whose numbers are the caller's to fill. */
static float *token_add(struct image_batch *images, int32_t position, int32_t line, int32_t column) {
  int32_t index = images->batch.n_token++, *place = images->position[index];
  place[0] = position, place[1] = line, place[2] = column;
  return images->patches + (size_t)index * patch_numbers(images->plan);
}

/* The square of patches whose first is in column x of line y; `out` is the image's first output of squares. */
static void square_add(struct image_batch *images, const struct image_pixels *image, int32_t x, int32_t y,
                       int32_t *out) {
  const struct plan *plan = images->plan;
  const struct plan_vision *v = &plan->vision;
  int32_t across = patches_of(plan, image->width), down = patches_of(plan, image->height);
  out[y / v->merge * (across / v->merge) + x / v->merge] = images->batch.n_token;
  for (int32_t line = y; line < y + v->merge; line++)
    for (int32_t column = x; column < x + v->merge; column++) {
      int32_t position =
          v->sizes == SIZES_ANY ? 0 : v->lead + spread(plan, line, down) * v->grid + spread(plan, column, across);
      patch_cut(plan, image, column, line, token_add(images, position, line, column));
    }
}

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

/* The squares of the window from column x of line y on, and what its patches see. */
static void window_add(struct image_batch *images, const struct image_pixels *image, int32_t x, int32_t y, int32_t side,
                       int32_t *out) {
  const struct plan *plan = images->plan;
  int32_t first = images->batch.n_token, merge = plan->vision.merge;
  int32_t bottom = least(y + side, patches_of(plan, image->height));
  int32_t right = least(x + side, patches_of(plan, image->width));
  for (int32_t line = y; line < bottom; line += merge)
    for (int32_t column = x; column < right; column += merge) square_add(images, image, column, line, out);
  int32_t before = images->row[images->batch.n_row - 1].first, last = images->batch.n_token - 1;
  for (int32_t i = first; images->span && i <= last; i++)
    images->span[i][0] = first - before, images->span[i][1] = last - before;
}

bool image_batch_add(struct image_batch *images, const struct image_pixels *image, struct error *error) {
  const struct plan *plan = images->plan;
  const struct limits *limits = &images->limits;
  struct batch *batch = &images->batch;
  if (!image_batch_size_check(plan, image->width, image->height, error)) return false;
  int32_t tokens = image_tokens(plan, image->width, image->height);
  int32_t rows = image_rows(plan, image->width, image->height);
  if (batch->n_row >= limits->seats || tokens > limits->tokens - batch->n_token ||
      rows > limits->outputs - batch->n_out || tokens > limits->length)
    return error_set(error, ERROR_LIMIT, "An image of %d patches does not fit beside %d others of %d in a step of %d.",
                     tokens, batch->n_row, batch->n_token, limits->tokens);
  images->row[batch->n_row] = (struct row){.seat = batch->n_row, .first = batch->n_token, .count = tokens};
  batch->n_row++;
  for (int32_t i = 0; i < plan->vision.lead; i++) {
    if (plan->vision.keep) images->out[batch->n_out++] = batch->n_token;
    memset(token_add(images, i, 0, 0), 0, patch_numbers(plan) * sizeof(float));
  }
  int32_t across = patches_of(plan, image->width), down = patches_of(plan, image->height);
  int32_t side = plan->vision.window ? plan->vision.window : across > down ? across : down;
  int32_t *out = images->out + batch->n_out;
  for (int32_t y = 0; y < down; y += side)
    for (int32_t x = 0; x < across; x += side) window_add(images, image, x, y, side, out);
  batch->n_out += rows - plan->vision.keep * plan->vision.lead;
  return true;
}
