/* What adapters cost a step of the CPU: rounds of steps of a program that has no slots for any, of one that has them
 * filled and whose rows have none, one for all rows, and another for each row take turns, and medians are compared. Of
 * one token a row steps decode at a context of 128, of more they are prompts.
 *   bench_adapter ENGINE [rows 8] [rank 8] [rounds 20] [threads 0] [tokens 1]
 * Adapters are of random numbers in BF16, for every linear of the layers and every expert. The floor of a step with
 * them is the step without, and their bytes at the rate that this machine reads that many with, or their operations at
 * the rate that it multiplies floats with, whichever takes longer: both are measured first. */
#include "backend/backends.h"
#include "base/clock.h"
#include "base/half.h"
#include "engine/engine_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  ROWS_MOST = 64,
  TOKENS_MOST = 512, /* of a row */
  CONTEXT = 128,
  BLOCK = 16,
  BLOCKS = (CONTEXT + TOKENS_MOST) / BLOCK + 1,
  STEPS = 8, /* of a round; of prompts one */
  ROUNDS_MOST = 400,
  NO_SLOTS = -1, /* a way's kinds of adapters */
  WAYS = 4
};

struct bench {
  struct engine_file file;
  struct device *device;
  struct program *program, *plain; /* plain: without slots */
  struct limits limits;
  struct machine_rates rates;
  int n_row, n_token, rank;           /* n_token: of a row */
  bool alone;                         /* one thread */
  uint64_t adapter_bytes, operations; /* of one adapter, and of a row with one */
};

static _Noreturn void die(const struct error *error) {
  printf("%s\n", error->text);
  exit(1);
}

static struct factor random_factor(size_t count, float size, uint64_t seed) {
  uint16_t *numbers = malloc(count * sizeof *numbers);
  if (!numbers) exit(1);
  for (size_t i = 0; i < count; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    numbers[i] = bfloat_from_float(size * ((float)(seed >> 40) * 0x1p-23f - 1));
  }
  return (struct factor){numbers, FACTOR_BF16};
}

static int sites_of(const struct plan *plan, int op) {
  bool changed = plan_ops(plan)[op].kind == OP_LINEAR && plan_ops(plan)[op].layer >= 0;
  return changed ? adapter_sites(plan, plan_ops(plan) + op) : 0;
}

/* Of a token: of experts those that it chooses. */
static int sites_met(const struct plan *plan, int op) {
  const struct op *of = plan_ops(plan) + op;
  return linear_is_routed(&of->args.linear) ? plan_values(plan)[of->in[2]].cols / 2 : sites_of(plan, op);
}

static void adapter_put(struct bench *b, int slot) {
  const struct plan *plan = b->file.plan;
  size_t n_site = 0;
  for (int i = 0; i < plan->n_op; i++) n_site += (size_t)sites_of(plan, i);
  struct adapter_op *op = calloc(n_site, sizeof *op);
  struct adapter adapter = {.rank = b->rank, .op = op};
  struct error error;
  b->operations = 0;
  for (int i = 0; i < plan->n_op; i++) {
    int sites = sites_of(plan, i);
    if (sites == 0) continue;
    const struct weight *w = plan_weights(plan) + plan_ops(plan)[i].weight[0];
    size_t a = (size_t)w->n_part * (size_t)b->rank * (size_t)w->cols, c = (size_t)w->rows * (size_t)b->rank;
    for (int e = 0; e < sites; e++)
      op[adapter.n_op++] = (struct adapter_op){.op = i,
                                               .expert = e,
                                               .rank = b->rank,
                                               .a = random_factor(a, 0.05f, (uint64_t)(slot * 1000 + i * 7 + e)),
                                               .b = random_factor(c, 0.01f, (uint64_t)(slot * 2000 + i * 7 + e)),
                                               .gain = {1, 1, 1, 1}};
    adapter.bytes += (size_t)sites * (a + c) * factor_bytes(FACTOR_BF16);
    b->operations += (uint64_t)sites_met(plan, i) * 2 * (a + c);
  }
  b->adapter_bytes = adapter.bytes;
  if (!backend_cpu.adapter_load(b->program, slot, &adapter, &error)) die(&error);
  for (int i = 0; i < adapter.n_op; i++)
    free((void *)(uintptr_t)op[i].a.numbers), free((void *)(uintptr_t)op[i].b.numbers);
  free(op);
}

static struct program *program_open(struct bench *b, const struct limits *limits) {
  struct error error;
  struct program *program = backend_cpu.compile(b->device, b->file.plan, limits, &error);
  if (!program) die(&error);
  for (int i = 0; i < b->file.plan->n_weight; i++)
    if (!backend_cpu.load(program, i, engine_file_weight(&b->file, i), &error)) die(&error);
  return program;
}

static void bench_open(struct bench *b, const char *path, int threads) {
  struct error error;
  if (!engine_file_open(&b->file, path, &error)) die(&error);
  if (b->file.backend != &backend_cpu) die(&(struct error){.text = "The engine is not packed for the CPU."});
  const struct plan *plan = b->file.plan;
  b->limits = (struct limits){.seats = b->n_row,
                              .tokens = b->n_row * b->n_token,
                              .outputs = b->n_row,
                              .length = BLOCKS * BLOCK,
                              .opt_batch = b->n_row,
                              .block_size = BLOCK,
                              .kv_dtype = KV_F16,
                              .adapters = b->n_row,
                              .adapter_rank = b->rank};
  for (int g = 0; g < plan->n_group; g++) b->limits.n_block[g] = (uint32_t)(b->n_row * BLOCKS);
  b->device = backend_cpu.open(&(struct device_options){.n_thread = threads}, &error);
  if (!b->device || !backend_cpu.rates(b->device, &b->rates, &error)) die(&error);
  b->program = program_open(b, &b->limits);
  struct limits plain = b->limits;
  plain.adapters = plain.adapter_rank = 0;
  b->plain = program_open(b, &plain);
  for (int i = 0; i < b->n_row; i++) adapter_put(b, i);
}

static void bench_close(struct bench *b) {
  backend_cpu.release(b->program);
  backend_cpu.release(b->plain);
  backend_cpu.close(b->device);
  engine_file_close(&b->file);
}

/* Of the calling thread's processor where it is the only one, so that a busy machine disturbs less; else by the clock.
 */
static double seconds_now(const struct bench *b) {
  struct timespec used;
  if (!b->alone) return (double)clock_ns() * 1e-9;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

/* Seconds of a step of all rows, with adapters of so many kinds in turn; 0: without; NO_SLOTS. */
static double step_seconds(struct bench *b, int kinds) {
  static int32_t token[ROWS_MOST * TOKENS_MOST];
  static uint32_t blocks[ROWS_MOST][BLOCKS];
  static const struct sampling greedy[ROWS_MOST];
  struct row row[ROWS_MOST] = {0};
  int32_t out[ROWS_MOST];
  struct batch batch = {.n_row = b->n_row,
                        .n_token = b->n_row * b->n_token,
                        .n_out = b->n_row,
                        .row = row,
                        .token = token,
                        .out = out,
                        .sampling = greedy};
  struct result result;
  struct error error;
  for (int r = 0; r < b->n_row; r++) {
    row[r] = (struct row){.seat = r, .first = r * b->n_token, .count = b->n_token, .n_lora = kinds > 0};
    if (b->n_token == 1) row[r].length = CONTEXT;
    if (kinds > 0) row[r].lora[0].slot = r % kinds, row[r].lora[0].scale = 1;
    for (int i = 0; i < BLOCKS; i++) blocks[r][i] = (uint32_t)(r * BLOCKS + i);
    for (int g = 0; g < b->file.plan->n_group; g++) row[r].n_block[g] = BLOCKS, row[r].block[g] = blocks[r];
    out[r] = (r + 1) * b->n_token - 1;
  }
  for (int i = 0; i < batch.n_token; i++) token[i] = 100 + i;
  int steps = b->n_token == 1 ? STEPS : 1;
  struct program *program = kinds == NO_SLOTS ? b->plain : b->program;
  double start = seconds_now(b);
  for (int i = 0; i < steps; i++)
    if (!backend_cpu.submit(program, &batch, &error) || !backend_cpu.finish(program, NULL, &error) ||
        !backend_cpu.collect(program, &result, &error))
      die(&error);
  return (seconds_now(b) - start) / steps;
}

static int double_compare(const void *a, const void *b) {
  const double *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

/* The rate of the smallest working set measured that is no smaller. */
static double read_rate(const struct machine_rates *rates, uint64_t bytes) {
  int i = 0;
  while (i < rates->n_size - 1 && rates->read[i].bytes < bytes) i++;
  return rates->read[i].gbs * 1e9;
}

static void figures_print(const struct bench *b, const double median[WAYS], const int kinds[WAYS]) {
  printf("%d rows of %d, rank %d, %.2f MB an adapter; without slots: %.3f ms; none in use: %.3f ms, %.4f of that\n",
         b->n_row, b->n_token, b->rank, (double)b->adapter_bytes * 1e-6, 1e3 * median[0], 1e3 * median[1],
         median[1] / median[0]);
  for (int i = 2; i < WAYS; i++) {
    uint64_t all = b->file.header->section[SECTION_WEIGHTS].bytes + (uint64_t)kinds[i] * b->adapter_bytes;
    double bytes = (double)kinds[i] * (double)b->adapter_bytes / read_rate(&b->rates, all);
    double operations = (double)b->n_row * b->n_token * (double)b->operations / (b->rates.fp32_gflops * 1e9);
    double floor = median[1] + (bytes > operations ? bytes : operations);
    printf("%d adapters: %.3f ms, %.3f of the step without; floor %.3f ms (bytes %.3f, operations %.3f ms more): %.3f "
           "of it\n",
           kinds[i], 1e3 * median[i], median[i] / median[1], 1e3 * floor, 1e3 * bytes, 1e3 * operations,
           median[i] / floor);
  }
}

int main(int argc, char **argv) {
  static double seconds[WAYS][ROUNDS_MOST];
  if (argc < 2) return fprintf(stderr, "bench_adapter ENGINE [rows] [rank] [rounds] [threads] [tokens]\n"), 2;
  struct bench b = {.n_row = argc > 2 ? atoi(argv[2]) : 8,
                    .n_token = argc > 6 ? atoi(argv[6]) : 1,
                    .rank = argc > 3 ? atoi(argv[3]) : 8};
  b.alone = argc > 5 && atoi(argv[5]) == 1;
  int rounds = argc > 4 ? atoi(argv[4]) : 20;
  if (b.n_row < 1 || b.n_row > ROWS_MOST || rounds < 1 || rounds > ROUNDS_MOST || b.rank < 1 || b.n_token < 1 ||
      b.n_token > TOKENS_MOST)
    return 2;
  bench_open(&b, argv[1], argc > 5 ? atoi(argv[5]) : 0);
  const int kinds[WAYS] = {NO_SLOTS, 0, 1, b.n_row};
  double median[WAYS];
  for (int i = 0; i < WAYS; i++) step_seconds(&b, kinds[i]);
  for (int r = 0; r < rounds; r++)
    for (int i = 0; i < WAYS; i++) seconds[i][r] = step_seconds(&b, kinds[i]);
  for (int i = 0; i < WAYS; i++) {
    qsort(seconds[i], (size_t)rounds, sizeof seconds[i][0], double_compare);
    median[i] = seconds[i][rounds / 2];
  }
  figures_print(&b, median, kinds);
  bench_close(&b);
  return 0;
}
