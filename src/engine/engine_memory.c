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

/* How the memory of a device is shared out. */
struct share {
  uint64_t fixed, rest;      /* bytes of weights and workspace; what these leave */
  uint64_t budget;           /* bytes of that which the KV cache may take */
  uint64_t block;            /* bytes of a block of every group */
  uint64_t blocks, sequence; /* of which there are so many; one sequence of the full length wants so many */
};

/* Bytes that the KV cache may take. */
static uint64_t kv_budget(const struct loaded_engine *engine, const struct engine_options *options, uint64_t rest) {
  double default_fraction = engine->backend->memory ? device_fraction : host_fraction;
  double fraction = options->memory_fraction > 0 ? options->memory_fraction : default_fraction;
  uint64_t whole = rest + options->beside_kv; /* what a first engine would have found */
  uint64_t budget = options->kv_bytes ? options->kv_bytes : fraction < 1 ? (uint64_t)(fraction * (double)whole) : whole;
  return options->beside && !options->kv_bytes && budget > rest ? rest : budget;
}

/* Every group has the same number of blocks: all that the seats can use, or what the budget holds. */
static struct share share_find(const struct loaded_engine *engine, const struct engine_options *options,
                               uint64_t available) {
  const struct limits *limits = &engine->limits;
  struct share s = {.fixed = engine->footprint.weights + engine->footprint.workspace,
                    .sequence = (uint64_t)((limits->length + limits->block_size - 1) / limits->block_size)};
  s.rest = available > s.fixed ? available - s.fixed : 0;
  s.budget = kv_budget(engine, options, s.rest);
  for (int i = 0; i < engine->plan->n_group; i++) s.block += engine->footprint.kv_block[i];
  s.blocks = s.sequence * (uint64_t)limits->seats;
  if (s.block > 0 && s.blocks > s.budget / s.block) s.blocks = s.budget / s.block;
  if (s.blocks > UINT32_MAX) s.blocks = UINT32_MAX;
  return s;
}

static bool share_fits(const struct share *share, uint64_t available) {
  return share->fixed <= available && share->budget <= share->rest && share->blocks >= share->sequence;
}

/* What the decoder takes, and the encoder beside it. */
static bool footprint_find(struct loaded_engine *engine, struct error *error) {
  struct footprint vision;
  if (!engine->backend->measure(engine->plan, &engine->limits, &engine->footprint, error)) return false;
  if (engine->vision_limits.tokens == 0) return true;
  if (!engine->backend->measure(engine->file.vision, &engine->vision_limits, &vision, error)) return false;
  engine->footprint.weights += vision.weights;
  engine->footprint.workspace += vision.workspace;
  return true;
}

static uint64_t host_bytes(const struct footprint *footprint) {
  return (footprint->host_weights + HOST_PAGE - 1) / HOST_PAGE * HOST_PAGE;
}

/* --- what does not fit -------------------------------------------------------------------------------------------- */

enum { REMEDY_TEXT = 128 };

/* The least cpu_experts above the engine's that it would open with; 0: none. */
static int32_t cpu_experts_fit(const struct loaded_engine *engine, const struct engine_options *options,
                               const struct engine_room *room) {
  struct loaded_engine other = *engine; /* owns nothing */
  if (!engine->backend->host_rate) return 0;
  for (int32_t most = plan_expert_layers(engine->plan); ++other.limits.cpu_experts <= most;) {
    if (!footprint_find(&other, NULL)) continue;
    struct share share = share_find(&other, options, room->device);
    if (share_fits(&share, room->device) && host_bytes(&other.footprint) <= room->host) return other.limits.cpu_experts;
  }
  return 0;
}

/* After what joins it to a sentence; empty where that would not help. */
static const char *experts_remedy(const struct loaded_engine *engine, const struct engine_options *options,
                                  const struct engine_room *room, const char *join, char text[REMEDY_TEXT]) {
  int32_t layers = cpu_experts_fit(engine, options, room);
  text[0] = 0;
  if (layers > 0)
    snprintf(text, REMEDY_TEXT, "%skeep the experts of %d layers in the host's memory (--cpu-experts %d)", join, layers,
             layers);
  return text;
}

static bool fixed_refuse(const struct loaded_engine *engine, const struct engine_options *options,
                         const struct engine_room *room, struct error *error) {
  const struct footprint *footprint = &engine->footprint;
  uint64_t least = least_weights(engine->plan);
  bool helps = least < footprint->weights && least + footprint->workspace <= room->device;
  char remedy[REMEDY_TEXT];
  if (!*experts_remedy(engine, options, room, "", remedy) && helps)
    snprintf(remedy, sizeof remedy, "build it with quant_mode INT4_WEIGHT: its weights take about %" PRIu64 " MiB",
             mebibytes(least));
  return error_set(error, ERROR_MEMORY,
                   "The engine needs %" PRIu64 " MiB for its weights and %" PRIu64
                   " MiB for its workspace, and %" PRIu64 " MiB of memory are available; free some, or %s.",
                   mebibytes(footprint->weights), mebibytes(footprint->workspace), room->device >> 20,
                   *remedy ? remedy : "choose a smaller model");
}

static bool sequence_refuse(const struct loaded_engine *engine, const struct share *share, const char *remedy,
                            struct error *error) {
  return error_set(error, ERROR_MEMORY,
                   "One sequence of max_seq_len %d takes %" PRIu64 " MiB of KV cache and %" PRIu64
                   " MiB are given to it, enough for %" PRIu64
                   " tokens; raise free_gpu_memory_fraction or kv_cache_memory%s, or build the engine with a "
                   "max_seq_len that fits.",
                   engine->limits.length, mebibytes(share->sequence * share->block), share->budget >> 20,
                   share->blocks * (uint64_t)engine->limits.block_size, remedy);
}

static bool share_refuse(const struct loaded_engine *engine, const struct engine_options *options,
                         const struct engine_room *room, const struct share *share, struct error *error) {
  char remedy[REMEDY_TEXT];
  if (share->fixed > room->device) return fixed_refuse(engine, options, room, error);
  if (share->budget <= share->rest)
    return sequence_refuse(engine, share, experts_remedy(engine, options, room, ", ", remedy), error);
  return error_set(error, ERROR_MEMORY,
                   "A KV cache of %" PRIu64 " MiB was asked for, and %" PRIu64
                   " MiB of memory are left after the weights and the workspace; ask for that at most%s.",
                   mebibytes(share->budget), share->rest >> 20, experts_remedy(engine, options, room, ", or ", remedy));
}

static bool host_refuse(const struct loaded_engine *engine, uint64_t available, struct error *error) {
  return error_set(error, ERROR_MEMORY,
                   "The experts of %d layers take %" PRIu64 " MiB of the host's memory, and %" PRIu64
                   " MiB of it are available; free some, or keep those of fewer layers there (--cpu-experts).",
                   engine->limits.cpu_experts, mebibytes(host_bytes(&engine->footprint)), available >> 20);
}

/* --- what does --------------------------------------------------------------------------------------------------- */

bool engine_memory_plan(struct loaded_engine *engine, const struct engine_options *options,
                        const struct engine_room *room, struct error *error) {
  int n_group = engine->plan->n_group;
  if (!footprint_find(engine, error)) return false;
  struct share share = share_find(engine, options, room->device);
  if (!share_fits(&share, room->device)) return share_refuse(engine, options, room, &share, error);
  if (host_bytes(&engine->footprint) > room->host) return host_refuse(engine, room->host, error);
  /* Without groups the schedule counts blocks, though nothing is in them. */
  for (int i = 0; i < n_group || i == 0; i++) engine->limits.n_block[i] = (uint32_t)share.blocks;
  engine->kv_bytes = share.blocks * share.block;
  return true;
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
  struct engine_room room = {.device = available, .host = UINT64_MAX};
  return engine_memory_plan(&engine, &all, &room, error);
}
