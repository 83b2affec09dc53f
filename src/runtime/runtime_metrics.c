/* Names, help and buckets of the runtime's metrics. */
#include "runtime/runtime_metrics.h"

static const double seconds_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                        1,     2.5,    5,     10,   25,    50,   100, 250};
enum { N_BOUND = sizeof seconds_bounds / sizeof *seconds_bounds };

static void add(struct runtime_metrics *m, struct metric *metric, enum metric_kind kind, const char *name,
                const char *labels, const char *help) {
  *metric = (struct metric){.kind = kind, .name = name, .labels = labels, .help = help};
  if (kind == METRIC_HISTOGRAM) {
    metric->bounds = seconds_bounds;
    metric->n_bound = N_BOUND;
  }
  metric_register(&m->registry, metric);
}

static void add_requests(struct runtime_metrics *m) {
  add(m, &m->requests, METRIC_COUNTER, "llm_requests_total", NULL, "Requests accepted.");
  add(m, &m->refused, METRIC_COUNTER, "llm_requests_refused_total", NULL, "Requests refused at submission.");
  static const char finished[] = "llm_requests_finished_total", finished_help[] = "Requests ended, by reason.";
  add(m, &m->finished_stop, METRIC_COUNTER, finished, "reason=\"stop\"", finished_help);
  add(m, &m->finished_length, METRIC_COUNTER, finished, "reason=\"length\"", finished_help);
  add(m, &m->finished_cancelled, METRIC_COUNTER, finished, "reason=\"cancelled\"", finished_help);
  add(m, &m->finished_failed, METRIC_COUNTER, finished, "reason=\"failed\"", finished_help);
  add(m, &m->waiting, METRIC_GAUGE, "llm_requests_waiting", NULL, "Requests waiting for a seat.");
  add(m, &m->running, METRIC_GAUGE, "llm_requests_running", NULL, "Requests with a seat.");
}

static void add_tokens(struct runtime_metrics *m) {
  add(m, &m->prompt_tokens, METRIC_COUNTER, "llm_prompt_tokens_total", NULL, "Prompt tokens computed.");
  add(m, &m->queried_tokens, METRIC_COUNTER, "llm_prefix_cache_queried_tokens_total", NULL,
      "Prompt tokens of started requests, looked for in the cache.");
  add(m, &m->cached_tokens, METRIC_COUNTER, "llm_prefix_cache_hit_tokens_total", NULL,
      "Prompt tokens found in the cache, which are not computed.");
  add(m, &m->generation_tokens, METRIC_COUNTER, "llm_generation_tokens_total", NULL, "Tokens generated.");
  add(m, &m->recomputed_tokens, METRIC_COUNTER, "llm_recomputed_tokens_total", NULL,
      "Tokens computed again after a preemption.");
  add(m, &m->preemptions, METRIC_COUNTER, "llm_preemptions_total", NULL,
      "Requests sent back to wait because KV blocks or seats ran out.");
  add(m, &m->steps, METRIC_COUNTER, "llm_steps_total", NULL, "Steps run.");
  add(m, &m->kv_usage, METRIC_GAUGE, "llm_kv_cache_usage_ratio", NULL, "KV blocks in use, 0 to 1.");
}

static void add_times(struct runtime_metrics *m) {
  add(m, &m->generation_seconds, METRIC_HISTOGRAM, "llm_generation_seconds", NULL,
      "Time from submission to the last token.");
  add(m, &m->first_token_seconds, METRIC_HISTOGRAM, "llm_time_to_first_token_seconds", NULL,
      "Time from submission to the first token.");
  add(m, &m->between_tokens_seconds, METRIC_HISTOGRAM, "llm_time_between_tokens_seconds", NULL,
      "Time between two tokens of a request.");
  add(m, &m->queue_seconds, METRIC_HISTOGRAM, "llm_queue_seconds", NULL,
      "Time from submission to the step thread's taking over.");
}

void runtime_metrics_init(struct runtime_metrics *m) {
  add_requests(m);
  add_tokens(m);
  add_times(m);
}

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
  metric_set(&m->waiting, stats->waiting);
  metric_set(&m->running, stats->running);
  metric_set(&m->kv_usage, stats->kv_used);
}
