/* spate.h: versions, options, opening, closing, facts. */
#include "backend/backends.h"
#include "base/limits.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_memory.h"
#include "lib/engine_cache.h"
#include "lib/public_options.h"
#include "lib/images_open.h"
#include "lib/spate_state.h"
#include "base/machine_memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_QUEUE = 1024, DEFAULT_QUEUE_BATCHES = 16, DEFAULT_BATCH_DELAY_MS = 10, DEFAULT_STALL_US = 60000000 };
enum { DEFAULT_LORAS = 4, DEFAULT_LORA_RANK = 16, DEFAULT_CPU_LORAS = 4 /* × max_loras */ };
enum { DEFAULT_IMAGES = 16 };
enum { LORA_MEMORY_SHARE = 4 }; /* of what is free: one in so many bytes */

const char *spate_version(void) { return SPATE_VERSION; }

bool spate_build(const spate_build_options *options, spate_error *error) {
  static const struct step_limits as_built;
  struct error detail = {0};
  spate_build_options build;
  bool done = build_options_read(options, &build, &detail) && engine_build(&build, &as_built, &detail);
  return done || error_export(&detail, error);
}

/* Beside the engine: timed choices are the device's, and engines come and go. */
static void tactic_path(const char *engine, char path[PATH_MAX]) {
  const char *slash = strrchr(engine, '/');
  int length = slash ? (int)(slash - engine) : 1;
  snprintf(path, PATH_MAX, "%.*s/tactics.txt", length, slash ? engine : ".");
}

static uint64_t cache_on_host(const spate_engine *engine) {
  return engine && !engine->loaded->backend->memory ? engine->loaded->kv_bytes : 0;
}

/* Into what the engine is opened with: its slots. */
static bool loras_read(const spate_open_options *from, struct engine_options *to, struct error *error) {
  if (!count_check("max_loras", from->max_loras, LIMIT_ADAPTERS, error) ||
      !count_check("max_lora_rank", from->max_lora_rank, LIMIT_ADAPTER_RANK, error) ||
      !count_check("max_cpu_loras", from->max_cpu_loras, LIMIT_CPU_LORAS, error))
    return false;
  if (!from->lora_dir && (from->max_loras || from->max_lora_rank || from->max_cpu_loras || from->lora_memory))
    return error_set(error, ERROR_INVALID,
                     "max_loras, max_lora_rank, max_cpu_loras and lora_memory are of adapters, and there is no folder "
                     "of them: give lora_dir too.");
  if (!from->lora_dir) return true;
  to->adapters = from->max_loras ? from->max_loras : DEFAULT_LORAS;
  to->adapter_rank = from->max_lora_rank ? from->max_lora_rank : DEFAULT_LORA_RANK;
  return true;
}

enum { PROGRESS_US = 100000 }; /* between two words to a caller */

struct load_watch {
  const spate_open_options *options;
  uint64_t told_us; /* or first asked; 0: not yet */
  bool told;        /* the caller has begun to show it: it hears the end too */
};

/* Small pieces come fast, and an engine that is there at once has no progress. */
static bool load_goes_on(void *user, int done, int total) {
  struct load_watch *watch = user;
  uint64_t now_us = clock_us();
  if (watch->told_us == 0) watch->told_us = now_us;
  if (done == total ? !watch->told : now_us - watch->told_us < PROGRESS_US) return true;
  watch->told_us = now_us;
  watch->told = true;
  return watch->options->progress(watch->options->user, "load", (uint64_t)done, (uint64_t)total);
}

/* What has to be looked up or checked, into what the engine is opened with. */
static bool load_options_read(const spate_open_options *from, struct engine_options *to, struct error *error) {
  if (from->backend && !(to->backend = backend_find(from->backend)))
    return error_set(error, ERROR_UNSUPPORTED,
                     "There is no backend \"%s\"; this binary has cpu, reference, null and late.", from->backend);
  to->cpu_experts = from->cpu_experts;
  return count_check("cpu_experts", from->cpu_experts, LIMIT_MODEL_LAYERS, error) &&
         kv_choice_parse(from->kv_cache_dtype, &to->kv, error) && loras_read(from, to, error) &&
         image_options_read(from, to, error);
}

static bool engine_load(struct spate_engine *engine, const spate_open_options *options, struct error *error) {
  char tactics[PATH_MAX];
  struct engine_place place;
  struct load_watch watch = {.options = options};
  if (!engine_cache_resolve(options, &place, error)) return false;
  tactic_path(place.path, tactics);
  struct engine_options load = {.device = {.n_thread = options->threads, .tactic_cache = tactics},
                                .memory_fraction = options->free_gpu_memory_fraction,
                                .kv_bytes = options->kv_cache_memory,
                                .block_size = options->block_size,
                                .no_fuse = options->no_fuse,
                                .batch_invariant = options->batch_invariant,
                                .outputs = options->max_outputs,
                                .steps = place.steps,
                                .verify = options->beside != NULL,
                                .beside = options->beside != NULL,
                                .beside_kv = cache_on_host(options->beside),
                                .disposable = place.cached,
                                .goes_on = options->progress ? load_goes_on : NULL,
                                .user = &watch};
  if (!load_options_read(options, &load, error)) return false;
  engine->loaded = engine_open(place.path, &load, error);
  return engine->loaded != NULL;
}

static bool policy_parse(const char *name, enum schedule_policy *policy, struct error *error) {
  static const char *const names[] = {
      [SCHEDULE_CONTINUOUS] = "continuous", [SCHEDULE_DYNAMIC] = "dynamic", [SCHEDULE_STATIC] = "static"};
  *policy = SCHEDULE_CONTINUOUS;
  for (size_t i = 0; name && i < sizeof names / sizeof *names; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    *policy = (enum schedule_policy)i;
    name = NULL;
  }
  return !name || error_set(error, ERROR_INVALID,
                            "scheduler is \"%s\", expected \"continuous\", \"dynamic\" or \"static\".", name);
}

/* By default several times what one full batch may take. */
static bool queue_tokens_read(int64_t given, struct runtime_options *to, struct error *error) {
  const struct limits *limits = &to->engine->limits;
  if (given < 0) return error_set(error, ERROR_INVALID, "max_queue_tokens is %" PRId64 ", expected 0 or more.", given);
  to->max_queue_tokens = given ? given : (int64_t)DEFAULT_QUEUE_BATCHES * limits->seats * limits->length;
  return true;
}

static bool seconds_read(const char *name, double seconds, uint64_t *us, struct error *error) {
  if (!(seconds >= 0 && seconds <= LIMIT_TIMEOUT_SECONDS))
    return error_set(error, ERROR_INVALID, "%s is %g, expected 0 to %d.", name, seconds, LIMIT_TIMEOUT_SECONDS);
  *us = (uint64_t)(seconds * 1e6);
  return true;
}

/* What the runtime is told beyond the engine and its tokenizer. */
static bool runtime_options_read(const spate_open_options *from, struct runtime_options *to, struct error *error) {
  if (from->max_queue < 0 || from->max_queue > LIMIT_QUEUE_REQUESTS)
    return error_set(error, ERROR_INVALID, "max_queue is %d, expected 0 to %d.", from->max_queue, LIMIT_QUEUE_REQUESTS);
  if (from->batch_delay_ms < 0 || from->batch_delay_ms > LIMIT_BATCH_DELAY_MS)
    return error_set(error, ERROR_INVALID, "batch_delay_ms is %d, expected 0 to %d.", from->batch_delay_ms,
                     LIMIT_BATCH_DELAY_MS);
  to->max_queue = from->max_queue ? from->max_queue : DEFAULT_QUEUE;
  to->batch_delay_ms = from->batch_delay_ms ? from->batch_delay_ms : DEFAULT_BATCH_DELAY_MS;
  to->no_block_reuse = from->no_block_reuse;
  to->adapter_folder = from->lora_dir;
  to->adapter_bytes = from->lora_memory ? from->lora_memory : machine_memory_available("") / LORA_MEMORY_SHARE;
  to->adapters_held = from->max_cpu_loras ? from->max_cpu_loras : DEFAULT_CPU_LORAS * to->engine->limits.adapters;
  if (!seconds_read("stall_timeout_s", from->stall_timeout_s, &to->stall_us, error) ||
      !seconds_read("idle_release_s", from->idle_release_s, &to->idle_us, error))
    return false;
  if (!(from->target_itl_ms >= 0 && from->target_itl_ms <= LIMIT_TARGET_ITL_MS))
    return error_set(error, ERROR_INVALID, "target_itl_ms is %g, expected 0 to %d.", from->target_itl_ms,
                     LIMIT_TARGET_ITL_MS);
  to->target_gap_us = from->target_itl_ms * 1000;
  if (to->stall_us == 0) to->stall_us = DEFAULT_STALL_US;
  if (to->idle_us > 0 && !to->engine->backend->release_cache)
    log_warning(
        "The KV cache is not given back when idle: on %s another program might have taken its memory when it is "
        "wanted again. A server that sleeps (POST /sleep) gives all of it back.",
        to->engine->backend->name);
  return queue_tokens_read(from->max_queue_tokens, to, error) && policy_parse(from->scheduler, &to->policy, error);
}

static bool engine_start(struct spate_engine *engine, const spate_open_options *options, struct error *error) {
  engine->tokenizer = tokenizer_open(engine->loaded->file.tokenizer, error);
  if (!engine->tokenizer) return false;
  engine->chat = chat_template_open(engine->loaded->file.chat_template, &engine->chat_problem);
  if (!engine->chat && engine->chat_problem.code == ERROR_MEMORY) /* or it would refuse conversations for its life */
    return error_set(error, ERROR_MEMORY, "%s", engine->chat_problem.text);
  size_t tokens = tokenizer_vocab(engine->tokenizer);
  if (tokens > (size_t)engine->loaded->plan->vocab)
    return error_set(error, ERROR_FORMAT, "The engine's tokenizer has %zu tokens, its network %d: build it again.",
                     tokens, engine->loaded->plan->vocab);
  if (!images_open(engine, options, error)) return false;
  struct runtime_options runtime = {.engine = engine->loaded,
                                    .image_form = engine->decoders ? &engine->image_form : NULL,
                                    .images_problem = &engine->images_problem,
                                    .decoders = engine->decoders,
                                    .image_threads = image_decoders_of(options),
                                    .image_bytes = LIMIT_PREPARED_BYTES,
                                    .image_request_bytes = LIMIT_REQUEST_PIXEL_BYTES,
                                    .images_most = options->max_images ? options->max_images : DEFAULT_IMAGES,
                                    .tokenizer = engine->tokenizer,
                                    .chat = engine->chat,
                                    .chat_problem = &engine->chat_problem};
  if (!runtime_options_read(options, &runtime, error)) return false;
  engine->runtime = runtime_new(&runtime, error);
  return engine->runtime != NULL;
}

spate_engine *spate_open(const spate_open_options *options, spate_error *error) {
  struct error detail = {0};
  spate_open_options open;
  struct spate_engine *engine = calloc(1, sizeof *engine);
  if (!engine) error_set(&detail, ERROR_MEMORY, "Out of memory.");
  if (engine && open_options_read(options, &open, &detail) && engine_load(engine, &open, &detail) &&
      engine_start(engine, &open, &detail))
    return engine;
  spate_close(engine);
  error_export(&detail, error);
  return NULL;
}

void spate_close(spate_engine *engine) {
  if (!engine) return;
  runtime_free(engine->runtime);
  decode_pool_close(engine->decoders);
  free(engine->image_helper);
  chat_template_close(engine->chat);
  tokenizer_close(engine->tokenizer);
  engine_close(engine->loaded);
  free(engine);
}

static void encoder_tell(const struct loaded_engine *loaded, spate_engine_info *info) {
  const struct engine_encoder *encoder = &loaded->file.facts->encoder;
  info->task = encoder->task;
  info->similarity = encoder->measure;
  info->normalizes = encoder->normalize != 0;
  if (info->task != SPATE_TASK_GENERATE) info->vector_size = plan_values(loaded->plan)[plan_result(loaded->plan)].cols;
}

void spate_info(const spate_engine *engine, spate_engine_info *info) {
  const struct loaded_engine *loaded = engine->loaded;
  const struct engine_facts *facts = loaded->file.facts;
  spate_engine_info all = {.size = info->size,
                           .name = facts->name,
                           .architecture = facts->architecture,
                           .device = loaded->backend->describe(loaded->device),
                           .vocab_size = loaded->plan->vocab,
                           .max_batch_size = loaded->limits.seats,
                           .max_input_len = facts->config.max_input_len,
                           .max_seq_len = facts->config.max_seq_len,
                           .max_num_tokens = loaded->limits.tokens,
                           .weight_bytes = loaded->footprint.weights,
                           .kv_bytes = loaded->kv_bytes,
                           .kv_dtype = kv_dtype_name(loaded->limits.kv_dtype),
                           .created = facts->created,
                           .weights_seconds = loaded->backend->memory ? loaded->weights_seconds : 0,
                           .file_seconds = loaded->file_seconds,
                           .device_seconds = loaded->device_seconds,
                           .program_seconds = loaded->program_seconds,
                           .cpu_experts = loaded->limits.cpu_experts,
                           .host_weight_bytes = loaded->footprint.host_weights,
                           .host_token_bytes = engine_host_token_bytes(loaded),
                           .host_gbs = loaded->host_gbs};
  encoder_tell(loaded, &all);
  memcpy(info, &all, info->size < sizeof all ? info->size : sizeof all);
}

bool spate_healthy(const spate_engine *engine, spate_error *error) {
  struct error detail = {0};
  return runtime_healthy(engine->runtime, &detail) || error_export(&detail, error);
}

bool spate_metrics(const spate_engine *engine, void (*write)(void *user, const char *text, size_t size), void *user) {
  struct buffer text;
  buffer_init(&text, 1 << 20);
  bool written = runtime_metrics(engine->runtime, &text);
  if (written) write(user, text.data, text.size);
  buffer_release(&text);
  return written;
}

/* --- totals: the runtime's, by another name ------------------------------------------------------------------------
 */

spate_totals *spate_totals_new(spate_error *error) {
  struct error detail;
  struct metric_totals *totals = metric_totals_new();
  if (!totals) {
    error_set(&detail, ERROR_MEMORY, "Out of memory for the metrics.");
    error_export(&detail, error);
  }
  return (spate_totals *)totals;
}

void spate_totals_add(spate_totals *totals, spate_engine *engine) {
  runtime_totals_join(engine->runtime, (struct metric_totals *)totals);
}

void spate_totals_free(spate_totals *totals) { metric_totals_free((struct metric_totals *)totals); }
