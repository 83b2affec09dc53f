/* Each runtime counts for itself, so that its step thread shares no counter with another's; sums are made for who asks.
 */
#include "runtime/metric_totals.h"

#include "runtime/metric_names.h"
#include "runtime/runtime_metrics.h"

#include <pthread.h>
#include <stdlib.h>

struct metric_totals {
  pthread_mutex_t lock;           /* of what follows */
  struct runtime_metrics retired; /* counters and histograms of those that have left */
  struct runtime_metrics shown;   /* a page while it is written */
  struct runtime_metrics *joined; /* list by `next` */
};

struct metric_totals *metric_totals_new(void) {
  struct metric_totals *totals = calloc(1, sizeof *totals);
  if (!totals) return NULL;
  pthread_mutex_init(&totals->lock, NULL);
  runtime_metrics_define(&totals->retired);
  runtime_metrics_define(&totals->shown);
  return totals;
}

void metric_totals_free(struct metric_totals *totals) {
  if (!totals) return;
  pthread_mutex_destroy(&totals->lock);
  free(totals);
}

static void counts_add(struct runtime_metrics *to, const struct runtime_metrics *from) {
  for (int i = 0; i < METRIC_DEFINITIONS; i++) {
    if (metric_definitions[i].kind == METRIC_GAUGE) continue;
    metric_merge(metric_at(to, metric_definitions[i].at), metric_at(from, metric_definitions[i].at));
  }
}

static void all_copy(struct runtime_metrics *to, const struct runtime_metrics *from) {
  for (int i = 0; i < METRIC_DEFINITIONS; i++)
    metric_copy(metric_at(to, metric_definitions[i].at), metric_at(from, metric_definitions[i].at));
}

void metric_totals_join(struct metric_totals *totals, struct runtime_metrics *metrics) {
  pthread_mutex_lock(&totals->lock);
  metrics->totals = totals;
  metrics->next = totals->joined;
  totals->joined = metrics;
  pthread_mutex_unlock(&totals->lock);
}

void metric_totals_leave(struct runtime_metrics *metrics) {
  struct metric_totals *totals = metrics->totals;
  if (!totals) return;
  pthread_mutex_lock(&totals->lock);
  struct runtime_metrics **place = &totals->joined;
  while (*place != metrics) place = &(*place)->next;
  *place = metrics->next;
  counts_add(&totals->retired, metrics);
  pthread_mutex_unlock(&totals->lock);
}

bool metric_totals_write(struct metric_totals *totals, const struct runtime_metrics *metrics, struct buffer *out) {
  pthread_mutex_lock(&totals->lock);
  all_copy(&totals->shown, metrics);
  counts_add(&totals->shown, &totals->retired);
  for (const struct runtime_metrics *other = totals->joined; other; other = other->next)
    if (other != metrics) counts_add(&totals->shown, other);
  bool written = runtime_metrics_page(&totals->shown, metrics->model_labels.data, out);
  pthread_mutex_unlock(&totals->lock);
  return written;
}
