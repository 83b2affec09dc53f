/* Answers, and the table from the engine's error codes to HTTP. */
#include "server/reply.h"

#include "base/json.h"
#include "base/limits.h"
#include "server/openai_text.h"

static const struct {
  int status;
  const char *headers;
} error_statuses[] = {
    [SPATE_OK] = {500, NULL},          /* an error without a code is ours */
    [SPATE_INVALID] = {400, NULL},     /* the client can mend these two, */
    [SPATE_LIMIT] = {400, NULL},       /* e.g. with a shorter prompt */
    [SPATE_UNSUPPORTED] = {400, NULL}, /* a field that does not exist yet */
    [SPATE_NOT_FOUND] = {404, NULL},
    [SPATE_BUSY] = {429, "Retry-After: 1\r\n"},
    [SPATE_MEMORY] = {503, "Retry-After: 1\r\n"},
    [SPATE_CANCELLED] = {503, NULL}, /* by the server: it is stopping */
    [SPATE_DEVICE] = {503, NULL},
    [SPATE_FORMAT] = {500, NULL},
    [SPATE_IO] = {500, NULL},
    [SPATE_INTERNAL] = {500, NULL},
    [SPATE_TIMEOUT] = {504, NULL},
};

enum { N_ERROR_STATUS = sizeof error_statuses / sizeof *error_statuses };

void reply_write_error(struct buffer *out, const struct http_request *request, int status, const char *field,
                       const char *sentence) {
  if (slice_starts(request->head.path, "/v1/")) {
    openai_write_error(out, status, field, slice_text(sentence));
    return;
  }
  buffer_text(out, "{\"error\":");
  json_write_string(out, slice_text(sentence));
  buffer_text(out, "}");
}

void reply_error(struct http_request *request, int status, const char *headers, const char *sentence) {
  http_respond_error(request, status, headers, sentence); /* which comes back to reply_write_error */
}

void reply_field_error(struct http_request *request, int status, const char *field, const char *sentence) {
  struct buffer body;
  buffer_init(&body, LIMIT_RESPONSE_BYTES);
  reply_write_error(&body, request, status, field, sentence);
  http_respond(request, status, JSON_CONTENT_TYPE, NULL, buffer_slice(&body));
  buffer_release(&body);
}

void reply_stream(struct http_request *request, const char *content_type) {
  /* Proxies must neither keep the stream nor collect it before they pass it on. */
  static const char headers[] = "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n";
  http_stream_begin(request, 200, content_type, headers);
}

int reply_status(spate_code code) { return (int)code < N_ERROR_STATUS ? error_statuses[code].status : 500; }

void reply_engine_error(struct http_request *request, spate_code code, const char *sentence) {
  const char *headers = (int)code < N_ERROR_STATUS ? error_statuses[code].headers : NULL;
  reply_error(request, reply_status(code), headers, sentence);
}
