/* Counting requests. */
#include "server/http_metrics.h"

#include "server/routes.h"

#include <stdio.h>

_Static_assert(METRIC_HANDLERS == ROUTE_COUNT + 1, "one handler label per route, and one for no route");
_Static_assert((int)METRIC_METHODS == (int)METHOD_COUNT, "one method label per method");

/* 499: the client left before its answer began. What is not listed counts as the last. */
static const int statuses[METRIC_STATUSES] = {200, 204, 400, 401, 403, 404, 405, 408, 409, 413,
                                              414, 415, 417, 429, 431, 499, 501, 503, 504, 500};

static const double second_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                       1,     2.5,    5,     10,   25,    50,   100, 250};
static const double byte_bounds[] = {256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304};

static const char *handler_name(int handler) { return handler == ROUTE_NONE ? "none" : routes[handler].path; }

static void histogram_add(struct http_metrics *metrics, struct metric histogram[METRIC_HANDLERS], const char *name,
                          const char *help, const double *bounds, int n_bound) {
  for (int i = 0; i < METRIC_HANDLERS; i++) {
    histogram[i] = (struct metric){.kind = METRIC_HISTOGRAM,
                                   .name = name,
                                   .help = help,
                                   .labels = metrics->labels[i],
                                   .bounds = bounds,
                                   .n_bound = n_bound,
                                   .sparse = true};
    metric_register(&metrics->registry, &histogram[i]);
  }
}

#define BOUNDS(list) list, sizeof list / sizeof *list

void http_metrics_init(struct http_metrics *metrics) {
  for (int i = 0; i < METRIC_HANDLERS; i++)
    snprintf(metrics->labels[i], sizeof metrics->labels[i], "handler=\"%s\"", handler_name(i));
  histogram_add(metrics, metrics->duration, "http_request_duration_seconds",
                "Time from the first byte of a request to the last of its answer.", BOUNDS(second_bounds));
  histogram_add(metrics, metrics->size_in, "http_request_size_bytes", "Head and body of requests.",
                BOUNDS(byte_bounds));
  histogram_add(metrics, metrics->size_out, "http_response_size_bytes", "Head and body of answers.",
                BOUNDS(byte_bounds));
}

static int status_index(int status) {
  int index = 0;
  if (status == 0) status = 499;
  while (index < METRIC_STATUSES - 1 && statuses[index] != status) index++;
  return index;
}

void http_metrics_count(struct http_metrics *metrics, const struct http_request *request,
                        const struct http_summary *summary) {
  int handler = route_find(request->head.path);
  enum method method = http_method_find(request->head.method);
  atomic_fetch_add_explicit(&metrics->requests[handler][method][status_index(summary->status)], 1,
                            memory_order_relaxed);
  if (summary->refusal != HTTP_REFUSED_NOT) http_metrics_refuse(metrics, (int)summary->refusal);
  metric_observe(&metrics->duration[handler], (double)summary->duration_us * 1e-6);
  metric_observe(&metrics->size_in[handler], (double)summary->bytes_in);
  metric_observe(&metrics->size_out[handler], (double)summary->bytes_out);
}

void http_metrics_refuse(struct http_metrics *metrics, int reason) {
  atomic_fetch_add_explicit(&metrics->refused[reason], 1, memory_order_relaxed);
}

void http_metrics_fetched(struct http_metrics *metrics, bool all, int images) {
  atomic_fetch_add_explicit(all ? &metrics->fetched : &metrics->unfetched, (uint64_t)images, memory_order_relaxed);
}

static void fetches_write(const struct http_metrics *metrics, struct buffer *out) {
  buffer_print(out,
               "# HELP llm_image_fetches_total Images that requests named by their address, by whether all of a "
               "request's came.\n"
               "# TYPE llm_image_fetches_total counter\nllm_image_fetches_total{result=\"fetched\"} %llu\n"
               "llm_image_fetches_total{result=\"failed\"} %llu\n",
               (unsigned long long)atomic_load_explicit(&metrics->fetched, memory_order_relaxed),
               (unsigned long long)atomic_load_explicit(&metrics->unfetched, memory_order_relaxed));
}

static void refusals_write(const struct http_metrics *metrics, struct buffer *out) {
  static const char *const reasons[METRIC_REFUSALS] = {[HTTP_REFUSED_PEER] = "address",
                                                       [HTTP_REFUSED_CONNECTIONS] = "connections",
                                                       [HTTP_REFUSED_BODIES] = "bodies",
                                                       [REFUSED_TOKENS] = "tokens"};
  buffer_text(out, "# HELP http_requests_refused_total Requests refused for want of room before the engine saw them.\n"
                   "# TYPE http_requests_refused_total counter\n");
  for (int i = HTTP_REFUSED_NOT + 1; i < METRIC_REFUSALS; i++)
    buffer_print(out, "http_requests_refused_total{reason=\"%s\"} %llu\n", reasons[i],
                 (unsigned long long)atomic_load_explicit(&metrics->refused[i], memory_order_relaxed));
}

/* Only what has happened: most of the combinations never will. */
static void requests_write(const struct http_metrics *metrics, struct buffer *out) {
  buffer_text(out, "# HELP http_requests_total Requests by method, handler and status (499: the client left).\n"
                   "# TYPE http_requests_total counter\n");
  for (int handler = 0; handler < METRIC_HANDLERS; handler++)
    for (int method = 0; method < METRIC_METHODS; method++)
      for (int status = 0; status < METRIC_STATUSES; status++) {
        uint64_t count = atomic_load_explicit(&metrics->requests[handler][method][status], memory_order_relaxed);
        if (count)
          buffer_print(out, "http_requests_total{method=\"%s\",handler=\"%s\",status=\"%d\"} %llu\n",
                       method_name((enum method)method), handler_name(handler), statuses[status],
                       (unsigned long long)count);
      }
}

bool http_metrics_write(const struct http_metrics *metrics, struct buffer *out) {
  requests_write(metrics, out);
  refusals_write(metrics, out);
  fetches_write(metrics, out);
  buffer_print(out,
               "# HELP http_ignored_fields_total Fields of OpenAI requests that are not known here.\n"
               "# TYPE http_ignored_fields_total counter\nhttp_ignored_fields_total %llu\n",
               (unsigned long long)atomic_load_explicit(&metrics->ignored_fields, memory_order_relaxed));
  return metric_write(&metrics->registry, out);
}
