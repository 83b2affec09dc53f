/* Metrics in the Prometheus text format. Each metric is a static object of the room that updates it; a registry lists
 * them for exposition. Updates are lock-free atomics: any thread, also on the token path. */
#ifndef SPATE_BASE_METRIC_H
#define SPATE_BASE_METRIC_H

#include "base/buffer.h"

#include <stdatomic.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
enum { METRIC_BUCKETS_MAX = 24, METRIC_REGISTRY_MAX = 256 };

struct metric {
  enum metric_kind kind;
  const char *name, *help;
  const char *labels;   /* "method=\"GET\",status=\"200\"" already escaped, or NULL */
  const double *bounds; /* histogram: ascending upper bounds, n_bound of them; +Inf is implied */
  int n_bound;
  bool one_writer;                                 /* histogram: one thread alone observes, so that none has to wait */
  bool sparse;                                     /* histogram: not shown before its first observation */
  _Atomic uint64_t count;                          /* counter: whole units */
  _Atomic uint64_t bits;                           /* gauge: the value; histogram: the sum; a double's bits */
  _Atomic uint64_t bucket[METRIC_BUCKETS_MAX + 1]; /* histogram: not cumulative */
};

struct metric_registry {
  struct metric *metric[METRIC_REGISTRY_MAX];
  atomic_int n_metric;
};

/* Registers a metric (not owned). Metrics of one name must be registered one after another. Before threads start. */
void metric_register(struct metric_registry *registry, struct metric *metric);

void metric_add(struct metric *counter, uint64_t n);
void metric_set(struct metric *gauge, double value);
void metric_observe(struct metric *histogram, double value);

/* Of metrics of one kind with the same bounds, the first of which nobody else writes to: takes over the other's labels
 * and value; adds what the other has counted, which no gauge does. */
void metric_copy(struct metric *to, const struct metric *from);
void metric_merge(struct metric *into, const struct metric *from);

/* Of a histogram. Doubles that are added in another order may come to less: a sum that was shown is what it is at
 * least. */
double metric_sum(const struct metric *histogram);
void metric_sum_raise(struct metric *histogram, double least);

/* Appends the whole exposition (text format 0.0.4). */
bool metric_write(const struct metric_registry *registry, struct buffer *out);

/* What readers that know a metric by another name find: its value, help and kind under that name. */
struct metric_alias {
  const struct metric *metric;
  const char *name;
  const char *common; /* labels, written before the others; NULL: none */
  const char *labels; /* NULL: the metric's own */
};

/* Appends aliases; those of one name must follow one another. */
bool metric_write_aliases(const struct metric_alias *alias, int n_alias, struct buffer *out);

/* Appends name="value" with the value escaped; what is no UTF-8 in it becomes U+FFFD. */
bool metric_write_label(struct buffer *out, const char *name, struct slice value);

#endif
