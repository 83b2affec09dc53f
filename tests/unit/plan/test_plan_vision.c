/* Plans of encoders of images: what their role asks of them, what batches of theirs may hold, and rows of embedding
 * pools; each damage with its sentence. */
#include "plan/backend.h"
#include "plan/plan_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { HIDDEN = 8, NUMBERS = 3 * 2 * 2, GRID = 4, WIDTH = 20, DECODER_VOCAB = 30 };

/* patches → linear → positions, normed → attention → joined outputs, normed → linear. */
static void vision_make(struct buffer *block) {
  struct plan_builder b;
  plan_builder_init(&b, PLAN_VISION);
  b.head.hidden = HIDDEN;
  b.head.max_position = 1 + GRID * GRID;
  b.head.vision = (struct plan_vision){.channels = 3,
                                       .patch = 2,
                                       .frames = 1,
                                       .merge = 2,
                                       .lead = 1,
                                       .grid = GRID,
                                       .area = GRID * GRID,
                                       .mark = 7,
                                       .breaks = -1};
  int numbers = plan_add_value(&b, NUMBERS, ROWS_TOKENS), x = plan_add_value(&b, 3 * HIDDEN, ROWS_TOKENS);
  int heads = plan_add_value(&b, HIDDEN, ROWS_TOKENS), joined = plan_add_value(&b, 4 * HIDDEN, ROWS_OUTPUTS);
  int rows = plan_add_value(&b, WIDTH, ROWS_OUTPUTS);
  struct op op = op_make(OP_EMBED, -1);
  op.out = numbers, op.args.embed.source = EMBED_PATCHES;
  plan_add_op(&b, &op);
  op = op_make(OP_LINEAR, -1);
  op.in[0] = numbers, op.out = x;
  op.weight[0] = plan_add_matrix(&b, "patch", (const char *[]){"patch"}, (int[]){3 * HIDDEN}, 1, NUMBERS, false);
  plan_add_op(&b, &op);
  op = op_make(OP_EMBED, -1);
  op.in[0] = op.out = x;
  op.args.embed = (struct embed_args){.scale = 1, .source = EMBED_POSITIONS, .norm = NORM_LAYER};
  op.weight[0] = plan_add_matrix(&b, "position", (const char *[]){"position"}, (int[]){17}, 1, 3 * HIDDEN, false);
  op.weight[1] = plan_add_vector(&b, "class", 3 * HIDDEN, 0);
  op.weight[2] = plan_add_vector(&b, "norm", 6 * HIDDEN, 0);
  plan_add_op(&b, &op);
  op = op_make(OP_ATTEND, 0);
  op.in[0] = x, op.out = heads;
  op.args.attend = (struct attend_args){
      .n_head = 2, .n_kv_head = 2, .dim_k = 4, .dim_v = 4, .group = -1, .rope_scale = 1, .scale = 1};
  plan_add_op(&b, &op);
  op = op_make(OP_SELECT, -1);
  op.in[0] = heads, op.out = joined;
  op.args.select.norm = NORM_RMS;
  op.weight[2] = plan_add_vector(&b, "post", HIDDEN, 0);
  plan_add_op(&b, &op);
  op = op_make(OP_LINEAR, -1);
  op.in[0] = joined, op.out = rows;
  op.weight[0] = plan_add_matrix(&b, "connector", (const char *[]){"connector"}, (int[]){WIDTH}, 1, 4 * HIDDEN, false);
  plan_add_op(&b, &op);
  struct error error = {0};
  buffer_init(block, 1 << 20);
  if (!plan_finish(&b, block, &error)) fail_msg("%s", error.text);
  plan_builder_release(&b);
}

static struct op *ops(struct plan *p) { return (struct op *)(void *)((char *)p + p->ops); }
static struct value *values(struct plan *p) { return (struct value *)(void *)((char *)p + p->values); }

/* --- plans -------------------------------------------------------------------------------------------------------- */

static void role_unknown(struct plan *p) { p->role = PLAN_ROLES; }
static void role_decoder(struct plan *p) { p->role = PLAN_DECODER, p->vocab = 5; }
static void vocab_given(struct plan *p) { p->vocab = 5; }
static void channels_many(struct plan *p) { p->vision.channels = 5; }
static void grid_wide(struct plan *p) { p->vision.grid = PLAN_GRID + 1; }
static void lead_two(struct plan *p) { p->vision.lead = 2; }
static void patch_other(struct plan *p) { p->vision.patch = 3; }
static void merge_other(struct plan *p) { p->vision.merge = 1; }
static void positions_few(struct plan *p) { p->max_position = 16; }
static void group_given(struct plan *p) { ops(p)[3].args.attend.group = 0; }
static void norm_unweighted(struct plan *p) { ops(p)[2].weight[2] = -1; }
static void norm_short(struct plan *p) { ops(p)[2].args.embed.norm = NORM_RMS; }
static void norm_unknown(struct plan *p) { ops(p)[4].args.select.norm = 3; }
static void joined_uneven(struct plan *p) { values(p)[3].cols = 4 * HIDDEN + 1; }
static void source_unknown(struct plan *p) { ops(p)[2].args.embed.source = 3; }
static void table_absent(struct plan *p) { ops(p)[2].weight[0] = -1; }
static void patches_weighted(struct plan *p) { ops(p)[0].weight[0] = 0; }
static void added_other(struct plan *p) { ops(p)[2].in[0] = 0; }
static void linear_norm_short(struct plan *p) { ops(p)[5].args.linear.norm = NORM_LAYER, ops(p)[5].weight[2] = -1; }
static struct weight *weights(struct plan *p) { return (struct weight *)(void *)((char *)p + p->weights); }
static void axes_unturned(struct plan *p) { ops(p)[3].args.attend.rope_axis[1] = 2; }
static void axes_negative(struct plan *p) {
  struct attend_args *a = &ops(p)[3].args.attend;
  a->rope_style = ROPE_HALF, a->rope_dim = 4, a->rope_axis[0] = -1, a->rope_axis[1] = 3;
}
static void axes_few(struct plan *p) {
  struct attend_args *a = &ops(p)[3].args.attend;
  a->rope_style = ROPE_HALF, a->rope_dim = 4, a->rope_axis[2] = 1;
}
static void local_twice(struct plan *p) { ops(p)[3].args.attend.local = 2; }
static void local_unwindowed(struct plan *p) { ops(p)[3].args.attend.local = 1; }
static void window_unused(struct plan *p) { p->vision.window = 2; }
static void window_uneven(struct plan *p) { p->vision.window = 3, ops(p)[3].args.attend.local = 1; }
static void kept_joined(struct plan *p) { p->vision.keep = 1; }
static void kept_twice(struct plan *p) { p->vision.keep = 2; }
static void breaks_beyond(struct plan *p) { p->vision.breaks = p->n_weight; }
static void breaks_matrix(struct plan *p) { p->vision.breaks = 0; }
static void breaks_short(struct plan *p) { p->vision.breaks = 2; }
static void mutual_other(struct plan *p) { p->vision.mutual = 2; }
static void frames_none(struct plan *p) { p->vision.frames = 0; }
static void frames_other(struct plan *p) { p->vision.frames = 2; }
static void area_other(struct plan *p) { p->vision.area = 15; }
static void sizes_unknown(struct plan *p) { p->vision.sizes = 3; }
static void sizes_any(struct plan *p) { p->vision.sizes = SIZES_ANY; }
static void mean_wide(struct plan *p) { ops(p)[4].args.select.mean = 4; }
static void order_uneven(struct plan *p) { weights(p)[0].order = 5; }
static void order_of_vector(struct plan *p) { weights(p)[2].order = ORDER_TRANSPOSED; }
static void act_unknown(struct plan *p) { ops(p)[1].args.linear.act = ACT_RELU + 1; }

#define SHAPE "The plan's ops do not take patches of "
#define KEEP  " patches, or they keep keys and values, or sample."
#define RANGE                                                                                                          \
  "The plan sees images of 3 channels in patches of 2, 2 × 2 of them merged, 1 before them, on a grid of 4: out of "  \
  "range."
#define EXTRAS(window, kept, weight)                                                                                   \
  "The plan has windows of " window " patches, keeps " kept " of 1 tokens, has weight " weight                         \
  " behind lines: they do not fit its ops."

static void test_refused(void **state) {
  (void)state;
  static const struct {
    void (*damage)(struct plan *);
    const char *sentence;
  } refused[] = {
      {role_unknown, "The plan has role 3, expected 0 to 2."},
      {role_decoder, "Op 3 of the plan (attend, layer 0) does not fit its KV group."},
      {vocab_given, "The plan has vocabulary 5, width 8, positions 17: out of range."},
      {channels_many,
       "The plan sees images of 5 channels in patches of 2, 2 × 2 of them merged, 1 before them, on a grid "
       "of 4: out of range."},
      {grid_wide,
       "The plan sees images of 3 channels in patches of 2, 2 × 2 of them merged, 1 before them, on a grid of "
       "257: out of range."},
      {lead_two,
       "The plan sees images of 3 channels in patches of 2, 2 × 2 of them merged, 2 before them, on a grid of "
       "4: out of range."},
      {patch_other, SHAPE "3 × 3 pixels to outputs of 2 × 2" KEEP},
      {merge_other, SHAPE "2 × 2 pixels to outputs of 1 × 1" KEEP},
      {positions_few, SHAPE "2 × 2 pixels to outputs of 2 × 2" KEEP},
      {group_given, "Op 3 of the plan (attend, layer 0) does not fit its KV group."},
      {norm_unweighted,
       "Op 2 of the plan (embed, layer -1) has a norm without its weight, or of another kind or length."},
      {norm_short, "Op 2 of the plan (embed, layer -1) has a norm without its weight, or of another kind or length."},
      {norm_unknown,
       "Op 4 of the plan (select, layer -1) has a norm without its weight, or of another kind or length."},
      {joined_uneven, "Op 4 of the plan (select, layer -1) does not fit its input or output."},
      {source_unknown, "Op 2 of the plan (embed, layer -1) does not fit its table or output."},
      {table_absent, "Op 2 of the plan (embed, layer -1) does not fit its table or output."},
      {patches_weighted, "Op 0 of the plan (embed, layer -1) does not fit its table or output."},
      {added_other, "Op 2 of the plan (embed, layer -1) is added to a value of another shape."},
      {linear_norm_short, "Op 5 of the plan (linear, layer -1) has a bias or norm of the wrong length."},
      {axes_unturned, "Op 3 of the plan (attend, layer 0) has a rotary embedding out of range."},
      {axes_negative, "Op 3 of the plan (attend, layer 0) has a rotary embedding out of range."},
      {axes_few, "Op 3 of the plan (attend, layer 0) has a rotary embedding out of range."},
      {local_twice, "Op 3 of the plan (attend, layer 0) does not fit its KV group."},
      {local_unwindowed, EXTRAS("0", "0", "-1")},
      {window_unused, EXTRAS("2", "0", "-1")},
      {window_uneven, EXTRAS("3", "0", "-1")},
      {kept_joined, EXTRAS("0", "1", "-1")},
      {kept_twice, RANGE},
      {breaks_beyond, EXTRAS("0", "0", "6")},
      {breaks_matrix, EXTRAS("0", "0", "0")},
      {breaks_short, EXTRAS("0", "0", "2")},
      {mutual_other, EXTRAS("0", "0", "-1")},
      {frames_none, RANGE},
      {frames_other, SHAPE "2 × 2 pixels to outputs of 2 × 2" KEEP},
      {area_other, RANGE},
      {sizes_unknown, RANGE},
      {sizes_any, SHAPE "2 × 2 pixels to outputs of 2 × 2" KEEP},
      {mean_wide, "Op 4 of the plan (select, layer -1) does not fit its input or output."},
      {order_uneven, "Weight patch has columns in an order that it cannot have."},
      {order_of_vector, "Weight class has columns in an order that it cannot have."},
      {act_unknown, "Op 1 of the plan (linear, layer -1) has an unknown norm or activation."},
  };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    struct buffer block;
    struct error error = {0};
    vision_make(&block);
    refused[i].damage((struct plan *)(void *)block.data);
    assert_false(plan_check(buffer_slice(&block), &error));
    assert_string_equal(error.text, refused[i].sentence);
    buffer_release(&block);
  }
}

/* Every 4-byte word replaced by extreme values: never a crash. */
static void test_tampered(void **state) {
  (void)state;
  struct buffer block;
  vision_make(&block);
  static const int32_t extremes[] = {-1, 0, 1, 3, 1 << 20, INT32_MAX, INT32_MIN};
  int refused = 0;
  for (size_t at = 0; at + 4 <= block.size; at += 4)
    for (int v = 0; v < 7; v++) {
      char *copy = malloc(block.size); /* exact size, so that a sanitizer sees a read past the end */
      memcpy(copy, block.data, block.size);
      memcpy(copy + at, &extremes[v], 4);
      struct error error = {0};
      refused += !plan_check(slice_make(copy, block.size), &error);
      free(copy);
    }
  assert_true(refused > 200);
  buffer_release(&block);
}

/* --- batches ------------------------------------------------------------------------------------------------------ */

static const struct limits limits = {
    .seats = 2, .tokens = 20, .outputs = 8, .length = 17, .opt_batch = 1, .block_size = 16};

/* Two images: a learned token and 8 patches, then one of 9 with 2 squares each. */
struct images {
  struct row row[2];
  int32_t position[18][3], out[4], token[18];
  float patches[18 * NUMBERS];
  struct batch batch;
};

static void images_make(struct images *m) {
  *m = (struct images){.row = {{.seat = 0, .count = 9}, {.seat = 1, .first = 9, .count = 9}}, .out = {1, 5, 10, 14}};
  m->batch = (struct batch){.n_row = 2,
                            .n_token = 18,
                            .n_out = 4,
                            .row = m->row,
                            .position = (const int32_t(*)[3])m->position,
                            .patches = m->patches,
                            .out = m->out};
}

static void tokens_given(struct images *m) { m->batch.token = m->token; }
static void patches_absent(struct images *m) { m->batch.patches = NULL; }
static void positions_absent(struct images *m) { m->batch.position = NULL; }
static void position_beyond(struct images *m) { m->position[3][0] = 17; }
static void position_negative(struct images *m) { m->position[3][0] = -1; }
static void row_continued(struct images *m) { m->row[1].length = 1; }
static void row_adapted(struct images *m) { m->row[1].n_lora = 1; }
static void output_negative(struct images *m) { m->out[1] = -1; }
static void output_beyond(struct images *m) { m->out[3] = 15; }
static void output_between(struct images *m) { m->out[1] = 7; }

static void test_batches(void **state) {
  (void)state;
  static const char only[] =
      "A batch of images has patches, positions and, for local attention, spans, and nothing else.";
  static const struct {
    void (*damage)(struct images *);
    const char *sentence;
  } refused[] = {
      {tokens_given, only},
      {patches_absent, only},
      {positions_absent, only},
      {position_beyond, "Patch 3 has position 17, expected 0 to 16."},
      {position_negative, "Patch 3 has position -1, expected 0 to 16."},
      {row_continued, "Row 1 of images has 1 tokens before it and 0 adapters, expected none."},
      {row_adapted, "Row 1 names the adapter in slot 0 of 0."},
      {output_negative, "Output 1 names token -1 of 18."},
      {output_beyond, "Output 3 names token 15 of 18."},
      {output_between, "Output 1 joins tokens 7 to 10, which are of two rows."},
  };
  struct buffer block;
  struct images m;
  struct error error = {0};
  vision_make(&block);
  const struct plan *plan = (const void *)block.data;
  images_make(&m);
  if (!batch_check(&m.batch, plan, &limits, &error)) fail_msg("%s", error.text);
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    images_make(&m);
    refused[i].damage(&m);
    assert_false(batch_check(&m.batch, plan, &limits, &error));
    assert_string_equal(error.text, refused[i].sentence);
  }
  buffer_release(&block);
}

/* --- rows of a decoder's pool ------------------------------------------------------------------------------------- */

static void decoder_make(struct buffer *block, int cols, int hidden) {
  struct plan_builder b;
  struct error error = {0};
  plan_builder_init(&b, PLAN_DECODER);
  b.head.vocab = DECODER_VOCAB, b.head.hidden = hidden, b.head.max_position = 64;
  struct op op = op_make(OP_EMBED, -1);
  op.out = plan_add_value(&b, cols, ROWS_TOKENS);
  op.weight[0] = plan_add_matrix(&b, "embed", (const char *[]){"embed"}, (int[]){DECODER_VOCAB}, 1, cols, false);
  plan_add_op(&b, &op);
  buffer_init(block, 1 << 20);
  if (!plan_finish(&b, block, &error)) fail_msg("%s", error.text);
  plan_builder_release(&b);
}

static void test_pool(void **state) {
  (void)state;
  struct buffer block, vision, wide;
  struct error error = {0};
  struct limits pooled = limits;
  decoder_make(&block, WIDTH, WIDTH);
  decoder_make(&wide, WIDTH + 1, WIDTH);
  vision_make(&vision);
  const struct plan *plan = (const void *)block.data;
  pooled.pool = 5;
  assert_true(pool_limits_check(plan, &pooled, &error));
  assert_false(pool_limits_check((const void *)wide.data, &pooled, &error));
  assert_string_equal(error.text, "Op 0 of the plan embeds tokens to 21 columns, and its width is 20.");
  assert_false(pool_limits_check((const void *)vision.data, &pooled, &error));
  assert_string_equal(error.text, "An embedding pool of 5 rows was asked for in a plan of role 1.");
  struct pool_source of_encoder = {.first = 2};
  assert_true(pool_check(plan, &pooled, 1, 4, &of_encoder, 6, WIDTH, &error));
  assert_false(pool_check(plan, &pooled, 2, 4, &of_encoder, 6, WIDTH, &error));
  assert_string_equal(error.text, "Rows 2 to 5 of an embedding pool of 5 rows were to be filled.");
  assert_false(pool_check(plan, &pooled, 1, 4, &of_encoder, 5, WIDTH, &error));
  assert_string_equal(error.text,
                      "An encoder's rows 2 to 5 of 5, 20 wide, were to fill an embedding pool that is 20 wide.");
  assert_false(pool_check(plan, &pooled, 1, 4, &of_encoder, 6, WIDTH + 1, &error));
  buffer_release(&block);
  buffer_release(&wide);
  buffer_release(&vision);
}

static void test_pooled_batch(void **state) {
  (void)state;
  struct buffer block;
  struct error error = {0};
  struct limits pooled = limits;
  decoder_make(&block, WIDTH, WIDTH);
  pooled.pool = 5;
  const struct row row = {.count = 3};
  int32_t embed[] = {-1, 4, 0};
  const int32_t token[] = {1, 7, 7};
  struct batch batch = {.n_row = 1, .n_token = 3, .row = &row, .token = token, .embed = embed};
  const struct plan *plan = (const void *)block.data;
  assert_true(batch_check(&batch, plan, &pooled, &error));
  assert_false(batch_check(&batch, plan, &limits, &error));
  assert_string_equal(error.text, "Token 1 is row 4 of the embedding pool, expected -1 to -1.");
  embed[1] = 5;
  assert_false(batch_check(&batch, plan, &pooled, &error));
  embed[1] = -2;
  assert_false(batch_check(&batch, plan, &pooled, &error));
  assert_string_equal(error.text, "Token 1 is row -2 of the embedding pool, expected -1 to 4.");
  buffer_release(&block);
}

/* Places of a decoder whose rotation has axes are those of its sequences; one without has none. */
static void test_places(void **state) {
  (void)state;
  struct buffer block;
  struct error error = {0};
  decoder_make(&block, WIDTH, WIDTH);
  const struct row row = {.count = 3};
  const int32_t token[] = {1, 7, 7};
  int32_t position[3][3] = {{0}, {1, 1, 1}, {1, 2, 1}};
  struct batch batch = {
      .n_row = 1, .n_token = 3, .row = &row, .token = token, .position = (const int32_t(*)[3])position};
  struct plan *plan = (void *)block.data;
  assert_false(batch_check(&batch, plan, &limits, &error));
  assert_string_equal(
      error.text, "Token trees, patches of a decoder and positions of one whose rotation has one axis do not exist.");
  for (int i = 0; i < plan->n_op; i++)
    if (ops(plan)[i].kind == OP_ATTEND) ops(plan)[i].args.attend.rope_axis[0] = 1;
  if (!plan_has_axes(plan)) ops(plan)[0].kind = OP_ATTEND, ops(plan)[0].args.attend.rope_axis[0] = 1;
  assert_true(batch_check(&batch, plan, &limits, &error));
  position[2][1] = -1;
  assert_false(batch_check(&batch, plan, &limits, &error));
  assert_string_equal(error.text, "Token 2 has place -1 on axis 1, expected 0 to 16.");
  position[2][1] = 17;
  assert_false(batch_check(&batch, plan, &limits, &error));
  assert_string_equal(error.text, "Token 2 has place 17 on axis 1, expected 0 to 16.");
  buffer_release(&block);
}

static void test_fits(void **state) {
  (void)state;
  struct buffer block, vision, wide;
  struct error error = {0};
  decoder_make(&block, WIDTH, WIDTH);
  decoder_make(&wide, WIDTH + 1, WIDTH + 1);
  vision_make(&vision);
  struct plan *encoder = (void *)vision.data;
  assert_true(plan_vision_fits((const void *)block.data, encoder, &error));
  assert_false(plan_vision_fits((const void *)wide.data, encoder, &error));
  assert_string_equal(error.text, "Images become rows of 20 numbers, and the decoder takes 21.");
  encoder->vision.mark = DECODER_VOCAB;
  assert_false(plan_vision_fits((const void *)block.data, encoder, &error));
  assert_string_equal(error.text, "The token that stands for images is 30, expected one of the vocabulary's 30.");
  buffer_release(&block);
  buffer_release(&wide);
  buffer_release(&vision);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_refused), cmocka_unit_test(test_tampered),     cmocka_unit_test(test_batches),
      cmocka_unit_test(test_pool),    cmocka_unit_test(test_pooled_batch), cmocka_unit_test(test_fits),
      cmocka_unit_test(test_places),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
