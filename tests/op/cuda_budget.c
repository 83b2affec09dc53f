/* Memory of a GPU as it is counted before an engine opens, beside what the driver says is gone then: for some shapes of
 * a network and limits. And the KV cache has memory for no more than has been used. Skipped (77) where there is no GPU.
 */
#include "cuda_engine.h"

#include "backend/backends.h"
#include "lib/random_engine.h"

#include <cuda_runtime_api.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

static const double MIB = 1 << 20;

static double free_mib(void) {
  size_t available = 0, total = 0;
  assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
  assert_int_equal(cudaMemGetInfo(&available, &total), cudaSuccess);
  return (double)available / MIB;
}

static void engine_check(const char *model, const struct engine_config *config, uint64_t kv_bytes) {
  struct error error = {0};
  struct random_engine engine = {0};
  struct engine_options options = {.backend = &backend_cuda, .kv_bytes = kv_bytes};
  double before = free_mib();
  if (!random_engine_open(&engine, model, config, &options, &error)) fail_msg("%s", error.text);
  const struct loaded_engine *loaded = engine.loaded;
  double fixed = (double)(loaded->footprint.weights + loaded->footprint.workspace) / MIB;
  double opened = before - free_mib(), kv = (double)loaded->kv_bytes / MIB;
  if (!loaded->backend->fill_cache(loaded->program, &error)) fail_msg("%s", error.text);
  double filled = before - free_mib();
  printf("%s, %d sequences, %d tokens a step: counted %.0f MiB and %.0f of KV cache, taken %.0f, then %.0f\n", model,
         config->max_batch_size, config->max_num_tokens, fixed, kv, opened, filled - opened);
  assert_true(opened <= fixed + 8 && opened >= fixed * 0.98 - 32);
  assert_true(filled - opened <= kv + 8 && filled - opened >= kv - 8);
  random_engine_release(&engine);
  assert_true(before - free_mib() < 8);
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
