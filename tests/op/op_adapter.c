/* Linears, those of experts too, and embeddings with adapters: random factors of several ranks, with and without
 * magnitudes and shifts, of which each row of a step has none, one, or several, against the reference; and each row's
 * bytes are those that it has alone, whatever the threads. */
#include "base/half.h"
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  SLOTS = 3,
  SEATS = 6,
  ROW_TOKENS = 12,
  TOKENS = SEATS * ROW_TOKENS,
  WIDTH = 192,
  RANK = 24,
  RANKS_OF = 3,
  MANY = 8, /* times as high ranks: more pairs of ranks and tokens than a GPU's chains take in steps of 30 tokens */
  OPS = 3,
  EXPERTS = 5,
  CHOSEN = 2, /* of them, by each token */
};

static const struct limits adapter_limits = {.seats = SEATS,
                                             .tokens = TOKENS,
                                             .outputs = TOKENS,
                                             .length = TOKENS,
                                             .opt_batch = 2,
                                             .block_size = 16,
                                             .adapters = SLOTS,
                                             .adapter_rank = RANK};
static const int ranks[SLOTS] = {8, 3, RANK};

static const struct adapter_variant {
  const char *name;
  bool embedding, gated, joined, norm, bias, post_norm, magnitude, shift, great, chain, layer_norm, many;
  bool spread, gather; /* of experts */
  bool beside;         /* with adapters of the linear before them alone */
  uint8_t a, b;        /* enum factor_type */
} variants[] = {
    {.name = "plain"},
    {.name = "bf16", .a = FACTOR_BF16, .b = FACTOR_BF16},
    {.name = "joined, fp16", .joined = true, .a = FACTOR_F16, .b = FACTOR_F16},
    {.name = "joined, many ranks", .joined = true, .many = true},
    {.name = "joined, norm, magnitude", .joined = true, .norm = true, .magnitude = true},
    {.name = "norm, bias, shift", .norm = true, .bias = true, .shift = true},
    {.name = "layer norm", .layer_norm = true, .a = FACTOR_F16, .b = FACTOR_BF16},
    {.name = "gated, bias, magnitude, bf16 and floats",
     .gated = true,
     .bias = true,
     .magnitude = true,
     .a = FACTOR_BF16},
    {.name = "magnitude, shift, post norm", .magnitude = true, .shift = true, .post_norm = true},
    {.name = "one after the other", .chain = true},
    {.name = "embedding", .embedding = true},
    {.name = "embedding, fp16 and bf16", .embedding = true, .a = FACTOR_F16, .b = FACTOR_BF16},
    {.name = "embedding, magnitude", .embedding = true, .magnitude = true},
    {.name = "experts spread", .spread = true, .bias = true},
    {.name = "experts gathered, bf16 and fp16", .gather = true, .a = FACTOR_BF16, .b = FACTOR_F16},
    {.name = "experts, gated, norm, bias", .spread = true, .gather = true, .gated = true, .norm = true, .bias = true},
    {.name = "experts, layer norm", .spread = true, .gather = true, .gated = true, .layer_norm = true},
    {.name = "a linear before experts", .spread = true, .gather = true, .gated = true, .norm = true, .beside = true},
    {.name = "magnitude, great scales", .magnitude = true, .great = true},
    {.name = "embedding, magnitude, great scales", .embedding = true, .magnitude = true, .great = true},
};

struct adapter_case {
  struct op_model model;
  const struct adapter_variant *variant;
  int rows, cols, op, n_op; /* those that have factors */
  int deep;                 /* linears one after the other */
  struct adapter_op adapted[SLOTS][OPS * EXPERTS];
  int n_adapted[SLOTS];
};

/* Of three tensors, whose rows share tiles where they are no multiples of 16. */
static int joined_matrix(struct op_model *m, struct scheme scheme, int rows, int cols) {
  const int parts[] = {rows / 2, rows / 3, rows - rows / 2 - rows / 3};
  int weight = plan_add_matrix(&m->builder, "joined", (const char *[]){"q", "k", "v"}, parts, 3, cols, false);
  m->scheme[weight] = scheme;
  m->low[weight] = -0.3f, m->high[weight] = 0.3f;
  return weight;
}

static int chained_add(struct adapter_case *c, int in, int residual, int matrix, int norm_cols, bool gated) {
  struct op op = op_make(OP_LINEAR, 0);
  op.in[0] = in;
  op.in[1] = residual;
  op.weight[0] = matrix;
  if (norm_cols) op.weight[2] = model_vector(&c->model, norm_cols, 0.5f, 1.5f);
  op.args.linear = (struct linear_args){.norm = norm_cols ? NORM_RMS : NORM_NONE,
                                        .act = gated ? ACT_SILU : ACT_NONE,
                                        .gated = gated,
                                        .eps = 1e-5f,
                                        .scale = 1,
                                        .lora_site = -1};
  op.out = residual >= 0 ? residual : plan_add_value(&c->model.builder, c->rows, ROWS_TOKENS);
  plan_add_op(&c->model.builder, &op);
  return op.out;
}

/* As in a layer, where a GPU's linears leave each other their results: h = x + a · norm(x'); result = h + d ·
 * (silu(g · norm(h)) × u · norm(h)). */
static void chain_make(struct adapter_case *c, struct scheme scheme) {
  struct op_model *m = &c->model;
  int in = model_embedded_value(m, c->cols, 1), hidden = model_embedded_value(m, c->rows, 1);
  chained_add(c, in, hidden, model_matrix(m, scheme, c->rows, c->cols, 0.15f), c->cols, false);
  int inner = chained_add(c, hidden, -1, model_gated_matrix(m, scheme, c->rows, c->rows, 0.15f), c->rows, true);
  chained_add(c, inner, hidden, model_matrix(m, scheme, c->rows, c->rows, 0.15f), 0, false);
  c->op = 2, c->n_op = OPS;
  model_finish(m, hidden, false);
}

/* One of the linears of a mixture, of experts of rows × cols. */
static int routed_add(struct adapter_case *c, struct scheme scheme, uint8_t mode, int in, int choice, int rows,
                      int cols) {
  struct op_model *m = &c->model;
  struct op op = op_make(OP_LINEAR, 0);
  bool gathers = mode == EXPERTS_GATHER, gated = c->variant->gated && !gathers;
  op.in[0] = in, op.in[2] = choice;
  op.weight[0] = model_experts(m, scheme, EXPERTS, rows, cols, gated, 0.3f);
  if (c->variant->bias) op.weight[1] = model_expert_bias(m, EXPERTS, rows, gated, -1, 1);
  enum norm_kind norm = gathers                  ? NORM_NONE
                        : c->variant->norm       ? NORM_RMS
                        : c->variant->layer_norm ? NORM_LAYER
                                                 : NORM_NONE;
  if (norm == NORM_RMS) op.weight[2] = model_vector(m, cols, 0.5f, 1.5f);
  if (norm == NORM_LAYER) op.weight[2] = model_vector(m, 2 * cols, -0.6f, 1.2f);
  op.args.linear = (struct linear_args){.expert_mode = mode,
                                        .norm = norm,
                                        .act = gated ? ACT_SILU : ACT_NONE,
                                        .gated = gated,
                                        .eps = 1e-5f,
                                        .scale = 1,
                                        .lora_site = -1};
  op.out = plan_add_value(&m->builder, gathers ? rows : CHOSEN * rows, ROWS_TOKENS);
  plan_add_op(&m->builder, &op);
  return op.out;
}

/* A spread alone, whose results are side by side; a gather alone, of inputs that are; or both one after the other. */
static void experts_make(struct adapter_case *c, struct scheme scheme) {
  struct op_model *m = &c->model;
  bool both = c->variant->spread && c->variant->gather;
  int width = both ? c->rows : c->variant->spread ? c->cols : CHOSEN * c->cols;
  int value = model_embedded_value(m, width, 1), logits = model_embedded_value(m, EXPERTS, 1);
  if (c->variant->beside) value = chained_add(c, value, -1, model_matrix(m, scheme, c->rows, width, 0.3f), 0, false);
  struct op route = op_make(OP_ROUTE, 0);
  route.in[0] = logits;
  route.out = plan_add_choice(&m->builder, EXPERTS, CHOSEN);
  route.args.route = (struct route_args){.n_expert = EXPERTS, .k = CHOSEN, .normalize = 1, .scale = 1};
  plan_add_op(&m->builder, &route);
  int inner = both ? c->cols : c->rows / CHOSEN;
  if (c->variant->spread) value = routed_add(c, scheme, EXPERTS_SPREAD, value, route.out, inner, width);
  if (c->variant->gather) value = routed_add(c, scheme, EXPERTS_GATHER, value, route.out, c->rows, c->cols);
  c->op = 3, c->n_op = both ? 2 : 1;
  if (c->variant->beside) c->op = 2, c->n_op = 1, c->deep = 3;
  model_finish(m, value, false);
}

static void case_make(struct adapter_case *c, struct scheme scheme) {
  const struct adapter_variant *v = c->variant;
  struct op_model *m = &c->model;
  struct op op = op_make(v->embedding ? OP_EMBED : OP_LINEAR, 0);
  model_init(m, c->rows, (uint64_t)(c->rows + c->cols));
  c->n_op = 1;
  if (v->chain) {
    chain_make(c, scheme);
    return;
  }
  if (v->spread || v->gather) {
    experts_make(c, scheme);
    return;
  }
  if (v->embedding) {
    op.weight[0] = model_matrix(m, scheme, c->rows, c->rows, 1);
    op.args.embed.scale = 1.5f;
    c->cols = c->rows;
  } else {
    op.in[0] = model_embedded_value(m, c->cols, 1);
    op.weight[0] = v->joined  ? joined_matrix(m, scheme, c->rows, c->cols)
                   : v->gated ? model_gated_matrix(m, scheme, c->rows, c->cols, 0.3f)
                              : model_matrix(m, scheme, c->rows, c->cols, 0.3f);
    if (v->bias) op.weight[1] = v->gated ? model_gated_bias(m, c->rows, -1, 1) : model_vector(m, c->rows, -1, 1);
    if (v->norm) op.weight[2] = model_vector(m, c->cols, 0.5f, 1.5f);
    if (v->layer_norm) op.weight[2] = model_vector(m, 2 * c->cols, -0.6f, 1.2f);
    if (v->post_norm) op.weight[3] = model_vector(m, c->rows, 0.5f, 1.5f);
    op.args.linear = (struct linear_args){.norm = v->norm         ? NORM_RMS
                                                  : v->layer_norm ? NORM_LAYER
                                                                  : NORM_NONE,
                                          .post_norm = v->post_norm ? NORM_RMS : NORM_NONE,
                                          .act = v->gated ? ACT_SILU : ACT_NONE,
                                          .gated = v->gated,
                                          .eps = 1e-5f,
                                          .post_eps = 1e-5f,
                                          .scale = 1,
                                          .lora_site = -1};
  }
  op.out = plan_add_value(&m->builder, c->rows, ROWS_TOKENS);
  c->op = v->embedding ? 0 : 1;
  plan_add_op(&m->builder, &op);
  model_finish(m, op.out, false);
}

static int32_t rank_of(const struct adapter_variant *v, int slot) { return ranks[slot] * (v->many ? MANY : 1); }

static const float *floats_make(struct adapter_case *c, size_t count, float low, float high) {
  float *floats = arena_array(&c->model.arena, count, sizeof *floats);
  if (!floats) op_die("factors", &(struct error){.text = "out of memory"});
  for (size_t i = 0; i < count; i++) floats[i] = low + (high - low) * (float)random_uniform(&c->model.random);
  return floats;
}

static struct factor factor_make(struct adapter_case *c, uint8_t type, size_t count, float most) {
  const float *floats = floats_make(c, count, -most, most);
  uint16_t *narrow = arena_array(&c->model.arena, count, sizeof *narrow);
  if (type == FACTOR_F32) return (struct factor){floats, type};
  if (!narrow) op_die("factors", &(struct error){.text = "out of memory"});
  for (size_t i = 0; i < count; i++)
    narrow[i] = type == FACTOR_BF16 ? bfloat_from_float(floats[i]) : half_from_float(floats[i]);
  return (struct factor){narrow, type};
}

/* Norms need not be those of the matrix: the formula is what is tested. */
static struct adapter_op factors_make(struct adapter_case *c, int op, int32_t of_rank) {
  const struct weight *w = plan_weights(c->model.plan) + plan_ops(c->model.plan)[op].weight[0];
  bool embedding = c->variant->embedding;
  size_t rows = (size_t)(embedding ? w->cols : w->rows), cols = (size_t)(embedding ? w->rows : w->cols);
  size_t rank = (size_t)of_rank;
  struct adapter_op a = {.op = op, .rank = of_rank};
  a.a = factor_make(c, c->variant->a, (size_t)w->n_part * rank * cols, 0.2f);
  a.b = factor_make(c, c->variant->b, rows * rank, 0.3f);
  for (int i = 0; i < PLAN_PARTS; i++) a.gain[i] = 1.5f - 0.3f * (float)i;
  if (c->variant->shift) a.shift = floats_make(c, rows, -1, 1);
  if (!c->variant->magnitude) return a;
  a.magnitude = floats_make(c, rows, 1, 3);
  a.w2 = floats_make(c, rows, 2, 4);
  a.wd = floats_make(c, rows, -0.2f, 0.2f);
  a.d2 = floats_make(c, rows, 0.1f, 0.5f);
  return a;
}

/* One adapter of several ops leaves the second out, another of several experts every third. */
static int adapted_fill(struct adapter_case *c, int slot) {
  int n = 0;
  for (int i = 0; i < c->n_op; i++) {
    int sites = adapter_sites(c->model.plan, plan_ops(c->model.plan) + c->op + i);
    for (int e = 0; e < sites && (slot != 1 || i != 1); e++) {
      if (slot == 2 && e % 3 == 1) continue;
      c->adapted[slot][n] = factors_make(c, c->op + i, rank_of(c->variant, slot));
      c->adapted[slot][n++].expert = e;
    }
  }
  return n;
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static struct program *program_make(const struct op_packed *packed, struct device *device, const struct adapter_case *c,
                                    bool invariant) {
  struct error error = {0};
  struct limits limits = adapter_limits;
  limits.batch_invariant = invariant;
  if (c->variant->many) limits.adapter_rank *= MANY;
  struct program *program = packed_compile(packed, device, &limits);
  for (int s = 0; s < SLOTS; s++) {
    const struct adapter adapter = {.rank = rank_of(c->variant, s), .n_op = c->n_adapted[s], .op = c->adapted[s]};
    if (!packed->backend->adapter_load(program, s, &adapter, &error)) op_die("adapter_load", &error);
  }
  return program;
}

/* great: as far as the square of a scale is no float, of one adapter a row. */
static void loras_set(struct row *row, int seat, bool great) {
  static const float greats[SEATS] = {1e20f, 0, -1e20f, 3e19f, -4e25f, 1e15f};
  static const struct {
    int n, slot[RANKS_OF];
    float scale[RANKS_OF];
  } mixes[SEATS] = {{1, {0}, {1}},   {0, {0}, {0}},          {1, {1}, {-2}},
                    {1, {2}, {.5f}}, {2, {0, 2}, {.7f, -1}}, {3, {2, 1, 0}, {1, 1, 0}}};
  row->n_lora = mixes[seat].n;
  for (int i = 0; i < row->n_lora; i++)
    row->lora[i].slot = mixes[seat].slot[i], row->lora[i].scale = mixes[seat].scale[i];
  if (!great || !row->n_lora) return;
  row->n_lora = 1;
  row->lora[0].scale = greats[seat];
}

/* `count` tokens of each seat in [first, first + n): results of all. */
static void seats_run(const struct op_packed *packed, struct program *program, bool great, int first, int n, int count,
                      float *out) {
  struct row row[SEATS] = {0};
  int32_t token[TOKENS], wanted[TOKENS];
  static const struct sampling sampling[TOKENS];
  int vocab = packed->model->plan->vocab;
  struct batch batch = {.n_row = n,
                        .n_token = n * count,
                        .n_out = n * count,
                        .row = row,
                        .token = token,
                        .out = wanted,
                        .sampling = sampling};
  for (int r = 0; r < n; r++) {
    row[r] = (struct row){.seat = r, .first = r * count, .count = count};
    loras_set(&row[r], first + r, great);
    for (int i = 0; i < count; i++) token[r * count + i] = ((first + r) * ROW_TOKENS + i) % vocab;
  }
  for (int i = 0; i < batch.n_token; i++) wanted[i] = i;
  program_step(packed, program, &adapter_limits, batch, NULL, out);
}

/* Sums of some hundred products in another order, and what follows from them. On a GPU factors are bf16, but beside
 * F32, each off by 2⁻⁹ of itself at most, as are some CPUs' activations: some times that, of the mean, is what no sum
 * of random ones reaches; an activation of 8 bits may become the next code. */
static void tolerance_fill(const struct table *table, const struct scheme *scheme, int n_op, const float *expected,
                           size_t count, double *tolerance) {
  double squares = 0, part = 2e-5;
  if (table->tested->target == TARGET_CUDA && scheme->kind != SCHEME_F32)
    part += (scheme->activation ? 8 : 6) * n_op * fmax(input_roundoff(table, scheme), 0x1p-8);
  if (table->rounds_bf16) part += 12 * n_op * input_roundoff(table, scheme);
  for (size_t i = 0; i < count; i++) squares += (double)expected[i] * expected[i];
  for (size_t i = 0; i < count; i++) tolerance[i] = part * (sqrt(squares / (double)count) + fabs((double)expected[i]));
}

/* A GPU's rows have the bytes that they have alone where it is told to see to that: its second program is. */
static void subject_run(struct table *table, const struct subject *subject, const struct adapter_case *c,
                        const struct op_packed *packed, const float *expected, const struct scheme *scheme,
                        struct family *family) {
  static float got[TOKENS * WIDTH], other[TOKENS * WIDTH];
  static double tolerance[TOKENS * WIDTH];
  size_t seat = (size_t)ROW_TOKENS * (size_t)c->rows;
  static const int few[] = {1, 2, 5, 0}; /* tokens of each seat: 6, 12, 30 have kernels of their own */
  bool great = c->variant->great, gpu = table->tested->target == TARGET_CUDA;
  tolerance_fill(table, scheme, c->deep ? c->deep : c->n_op, expected, SEATS * seat, tolerance);
  for (int threads = 0; threads < 2; threads++) {
    struct program *program = program_make(packed, subject->device[threads], c, gpu && threads == 1);
    seats_run(packed, program, great, 0, SEATS, ROW_TOKENS, got);
    family_compare(family, subject->name, expected, tolerance, got, SEATS * seat);
    for (int f = 0; gpu && threads == 0 && few[f] > 0; f++) {
      seats_run(packed, program, great, 0, SEATS, few[f], other);
      for (int s = 0; s < SEATS; s++)
        family_compare(family, subject->name, expected + (size_t)s * seat, tolerance + (size_t)s * seat,
                       other + (size_t)(s * few[f] * c->rows), (size_t)(few[f] * c->rows));
    }
    for (int s = 0; s < SEATS && (!gpu || threads == 1); s++) {
      seats_run(packed, program, great, s, 1, ROW_TOKENS, other);
      family_same(family, subject->name, got + (size_t)s * seat, other, seat);
      seats_run(packed, program, great, s, 1, 1, other);
      family_same(family, subject->name, got + (size_t)s * seat, other, (size_t)c->rows);
    }
    table->tested->release(program);
  }
}

static void case_run(struct table *table, struct scheme scheme, const struct adapter_variant *variant, int rows,
                     int cols, struct family *family) {
  static float expected[TOKENS * WIDTH];
  struct adapter_case c = {.variant = variant, .rows = rows, .cols = cols};
  struct op_packed packed;
  case_make(&c, scheme);
  for (int s = 0; s < SLOTS; s++) c.n_adapted[s] = adapted_fill(&c, s);
  packed_init(&packed, table->oracle, &c.model);
  struct program *oracle = program_make(&packed, table->oracle_device, &c, false);
  seats_run(&packed, oracle, variant->great, 0, SEATS, ROW_TOKENS, expected);
  table->oracle->release(oracle);
  packed_release(&packed);
  packed_init(&packed, table->tested, &c.model);
  for (int s = 0; s < table->n_subject; s++)
    subject_run(table, &table->subject[s], &c, &packed, expected, &scheme, family);
  packed_release(&packed);
  model_release(&c.model);
}

void adapter_cases(struct table *table) {
  static const struct scheme schemes[] = {
      {.kind = SCHEME_F32},
      {.kind = SCHEME_BF16},
      {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .group = 32, .has_min = 1, .activation = ACTIVATION_INT8},
      {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F32, .activation = ACTIVATION_INT8_TOKEN},
      {.kind = SCHEME_F8, .activation = ACTIVATION_E4M3_TOKEN},
      {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .group = 128},
      {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F32},
  };
  static const int shapes[][2] = {{160, 320}, {100, 100}, {33, 24}, {96, 2400}};
  if (!table->tested->adapter_load) {
    printf("SKIPPED adapters: the %s backend knows none\n", table->tested->name);
    return;
  }
  for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++)
    for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
      struct family family = {0};
      char name[48];
      scheme_name(&schemes[s], name);
      snprintf(family.name, sizeof family.name, "adapters %s, %s", name, variants[v].name);
      /* a norm's last bit may move a rounded activation to the next code: what that does is the linears' own test */
      bool rounds = variants[v].norm || variants[v].chain || (variants[v].layer_norm && variants[v].spread);
      if (rounds && schemes[s].activation != ACTIVATION_FLOAT) continue;
      if ((variants[v].spread || variants[v].gather) && !table->tested->expert_adapters) continue;
      if (!strstr(family.name, table->text) || !table_turn(table)) continue;
      if (variants[v].chain) case_run(table, schemes[s], &variants[v], WIDTH, 128, &family);
      for (size_t i = 0; i < sizeof shapes / sizeof *shapes && !variants[v].chain; i++)
        if ((!table->few || i == 1) && (!variants[v].spread || shapes[i][0] % CHOSEN == 0))
          case_run(table, schemes[s], &variants[v], shapes[i][0], shapes[i][1], &family);
      family_end(table, &family);
    }
}
