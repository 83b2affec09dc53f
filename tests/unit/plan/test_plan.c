/* Plans: building, checking blocks that were tampered with, row maps and read order; schemes and their values. */
#include "base/limits.h"
#include "plan/plan_builder.h"
#include "plan_tamper.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { HIDDEN = 8, VOCAB = 20, FFN = 24 };

/* embed → linear (gated) → linear (residual) → attention's neighbours are left to the families' tests → head. */
static void plan_make(struct buffer *block) {
  struct plan_builder b;
  plan_builder_init(&b, PLAN_DECODER);
  b.head.vocab = VOCAB;
  b.head.hidden = HIDDEN;
  b.head.max_position = 64;
  int x = plan_add_value(&b, HIDDEN, ROWS_TOKENS), h = plan_add_value(&b, FFN, ROWS_TOKENS);
  int y = plan_add_value(&b, HIDDEN, ROWS_OUTPUTS), logits = plan_add_value(&b, VOCAB, ROWS_OUTPUTS);
  int table = plan_add_matrix(&b, "embed", (const char *[]){"embed"}, (int[]){VOCAB}, 1, HIDDEN, false);
  int up = plan_add_matrix(&b, "gate_up", (const char *[]){"gate", "up"}, (int[]){FFN, FFN}, 2, HIDDEN, true);
  int down = plan_add_matrix(&b, "down", (const char *[]){"down"}, (int[]){HIDDEN}, 1, FFN, false);
  int norm = plan_add_vector(&b, "norm", HIDDEN, 0);

  struct op op = op_make(OP_EMBED, -1);
  op.out = x, op.weight[0] = table;
  plan_add_op(&b, &op);
  op = op_make(OP_LINEAR, 0);
  op.in[0] = x, op.out = h, op.weight[0] = up, op.weight[2] = norm;
  op.args.linear.gated = 1, op.args.linear.norm = NORM_RMS, op.args.linear.act = ACT_SILU;
  plan_add_op(&b, &op);
  op = op_make(OP_LINEAR, 0);
  op.in[0] = h, op.in[1] = x, op.out = x, op.weight[0] = down;
  plan_add_op(&b, &op);
  op = op_make(OP_SELECT, -1);
  op.in[0] = x, op.out = y;
  plan_add_op(&b, &op);
  op = op_make(OP_LINEAR, -1);
  op.in[0] = y, op.out = logits, op.weight[0] = table;
  plan_add_op(&b, &op);
  op = op_make(OP_SAMPLE, -1);
  op.in[0] = logits;
  plan_add_op(&b, &op);

  struct error error = {0};
  buffer_init(block, 1 << 20);
  if (!plan_finish(&b, block, &error)) fail_msg("%s", error.text);
  plan_builder_release(&b);
}

static void test_build(void **state) {
  (void)state;
  struct buffer block;
  plan_make(&block);
  const struct plan *p = (const void *)block.data;
  assert_int_equal(p->n_op, 6);
  assert_int_equal(plan_weights(p)[1].rows, 64); /* two parts of 24 rows, each padded to 32 */
  int order[4];
  assert_true(plan_read_order(p, order));
  for (int i = 0; i < 4; i++) assert_int_equal(order[i], i);
  buffer_release(&block);
}

static void test_rows(void **state) {
  (void)state;
  struct buffer block;
  plan_make(&block);
  const struct weight *w = plan_weights((const void *)block.data) + 1;
  static const struct {
    int row, part, source;
    bool real;
  } expected[] = {{0, 0, 0, true},   {15, 0, 15, true},  {16, 1, 0, true},  {32, 0, 16, true},
                  {39, 0, 23, true}, {40, 0, 24, false}, {48, 1, 16, true}, {63, 1, 31, false}};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    int part, row;
    assert_int_equal(weight_row_source(w, expected[i].row, &part, &row), expected[i].real);
    assert_int_equal(part, expected[i].part);
    assert_int_equal(row, expected[i].source);
  }
  buffer_release(&block);
}

/* q, k and v of two KV heads with two queries each, of two rows: in a tensor they lie head by head. */
static void test_runs(void **state) {
  (void)state;
  const struct weight w = {.use = WEIGHT_MATRIX,
                           .rows = 16,
                           .n_part = 3,
                           .part = {{.first = 0, .rows = 8, .run = 4, .period = 8},
                                    {.first = 4, .rows = 4, .run = 2, .period = 8},
                                    {.first = 6, .rows = 4, .run = 2, .period = 8}}};
  static const int expected[16] = {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};
  for (int i = 0, part, row, within = 0; i < 16; i++) {
    assert_true(weight_row_source(&w, i, &part, &row));
    assert_int_equal(row, expected[i]);
    within = i < 8 ? i : (i - 8) % 4;
    assert_int_equal(part_row_of(&w.part[part], row), within);
  }
  assert_int_equal(part_end(&w.part[0]), 12);
  assert_int_equal(part_end(&w.part[2]), 16);
}

/* Most of what is written over the block is refused. */
static void test_tampered(void **state) {
  (void)state;
  struct buffer block;
  plan_make(&block);
  assert_true(plan_tampered(buffer_slice(&block), NULL) > 200);
  buffer_release(&block);
}

static void positions_many(struct plan *p) { p->max_position = LIMIT_MODEL_POSITIONS + 1; }
static void positions_none(struct plan *p) { p->max_position = 0; }
static void vocab_wide(struct plan *p) { p->vocab = LIMIT_MODEL_WIDTH + 1; }
static void ops_none(struct plan *p) { p->n_op = 0; }
static void factor_absent(struct plan *p) {
  struct op *op = (struct op *)((char *)p + p->ops) + 1;
  op->args.linear.multiply = 1, op->in[1] = -1;
}

static struct linear_args *gate_of(struct plan *p) {
  struct op *op = (struct op *)((char *)p + p->ops);
  while (op->kind != OP_LINEAR || !op->args.linear.gated) op++;
  return &op->args.linear;
}
#define LIMIT(op)                                                                                                      \
  "Op " #op                                                                                                            \
  " of the plan (linear, layer 0) has a limit that is no such number, or one, or a sum with up, without a gate."
static void limit_negative(struct plan *p) { gate_of(p)->limit = -1; }
static void limit_infinite(struct plan *p) { gate_of(p)->limit = INFINITY; }
static void sum_undefined(struct plan *p) { gate_of(p)->up_add = NAN; }
static void limit_ungated(struct plan *p) {
  struct op *op = (struct op *)((char *)p + p->ops);
  while (op->kind != OP_LINEAR || op->args.linear.gated) op++;
  op->args.linear.limit = 7;
}

/* The positions of the plan's own weights, of which the first is a matrix. */
static struct weight_part *part_of(struct plan *p) { return ((struct weight *)((char *)p + p->weights))[0].part; }
static void part_uneven(struct plan *p) { part_of(p)->run = 3, part_of(p)->period = 9; }
static void part_overlapping(struct plan *p) { part_of(p)->run = 4, part_of(p)->period = 3; }
static void part_far(struct plan *p) { part_of(p)->run = 4, part_of(p)->period = 1 << 30; }
static void part_constant(struct plan *p) { part_of(p)->tensor = p->names_bytes - 1; /* the zero byte at the end */ }

static void test_refused(void **state) {
  (void)state;
  static const struct {
    void (*damage)(struct plan *);
    const char *sentence;
  } refused[] = {
      {positions_many, "The plan has vocabulary 20, width 8, positions 16777217: out of range."},
      {positions_none, "The plan has vocabulary 20, width 8, positions 0: out of range."},
      {vocab_wide, "The plan has vocabulary 1048577, width 8, positions 64: out of range."},
      {ops_none, "The plan has 0 ops, 4 weights, 4 values, 0 groups: out of range."},
      {part_uneven, "Weight embed has a part of 20 rows that no tensor can have."},
      {part_overlapping, "Weight embed has a part of 20 rows that no tensor can have."},
      {part_far, "Weight embed has a part of 20 rows that no tensor can have."},
      {part_constant, "Weight embed has a part of 20 rows that no tensor can have."},
      {factor_absent, "Op 1 of the plan (linear, layer 0) multiplies without a factor, or after a norm."},
      {limit_negative, LIMIT(1)},
      {limit_infinite, LIMIT(1)},
      {sum_undefined, LIMIT(1)},
      {limit_ungated, LIMIT(2)},
  };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    struct buffer block;
    struct error error = {0};
    plan_make(&block);
    refused[i].damage((struct plan *)(void *)block.data);
    assert_false(plan_check(buffer_slice(&block), &error));
    assert_string_equal(error.text, refused[i].sentence);
    buffer_release(&block);
  }
}

/* embed → n linears of HIDDEN rows that start at these columns of one value three times as wide. */
static bool columns_make(const int *column, int n, struct error *error) {
  struct plan_builder b;
  struct buffer block;
  plan_builder_init(&b, PLAN_DECODER);
  b.head.vocab = VOCAB, b.head.hidden = HIDDEN, b.head.max_position = 64;
  int x = plan_add_value(&b, HIDDEN, ROWS_TOKENS), y = plan_add_value(&b, 3 * HIDDEN, ROWS_TOKENS);
  struct op op = op_make(OP_EMBED, -1);
  op.out = x;
  op.weight[0] = plan_add_matrix(&b, "embed", (const char *[]){"embed"}, (int[]){VOCAB}, 1, HIDDEN, false);
  plan_add_op(&b, &op);
  for (int i = 0; i < n; i++) {
    op = op_make(OP_LINEAR, 0);
    op.in[0] = x, op.out = y, op.args.linear.column = column[i];
    op.weight[0] = plan_add_matrix(&b, "part", (const char *[]){"part"}, (int[]){HIDDEN}, 1, HIDDEN, false);
    plan_add_op(&b, &op);
  }
  buffer_init(&block, 1 << 20);
  bool ok = plan_finish(&b, &block, error);
  buffer_release(&block);
  plan_builder_release(&b);
  return ok;
}

/* Linears that share a value fill all of it. */
static void test_columns(void **state) {
  (void)state;
#define PARTIAL " fills a part of its output, but the linears right before and after it do not fill the rest."
  static const struct {
    int n, column[3];
    const char *sentence; /* NULL: valid */
  } table[] = {
      {3, {0, 8, 16}, NULL},
      {2, {0, 8}, "Op 2 of the plan (linear, layer 0)" PARTIAL},
      {2, {8, 16}, "Op 1 of the plan (linear, layer 0)" PARTIAL},
      {3, {0, 7, 16}, "Op 1 of the plan (linear, layer 0)" PARTIAL},
      {3, {0, 8, 15}, "Op 2 of the plan (linear, layer 0)" PARTIAL},
      {3, {16, 8, 0}, "Op 1 of the plan (linear, layer 0)" PARTIAL},
      {1, {17}, "Op 1 of the plan (linear, layer 0) does not fit its weight's shape."},
      {1, {-8}, "Op 1 of the plan (linear, layer 0) does not fit its weight's shape."},
  };
#undef PARTIAL
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct error error = {0};
    assert_int_equal(columns_make(table[i].column, table[i].n, &error), table[i].sentence == NULL);
    if (table[i].sentence) assert_string_equal(error.text, table[i].sentence);
  }
}

static void test_scheme_table(void **state) {
  (void)state;
  static const struct {
    struct scheme scheme;
    const char *sentence; /* NULL: valid */
  } table[] = {
      {{.kind = SCHEME_F32}, NULL},
      {{.kind = SCHEME_INT, .bits = 4, .group = 32, .scale = SCALE_F16, .has_min = 1}, NULL},
      {{.kind = SCHEME_INT, .bits = 4, .high_bits = 2, .group = 16, .scale = SCALE_TWO_LEVEL}, NULL},
      {{.kind = 9}, "A weight's scheme has kind 9; expected 0 to 4."},
      {{.kind = SCHEME_F16, .bits = 4},
       "A weight's scheme has integer fields set for float kind 1; expected all zero."},
      {{.kind = SCHEME_INT, .bits = 3, .group = 32},
       "A weight's scheme has code planes of low bits 3; expected 2 or 4 with 0 to 2 high, or 8."},
      {{.kind = SCHEME_INT, .bits = 4, .group = 33}, "A weight's scheme has group 33; expected 0, 16, 32, 64 or 128."},
      {{.kind = SCHEME_INT, .bits = 8, .group = 32, .codebook = CODEBOOK_IQ4},
       "A weight's scheme has codebook with width 8; expected its own, 3 or 4 bits, and no minimum."},
      {{.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN}, NULL},
      {{.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16},
       "A weight's scheme has one scale a row and scale kind 1; expected 0, no minimum and no codebook."},
      {{.kind = SCHEME_INT, .bits = 8, .group = 32, .activation = ACTIVATION_INT8_TOKEN},
       "A weight's scheme has one scale a token and group 32; expected 0: one scale a row."},
      {{.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_E4M3_TOKEN},
       "A weight's scheme has activation 3; expected 0 to 2."},
      {{.kind = SCHEME_F8, .activation = ACTIVATION_E4M3_TOKEN}, NULL},
      {{.kind = SCHEME_F8, .group = 128}, NULL},
      {{.kind = SCHEME_F8, .group = 32}, "A weight's scheme has group 32; expected 0 or 128."},
      {{.kind = SCHEME_F8, .activation = ACTIVATION_INT8}, "A weight's scheme has activation 1; expected 0 or 3."},
      {{.kind = SCHEME_BF16, .group = 128}, "A weight's scheme has group 128; expected 0, as its kind has no scales."},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct error error = {0};
    assert_int_equal(scheme_check(&table[i].scheme, &error), table[i].sentence == NULL);
    if (table[i].sentence) assert_string_equal(error.text, table[i].sentence);
  }
}

static void test_values(void **state) {
  (void)state;
  uint8_t code[32] = {0, 15, 8};
  float scale = 0.5f, min = -3;
  struct codes codes = {.scheme = {.kind = SCHEME_INT, .bits = 4, .group = 32, .has_min = 1},
                        .rows = 1,
                        .cols = 32,
                        .code = code,
                        .scale = &scale,
                        .min = &min};
  assert_float_equal(codes_value(&codes, 0, 1), 4.5, 0);
  codes.scheme.has_min = 0;
  assert_float_equal(codes_value(&codes, 0, 0), -4, 0);
  codes.scheme.codebook = CODEBOOK_IQ4;
  assert_float_equal(codes_value(&codes, 0, 2), 0.5, 0);
  codes.scheme = (struct scheme){.kind = SCHEME_INT, .bits = 4, .group = 32, .scale = SCALE_TWO_LEVEL, .has_min = 1};
  codes.sub = (int8_t[]){3}, codes.sub_min = (uint8_t[]){5};
  codes.super = (uint16_t[]){0x3C00}, codes.super_min = (uint16_t[]){0x4000}; /* 1 and 2 */
  assert_float_equal(codes_value(&codes, 0, 1), 3 * 15 - 2 * 5, 0);
  codes.scheme = (struct scheme){.kind = SCHEME_INT, .bits = 8};
  assert_float_equal(codes_value(&codes, 0, 1), 0.5 * (15 - 128), 0);
  codes.scheme = (struct scheme){.kind = SCHEME_F8};
  assert_float_equal(codes_value(&codes, 0, 1), 0.5 * 15 * 0x1p-9, 0);
}

static void test_scheme_names(void **state) {
  (void)state;
  char name[48];
  struct scheme scheme = {.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN};
  assert_string_equal(scheme_name(&scheme, name), "int8 row f32 a8 token");
  scheme = (struct scheme){.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .group = 128, .has_min = 1};
  assert_string_equal(scheme_name(&scheme, name), "int4 g128 f16 min");
  scheme = (struct scheme){.kind = SCHEME_F8, .group = 128};
  assert_string_equal(scheme_name(&scheme, name), "F8 g128");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_build),        cmocka_unit_test(test_rows),    cmocka_unit_test(test_runs),
      cmocka_unit_test(test_tampered),     cmocka_unit_test(test_refused), cmocka_unit_test(test_columns),
      cmocka_unit_test(test_scheme_table), cmocka_unit_test(test_values),  cmocka_unit_test(test_scheme_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
