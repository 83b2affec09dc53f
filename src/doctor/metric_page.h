/* A page of metrics in the Prometheus text format 0.0.4, as a server sent it: untrusted bytes. */
#ifndef SPATE_DOCTOR_METRIC_PAGE_H
#define SPATE_DOCTOR_METRIC_PAGE_H

#include "base/error.h"
#include "base/slice.h"

struct metric_sample {
  struct slice name, labels; /* labels: what stands between the braces; both point into the page's text */
  double value;
};

struct metric_page {
  struct metric_sample *sample;
  size_t count, capacity;
};

/* The page points into text, which must outlive it. False with a sentence that names the line; then there is nothing to
 * release. */
bool metric_page_read(struct metric_page *page, struct slice text, struct error *error);
void metric_page_release(struct metric_page *page);

/* The value of a label, as it was written: a backslash stands before what is escaped. False when there is none. */
bool metric_sample_label(const struct metric_sample *sample, const char *label, struct slice *value);

/* The sum of all samples of a name of which `label` (NULL: any) begins with `prefix` (then ""); NaN when there are
 * none. */
double metric_page_sum(const struct metric_page *page, const char *name, const char *label, const char *prefix);

/* Of a histogram without labels of its own, as Prometheus' histogram_quantile has it, from what `before` (NULL:
 * nothing) had counted already. NaN when fewer than `least` were observed, or the buckets are no histogram's. */
double metric_page_quantile(const struct metric_page *page, const struct metric_page *before, const char *name,
                            double quantile, double least);

#endif
