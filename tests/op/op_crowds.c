/* Mixtures of experts in steps of many tokens, whose choices are made up: experts that nobody chose, that have one
 * token, as many as fill a tile or half of one, one less and one more, and experts that all tokens chose. A gated
 * spread with a norm, and the gather that adds its results to the residual stream, of shapes that reach each kind of
 * tile on a GPU of 132 multiprocessors (experts_many.cu). Tokens have the same bytes in shorter steps. */
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 1024, SINGLE = 10 }; /* of which each token has one; then come those that everyone has */

/* Tokens that choose expert e first: expert 0 has none. */
static const int crowd[SINGLE] = {0, 1, 63, 64, 65, 127, 128, 129, 191, 256};
static const int tokens[] = {TOKENS, 700, 400, 130, 40, 1};

static const struct limits limits = {
    .seats = 1, .tokens = TOKENS, .outputs = TOKENS, .length = TOKENS, .opt_batch = 4, .block_size = 16};

static const struct shape {
  int k, hidden, inner; /* k − 1 experts have all tokens */
  enum act_kind act;
  bool bias;
} shapes[] = {{2, 128, 64, ACT_SILU, false},  {3, 1088, 128, ACT_SILU, true},      {3, 128, 640, ACT_SILU, true},
              {3, 72, 640, ACT_GELU, false},  {2, 136, 576, ACT_GELU_QUICK, true}, {2, 1536, 64, ACT_SILU, false},
              {2, 128, 768, ACT_TANH, false}, {2, 128, 768, ACT_SILU, true},       {3, 100, 200, ACT_SILU, true}};

static int experts_of(const struct shape *s) { return SINGLE + s->k - 1; }

static void linear_add(struct op_model *m, const struct shape *s, struct op *op, int rows, int cols) {
  const struct scheme bf16 = {.kind = SCHEME_BF16};
  bool gated = op->args.linear.gated;
  op->weight[0] = model_experts(m, bf16, experts_of(s), rows, cols, gated, 2 / sqrtf((float)cols));
  if (s->bias) op->weight[1] = model_expert_bias(m, experts_of(s), rows, gated, -0.5f, 0.5f);
  plan_add_op(&m->builder, op);
}

/* The embedding that the logits are is the second weight. */
static void model_make(struct op_model *m, const struct shape *s) {
  struct op route = op_make(OP_ROUTE, 0), spread = op_make(OP_LINEAR, 0), gather = spread, select = spread;
  model_init(m, TOKENS, 31);
  spread.in[0] = gather.in[1] = gather.out = model_embedded_value(m, s->hidden, 1);
  route.in[0] = model_embedded_value(m, experts_of(s), 1);
  route.out = spread.in[2] = gather.in[2] = plan_add_choice(&m->builder, experts_of(s), s->k);
  route.args.route = (struct route_args){.n_expert = experts_of(s), .k = s->k, .normalize = 1, .scale = 1};
  plan_add_op(&m->builder, &route);
  spread.weight[2] = model_vector(m, s->hidden, 0.5f, 1.5f);
  spread.args.linear.norm = NORM_RMS, spread.args.linear.eps = 1e-5f;
  spread.args.linear.gated = 1, spread.args.linear.act = (uint8_t)s->act;
  if (s->act == ACT_GELU_QUICK) spread.args.linear.limit = 1, spread.args.linear.up_add = 1;
  spread.args.linear.expert_mode = EXPERTS_SPREAD, gather.args.linear.expert_mode = EXPERTS_GATHER;
  spread.out = gather.in[0] = plan_add_value(&m->builder, s->k * s->inner, ROWS_TOKENS);
  linear_add(m, s, &spread, s->inner, s->hidden);
  linear_add(m, s, &gather, s->hidden, s->inner);
  select = op_make(OP_SELECT, 0);
  select.in[0] = gather.out;
  select.out = plan_add_value(&m->builder, s->hidden, ROWS_OUTPUTS);
  plan_add_op(&m->builder, &select);
  model_close(m);
  float *logits = (float *)(uintptr_t)m->codes[1].dense;
  for (int t = 0, expert = 0, left = crowd[0]; t < TOKENS; t++, left--) {
    while (left == 0) left = crowd[++expert];
    for (int e = 0; e < experts_of(s); e++) logits[t * experts_of(s) + e] = e < SINGLE ? -9 : (float)(SINGLE - e) / 2;
    logits[t * experts_of(s) + expert] = 1;
  }
}

static float *results_new(size_t count) {
  float *results = calloc(count, sizeof *results);
  if (!results) op_die("results", &(struct error){.text = "out of memory"});
  return results;
}

struct expected {
  float *result;
  double *tolerance;
  size_t cols;
};

static struct expected expected_make(struct table *table, const struct op_model *m) {
  struct expected x = {.cols = (size_t)plan_values(m->plan)[plan_result(m->plan)].cols};
  struct op_packed packed;
  double squares = 0, part = 1e-4 + 12 * input_roundoff(table, &(struct scheme){.kind = SCHEME_BF16});
  size_t count = TOKENS * x.cols;
  x.result = results_new(count), x.tolerance = calloc(count, sizeof *x.tolerance);
  packed_init(&packed, table->oracle, m);
  struct program *program = packed_compile(&packed, table->oracle_device, &limits);
  program_tokens(&packed, program, &limits, TOKENS, x.result);
  table->oracle->release(program);
  packed_release(&packed);
  for (size_t i = 0; i < count; i++) squares += (double)x.result[i] * x.result[i];
  for (size_t i = 0; x.tolerance && i < count; i++) x.tolerance[i] = part * sqrt(squares / (double)count);
  if (!x.tolerance) op_die("tolerances", &(struct error){.text = "out of memory"});
  return x;
}

/* In one order a token has the bytes that it has in the longest step. */
static void subject_run(const struct op_packed *packed, struct device *device, const struct expected *x, bool invariant,
                        const char *name, struct family *family) {
  struct limits own = limits;
  float *got = results_new(TOKENS * x->cols), *longest = results_new(TOKENS * x->cols);
  char what[160];
  own.batch_invariant = invariant;
  struct program *program = packed_compile(packed, device, &own);
  for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
    size_t count = (size_t)tokens[i] * x->cols;
    snprintf(what, sizeof what, "%s, %d tokens%s", name, tokens[i], invariant ? ", invariant" : "");
    program_tokens(packed, program, &own, tokens[i], got);
    family_compare(family, what, x->result, x->tolerance, got, count);
    if (i == 0) memcpy(longest, got, count * sizeof *got);
    if (invariant && i > 0) family_same(family, what, longest, got, count);
  }
  packed->backend->release(program);
  free(got);
  free(longest);
}

static void shape_run(struct table *table, const struct shape *s, struct family *family) {
  struct op_model m;
  struct op_packed packed;
  char name[120];
  model_make(&m, s);
  if (!family_skips(family, table, &m)) {
    struct expected x = expected_make(table, &m);
    packed_init(&packed, table->tested, &m);
    for (int i = 0; i < table->n_subject; i++)
      for (int invariant = 0; invariant < 2; invariant++) {
        snprintf(name, sizeof name, "%d of %d, %d and %d wide, act %d, %s", s->k, experts_of(s), s->hidden, s->inner,
                 (int)s->act, table->subject[i].name);
        subject_run(&packed, table->subject[i].device[1], &x, invariant, name, family);
      }
    packed_release(&packed);
    free(x.result);
    free(x.tolerance);
  }
  model_release(&m);
}

void crowd_cases(struct table *table) {
  struct family family = {.name = "crowds of experts"};
  bool all = table->tested->target == TARGET_CUDA && !table->few; /* a CPU's kernels have one kind of tile */
  for (size_t i = 0; i < (all ? sizeof shapes / sizeof *shapes : 1); i++) shape_run(table, &shapes[i], &family);
  family_end(table, &family);
}
