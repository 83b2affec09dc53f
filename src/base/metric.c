/* Prometheus metrics: atomics and their text form. */
#include "base/metric.h"

#include "base/json.h"
#include "base/utf8.h"

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

static uint64_t relaxed_get(const _Atomic uint64_t *from) { return atomic_load_explicit(from, memory_order_relaxed); }

static void relaxed_set(_Atomic uint64_t *to, uint64_t value) {
  atomic_store_explicit(to, value, memory_order_relaxed);
}

void metric_observe(struct metric *histogram, double value) {
  int slot = 0;
  while (slot < histogram->n_bound && value > histogram->bounds[slot]) slot++;
  if (histogram->one_writer) {
    relaxed_set(&histogram->bucket[slot], relaxed_get(&histogram->bucket[slot]) + 1);
    relaxed_set(&histogram->bits, bits_of(double_of(relaxed_get(&histogram->bits)) + value));
    return;
  }
  atomic_fetch_add_explicit(&histogram->bucket[slot], 1, memory_order_relaxed);
  uint64_t old = atomic_load_explicit(&histogram->bits, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(&histogram->bits, &old, bits_of(double_of(old) + value),
                                                memory_order_relaxed, memory_order_relaxed)) {
  }
}

void metric_copy(struct metric *to, const struct metric *from) {
  assert(to->kind == from->kind && to->n_bound == from->n_bound);
  to->labels = from->labels;
  relaxed_set(&to->count, relaxed_get(&from->count));
  relaxed_set(&to->bits, relaxed_get(&from->bits));
  for (int i = 0; i <= to->n_bound; i++) relaxed_set(&to->bucket[i], relaxed_get(&from->bucket[i]));
}

void metric_merge(struct metric *into, const struct metric *from) {
  assert(into->kind == from->kind && into->kind != METRIC_GAUGE && into->n_bound == from->n_bound);
  if (into->kind == METRIC_COUNTER) {
    metric_add(into, relaxed_get(&from->count));
    return;
  }
  for (int i = 0; i <= into->n_bound; i++)
    relaxed_set(&into->bucket[i], relaxed_get(&into->bucket[i]) + relaxed_get(&from->bucket[i]));
  relaxed_set(&into->bits, bits_of(double_of(relaxed_get(&into->bits)) + double_of(relaxed_get(&from->bits))));
}

double metric_sum(const struct metric *histogram) { return double_of(relaxed_get(&histogram->bits)); }

void metric_sum_raise(struct metric *histogram, double least) {
  if (metric_sum(histogram) < least) relaxed_set(&histogram->bits, bits_of(least));
}

/* --- exposition --------------------------------------------------------------------------------------------------- */

static void write_head(const struct metric_alias *as, struct buffer *out) {
  static const char *const kind[] = {"counter", "gauge", "histogram"};
  buffer_print(out, "# HELP %s %s\n# TYPE %s %s\n", as->name, as->metric->help, as->name, kind[as->metric->kind]);
}

static void write_bound(const double *bound, struct buffer *out) {
  buffer_text(out, "le=\"");
  if (bound)
    json_write_number(out, *bound);
  else
    buffer_text(out, "+Inf");
  buffer_text(out, "\"");
}

/* name_suffix{labels} and a space. */
static void write_sample(const struct metric_alias *as, const char *suffix, struct buffer *out) {
  buffer_print(out, "%s%s", as->name, suffix);
  if (as->common || as->labels)
    buffer_print(out, "{%s%s%s}", as->common ? as->common : "", as->common && as->labels ? "," : "",
                 as->labels ? as->labels : "");
  buffer_text(out, " ");
}

static void write_bucket(const struct metric_alias *as, const double *bound, uint64_t total, struct buffer *out) {
  buffer_print(out, "%s_bucket{%s%s%s%s", as->name, as->common ? as->common : "", as->common ? "," : "",
               as->labels ? as->labels : "", as->labels ? "," : "");
  write_bound(bound, out);
  buffer_print(out, "} %llu\n", (unsigned long long)total);
}

static bool is_shown(const struct metric *metric) {
  bool shown = !metric->sparse;
  for (int i = 0; i <= metric->n_bound && !shown; i++)
    shown = atomic_load_explicit(&metric->bucket[i], memory_order_relaxed) > 0;
  return shown;
}

static void write_histogram(const struct metric_alias *as, struct buffer *out) {
  const struct metric *metric = as->metric;
  uint64_t total = 0;
  for (int i = 0; i <= metric->n_bound; i++) {
    total += atomic_load_explicit(&metric->bucket[i], memory_order_relaxed);
    write_bucket(as, i < metric->n_bound ? &metric->bounds[i] : NULL, total, out);
  }
  write_sample(as, "_sum", out);
  json_write_number(out, double_of(atomic_load_explicit(&metric->bits, memory_order_relaxed)));
  buffer_text(out, "\n");
  write_sample(as, "_count", out);
  buffer_print(out, "%llu\n", (unsigned long long)total);
}

static void write_value(const struct metric_alias *as, struct buffer *out) {
  const struct metric *metric = as->metric;
  write_sample(as, "", out);
  if (metric->kind == METRIC_COUNTER)
    buffer_print(out, "%llu\n", (unsigned long long)atomic_load_explicit(&metric->count, memory_order_relaxed));
  else {
    json_write_number(out, double_of(atomic_load_explicit(&metric->bits, memory_order_relaxed)));
    buffer_text(out, "\n");
  }
}

/* Under a head, unless what was written last had the same name; returns the name. */
static const char *write_metric(const struct metric_alias *as, const char *last, struct buffer *out) {
  if (strcmp(as->name, last) != 0) write_head(as, out);
  if (as->metric->kind == METRIC_HISTOGRAM)
    write_histogram(as, out);
  else
    write_value(as, out);
  return as->name;
}

bool metric_write(const struct metric_registry *registry, struct buffer *out) {
  int n = atomic_load(&registry->n_metric);
  const char *last = "";
  for (int i = 0; i < n; i++) {
    const struct metric *metric = registry->metric[i];
    struct metric_alias itself = {.metric = metric, .name = metric->name, .labels = metric->labels};
    if (is_shown(metric)) last = write_metric(&itself, last, out);
  }
  return !out->failed;
}

bool metric_write_aliases(const struct metric_alias *alias, int n_alias, struct buffer *out) {
  const char *last = "";
  for (int i = 0; i < n_alias; i++) {
    struct metric_alias as = alias[i];
    if (!as.labels) as.labels = as.metric->labels;
    last = write_metric(&as, last, out);
  }
  return !out->failed;
}

bool metric_write_label(struct buffer *out, const char *name, struct slice value) {
  buffer_print(out, "%s=\"", name);
  for (size_t at = 0, size; at < value.size; at += size) {
    uint32_t code;
    size = utf8_read(slice_make(value.data + at, value.size - at), &code);
    if (size == 0) {
      buffer_text(out, "\xEF\xBF\xBD");
      size = 1;
    } else if (code == '\n') {
      buffer_text(out, "\\n");
    } else {
      if (code == '"' || code == '\\') buffer_text(out, "\\");
      buffer_append(out, value.data + at, size);
    }
  }
  return buffer_text(out, "\"");
}
