/* Mixtures of experts of which some layers' stay in the host's memory (limits.cpu_experts): the same bytes as with all
 * of them on the device, in steps of few tokens, of tiles, of more than one slice, and in those that have graphs.
 * INNER: no whole pieces of 64 columns, so that no layer is one launch (cuda_mixture.c), which rounds elsewhere. */
#include "op/op_table.h"
#include "plan/expert_layers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LAYERS = 3, TOKENS = 2200, IDS = 64, EXPERTS = 24, CHOSEN = 4, HIDDEN = 256, INNER = 96 };

static const int prompts[] = {1, 7, 32, 33, 150, 300, TOKENS}, rows[] = {1, 9, STEP_ROWS};

static const struct limits limits = {
    .seats = STEP_ROWS, .tokens = TOKENS, .outputs = TOKENS, .length = TOKENS, .opt_batch = 4, .block_size = 16};

static const struct scheme schemes[] = {{.kind = SCHEME_F32},
                                        {.kind = SCHEME_BF16},
                                        {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .group = 32},
                                        {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16, .group = 32}};

static void layer_add(struct op_model *m, const struct scheme *scheme, int layer, int x) {
  struct op route = op_make(OP_ROUTE, layer), spread = op_make(OP_LINEAR, layer), gather = spread;
  route.in[0] = model_embedded_value(m, EXPERTS, 1);
  route.out = spread.in[2] = gather.in[2] = plan_add_choice(&m->builder, EXPERTS, CHOSEN);
  route.args.route = (struct route_args){.n_expert = EXPERTS, .k = CHOSEN, .normalize = 1, .scale = 1};
  spread.in[0] = gather.in[1] = gather.out = x;
  spread.out = gather.in[0] = plan_add_value(&m->builder, CHOSEN * INNER, ROWS_TOKENS);
  spread.args.linear.gated = 1, spread.args.linear.act = ACT_SILU;
  spread.args.linear.expert_mode = EXPERTS_SPREAD, gather.args.linear.expert_mode = EXPERTS_GATHER;
  spread.weight[0] = model_experts(m, *scheme, EXPERTS, INNER, HIDDEN, true, 2 / sqrtf(HIDDEN));
  gather.weight[0] = model_experts(m, *scheme, EXPERTS, HIDDEN, INNER, false, 2 / sqrtf(INNER));
  plan_add_op(&m->builder, &route);
  plan_add_op(&m->builder, &spread);
  plan_add_op(&m->builder, &gather);
}

static void model_make(struct op_model *m, const struct scheme *scheme) {
  struct op select = op_make(OP_SELECT, 0);
  model_init(m, IDS, 77);
  int x = select.in[0] = model_embedded_value(m, HIDDEN, 1);
  for (int i = 0; i < LAYERS; i++) layer_add(m, scheme, i, x);
  select.out = plan_add_value(&m->builder, HIDDEN, ROWS_OUTPUTS);
  plan_add_op(&m->builder, &select);
  model_close(m);
}

/* A step of n tokens, of one sequence or of one each; all results. */
static void step_run(const struct op_packed *packed, struct program *program, int n, bool each, float *result) {
  static const struct sampling sampling[TOKENS];
  static int32_t token[TOKENS], out[TOKENS];
  struct row row[STEP_ROWS] = {{.count = n}};
  for (int i = 0; i < n; i++) token[i] = (i * 7 + 3) % IDS, out[i] = i;
  for (int i = 0; each && i < n; i++) row[i] = (struct row){.seat = i, .first = i, .count = 1};
  struct batch batch = {
      .n_row = each ? n : 1, .n_token = n, .n_out = n, .row = row, .token = token, .out = out, .sampling = sampling};
  program_step(packed, program, &limits, batch, NULL, result);
}

enum { STEPS = sizeof prompts / sizeof *prompts + sizeof rows / sizeof *rows };

struct run {
  const struct table *table;
  struct op_packed packed;
  struct program *device; /* with all on the device */
  float expected[TOKENS * HIDDEN], got[TOKENS * HIDDEN];
};

static void steps_compare(struct run *r, struct program *hosted, const char *name, int layers, struct family *family) {
  char what[120];
  int n_prompt = sizeof prompts / sizeof *prompts;
  for (int i = 0; i < STEPS; i++) {
    bool each = i >= n_prompt;
    int n = each ? rows[i - n_prompt] : prompts[i];
    if (r->table->few && n > 33) continue;
    step_run(&r->packed, r->device, n, each, r->expected);
    step_run(&r->packed, hosted, n, each, r->got);
    snprintf(what, sizeof what, "%s, %d layers on the host, %d %s", name, layers, n, each ? "rows" : "tokens");
    family_same(family, what, r->expected, r->got, (size_t)n * HIDDEN);
  }
}

/* What leaves the device is in whole pages of the host's. */
static bool footprint_moves(const struct run *r, int layers) {
  struct limits own = limits;
  struct footprint all, less;
  const struct backend *backend = r->packed.backend;
  if (!backend->measure(r->packed.model->plan, &own, &all, NULL)) return false;
  own.cpu_experts = layers;
  if (!backend->measure(r->packed.model->plan, &own, &less, NULL) || less.weights >= all.weights) return false;
  uint64_t gone = all.weights - less.weights;
  return less.host_weights >= gone && less.host_weights - gone < HOST_PAGE;
}

static void scheme_run(struct run *r, struct device *device, const char *name, bool invariant, struct family *family) {
  struct limits own = limits;
  own.batch_invariant = invariant;
  r->device = packed_compile(&r->packed, device, &own);
  for (own.cpu_experts = 1; own.cpu_experts <= LAYERS; own.cpu_experts++) {
    struct program *hosted = packed_compile(&r->packed, device, &own);
    steps_compare(r, hosted, name, own.cpu_experts, family);
    family_note(family, "bytes that leave the device", footprint_moves(r, own.cpu_experts));
    r->packed.backend->release(hosted);
  }
  r->packed.backend->release(r->device);
}

void hosted_cases(struct table *table) {
  static struct run r;
  if (!table->tested->host_rate) return;
  for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++) {
    struct family family = {0};
    struct op_model m;
    char name[48];
    snprintf(family.name, sizeof family.name, "experts on the host, %s", scheme_name(&schemes[s], name));
    if (!strstr(name, table->text)) continue;
    model_make(&m, &schemes[s]);
    if (!family_skips(&family, table, &m)) {
      packed_init(&r.packed, table->tested, &m);
      r.table = table;
      for (int i = 0; i < table->n_subject; i++)
        for (int invariant = 0; invariant < 2; invariant++)
          scheme_run(&r, table->subject[i].device[1], table->subject[i].name, invariant, &family);
      packed_release(&r.packed);
    }
    model_release(&m);
    family_end(table, &family);
  }
}
