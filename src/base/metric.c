/* Prometheus metrics: atomics and their text form. */
#include "base/metric.h"

#include "base/json.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static double double_of(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

void metric_register(struct metric_registry *registry, struct metric *metric) {
  int n = atomic_load(&registry->n_metric);
  assert(n < METRIC_REGISTRY_MAX && metric->n_bound <= METRIC_BUCKETS_MAX);
  registry->metric[n] = metric;
  atomic_store(&registry->n_metric, n + 1);
}

void metric_add(struct metric *counter, uint64_t n) {
  atomic_fetch_add_explicit(&counter->count, n, memory_order_relaxed);
}

void metric_set(struct metric *gauge, double value) {
  atomic_store_explicit(&gauge->bits, bits_of(value), memory_order_relaxed);
}

void metric_observe(struct metric *histogram, double value) {
  int slot = 0;
  while (slot < histogram->n_bound && value > histogram->bounds[slot]) slot++;
  atomic_fetch_add_explicit(&histogram->bucket[slot], 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&histogram->count, 1, memory_order_relaxed);
  uint64_t old = atomic_load_explicit(&histogram->bits, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(&histogram->bits, &old, bits_of(double_of(old) + value),
                                                memory_order_relaxed, memory_order_relaxed)) {
  }
}

static void write_head(const struct metric *metric, struct buffer *out) {
  static const char *const kind[] = {"counter", "gauge", "histogram"};
  buffer_print(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name, kind[metric->kind]);
}

static void write_name(const struct metric *metric, const char *suffix, struct buffer *out) {
  buffer_print(out, "%s%s", metric->name, suffix);
  if (metric->labels) buffer_print(out, "{%s}", metric->labels);
  buffer_text(out, " ");
}

static void write_histogram(const struct metric *metric, struct buffer *out) {
  const char *labels = metric->labels ? metric->labels : "", *comma = metric->labels ? "," : "";
  uint64_t total = 0;
  for (int i = 0; i <= metric->n_bound; i++) {
    total += atomic_load_explicit(&metric->bucket[i], memory_order_relaxed);
    buffer_print(out, "%s_bucket{%s%sle=\"", metric->name, labels, comma);
    if (i < metric->n_bound)
      json_write_number(out, metric->bounds[i]);
    else
      buffer_text(out, "+Inf");
    buffer_print(out, "\"} %llu\n", (unsigned long long)total);
  }
  write_name(metric, "_sum", out);
  json_write_number(out, double_of(atomic_load_explicit(&metric->bits, memory_order_relaxed)));
  buffer_text(out, "\n");
  write_name(metric, "_count", out);
  buffer_print(out, "%llu\n", (unsigned long long)total);
}

static void write_value(const struct metric *metric, struct buffer *out) {
  write_name(metric, "", out);
  if (metric->kind == METRIC_COUNTER)
    buffer_print(out, "%llu\n", (unsigned long long)atomic_load_explicit(&metric->count, memory_order_relaxed));
  else {
    json_write_number(out, double_of(atomic_load_explicit(&metric->bits, memory_order_relaxed)));
    buffer_text(out, "\n");
  }
}

bool metric_write(const struct metric_registry *registry, struct buffer *out) {
  int n = atomic_load(&registry->n_metric);
  for (int i = 0; i < n; i++) {
    const struct metric *metric = registry->metric[i];
    if (i == 0 || strcmp(metric->name, registry->metric[i - 1]->name) != 0) write_head(metric, out);
    if (metric->kind == METRIC_HISTOGRAM)
      write_histogram(metric, out);
    else
      write_value(metric, out);
  }
  return !out->failed;
}
