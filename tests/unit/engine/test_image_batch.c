/* Images to batches: which sizes are seen, where each pixel goes, positions, outputs; what does not fit. */
#include "engine/image_batch.h"
#include "plan/plan_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CHANNELS = 2, PATCH = 3, NUMBERS = CHANNELS * PATCH * PATCH, GRID = 4 };

/* All that batches are made by is in a plan's head, but for the ops that say how a batch is checked. */
static void plan_make(struct buffer *block, int merge, int lead, int sizes) {
  struct plan_builder b;
  struct error error = {0};
  plan_builder_init(&b, PLAN_VISION);
  b.head.hidden = NUMBERS;
  b.head.max_position = lead + GRID * GRID;
  b.head.vision = (struct plan_vision){.channels = CHANNELS,
                                       .patch = PATCH,
                                       .frames = 1,
                                       .merge = merge,
                                       .lead = lead,
                                       .grid = GRID,
                                       .area = GRID * GRID,
                                       .sizes = sizes,
                                       .breaks = -1};
  struct op op = op_make(OP_EMBED, -1);
  op.out = plan_add_value(&b, NUMBERS, ROWS_TOKENS);
  op.args.embed.source = EMBED_PATCHES;
  plan_add_op(&b, &op);
  struct op select = op_make(OP_SELECT, -1);
  select.in[0] = op.out;
  select.out = plan_add_value(&b, merge * merge * NUMBERS, ROWS_OUTPUTS);
  plan_add_op(&b, &select);
  buffer_init(block, 1 << 16);
  if (!plan_finish(&b, block, &error)) fail_msg("%s", error.text);
  plan_builder_release(&b);
}

/* A pixel's number says where it is. */
static float *pixels_make(int width, int height) {
  float *number = calloc((size_t)(CHANNELS * width * height), sizeof *number);
  for (int i = 0; i < CHANNELS * width * height; i++) number[i] = (float)i;
  return number;
}

static void patch_expect(const float *patch, int width, int height, int column, int line) {
  for (int c = 0; c < CHANNELS; c++)
    for (int y = 0; y < PATCH; y++)
      for (int x = 0; x < PATCH; x++) {
        int at = (c * height + line * PATCH + y) * width + column * PATCH + x;
        assert_float_equal(patch[(c * PATCH + y) * PATCH + x], at, 0);
      }
}

/* 4 × 2 patches in squares of 2 × 2: each square's four after each other, positions spread over a grid of 4 × 4. */
static void test_squares(void **state) {
  (void)state;
  static const struct {
    int column, line, position;
  } expected[] = {{0, 0, 0}, {1, 0, 1}, {0, 1, 8}, {1, 1, 9}, {2, 0, 2}, {3, 0, 3}, {2, 1, 10}, {3, 1, 11}};
  struct buffer block;
  struct image_batch images;
  struct error error = {0};
  plan_make(&block, 2, 0, 1);
  const struct plan *plan = (const void *)block.data;
  struct limits limits = image_limits(plan, 2, KV_F32);
  assert_int_equal(limits.tokens, 32);
  assert_int_equal(limits.outputs, 8);
  assert_true(image_batch_init(&images, plan, &limits, &error));
  struct image_pixels image = {12, 6, pixels_make(12, 6)};
  assert_true(image_batch_add(&images, &image, &error));
  const struct batch *b = &images.batch;
  assert_int_equal(b->n_token, 8);
  assert_int_equal(b->n_out, 2);
  assert_int_equal(image_rows(plan, 12, 6), 2);
  assert_int_equal(b->out[1], 4);
  for (int i = 0; i < 8; i++) {
    assert_int_equal(b->position[i][0], expected[i].position);
    patch_expect(b->patches + i * NUMBERS, 12, 6, expected[i].column, expected[i].line);
  }
  assert_true(image_batch_add(&images, &image, &error));
  assert_int_equal(b->row[1].first, 8);
  assert_int_equal(b->out[2], 8);
  assert_true(batch_check(b, plan, &limits, &error));
  assert_false(image_batch_add(&images, &image, &error)); /* two rows at most */
  assert_int_equal(error.code, ERROR_LIMIT);
  assert_string_equal(error.text, "An image of 8 patches does not fit beside 2 others of 16 in a step of 32.");
  image_batch_clear(&images);
  assert_int_equal(b->n_token, 0);
  assert_true(image_batch_add(&images, &image, &error));
  free((void *)(uintptr_t)image.number);
  image_batch_release(&images);
  buffer_release(&block);
}

/* A learned token of zeros before the patches, which is no output. */
static void test_lead(void **state) {
  (void)state;
  struct buffer block;
  struct image_batch images;
  struct error error = {0};
  plan_make(&block, 1, 1, 0);
  const struct plan *plan = (const void *)block.data;
  struct limits limits = image_limits(plan, 1, KV_F32);
  assert_true(image_batch_init(&images, plan, &limits, &error));
  struct image_pixels image = {12, 12, pixels_make(12, 12)};
  for (int again = 0; again < 2; again++) {
    image_batch_clear(&images);
    assert_true(image_batch_add(&images, &image, &error));
    assert_int_equal(images.batch.n_token, 17);
    assert_int_equal(images.batch.n_out, 16);
    assert_int_equal(images.batch.position[0][0], 0);
    for (int i = 0; i < NUMBERS; i++) assert_float_equal(images.batch.patches[i], 0, 0);
    for (int i = 0; i < 16; i++) {
      assert_int_equal(images.batch.out[i], i + 1);
      assert_int_equal(images.batch.position[i + 1][0], i + 1);
      patch_expect(images.batch.patches + (i + 1) * NUMBERS, 12, 12, i % 4, i / 4);
    }
    assert_true(batch_check(&images.batch, plan, &limits, &error));
    images.patches[3] = 1; /* what an earlier batch has left */
  }
  free((void *)(uintptr_t)image.number);
  image_batch_release(&images);
  buffer_release(&block);
}

static void test_sizes(void **state) {
  (void)state;
#define UP_TO " pixels, and the model sees images of up to 12 × 12, multiples of 6."
#define ONLY  " pixels, and the model sees images of 12 × 12."
  static const struct {
    int sizes, width, height;
    const char *sentence; /* NULL: seen */
  } table[] = {
      {1, 12, 12, NULL},
      {1, 6, 12, NULL},
      {1, 9, 12, "The image has 9 × 12" UP_TO},
      {1, 18, 6, "The image has 18 × 6" UP_TO},
      {1, 0, 6, "The image has 0 × 6" UP_TO},
      {1, 12, -6, "The image has 12 × -6" UP_TO},
      {0, 12, 12, NULL},
      {0, 6, 6, "The image has 6 × 6" ONLY},
      {0, 12, 6, "The image has 12 × 6" ONLY},
  };
#undef UP_TO
#undef ONLY
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct buffer block;
    struct error error = {0};
    plan_make(&block, 2, 0, table[i].sizes);
    bool seen = image_batch_size_check((const void *)block.data, table[i].width, table[i].height, &error);
    assert_int_equal(seen, table[i].sentence == NULL);
    if (table[i].sentence) assert_string_equal(error.text, table[i].sentence);
    buffer_release(&block);
  }
}

/* --- any size, in windows ----------------------------------------------------------------------------------------- */

enum { FRAMES = 2, WINDOW = 2, HEAD = CHANNELS * FRAMES * PATCH * PATCH / 3 };

/* Patches of two frames, in attention by windows of 2 × 2, each an output. */
static void windows_make(struct buffer *block) {
  struct plan_builder b;
  struct error error = {0};
  const float frequency[HEAD / 2] = {1};
  plan_builder_init(&b, PLAN_VISION);
  b.head.hidden = HEAD;
  b.head.max_position = 12;
  b.head.vision = (struct plan_vision){.channels = CHANNELS,
                                       .patch = PATCH,
                                       .frames = FRAMES,
                                       .merge = 1,
                                       .grid = 6,
                                       .area = 12,
                                       .sizes = SIZES_ANY,
                                       .window = WINDOW,
                                       .breaks = -1};
  struct op op = op_make(OP_EMBED, -1);
  int patches = op.out = plan_add_value(&b, 3 * HEAD, ROWS_TOKENS);
  op.args.embed.source = EMBED_PATCHES;
  plan_add_op(&b, &op);
  op = op_make(OP_ATTEND, 0);
  op.in[0] = patches;
  op.out = plan_add_value(&b, HEAD, ROWS_TOKENS);
  op.args.attend = (struct attend_args){.n_head = 1,
                                        .n_kv_head = 1,
                                        .dim_k = HEAD,
                                        .dim_v = HEAD,
                                        .group = -1,
                                        .rope_style = ROPE_HALF,
                                        .rope_dim = HEAD,
                                        .rope_freq = plan_add_floats(&b, frequency, HEAD / 2),
                                        .rope_scale = 1,
                                        .rope_axis = {0, HEAD / 4, HEAD / 4},
                                        .local = 1,
                                        .scale = 1};
  plan_add_op(&b, &op);
  struct op select = op_make(OP_SELECT, -1);
  select.in[0] = op.out;
  select.out = plan_add_value(&b, HEAD, ROWS_OUTPUTS);
  plan_add_op(&b, &select);
  buffer_init(block, 1 << 16);
  if (!plan_finish(&b, block, &error)) fail_msg("%s", error.text);
  plan_builder_release(&b);
}

/* 3 × 3 patches: windows of 4, 2, 2 and 1, outputs line by line all the same, and each patch twice. */
static void test_windows(void **state) {
  (void)state;
  static const struct {
    int column, line, first, last;
  } expected[] = {{0, 0, 0, 3}, {1, 0, 0, 3}, {0, 1, 0, 3}, {1, 1, 0, 3}, {2, 0, 4, 5},
                  {2, 1, 4, 5}, {0, 2, 6, 7}, {1, 2, 6, 7}, {2, 2, 8, 8}};
  static const int out[] = {0, 1, 4, 2, 3, 5, 6, 7, 8};
  enum { EACH = PATCH * PATCH };
  struct buffer block;
  struct image_batch images;
  struct error error = {0};
  windows_make(&block);
  const struct plan *plan = (const void *)block.data;
  struct limits limits = image_limits(plan, 2, KV_F32);
  assert_int_equal(limits.tokens, 24);
  assert_true(image_batch_init(&images, plan, &limits, &error));
  struct image_pixels image = {9, 9, pixels_make(9, 9)};
  for (int k = 0; k < 2; k++) assert_true(image_batch_add(&images, &image, &error));
  for (int i = 0; i < 9; i++) {
    int at = 9 + i;
    assert_int_equal(images.out[at], 9 + out[i]);
    assert_int_equal(images.position[at][1], expected[i].line);
    assert_int_equal(images.position[at][2], expected[i].column);
    assert_int_equal(images.span[at][0], expected[i].first);
    assert_int_equal(images.span[at][1], expected[i].last);
    for (int frame = 0; frame < FRAMES; frame++) {
      const float *patch = images.patches + (size_t)at * 3 * HEAD + frame * EACH;
      assert_float_equal(patch[0], (float)(expected[i].line * PATCH * 9 + expected[i].column * PATCH), 0);
      assert_float_equal(patch[FRAMES * EACH], patch[0] + 81, 0);
    }
  }
  assert_true(batch_check(&images.batch, plan, &limits, &error));
  images.span[10][1] = 9;
  assert_false(batch_check(&images.batch, plan, &limits, &error));
  assert_string_equal(error.text, "Patch 1 of row 1 sees patches 0 to 9 of 9.");
  images.span[10][1] = 3, images.position[4][2] = PLAN_SIDE;
  assert_false(batch_check(&images.batch, plan, &limits, &error));
  assert_string_equal(error.text, "Patch 4 has place 4096 on axis 2, expected 0 to 4095.");
  images.batch.span = NULL;
  assert_false(batch_check(&images.batch, plan, &limits, &error));
  assert_string_equal(error.text,
                      "A batch of images has patches, positions and, for local attention, spans, and nothing else.");
  assert_false(image_batch_size_check(plan, 12, 12, &error));
  assert_string_equal(error.text,
                      "The image has 12 × 12 pixels, which is 16 patches, and the model sees images of up to 12.");
  assert_true(image_batch_size_check(plan, 18, 6, &error));
  free((void *)(uintptr_t)image.number);
  image_batch_release(&images);
  buffer_release(&block);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_squares), cmocka_unit_test(test_lead),
                                     cmocka_unit_test(test_sizes), cmocka_unit_test(test_windows)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
