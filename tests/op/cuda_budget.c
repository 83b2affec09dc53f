/* Memory of a GPU as it is counted before an engine opens, beside what the driver says is gone then: for some shapes of
 * a network and limits. Steps take none, a cache that finds less than was counted on is refused before the first, and
 * closing gives all back. */
#include "cuda_engine.h"

#include "backend/backends.h"
#include "lib/random_engine.h"

#include <cuda_runtime_api.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const double MIB = 1 << 20;

static double free_mib(void) {
  size_t available = 0, total = 0;
  assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
  assert_int_equal(cudaMemGetInfo(&available, &total), cudaSuccess);
  return (double)available / MIB;
}

/* Of a sequence in the cache's last blocks. */
static void step_run(const struct loaded_engine *engine, int length, int count) {
  enum { MOST = 1024 };
  static const int32_t token[MOST];
  static uint32_t block[MOST];
  struct error error = {0};
  struct result result;
  int32_t out = count - 1;
  struct sampling sampling = {.temperature = 1};
  struct row row = {.count = count, .length = length};
  row.n_block[0] = (length + count - 1) / engine->limits.block_size + 1;
  row.block[0] = block;
  for (int b = 0; b < row.n_block[0]; b++) block[b] = engine->limits.n_block[0] - 1 - (uint32_t)b;
  struct batch batch = {
      .n_row = 1, .n_token = count, .n_out = 1, .row = &row, .token = token, .out = &out, .sampling = &sampling};
  const struct backend *backend = engine->backend;
  assert_true(count <= MOST && engine->plan->n_group == 1);
  if (!backend->submit(engine->program, &batch, &error) || !backend->finish(engine->program, NULL, &error) ||
      !backend->collect(engine->program, &result, &error))
    fail_msg("%s", error.text);
}

/* As if another process took what was free: a program whose cache is larger than the GPU. */
static void refusal_check(const struct loaded_engine *engine) {
  struct error error = {0};
  struct limits limits = engine->limits;
  size_t available = 0, total = 0;
  double before = free_mib();
  assert_int_equal(cudaMemGetInfo(&available, &total), cudaSuccess);
  limits.n_block[0] = (uint32_t)(total / engine->footprint.kv_block[0]) + 1;
  assert_null(engine->backend->compile(engine->device, engine->plan, &limits, &error));
  printf("%s\n", error.text);
  assert_int_equal(error.code, ERROR_MEMORY);
  assert_non_null(strstr(error.text, "kv_cache_memory"));
  assert_true(before - free_mib() < 1);
}

static void engine_check(const char *model, const struct engine_config *config, uint64_t kv_bytes) {
  struct error error = {0};
  struct random_engine engine = {0};
  struct engine_options options = {.backend = &backend_cuda, .kv_bytes = kv_bytes};
  double before = free_mib();
  if (!random_engine_open(&engine, model, config, &options, &error)) fail_msg("%s", error.text);
  const struct loaded_engine *loaded = engine.loaded;
  double fixed = (double)(loaded->footprint.weights + loaded->footprint.workspace) / MIB;
  double kv = (double)loaded->kv_bytes / MIB, taken = before - free_mib();
  printf("%s, %d sequences, %d tokens a step: counted %.0f MiB and %.0f of KV cache, taken %.0f in %.2f s\n", model,
         config->max_batch_size, config->max_num_tokens, fixed, kv, taken, loaded->program_seconds);
  step_run(loaded, 0, 500);
  step_run(loaded, 500, 1);
  double stepped = before - free_mib();
  refusal_check(loaded);
  random_engine_release(&engine);
  double left = before - free_mib();
  printf("  after steps %.0f MiB, closed %.0f\n", stepped, left);
  assert_true(taken - kv <= fixed + 16 && taken - kv >= fixed * 0.98 - 64);
  assert_true(stepped - taken < 1);
  assert_true(left < 16);
}

void test_budget(void **state) {
  (void)state;
  struct error error = {0};
  struct device *device = backend_cuda.open(NULL, &error); /* the context and its kernels are there from now on */
  if (!device) fail_msg("%s", error.text);
  struct engine_config small = {.max_batch_size = 8, .max_num_tokens = 512, .max_seq_len = 1024};
  struct engine_config large = {.max_batch_size = 512, .max_num_tokens = 8192, .max_seq_len = 4096};
  engine_check("llama-3.2-1b", &small, 0);
  engine_check("llama-3.2-1b", &large, 3ull << 30);
  engine_check("qwen3-8b", &large, 9ull << 30);
  backend_cuda.close(device);
}
