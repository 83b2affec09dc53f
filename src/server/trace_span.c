/* Spans as OTLP's JSON: ids in hex, 64-bit integers as strings, a value under the name of its type. */
#include "server/trace_span.h"

#include "base/json.h"

enum { KIND_SERVER = 2, STATUS_ERROR = 2, FIRST_SERVER_ERROR = 500 };

static void hex_write(struct buffer *out, const char *name, const uint8_t *bytes, int n_byte) {
  buffer_print(out, "\"%s\":\"", name);
  for (int i = 0; i < n_byte; i++) buffer_print(out, "%02x", bytes[i]);
  buffer_text(out, "\",");
}

static void text_write(struct buffer *out, const char *key, struct slice value) {
  buffer_print(out, "{\"key\":\"%s\",\"value\":{\"stringValue\":", key);
  json_write_string(out, value);
  buffer_text(out, "}}");
}

static void count_write(struct buffer *out, const char *key, int64_t value) {
  buffer_print(out, ",{\"key\":\"%s\",\"value\":{\"intValue\":\"%lld\"}}", key, (long long)value);
}

static void usage_write(struct buffer *out, const struct trace_span *span) {
  count_write(out, "gen_ai.usage.input_tokens", span->usage.prompt_tokens);
  count_write(out, "gen_ai.usage.cache_read.input_tokens", span->usage.cached_tokens);
  count_write(out, "gen_ai.usage.output_tokens", span->usage.generated_tokens);
  buffer_text(out,
              ",{\"key\":\"gen_ai.response.finish_reasons\",\"value\":{\"arrayValue\":{\"values\":[{\"stringValue\":");
  json_write_string(out, slice_text(span->finish));
  buffer_text(out, "}]}}}");
  if (span->first_ns == 0) return;
  buffer_text(out, ",{\"key\":\"gen_ai.response.time_to_first_chunk\",\"value\":{\"doubleValue\":");
  json_write_number(out, (double)(span->first_ns - span->begin_ns) * 1e-9);
  buffer_text(out, "}}");
}

static void attributes_write(struct buffer *out, const struct trace_span *span) {
  buffer_text(out, "\"attributes\":[");
  text_write(out, "gen_ai.operation.name", slice_text(span->operation));
  buffer_text(out, ",");
  if (span->model[0]) {
    text_write(out, "gen_ai.request.model", slice_text(span->model));
    buffer_text(out, ",");
  }
  text_write(out, "http.request.method", slice_text(span->method));
  buffer_text(out, ",");
  text_write(out, "http.route", slice_text(span->route));
  count_write(out, "http.response.status_code", span->status);
  if (span->finish) usage_write(out, span);
  buffer_text(out, "]");
}

static void event_write(struct buffer *out, const struct trace_span *span) {
  if (span->first_ns > 0)
    buffer_print(out, ",\"events\":[{\"timeUnixNano\":\"%llu\",\"name\":\"first token\"}]",
                 (unsigned long long)span->first_ns);
}

static void span_write(struct buffer *out, const struct trace_span *span) {
  static const uint8_t none[SPAN_ID_BYTES];
  buffer_text(out, "{");
  hex_write(out, "traceId", span->context.trace, TRACE_ID_BYTES);
  hex_write(out, "spanId", span->id, SPAN_ID_BYTES);
  if (memcmp(span->context.parent, none, SPAN_ID_BYTES) != 0)
    hex_write(out, "parentSpanId", span->context.parent, SPAN_ID_BYTES);
  buffer_print(out, "\"name\":\"%s %s\",\"kind\":%d,\"startTimeUnixNano\":\"%llu\",\"endTimeUnixNano\":\"%llu\",",
               span->method, span->route, KIND_SERVER, (unsigned long long)span->begin_ns,
               (unsigned long long)span->end_ns);
  attributes_write(out, span);
  event_write(out, span);
  buffer_print(out, ",\"status\":{\"code\":%d}}", span->status >= FIRST_SERVER_ERROR ? STATUS_ERROR : 0);
}

void trace_spans_write(struct buffer *out, const struct trace_span *spans, int n_span) {
  buffer_text(out, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
  text_write(out, "service.name", slice_text("spate"));
  buffer_text(out, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"spate\"},\"spans\":[");
  for (int i = 0; i < n_span; i++) {
    if (i > 0) buffer_text(out, ",");
    span_write(out, &spans[i]);
  }
  buffer_text(out, "]}]}]}");
}
