/* In place of a GPU's programs, where the binary was built without CUDA: nothing opens, so nothing else is called. */
#include "backend/cuda/cuda_adapted.h"

#include <assert.h>

bool cuda_present(struct error *error) {
  return error_set(
      error, ERROR_NOT_FOUND,
      "This binary was built without CUDA: build it where nvcc is (-DSPATE_CUDA=ON), or use --device cpu with a model "
      "or an engine that is packed for the CPU.");
}

struct device *cuda_open(const struct device_options *options, struct error *error) {
  (void)options;
  cuda_present(error);
  return NULL;
}

void cuda_close(struct device *device) { assert(!device); }

bool cuda_memory(const struct device *device, uint64_t *bytes, struct error *error) {
  (void)device, (void)bytes, (void)error;
  return false;
}

bool cuda_rates(struct device *device, struct machine_rates *rates, struct error *error) {
  (void)device, (void)rates, (void)error;
  return false;
}

struct program *cuda_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                             struct error *error) {
  (void)device, (void)plan, (void)limits, (void)error;
  return NULL;
}

bool cuda_load(struct program *program, int weight, struct slice packed, struct error *error) {
  (void)program, (void)weight, (void)packed, (void)error;
  return false;
}

bool cuda_host_rate(struct program *program, double *gbs, struct error *error) {
  (void)program, (void)gbs, (void)error;
  return false;
}

bool cuda_load_random(struct program *program, int weight, struct error *error) {
  (void)program, (void)weight, (void)error;
  return false;
}

bool cuda_fill_cache(struct program *program, struct error *error) {
  (void)program, (void)error;
  return false;
}

bool cuda_adapter_load(struct program *program, int slot, const struct adapter *adapter, struct error *error) {
  (void)program, (void)slot, (void)adapter, (void)error;
  return false;
}

bool cuda_pool_fill(struct program *program, int32_t first, int32_t count, const struct pool_source *source,
                    struct error *error) {
  (void)program, (void)first, (void)count, (void)source, (void)error;
  return false;
}

void cuda_release(struct program *program) { assert(!program); }

bool cuda_submit(struct program *program, const struct batch *batch, struct error *error) {
  (void)program, (void)batch, (void)error;
  return false;
}

bool cuda_finish(struct program *program, const struct masks *masks, struct error *error) {
  (void)program, (void)masks, (void)error;
  return false;
}

bool cuda_await(struct program *program, bool *more, struct error *error) {
  (void)program, (void)more, (void)error;
  return false;
}

bool cuda_collect(struct program *program, struct result *result, struct error *error) {
  (void)program, (void)result, (void)error;
  return false;
}
