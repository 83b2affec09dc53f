/* From a request for text to a submitted generation; its events answer (server_loop.c). */
#include "server/generate.h"

#include "server/answer.h"
#include "server/generate_request.h"
#include "server/reply.h"
#include "server/server_loop.h"

static bool accepts_lines(const struct http_request *request) {
  static const char type[] = "application/x-ndjson";
  struct slice accept = http_request_header(request, "accept");
  return accept.data && memmem(accept.data, accept.size, type, sizeof type - 1) != NULL;
}

static enum answer_form form_choose(const struct http_request *request, bool streaming) {
  if (!streaming) return ANSWER_WHOLE;
  return accepts_lines(request) ? ANSWER_NDJSON : ANSWER_SSE;
}

static bool request_read(const struct server *server, const struct http_request *request, struct generate_request *out,
                         struct error *error) {
  spate_request defaults;
  spate_request_init(server->engine, &defaults);
  if (slice_is(request->head.method, "GET"))
    return generate_request_read_query(out, &defaults, request->head.query, error);
  return generate_request_read_body(out, &defaults, request->body, error);
}

void generate_handle(struct server *server, struct http_request *request) {
  /* A browser's EventSource connects again when a stream ends; 204 tells it to stop, where an answer would generate the
   * text once more. */
  if (http_request_header(request, "last-event-id").data) {
    reply(request, 204, NULL, NULL, slice_text(""));
    return;
  }
  struct generate_request wanted;
  struct error error;
  spate_error refusal;
  if (!request_read(server, request, &wanted, &error))
    reply_error(request, 400, NULL, error.text);
  else if (!server_loop_submit(request, &wanted.engine, form_choose(request, wanted.streaming), &refusal))
    reply_engine_error(request, refusal.code, refusal.text);
  else if (wanted.engine.logprobs)
    answer_want_logprobs(request->user, server->engine);
  generate_request_release(&wanted);
}
