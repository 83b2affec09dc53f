/* The two tables of metrics. To add one: a field in struct runtime_metrics, a line in metric_names.c and one in
 * docs/metrics.md. */
#ifndef SPATE_RUNTIME_METRIC_NAMES_H
#define SPATE_RUNTIME_METRIC_NAMES_H

#include "base/metric.h"

#include <stddef.h>

enum { METRIC_DEFINITIONS = 67, METRIC_VLLM_NAMES = 26 };

struct metric_bounds {
  int count;
  double at[METRIC_BUCKETS_MAX];
};

struct metric_definition {
  size_t at; /* in struct runtime_metrics */
  enum metric_kind kind;
  const char *name, *labels, *help;
  const struct metric_bounds *bounds; /* of a histogram */
};

struct metric_vllm_name {
  size_t at;                 /* of the metric that it shows */
  const char *name, *labels; /* NULL: the metric's own */
};

extern const struct metric_definition metric_definitions[METRIC_DEFINITIONS];
extern const struct metric_vllm_name metric_vllm_names[METRIC_VLLM_NAMES];

#endif
