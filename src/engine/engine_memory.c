/* Where the memory of an engine goes: weights and workspaces are fixed, the KV cache takes a part of the rest. */
#include "engine/engine_memory.h"

#include "plan/expert_layers.h"

#include <inttypes.h>
#include <stdio.h>

enum { DEFAULT_BLOCK = 16 };
static const double host_fraction = 0.3, device_fraction = 0.9; /* a device's own memory is for nothing else */

/* Rounded up, for sentences. */
static uint64_t mebibytes(uint64_t bytes) { return (bytes >> 20) + ((bytes & 0xFFFFF) != 0); }

/* What the weights would take at least, as INT4_WEIGHT: 4 bits and, for 32 of them, two 16-bit numbers. */
static uint64_t least_weights(const struct plan *plan) {
  uint64_t bytes = 0;
  for (int i = 0; i < plan->n_weight; i++) {
    const struct weight *weight = &plan_weights(plan)[i];
    uint64_t elements = (uint64_t)weight_rows(weight) * (uint64_t)weight->cols;
    bytes += weight->use == WEIGHT_VECTOR ? elements * sizeof(float) : elements * 5 / 8;
  }
  return bytes;
}

static uint64_t sequence_bytes(const struct limits *limits, const struct footprint *footprint, int n_group) {
  uint64_t blocks = (uint64_t)((limits->length + limits->block_size - 1) / limits->block_size), bytes = 0;
  for (int i = 0; i < n_group; i++) bytes += footprint->kv_block[i] * blocks;
  return bytes;
}

/* The least cpu_experts with which the decoder fits with one sequence, as far as its device is concerned; 0: none. */
static int32_t cpu_experts_fit(const struct loaded_engine *engine, uint64_t available) {
  const struct plan *plan = engine->plan;
  struct limits limits = engine->limits;
  struct footprint f;
  if (!engine->backend->host_rate) return 0;
  for (int32_t most = plan_expert_layers(plan); ++limits.cpu_experts <= most;)
    if (engine->backend->measure(plan, &limits, &f, NULL) &&
        f.weights + f.workspace + sequence_bytes(&limits, &f, plan->n_group) <= available)
      return limits.cpu_experts;
  return 0;
}

static bool refuse_fixed(const struct loaded_engine *engine, uint64_t available, struct error *error) {
  const struct footprint *footprint = &engine->footprint;
  uint64_t least = least_weights(engine->plan);
  int32_t layers = cpu_experts_fit(engine, available);
  bool helps = least < footprint->weights && least + footprint->workspace <= available;
  char remedy[128] = "free some, or choose a smaller model";
  if (helps)
    snprintf(remedy, sizeof remedy,
             "free some, or build it with quant_mode INT4_WEIGHT: its weights take about %" PRIu64 " MiB",
             mebibytes(least));
  if (layers > 0)
    snprintf(remedy, sizeof remedy,
             "free some, or keep the experts of %d layers in the host's memory (--cpu-experts %d)", layers, layers);
  return error_set(error, ERROR_MEMORY,
                   "The engine needs %" PRIu64 " MiB for its weights and %" PRIu64
                   " MiB for its workspace, and %" PRIu64 " MiB of memory are available; %s.",
                   mebibytes(footprint->weights), mebibytes(footprint->workspace), available >> 20, remedy);
}

/* Bytes that the KV cache may take. */
static bool kv_budget(const struct loaded_engine *engine, const struct engine_options *options, uint64_t available,
                      uint64_t *budget, struct error *error) {
  const struct footprint *footprint = &engine->footprint;
  uint64_t fixed = footprint->weights + footprint->workspace;
  double default_fraction = engine->backend->memory ? device_fraction : host_fraction;
  if (fixed > available) return refuse_fixed(engine, available, error);
  uint64_t rest = available - fixed;
  double fraction = options->memory_fraction > 0 ? options->memory_fraction : default_fraction;
  uint64_t whole = rest + options->beside_kv; /* what a first engine would have found */
  *budget = options->kv_bytes ? options->kv_bytes : fraction < 1 ? (uint64_t)(fraction * (double)whole) : whole;
  if (options->beside && !options->kv_bytes && *budget > rest) *budget = rest;
  if (*budget <= rest) return true;
  return error_set(error, ERROR_MEMORY,
                   "A KV cache of %" PRIu64 " MiB was asked for, and %" PRIu64
                   " MiB of memory are left after the weights and "
                   "the workspace; ask for that at most.",
                   mebibytes(*budget), rest >> 20);
}

/* Gives every group the same number of blocks: all that the seats can use, or what the budget holds, but at least one
 * sequence of the full length. */
static bool blocks_share(struct limits *limits, const struct footprint *footprint, int n_group, uint64_t budget,
                         struct error *error) {
  uint64_t per_block = 0, per_sequence = (uint64_t)((limits->length + limits->block_size - 1) / limits->block_size);
  for (int i = 0; i < n_group; i++) per_block += footprint->kv_block[i];
  uint64_t blocks = per_sequence * (uint64_t)limits->seats, most = UINT32_MAX;
  if (per_block > 0 && blocks > budget / per_block) blocks = budget / per_block;
  if (blocks > most) blocks = most;
  if (blocks < per_sequence)
    return error_set(
        error, ERROR_MEMORY,
        "One sequence of max_seq_len %d takes %" PRIu64 " MiB of KV cache and %" PRIu64
        " MiB are given to it, enough for %" PRIu64
        " tokens; raise free_gpu_memory_fraction or kv_cache_memory, or build the engine with a max_seq_len "
        "that fits.",
        limits->length, mebibytes(per_sequence * per_block), budget >> 20, blocks * (uint64_t)limits->block_size);
  if (n_group == 0) limits->n_block[0] = (uint32_t)blocks; /* the schedule counts them, though nothing is in them */
  for (int i = 0; i < n_group; i++) limits->n_block[i] = (uint32_t)blocks;
  return true;
}

/* What the encoder takes, beside the decoder. */
static bool vision_measure(struct loaded_engine *engine, struct error *error) {
  struct footprint vision;
  if (engine->vision_limits.tokens == 0) return true;
  if (!engine->backend->measure(engine->file.vision, &engine->vision_limits, &vision, error)) return false;
  engine->footprint.weights += vision.weights;
  engine->footprint.workspace += vision.workspace;
  return true;
}

bool engine_memory_plan(struct loaded_engine *engine, const struct engine_options *options, uint64_t available,
                        struct error *error) {
  uint64_t budget = 0;
  if (!engine->backend->measure(engine->plan, &engine->limits, &engine->footprint, error) ||
      !vision_measure(engine, error) || !kv_budget(engine, options, available, &budget, error) ||
      !blocks_share(&engine->limits, &engine->footprint, engine->plan->n_group, budget, error))
    return false;
  for (int i = 0; i < engine->plan->n_group; i++)
    engine->kv_bytes += engine->limits.n_block[i] * engine->footprint.kv_block[i];
  return true;
}

bool engine_memory_host(const struct loaded_engine *engine, uint64_t available, struct error *error) {
  uint64_t bytes = engine->footprint.host_weights;
  if (bytes <= available) return true;
  return error_set(error, ERROR_MEMORY,
                   "The experts of %d layers take %" PRIu64 " MiB of the host's memory, and %" PRIu64
                   " MiB of it are available; free some, or keep those of fewer layers there (--cpu-experts).",
                   engine->limits.cpu_experts, mebibytes(bytes), available >> 20);
}

uint64_t engine_host_token_bytes(const struct loaded_engine *engine) {
  double bytes = 0;
  for (int i = 0; i < engine->plan->n_weight; i++)
    if (plan_weight_on_host(engine->plan, i, engine->limits.cpu_experts))
      bytes += (double)backend_packed_bytes(engine->backend, plan_weights(engine->plan) + i) *
               plan_expert_share(engine->plan, i);
  return (uint64_t)bytes;
}

bool engine_fits(const struct plan *plan, const struct backend *backend, const struct engine_config *config,
                 uint64_t available, struct error *error) {
  struct engine_options all = {.memory_fraction = 1};
  struct loaded_engine engine = {.plan = plan, .backend = backend, .limits = engine_limits(config, &all)};
  if (backend->kv_best && engine.limits.kv_dtype == KV_F16 && engine.limits.block_size >= DEFAULT_BLOCK)
    engine.limits.kv_dtype = plan->n_group > 0 ? KV_BF16 : KV_F32; /* takes as much or more */
  return engine_memory_plan(&engine, &all, available, error);
}
