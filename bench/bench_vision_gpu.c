/* How long a GPU takes to encode images: a tower of SigLIP so400m's shape (27 layers, width 1152, 16 heads of 72, 4304,
 * 384 pixels in patches of 14) and a projector, of random weights, in steps of so many images; medians.
 *   bench_vision_gpu [runs 20] [GFLOP/s of the GEMM 0] [images: 1, 2, 4, 8 and 16]
 * Two times: a whole step, from pixels in the host's memory to rows that a decoder can take, and the same with the next
 * step submitted before the last is collected, as a busy server does. The floor is the operations of all linears and of
 * attention at the rate of the matrix units, measured first; beside it at that of a large GEMM of cuBLASLt, if its rate
 * is given (bench/lab/linear_large.cu prints it). */
#include "backend/backends.h"
#include "base/clock.h"
#include "engine/image_batch.h"
#include "model/vision_tower.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS_MOST = 400, PROJECTED = 2048, PLAN_BYTES = 1 << 20 };

struct bench {
  const struct backend *backend;
  struct device *device;
  struct buffer block;
  const struct plan *plan;
  struct limits limits;
  struct program *program;
  struct image_batch images;
};

static _Noreturn void die(const struct error *error) {
  printf("%s\n", error->text);
  exit(1);
}

static double operations_of(const struct plan *plan, const struct batch *batch) {
  double sum = 0;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind == OP_LINEAR) {
      const struct weight *w = plan_weights(plan) + op->weight[0];
      bool outputs = plan_values(plan)[op->in[0]].rows == ROWS_OUTPUTS;
      sum += 2.0 * w->rows * w->cols * (outputs ? batch->n_out : batch->n_token);
    }
    for (int r = 0; op->kind == OP_ATTEND && r < batch->n_row; r++) {
      double count = batch->row[r].count;
      sum += 2 * count * count * op->args.attend.n_head * (op->args.attend.dim_k + op->args.attend.dim_v);
    }
  }
  return sum;
}

static void plan_make(struct bench *b) {
  const struct vision_tower tower = {.prefix = "",
                                     .hidden = 1152,
                                     .feed_forward = 4304,
                                     .n_layer = 27,
                                     .n_head = 16,
                                     .channels = 3,
                                     .image = 384,
                                     .patch = 14,
                                     .eps = 1e-6,
                                     .act = ACT_GELU_TANH,
                                     .patch_bias = true,
                                     .post_norm = true,
                                     .merge = 1};
  struct plan_builder builder;
  struct error error;
  buffer_init(&b->block, PLAN_BYTES);
  plan_builder_init(&builder, PLAN_VISION);
  int rows = vision_tower_build(&tower, &builder);
  vision_project(&builder, "projector", "projector", rows, tower.hidden, PROJECTED, true, ACT_NONE);
  if (!plan_finish(&builder, &b->block, &error)) die(&error);
  plan_builder_release(&builder);
  struct plan *plan = (struct plan *)b->block.data;
  struct weight *weight = (struct weight *)((char *)plan + plan->weights);
  for (int i = 0; i < plan->n_weight; i++)
    if (weight[i].use == WEIGHT_MATRIX) weight[i].scheme.kind = SCHEME_BF16;
  b->plan = plan;
}

/* Norms multiply by one, or thereabouts, and add as much as biases do: little. */
static void weights_make(struct bench *b) {
  struct error error;
  for (int i = 0; i < b->plan->n_weight; i++) {
    const struct weight *w = plan_weights(b->plan) + i;
    if (w->use == WEIGHT_MATRIX) {
      if (!b->backend->load_random(b->program, i, &error)) die(&error);
      continue;
    }
    float *vector = malloc((size_t)w->cols * sizeof *vector);
    bool norm = strstr(plan_name(b->plan, w->name), "norm") != NULL;
    if (!vector) exit(1);
    for (int c = 0; c < w->cols; c++) vector[c] = (norm && c < w->cols / 2 ? 1 : 0) + (float)(c * 37 % 101 - 50) / 1000;
    struct slice packed = {(const uint8_t *)vector, (size_t)w->cols * sizeof *vector};
    if (!b->backend->load(b->program, i, packed, &error)) die(&error);
    free(vector);
  }
}

static void bench_open(struct bench *b, int images) {
  struct error error;
  b->limits = image_limits(b->plan, images, KV_F16);
  b->program = b->backend->compile(b->device, b->plan, &b->limits, &error);
  if (!b->program) die(&error);
  weights_make(b);
  if (!image_batch_init(&b->images, b->plan, &b->limits, &error)) die(&error);
  int32_t side = b->plan->vision.patch * b->plan->vision.grid;
  size_t count = 3 * (size_t)side * (size_t)side;
  float *pixels = malloc(count * sizeof *pixels);
  if (!pixels) exit(1);
  for (size_t i = 0; i < count; i++) pixels[i] = (float)((i * 2654435761u >> 7) % 2001) / 1000 - 1;
  for (int i = 0; i < images; i++)
    if (!image_batch_add(&b->images, &(struct image_pixels){side, side, pixels}, &error)) die(&error);
  b->images.batch.want_logits = false; /* rows stay on the device, where the pool takes them */
  free(pixels);
}

static void bench_close(struct bench *b) {
  image_batch_release(&b->images);
  b->backend->release(b->program);
}

static void step_submit(struct bench *b) {
  struct error error;
  if (!b->backend->submit(b->program, &b->images.batch, &error) || !b->backend->finish(b->program, NULL, &error))
    die(&error);
}

static void step_collect(struct bench *b) {
  struct error error;
  struct result result;
  if (!b->backend->collect(b->program, &result, &error)) die(&error);
}

static double median_of(double *seconds, int n) {
  for (int i = 1; i < n; i++)
    for (int k = i; k > 0 && seconds[k] < seconds[k - 1]; k--) {
      double x = seconds[k];
      seconds[k] = seconds[k - 1], seconds[k - 1] = x;
    }
  return seconds[n / 2];
}

/* ahead: steps that are submitted before the oldest is collected. */
static double step_seconds(struct bench *b, int runs, bool ahead) {
  double seconds[RUNS_MOST];
  for (int i = 0; i < 3; i++) step_submit(b), step_collect(b);
  if (ahead) step_submit(b);
  for (int i = 0; i < runs; i++) {
    uint64_t start = clock_ns();
    step_submit(b);
    step_collect(b);
    seconds[i] = (double)(clock_ns() - start) * 1e-9;
  }
  if (ahead) step_collect(b);
  return median_of(seconds, runs);
}

int main(int argc, char **argv) {
  static const int sizes[] = {1, 2, 4, 8, 16};
  int runs = argc > 1 ? atoi(argv[1]) : 20;
  double gemm = argc > 2 ? atof(argv[2]) : 0;
  int only = argc > 3 ? atoi(argv[3]) : 0;
  struct bench b = {.backend = backend_find("cuda")};
  struct machine_rates rates;
  struct error error;
  if (runs < 1 || runs > RUNS_MOST) {
    printf("usage: bench_vision_gpu [runs 20, at most %d] [GFLOP/s of the GEMM 0] [images]\n", RUNS_MOST);
    return 2;
  }
  b.device = b.backend->open(&(struct device_options){0}, &error);
  if (!b.device || !b.backend->rates(b.device, &rates, &error)) die(&error);
  plan_make(&b);
  printf("%s\nmatrix units %.0f TFLOP/s, GEMM %.0f TFLOP/s (0: not given)\n", b.backend->describe(b.device),
         rates.linear_gflops * 1e-3, gemm * 1e-3);
  printf("| images | a step, ms | running ahead, ms | TFLOP/s | floor, ms | of the units' rate | of the GEMM's |\n"
         "|---|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    if (only && only != sizes[i]) continue;
    bench_open(&b, sizes[i]);
    double operations = operations_of(b.plan, &b.images.batch), floor = operations / (rates.linear_gflops * 1e9);
    double alone = step_seconds(&b, runs, false), ahead = step_seconds(&b, runs, true);
    printf("| %d | %.3f | %.3f | %.0f | %.3f | %.1f %%, %.1f %% ahead | %.1f %%, %.1f %% ahead |\n", sizes[i],
           alone * 1e3, ahead * 1e3, operations / ahead * 1e-12, floor * 1e3, 100 * floor / alone, 100 * floor / ahead,
           gemm > 0 ? operations / (gemm * 1e7) / alone : 0, gemm > 0 ? operations / (gemm * 1e7) / ahead : 0);
    bench_close(&b);
  }
  b.backend->close(b.device);
  buffer_release(&b.block);
  return 0;
}
