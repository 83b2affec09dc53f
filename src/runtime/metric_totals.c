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
  struct runtime_metrics shown;   /* the last page: no sum of the next one is less */
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

/* One of the page's: of those that are asked, with what all others have counted. */
static void shown_set(struct metric_totals *totals, const struct runtime_metrics *metrics, int i) {
  size_t at = metric_definitions[i].at;
  struct metric *shown = metric_at(&totals->shown, at);
  double before = metric_sum(shown);
  metric_copy(shown, metric_at(metrics, at));
  if (shown->kind == METRIC_GAUGE) return;
  metric_merge(shown, metric_at(&totals->retired, at));
  for (const struct runtime_metrics *other = totals->joined; other; other = other->next)
    if (other != metrics) metric_merge(shown, metric_at(other, at));
  if (shown->kind == METRIC_HISTOGRAM) metric_sum_raise(shown, before);
}

void metric_totals_join(struct metric_totals *totals, struct runtime_metrics *metrics) {
  if (metrics->totals) return; /* it would be in two lists, or twice in one */
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
  for (int i = 0; i < METRIC_DEFINITIONS; i++) shown_set(totals, metrics, i);
  bool written = runtime_metrics_page(&totals->shown, metrics->model_labels.data, out);
  pthread_mutex_unlock(&totals->lock);
  return written;
}
