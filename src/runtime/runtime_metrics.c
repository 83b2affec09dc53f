/* Names, help and buckets of the runtime's metrics, and the moments at which they are observed. */
#include "runtime/runtime_metrics.h"

#include <stddef.h>

/* --- buckets ------------------------------------------------------------------------------------------------------ */

struct bounds {
  int count;
  double at[METRIC_BUCKETS_MAX];
};

/* Of a request's parts: from a token of a small model to an hour's queue. */
static const struct bounds request_seconds = {23, {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
                                                   0.15,  0.25,   0.5,   0.75, 1,     2.5,  5,     7.5,
                                                   10,    25,     50,    100,  250,   600,  3600}};
static const struct bounds token_seconds = {20, {0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05,
                                                 0.075, 0.1,    0.15,  0.2,    0.3,  0.5,   1,    2.5,  5,    10}};
static const struct bounds token_counts = {
    17, {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000}};
/* 0 apart from the rest: whether anything was found. */
static const struct bounds found_counts = {
    16, {0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144}};
static const struct bounds batch_sizes = {17, {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024}};
static const struct bounds step_counts = {
    15, {1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536}};
static const struct bounds ratios = {12, {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1}};
static const struct bounds preemption_counts = {6, {0, 1, 2, 3, 5, 10}};

/* --- names -------------------------------------------------------------------------------------------------------- */

#define AT(field) offsetof(struct runtime_metrics, field)

static const char finished[] = "llm_requests_finished_total", finished_help[] = "Requests ended, by reason.";

static const struct definition {
  size_t at; /* in struct runtime_metrics */
  enum metric_kind kind;
  const char *name, *labels, *help;
  const struct bounds *bounds;
} definitions[] = {
    {AT(requests), METRIC_COUNTER, "llm_requests_total", NULL, "Requests accepted.", NULL},
    {AT(refused), METRIC_COUNTER, "llm_requests_refused_total", NULL, "Requests refused at submission.", NULL},
    {AT(finished_stop), METRIC_COUNTER, finished, "reason=\"stop\"", finished_help, NULL},
    {AT(finished_length), METRIC_COUNTER, finished, "reason=\"length\"", finished_help, NULL},
    {AT(finished_cancelled), METRIC_COUNTER, finished, "reason=\"cancelled\"", finished_help, NULL},
    {AT(finished_failed), METRIC_COUNTER, finished, "reason=\"failed\"", finished_help, NULL},
    {AT(waiting), METRIC_GAUGE, "llm_requests_waiting", NULL, "Requests waiting for a seat.", NULL},
    {AT(running), METRIC_GAUGE, "llm_requests_running", NULL, "Requests with a seat.", NULL},

    {AT(prompt_tokens), METRIC_COUNTER, "llm_prompt_tokens_total", NULL, "Prompt tokens computed.", NULL},
    {AT(queried_tokens), METRIC_COUNTER, "llm_prefix_cache_queried_tokens_total", NULL,
     "Prompt tokens of started requests, looked for in the cache.", NULL},
    {AT(cached_tokens), METRIC_COUNTER, "llm_prefix_cache_hit_tokens_total", NULL,
     "Prompt tokens found in the cache, which are not computed.", NULL},
    {AT(generation_tokens), METRIC_COUNTER, "llm_generation_tokens_total", NULL, "Tokens generated.", NULL},
    {AT(recomputed_tokens), METRIC_COUNTER, "llm_recomputed_tokens_total", NULL,
     "Tokens computed again after a preemption.", NULL},
    {AT(preemptions), METRIC_COUNTER, "llm_preemptions_total", NULL,
     "Requests sent back to wait because KV blocks or seats ran out.", NULL},

    {AT(generation_seconds), METRIC_HISTOGRAM, "llm_generation_seconds", NULL,
     "Time from the submission of a request to its end, whatever ended it.", &request_seconds},
    {AT(first_token_seconds), METRIC_HISTOGRAM, "llm_time_to_first_token_seconds", NULL,
     "Time from submission to the first token.", &request_seconds},
    {AT(queue_seconds), METRIC_HISTOGRAM, "llm_queue_seconds", NULL,
     "The part of the time to the first token before the request was first taken into a step.", &request_seconds},
    {AT(prefill_seconds), METRIC_HISTOGRAM, "llm_prefill_seconds", NULL,
     "The part of the time to the first token after the request was first taken into a step.", &request_seconds},
    {AT(decode_seconds), METRIC_HISTOGRAM, "llm_decode_seconds", NULL,
     "Time from the first token of a request to its last.", &request_seconds},
    {AT(between_tokens_seconds), METRIC_HISTOGRAM, "llm_time_between_tokens_seconds", NULL,
     "Time between two tokens of a request.", &token_seconds},

    {AT(request_prompt_tokens), METRIC_HISTOGRAM, "llm_request_prompt_tokens", NULL,
     "Prompt tokens of a request that was started.", &token_counts},
    {AT(request_cached_tokens), METRIC_HISTOGRAM, "llm_request_cached_tokens", NULL,
     "Prompt tokens of it that were found in the cache.", &found_counts},
    {AT(request_generation_tokens), METRIC_HISTOGRAM, "llm_request_generation_tokens", NULL,
     "Tokens generated for a request that was started.", &token_counts},
    {AT(request_preemptions), METRIC_HISTOGRAM, "llm_request_preemptions", NULL,
     "How often a request that was started was sent back to wait.", &preemption_counts},

    {AT(steps), METRIC_COUNTER, "llm_steps_total", NULL, "Steps run.", NULL},
    {AT(step_sequences), METRIC_HISTOGRAM, "llm_step_sequences", NULL, "Sequences in a step: the size of its batch.",
     &batch_sizes},
    {AT(step_tokens), METRIC_HISTOGRAM, "llm_step_tokens", NULL,
     "Tokens computed in a step, of prompts and of streams.", &step_counts},
    {AT(step_kv_usage), METRIC_HISTOGRAM, "llm_step_kv_cache_usage_ratio", NULL,
     "KV blocks in use while a step runs, 0 to 1.", &ratios},
    {AT(kv_usage), METRIC_GAUGE, "llm_kv_cache_usage_ratio", NULL, "KV blocks in use, 0 to 1.", NULL},
    {AT(kv_blocks), METRIC_GAUGE, "llm_kv_cache_blocks", NULL, "KV blocks that there are.", NULL},
    {AT(cache_config), METRIC_GAUGE, "llm_cache_config_info", NULL, "How the KV cache is laid out; always 1.", NULL},
};

enum { N_DEFINITION = sizeof definitions / sizeof *definitions };

/* vLLM's names, with its labels. Nothing is counted for them: each shows the value of one of the metrics above. Those
 * with gpu_ and time_per_output_token are its older ones, which production-stack's router and dashboards still read. */
static const struct {
  size_t at;
  const char *name, *labels; /* NULL: the metric's own */
} vllm_names[] = {
    {AT(running), "vllm:num_requests_running", NULL},
    {AT(waiting), "vllm:num_requests_waiting", NULL},
    {AT(kv_usage), "vllm:kv_cache_usage_perc", NULL},
    {AT(kv_usage), "vllm:gpu_cache_usage_perc", NULL},
    {AT(cache_config), "vllm:cache_config_info", NULL},
    {AT(queried_tokens), "vllm:prefix_cache_queries_total", NULL},
    {AT(cached_tokens), "vllm:prefix_cache_hits_total", NULL},
    {AT(queried_tokens), "vllm:gpu_prefix_cache_queries_total", NULL},
    {AT(cached_tokens), "vllm:gpu_prefix_cache_hits_total", NULL},
    {AT(preemptions), "vllm:num_preemptions_total", NULL},
    {AT(queried_tokens), "vllm:prompt_tokens_total", NULL}, /* cached ones included, as vLLM counts */
    {AT(generation_tokens), "vllm:generation_tokens_total", NULL},
    {AT(finished_stop), "vllm:request_success_total", "finished_reason=\"stop\""},
    {AT(finished_length), "vllm:request_success_total", "finished_reason=\"length\""},
    {AT(finished_cancelled), "vllm:request_success_total", "finished_reason=\"abort\""},
    {AT(finished_failed), "vllm:request_success_total", "finished_reason=\"error\""},
    {AT(first_token_seconds), "vllm:time_to_first_token_seconds", NULL},
    {AT(between_tokens_seconds), "vllm:inter_token_latency_seconds", NULL},
    {AT(between_tokens_seconds), "vllm:time_per_output_token_seconds", NULL},
    {AT(generation_seconds), "vllm:e2e_request_latency_seconds", NULL},
    {AT(queue_seconds), "vllm:request_queue_time_seconds", NULL},
    {AT(prefill_seconds), "vllm:request_prefill_time_seconds", NULL},
    {AT(decode_seconds), "vllm:request_decode_time_seconds", NULL},
    {AT(request_prompt_tokens), "vllm:request_prompt_tokens", NULL},
    {AT(request_generation_tokens), "vllm:request_generation_tokens", NULL},
};

enum { N_VLLM_NAME = sizeof vllm_names / sizeof *vllm_names };

/* --- life --------------------------------------------------------------------------------------------------------- */

enum { LABELS_MAX = 4096 };

static bool labels_write(struct runtime_metrics *m, const struct loaded_engine *engine, bool reuse) {
  const struct limits *limits = &engine->limits;
  buffer_init(&m->model_labels, LABELS_MAX);
  buffer_init(&m->cache_labels, LABELS_MAX);
  metric_write_label(&m->model_labels, "model_name", slice_text(engine->file.facts->name));
  buffer_text(&m->model_labels, ",engine=\"0\"");
  buffer_append(&m->model_labels, "", 1);
  buffer_print(
      &m->cache_labels, "block_size=\"%d\",num_gpu_blocks=\"%u\",cache_dtype=\"%s\",enable_prefix_caching=\"%s\"",
      limits->block_size, limits->n_block[0], limits->kv_dtype == KV_F32 ? "fp32" : "fp16", reuse ? "True" : "False");
  return buffer_append(&m->cache_labels, "", 1) && !m->model_labels.failed;
}

bool runtime_metrics_init(struct runtime_metrics *m, const struct loaded_engine *engine, bool reuse,
                          struct error *error) {
  for (int i = 0; i < N_DEFINITION; i++) {
    const struct definition *d = &definitions[i];
    struct metric *metric = (struct metric *)(void *)((char *)m + d->at);
    *metric = (struct metric){.kind = d->kind, .name = d->name, .labels = d->labels, .help = d->help};
    if (d->bounds) {
      metric->bounds = d->bounds->at;
      metric->n_bound = d->bounds->count;
    }
    metric_register(&m->registry, metric);
  }
  if (!labels_write(m, engine, reuse)) return error_set(error, ERROR_MEMORY, "Out of memory for the metrics' labels.");
  m->cache_config.labels = m->cache_labels.data;
  metric_set(&m->cache_config, 1);
  metric_set(&m->kv_blocks, engine->limits.n_block[0]);
  return true;
}

void runtime_metrics_release(struct runtime_metrics *m) {
  buffer_release(&m->model_labels);
  buffer_release(&m->cache_labels);
}

bool runtime_metrics_write(struct runtime_metrics *m, struct buffer *out) {
  struct metric_alias alias[N_VLLM_NAME];
  metric_set(&m->waiting, atomic_load(&m->arriving) + atomic_load(&m->queued)); /* those at the worker wait too */
  for (int i = 0; i < N_VLLM_NAME; i++)
    alias[i] =
        (struct metric_alias){.metric = (const struct metric *)(const void *)((const char *)m + vllm_names[i].at),
                              .name = vllm_names[i].name,
                              .common = m->model_labels.data,
                              .labels = vllm_names[i].labels};
  return metric_write(&m->registry, out) && metric_write_aliases(alias, N_VLLM_NAME, out);
}

/* --- observing ---------------------------------------------------------------------------------------------------- */

static void counter_raise(struct metric *counter, uint64_t to) {
  metric_add(counter, to - atomic_load_explicit(&counter->count, memory_order_relaxed));
}

void runtime_metrics_update(struct runtime_metrics *m, const struct schedule_stats *stats) {
  counter_raise(&m->prompt_tokens, stats->prompt_tokens);
  counter_raise(&m->queried_tokens, stats->queried_tokens);
  counter_raise(&m->cached_tokens, stats->cached_tokens);
  counter_raise(&m->recomputed_tokens, stats->recomputed_tokens);
  counter_raise(&m->preemptions, stats->preemptions);
  counter_raise(&m->generation_tokens, stats->generated_tokens);
  counter_raise(&m->steps, stats->steps);
  atomic_store(&m->queued, stats->waiting);
  metric_set(&m->running, stats->running);
  metric_set(&m->kv_usage, stats->kv_used);
}

static void seconds_observe(struct metric *histogram, uint64_t from_us, uint64_t to_us) {
  metric_observe(histogram, (double)(to_us - from_us) * 1e-6);
}

void runtime_metrics_step(struct runtime_metrics *m, const struct batch *batch, double kv_used) {
  metric_observe(&m->step_sequences, batch->n_row);
  metric_observe(&m->step_tokens, batch->n_token);
  metric_observe(&m->step_kv_usage, kv_used);
}

static void queue_observe(struct runtime_metrics *m, const struct request *r) {
  seconds_observe(&m->queue_seconds, r->submitted_us, r->generation[0].sequence.started_us);
}

void runtime_metrics_token(struct runtime_metrics *m, struct generation *g, uint64_t now_us) {
  struct request *r = g->request;
  if (g->generated > 0) seconds_observe(&m->between_tokens_seconds, g->last_us, now_us);
  g->last_us = r->last_us = now_us;
  if (r->first_us > 0) return;
  r->first_us = now_us;
  queue_observe(m, r);
  seconds_observe(&m->prefill_seconds, r->generation[0].sequence.started_us, now_us);
  seconds_observe(&m->first_token_seconds, r->submitted_us, now_us);
}

static void request_observe(struct runtime_metrics *m, const struct request *r) {
  int64_t generated = 0, preempted = 0;
  for (int i = 0; i < r->n_generation; i++) {
    preempted += r->generation[i].sequence.n_preempted;
    if (i < r->n_answer) generated += r->generation[i].generated;
  }
  metric_observe(&m->request_prompt_tokens, r->generation[0].sequence.n_prompt);
  metric_observe(&m->request_cached_tokens, r->generation[0].sequence.n_cached);
  metric_observe(&m->request_generation_tokens, (double)generated);
  metric_observe(&m->request_preemptions, (double)preempted);
}

/* Of several answers, the one that ended least as it should. */
static enum finish_reason finish_of(const struct request *r) {
  enum finish_reason worst = r->error.code ? FINISH_NONE : FINISH_STOP;
  for (int i = 0; i < r->n_answer && !r->error.code; i++)
    if (r->generation[i].finish > worst) worst = r->generation[i].finish;
  return worst;
}

void runtime_metrics_end(struct runtime_metrics *m, struct request *r, uint64_t now_us) {
  struct metric *by_reason[] = {[FINISH_NONE] = &m->finished_failed,
                                [FINISH_STOP] = &m->finished_stop,
                                [FINISH_LENGTH] = &m->finished_length,
                                [FINISH_CANCELLED] = &m->finished_cancelled};
  if (r->counted) return;
  r->counted = true;
  metric_add(by_reason[finish_of(r)], 1);
  seconds_observe(&m->generation_seconds, r->submitted_us, now_us);
  if (r->first_us > 0) seconds_observe(&m->decode_seconds, r->first_us, r->last_us);
  if (r->generation[0].sequence.started_us == 0) return;
  if (r->first_us == 0) queue_observe(m, r); /* cancelled before it had a token, or a beam search */
  request_observe(m, r);
}
