/* Opening an engine: memory is computed first (engine_memory.c), then the device is opened, the plan compiled and the
 * weights handed over. */
#include "engine/loaded_engine.h"

#include "backend/backends.h"
#include "base/clock.h"
#include "base/lazy_memory.h"
#include "base/log.h"
#include "base/machine_memory.h"
#include "engine/engine_memory.h"
#include "engine/image_batch.h"
#include "plan/expert_layers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { DEFAULT_BLOCK = 16, MAX_BLOCK = 256 };

static bool options_check(const struct engine_options *options, struct error *error) {
  int size = options->block_size;
  if (size < 0 || size > MAX_BLOCK || (size & (size - 1)))
    return error_set(error, ERROR_INVALID, "block_size is %d; it must be a power of two up to %d.", size, MAX_BLOCK);
  if (!(options->memory_fraction >= 0 && options->memory_fraction <= 1))
    return error_set(error, ERROR_INVALID, "free_gpu_memory_fraction is %g; it must be more than 0 and at most 1.",
                     options->memory_fraction);
  return true;
}

/* The least power of two that holds length tokens. */
static int32_t power_above(int32_t length) {
  int32_t power = 1;
  while (power < length) power *= 2;
  return power;
}

struct limits engine_limits(const struct engine_config *config, const struct engine_options *options) {
  bool contiguous = config->kv_cache_type == KV_CACHE_CONTIGUOUS, full = config->quant_mode == QUANT_FP32;
  struct limits limits = {.seats = config->max_batch_size,
                          .tokens = config->max_num_tokens,
                          .outputs = config->max_batch_size,
                          .length =
                              config->max_seq_len + config->encodes, /* the vector is the schedule's one token more */
                          .opt_batch = config->opt_batch_size,
                          .batch_invariant = options->batch_invariant,
                          .adapters = options->adapters,
                          .adapter_rank = options->adapter_rank};
  limits.block_size = options->block_size ? options->block_size : DEFAULT_BLOCK;
  if (contiguous) limits.block_size = power_above(config->max_seq_len);
  if (options->outputs > limits.outputs)
    limits.outputs = options->outputs < limits.tokens ? options->outputs : limits.tokens;
  limits.kv_dtype = options->kv ? (uint8_t)(options->kv - 1) : full ? KV_F32 : KV_F16;
  return limits;
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

static bool backend_choose(struct loaded_engine *engine, const struct engine_options *options, struct error *error) {
  engine->backend = options->no_fuse ? &backend_reference : options->backend ? options->backend : engine->file.backend;
  if (options->no_fuse && options->backend)
    return error_set(error, ERROR_INVALID, "no_fuse and the backend %s were asked for; no_fuse has its own: name none.",
                     options->backend->name);
  if (options->no_fuse || engine->backend->target == engine->file.backend->target) return true;
  return error_set(error, ERROR_INVALID,
                   "The engine is packed for %s, which the backend %s does not read; build it with "
                   "--target %s.",
                   engine->file.header->target, engine->backend->name, target_get(engine->backend->target)->name);
}

/* A plan can be in order and still ask for what this backend does not do. */
static bool ops_supported(const struct loaded_engine *engine, struct error *error) {
  for (int i = 0; i < engine->plan->n_op; i++)
    if (!engine->backend->supports(engine->plan, i, error)) return false;
  if (engine->limits.adapters == 0 || engine->backend->adapter_load) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "The backend %s has no adapters: leave --lora-dir out, or build with one (--merge-lora).",
                   engine->backend->name);
}

/* Where nothing follows from it a warning says why: one setting may well be for several models. */
static int32_t cpu_experts_of(const struct loaded_engine *engine, const struct engine_options *options) {
  int32_t layers = engine->backend->host_rate ? plan_expert_layers(engine->plan) : 0;
  if (layers == 0 && options->cpu_experts > 0 && engine->backend->host_rate)
    log_warning("%s has no experts: cpu_experts changes nothing.", engine->file.facts->name);
  else if (layers == 0 && options->cpu_experts > 0)
    log_warning("cpu_experts changes nothing on %s: all weights are in the host's memory there.",
                engine->backend->name);
  return options->cpu_experts < layers ? options->cpu_experts : layers;
}

enum { STEP_PATCHES = 2048 }; /* of which a step's matrices are near their best rate, and short beside a stream's */

/* Of the largest size, one at least. */
static int32_t images_of_step(const struct loaded_engine *engine, const struct engine_options *options) {
  const struct plan *vision = engine->file.vision;
  if (options->images != ENGINE_IMAGES_AUTO) return options->images;
  if (!vision || !engine->backend->pool_fill) return 0;
  int32_t tokens = image_limits(vision, 1, KV_F32).tokens;
  return tokens < STEP_PATCHES ? STEP_PATCHES / tokens : 1;
}

static int32_t pool_rows(const struct loaded_engine *engine, const struct engine_options *options) {
  uint64_t rows = options->pool_bytes / (sizeof(float) * (uint64_t)engine->plan->hidden);
  int32_t least = engine->vision_limits.outputs;
  if (options->pool) return options->pool;
  return rows > LIMIT_EMBED_ROWS ? LIMIT_EMBED_ROWS : rows > (uint64_t)least ? (int32_t)rows : least;
}

/* The encoder's limits, and the decoder's pool for its rows. */
static bool images_settle(struct loaded_engine *engine, const struct engine_options *options, struct error *error) {
  const struct plan *vision = engine->file.vision;
  int32_t images = images_of_step(engine, options);
  if (images == 0) return true;
  if (!vision) return error_set(error, ERROR_UNSUPPORTED, "The model %s sees no images.", engine->file.facts->name);
  if (!engine->backend->pool_fill)
    return error_set(error, ERROR_UNSUPPORTED, "The backend %s takes no images so far; the cpu does.",
                     engine->backend->name);
  struct limits one = image_limits(vision, 1, KV_F32);
  if (images < 0 || images > LIMIT_STEP_TOKENS / one.tokens)
    return error_set(error, ERROR_INVALID, "%d images a step were asked for, expected 0 to %d of this model's.", images,
                     LIMIT_STEP_TOKENS / one.tokens);
  engine->vision_limits = image_limits(vision, images, engine->limits.kv_dtype == KV_F32 ? KV_F32 : KV_F16);
  engine->limits.pool = pool_rows(engine, options);
  if (vision->vision.breaks >= 0) engine->own_row = engine->limits.pool++;
  for (int i = 0; i < vision->n_op; i++)
    if (!engine->backend->supports(vision, i, error)) return false;
  return true;
}

/* Behind the rows of images, once and for all. */
static bool own_row_fill(const struct loaded_engine *engine, struct error *error) {
  if (engine->own_row < 0) return true;
  struct slice vector = engine_file_weight(&engine->file, engine->plan->n_weight + engine->file.vision->vision.breaks);
  struct pool_source source = {.rows = (const float *)(const void *)vector.data};
  return engine->backend->pool_fill(engine->program, engine->own_row, 1, &source, error);
}

static double seconds_since(uint64_t start) { return (double)(clock_ns() - start) * 1e-9; }

static bool broken_off(struct error *error) {
  return error_set(error, ERROR_CANCELLED, "The engine was not opened: that was broken off.");
}

static bool weights_load(struct loaded_engine *engine, const struct engine_options *options, struct error *error) {
  uint64_t start = clock_ns();
  int n_plan = engine->plan->n_weight, n_weight = engine->vision ? engine_file_weights(&engine->file) : n_plan;
  for (int i = 0; i < n_weight; i++) {
    struct program *program = i < n_plan ? engine->program : engine->vision;
    if (options->goes_on && !options->goes_on(options->user, i, n_weight)) return broken_off(error);
    if (!engine->backend->load(program, i < n_plan ? i : i - n_plan, engine_file_weight(&engine->file, i), error))
      return false;
  }
  if (!own_row_fill(engine, error)) return false;
  engine->weights_seconds = seconds_since(start);
  if (engine->limits.cpu_experts > 0 && !engine->backend->host_rate(engine->program, &engine->host_gbs, error))
    return false;
  return !options->goes_on || options->goes_on(options->user, n_weight, n_weight) || broken_off(error);
}

/* Starts reading the weights from the disk while the program is being compiled; free when they are cached. */
static void weights_prefetch(const struct engine_file *file) {
  if (file->file.data) madvise((void *)(uintptr_t)file->file.data, file->file.size, MADV_WILLNEED);
}

/* The type that attention is fastest with, unless one was asked for. */
static void kv_prefer(struct loaded_engine *engine, const struct engine_options *options) {
  const struct backend *backend = engine->backend;
  if (!backend->kv_best) return;
  if (!options->kv && engine->limits.kv_dtype == KV_F16)
    engine->limits.kv_dtype = backend->kv_best(engine->device, engine->limits.block_size, engine->plan->n_group > 0);
  if (engine->vision_limits.kv_dtype == KV_F16)
    engine->vision_limits.kv_dtype = backend->kv_best(engine->device, engine->vision_limits.block_size, false);
}

/* Without what the caches of other engines, whose pages come with their tokens, may still take. */
static uint64_t host_available(const struct engine_options *options) {
  uint64_t promised = options->beside ? lazy_memory_promised() : 0, available = machine_memory_available("");
  return available > promised ? available - promised : 0;
}

static bool memory_find(const struct loaded_engine *engine, const struct engine_options *options, uint64_t *available,
                        struct error *error) {
  if (engine->backend->memory) return engine->backend->memory(engine->device, available, error);
  *available = host_available(options);
  return true;
}

static bool programs_compile(struct loaded_engine *engine, struct error *error) {
  uint64_t start = clock_ns();
  engine->program = engine->backend->compile(engine->device, engine->plan, &engine->limits, error);
  if (engine->program && engine->vision_limits.tokens > 0)
    engine->vision = engine->backend->compile(engine->device, engine->file.vision, &engine->vision_limits, error);
  engine->program_seconds = seconds_since(start);
  return engine->program && (engine->vision || engine->vision_limits.tokens == 0);
}

/* From an engine file's head to programs without weights. */
static bool program_make(struct loaded_engine *engine, const struct engine_options *options, struct error *error) {
  engine->plan = engine->file.plan;
  struct engine_config config = engine->file.facts->config;
  if (!engine_config_limit(&config, &options->steps, engine->plan->max_position, error)) return false;
  engine->limits = engine_limits(&config, options);
  engine->limits.cpu_experts = cpu_experts_of(engine, options);
  if (!ops_supported(engine, error) || !images_settle(engine, options, error)) return false;
  struct device_options device = options->device;
  if (options->no_fuse) device.packer = engine->file.backend;
  uint64_t start = clock_ns();
  engine->device = engine->backend->open(&device, error);
  engine->device_seconds = seconds_since(start);
  if (!engine->device) return false;
  kv_prefer(engine, options);
  struct engine_room room = {.host = host_available(options)};
  if (!memory_find(engine, options, &room.device, error) || !engine_memory_plan(engine, options, &room, error))
    return false;
  weights_prefetch(&engine->file);
  return programs_compile(engine, error);
}

static bool engine_load(struct loaded_engine *engine, const char *path, const struct engine_options *options,
                        struct error *error) {
  uint64_t start = clock_ns();
  if (!options_check(options, error) || !engine_file_open(&engine->file, path, error)) return false;
  engine->file_seconds = seconds_since(start);
  engine->file.disposable = options->disposable;
  if (!backend_choose(engine, options, error) || !program_make(engine, options, error)) return false;
  struct engine_verify whole = {.goes_on = options->goes_on, .user = options->user};
  /* It takes seconds, which what does not fit need not wait for. */
  if (options->verify && !engine_file_verify(&engine->file, &whole, error)) return false;
  if (whole.stop) return broken_off(error);
  engine->file.verified = options->verify;
  return weights_load(engine, options, error);
}

static struct loaded_engine *engine_new(struct error *error) {
  struct loaded_engine *engine = calloc(1, sizeof *engine);
  if (engine)
    engine->file.file.descriptor = engine->own_row = -1;
  else
    error_set(error, ERROR_MEMORY, "Out of memory for an engine.");
  return engine;
}

struct loaded_engine *engine_open(const char *path, const struct engine_options *options, struct error *error) {
  struct loaded_engine *engine = engine_new(error);
  if (engine && engine_load(engine, path, options, error)) return engine;
  engine_close(engine);
  return NULL;
}

struct loaded_engine *engine_open_made(const struct engine_facts *facts, const struct plan *plan,
                                       const struct engine_options *options, struct error *error) {
  struct loaded_engine *engine = engine_new(error);
  if (!engine) return NULL;
  engine->file.facts = facts;
  engine->file.plan = plan;
  engine->file.backend = engine->backend = options->backend;
  if (options_check(options, error) && program_make(engine, options, error)) return engine;
  engine_close(engine);
  return NULL;
}

void engine_close(struct loaded_engine *engine) {
  if (!engine) return;
  if (engine->vision) engine->backend->release(engine->vision);
  if (engine->program) engine->backend->release(engine->program);
  if (engine->device) engine->backend->close(engine->device);
  engine_file_close(&engine->file);
  free(engine);
}
