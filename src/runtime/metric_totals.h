/* What runtimes that follow one another have counted, as one: counters and histograms of those that are gone go on in
 * the page of the one that is asked. From any thread. */
#ifndef SPATE_RUNTIME_METRIC_TOTALS_H
#define SPATE_RUNTIME_METRIC_TOTALS_H

#include "base/buffer.h"

struct metric_totals;
struct runtime_metrics;

struct metric_totals *metric_totals_new(void);         /* NULL: no memory */
void metric_totals_free(struct metric_totals *totals); /* when all have left; NULL is allowed */

/* Before anything is counted, and when nothing will be any more: what it has counted stays. */
void metric_totals_join(struct metric_totals *totals, struct runtime_metrics *metrics);
void metric_totals_leave(struct runtime_metrics *metrics); /* nothing if it has never joined */

/* Appends the exposition of `metrics`, with the sums of all. */
bool metric_totals_write(struct metric_totals *totals, const struct runtime_metrics *metrics, struct buffer *out);

#endif
