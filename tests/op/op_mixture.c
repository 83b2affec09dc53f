/* A mixture of experts as a layer has it: a choice, a gated spread with a norm, and the gather that adds its results to
 * the residual stream, which a backend may leave in another form than floats. Steps of prompts, and of rows with a
 * token each, whose numbers are those of graphs and others. And linears of which each matrix has a part of its input.
 */
#include "base/half.h"
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 150, IDS = 64, WIDTH_MOST = 4096, BEFORE = 192, HEAD = 64, KV_HEADS = 2, BLOCK = 16 };

static const int prompts[] = {TOKENS, 65, 33, 32, 17, 9, 2, 1}, rows[] = {STEP_ROWS, 9, 8, 1};

/* Of those cases that are for the one launch of few tokens: 9 rows are a graph of 16, the others absent. */
static const int few_prompts[] = {17, 16, 8, 2, 1}, few_rows[] = {16, 9, 8, 4, 1};

static const struct limits limits = {.seats = STEP_ROWS,
                                     .tokens = TOKENS,
                                     .outputs = TOKENS,
                                     .length = TOKENS,
                                     .opt_batch = 4,
                                     .block_size = BLOCK,
                                     .kv_dtype = KV_F16,
                                     .n_block = {STEP_ROWS}};

static const struct mixture {
  int n_expert, k, hidden, inner; /* inner: in whole pieces of 64 columns, or not; k 0: each has a part */
  bool bias, router;              /* router: logits are a linear's, with the same norm. All are chosen then, as which
                                   * ones would change with the last bits. */
  uint8_t score;
  int before;  /* columns of the linear before a router; 0: BEFORE */
  bool levels; /* a router's rows, or logits, are levels well apart, so that a choice of some is the same everywhere;
                * given ones have no numbers among them */
  int after;   /* rows of the linear after, which makes queries, keys and values and is the result; 0: none */
} mixtures[] = {
    {16, 4, 128, 64, false, false, .score = ROUTE_SOFTMAX},  {8, 2, 192, 48, true, false, .score = ROUTE_SOFTMAX},
    {40, 6, 72, 128, true, false, .score = ROUTE_SIGMOID},   {160, 8, 320, 192, false, false, .score = ROUTE_CHOSEN},
    {12, 12, 320, 576, true, true, .score = ROUTE_SOFTMAX},  {5, 5, 200, 192, false, true, .score = ROUTE_CHOSEN},
    {3, 0, 40, 80, true, false, .score = ROUTE_SOFTMAX},     {3, 0, 512, 40, false, false, .score = ROUTE_SOFTMAX},
    {32, 4, 320, 192, false, false, .score = ROUTE_SOFTMAX}, {4, 0, 128, 80, false, false, .score = ROUTE_SOFTMAX},
    {4, 2, 64, 2112, true, false, .score = ROUTE_SOFTMAX}};

/* Of BF16 alone, in steps of few tokens: more experts than multiprocessors; no numbers; several pieces a warp and
 * several strips a block, of the linears before and after, too; as many pairs as one launch takes. */
static const struct mixture few_mixtures[] = {{160, 8, 128, 64, true, true, .score = ROUTE_SOFTMAX, .levels = true},
                                              {40, 6, 128, 64, false, false, .score = ROUTE_SIGMOID, .levels = true},
                                              {4, 2, 2304, 64, false, false, .score = ROUTE_SOFTMAX},
                                              {3, 3, 2304, 64, true, true, .score = ROUTE_CHOSEN, .before = 640},
                                              {4, 2, 4096, 64, true, false, .score = ROUTE_CHOSEN, .before = 4096},
                                              {3, 3, 2048, 64, false, true, .score = ROUTE_CHOSEN, .after = 2304},
                                              {4, 2, 128, 64, true, false, .score = ROUTE_SOFTMAX, .after = 384},
                                              {32, 16, 576, 128, true, false, .score = ROUTE_SOFTMAX}};

/* Of those of 4 and 8 bits all that a GPU has kernels for. */
static const struct scheme schemes[] = {
    {.kind = SCHEME_F32},
    {.kind = SCHEME_BF16},
    {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16, .group = 32},
    {.kind = SCHEME_F8},
    {.kind = SCHEME_F8, .group = 128},
    {.kind = SCHEME_F8, .activation = ACTIVATION_E4M3_TOKEN},
    {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F32},
    {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F32, .activation = ACTIVATION_INT8_TOKEN},
    {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16, .group = 128, .has_min = 1},
    {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .group = 128, .has_min = 1},
    {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .group = 128},
    {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .group = 32, .has_min = 1},
    {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .group = 32},
    {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_BF16, .group = 32, .codebook = CODEBOOK_E2M1},
};

static int linear_add(struct op_model *m, const struct mixture *s, const struct scheme *scheme, struct op *op,
                      int n_row, int n_col) {
  bool gated = op->args.linear.gated;
  op->weight[0] = model_experts(m, *scheme, s->n_expert, n_row, n_col, gated, 2 / sqrtf((float)n_col));
  if (s->bias) op->weight[1] = model_expert_bias(m, s->n_expert, n_row, gated, -0.5f, 0.5f);
  plan_add_op(&m->builder, op);
  return op->out;
}

/* What adds to the stream before a router, as attention's last linear does. */
static void before_add(struct op_model *m, const struct mixture *s, const struct scheme *scheme, int x) {
  struct op before = op_make(OP_LINEAR, 0);
  int cols = s->before ? s->before : BEFORE;
  before.in[0] = model_embedded_value(m, cols, 1);
  before.in[1] = before.out = x;
  before.weight[0] = model_matrix(m, *scheme, s->hidden, cols, 1 / sqrtf((float)cols));
  plan_add_op(&m->builder, &before);
}

static int router_add(struct op_model *m, const struct mixture *s, const struct scheme *scheme, int in, int norm) {
  struct op router = op_make(OP_LINEAR, 0);
  router.in[0] = in;
  router.out = plan_add_value(&m->builder, s->n_expert, ROWS_TOKENS);
  router.weight[0] = model_matrix(m, *scheme, s->n_expert, s->hidden, 2 / sqrtf((float)s->hidden));
  if (s->bias) router.weight[1] = model_vector(m, s->n_expert, -0.5f, 0.5f);
  router.weight[2] = norm;
  router.args.linear.norm = NORM_RMS, router.args.linear.eps = 1e-5f;
  plan_add_op(&m->builder, &router);
  return router.out;
}

static int mixture_add(struct op_model *m, const struct mixture *s, const struct scheme *scheme) {
  struct op route = op_make(OP_ROUTE, 0), spread = op_make(OP_LINEAR, 0), gather = spread;
  int norm = model_vector(m, s->hidden, 0.5f, 1.5f), x = model_embedded_value(m, s->hidden, 1);
  spread.in[0] = gather.in[1] = gather.out = x;
  if (s->router) before_add(m, s, scheme, x);
  route.in[0] = s->router ? router_add(m, s, scheme, spread.in[0], norm) : model_embedded_value(m, s->n_expert, 1);
  route.out = spread.in[2] = gather.in[2] = plan_add_choice(&m->builder, s->n_expert, s->k);
  route.args.route =
      (struct route_args){.n_expert = s->n_expert, .k = s->k, .score = s->score, .normalize = 1, .scale = 1};
  plan_add_op(&m->builder, &route);
  spread.weight[2] = norm;
  spread.args.linear.norm = NORM_RMS, spread.args.linear.eps = 1e-5f;
  spread.args.linear.gated = 1, spread.args.linear.act = ACT_SILU;
  spread.args.linear.expert_mode = EXPERTS_SPREAD, gather.args.linear.expert_mode = EXPERTS_GATHER;
  spread.out = gather.in[0] = plan_add_value(&m->builder, s->k * s->inner, ROWS_TOKENS);
  linear_add(m, s, scheme, &spread, s->inner, s->hidden);
  return linear_add(m, s, scheme, &gather, s->hidden, s->inner);
}

static int parts_add(struct op_model *m, const struct mixture *s, const struct scheme *scheme) {
  struct op op = op_make(OP_LINEAR, 0);
  op.in[0] = model_embedded_value(m, s->n_expert * s->hidden, 1);
  op.args.linear.expert_mode = EXPERTS_EACH;
  op.out = plan_add_value(&m->builder, s->n_expert * s->inner, ROWS_TOKENS);
  return linear_add(m, s, scheme, &op, s->inner, s->hidden);
}

/* The next layer's beginning. */
static int after_add(struct op_model *m, const struct mixture *s, const struct scheme *scheme, int x) {
  struct op after = op_make(OP_LINEAR, 1), attend = op_make(OP_ATTEND, 1);
  float frequency[HEAD / 2] = {1};
  int n_head = s->after / HEAD - 2 * KV_HEADS;
  after.in[0] = x;
  after.out = attend.in[0] = plan_add_value(&m->builder, s->after, ROWS_TOKENS);
  after.weight[0] = model_matrix(m, *scheme, s->after, s->hidden, 1 / sqrtf((float)s->hidden));
  if (s->bias) after.weight[1] = model_vector(m, s->after, -0.5f, 0.5f);
  after.weight[2] = model_vector(m, s->hidden, 0.5f, 1.5f);
  after.args.linear.norm = NORM_RMS, after.args.linear.eps = 1e-5f;
  plan_add_op(&m->builder, &after);
  attend.out = plan_add_value(&m->builder, n_head * HEAD, ROWS_TOKENS);
  attend.args.attend = (struct attend_args){.n_head = n_head,
                                            .n_kv_head = KV_HEADS,
                                            .dim_k = HEAD,
                                            .dim_v = HEAD,
                                            .rope_style = ROPE_HALF,
                                            .rope_dim = HEAD,
                                            .rope_freq = plan_add_floats(&m->builder, frequency, HEAD / 2),
                                            .rope_scale = 1,
                                            .eps = 1e-5f,
                                            .scale = 0.125f};
  plan_add_group(&m->builder, (struct kv_group){.n_layer = 1, .n_head = KV_HEADS, .dim_k = HEAD, .dim_v = HEAD});
  plan_add_op(&m->builder, &attend);
  return after.out;
}

static void *numbers_of(struct op_model *m, int weight) { return (void *)(uintptr_t)m->codes[weight].dense; }

static int level_of(int expert, int n_expert) { return expert * 37 % n_expert; }

/* Tokens' first column is 8 or −8, and a router's rows have levels there and nothing else: every other token prefers
 * the experts that the others do not. */
static void router_level(struct op_model *m, const struct mixture *s, int x, const struct op *router) {
  float *first = numbers_of(m, x), *bias = numbers_of(m, router->weight[1]);
  uint16_t *rows_of = numbers_of(m, router->weight[0]);
  for (int id = 0; id < IDS; id++) first[(size_t)id * (size_t)s->hidden] = id % 2 ? 8 : -8;
  memset(rows_of, 0, (size_t)s->n_expert * (size_t)s->hidden * sizeof *rows_of);
  memset(bias, 0, (size_t)s->n_expert * sizeof *bias);
  for (int e = 0; e < s->n_expert; e++)
    rows_of[(size_t)e * (size_t)s->hidden] = bfloat_from_float((float)(level_of(e, s->n_expert) - 80) / 64);
}

/* Every third is no number, in turns, of any sign and bits. */
static void logits_level(struct op_model *m, const struct mixture *s, int logits) {
  static const uint32_t none[] = {0xffffffffu, 0x7fc00000u, 0x7f800001u};
  uint32_t *numbers = numbers_of(m, logits);
  for (int i = 0; i < IDS * s->n_expert; i++)
    if ((i / s->n_expert + i % s->n_expert) % 3 == 0) numbers[i] = none[i / 3 % 3];
}

static void levels_fill(struct op_model *m, const struct mixture *s) {
  const struct op *op = plan_ops(m->plan), *route = op;
  while (route->kind != OP_ROUTE) route++;
  if (s->router)
    router_level(m, s, op[0].weight[0], route - 1);
  else
    logits_level(m, s, op[1].weight[0]);
}

static void model_make(struct op_model *m, const struct mixture *s, const struct scheme *scheme) {
  struct op select = op_make(OP_SELECT, 0);
  model_init(m, IDS, 21);
  select.in[0] = s->k > 0 ? mixture_add(m, s, scheme) : parts_add(m, s, scheme);
  if (s->after) select.in[0] = after_add(m, s, scheme, select.in[0]);
  int cols = ((const struct value *)(const void *)m->builder.values.data)[select.in[0]].cols;
  select.out = plan_add_value(&m->builder, cols, ROWS_OUTPUTS);
  plan_add_op(&m->builder, &select);
  model_close(m);
  if (s->levels) levels_fill(m, s);
}

/* Of the cache, where there is one. */
static uint32_t block[STEP_ROWS];

/* Rows of a token each; returns how many numbers come of them. */
static void rows_run(const struct op_packed *packed, struct program *program, int n, float *result) {
  struct op_step step;
  step_begin(&step);
  for (int i = 0; i < n; i++) step_add(&step, IDS, i, 0, 1, block + i, 1);
  program_step(packed, program, &limits, step.batch, NULL, result);
}

/* A prompt. */
static void tokens_run(const struct op_packed *packed, struct program *program, int n, float *result) {
  struct op_step step;
  if (packed->model->plan->n_group == 0) {
    program_tokens(packed, program, &limits, n, result);
    return;
  }
  step_begin(&step);
  step_add(&step, IDS, 0, 0, n, block, (n + BLOCK - 1) / BLOCK);
  program_step(packed, program, &limits, step.batch, NULL, result);
}

/* A kernel of few times: 33 and 9 tokens, 8 rows: in tiles, and few. The first that runs are the most. */
static bool left_out(const struct table *table, int i) { return table->few && i % 3 != 2; }

struct run {
  struct table *table;
  const char *name;
  const int *prompts, *rows;
  int n_prompt, n_row; /* of those; the first are the largest */
  size_t cols;
  float expected[TOKENS * WIDTH_MOST], by_row[STEP_ROWS * WIDTH_MOST], got[TOKENS * WIDTH_MOST];
  double tolerance[TOKENS * WIDTH_MOST];
};

/* No more than runs is asked of the oracle; ids come over again, and so do a token's numbers, whatever is beside it. */
static void expected_make(struct run *r, const struct op_model *m, const struct scheme *scheme) {
  struct op_packed packed;
  double squares = 0;
  int first = r->table->few ? 2 : 0, n = r->prompts[first], own = n < IDS ? n : IDS;
  packed_init(&packed, r->table->oracle, m);
  struct program *program = packed_compile(&packed, r->table->oracle_device, &limits);
  tokens_run(&packed, program, own, r->expected);
  for (size_t i = (size_t)own * r->cols; i < (size_t)n * r->cols; i++) r->expected[i] = r->expected[i - IDS * r->cols];
  rows_run(&packed, program, r->rows[first], r->by_row);
  r->table->oracle->release(program);
  packed_release(&packed);
  size_t count = (size_t)n * r->cols;
  for (size_t i = 0; i < count; i++) squares += (double)r->expected[i] * r->expected[i];
  /* Two linears of some hundred products; codes of 8 bits may become the next between them. */
  double part = 1e-4 + 12 * input_roundoff(r->table, scheme) + (scheme->activation ? 0x1p-5 : 0);
  for (size_t i = 0; i < count; i++) r->tolerance[i] = part * sqrt(squares / (double)count);
}

/* The step of rows_run in pieces, as short as they come, has its bytes. */
static void pieces_same(const struct run *r, const struct op_packed *packed, struct program *program, int n,
                        const char *what, struct family *family) {
  static float cut[STEP_ROWS * WIDTH_MOST];
  const struct backend *backend = packed->backend;
  struct op_step step;
  struct error error = {0};
  struct result found;
  bool ok = true;
  if (!backend->advance) return;
  step_begin(&step);
  for (int i = 0; i < n; i++) step_add(&step, IDS, i, 0, 1, block + i, 1);
  step.batch.want_logits = true;
  for (bool done = false; ok && !done;) ok = backend->advance(program, &step.batch, 1e-3, &done, &error);
  if (!ok || !backend->finish(program, NULL, &error) || !backend->collect(program, &found, &error))
    op_die(backend->name, &error);
  memcpy(cut, found.logits, (size_t)n * r->cols * sizeof *cut);
  family_same(family, what, r->got, cut, (size_t)n * r->cols);
}

static void subject_run(struct run *r, const struct op_packed *packed, struct device *device, const char *subject,
                        bool invariant, struct family *family) {
  struct limits own = limits;
  char what[160];
  own.batch_invariant = invariant;
  struct program *program = packed_compile(packed, device, &own);
  for (int i = 0; i < r->n_prompt; i++) {
    if (left_out(r->table, i)) continue;
    snprintf(what, sizeof what, "%s, %s, %d tokens%s", r->name, subject, r->prompts[i], invariant ? ", invariant" : "");
    tokens_run(packed, program, r->prompts[i], r->got);
    family_compare(family, what, r->expected, r->tolerance, r->got, (size_t)r->prompts[i] * r->cols);
  }
  for (int i = 0; i < r->n_row; i++) {
    if (left_out(r->table, i)) continue;
    snprintf(what, sizeof what, "%s, %s, %d rows%s", r->name, subject, r->rows[i], invariant ? ", invariant" : "");
    rows_run(packed, program, r->rows[i], r->got);
    family_compare(family, what, r->by_row, r->tolerance, r->got, (size_t)r->rows[i] * r->cols);
    pieces_same(r, packed, program, r->rows[i], what, family);
  }
  packed->backend->release(program);
}

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static void mixture_run(struct table *table, const struct mixture *s, const struct scheme *scheme, bool few,
                        struct family *family) {
  static struct run r;
  r.prompts = few ? few_prompts : prompts, r.n_prompt = few ? COUNT(few_prompts) : COUNT(prompts);
  r.rows = few ? few_rows : rows, r.n_row = few ? COUNT(few_rows) : COUNT(rows);
  int ways = table->tested->target == TARGET_CUDA ? 2 : 1; /* a CPU is invariant: no code of it asks */
  char name[80];
  struct op_model m;
  struct op_packed packed;
  model_make(&m, s, scheme);
  snprintf(name, sizeof name, "%d of %d, %d and %d wide", s->k, s->n_expert, s->hidden, s->inner);
  r.table = table, r.name = name;
  r.cols = (size_t)plan_values(m.plan)[plan_result(m.plan)].cols;
  if (!family_skips(family, table, &m)) {
    expected_make(&r, &m, scheme);
    packed_init(&packed, table->tested, &m);
    for (int i = 0; i < table->n_subject; i++)
      for (int invariant = 0; invariant < ways; invariant++)
        subject_run(&r, &packed, table->subject[i].device[1], table->subject[i].name, invariant, family);
    packed_release(&packed);
  }
  model_release(&m);
}

/* What takes a CPU long to pack, and is there for a GPU alone: more experts than it has multiprocessors, several strips
 * a block. Few cases are without. */
static bool takes_long(const struct table *table, const struct mixture *s) {
  int numbers = s->n_expert * s->hidden * s->inner + (s->before + s->after) * s->hidden;
  return table->few && table->tested->target != TARGET_CUDA && numbers > 1 << 21;
}

/* Pairs of schemes and shapes: on a GPU each has its own kernels and its own fusing. A CPU runs a mixture as linears,
 * which op_experts.c has in all schemes; there each scheme has two or three shapes, one of them of several groups of
 * 128, each shape four or five schemes and BF16, which has all. Parts on a CPU: op_experts.c. Kernel sets that round
 * bf16 have no other linears of their own. */
static bool pair_chosen(const struct table *table, size_t scheme, size_t shape) {
  if (table->tested->target == TARGET_CUDA) return true;
  if (mixtures[shape].k == 0 || takes_long(table, &mixtures[shape])) return false;
  if (table->whole || schemes[scheme].kind == SCHEME_BF16) return true;
  return (scheme + shape) % 3 == 0 && !table->rounds_bf16;
}

void mixture_cases(struct table *table) {
  for (uint32_t i = 0; i < STEP_ROWS; i++) block[i] = i;
  for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++) {
    struct family family = {0};
    char name[48];
    snprintf(family.name, sizeof family.name, "mixtures of experts, %s", scheme_name(&schemes[s], name));
    if (!strstr(name, table->text)) continue;
    for (size_t i = 0; i < sizeof mixtures / sizeof *mixtures; i++)
      if (pair_chosen(table, s, i)) mixture_run(table, &mixtures[i], &schemes[s], false, &family);
    for (int i = 0; i < COUNT(few_mixtures) && schemes[s].kind == SCHEME_BF16; i++)
      if (!takes_long(table, &few_mixtures[i])) mixture_run(table, &few_mixtures[i], &schemes[s], true, &family);
    if (family.cases + family.skipped > 0) family_end(table, &family);
  }
}
