/* The runtime's metrics. Updated from the step thread and from submit, read by /metrics. */
#ifndef SPATE_RUNTIME_RUNTIME_METRICS_H
#define SPATE_RUNTIME_RUNTIME_METRICS_H

#include "base/metric.h"
#include "schedule/schedule.h"

struct runtime_metrics {
  struct metric_registry registry;
  struct metric requests, refused, finished_stop, finished_length, finished_cancelled, finished_failed;
  struct metric prompt_tokens, generation_tokens, steps;
  struct metric queried_tokens, cached_tokens, recomputed_tokens, preemptions;
  struct metric waiting, running, kv_usage;
  struct metric generation_seconds, first_token_seconds, between_tokens_seconds, queue_seconds;
};

void runtime_metrics_init(struct runtime_metrics *metrics);

/* Takes over the schedule's counters and gauges. */
void runtime_metrics_update(struct runtime_metrics *metrics, const struct schedule_stats *stats);

#endif
