/* How long a GPU takes for mixtures of experts: layers of a router, a gated spread and a gather, of random weights in
 * bf16 or in the schemes below, nothing else. Steps of so many rows with a token each (decode steps, by their graphs),
 * then prompts.
 *   bench_experts_gpu [--host] [experts 128] [of a token 8] [hidden 2048] [inner 768] [layers 16] [runs 30] [scheme
 * BF16] which are Qwen3-30B-A3B's. Times are of a layer, medians. The floor is the most of these: bytes of the experts
 * that so many tokens choose in the mean, if they choose at random, and of the router at the rate of reads; operations
 * at the rate of the matrix units; with --host, where all experts are in the host's memory, their bytes at the rate at
 * which the copy engine brings them over the bus. All rates are measured first. */
#include "backend/backends.h"
#include "bench_step.h"
#include "plan/plan_builder.h"

#include <math.h>
#include <string.h>

enum { VOCAB = 1024, PLAN_BYTES = 1 << 22 };

/* Of experts. */
static const struct named {
  const char *name;
  struct scheme scheme;
} schemes[] = {
    {"BF16", {.kind = SCHEME_BF16}},
    {"FP8", {.kind = SCHEME_F8, .activation = ACTIVATION_E4M3_TOKEN}},
    {"F8", {.kind = SCHEME_F8}},
    {"F8-128", {.kind = SCHEME_F8, .group = 128}},
    {"W8A8", {.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN}},
    {"INT8_WEIGHT", {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16, .has_min = 1, .group = 128}},
    {"INT4_WEIGHT", {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .has_min = 1, .group = 128}},
    {"Q4_0", {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .group = 32}},
    {"MXFP4", {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_BF16, .codebook = CODEBOOK_E2M1, .group = 32}},
};

struct shape {
  int experts, k, hidden, inner, layers;
  const struct named *scheme;
};

struct bench {
  const struct backend *backend;
  struct device *device;
  struct shape shape;
  bool host;
  struct buffer block;
  const struct plan *plan;
  struct limits limits;
  struct bench_steps steps;
};

/* --- the network -------------------------------------------------------------------------------------------------- */

static int matrix_add(struct plan_builder *b, const char *name, int rows, int cols) {
  return plan_add_matrix(b, name, &name, &rows, 1, cols, false);
}

static int experts_add(struct plan_builder *b, const struct shape *s, const char *name, int rows, int cols,
                       bool gated) {
  const struct tensor_slice slices[] = {{.tensor = "{e}.gate", .rows = rows}, {.tensor = "{e}.up", .rows = rows}};
  const struct expert_spec spec = {
      .use = WEIGHT_MATRIX, .n_expert = s->experts, .n_part = gated ? 2 : 1, .cols = cols, .interleaved = gated};
  return plan_add_experts(b, name, slices, &spec);
}

static void layer_add(struct plan_builder *b, const struct shape *s, int layer, int x) {
  struct op router = op_make(OP_LINEAR, layer), route = op_make(OP_ROUTE, layer), spread = router, gather = router;
  int norm = plan_add_vector(b, "norm", s->hidden, 0);
  router.in[0] = spread.in[0] = x;
  router.out = route.in[0] = plan_add_value(b, s->experts, ROWS_TOKENS);
  route.out = spread.in[2] = gather.in[2] = plan_add_choice(b, s->experts, s->k);
  spread.out = gather.in[0] = plan_add_value(b, s->k * s->inner, ROWS_TOKENS);
  gather.in[1] = gather.out = x;
  router.weight[0] = matrix_add(b, "router", s->experts, s->hidden);
  spread.weight[0] = experts_add(b, s, "gate_up", s->inner, s->hidden, true);
  gather.weight[0] = experts_add(b, s, "down", s->hidden, s->inner, false);
  router.weight[2] = spread.weight[2] = norm;
  router.args.linear.norm = spread.args.linear.norm = NORM_RMS;
  router.args.linear.eps = spread.args.linear.eps = 1e-6f;
  spread.args.linear.gated = 1, spread.args.linear.act = ACT_SILU;
  spread.args.linear.expert_mode = EXPERTS_SPREAD, gather.args.linear.expert_mode = EXPERTS_GATHER;
  route.args.route.n_expert = s->experts, route.args.route.k = s->k, route.args.route.normalize = 1;
  plan_add_op(b, &router);
  plan_add_op(b, &route);
  plan_add_op(b, &spread);
  plan_add_op(b, &gather);
}

static void plan_make(struct bench *b) {
  struct plan_builder builder;
  struct error error;
  buffer_init(&b->block, PLAN_BYTES);
  plan_builder_init(&builder, PLAN_DECODER);
  builder.head.vocab = VOCAB, builder.head.hidden = b->shape.hidden, builder.head.max_position = BENCH_TOKENS;
  struct op embed = op_make(OP_EMBED, -1), select = op_make(OP_SELECT, -1), head = op_make(OP_LINEAR, -1),
            sample = op_make(OP_SAMPLE, -1);
  int x = embed.out = select.in[0] = plan_add_value(&builder, b->shape.hidden, ROWS_TOKENS);
  embed.weight[0] = head.weight[0] = matrix_add(&builder, "embed", VOCAB, b->shape.hidden);
  embed.args.embed.scale = 50; /* of about one, as of a network's residual stream */
  plan_add_op(&builder, &embed);
  for (int i = 0; i < b->shape.layers; i++) layer_add(&builder, &b->shape, i, x);
  select.out = head.in[0] = plan_add_value(&builder, b->shape.hidden, ROWS_OUTPUTS);
  head.out = sample.in[0] = plan_add_value(&builder, VOCAB, ROWS_OUTPUTS);
  plan_add_op(&builder, &select);
  plan_add_op(&builder, &head);
  plan_add_op(&builder, &sample);
  if (!plan_finish(&builder, &b->block, &error)) die(&error);
  plan_builder_release(&builder);
  struct plan *plan = (struct plan *)(void *)b->block.data;
  struct weight *weight = (struct weight *)(void *)((char *)plan + plan->weights);
  for (int i = 0; i < plan->n_weight; i++)
    if (weight[i].use == WEIGHT_MATRIX)
      weight[i].scheme = weight[i].n_expert > 0 ? b->shape.scheme->scheme : schemes[0].scheme;
  if (!plan_check(buffer_slice(&b->block), &error)) die(&error);
  b->plan = plan;
}

static void weights_make(struct bench *b) {
  struct error error;
  float *ones = malloc((size_t)b->shape.hidden * sizeof *ones);
  for (int c = 0; ones && c < b->shape.hidden; c++) ones[c] = 1;
  for (int i = 0; ones && i < b->plan->n_weight; i++) {
    bool vector = plan_weights(b->plan)[i].use == WEIGHT_VECTOR;
    struct slice packed = {(const uint8_t *)ones, (size_t)b->shape.hidden * sizeof *ones};
    if (!(vector ? b->backend->load(b->steps.program, i, packed, &error)
                 : b->backend->load_random(b->steps.program, i, &error)))
      die(&error);
  }
  free(ones);
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

/* Of all experts of a layer, as they are packed. */
static double experts_bytes(const struct bench *b) {
  double bytes = 0;
  for (int i = 0; i < b->plan->n_weight; i++)
    if (plan_weights(b->plan)[i].n_expert > 0)
      bytes += (double)backend_packed_bytes(b->backend, plan_weights(b->plan) + i);
  return bytes / b->shape.layers;
}

/* Of a layer, by bytes, by operations and by the bus. */
static double floor_of(const struct bench *b, const struct machine_rates *rates, int n) {
  const struct shape *s = &b->shape;
  double chosen = 1 - pow(1 - (double)s->k / s->experts, n), each = 3.0 * s->hidden * s->inner;
  double bytes = chosen * experts_bytes(b) + 2 * (double)s->experts * s->hidden;
  double operations = 2.0 * n * (s->k * each + (double)s->experts * s->hidden);
  double read = bytes / (rates->read[rates->n_size - 1].gbs * 1e9), made = operations / (rates->linear_gflops * 1e9);
  double crossed = b->host ? chosen * experts_bytes(b) / (rates->link_gbs * 1e9) : 0;
  return fmax(crossed, fmax(read, made));
}

static void size_run(struct bench *b, const struct machine_rates *rates, int n, bool decode, int runs) {
  steps_fill(&b->steps, n, decode, 0, VOCAB);
  double layer = step_seconds(&b->steps, runs) / b->shape.layers, least = floor_of(b, rates, n);
  printf("| %s of %d | %.1f | %.1f | %.1f %% |\n", decode ? "decode" : "a prompt", n, layer * 1e6, least * 1e6,
         100 * least / layer);
  fflush(stdout);
}

/* NULL: there is none of that name. */
static const struct named *scheme_of(const char *name) {
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
    if (strcmp(schemes[i].name, name) == 0) return &schemes[i];
  return NULL;
}

int main(int argc, char **argv) {
  static const int rows[] = {1, 2, 4, 8, 16, 32, 64, 256}, prompts[] = {512, 2048, 8192};
  static struct bench b;
  struct machine_rates rates;
  struct error error;
  b.host = argc > 1 && strcmp(argv[1], "--host") == 0;
  argc -= b.host, argv += b.host;
  b.shape = (struct shape){number_of(argc, argv, 1, 128),  number_of(argc, argv, 2, 8),
                           number_of(argc, argv, 3, 2048), number_of(argc, argv, 4, 768),
                           number_of(argc, argv, 5, 16),   scheme_of(argc > 7 ? argv[7] : schemes[0].name)};
  int runs = number_of(argc, argv, 6, 30);
  if (runs < 1 || runs > BENCH_RUNS || b.shape.layers < 1 || !b.shape.scheme) {
    printf("usage: bench_experts_gpu [--host] [experts 128] [of a token 8] [hidden 2048] [inner 768] [layers 16] [runs "
           "30]");
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) printf("%s%s", i ? "|" : " [", schemes[i].name);
    printf("]\n");
    return 2;
  }
  b.backend = b.steps.backend = backend_find("cuda");
  b.device = b.backend->open(&(struct device_options){0}, &error);
  if (!b.device || !b.backend->rates(b.device, &rates, &error)) die(&error);
  plan_make(&b);
  b.limits = (struct limits){.seats = BENCH_SEATS,
                             .tokens = BENCH_TOKENS,
                             .outputs = BENCH_SEATS,
                             .length = BENCH_TOKENS,
                             .opt_batch = BENCH_SEATS,
                             .block_size = 16,
                             .kv_dtype = KV_F16,
                             .cpu_experts = b.host ? b.shape.layers : 0};
  for (int i = 0; i < b.plan->n_op; i++)
    if (!b.backend->supports(b.plan, i, &error)) die(&error);
  b.steps.program = b.backend->compile(b.device, b.plan, &b.limits, &error);
  if (!b.steps.program) die(&error);
  weights_make(&b);
  printf("%s\n%d experts, %d of a token, %d wide, %d inside, %d layers, %s%s\n", b.backend->describe(b.device),
         b.shape.experts, b.shape.k, b.shape.hidden, b.shape.inner, b.shape.layers, b.shape.scheme->name,
         b.host ? ", on the host" : "");
  printf("| a step | µs a layer | floor | of it |\n|---|---|---|---|\n");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) size_run(&b, &rates, rows[i], true, runs);
  for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) size_run(&b, &rates, prompts[i], false, runs / 4 + 1);
  b.backend->release(b.steps.program);
  b.backend->close(b.device);
  buffer_release(&b.block);
  return 0;
}
