/* A tiny random decoder on the CPU backend: its logits against a forward pass in double precision, and the same bytes
 * whatever the threads, the chunks of the prefill, the block size and the neighbours in the batch. */
#include "backend/backends.h"
#include "base/half.h"
#include "plan/plan_builder.h"

#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VOCAB = 50, HIDDEN = 48, LENGTH = 150, LAYERS = 2, WEIGHTS_MAX = 32 };

/* What varies from network to network. */
struct shape {
  const char *name;
  int n_head, n_kv_head, dim, dim_v;
  int rope_style, rope_dim, window;
  float softcap;
  bool qk_norm, sinks, post_norm;
};

static const struct shape shapes[] = {
    {.name = "grouped heads",
     .n_head = 9,
     .n_kv_head = 3,
     .dim = 64,
     .dim_v = 64,
     .rope_style = ROPE_HALF,
     .rope_dim = 64},
    {.name = "window, caps, norms",
     .n_head = 4,
     .n_kv_head = 1,
     .dim = 32,
     .dim_v = 32,
     .rope_style = ROPE_HALF,
     .rope_dim = 32,
     .window = 37,
     .softcap = 2,
     .qk_norm = true,
     .post_norm = true},
    {.name = "pairs, part of the head, sinks",
     .n_head = 2,
     .n_kv_head = 2,
     .dim = 80,
     .dim_v = 80,
     .rope_style = ROPE_PAIRS,
     .rope_dim = 20,
     .sinks = true},
    {.name = "odd sizes, no rope", .n_head = 6, .n_kv_head = 1, .dim = 13, .dim_v = 7},
};

static uint64_t random_state;

static float random_float(void) { /* −1 … 1 */
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (float)(random_state >> 33) * 0x1p-30f - 1;
}

/* --- the network -------------------------------------------------------------------------------------------------- */

struct network {
  struct shape shape;
  struct buffer block;
  const struct plan *plan;
  float *dense[WEIGHTS_MAX]; /* of every weight, row-major */
  uint8_t *packed[WEIGHTS_MAX];
};

static int matrix_add(struct plan_builder *b, const char *name, int rows, int cols) {
  return plan_add_matrix(b, name, &name, &rows, 1, cols, false);
}

static void attend_add(struct plan_builder *b, const struct shape *s, int layer, int in, int out, uint32_t frequency) {
  struct op op = op_make(OP_ATTEND, layer);
  op.in[0] = in;
  op.out = out;
  if (s->qk_norm) {
    op.weight[0] = plan_add_vector(b, "q norm", s->dim, 0);
    op.weight[1] = plan_add_vector(b, "k norm", s->dim, 0);
  }
  if (s->sinks) op.weight[2] = plan_add_vector(b, "sinks", s->n_head, 0);
  op.args.attend = (struct attend_args){.n_head = s->n_head,
                                        .n_kv_head = s->n_kv_head,
                                        .dim_k = s->dim,
                                        .dim_v = s->dim_v,
                                        .layer = layer,
                                        .rope_style = s->rope_style,
                                        .rope_dim = s->rope_dim,
                                        .rope_freq = frequency,
                                        .rope_scale = 1.25f,
                                        .eps = 1e-5f,
                                        .scale = 0.3f,
                                        .softcap = s->softcap};
  plan_add_op(b, &op);
}

static void linear_add(struct plan_builder *b, int layer, int in, int out, int residual, int weight, int norm,
                       int post_norm) {
  struct op op = op_make(OP_LINEAR, layer);
  op.in[0] = in, op.in[1] = residual, op.out = out;
  op.weight[0] = weight, op.weight[2] = norm, op.weight[3] = post_norm;
  op.args.linear.norm = norm >= 0 ? NORM_RMS : NORM_NONE;
  op.args.linear.post_norm = post_norm >= 0 ? NORM_RMS : NORM_NONE;
  op.args.linear.eps = op.args.linear.post_eps = 1e-5f;
  plan_add_op(b, &op);
}

static void plan_make(struct network *net) {
  const struct shape *s = &net->shape;
  struct plan_builder b;
  struct error error = {0};
  plan_builder_init(&b, PLAN_DECODER);
  b.head.vocab = VOCAB, b.head.hidden = HIDDEN, b.head.max_position = 4096;
  int qkv_cols = s->n_head * s->dim + s->n_kv_head * (s->dim + s->dim_v);
  int stream = plan_add_value(&b, HIDDEN, ROWS_TOKENS), qkv = plan_add_value(&b, qkv_cols, ROWS_TOKENS);
  int mixed = plan_add_value(&b, s->n_head * s->dim_v, ROWS_TOKENS), last = plan_add_value(&b, HIDDEN, ROWS_OUTPUTS);
  int logits = plan_add_value(&b, VOCAB, ROWS_OUTPUTS);
  float frequency[64];
  for (int i = 0; i < s->rope_dim / 2; i++) frequency[i] = powf(100, -2.0f * (float)i / (float)s->rope_dim);
  uint32_t at = plan_add_floats(&b, frequency, (uint32_t)s->rope_dim / 2);
  plan_add_group(
      &b, (struct kv_group){
              .n_layer = LAYERS, .n_head = s->n_kv_head, .dim_k = s->dim, .dim_v = s->dim_v, .window = s->window});
  struct op op = op_make(OP_EMBED, -1);
  op.out = stream, op.weight[0] = matrix_add(&b, "table", VOCAB, HIDDEN), op.args.embed.scale = 1.5f;
  plan_add_op(&b, &op);
  for (int layer = 0; layer < LAYERS; layer++) {
    int norm = plan_add_vector(&b, "norm", HIDDEN, 0);
    int post = s->post_norm ? plan_add_vector(&b, "post norm", HIDDEN, 0) : -1;
    linear_add(&b, layer, stream, qkv, -1, matrix_add(&b, "qkv", qkv_cols, HIDDEN), norm, -1);
    attend_add(&b, s, layer, qkv, mixed, at);
    linear_add(&b, layer, mixed, stream, stream, matrix_add(&b, "o", HIDDEN, s->n_head * s->dim_v), -1, post);
  }
  op = op_make(OP_SELECT, -1), op.in[0] = stream, op.out = last;
  plan_add_op(&b, &op);
  linear_add(&b, -1, last, logits, -1, matrix_add(&b, "head", VOCAB, HIDDEN), plan_add_vector(&b, "norm", HIDDEN, 0),
             -1);
  op = op_make(OP_SAMPLE, -1), op.in[0] = logits;
  plan_add_op(&b, &op);
  buffer_init(&net->block, 1 << 20);
  if (!plan_finish(&b, &net->block, &error)) fail_msg("%s", error.text);
  net->plan = (const void *)net->block.data;
  plan_builder_release(&b);
}

static void weight_pack(const struct network *net, int index) {
  const struct weight *w = plan_weights(net->plan) + index;
  if (w->use == WEIGHT_VECTOR) {
    memcpy(net->packed[index], net->dense[index], (size_t)w->cols * sizeof(float));
    return;
  }
  size_t strip = backend_cpu.strip_bytes(w);
  for (int row = 0; row < w->rows; row += backend_cpu.pack_rows) {
    int rows = w->rows - row < backend_cpu.pack_rows ? w->rows - row : backend_cpu.pack_rows;
    struct codes codes = {
        .scheme = w->scheme, .rows = rows, .cols = w->cols, .dense = net->dense[index] + (size_t)row * (size_t)w->cols};
    backend_cpu.pack(w, &codes, net->packed[index] + (size_t)(row / backend_cpu.pack_rows) * strip);
  }
}

static void network_init(struct network *net, const struct shape *shape) {
  *net = (struct network){.shape = *shape};
  random_state = 7;
  plan_make(net);
  assert_true(net->plan->n_weight <= WEIGHTS_MAX);
  for (int i = 0; i < net->plan->n_weight; i++) {
    const struct weight *w = plan_weights(net->plan) + i;
    size_t n = (size_t)w->rows * (size_t)w->cols, bytes = (backend_packed_bytes(&backend_cpu, w) + 63) / 64 * 64;
    float spread = w->use == WEIGHT_VECTOR ? 1 : 2 / sqrtf((float)w->cols);
    net->dense[i] = malloc(n * sizeof(float));
    for (size_t k = 0; k < n; k++) net->dense[i][k] = spread * random_float() + (w->use == WEIGHT_VECTOR);
    net->packed[i] = aligned_alloc(64, bytes);
    weight_pack(net, i);
  }
}

static void network_release(struct network *net) {
  for (int i = 0; i < net->plan->n_weight; i++) {
    free(net->dense[i]);
    free(net->packed[i]);
  }
  buffer_release(&net->block);
}

/* --- the oracle: every op over the whole sequence, in double ------------------------------------------------------ */

static void norm_exact(const double *x, const float *weight, int n, double *y) {
  double square = 0;
  for (int i = 0; i < n; i++) square += x[i] * x[i];
  double scale = 1 / sqrt(square / n + 1e-5f);
  for (int i = 0; i < n; i++) y[i] = x[i] * scale * weight[i];
}

static void linear_exact(const struct network *net, const struct op *op, const double *in, double *out) {
  const struct weight *w = plan_weights(net->plan) + op->weight[0];
  double normed[1024], result[1024] = {0};
  if (op->weight[2] >= 0) norm_exact(in, net->dense[op->weight[2]], w->cols, normed);
  const double *x = op->weight[2] >= 0 ? normed : in;
  for (int r = 0; r < w->rows; r++) {
    result[r] = 0;
    for (int c = 0; c < w->cols; c++) result[r] += x[c] * (double)net->dense[op->weight[0]][r * w->cols + c];
  }
  if (op->weight[3] >= 0) norm_exact(result, net->dense[op->weight[3]], w->rows, result);
  for (int r = 0; r < w->rows; r++) out[r] = result[r] + (op->in[1] >= 0 ? out[r] : 0);
}

static void rope_exact(const struct network *net, const struct attend_args *a, int position, double *x) {
  int half = a->rope_dim / 2;
  for (int i = 0; i < half; i++) {
    int low = a->rope_style == ROPE_HALF ? i : 2 * i, high = a->rope_style == ROPE_HALF ? i + half : 2 * i + 1;
    double angle = (double)position * (double)plan_floats(net->plan)[a->rope_freq + (uint32_t)i];
    double c = cos(angle) * (double)a->rope_scale, s = sin(angle) * (double)a->rope_scale, u = x[low], v = x[high];
    x[low] = u * c - v * s;
    x[high] = u * s + v * c;
  }
}

/* Norms and rotates the q and k heads of one token where they lie. */
static void heads_exact(const struct network *net, const struct op *op, int position, double *qkv) {
  const struct attend_args *a = &op->args.attend;
  for (int h = 0; h < a->n_head + a->n_kv_head; h++) {
    double *head = qkv + h * a->dim_k;
    int norm = op->weight[h < a->n_head ? 0 : 1];
    if (norm >= 0) norm_exact(head, net->dense[norm], a->dim_k, head);
    if (a->rope_style) rope_exact(net, a, position, head);
  }
}

static void attend_exact(const struct network *net, const struct op *op, const int32_t *see, double *qkv, double *out) {
  const struct attend_args *a = &op->args.attend;
  int stride = a->n_head * a->dim_k + a->n_kv_head * (a->dim_k + a->dim_v), window = net->shape.window;
  for (int t = 0; t < LENGTH; t++) heads_exact(net, op, t, qkv + t * stride);
  for (int t = 0; t < LENGTH; t++)
    for (int h = 0; h < a->n_head; h++) {
      int kv = h / (a->n_head / a->n_kv_head), last = see ? see[t] : t,
          first = window && t >= window ? t - window + 1 : 0;
      double weight[LENGTH], total = op->weight[2] >= 0 ? exp((double)net->dense[op->weight[2]][h]) : 0;
      double *result = out + (t * a->n_head + h) * a->dim_v;
      memset(result, 0, (size_t)a->dim_v * sizeof *result);
      for (int k = first; k <= last; k++) {
        double score = 0;
        for (int d = 0; d < a->dim_k; d++)
          score += qkv[t * stride + h * a->dim_k + d] * qkv[k * stride + (a->n_head + kv) * a->dim_k + d];
        score *= (double)a->scale;
        if (a->softcap != 0) score = (double)a->softcap * tanh(score / (double)a->softcap);
        total += weight[k] = exp(score);
      }
      for (int k = first; k <= last; k++)
        for (int d = 0; d < a->dim_v; d++)
          result[d] += weight[k] / total * qkv[k * stride + (a->n_head + a->n_kv_head) * a->dim_k + kv * a->dim_v + d];
    }
}

/* Logits of every token: [LENGTH][VOCAB]. */
static void network_exact(const struct network *net, const int32_t *token, const int32_t *see, double *logits) {
  double *value[8];
  const struct plan *plan = net->plan;
  for (int i = 0; i < plan->n_value; i++)
    value[i] = calloc((size_t)(LENGTH * plan_values(plan)[i].cols), sizeof(double));
  for (int i = 0; i < plan->n_op - 1; i++) {
    const struct op *op = plan_ops(plan) + i;
    double *in = op->in[0] < 0 ? NULL : value[op->in[0]], *out = value[op->out];
    int out_cols = plan_values(plan)[op->out].cols, in_cols = op->in[0] < 0 ? 0 : plan_values(plan)[op->in[0]].cols;
    for (int t = 0; t < LENGTH && op->kind == OP_EMBED; t++)
      for (int c = 0; c < HIDDEN; c++)
        out[t * HIDDEN + c] = 1.5 * (double)net->dense[op->weight[0]][token[t] * HIDDEN + c];
    for (int t = 0; t < LENGTH && op->kind == OP_LINEAR; t++)
      linear_exact(net, op, in + t * in_cols, out + t * out_cols);
    if (op->kind == OP_ATTEND) attend_exact(net, op, see, in, out);
    if (op->kind == OP_SELECT) memcpy(out, in, (size_t)(LENGTH * out_cols) * sizeof(double));
  }
  memcpy(logits, value[plan->n_value - 1], (size_t)(LENGTH * VOCAB) * sizeof(double));
  for (int i = 0; i < plan->n_value; i++) free(value[i]);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

struct setting {
  int n_thread, block_size, chunk; /* tokens of a step */
  uint8_t kv_dtype;
  bool neighbour; /* another sequence's tokens before and after ours in each batch */
  const char *isa;
};

enum { NEIGHBOUR_TOKENS = 5, STEP_TOKENS = LENGTH + 2 * NEIGHBOUR_TOKENS };

static struct program *program_open(const struct network *net, const struct setting *set, struct device **device) {
  struct error error = {0};
  struct device_options options = {.n_thread = set->n_thread, .isa = set->isa};
  *device = backend_cpu.open(&options, &error);
  if (!*device) fail_msg("%s", error.text);
  uint32_t n_block = (uint32_t)(3 * (LENGTH + set->block_size) / set->block_size);
  struct limits limits = {.seats = 3,
                          .tokens = STEP_TOKENS,
                          .outputs = STEP_TOKENS,
                          .length = LENGTH,
                          .opt_batch = 1,
                          .block_size = set->block_size,
                          .kv_dtype = set->kv_dtype,
                          .n_block = {n_block}};
  struct program *program = backend_cpu.compile(*device, net->plan, &limits, &error);
  if (!program) fail_msg("%s", error.text);
  for (int i = 0; i < net->plan->n_weight; i++) {
    struct slice packed = slice_make(net->packed[i], backend_packed_bytes(&backend_cpu, plan_weights(net->plan) + i));
    if (!backend_cpu.load(program, i, packed, &error)) fail_msg("%s", error.text);
  }
  return program;
}

/* A batch of up to three rows over interleaved block tables. */
struct step {
  struct batch batch;
  struct row row[3];
  int32_t token[STEP_TOKENS], out[STEP_TOKENS], see[STEP_TOKENS];
  struct sampling sampling[STEP_TOKENS];
  uint32_t block[3][3 * LENGTH];
};

static void step_add(struct step *s, int seat, int length, const int32_t *token, int count, const int32_t *see) {
  struct batch *b = &s->batch;
  s->row[b->n_row] = (struct row){.seat = seat,
                                  .first = b->n_token,
                                  .count = count,
                                  .length = length,
                                  .n_block = {3 * LENGTH},
                                  .block = {s->block[seat]}};
  for (int i = 0; i < count; i++) {
    int at = b->n_token + i;
    s->token[at] = token[i];
    s->see[at] = see ? see[i] - length : i;
    s->out[at] = at;
  }
  b->n_token += count;
  b->n_row++;
}

static struct step *step_new(int block_size) {
  struct step *s = calloc(1, sizeof *s);
  uint32_t n = (uint32_t)((LENGTH + block_size) / block_size);
  for (uint32_t seat = 0; seat < 3; seat++)
    for (uint32_t i = 0; i < 3 * LENGTH; i++)
      s->block[seat][i] = (i % n) * 3 + (seat + i) % 3; /* scattered, disjoint */
  return s;
}

static void step_run(struct program *program, struct step *s, const struct masks *masks, struct result *result) {
  struct error error = {0};
  s->batch.row = s->row, s->batch.token = s->token, s->batch.out = s->out, s->batch.sampling = s->sampling;
  s->batch.n_out = s->batch.n_token;
  s->batch.want_logits = true;
  if (!backend_cpu.submit(program, &s->batch, &error)) fail_msg("%s", error.text);
  if (!backend_cpu.finish(program, masks, &error)) fail_msg("%s", error.text);
  if (!backend_cpu.collect(program, result, &error)) fail_msg("%s", error.text);
}

/* Feeds the tokens and gathers the logits of each: [LENGTH][VOCAB]. */
static void network_run(const struct network *net, const struct setting *set, const int32_t *token, const int32_t *see,
                        float *logits) {
  struct device *device;
  struct program *program = program_open(net, set, &device);
  struct step *s = step_new(set->block_size);
  int32_t other[LENGTH];
  for (int i = 0; i < LENGTH; i++) other[i] = (i * 17 + 3) % VOCAB;
  for (int at = 0, beside = 0; at < LENGTH; at += set->chunk) {
    int count = LENGTH - at < set->chunk ? LENGTH - at : set->chunk;
    int n_beside = set->neighbour && beside + NEIGHBOUR_TOKENS <= LENGTH ? NEIGHBOUR_TOKENS : 0;
    s->batch = (struct batch){.see = see ? s->see : NULL};
    if (n_beside) step_add(s, 0, beside, other + beside, n_beside, NULL);
    int first = s->batch.n_token;
    step_add(s, 1, at, token + at, count, see ? see + at : NULL);
    if (n_beside) step_add(s, 2, beside, other + beside, n_beside, NULL);
    beside += n_beside;
    struct result result;
    step_run(program, s, NULL, &result);
    memcpy(logits + (size_t)at * VOCAB, result.logits + (size_t)first * VOCAB, (size_t)(count * VOCAB) * sizeof(float));
  }
  free(s);
  backend_cpu.release(program);
  backend_cpu.close(device);
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void tokens_make(int32_t *token) {
  for (int i = 0; i < LENGTH; i++) token[i] = (i * 31 + i * i % 7) % VOCAB;
}

static double distance(const float *logits, const double *exact) {
  double worst = 0, low = exact[0], high = exact[0];
  for (int i = 0; i < LENGTH * VOCAB; i++) {
    worst = fmax(worst, fabs((double)logits[i] - exact[i]));
    low = fmin(low, exact[i]), high = fmax(high, exact[i]);
  }
  return isnan(worst) || isnan((double)logits[0]) ? INFINITY : worst / (high - low);
}

static const struct setting settings[] = {
    {.n_thread = 1, .block_size = 64, .chunk = LENGTH},
    {.n_thread = 2, .block_size = 64, .chunk = LENGTH},
    {.n_thread = 2, .block_size = 64, .chunk = 1},
    {.n_thread = 1, .block_size = 16, .chunk = 7},
    {.n_thread = 3, .block_size = 1, .chunk = 64},
    {.n_thread = 2, .block_size = 256, .chunk = 100},
    {.n_thread = 2, .block_size = 16, .chunk = 1, .neighbour = true},
    {.n_thread = 1, .block_size = 64, .chunk = 33, .neighbour = true},
};

static void bytes_check(const struct network *net, uint8_t kv_dtype, const char *isa, const int32_t *token,
                        const double *exact, double tolerance) {
  static float first[LENGTH * VOCAB], logits[LENGTH * VOCAB];
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
    struct setting set = settings[i];
    set.kv_dtype = kv_dtype;
    set.isa = isa;
    if (kv_dtype >= KV_BF16 && set.block_size < 16) continue; /* they have no smaller blocks */
    network_run(net, &set, token, NULL, i ? logits : first);
    if (i == 0) {
      double away = distance(first, exact);
      if (!(away <= tolerance))
        fail_msg("%s, %s: %g of the logit range away", net->shape.name, isa ? isa : "best", away);
    } else if (memcmp(first, logits, sizeof first) != 0) {
      fail_msg("%s, %s: setting %zu gives other bytes", net->shape.name, isa ? isa : "best", i);
    }
  }
}

static void test_every_shape_is_right_and_always_the_same(void **state) {
  (void)state;
  int32_t token[LENGTH];
  double *exact = malloc(sizeof(double) * LENGTH * VOCAB);
  tokens_make(token);
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    struct network net;
    network_init(&net, &shapes[i]);
    network_exact(&net, token, NULL, exact);
    bytes_check(&net, KV_F32, NULL, token, exact, 1e-5);
    bytes_check(&net, KV_F16, NULL, token, exact, 3e-3);
    bytes_check(&net, KV_BF16, NULL, token, exact, 3e-2);
    bytes_check(&net, KV_BF16, "scalar", token, exact, 3e-2);
    bytes_check(&net, KV_F32, "scalar", token, exact, 1e-5);
    bytes_check(&net, KV_INT8, NULL, token, exact, 1e-1);
    bytes_check(&net, KV_INT8, "scalar", token, exact, 1e-1);
    bytes_check(&net, KV_E4M3, NULL, token, exact, 3e-1);
    bytes_check(&net, KV_E4M3, "scalar", token, exact, 3e-1);
    network_release(&net);
  }
  free(exact);
}

/* An image span sees itself whole; it comes in one chunk. */
static void test_spans_see_forward(void **state) {
  (void)state;
  static float logits[LENGTH * VOCAB];
  int32_t token[LENGTH], see[LENGTH];
  double *exact = malloc(sizeof(double) * LENGTH * VOCAB);
  struct network net;
  tokens_make(token);
  for (int i = 0; i < LENGTH; i++) see[i] = i >= 40 && i < 90 ? 89 : i;
  network_init(&net, &shapes[0]);
  network_exact(&net, token, see, exact);
  network_run(&net, &(struct setting){.n_thread = 2, .block_size = 16, .chunk = LENGTH}, token, see, logits);
  assert_true(distance(logits, exact) < 1e-5);
  network_release(&net);
  free(exact);
}

static void test_masks_and_copies(void **state) {
  (void)state;
  struct network net;
  struct device *device;
  struct setting set = {.n_thread = 2, .block_size = 16};
  int32_t token[LENGTH];
  tokens_make(token);
  network_init(&net, &shapes[0]);
  struct program *program = program_open(&net, &set, &device);
  struct step *s = step_new(16);
  struct result result;
  step_add(s, 0, 0, token, 10, NULL);
  step_run(program, s, NULL, &result);
  float before[VOCAB];
  s->batch = (struct batch){0};
  step_add(s, 0, 10, token + 10, 1, NULL);
  step_run(program, s, NULL, &result);
  memcpy(before, result.logits, sizeof before);
  /* Seat 1 goes on from a copy of seat 0's block, and may only answer 11. */
  struct kv_copy copy = {.from = s->block[0][0], .to = s->block[1][0]};
  uint32_t only[2] = {1u << 11, 0};
  const uint32_t *mask[1] = {only};
  s->batch = (struct batch){.n_copy = 1, .copy = &copy};
  step_add(s, 1, 10, token + 10, 1, NULL);
  step_run(program, s, &(struct masks){mask}, &result);
  assert_memory_equal(before, result.logits, sizeof before);
  assert_int_equal(result.token[0], 11);
  free(s);
  backend_cpu.release(program);
  backend_cpu.close(device);
  network_release(&net);
}

/* Three sequences begin with the same 128 tokens in the same blocks; each then goes on with tokens of its own, a token
 * a step, beside the others or alone. */
enum { BEGINNING = 128, AFTER = LENGTH - BEGINNING };

static struct step *beginning_store(struct program *program, const struct setting *set) {
  struct step *s = step_new(set->block_size);
  int32_t token[BEGINNING];
  for (int i = 0; i < BEGINNING; i++) token[i] = (i * 13 + 5) % VOCAB;
  for (int seat = 1; seat < 3; seat++)
    memcpy(s->block[seat], s->block[0], (size_t)(BEGINNING / set->block_size) * sizeof **s->block);
  struct result result;
  for (int at = 0; at < BEGINNING; at += BEGINNING / 2) {
    s->batch = (struct batch){0};
    step_add(s, 0, at, token + at, BEGINNING / 2, NULL);
    step_run(program, s, NULL, &result);
  }
  return s;
}

static void continue_run(const struct network *net, const struct setting *set, bool together,
                         float logits[AFTER][3][VOCAB]) {
  struct device *device;
  struct program *program = program_open(net, set, &device);
  struct step *s = beginning_store(program, set);
  struct result result;
  for (int i = 0; i < AFTER; i++) {
    s->batch = (struct batch){0};
    for (int seat = 0; seat < 3; seat++) {
      int32_t token = (i * 7 + seat * 11) % VOCAB;
      step_add(s, seat, BEGINNING + i, &token, 1, NULL);
      if (together && seat < 2) continue;
      step_run(program, s, NULL, &result);
      memcpy(logits[i][together ? 0 : seat], result.logits, (size_t)s->batch.n_row * VOCAB * sizeof(float));
      s->batch = (struct batch){0};
    }
  }
  free(s);
  backend_cpu.release(program);
  backend_cpu.close(device);
}

static void test_rows_that_share_blocks(void **state) {
  (void)state;
  static float alone[AFTER][3][VOCAB], together[AFTER][3][VOCAB];
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    struct network net;
    network_init(&net, &shapes[i]);
    for (int k = 0; k < 20; k++) {
      struct setting set = {
          .n_thread = 1 + k / 5 % 2 * 2, .block_size = k < 10 ? 16 : 64, .kv_dtype = (uint8_t)(k % 5)};
      continue_run(&net, &set, false, alone);
      continue_run(&net, &set, true, together);
      if (memcmp(alone, together, sizeof alone) != 0) fail_msg("%s: setting %d gives other bytes", net.shape.name, k);
      assert_true(memcmp(alone[0][0], alone[0][1], sizeof alone[0][0]) != 0);
    }
    network_release(&net);
  }
}

static void test_warm_steps_allocate_nothing(void **state) {
  (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  skip(); /* their allocator does not answer mallinfo2 */
#endif
  struct network net;
  struct device *device;
  struct setting set = {.n_thread = 2, .block_size = 16};
  int32_t token[LENGTH];
  tokens_make(token);
  network_init(&net, &shapes[1]);
  struct program *program = program_open(&net, &set, &device);
  struct step *s = step_new(16);
  struct result result;
  size_t used = 0;
  for (int i = 0; i < 20; i++) {
    s->batch = (struct batch){0};
    step_add(s, 0, i, token + i, 1, NULL);
    step_run(program, s, NULL, &result);
    size_t now = mallinfo2().uordblks;
    if (i > 1) assert_int_equal(now, used);
    used = now;
  }
  free(s);
  backend_cpu.release(program);
  backend_cpu.close(device);
  network_release(&net);
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

static void test_limits_are_checked(void **state) {
  (void)state;
  static const struct {
    struct limits limits;
    const char *sentence;
  } cases[] = {
      {{.seats = 0, .tokens = 1, .outputs = 1, .length = 1, .opt_batch = 1, .block_size = 16},
       "Limits of 0 seats, 1 tokens, 1 outputs, length 1, optimum batch 1; each must be at least 1."},
      {{.seats = 1, .tokens = 1, .outputs = 1, .length = 1, .opt_batch = 1, .block_size = 24},
       "KV blocks of 24 tokens were asked for, expected a power of two."},
      {{.seats = 1, .tokens = 1, .outputs = 1, .length = 1, .opt_batch = 1, .block_size = 16, .kv_dtype = 9},
       "KV type 9 was asked for, expected 0 (fp32), 1 (fp16), 2 (bf16), 3 (fp8) or 4 (int8)."},
      {{.seats = 1, .tokens = 1, .outputs = 1, .length = 1, .opt_batch = 1, .block_size = 8, .kv_dtype = KV_BF16},
       "bf16 KV needs blocks of at least 16 tokens, not 8: use fp16."},
      {{.seats = 1, .tokens = 1, .outputs = 1, .length = 1, .opt_batch = 1, .block_size = 8, .kv_dtype = KV_INT8},
       "int8 KV needs blocks of at least 16 tokens, not 8: use fp16."},
  };
  struct network net;
  network_init(&net, &shapes[0]);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct error error = {0};
    struct footprint footprint;
    assert_false(backend_cpu.measure(net.plan, &cases[i].limits, &footprint, &error));
    assert_string_equal(error.text, cases[i].sentence);
  }
  network_release(&net);
}

static void test_measure_counts_blocks(void **state) {
  (void)state;
  struct network net;
  struct error error;
  struct footprint footprint;
  struct limits limits = {.seats = 1, .tokens = 8, .outputs = 1, .length = 64, .opt_batch = 1, .block_size = 16};
  network_init(&net, &shapes[0]);
  assert_true(backend_cpu.measure(net.plan, &limits, &footprint, &error));
  assert_int_equal(footprint.kv_block[0], LAYERS * 3 * 16 * (64 + 64) * 4);
  assert_true(footprint.workspace > 8 * HIDDEN * sizeof(float));
  limits.kv_dtype = KV_F16;
  assert_true(backend_cpu.measure(net.plan, &limits, &footprint, &error));
  assert_int_equal(footprint.kv_block[0], LAYERS * 3 * 16 * (64 + 64) * 2);
  limits.kv_dtype = KV_INT8; /* codes, and a scale for each key and value */
  assert_true(backend_cpu.measure(net.plan, &limits, &footprint, &error));
  assert_int_equal(footprint.kv_block[0], LAYERS * 3 * 16 * (64 + 64 + 2 * sizeof(float)));
  for (int i = 0; i < net.plan->n_op; i++) assert_true(backend_cpu.supports(net.plan, i, &error));
  network_release(&net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_shape_is_right_and_always_the_same),
      cmocka_unit_test(test_spans_see_forward),
      cmocka_unit_test(test_masks_and_copies),
      cmocka_unit_test(test_rows_that_share_blocks),
      cmocka_unit_test(test_warm_steps_allocate_nothing),
      cmocka_unit_test(test_limits_are_checked),
      cmocka_unit_test(test_measure_counts_blocks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
