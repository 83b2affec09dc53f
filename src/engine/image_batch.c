/* Images to tokens. Squares of merge × merge patches follow each other line by line, and so do the patches of a square,
 * so that an output joins neighbours in memory. */
#include "engine/image_batch.h"

#include <stdlib.h>

static int32_t patches_of(const struct plan *plan, int32_t pixels) { return pixels / plan->vision.patch; }

bool image_batch_size_check(const struct plan *plan, int32_t width, int32_t height, struct error *error) {
  const struct plan_vision *v = &plan->vision;
  int32_t unit = v->patch * v->merge, most = v->patch * v->grid;
  bool whole = width > 0 && height > 0 && width % unit == 0 && height % unit == 0;
  bool fits = v->stretch ? width <= most && height <= most : width == most && height == most;
  if (whole && fits) return true;
  if (!v->stretch)
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
  return patches_of(plan, width) * patches_of(plan, height) / (plan->vision.merge * plan->vision.merge);
}

struct limits image_limits(const struct plan *plan, int32_t images, uint8_t kv) {
  int32_t side = plan->vision.patch * plan->vision.grid, tokens = image_tokens(plan, side, side);
  return (struct limits){.seats = images,
                         .tokens = images * tokens,
                         .outputs = images * image_rows(plan, side, side),
                         .length = tokens,
                         .opt_batch = 1,
                         .block_size = 16,
                         .kv_dtype = kv};
}

/* --- batches ------------------------------------------------------------------------------------------------------ */

static size_t patch_numbers(const struct plan *plan) {
  const struct plan_vision *v = &plan->vision;
  return (size_t)v->channels * (size_t)v->patch * (size_t)v->patch;
}

void image_batch_clear(struct image_batch *images) {
  images->batch = (struct batch){.row = images->row,
                                 .position = (const int32_t(*)[3])images->position,
                                 .patches = images->patches,
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
  image_batch_clear(images);
  if (images->row && images->position && images->patches && images->out) return true;
  image_batch_release(images);
  return error_set(error, ERROR_MEMORY, "Out of memory for a batch of images of %d patches.", limits->tokens);
}

void image_batch_release(struct image_batch *images) {
  free(images->row);
  free(images->position);
  free(images->patches);
  free(images->out);
  *images = (struct image_batch){0};
}

/* Column or line i of n, spread over the table's grid. */
static int32_t spread(const struct plan *plan, int32_t i, int32_t n) { return i * plan->vision.grid / n; }

static void patch_cut(const struct plan *plan, const struct image_pixels *image, int32_t x, int32_t y, float *to) {
  size_t side = (size_t)plan->vision.patch, width = (size_t)image->width;
  for (size_t c = 0; c < (size_t)plan->vision.channels; c++) {
    const float *from = image->number + (c * (size_t)image->height + (size_t)y * side) * width + (size_t)x * side;
    for (size_t line = 0; line < side; line++, to += side, from += width) memcpy(to, from, side * sizeof *to);
  }
}

/* Appends a token whose numbers are the caller's to fill. */
static float *token_add(struct image_batch *images, int32_t position) {
  int32_t index = images->batch.n_token++;
  images->position[index][0] = position;
  return images->patches + (size_t)index * patch_numbers(images->plan);
}

/* The square of patches whose first is in column x of line y; the output that joins it. */
static void square_add(struct image_batch *images, const struct image_pixels *image, int32_t x, int32_t y) {
  const struct plan *plan = images->plan;
  const struct plan_vision *v = &plan->vision;
  int32_t across = patches_of(plan, image->width), down = patches_of(plan, image->height);
  images->out[images->batch.n_out++] = images->batch.n_token;
  for (int32_t line = y; line < y + v->merge; line++)
    for (int32_t column = x; column < x + v->merge; column++) {
      int32_t position = v->lead + spread(plan, line, down) * v->grid + spread(plan, column, across);
      patch_cut(plan, image, column, line, token_add(images, position));
    }
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
  for (int32_t i = 0; i < plan->vision.lead; i++) memset(token_add(images, i), 0, patch_numbers(plan) * sizeof(float));
  int32_t merge = plan->vision.merge;
  for (int32_t y = 0; y < patches_of(plan, image->height); y += merge)
    for (int32_t x = 0; x < patches_of(plan, image->width); x += merge) square_add(images, image, x, y);
  return true;
}
