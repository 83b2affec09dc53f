/* Sends spans to a collector (OTLP over HTTP, JSON) from a thread of its own. A collector that is slow or away costs
 * spans, which are counted, and never holds a request up. */
#ifndef SPATE_SERVER_TRACE_EXPORT_H
#define SPATE_SERVER_TRACE_EXPORT_H

#include "base/error.h"
#include "server/trace_span.h"

struct trace_export;

/* endpoint: http://HOST[:PORT]/v1/traces; its host is looked up for each connection. NULL with a sentence. */
struct trace_export *trace_export_open(const char *endpoint, struct error *error);

/* A copy is sent within about a second. Any thread. */
void trace_export_add(struct trace_export *export, const struct trace_span *span);

/* Appends the exposition of how many spans a collector has taken and how many were lost; NULL: none. Any thread. */
void trace_metrics_write(const struct trace_export *export, struct buffer *out);

/* Sends what waits, for two seconds at most, and ends the thread. NULL is allowed. */
void trace_export_close(struct trace_export *export);

#endif
