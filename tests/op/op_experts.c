/* Mixtures of experts: choices against the reference's, with ties, groups, and logits that are no numbers; linears over
 * chosen matrices, of every scheme, in steps in which experts have no token, one, many or all, and the same bytes
 * whatever else is in the step. */
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 150, IDS = 64 }; /* tokens of a step at most; ids, over again */

static const int batch_tokens[] = {TOKENS, 64, 33, 9, 2, 1};
enum { BATCHES = sizeof batch_tokens / sizeof *batch_tokens };

static const struct limits limits = {
    .seats = 1, .tokens = TOKENS, .outputs = TOKENS, .length = TOKENS, .opt_batch = 4, .block_size = 16};

static void experts_init(struct op_model *m, uint64_t seed) { model_init(m, IDS, seed); }

/* Outputs of all tokens, which nothing samples. */
static void experts_finish(struct op_model *m, int value) {
  struct op select = op_make(OP_SELECT, 0);
  int cols = ((const struct value *)(const void *)m->builder.values.data)[value].cols;
  select.in[0] = value;
  select.out = plan_add_value(&m->builder, cols, ROWS_OUTPUTS);
  plan_add_op(&m->builder, &select);
  model_close(m);
}

static size_t result_cols(const struct op_model *m) { return (size_t)plan_values(m->plan)[plan_result(m->plan)].cols; }

static float *floats_new(size_t count) {
  float *floats = calloc(count, sizeof *floats);
  if (!floats) op_die("floats", &(struct error){.text = "out of memory"});
  return floats;
}

/* The model's results for all tokens. */
static float *results_of(const struct op_model *m, const struct backend *backend, struct device *device, int n,
                         float *out) {
  struct op_packed packed;
  packed_init(&packed, backend, m);
  struct program *program = packed_compile(&packed, device, &limits);
  program_tokens(&packed, program, &limits, n, out);
  backend->release(program);
  packed_release(&packed);
  return out;
}

/* The oracle's results; ids come over again, and so do a token's numbers, whatever is beside it. */
static float *expected_of(const struct table *table, const struct op_model *m) {
  size_t cols = result_cols(m);
  float *expected = results_of(m, table->oracle, table->oracle_device, IDS, floats_new(TOKENS * cols));
  for (size_t i = IDS * cols; i < TOKENS * cols; i++) expected[i] = expected[i - IDS * cols];
  return expected;
}

/* Each kernel set with one thread and with two, in steps of all sizes, against what the oracle says. */
static void model_run(struct table *table, const struct op_model *m, const char *what, const float *expected,
                      const double *tolerance, struct family *family) {
  size_t cols = result_cols(m);
  float *got = floats_new(TOKENS * cols), *same = floats_new(TOKENS * cols);
  struct op_packed packed;
  char name[160];
  packed_init(&packed, table->tested, m);
  for (int s = 0; s < table->n_subject; s++)
    for (int k = 0; k < (table->few ? 1 : 2); k++) {
      struct program *program = packed_compile(&packed, table->subject[s].device[k], &limits);
      for (int b = 0; b < BATCHES; b += table->few ? 3 : 1) {
        snprintf(name, sizeof name, "%s, %s, %d threads, %d tokens", what, table->subject[s].name, k + 1,
                 batch_tokens[b]);
        program_tokens(&packed, program, &limits, batch_tokens[b], got);
        if (b == 0) memcpy(same, got, TOKENS * cols * sizeof *got);
        family_compare(family, name, expected, tolerance, got, (size_t)batch_tokens[b] * cols);
        if (table->tested->target != TARGET_CUDA) family_same(family, name, same, got, (size_t)batch_tokens[b] * cols);
      }
      table->tested->release(program);
    }
  packed_release(&packed);
  free(got);
  free(same);
}

/* --- routes ------------------------------------------------------------------------------------------------------- */

struct route_case {
  const char *name;
  struct route_args args; /* scale 0: 1 */
  bool bias;
  enum { LOGITS_RANDOM, LOGITS_TIED, LOGITS_BROKEN } logits;
};

static const struct route_case routes[] = {
    {"softmax", {.n_expert = 8, .k = 2}, .bias = false},
    {"softmax, normalized", {.n_expert = 128, .k = 8, .normalize = 1}, .bias = false},
    {"one of many", {.n_expert = 60, .k = 1}, .bias = false},
    {"all", {.n_expert = 5, .k = 5, .normalize = 1}, .bias = false},
    {"the only one", {.n_expert = 1, .k = 1}, .bias = false},
    {"softmax over the chosen", {.n_expert = 32, .k = 4, .score = ROUTE_CHOSEN}, .bias = false},
    {"softmax over what is near", {.n_expert = 40, .k = 3, .score = ROUTE_NEAR, .near = 0.4f}, .bias = false},
    {"sigmoid, bias, scale", {.n_expert = 16, .k = 3, .score = ROUTE_SIGMOID, .scale = 2.5f}, .bias = true},
    {"sigmoid, bias, pairs, normalized",
     {.n_expert = 24,
      .k = 4,
      .n_group = 6,
      .top_group = 2,
      .score = ROUTE_SIGMOID,
      .group_pair = 1,
      .normalize = 1,
      .scale = 1.5f},
     .bias = true},
    {"softmax, groups", {.n_expert = 24, .k = 6, .n_group = 4, .top_group = 3}, .bias = false},
    {"softmax, pairs", {.n_expert = 12, .k = 3, .n_group = 3, .top_group = 1, .group_pair = 1}, .bias = false},
    {"ties", {.n_expert = 20, .k = 7}, .logits = LOGITS_TIED},
    {"ties in groups", {.n_expert = 20, .k = 7, .n_group = 5, .top_group = 2}, .logits = LOGITS_TIED},
    {"no numbers", {.n_expert = 20, .k = 7}, .logits = LOGITS_BROKEN},
    {"no numbers in groups",
     {.n_expert = 20, .k = 3, .n_group = 5, .top_group = 1, .group_pair = 1},
     .logits = LOGITS_BROKEN},
    {"no numbers, bias", {.n_expert = 20, .k = 7, .score = ROUTE_SIGMOID}, .bias = true, .logits = LOGITS_BROKEN},
};

/* Logits of three values, or NaN and infinities among numbers and whole rows of NaN. */
static void logits_spoil(const struct route_case *c, const struct op_model *m) {
  float *logits = (float *)(uintptr_t)m->codes[0].dense;
  for (int i = 0; i < IDS * c->args.n_expert; i++) {
    if (c->logits == LOGITS_TIED) logits[i] = rintf(logits[i]);
    if (c->logits != LOGITS_BROKEN) continue;
    if (i % 5 == 1 || i / c->args.n_expert % 8 == 3) logits[i] = NAN;
    if (i % 11 == 2 && i / c->args.n_expert % 2) logits[i] = i % 3 ? -INFINITY : INFINITY;
  }
}

static void route_make(const struct route_case *c, struct op_model *m) {
  struct op op = op_make(OP_ROUTE, 0);
  experts_init(m, 5);
  op.in[0] = model_embedded_value(m, c->args.n_expert, 1.4f);
  if (c->bias) op.weight[0] = model_vector(m, c->args.n_expert, -0.4f, 0.4f);
  op.out = plan_add_choice(&m->builder, c->args.n_expert, c->args.k);
  op.args.route = c->args;
  if (op.args.route.scale == 0) op.args.route.scale = 1;
  plan_add_op(&m->builder, &op);
  experts_finish(m, op.out);
  logits_spoil(c, m);
}

/* Ids that are different, of experts, and the oracle's; where logits are none, weights need not be numbers. */
static bool ids_right(const struct route_case *c, const float *expected, const float *got) {
  int k = c->args.k, n = c->args.n_expert;
  for (int t = 0; t < TOKENS; t++, expected += 2 * k, got += 2 * k)
    for (int j = 0; j < k; j++) {
      if (!(got[j] >= 0 && got[j] < (float)n) || got[j] != rintf(got[j]) || got[j] != expected[j]) return false;
      for (int i = 0; i < j; i++)
        if (got[i] == got[j]) return false;
    }
  return true;
}

static void route_run(struct table *table, const struct route_case *c, struct family *family) {
  struct op_model m;
  route_make(c, &m);
  if (!family_skips(family, table, &m)) {
    size_t cols = result_cols(&m), count = TOKENS * cols;
    float *expected = expected_of(table, &m);
    float *got = floats_new(count);
    double *tolerance = calloc(count, sizeof *tolerance);
    for (size_t i = 0; tolerance && i < count; i++)
      tolerance[i] = i % cols < (size_t)c->args.k ? 1e-9 : 1e-6 + 4e-6 * fabs((double)expected[i]);
    if (c->logits == LOGITS_BROKEN)
      for (int s = 0; s < table->n_subject; s++)
        family_note(family, c->name,
                    ids_right(c, expected, results_of(&m, table->tested, table->subject[s].device[1], TOKENS, got)));
    else if (tolerance)
      model_run(table, &m, c->name, expected, tolerance, family);
    free(expected);
    free(got);
    free(tolerance);
  }
  model_release(&m);
}

/* --- linears ------------------------------------------------------------------------------------------------------ */

struct experts_case {
  const char *name;
  int n_expert, k, rows, cols;
  enum expert_mode mode;
  uint8_t norm, act;
  bool gated, bias, residual, multiply;
  float scale, softcap, limit, up_add;
  bool crowd; /* a bias of the choice makes an expert everyone's first */
};

static const struct experts_case experts[] = {
    {"spread", 8, 2, 48, 96, EXPERTS_SPREAD, .scale = 1},
    {"spread, gated silu, bias, norm", 12, 3, 40, 64, EXPERTS_SPREAD, NORM_RMS, ACT_SILU, .gated = true, .bias = true,
     .scale = 1},
    {"spread, multiplied in place", 8, 2, 33, 64, EXPERTS_SPREAD, .residual = true, .multiply = true, .scale = 1},
    {"spread, layer norm, gelu, softcap, scale", 5, 5, 20, 100, EXPERTS_SPREAD, NORM_LAYER, ACT_GELU, .scale = 0.5f,
     .softcap = 3},
    {"spread, one of many", 64, 1, 32, 64, EXPERTS_SPREAD, .scale = 1},
    {"spread, gated quick gelu, limit, one more than up, bias", 10, 4, 40, 96, EXPERTS_SPREAD, NORM_RMS, ACT_GELU_QUICK,
     .gated = true, .bias = true, .scale = 1, .limit = 0.7f, .up_add = 1},
    {"gather", 8, 2, 96, 48, EXPERTS_GATHER, .scale = 1},
    {"gather, bias, residual, scale", 12, 3, 530, 40, EXPERTS_GATHER, .bias = true, .residual = true, .scale = 0.7f},
    {"gather, all", 6, 6, 33, 100, EXPERTS_GATHER, .residual = true, .scale = 1},
    {"gather, a crowd", 32, 4, 64, 96, EXPERTS_GATHER, .residual = true, .scale = 1, .crowd = true},
    {"each", 6, 6, 48, 100, EXPERTS_EACH, .scale = 1},
    {"each, gated silu, bias", 4, 4, 40, 64, EXPERTS_EACH, NORM_NONE, ACT_SILU, .gated = true, .bias = true,
     .scale = 0.5f},
    {"each of 64, residual", 64, 64, 33, 20, EXPERTS_EACH, .residual = true, .scale = 1, .softcap = 3},
    {"each, multiplied in place", 8, 8, 16, 64, EXPERTS_EACH, .residual = true, .multiply = true, .scale = 1},
    {"spread, a crowd, gated", 32, 4, 48, 96, EXPERTS_SPREAD, NORM_NONE, ACT_SILU, .gated = true, .scale = 1,
     .crowd = true},
};

static int choice_add(struct op_model *m, const struct experts_case *c) {
  struct op op = op_make(OP_ROUTE, 0);
  op.in[0] = model_embedded_value(m, c->n_expert, 1);
  op.out = plan_add_choice(&m->builder, c->n_expert, c->k);
  op.args.route = (struct route_args){.n_expert = c->n_expert, .k = c->k, .normalize = 1, .scale = 1};
  if (c->crowd) op.args.route.score = ROUTE_SIGMOID, op.weight[0] = model_vector(m, c->n_expert, 0, 0);
  plan_add_op(&m->builder, &op);
  return op.out;
}

/* The bias of the choice is zero but for one expert. */
static void crowd_make(const struct experts_case *c, const struct op_model *m, int bias) {
  if (c->crowd) ((float *)(uintptr_t)m->codes[bias].dense)[c->n_expert / 2] = 100;
}

static void experts_make(const struct experts_case *c, struct scheme scheme, struct op_model *m) {
  struct op op = op_make(OP_LINEAR, 0);
  bool spread = c->mode == EXPERTS_SPREAD, floats = scheme.activation == ACTIVATION_FLOAT;
  int wide_in = (spread ? 1 : c->k) * c->cols, wide_out = (c->mode == EXPERTS_GATHER ? 1 : c->k) * c->rows;
  experts_init(m, 9);
  op.in[0] = model_embedded_value(m, wide_in, 1);
  if (c->residual) op.in[1] = model_embedded_value(m, wide_out, 1);
  if (c->mode != EXPERTS_EACH) op.in[2] = choice_add(m, c);
  int choice_bias = c->crowd ? m->builder.head.n_weight - 1 : -1;
  op.out = c->residual ? op.in[1] : plan_add_value(&m->builder, wide_out, ROWS_TOKENS);
  op.weight[0] = model_experts(m, scheme, c->n_expert, c->rows, c->cols, c->gated, 3 / sqrtf((float)c->cols));
  if (c->bias) op.weight[1] = model_expert_bias(m, c->n_expert, c->rows, c->gated, -1, 1);
  uint8_t norm = floats ? c->norm : NORM_NONE; /* a norm's last bit would move codes */
  if (norm) op.weight[2] = model_vector(m, norm == NORM_LAYER ? 2 * c->cols : c->cols, 0.5f, 1.5f);
  op.args.linear = (struct linear_args){.norm = norm,
                                        .act = c->act,
                                        .gated = c->gated,
                                        .multiply = c->multiply,
                                        .expert_mode = (uint8_t)c->mode,
                                        .eps = 1e-5f,
                                        .scale = c->scale,
                                        .softcap = c->softcap,
                                        .limit = c->limit,
                                        .up_add = c->up_add,
                                        .lora_site = -1};
  plan_add_op(&m->builder, &op);
  experts_finish(m, op.out);
  if (c->crowd) crowd_make(c, m, choice_bias);
}

/* Sums of some hundred products of numbers of about one size: 5e-5 of a result's usual size is many of their roundings.
 */
static double *tolerance_of(const struct table *table, const struct scheme *scheme, bool gated, const float *expected,
                            size_t count) {
  double *tolerance = calloc(count, sizeof *tolerance), squares = 0;
  if (!tolerance) op_die("tolerance", &(struct error){.text = "out of memory"});
  for (size_t i = 0; i < count; i++) squares += (double)expected[i] * expected[i];
  double off = input_roundoff(table, scheme);
  double part = 5e-5 + (table->rounds_bf16 ? 16 : 8) * off; /* a CPU's is half of a GPU's */
  /* Of a gate's product with up both are off, the more the greater the other. */
  for (size_t i = 0; i < count; i++)
    tolerance[i] = part * sqrt(squares / (double)count) + (1e-5 + (gated ? 4 * off : 0)) * fabs((double)expected[i]);
  return tolerance;
}

static void experts_run(struct table *table, const struct experts_case *c, const struct scheme *scheme,
                        struct family *family) {
  struct op_model m;
  experts_make(c, *scheme, &m);
  if (!family_skips(family, table, &m)) {
    size_t count = TOKENS * result_cols(&m);
    float *expected = expected_of(table, &m);
    double *tolerance = tolerance_of(table, scheme, c->gated || c->multiply, expected, count);
    model_run(table, &m, c->name, expected, tolerance, family);
    free(expected);
    free(tolerance);
  }
  model_release(&m);
}

void expert_cases(struct table *table) {
  struct family choices = {.name = "routes"};
  for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) route_run(table, &routes[i], &choices);
  family_end(table, &choices);
  for (int s = 0; s < op_scheme_count; s++) {
    struct family family = {0};
    char name[48];
    snprintf(family.name, sizeof family.name, "experts %s", scheme_name(&op_schemes[s], name));
    if (!strstr(name, table->text)) continue;
    for (size_t i = 0; i < sizeof experts / sizeof *experts; i++)
      if (!table->few || i % 3 == (size_t)s % 3) experts_run(table, &experts[i], &op_schemes[s], &family);
    family_end(table, &family);
  }
}
