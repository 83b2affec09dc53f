/* The lab bench of CPU linears: each kind of weight at one row (GB/s of packed bytes) and at many (GOP/s), beside what
 * this machine reads and computes, measured first.
 *   bench_linear [threads] [part of a scheme's name]      SPATE_ISA chooses the kernel set
 * The weight is one matrix in as many copies as fill the working set, so that nothing is found in a nearer cache than
 * it would be when a whole network is read. Times are of the slowest thread's processor, so that a busy machine
 * disturbs less. */
#include "backend/cpu/cpu_kernels.h"
#include "backend/cpu/cpu_rates.h"
#include "backend/cpu/team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 1536, COLS = 576, MAX_M = 512, MAX_THREADS = 256, PASSES = 60 };
static const size_t FAR_BYTES = (size_t)96 << 20, NEAR_BYTES = (size_t)1 << 20;
static const double PASS_SECONDS = 0.002;

struct job {
  const struct kernel_set *set;
  struct team *team;
  struct cpu_layout layout;
  const uint8_t *packed;
  size_t matrix_bytes;
  int n_copy, repeat;
  struct linear_input input;
  uint8_t *arranged;
  float *out;
  double seconds[MAX_THREADS];
};

static double thread_seconds(void) {
  struct timespec used;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

static void job_work(void *context, int worker) {
  struct job *job = context;
  const struct linear_tail tail = {.scale = 1, .out_cols = ROWS};
  struct range tiles = team_share(job->team, ROWS / TILE_ROWS, worker);
  double begin = thread_seconds();
  for (int i = 0; i < job->n_copy * job->repeat; i++)
    job->set->linear(&job->layout, job->packed + i % job->n_copy * job->matrix_bytes, tiles.first, tiles.count,
                     &job->input, &tail, job->out, ROWS);
  job->seconds[worker] = thread_seconds() - begin;
}

static double job_pass(struct job *job) {
  double slowest = 0;
  team_run(job->team, job_work, job);
  for (int i = 0; i < team_size(job->team); i++) slowest = job->seconds[i] > slowest ? job->seconds[i] : slowest;
  return slowest / job->repeat / job->n_copy;
}

/* Seconds of one matrix times m rows, the best of some passes. */
static double job_seconds(struct job *job, size_t bytes, int m) {
  job->n_copy = bytes < job->matrix_bytes ? 1 : (int)(bytes / job->matrix_bytes);
  job->input.n_row = m;
  bool arrange = job->set->arrange && job->layout.arranged_bytes && m >= job->set->arrange_from;
  job->input.arranged = arrange ? job->arranged : NULL;
  for (int i = 0; arrange && i < m; i += ARRANGED_ROWS)
    job->set->arrange(&job->layout, (const uint8_t *)job->input.rows + (size_t)i * job->layout.row_bytes,
                      m - i < ARRANGED_ROWS ? m - i : ARRANGED_ROWS,
                      job->arranged + (size_t)(i / ARRANGED_ROWS) * job->layout.arranged_bytes);
  job->repeat = 1;
  double best = job_pass(job);
  job->repeat = (int)(PASS_SECONDS / (best * job->n_copy)) + 1;
  for (int i = 0; i < PASSES; i++) {
    double seconds = job_pass(job);
    best = seconds < best ? seconds : best;
  }
  return best;
}

/* "  123.4  56%" of a floor. */
static void figure_print(double rate, double floor) {
  printf(" %8.1f", rate);
  if (floor > 0)
    printf(" %3.0f%%", 100 * rate / floor);
  else
    printf("     ");
}

static double read_floor(const struct machine_rates *rates, size_t bytes) {
  double gbs = 0;
  for (int i = 0; i < rates->n_size; i++)
    if (rates->read[i].bytes == bytes) gbs = rates->read[i].gbs;
  return gbs;
}

static void scheme_bench(struct job *job, const char *name, struct scheme scheme, const struct machine_rates *rates) {
  struct weight weight = {.rows = ROWS, .cols = COLS, .scheme = scheme};
  job->layout = cpu_layout_of(&weight);
  job->matrix_bytes = job->layout.tile_bytes * (ROWS / TILE_ROWS);
  uint8_t *rows = aligned_alloc(LINE_BYTES, MAX_M * job->layout.row_bytes);
  float x[COLS];
  for (int i = 0; i < COLS; i++) x[i] = (float)(i % 17) - 8;
  for (int i = 0; i < MAX_M; i++) job->set->prepare(&job->layout, x, rows + i * job->layout.row_bytes);
  job->arranged = aligned_alloc(LINE_BYTES, MAX_M / ARRANGED_ROWS * job->layout.arranged_bytes + LINE_BYTES);
  job->input = (struct linear_input){.rows = rows, .row_bytes = job->layout.row_bytes};
  printf("%-10s", name);
  double gigabytes = (double)job->matrix_bytes * 1e-9;
  figure_print(gigabytes / job_seconds(job, NEAR_BYTES, 1), read_floor(rates, NEAR_BYTES));
  figure_print(gigabytes / job_seconds(job, FAR_BYTES, 1), read_floor(rates, FAR_BYTES));
  static const int many[] = {8, 32, 128, 512};
  for (int i = 0; i < 4; i++) {
    double gigaops = 2e-9 * ROWS * COLS * many[i];
    bool int8 = scheme.activation == ACTIVATION_INT8 || scheme.activation == ACTIVATION_INT8_TOKEN;
    double floor = int8 ? rates->int8_gops : rates->fp32_gflops;
    figure_print(gigaops / job_seconds(job, (size_t)4 << 20, many[i]), floor);
  }
  printf("\n");
  fflush(stdout);
  free(rows), free(job->arranged);
}

#define INT(low, up, kind_of_scale, min, group_cols)                                                                   \
  {                                                                                                                    \
    .kind = SCHEME_INT, .bits = low, .high_bits = up, .scale = kind_of_scale, .has_min = min, .group = group_cols,     \
    .activation = ACTIVATION_INT8                                                                                      \
  }
static const struct {
  const char *name; /* as GGUF calls it, or quant_mode */
  struct scheme scheme;
} schemes[] = {
    {"Q4_1", INT(4, 0, SCALE_F16, 1, 32)},
    {"Q4_0", INT(4, 0, SCALE_F16, 0, 32)},
    {"Q8_0", INT(8, 0, SCALE_F16, 0, 32)},
    {"Q5_1", INT(4, 1, SCALE_F16, 1, 32)},
    {"Q4_K", INT(4, 0, SCALE_TWO_LEVEL, 1, 32)},
    {"Q6_K", INT(4, 2, SCALE_TWO_LEVEL, 0, 16)},
    {"Q2_K", INT(2, 0, SCALE_TWO_LEVEL, 1, 16)},
    {"IQ4_NL",
     {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .codebook = CODEBOOK_IQ4, .group = 32, .activation = 1}},
    {"MXFP4",
     {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_BF16, .codebook = CODEBOOK_E2M1, .group = 32, .activation = 1}},
    {"W8A8", {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F32, .activation = ACTIVATION_INT8_TOKEN}},
    {"FP8", {.kind = SCHEME_F8, .activation = ACTIVATION_E4M3_TOKEN}},
    {"FP8weight", {.kind = SCHEME_F8}},
    {"BF16", {.kind = SCHEME_BF16}},
    {"F16", {.kind = SCHEME_F16}},
    {"F32", {.kind = SCHEME_F32}},
    {"Q4_1exact", {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .has_min = 1, .group = 32}},
};

int main(int argc, char **argv) {
  struct error error;
  struct machine_rates rates;
  struct job job = {.set = kernel_set_choose(NULL, &error)};
  job.team = job.set ? team_open(argc > 1 ? atoi(argv[1]) : 1, &error) : NULL;
  if (!job.team || !cpu_rates_measure(job.team, &rates, &error)) return fprintf(stderr, "%s\n", error.text), 1;
  size_t room = FAR_BYTES + ((size_t)8 << 20);
  uint8_t *bytes = aligned_alloc(4096, room);
  memset(bytes, 0x11, room);
  job.packed = bytes;
  job.out = calloc((size_t)ROWS * MAX_M, sizeof *job.out);
  printf("%s, %d threads, %d x %d; read %.1f GB/s of 1 MiB, %.1f of 96 MiB; int8 %.0f GOP/s, fp32 %.0f GFLOP/s\n",
         job.set->name, team_size(job.team), ROWS, COLS, read_floor(&rates, NEAR_BYTES), read_floor(&rates, FAR_BYTES),
         rates.int8_gops, rates.fp32_gflops);
  printf("%-10s %13s %13s %13s %13s %13s %13s\n", "", "1 MiB GB/s", "96 MiB GB/s", "M=8 GOP/s", "M=32", "M=128",
         "M=512");
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
    if (argc <= 2 || strstr(schemes[i].name, argv[2])) scheme_bench(&job, schemes[i].name, schemes[i].scheme, &rates);
  free(job.out), free(bytes);
  team_close(job.team);
  return 0;
}
