/* The lab bench of mixtures of experts on the CPU: one layer's experts (norm, gate and up, down) of a network's real
 * shape, with random choices, in steps of one token and of many. Beside each time the bytes of the experts that the
 * step's tokens have chosen, read once, as a share of what this machine reads, and operations as a share of what it
 * computes: the greater of the two shares is how near the floor is.
 *   bench_experts [threads] [qwen3|mixtral] [part of a scheme's name]      SPATE_ISA chooses the kernel set */
#include "backend/backends.h"
#include "backend/random_number.h"
#include "plan/plan_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { IDS = 2000, TOKENS = 512, WEIGHTS = 5, ALIGN = 4096 };
static const double PASS_SECONDS = 0.5;

struct shape {
  const char *name;
  int hidden, width, n_expert, k;
};

static const struct shape shapes[] = {{"qwen3", 2048, 768, 128, 8}, {"mixtral", 4096, 14336, 8, 2}};

static const struct {
  const char *name;
  struct scheme scheme;
} schemes[] = {
    {"INT4_WEIGHT",
     {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .has_min = 1, .group = 32, .activation = ACTIVATION_INT8}},
    {"INT8_WEIGHT", {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16, .group = 32, .activation = ACTIVATION_INT8}},
    {"Q4_K",
     {.kind = SCHEME_INT,
      .bits = 4,
      .scale = SCALE_TWO_LEVEL,
      .has_min = 1,
      .group = 32,
      .activation = ACTIVATION_INT8}},
    {"BF16", {.kind = SCHEME_BF16}},
};

struct bench {
  const struct shape *shape;
  struct buffer block;
  const struct plan *plan;
  struct program *program;
  uint8_t *packed[WEIGHTS];
  float *logits; /* [IDS][n_expert] */
};

static const struct limits limits = {
    .seats = 1, .tokens = TOKENS, .outputs = TOKENS, .length = TOKENS, .opt_batch = 8, .block_size = 16};

static _Noreturn void die(const char *what) {
  fprintf(stderr, "bench_experts: %s\n", what);
  exit(1);
}

/* --- the layer ---------------------------------------------------------------------------------------------------- */

static int table_add(struct plan_builder *b, int cols) {
  struct op op = op_make(OP_EMBED, -1);
  op.out = plan_add_value(b, cols, ROWS_TOKENS);
  op.weight[0] = plan_add_matrix(b, "table", (const char *[]){"table"}, (int[]){IDS}, 1, cols, false);
  plan_add_op(b, &op);
  return op.out;
}

static int experts_add(struct plan_builder *b, const struct shape *s, const char *name, int parts, int rows, int cols) {
  const struct tensor_slice slices[] = {{.tensor = "{e}.gate", .rows = rows}, {.tensor = "{e}.up", .rows = rows}};
  return plan_add_experts(b, name, slices,
                          &(struct expert_spec){WEIGHT_MATRIX, s->n_expert, parts, cols, parts == 2, ORDER_AS_IS});
}

static void plan_make(struct bench *bench, const struct scheme *scheme) {
  const struct shape *s = bench->shape;
  struct plan_builder b;
  struct error error;
  plan_builder_init(&b, PLAN_DECODER);
  b.head.vocab = IDS, b.head.hidden = s->hidden, b.head.max_position = TOKENS;
  int x = table_add(&b, s->hidden), logits = table_add(&b, s->n_expert);
  struct op route = op_make(OP_ROUTE, 0), up = op_make(OP_LINEAR, 0), down = op_make(OP_LINEAR, 0),
            select = op_make(OP_SELECT, -1);
  route.in[0] = logits;
  route.out = up.in[2] = down.in[2] = plan_add_choice(&b, s->n_expert, s->k);
  route.args.route = (struct route_args){.n_expert = s->n_expert, .k = s->k, .normalize = 1, .scale = 1};
  plan_add_op(&b, &route);
  up.in[0] = x;
  up.out = down.in[0] = plan_add_value(&b, s->k * s->width, ROWS_TOKENS);
  up.weight[0] = experts_add(&b, s, "up", 2, s->width, s->hidden);
  up.weight[2] = plan_add_vector(&b, "norm", s->hidden, 0);
  up.args.linear.gated = 1, up.args.linear.act = ACT_SILU, up.args.linear.norm = NORM_RMS;
  up.args.linear.expert_mode = EXPERTS_SPREAD;
  plan_add_op(&b, &up);
  down.in[1] = down.out = x;
  down.weight[0] = experts_add(&b, s, "down", 1, s->hidden, s->width);
  down.args.linear.expert_mode = EXPERTS_GATHER;
  plan_add_op(&b, &down);
  select.in[0] = x;
  select.out = plan_add_value(&b, s->hidden, ROWS_OUTPUTS);
  plan_add_op(&b, &select);
  buffer_init(&bench->block, 1 << 20);
  if (!plan_finish(&b, &bench->block, &error)) die(error.text);
  plan_builder_release(&b);
  bench->plan = (const struct plan *)(const void *)bench->block.data;
  struct weight *weights = (struct weight *)(bench->block.data + bench->plan->weights);
  weights[up.weight[0]].scheme = weights[down.weight[0]].scheme = *scheme;
}

/* Tables of normal numbers; of experts any bytes that are small numbers. */
static void weights_make(struct bench *bench) {
  for (int i = 0; i < bench->plan->n_weight; i++) {
    const struct weight *w = plan_weights(bench->plan) + i;
    size_t bytes = backend_packed_bytes(&backend_cpu, w), tile = backend_cpu.strip_bytes(w);
    struct error error;
    uint8_t *packed = bench->packed[i] = aligned_alloc(ALIGN, (bytes + ALIGN - 1) / ALIGN * ALIGN);
    if (!packed) die("there is no memory for the experts");
    memset(packed, 0x11, bytes);
    float *row = malloc((size_t)IDS * (size_t)w->cols * sizeof *row);
    bool table = w->rows == IDS || w->use == WEIGHT_VECTOR;
    for (size_t k = 0; row && table && k < (size_t)w->rows * (size_t)w->cols; k++)
      row[k] = w->use == WEIGHT_VECTOR ? 1 : random_normal((uint64_t)i, k);
    if (w->use == WEIGHT_VECTOR) memcpy(packed, row, bytes);
    for (int r = 0; w->rows == IDS && r < IDS; r += backend_cpu.pack_rows) {
      struct codes codes = {.rows = backend_cpu.pack_rows, .cols = w->cols, .dense = row + (size_t)r * (size_t)w->cols};
      backend_cpu.pack(w, &codes, packed + (size_t)(r / backend_cpu.pack_rows) * tile);
    }
    if (i == 1)
      bench->logits = row; /* the second table */
    else
      free(row);
    if (!backend_cpu.load(bench->program, i, slice_make(packed, bytes), &error)) die(error.text);
  }
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

/* Experts that any of the step's tokens has. */
static int chosen_count(const struct bench *bench, const int32_t *token, int n) {
  bool chosen[LIMIT_MODEL_EXPERTS] = {0};
  const struct shape *s = bench->shape;
  int count = 0;
  for (int t = 0; t < n; t++) {
    const float *logits = bench->logits + (size_t)token[t] * (size_t)s->n_expert;
    for (int e = 0; e < s->n_expert; e++) {
      int better = 0;
      for (int i = 0; i < s->n_expert; i++) better += logits[i] > logits[e];
      if (better < s->k) chosen[e] = true;
    }
  }
  for (int e = 0; e < s->n_expert; e++) count += chosen[e];
  return count;
}

/* Of the thread that leads the team, so that a busy machine disturbs less. */
static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double step_seconds(const struct bench *bench, int n, int32_t *token, int first) {
  static const struct sampling sampling[1];
  static const int32_t out[1] = {0};
  struct row row = {.count = n};
  struct batch batch = {
      .n_row = 1, .n_token = n, .n_out = 1, .row = &row, .token = token, .out = out, .sampling = sampling};
  struct result result;
  struct error error;
  for (int i = 0; i < n; i++) token[i] = (int32_t)((first + i) % IDS);
  double begin = now();
  if (!backend_cpu.submit(bench->program, &batch, &error)) die(error.text);
  double seconds = now() - begin;
  if (!backend_cpu.finish(bench->program, NULL, &error) || !backend_cpu.collect(bench->program, &result, &error))
    die(error.text);
  return seconds;
}

/* The median of steps of n tokens, and how many experts a step has on average. */
static int seconds_compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void steps_bench(const struct bench *bench, int n, double expert_bytes, const struct machine_rates *rates,
                        bool int8) {
  enum { STEPS = 400 };
  static double seconds[STEPS];
  int32_t token[TOKENS];
  double experts = 0, all = 0;
  int count = 0;
  step_seconds(bench, n, token, 1000);
  while (count < STEPS && (count < 3 || all < PASS_SECONDS)) {
    all += seconds[count] = step_seconds(bench, n, token, count * n);
    experts += chosen_count(bench, token, n);
    count++;
  }
  qsort(seconds, (size_t)count, sizeof *seconds, seconds_compare);
  const struct shape *s = bench->shape;
  double median = seconds[count / 2], bytes = experts / count * expert_bytes;
  double gbs = rates->n_size ? rates->read[rates->n_size - 1].gbs : 0;
  double operations = 2.0 * n * s->k * 3 * s->width * s->hidden;
  double gops = int8 && rates->int8_gops > 0 ? rates->int8_gops : rates->linear_gflops;
  double floor = bytes / gbs > operations / gops ? bytes / gbs : operations / gops;
  printf("  %3d tokens: %8.3f ms, %5.1f experts; %6.1f GB/s, %7.1f GOP/s; floor %8.3f ms (%s), %3.0f %% of it\n", n,
         1e3 * median, experts / count, 1e-9 * bytes / median, 1e-9 * operations / median, 1e-6 * floor,
         bytes / gbs > operations / gops ? "bytes" : "operations", 100 * 1e-9 * floor / median);
}

static void scheme_bench(struct device *device, const struct shape *shape, int index,
                         const struct machine_rates *rates) {
  struct bench bench = {.shape = shape};
  struct error error;
  plan_make(&bench, &schemes[index].scheme);
  bench.program = backend_cpu.compile(device, bench.plan, &limits, &error);
  if (!bench.program) die(error.text);
  weights_make(&bench);
  double expert_bytes = 0;
  for (int i = 0; i < bench.plan->n_weight; i++)
    if (plan_weights(bench.plan)[i].n_expert)
      expert_bytes += (double)backend_packed_bytes(&backend_cpu, plan_weights(bench.plan) + i) / shape->n_expert;
  printf("%s, %s: experts of %.2f MB\n", shape->name, schemes[index].name, 1e-6 * expert_bytes);
  bool int8 = schemes[index].scheme.activation != ACTIVATION_FLOAT;
  static const int many[] = {1, 8, 64, 512};
  for (int i = 0; i < 4; i++) steps_bench(&bench, many[i], expert_bytes, rates, int8);
  fflush(stdout);
  backend_cpu.release(bench.program);
  for (int i = 0; i < WEIGHTS; i++) free(bench.packed[i]);
  free(bench.logits);
  buffer_release(&bench.block);
}

int main(int argc, char **argv) {
  struct error error;
  struct machine_rates rates;
  struct device_options options = {.n_thread = argc > 1 ? atoi(argv[1]) : 0};
  struct device *device = backend_cpu.open(&options, &error);
  if (!device || !backend_cpu.rates(device, &rates, &error)) die(error.text);
  printf("%s; reads %.1f GB/s, int8 %.0f GOP/s, linears of floats %.0f GFLOP/s\n", backend_cpu.describe(device),
         rates.n_size ? rates.read[rates.n_size - 1].gbs : 0, rates.int8_gops, rates.linear_gflops);
  const struct shape *shape = argc > 2 && strcmp(argv[2], "mixtral") == 0 ? &shapes[1] : &shapes[0];
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
    if (argc <= 3 || strstr(schemes[i].name, argv[3])) scheme_bench(device, shape, (int)i, &rates);
  backend_cpu.close(device);
  return 0;
}
