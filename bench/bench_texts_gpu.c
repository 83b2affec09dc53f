/* How long a GPU takes to encode texts: layers of BERT-base's shape (768 wide, 12 heads of 64, 3072), BF16, of random
 * weights: as BERT has them, with scores that gain by distance, and with two of eight experts of that width in every
 * other layer; in steps of so many texts of so many tokens.
 *   bench_texts_gpu [layers 12] [runs 30]
 * Times are of a layer, medians of whole steps, launches included. The floor is the operations of linears and of
 * attention at the rate of the matrix units, measured first. */
#include "backend/backends.h"
#include "bench_step.h"
#include "plan/plan_builder.h"

enum { HIDDEN = 768, HEADS = 12, WIDE = 3072, EXPERTS = 8, CHOSEN = 2, VOCAB = 64, PLAN_BYTES = 8 << 20 };

enum kind { AS_BERT, BY_DISTANCE, WITH_EXPERTS, KINDS };
static const char *const names[KINDS] = {"as BERT", "by distance", "with experts"};

struct bench {
  const struct backend *backend;
  struct device *device;
  int layers, runs;
  enum kind kind;
  struct buffer block;
  const struct plan *plan;
  double token_operations; /* of the plan's linears */
  struct bench_steps steps;
};

/* --- the plan ----------------------------------------------------------------------------------------------------- */

static int table_add(struct plan_builder *b, const char *name, int cols) {
  struct op op = op_make(OP_EMBED, -1);
  op.out = plan_add_value(b, cols, ROWS_TOKENS);
  op.weight[0] = plan_add_matrix(b, name, &name, &(int){VOCAB}, 1, cols, false);
  plan_add_op(b, &op);
  return op.out;
}

/* To `out`, or added to it and normed (sum). */
static void linear_add(struct bench *b, struct plan_builder *to, int layer, const char *what, int in, int out, int rows,
                       int cols, bool sum) {
  char name[48];
  struct op op = op_make(OP_LINEAR, layer);
  const char *tensor = name;
  snprintf(name, sizeof name, "%s.%d", what, layer);
  op.in[0] = in, op.in[1] = sum ? out : -1, op.out = out;
  op.weight[0] = plan_add_matrix(to, name, &tensor, &rows, 1, cols, false);
  if (rows == WIDE) op.args.linear.act = ACT_GELU;
  if (sum) {
    snprintf(name, sizeof name, "%s_norm.%d", what, layer);
    op.weight[3] = plan_add_vector(to, name, 2 * rows, 0);
    op.args.linear.post_norm = NORM_LAYER, op.args.linear.post_sum = 1, op.args.linear.post_eps = 1e-12f;
  }
  b->token_operations += 2.0 * rows * cols;
  plan_add_op(to, &op);
}

static void attend_add(const struct bench *b, struct plan_builder *to, int layer, int qkv, int out) {
  struct op op = op_make(OP_ATTEND, layer);
  op.in[0] = qkv, op.out = out;
  op.args.attend = (struct attend_args){.n_head = HEADS,
                                        .n_kv_head = HEADS,
                                        .dim_k = HIDDEN / HEADS,
                                        .dim_v = HIDDEN / HEADS,
                                        .group = -1,
                                        .rope_scale = 1,
                                        .scale = 0.125f};
  if (b->kind == BY_DISTANCE) op.args.attend.alibi = LEAN_DISTANCES; /* the plan's first floats */
  plan_add_op(to, &op);
}

static void expert_linear(struct bench *b, struct plan_builder *to, struct op *op, const char *what, int rows,
                          int cols) {
  char name[48];
  const struct expert_spec spec = {.use = WEIGHT_MATRIX, .n_expert = EXPERTS, .n_part = 1, .cols = cols};
  snprintf(name, sizeof name, "%s.%d", what, op->layer);
  op->weight[0] = plan_add_experts(to, name, &(struct tensor_slice){.tensor = "{e}", .rows = rows}, &spec);
  b->token_operations += 2.0 * rows * cols * CHOSEN;
  plan_add_op(to, op);
}

/* The choice is by given numbers. */
static void experts_add(struct bench *b, struct plan_builder *to, int layer, int logits, int choice, int wide, int x) {
  struct op route = op_make(OP_ROUTE, layer), up = op_make(OP_LINEAR, layer), down = up;
  route.in[0] = logits, route.out = choice;
  route.args.route = (struct route_args){.n_expert = EXPERTS, .k = CHOSEN, .score = ROUTE_SOFTMAX, .scale = 1};
  plan_add_op(to, &route);
  up.in[0] = x, up.in[2] = down.in[2] = choice, up.out = down.in[0] = wide, down.in[1] = down.out = x;
  up.args.linear.act = ACT_GELU;
  up.args.linear.expert_mode = EXPERTS_SPREAD, down.args.linear.expert_mode = EXPERTS_GATHER;
  expert_linear(b, to, &up, "experts_up", WIDE, HIDDEN);
  expert_linear(b, to, &down, "experts_down", HIDDEN, WIDE);
}

static void layers_add(struct bench *b, struct plan_builder *to, int x) {
  int logits = table_add(to, "logits", EXPERTS), choice = plan_add_choice(to, EXPERTS, CHOSEN);
  int qkv = plan_add_value(to, 3 * HIDDEN, ROWS_TOKENS), mixed = plan_add_value(to, HIDDEN, ROWS_TOKENS);
  int wide = plan_add_value(to, WIDE, ROWS_TOKENS), pairs = plan_add_value(to, CHOSEN * WIDE, ROWS_TOKENS);
  for (int i = 0; i < b->layers; i++) {
    linear_add(b, to, i, "qkv", x, qkv, 3 * HIDDEN, HIDDEN, false);
    attend_add(b, to, i, qkv, mixed);
    linear_add(b, to, i, "out", mixed, x, HIDDEN, HIDDEN, true);
    if (b->kind == WITH_EXPERTS && i % 2 == 1) {
      experts_add(b, to, i, logits, choice, pairs, x);
      continue;
    }
    linear_add(b, to, i, "up", x, wide, WIDE, HIDDEN, false);
    linear_add(b, to, i, "down", wide, x, HIDDEN, WIDE, true);
  }
}

static void distances_add(struct plan_builder *to) {
  static float numbers[HEADS * (2 * BENCH_TOKENS + LEAN_ROOM)];
  uint32_t each = lean_numbers(BENCH_TOKENS);
  for (uint32_t i = 0; i < HEADS * each; i++) numbers[i] = (float)(i % 97) / 97;
  plan_add_floats(to, numbers, HEADS * each);
}

static void plan_make(struct bench *b) {
  struct plan_builder builder;
  struct error error;
  struct op select = op_make(OP_SELECT, -1);
  buffer_init(&b->block, PLAN_BYTES);
  plan_builder_init(&builder, PLAN_ENCODER);
  builder.head.vocab = VOCAB, builder.head.hidden = HIDDEN, builder.head.max_position = BENCH_TOKENS;
  b->token_operations = 0;
  if (b->kind == BY_DISTANCE) distances_add(&builder);
  select.in[0] = table_add(&builder, "x", HIDDEN);
  layers_add(b, &builder, select.in[0]);
  select.out = plan_add_value(&builder, HIDDEN, ROWS_OUTPUTS);
  select.args.select.pool = POOL_MEAN;
  plan_add_op(&builder, &select);
  if (!plan_finish(&builder, &b->block, &error)) die(&error);
  plan_builder_release(&builder);
  struct plan *plan = (struct plan *)(void *)b->block.data;
  struct weight *weight = (struct weight *)(void *)((char *)plan + plan->weights);
  for (int i = 0; i < plan->n_weight; i++)
    if (weight[i].use == WEIGHT_MATRIX) weight[i].scheme.kind = SCHEME_BF16;
  if (!plan_check(buffer_slice(&b->block), &error)) die(&error);
  b->plan = plan;
}

/* Norms multiply by 1, and add it. */
static void weight_make(const struct bench *b, int index) {
  static float ones[2 * HIDDEN];
  struct error error;
  const struct weight *w = plan_weights(b->plan) + index;
  for (int i = 0; i < 2 * HIDDEN; i++) ones[i] = 1;
  struct slice vector = {(const uint8_t *)ones, (size_t)w->cols * sizeof *ones};
  bool made = w->use == WEIGHT_MATRIX ? b->backend->load_random(b->steps.program, index, &error)
                                      : b->backend->load(b->steps.program, index, vector, &error);
  if (!made) die(&error);
}

static void program_make(struct bench *b) {
  struct error error;
  plan_make(b);
  const struct limits limits = {.seats = BENCH_SEATS,
                                .tokens = BENCH_TOKENS,
                                .outputs = BENCH_SEATS,
                                .length = BENCH_TOKENS,
                                .opt_batch = BENCH_SEATS,
                                .block_size = 16,
                                .kv_dtype = KV_F16};
  for (int i = 0; i < b->plan->n_op; i++)
    if (!b->backend->supports(b->plan, i, &error)) die(&error);
  b->steps.program = b->backend->compile(b->device, b->plan, &limits, &error);
  if (!b->steps.program) die(&error);
  for (int i = 0; i < b->plan->n_weight; i++) weight_make(b, i);
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static void texts_fill(struct bench_steps *s, int n, int tokens) {
  steps_fill(s, n * tokens, false, 0, VOCAB);
  s->batch.n_row = s->batch.n_out = n;
  s->batch.sampling = NULL;
  for (int i = 0; i < n; i++) {
    s->row[i] = (struct row){.seat = i, .first = i * tokens, .count = tokens};
    s->out[i] = (i + 1) * tokens - 1;
  }
}

static void size_run(struct bench *b, const struct machine_rates *rates, int n, int tokens) {
  texts_fill(&b->steps, n, tokens);
  double layer = step_seconds(&b->steps, b->runs) / b->layers;
  double operations =
      (b->token_operations / b->layers + 4.0 * tokens * HIDDEN) * n * tokens / (rates->linear_gflops * 1e9);
  printf("| %s | %d of %d | %.1f | %.1f | %.1f %% |\n", names[b->kind], n, tokens, layer * 1e6, operations * 1e6,
         100 * operations / layer);
  fflush(stdout);
}

int main(int argc, char **argv) {
  static const int sizes[][2] = {{1, 16}, {1, 128}, {64, 128}, {16, 512}, {1, BENCH_TOKENS}};
  static struct bench b;
  struct machine_rates rates;
  struct error error;
  b.layers = number_of(argc, argv, 1, 12), b.runs = number_of(argc, argv, 2, 30);
  if (b.layers < 1 || b.layers > 64 || b.runs < 1 || b.runs > BENCH_RUNS) {
    printf("usage: bench_texts_gpu [layers 12, 1 to 64] [runs 30]\n");
    return 2;
  }
  b.backend = b.steps.backend = backend_find("cuda");
  b.device = b.backend->open(&(struct device_options){0}, &error);
  if (!b.device || !b.backend->rates(b.device, &rates, &error)) die(&error);
  printf("%s\n| layers | texts | µs a layer | by operations | floor |\n|---|---|---|---|---|\n",
         b.backend->describe(b.device));
  for (b.kind = AS_BERT; b.kind < KINDS; b.kind++) {
    program_make(&b);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) size_run(&b, &rates, sizes[i][0], sizes[i][1]);
    b.backend->release(b.steps.program);
    buffer_release(&b.block);
  }
  b.backend->close(b.device);
  return 0;
}
