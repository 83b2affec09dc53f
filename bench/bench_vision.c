/* How long a CPU takes to encode images: steps of some images of the largest size that the model sees, of random
 * pixels; the least of some runs. bench_vision ENGINE [images 1] [threads 0] [runs 5] The floor is the operations of
 * all linears and of attention at the rate that this machine multiplies floats with in linears, which is measured
 * first. */
#include "backend/backends.h"
#include "base/clock.h"
#include "engine/image_batch.h"
#include "engine/loaded_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static _Noreturn void die(const struct error *error) {
  printf("%s\n", error->text);
  exit(1);
}

/* Of a step: two for each multiplication and addition, of which attention has a score's and a value's. */
static double operations_of(const struct plan *plan, const struct batch *batch) {
  double sum = 0;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind == OP_LINEAR) {
      const struct weight *w = plan_weights(plan) + op->weight[0];
      bool outputs = plan_values(plan)[op->in[0]].rows == ROWS_OUTPUTS;
      sum += 2.0 * w->rows * w->cols * (outputs ? batch->n_out : batch->n_token);
    }
    if (op->kind != OP_ATTEND) continue;
    for (int r = 0; r < batch->n_row; r++) {
      double count = batch->row[r].count;
      sum += 2 * count * count * op->args.attend.n_head * (op->args.attend.dim_k + op->args.attend.dim_v);
    }
  }
  return sum;
}

static void images_fill(struct image_batch *images, const struct plan *plan, int n) {
  int32_t side = plan->vision.patch * plan->vision.grid;
  size_t count = (size_t)plan->vision.channels * (size_t)side * (size_t)side;
  float *pixels = malloc(count * sizeof *pixels);
  struct error error;
  if (!pixels) exit(1);
  for (size_t i = 0; i < count; i++) pixels[i] = (float)((i * 2654435761u >> 7) % 2001) / 1000 - 1;
  for (int i = 0; i < n; i++)
    if (!image_batch_add(images, &(struct image_pixels){side, side, pixels}, &error)) die(&error);
  free(pixels);
}

/* Of the calling thread's processor where it is the only one, so that a busy machine disturbs less; else by the clock.
 */
static double seconds_now(bool alone) {
  struct timespec used;
  if (!alone) return (double)clock_ns() * 1e-9;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

static double step_seconds(const struct loaded_engine *engine, const struct batch *batch, bool alone) {
  struct result result;
  struct error error;
  double start = seconds_now(alone);
  if (!engine->backend->submit(engine->vision, batch, &error) ||
      !engine->backend->finish(engine->vision, NULL, &error) ||
      !engine->backend->collect(engine->vision, &result, &error))
    die(&error);
  return seconds_now(alone) - start;
}

int main(int argc, char **argv) {
  int images = argc > 2 ? atoi(argv[2]) : 1, threads = argc > 3 ? atoi(argv[3]) : 0,
      runs = argc > 4 ? atoi(argv[4]) : 5;
  struct engine_options options = {.device.n_thread = threads, .kv_bytes = 1 << 30, .images = images};
  struct machine_rates rates;
  struct image_batch batch;
  struct error error;
  if (argc < 2 || images < 1 || runs < 1) {
    printf("usage: bench_vision ENGINE [images 1] [threads 0] [runs 5]\n");
    return 2;
  }
  struct loaded_engine *engine = engine_open(argv[1], &options, &error);
  if (!engine || !engine->backend->rates(engine->device, &rates, &error)) die(&error);
  if (!image_batch_init(&batch, engine->file.vision, &engine->vision_limits, &error)) die(&error);
  images_fill(&batch, engine->file.vision, images);
  double best = 1e9, operations = operations_of(engine->file.vision, &batch.batch);
  for (int i = 0; i < runs; i++) {
    double seconds = step_seconds(engine, &batch.batch, threads == 1);
    if (seconds < best) best = seconds;
  }
  double floor = operations / (rates.linear_gflops * 1e9);
  printf("%s\n%d images, %d patches, %d rows: %.1f ms, %.1f GFLOP/s; floor %.1f ms (%.1f GFLOP/s), %.1f %% of it\n",
         engine->backend->describe(engine->device), images, batch.batch.n_token, batch.batch.n_out, best * 1e3,
         operations / best * 1e-9, floor * 1e3, rates.linear_gflops, 100 * floor / best);
  image_batch_release(&batch);
  engine_close(engine);
  return 0;
}
