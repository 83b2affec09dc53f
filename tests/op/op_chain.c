/* Linears one after the other, as in a layer: each may leave its result to the next in the form that it wants. A
 * token's result has the same bytes in the company of a few others, and where the batch_invariant limit says so of any.
 */
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
  IN = 128,
  WIDTH = 256, /* at most */
  INNER = 128,
  TOKENS = 577,
  FEW = 32 /* which all kernels multiply alike, */,
  CODED_FEW = 8, /* those of 4 and 8 bits alone */
  BROKEN = 1     /* a token that has a number that is none */
};

static const struct limits chain_limits = {
    .seats = 1, .tokens = TOKENS, .outputs = TOKENS, .length = TOKENS, .opt_batch = 4, .block_size = 16};

/* Sizes of batches, of which the first is the greatest; a 0 ends them. Among few cases one of each kind of kernel:
 * tiles whose results are rounded by a kernel of their own, and by their ending, as few as tiles take; streams of 32,
 * 16 and 8 tokens; what is beyond is in the cases of single linears. */
static const int all_tokens[] = {TOKENS, 512, 257, 193, 192, 129,       128, 65, 64, 40,
                                 FEW,    17,  16,  12,  9,   CODED_FEW, 2,   1,  0};
static const int few_tokens[] = {257, 129, 40, FEW, 9, CODED_FEW, 0};
static const int few_invariant[] = {129, CODED_FEW, 0};

static int linear_add(struct op_model *m, struct op *op, int matrix, int cols, int norm_cols, struct linear_args args) {
  op->weight[0] = matrix;
  if (norm_cols) op->weight[2] = model_vector(m, args.norm == NORM_LAYER ? 2 * norm_cols : norm_cols, 0.5f, 1.5f);
  op->out = op->in[1] >= 0 ? op->in[1] : plan_add_value(&m->builder, cols, ROWS_TOKENS);
  if (!norm_cols) args.norm = NORM_NONE;
  args.eps = 1e-5f;
  args.scale = 1;
  args.lora_site = -1;
  op->args.linear = args;
  plan_add_op(&m->builder, op);
  return op->out;
}

/* h = residual + a · norm(x); result = h + d · (silu(g · norm(h)) × u · norm(h)), or, with layer norms,
 * h + d · gelu(u · norm(h)) */
static void chain_make(struct op_model *m, struct scheme scheme, int width, enum norm_kind norm) {
  struct op a = op_make(OP_LINEAR, 0), gate = op_make(OP_LINEAR, 0), down = op_make(OP_LINEAR, 0);
  bool gated = norm == NORM_RMS;
  model_init(m, width, 11);
  a.in[0] = model_embedded_value(m, IN, 1);
  a.in[1] = model_embedded_value(m, width, 1);
  int hidden =
      linear_add(m, &a, model_matrix(m, scheme, width, IN, 0.15f), width, IN, (struct linear_args){.norm = norm});
  gate.in[0] = hidden;
  int up = gated ? model_gated_matrix(m, scheme, INNER, width, 0.15f) : model_matrix(m, scheme, INNER, width, 0.15f);
  int inner = linear_add(m, &gate, up, INNER, width,
                         (struct linear_args){.norm = norm, .gated = gated, .act = gated ? ACT_SILU : ACT_GELU});
  down.in[0] = inner;
  down.in[1] = hidden;
  linear_add(m, &down, model_matrix(m, scheme, width, INNER, 0.15f), width, 0, (struct linear_args){0});
  model_finish(m, hidden, false);
}

/* What rounding an activation changes. Where a scheme rounds them to 8 bits, that is done alike, but of numbers that
 * may differ in their last bits, or have been bf16: some become the next code, of a layer norm's on a CPU too. */
static double roundoff_of(const struct table *table, const struct scheme *scheme, enum norm_kind norm) {
  if (scheme->activation && table->tested->target == TARGET_CUDA) return 0x1p-6;
  return scheme->activation && norm == NORM_LAYER ? 0x1p-10 : input_roundoff(table, scheme);
}

/* Roundings are independent of one another: those of activations, of three linears, are together some 1.2 roundoffs of
 * a result's usual size, and eight are allowed for. */
static double tolerance_of(const struct table *table, const struct scheme *scheme, enum norm_kind norm,
                           const float *expected, int count) {
  double squares = 0;
  for (int i = 0; i < count; i++) squares += (double)expected[i] * expected[i];
  return 1e-5 + 8 * roundoff_of(table, scheme, norm) * sqrt(squares / count);
}

struct chain_oracle {
  int width;
  enum norm_kind norm;
  float expected[TOKENS * WIDTH];
  double tolerance[TOKENS * WIDTH];
};

static void oracle_run(struct table *table, const struct op_model *model, const struct scheme *scheme,
                       struct chain_oracle *oracle) {
  struct op_packed packed;
  packed_init(&packed, table->oracle, model);
  struct program *program = packed_compile(&packed, table->oracle_device, &chain_limits);
  program_tokens(&packed, program, &chain_limits, TOKENS, oracle->expected);
  table->oracle->release(program);
  packed_release(&packed);
  double allowed = tolerance_of(table, scheme, oracle->norm, oracle->expected, TOKENS * oracle->width);
  for (int i = 0; i < TOKENS * oracle->width; i++)
    oracle->tolerance[i] = allowed + 1e-5 * fabs((double)oracle->expected[i]);
}

/* Batches of `most` tokens and fewer have the same bytes. */
static void subject_run(struct table *table, const char *scheme, const struct subject *subject,
                        const struct op_packed *packed, struct limits limits, int most,
                        const struct chain_oracle *oracle) {
  static float got[TOKENS * WIDTH], same[TOKENS * WIDTH];
  const int *tokens = !table->few ? all_tokens : limits.batch_invariant ? few_invariant : few_tokens;
  limits.tokens = limits.outputs = tokens[0];
  if (most > tokens[0]) most = tokens[0];
  struct family family = {0};
  snprintf(family.name, sizeof family.name, "linears one after the other, %s, %d wide%s", scheme, oracle->width,
           oracle->norm == NORM_LAYER ? ", layer norms" : "");
  if (limits.batch_invariant) strcat(family.name, ", batch invariant");
  struct program *program = packed_compile(packed, subject->device[1], &limits);
  for (int t = 0; tokens[t]; t++) {
    size_t count = (size_t)tokens[t] * (size_t)oracle->width;
    program_tokens(packed, program, &limits, tokens[t], got);
    family_compare(&family, subject->name, oracle->expected, oracle->tolerance, got, count);
    if (tokens[t] == most) memcpy(same, got, count * sizeof *got);
    if (tokens[t] < most) family_same(&family, subject->name, same, got, count);
  }
  table->tested->release(program);
  family_end(table, &family);
}

/* result = b · (a · norm(x)): what is no number reaches b as it left a, and nothing else does. x's table is weight 0.
 */
static void pair_make(struct op_model *m, struct scheme scheme, int width) {
  struct op a = op_make(OP_LINEAR, 0), b = op_make(OP_LINEAR, 0);
  model_init(m, width, 12);
  a.in[0] = model_embedded_value(m, IN, 1);
  b.in[0] =
      linear_add(m, &a, model_matrix(m, scheme, width, IN, 0.15f), width, IN, (struct linear_args){.norm = NORM_RMS});
  int result = linear_add(m, &b, model_matrix(m, scheme, width, width, 0.15f), width, 0, (struct linear_args){0});
  model_finish(m, result, false);
}

static bool rows_right(const float *sound, const float *got, int n, int width) {
  bool right = true;
  for (int i = 0; i < n; i++) {
    const float *row = got + (size_t)i * (size_t)width;
    if (i % width != BROKEN)
      right = right && memcmp(row, sound + (size_t)i * (size_t)width, (size_t)width * sizeof *row) == 0;
    for (int j = 0; i % width == BROKEN && j < width; j++) right = right && isnan(row[j]);
  }
  return right;
}

/* A token that is no number stays none through a linear that no norm comes before, and changes no other. */
static void broken_run(struct table *table, const char *scheme, const struct subject *subject,
                       const struct op_model *model, int width) {
  static float sound[TOKENS * WIDTH], got[TOKENS * WIDTH];
  static const int tokens[] = {129, FEW, 12, CODED_FEW, 2};
  struct family family = {0};
  snprintf(family.name, sizeof family.name, "a token that is no number, %s, %d wide", scheme, width);
  float *number = (float *)(uintptr_t)model->codes[0].dense + (size_t)BROKEN * IN + IN / 2, kept = *number;
  for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
    for (int broken = 0; broken < 2; broken++) {
      struct op_packed packed;
      *number = broken ? NAN : kept;
      packed_init(&packed, table->tested, model);
      struct program *program = packed_compile(&packed, subject->device[1], &chain_limits);
      program_tokens(&packed, program, &chain_limits, tokens[t], broken ? got : sound);
      table->tested->release(program);
      packed_release(&packed);
      if (broken) family_note(&family, subject->name, rows_right(sound, got, tokens[t], width));
    }
  *number = kept;
  family_end(table, &family);
}

static void norm_cases(struct table *table, const struct scheme *scheme, int width, enum norm_kind norm) {
  static struct chain_oracle oracle;
  struct limits invariant = chain_limits;
  struct op_model model;
  struct op_packed packed;
  char name[48];
  scheme_name(scheme, name);
  invariant.batch_invariant = true;
  oracle.width = width, oracle.norm = norm;
  chain_make(&model, *scheme, width, norm);
  oracle_run(table, &model, scheme, &oracle);
  packed_init(&packed, table->tested, &model);
  bool coded = scheme->kind >= SCHEME_INT;
  for (int s = 0; s < table->n_subject; s++) {
    subject_run(table, name, &table->subject[s], &packed, chain_limits, coded ? CODED_FEW : FEW, &oracle);
    subject_run(table, name, &table->subject[s], &packed, invariant, TOKENS, &oracle);
  }
  packed_release(&packed);
  model_release(&model);
}

static void scheme_cases(struct table *table, const struct scheme *scheme, int width) {
  struct op_model model;
  char name[48];
  if (!strstr(scheme_name(scheme, name), table->text)) return;
  for (enum norm_kind norm = NORM_RMS; norm <= NORM_LAYER; norm++) norm_cases(table, scheme, width, norm);
  pair_make(&model, *scheme, width);
  for (int s = 0; s < table->n_subject; s++) broken_run(table, name, &table->subject[s], &model, width);
  model_release(&model);
}

void chain_cases(struct table *table) {
  static const struct scheme schemes[] = {
      {.kind = SCHEME_BF16},
      {.kind = SCHEME_F16},
      {.kind = SCHEME_F8, .activation = ACTIVATION_E4M3_TOKEN},
      {.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN},
      {.kind = SCHEME_F8},
      {.kind = SCHEME_F8, .group = 128},
      {.kind = SCHEME_INT, .bits = 8},
      {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16, .has_min = 1, .group = 128},
      {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .has_min = 1, .group = 128},
  };
  static const int widths[] = {192, WIDTH}; /* with half a piece of 128 columns, and without */
  for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++)
    for (int w = 0; w < (table->few ? 1 : 2); w++) scheme_cases(table, &schemes[s], widths[w]);
}
