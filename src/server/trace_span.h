/* What is told of one request to a collector of traces: a span in OTLP's JSON (OpenTelemetry protocol 1.x), with the
 * names of the semantic conventions for HTTP servers and generative models. No text of a client is in it. */
#ifndef SPATE_SERVER_TRACE_SPAN_H
#define SPATE_SERVER_TRACE_SPAN_H

#include "base/buffer.h"
#include "server/answer_form.h"
#include "server/trace_context.h"

enum { SPAN_MODEL_BYTES = 256 };

struct trace_span {
  struct trace_context context;
  uint8_t id[SPAN_ID_BYTES];
  uint64_t begin_ns, first_ns, end_ns; /* since 1970; first: of the first token, 0: none came */
  const char *operation;               /* "chat", "text_completion", static */
  const char *method, *route;          /* static */
  const char *finish;                  /* static; NULL: the request never reached the engine */
  int status;
  struct answer_usage usage;
  char model[SPAN_MODEL_BYTES]; /* of the engine that ran it; "": none did */
};

/* Appends an ExportTraceServiceRequest of these spans. */
void trace_spans_write(struct buffer *out, const struct trace_span *spans, int n_span);

#endif
