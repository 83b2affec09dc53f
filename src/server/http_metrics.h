/* Metrics of HTTP requests, with label sets fixed by the tables of methods, routes and statuses. Any thread. */
#ifndef SPATE_SERVER_HTTP_METRICS_H
#define SPATE_SERVER_HTTP_METRICS_H

#include "base/metric.h"
#include "http/http_server.h"

enum { METRIC_STATUSES = 20, METRIC_METHODS = 5, METRIC_HANDLERS = 31 };

/* What is refused for want of room before an engine has seen it: by the room http, whose reasons come first, and here.
 */
enum { REFUSED_TOKENS = HTTP_REFUSALS, METRIC_REFUSALS };

struct http_metrics {
  _Atomic uint64_t requests[METRIC_HANDLERS][METRIC_METHODS][METRIC_STATUSES];
  struct metric duration[METRIC_HANDLERS], size_in[METRIC_HANDLERS], size_out[METRIC_HANDLERS];
  char labels[METRIC_HANDLERS][48];
  _Atomic uint64_t refused[METRIC_REFUSALS];
  _Atomic uint64_t ignored_fields; /* of OpenAI requests: sent and not known here */
  _Atomic uint64_t fetched,
      unfetched; /* images that were named by their address, and those of requests that failed so */
  struct metric_registry registry;
};

void http_metrics_init(struct http_metrics *metrics);

void http_metrics_count(struct http_metrics *metrics, const struct http_request *request,
                        const struct http_summary *summary);

void http_metrics_fetched(struct http_metrics *metrics, bool all, int images);
void http_metrics_refuse(struct http_metrics *metrics, int reason); /* of METRIC_REFUSALS */

/* Appends the exposition. */
bool http_metrics_write(const struct http_metrics *metrics, struct buffer *out);

#endif
