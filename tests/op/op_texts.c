/* What only encoders of texts do: tables of places and of types of tokens, norms of sums, windows to both sides, scores
 * that gain by distance, experts without gates, means of whole rows, a head. A layer of such a network against the
 * reference, and to the byte however many threads share the work and whichever rows a step has. */
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 5, TOKENS = 547, VOCAB = 40, TYPES = 3, SKIP = 2, LABELS = 7, EXPERTS = 5, CHOSEN = 2, FEW = 2 };

static const int row_counts[ROWS] = {1, 5, 64, 67, 182}, long_counts[ROWS] = {1, 5, 64, 67, 410},
                 few_counts[ROWS] = {1, 5, 64, 67, 98};

/* How wide such a network is: floats in odd shapes, or 16 bits in shapes that a GPU's matrix units take. */
static const struct text_width {
  struct scheme scheme;
  int cols, ff, heads, kv_heads;
  uint8_t kv;
  bool turned; /* queries and keys are normed and rotated */
  bool longer; /* a row is long */
} floats = {{.kind = SCHEME_F32}, 48, 100, 3, 3, KV_F32, false, false},
  halves = {{.kind = SCHEME_BF16}, 128, 320, 2, 2, KV_F16, false, false},
  shared = {{.kind = SCHEME_BF16}, 192, 320, 3, 1, KV_F16, false, false},
  turned[] = {{{.kind = SCHEME_BF16}, 256, 320, 2, 1, KV_BF16, true, true},
              {{.kind = SCHEME_BF16}, 512, 320, 2, 1, KV_BF16, true, true}},
  heads[] = {{{.kind = SCHEME_BF16}, 256, 320, 2, 2, KV_F16, false, true},
             {{.kind = SCHEME_BF16}, 192, 320, 2, 2, KV_F16, false, true},
             {{.kind = SCHEME_BF16}, 320, 320, 4, 4, KV_F16, false, true},
             {{.kind = SCHEME_BF16}, 192, 320, 4, 4, KV_F16, false, true}};

/* What the feed-forward of a shape is. */
enum { ONE, MANY /* experts */, MANY_BIASED };

static const struct text_shape {
  uint8_t pool, norm, act;
  int near;
  bool placed; /* the batch says places and types */
  bool causal; /* a token sees none behind it */
  bool apart;  /* scores gain by distance */
  int feed;
} shapes[] = {
    {POOL_MEAN, NORM_NONE, ACT_GELU, 0, false, false, false, ONE},
    {POOL_MEAN, NORM_LAYER, ACT_TANH, 5, true, false, false, ONE},
    {POOL_FIRST, NORM_NONE, ACT_TANH, 64, true, false, false, ONE},
    {POOL_FIRST, NORM_RMS, ACT_GELU_TANH, 1, false, false, false, ONE},
    {POOL_TOKEN, NORM_LAYER, ACT_SILU, 0, true, false, false, ONE},
    {POOL_TOKEN, NORM_RMS, ACT_SILU, 0, false, true, false, ONE},
    {POOL_MEAN, NORM_NONE, ACT_GELU, 0, true, true, false, ONE},
    {POOL_MEAN, NORM_LAYER, ACT_GELU, 7, false, true, false, ONE},
    {POOL_MEAN, NORM_NONE, ACT_GELU, 0, false, false, true, ONE},
    {POOL_TOKEN, NORM_LAYER, ACT_SILU, 66, true, false, true, ONE},
    {POOL_MEAN, NORM_NONE, ACT_GELU, 0, false, false, false, MANY},
    {POOL_FIRST, NORM_NONE, ACT_GELU_TANH, 0, true, false, false, MANY_BIASED},
};

static const struct scheme f32 = {.kind = SCHEME_F32};

static int norm_of(struct op_model *m, int cols) { return model_vector(m, 2 * cols, 0.5f, 1.5f); }

static int embeddings_make(struct op_model *m, int cols) {
  struct op token = op_make(OP_EMBED, -1), type = token, place = token;
  token.out = type.in[0] = type.out = place.in[0] = place.out = plan_add_value(&m->builder, cols, ROWS_TOKENS);
  token.weight[0] = model_matrix(m, f32, VOCAB, cols, 1);
  type.args.embed = (struct embed_args){.scale = 1, .source = EMBED_POSITIONS, .axis = 1};
  type.weight[0] = model_matrix(m, f32, TYPES, cols, 1);
  place.args.embed =
      (struct embed_args){.scale = 1, .source = EMBED_POSITIONS, .skip = SKIP, .norm = NORM_LAYER, .eps = 1e-5f};
  place.weight[0] = model_matrix(m, f32, SKIP + TOKENS, cols, 1);
  place.weight[2] = norm_of(m, cols);
  plan_add_op(&m->builder, &token);
  plan_add_op(&m->builder, &type);
  plan_add_op(&m->builder, &place);
  return token.out;
}

/* To a new value, or (x ≥ 0) added to x, which is normed then. */
static int linear_make(struct op_model *m, struct scheme scheme, int in, int cols, int rows, int x, uint8_t act,
                       enum value_rows of) {
  struct op op = op_make(OP_LINEAR, 0);
  op.in[0] = in;
  op.in[1] = x;
  op.out = x >= 0 ? x : plan_add_value(&m->builder, rows, of);
  op.args.linear.act = act;
  op.args.linear.post_norm = x >= 0 ? NORM_LAYER : NORM_NONE;
  op.args.linear.post_sum = x >= 0;
  op.args.linear.post_eps = 1e-5f;
  op.weight[0] = model_matrix(m, scheme, rows, cols, 2 / sqrtf((float)cols));
  op.weight[1] = model_vector(m, rows, -0.5f, 0.5f);
  if (x >= 0) op.weight[3] = norm_of(m, rows);
  plan_add_op(&m->builder, &op);
  return op.out;
}

static void heads_turn(struct op_model *m, struct op *attend) {
  struct attend_args *args = &attend->args.attend;
  float frequency[128];
  int half = args->dim_k / 2;
  for (int i = 0; i < half; i++) frequency[i] = powf(1000, -(float)i / (float)half);
  args->rope_style = ROPE_HALF;
  args->rope_dim = args->dim_k;
  args->rope_freq = plan_add_floats(&m->builder, frequency, (uint32_t)half);
  args->eps = 1e-5f;
  for (int i = 0; i < 2; i++) attend->weight[i] = model_vector(m, args->dim_k, 0.5f, 1.5f);
}

/* Numbers of each head by key − query that follow no rule. */
static void distances_add(struct op_model *m, struct attend_args *args) {
  static float numbers[4 * (2 * TOKENS + LEAN_ROOM)];
  uint32_t count = (uint32_t)args->n_head * lean_numbers(TOKENS);
  for (uint32_t i = 0; i < count; i++) numbers[i] = sinf((float)(i * i % 1009));
  args->alibi = LEAN_DISTANCES;
  args->alibi_slope = plan_add_floats(&m->builder, numbers, count);
}

static void expert_linear(struct op_model *m, struct scheme scheme, struct op *op, int rows, int cols, bool biased) {
  op->weight[0] = model_experts(m, scheme, EXPERTS, rows, cols, false, 2 / sqrtf((float)cols));
  if (biased) op->weight[1] = model_expert_bias(m, EXPERTS, rows, false, -0.5f, 0.5f);
  plan_add_op(&m->builder, op);
}

/* Experts without gates, whose sum is added to x; then x, with a row of a table added, is normed. The choice is by
 * given logits: made ones would change it with their last bits. */
static void experts_make(struct op_model *m, const struct text_shape *s, const struct text_width *w, int x) {
  struct op route = op_make(OP_ROUTE, 0), up = op_make(OP_LINEAR, 0), down = up, norm = op_make(OP_EMBED, 0);
  route.in[0] = model_embedded_value(m, EXPERTS, 1);
  route.out = up.in[2] = down.in[2] = plan_add_choice(&m->builder, EXPERTS, CHOSEN);
  route.args.route = (struct route_args){.n_expert = EXPERTS, .k = CHOSEN, .score = ROUTE_SOFTMAX, .scale = 1};
  plan_add_op(&m->builder, &route);
  up.in[0] = down.in[1] = down.out = norm.in[0] = norm.out = x;
  up.out = down.in[0] = plan_add_value(&m->builder, CHOSEN * w->ff, ROWS_TOKENS);
  up.args.linear.act = s->act;
  up.args.linear.expert_mode = EXPERTS_SPREAD, down.args.linear.expert_mode = EXPERTS_GATHER;
  expert_linear(m, w->scheme, &up, w->ff, w->cols, s->feed == MANY_BIASED);
  expert_linear(m, w->scheme, &down, w->cols, w->ff, s->feed == MANY_BIASED);
  norm.args.embed =
      (struct embed_args){.scale = 1, .source = EMBED_POSITIONS, .axis = 1, .norm = NORM_LAYER, .eps = 1e-5f};
  norm.weight[0] = model_matrix(m, f32, TYPES, w->cols, 1);
  norm.weight[2] = norm_of(m, w->cols);
  plan_add_op(&m->builder, &norm);
}

static void feed_make(struct op_model *m, const struct text_shape *s, const struct text_width *w, int x) {
  if (s->feed != ONE) {
    experts_make(m, s, w, x);
    return;
  }
  int up = linear_make(m, w->scheme, x, w->cols, w->ff, -1, s->act, ROWS_TOKENS);
  linear_make(m, w->scheme, up, w->ff, w->cols, x, ACT_NONE, ROWS_TOKENS);
}

static void text_make(struct op_model *m, const struct text_shape *s, const struct text_width *w) {
  int cols = w->cols;
  model_init(m, VOCAB, 17);
  m->builder.head.role = PLAN_ENCODER;
  m->builder.head.max_position = TOKENS;
  int x = embeddings_make(m, cols);
  struct op attend = op_make(OP_ATTEND, 0), select = op_make(OP_SELECT, -1);
  int all = (w->heads + 2 * w->kv_heads) * (cols / w->heads);
  attend.in[0] = linear_make(m, w->scheme, x, cols, all, -1, ACT_NONE, ROWS_TOKENS);
  attend.out = plan_add_value(&m->builder, cols, ROWS_TOKENS);
  attend.args.attend = (struct attend_args){.n_head = w->heads,
                                            .n_kv_head = w->kv_heads,
                                            .dim_k = cols / w->heads,
                                            .dim_v = cols / w->heads,
                                            .group = -1,
                                            .rope_scale = 1,
                                            .scale = w->longer ? 1 / sqrtf((float)cols / (float)w->heads) : 0.25f,
                                            .near = s->near,
                                            .causal = s->causal};
  if (w->turned) heads_turn(m, &attend);
  if (s->apart) distances_add(m, &attend.args.attend);
  plan_add_op(&m->builder, &attend);
  linear_make(m, w->scheme, attend.out, cols, cols, x, ACT_NONE, ROWS_TOKENS);
  feed_make(m, s, w, x);
  select.in[0] = x;
  select.out = plan_add_value(&m->builder, cols, ROWS_OUTPUTS);
  select.args.select = (struct select_args){.norm = s->norm, .pool = s->pool, .eps = 1e-5f};
  if (s->norm) select.weight[2] = model_vector(m, s->norm == NORM_LAYER ? 2 * cols : cols, 0.5f, 1.5f);
  plan_add_op(&m->builder, &select);
  linear_make(m, w->scheme, select.out, cols, LABELS, -1, ACT_TANH, ROWS_OUTPUTS);
  model_close(m);
}

struct text_batch {
  struct row row[ROWS];
  int32_t token[TOKENS], out[ROWS], position[TOKENS][3];
  struct batch batch;
};

static void texts_make(struct text_batch *b, const int *counts, int n_row, bool placed) {
  *b = (struct text_batch){.batch = {.row = b->row, .token = b->token, .out = b->out, .want_logits = true}};
  if (placed) b->batch.position = (const int32_t(*)[3])b->position;
  for (int r = 0; r < n_row; r++) {
    int lead = counts[r] % 2 * counts[r] / 3; /* of some texts */
    b->row[b->batch.n_row++] = (struct row){.seat = r, .first = b->batch.n_token, .count = counts[r], .lead = lead};
    for (int i = 0; i < counts[r]; i++, b->batch.n_token++) {
      b->token[b->batch.n_token] = (counts[r] * 7 + i * i * 3 + i) % VOCAB;
      b->position[b->batch.n_token][0] = i * 5 % TOKENS;
      b->position[b->batch.n_token][1] = i % TYPES;
    }
    b->out[b->batch.n_out++] = b->batch.n_token - 1;
  }
}

static void texts_step(const struct op_model *m, uint8_t kv, const struct backend *backend, struct device *device,
                       struct batch batch, float *result) {
  struct limits limits = {.seats = ROWS,
                          .tokens = TOKENS,
                          .outputs = ROWS,
                          .length = TOKENS + 1,
                          .opt_batch = 4,
                          .block_size = 16,
                          .kv_dtype = kv};
  struct op_packed packed;
  packed_init(&packed, backend, m);
  struct program *program = packed_compile(&packed, device, &limits);
  program_step(&packed, program, &limits, batch, NULL, result);
  backend->release(program);
  packed_release(&packed);
}

/* Each text by itself has the bytes that it has beside the others. */
static void texts_alone(const struct table *table, const struct op_model *m, uint8_t kv, const struct subject *subject,
                        const int *counts, bool placed, const float *got, struct family *family) {
  float alone[LABELS];
  for (int r = 0; r < ROWS; r += table->few ? 3 : 1) {
    struct text_batch b;
    texts_make(&b, counts + r, 1, placed);
    texts_step(m, kv, table->tested, subject->device[0], b.batch, alone);
    family_same(family, "a text alone", got + r * LABELS, alone, LABELS);
  }
}

/* The first texts, which have few tokens together. */
static void texts_few(const struct table *table, const struct op_model *m, uint8_t kv, struct device *device,
                      const int *counts, bool placed, float *got) {
  struct text_batch b;
  texts_make(&b, counts, FEW, placed);
  texts_step(m, kv, table->tested, device, b.batch, got);
}

static void text_case(struct table *table, const struct text_shape *s, const struct text_width *w,
                      struct family *family) {
  float expected[ROWS * LABELS], got[ROWS * LABELS], other[ROWS * LABELS];
  double tolerance[ROWS * LABELS];
  struct op_model m;
  struct text_batch b;
  bool gpu = table->tested->target == TARGET_CUDA;
  const int *counts = table->few ? (gpu ? row_counts : few_counts) : w->longer ? long_counts : row_counts;
  text_make(&m, s, w);
  if (family_skips(family, table, &m)) {
    model_release(&m);
    return;
  }
  texts_make(&b, counts, ROWS, s->placed);
  /* Results are a tanh's; six sums of some 50 to 300 numbers of size 1, and four norms, lie before it. Matrix units
   * take what is multiplied in 16 bits: roundings are independent, so that twelve of a sum's usual size are many; keys
   * and values in 16 bits may be the next such number each. */
  double rounding = 12 * input_roundoff(table, &w->scheme) + (w->kv == KV_F16 ? 0x1p-9 : w->kv == KV_BF16 ? 0x1p-6 : 0);
  for (int i = 0; i < ROWS * LABELS; i++) tolerance[i] = 60 * ROUNDOFF + rounding;
  texts_step(&m, w->kv, table->oracle, table->oracle_device, b.batch, expected);
  for (int i = 0; i < table->n_subject; i++) {
    char what[120];
    const struct subject *subject = &table->subject[i];
    snprintf(what, sizeof what, "texts, %d wide, pool %d, norm %d, near %d%s%s%s, %s", w->cols, s->pool, s->norm,
             s->near, s->causal ? ", causal" : "", s->apart ? ", by distance" : "", s->feed != ONE ? ", experts" : "",
             subject->name);
    texts_step(&m, w->kv, table->tested, subject->device[1], b.batch, got);
    family_compare(family, what, expected, tolerance, got, ROWS * LABELS);
    texts_step(&m, w->kv, table->tested, subject->device[0], b.batch, other);
    family_same(family, what, got, other, ROWS * LABELS);
    texts_few(table, &m, w->kv, subject->device[1], counts, s->placed, other);
    family_compare(family, what, expected, tolerance, other, FEW * LABELS);
    if (w->kv == KV_F32 || !gpu) /* where the number of tokens chooses no kernel */
      texts_alone(table, &m, w->kv, subject, counts, s->placed, got, family);
  }
  model_release(&m);
}

void text_cases(struct table *table) {
  struct family family = {.name = "texts"}, wide = {.name = "texts in 16 bits"},
                few = {.name = "texts in 16 bits, 3 to 1"}, wider = {.name = "texts in bf16, wide heads, turned"},
                apart = {.name = "texts in 16 bits, by distance, heads"};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) text_case(table, &shapes[i], &floats, &family);
  family_end(table, &family);
  size_t step = table->few ? 2 : 1; /* each shape in one of the two then */
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i += step) text_case(table, &shapes[i], &halves, &wide);
  family_end(table, &wide);
  for (size_t i = step - 1; i < sizeof shapes / sizeof *shapes; i += step) text_case(table, &shapes[i], &shared, &few);
  family_end(table, &few);
  text_case(table, &shapes[3], &turned[0], &wider); /* a window to both sides, one back, none */
  text_case(table, &shapes[7], &turned[0], &wider);
  text_case(table, &shapes[0], &turned[1], &wider);
  family_end(table, &wider);
  size_t widths = table->tested->target == TARGET_CUDA ? sizeof heads / sizeof *heads : 1; /* a CPU's tiles know none */
  for (size_t i = 0; i < widths; i++) text_case(table, &shapes[8], &heads[i], &apart);
  family_end(table, &apart);
}
