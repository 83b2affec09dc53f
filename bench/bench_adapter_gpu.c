/* What adapters cost a step of a GPU, of a known network with random weights: rounds of steps without any, with
 * one for all rows, and with another for each row take turns, and medians are compared.
 *   bench_adapter_gpu [network llama-3.1-8b] [rows 32] [rank 16] [context 1024] [rounds 20] [QUANT_MODE BF16]
 *                     [batch-invariant | linears | all] [tokens of each row 1]
 * Adapters are of random numbers, for every linear of the layers and each expert of a mixture (linears: not of
 * experts). The floor of a step is that of spate bench and the adapters' bytes at the rate that the device reads with;
 * of experts those of as many as rows choose if they choose at random. Also what an adapter takes into its slot, from
 * floats in the host's memory, of experts BF16. */
#include "backend/backends.h"
#include "base/clock.h"
#include "base/half.h"
#include "lib/bench_floor.h"
#include "lib/direct_steps.h"
#include "lib/random_engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  STEPS = 16,
  PROMPT_STEPS = 4,
  ROUNDS_MOST = 400,
  WAYS = 3,
  LOADS = 9,
  EXPERTS_LOADS = 3,
  ROWS_MOST = 256,
  TOKENS_MOST = 8192,
  SPARE_TOKENS = 64
};

struct bench {
  struct random_engine engine;
  struct machine_rates rates;
  struct direct_steps steps;
  struct row row[ROWS_MOST];
  int n_row, rank, context, count;    /* count: tokens of a row */
  bool experts;                       /* adapters have theirs */
  double adapter_bytes, expert_bytes; /* as the kernels read them: of linears, of all experts */
  double chosen;                      /* part of a mixture's experts that a token has */
};

static _Noreturn void die(const struct error *error) {
  printf("%s\n", error->text);
  exit(1);
}

static double median_of(double *seconds, int n) {
  for (int i = 1; i < n; i++)
    for (int k = i; k > 0 && seconds[k] < seconds[k - 1]; k--) {
      double x = seconds[k];
      seconds[k] = seconds[k - 1], seconds[k - 1] = x;
    }
  return seconds[n / 2];
}

static float *random_floats(size_t count, float size) {
  float *floats = malloc(count * sizeof *floats);
  uint64_t seed = count;
  if (!floats) exit(1);
  for (size_t i = 0; i < count; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    floats[i] = size * ((float)(seed >> 40) * 0x1p-23f - 1);
  }
  return floats;
}

static bool of_experts(const struct op *op) { return op->args.linear.expert_mode != EXPERTS_NONE; }

/* Matrices of an op that adapters change. */
static int sites_of(const struct bench *b, const struct op *op) {
  if (op->kind != OP_LINEAR || op->layer < 0 || (of_experts(op) && !b->experts)) return 0;
  return adapter_sites(b->engine.loaded->plan, op);
}

/* In place: of experts there are gigabytes, whose rounding is not what is measured. */
static void floats_narrow(float *floats, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint16_t narrow = bfloat_from_float(floats[i]);
    memcpy((uint8_t *)floats + 2 * i, &narrow, sizeof narrow);
  }
}

static struct factor factor_make(const struct op *op, size_t count, float size) {
  float *floats = random_floats(count, size);
  if (!of_experts(op)) return (struct factor){.numbers = floats};
  floats_narrow(floats, count);
  return (struct factor){floats, FACTOR_BF16};
}

/* Of an op, all of whose experts have the same numbers. */
static int factors_make(struct bench *b, int index, struct adapter_op *to) {
  const struct plan *plan = b->engine.loaded->plan;
  const struct op *op = plan_ops(plan) + index;
  const struct weight *w = plan_weights(plan) + op->weight[0];
  int sites = sites_of(b, op);
  if (sites == 0) return 0;
  size_t a = (size_t)w->n_part * (size_t)b->rank * (size_t)w->cols, k = (size_t)w->rows * (size_t)b->rank;
  to[0] = (struct adapter_op){.op = index,
                              .rank = b->rank,
                              .a = factor_make(op, a, 0.05f),
                              .b = factor_make(op, k, 0.01f),
                              .gain = {1, 1, 1, 1}};
  for (int i = 1; i < sites; i++) to[i] = to[0], to[i].expert = i;
  *(of_experts(op) ? &b->expert_bytes : &b->adapter_bytes) += (double)(a + k) * 2 * sites;
  if (of_experts(op)) b->chosen = plan_values(plan)[op->in[2]].cols / 2.0 / sites;
  return sites;
}

/* The same numbers in each slot: what a step reads are other bytes. */
static void adapters_put(struct bench *b) {
  const struct loaded_engine *e = b->engine.loaded;
  size_t sites = 0;
  for (int i = 0; i < e->plan->n_op; i++) sites += (size_t)sites_of(b, plan_ops(e->plan) + i);
  struct adapter_op *op = calloc(sites, sizeof *op);
  struct adapter adapter = {.rank = b->rank, .op = op};
  double seconds[LOADS];
  struct error error;
  if (!op) exit(1);
  for (int i = 0; i < e->plan->n_op; i++) adapter.n_op += factors_make(b, i, op + adapter.n_op);
  int loads = b->expert_bytes > 0 ? EXPERTS_LOADS : LOADS;
  for (int i = 0; i < b->n_row + loads; i++) {
    uint64_t start = clock_ns();
    if (!e->backend->adapter_load(e->program, i % b->n_row, &adapter, &error)) die(&error);
    seconds[i < b->n_row ? 0 : i - b->n_row] = (double)(clock_ns() - start) * 1e-9;
  }
  printf("an adapter of rank %d: %.1f MB on the device, into its slot in %.1f ms\n", b->rank,
         (b->adapter_bytes + b->expert_bytes) * 1e-6, 1e3 * median_of(seconds, loads));
  for (int i = 0; i < adapter.n_op; i++)
    if (op[i].expert == 0) free((void *)(uintptr_t)op[i].a.numbers), free((void *)(uintptr_t)op[i].b.numbers);
  free(op);
}

static void bench_open(struct bench *b, const char *model, const char *mode, bool invariant) {
  struct error error;
  struct engine_config config = {.max_batch_size = b->n_row,
                                 .max_num_tokens = b->n_row * b->count > 512 ? b->n_row * b->count : 512,
                                 .max_seq_len = b->context + b->count + SPARE_TOKENS,
                                 .quant_mode = QUANT_BF16};
  for (uint8_t m = QUANT_AS_FILE; m <= QUANT_W8A8; m++)
    if (strcmp(quant_mode_name(m), mode) == 0) config.quant_mode = m;
  const struct engine_options options = {.backend = backend_find("cuda"),
                                         .memory_fraction = 0.5,
                                         .batch_invariant = invariant,
                                         .adapters = b->n_row,
                                         .adapter_rank = b->rank};
  if (!random_engine_open(&b->engine, model, &config, &options, &error)) die(&error);
  if (!rates_measure(b->engine.loaded, &b->rates, &error)) die(&error);
  adapters_put(b);
}

/* Seconds of a decode step of all rows, with adapters of so many kinds in turn; 0: without. As many steps are under way
 * as the backend runs ahead. */
static double step_seconds(struct bench *b, const struct batch *step, int kinds) {
  const struct loaded_engine *e = b->engine.loaded;
  struct batch batch = *step;
  struct result result;
  struct error error;
  memcpy(b->row, step->row, (size_t)step->n_row * sizeof *b->row);
  for (int r = 0; r < step->n_row; r++) {
    b->row[r].n_lora = kinds > 0;
    b->row[r].lora[0].slot = kinds ? r % kinds : 0, b->row[r].lora[0].scale = 1;
  }
  batch.row = b->row;
  uint64_t start = 0;
  int steps = b->count > 1 ? PROMPT_STEPS : STEPS;
  for (int i = 0, out = 0; i < steps + 3 || out > 0;) {
    if (i < steps + 3) {
      if (!e->backend->submit(e->program, &batch, &error) || !e->backend->finish(e->program, NULL, &error)) die(&error);
      i++, out++;
      if (out <= e->backend->run_ahead) continue;
    }
    if (!e->backend->collect(e->program, &result, &error)) die(&error);
    out--;
    if (i == 3 && start == 0) start = clock_ns();
  }
  return (double)(clock_ns() - start) * 1e-9 / (steps + 1);
}

static void figures_print(const struct bench *b, const double median[WAYS], const int kinds[WAYS]) {
  double n = b->n_row * b->count;
  const struct step_shape shape = {.sequences = b->n_row, .tokens = n, .outputs = b->n_row, .context = b->context};
  double floor = step_floor(b->engine.loaded, &b->rates, &shape), rate = rates_bandwidth(&b->rates, 4e9);
  printf("%d rows of %d tokens, context %d; without: %.3f ms, floor %.3f ms: %.3f of it\n", b->n_row, b->count,
         b->context, 1e3 * median[0], 1e3 * floor, median[0] / floor);
  for (int i = 1; i < WAYS; i++) {
    double read = kinds[i] * (1 - pow(1 - b->chosen, n / kinds[i])); /* experts, of an adapter's all */
    double more = (kinds[i] * b->adapter_bytes + read * b->expert_bytes) / (rate * 1e9);
    printf("%d adapters: %.3f ms, %.3f of the step without; floor %.3f ms: %.3f of it\n", kinds[i], 1e3 * median[i],
           median[i] / median[0], 1e3 * (floor + more), median[i] / (floor + more));
  }
}

static int number_at(int argc, char **argv, int i, int given, int most) {
  int n = argc > i ? atoi(argv[i]) : given;
  if (n >= 1 && n <= most) return n;
  fprintf(stderr, "bench_adapter_gpu: argument %d is %d; it is 1 to %d.\n", i, n, most);
  exit(2);
}

int main(int argc, char **argv) {
  static double seconds[WAYS][ROUNDS_MOST];
  static struct bench b;
  struct error error;
  if (!backend_find("cuda")->present(&error)) return printf("SKIPPED: %s\n", error.text), 77;
  b.n_row = number_at(argc, argv, 2, 32, ROWS_MOST);
  b.rank = number_at(argc, argv, 3, 16, 1024);
  b.context = number_at(argc, argv, 4, 1024, 1 << 20);
  int rounds = number_at(argc, argv, 5, 20, ROUNDS_MOST);
  const char *how = argc > 7 ? argv[7] : "";
  b.experts = strcmp(how, "linears") != 0;
  b.count = number_at(argc, argv, 8, 1, TOKENS_MOST / b.n_row);
  bench_open(&b, argc > 1 ? argv[1] : "llama-3.1-8b", argc > 6 ? argv[6] : "BF16", strcmp(how, "batch-invariant") == 0);
  struct batch step;
  static int32_t token[TOKENS_MOST];
  for (int i = 0; i < b.n_row * b.count; i++) token[i] = 1 + i;
  if (!direct_init(&b.steps, b.engine.loaded, b.n_row, b.context + b.count, &error)) die(&error);
  b.steps.length = b.context;
  if (!b.engine.loaded->backend->fill_cache(b.engine.loaded->program, &error)) die(&error);
  if (!direct_batch(&b.steps, token, b.count, OUTPUT_LAST, false, &step, &error)) die(&error);
  const int kinds[WAYS] = {0, 1, b.n_row};
  double median[WAYS];
  for (int i = 0; i < WAYS; i++) step_seconds(&b, &step, kinds[i]);
  for (int r = 0; r < rounds; r++)
    for (int i = 0; i < WAYS; i++) seconds[i][r] = step_seconds(&b, &step, kinds[i]);
  for (int i = 0; i < WAYS; i++) median[i] = median_of(seconds[i], rounds);
  figures_print(&b, median, kinds);
  direct_release(&b.steps);
  random_engine_release(&b.engine);
  return 0;
}
