/* The runtime's metrics: what there is of them stands in two tables, their own names and the names under which routers
 * look for vLLM's (docs/metrics.md). Updated from the step thread and from submit, read by /metrics. */
#ifndef SPATE_RUNTIME_RUNTIME_METRICS_H
#define SPATE_RUNTIME_RUNTIME_METRICS_H

#include "base/metric.h"
#include "engine/loaded_engine.h"
#include "runtime/request.h"
#include "schedule/schedule.h"

enum { SHED_HIGH, SHED_NORMAL, SHED_LOW, SHED_CLASSES };
enum refusal { REFUSED_QUEUE, REFUSED_SIZE, REFUSED_INVALID, REFUSED_STOPPED, REFUSED_FAILED, REFUSALS };

struct runtime_metrics {
  struct metric_registry registry;
  struct metric requests, refused[REFUSALS], finished_stop, finished_length, finished_cancelled, finished_failed;
  struct metric finished_refused;
  struct metric shed[SHED_REASONS][SHED_CLASSES]; /* none for SHED_NOT */
  struct metric probes_finite, probes_spoilt;
  struct metric prompt_tokens, generation_tokens, steps;
  struct metric queried_tokens, cached_tokens, recomputed_tokens, preemptions;
  struct metric waiting, running, kv_usage, kv_blocks, cache_config, cache_releases;
  struct metric generation_seconds, first_token_seconds, between_tokens_seconds;
  struct metric queue_seconds, prefill_seconds, decode_seconds;
  struct metric request_prompt_tokens, request_cached_tokens, request_generation_tokens, request_preemptions;
  struct metric adapter_slots, adapters_held, adapter_bytes, adapter_loads, adapter_failures, adapter_evictions;
  struct metric adapter_placements;
  struct metric images, image_hits, image_misses, image_evictions, image_losses;
  struct metric image_prepare_seconds, image_encoder_seconds;
  struct metric itl_target, itl_p99, itl_prompt_tokens, itl_sequences, itl_missed;
  struct metric step_sequences, step_tokens, step_kv_usage, step_sequence_limit, step_token_limit, host_expert_bytes;
  _Atomic int arriving;         /* submitted, and not yet taken by the step thread */
  _Atomic int queued;           /* waiting in the schedule */
  struct buffer model_labels;   /* of the aliases; NUL-terminated */
  struct buffer cache_labels;   /* of cache_config */
  struct metric_totals *totals; /* that these are part of; NULL: of none */
  struct runtime_metrics *next; /* in their list */
};

static inline struct metric *metric_at(const struct runtime_metrics *metrics, size_t offset) {
  return (struct metric *)(void *)((char *)(uintptr_t)metrics + offset);
}

/* What the tables say of each metric; nothing is counted yet. */
void runtime_metrics_define(struct runtime_metrics *metrics);

/* The labels tell of the engine, and whether prefixes are found again. */
bool runtime_metrics_init(struct runtime_metrics *metrics, const struct loaded_engine *engine, bool reuse,
                          struct error *error);
void runtime_metrics_release(struct runtime_metrics *metrics);

/* Takes over the schedule's counters and gauges. */
void runtime_metrics_update(struct runtime_metrics *metrics, const struct schedule_stats *stats);

/* A request is refused with this error. */
void runtime_metrics_refuse(struct runtime_metrics *metrics, const struct error *error);

/* A step starts; a generation gets one more token (and has not accepted it yet); all generations of a request have
 * ended, which counts once. */
void runtime_metrics_step(struct runtime_metrics *metrics, const struct batch *batch, double kv_used);
void runtime_metrics_token(struct runtime_metrics *metrics, struct generation *generation, uint64_t now_us);
void runtime_metrics_end(struct runtime_metrics *metrics, struct request *request, uint64_t now_us);

/* Takes over the store's figures; NULL: there is none. */
void runtime_metrics_adapters(struct runtime_metrics *metrics, struct adapter_store *store);

/* The same of the store of images; NULL: there is none. */
void runtime_metrics_store(struct runtime_metrics *metrics, struct image_store *store);

/* A request's images are there to be encoded; the encoder has run for so long. */
void runtime_metrics_images(struct runtime_metrics *metrics, const struct request_images *images);
void runtime_metrics_encoder(struct runtime_metrics *metrics, uint64_t run_us);

/* Appends vllm:lora_requests_info: the adapters that requests run with and wait for, by name, in labels. store NULL:
 * nothing. */
bool adapter_metric_write(struct adapter_store *store, int32_t slots, struct buffer *out);

/* Appends the exposition, of the totals if there are any. */
bool runtime_metrics_write(struct runtime_metrics *metrics, struct buffer *out);

/* The same of these alone, under these labels of the model. */
bool runtime_metrics_page(const struct runtime_metrics *metrics, const char *model_labels, struct buffer *out);

#endif
