/* The body of a request: what the handler takes of it, its bytes as they come, and the room that the bodies of all
 * connections share. */
#include "http/http_connection.h"

#include <stdio.h>
#include <strings.h>

static void refuse_large(struct http_connection *connection, size_t limit) {
  char sentence[96];
  snprintf(sentence, sizeof sentence, "The body is larger than the %zu bytes that this path takes.", limit);
  connection_refuse(connection, 413, NULL, sentence);
}

static void refuse_crowded(struct http_connection *connection) {
  body_release(connection);
  connection->refusal = HTTP_REFUSED_BODIES;
  connection_refuse(connection, 503, "Retry-After: 1\r\n",
                    "The bodies of requests that are arriving take all the room for them; try again later.");
}

void body_release(struct http_connection *connection) {
  buffer_release(&connection->body);
  atomic_fetch_sub(&connection->loop->shared->n_body_byte, connection->charged);
  connection->charged = 0;
}

void http_body_take(struct http_request *request, struct http_body *body) {
  struct http_connection *connection = request->connection;
  *body = (struct http_body){connection->body, connection->charged, &connection->loop->shared->n_body_byte};
  buffer_init(&connection->body, 0);
  connection->charged = 0;
}

void http_body_discount(struct http_body *body) {
  if (body->room) atomic_fetch_sub(body->room, body->charged);
  body->charged = 0;
}

void http_body_release(struct http_body *body) {
  http_body_discount(body);
  buffer_release(&body->bytes);
}

/* Counts what has come into the common room; false when that is more than it holds. Bodies with images leave a quarter
 * of it: a few that do not come on would be in everyone's way otherwise. */
static bool body_charge(struct http_connection *connection) {
  struct http_shared *shared = connection->loop->shared;
  size_t room = shared->options.bodies_bytes;
  if (connection->body.size > LIMIT_BODY_BYTES) room -= room / 4;
  size_t more = connection->body.size - connection->charged;
  connection->charged += more;
  return more == 0 || atomic_fetch_add(&shared->n_body_byte, more) + more <= room;
}

/* The body is the handler's during the call alone, if it does not take it: an answer may take long, and the room is
 * wanted. */
static void call_handler(struct http_connection *connection) {
  const struct http_shared *shared = connection->loop->shared;
  uv_timer_stop(&connection->deadline);
  connection->state = CONNECTION_ANSWER;
  if (connection->input.size == 0) buffer_release(&connection->input); /* an answer may take long */
  connection->request->body = buffer_slice(&connection->body);
  connection->handled = true;
  shared->callbacks.handle(connection->request, shared->user);
  connection->request->body = (struct slice){0};
  body_release(connection);
}

static enum chunk_progress read_length(struct http_connection *connection) {
  uint64_t left = connection->request->head.content_length - connection->body.size;
  size_t size = left < connection->input.size ? (size_t)left : connection->input.size;
  if (!buffer_append(&connection->body, connection->input.data, size)) return CHUNK_BAD;
  connection_drop_input(connection, size);
  return size == left ? CHUNK_END : CHUNK_MORE;
}

/* Until when the next LIMIT_BODY_BYTES, or what is left, must have come. */
static void body_deadline(struct http_connection *connection) {
  uint64_t longest = connection->request->head.chunked ? LIMIT_BODY_BYTES : connection->request->head.content_length;
  uint64_t part = longest < LIMIT_BODY_BYTES ? longest : LIMIT_BODY_BYTES;
  connection_set_deadline(connection,
                          (uint64_t)connection->loop->shared->options.body_ms + part / LIMIT_BODY_BYTES_PER_MS);
}

void body_read(struct http_connection *connection) {
  size_t parts = connection->body.size / LIMIT_BODY_BYTES;
  struct head_verdict verdict = {500, "There is no memory for the body of the request."};
  enum chunk_progress progress;
  if (connection->request->head.chunked) {
    struct slice rest = buffer_slice(&connection->input);
    progress = chunk_decoder_feed(&connection->decoder, &rest, &connection->body, &verdict);
    connection_drop_input(connection, connection->input.size - rest.size);
  } else {
    progress = read_length(connection);
  }
  if (progress == CHUNK_BAD && verdict.status == 413)
    refuse_large(connection, connection->body.max);
  else if (progress == CHUNK_BAD)
    connection_refuse(connection, verdict.status, NULL, verdict.reason);
  else if (!body_charge(connection))
    refuse_crowded(connection);
  else if (progress == CHUNK_END)
    call_handler(connection);
  else if (connection->body.size / LIMIT_BODY_BYTES > parts)
    body_deadline(connection);
}

void body_start(struct http_connection *connection) {
  static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
  const struct http_shared *shared = connection->loop->shared;
  struct http_request *request = connection->request;
  connection->state = CONNECTION_BODY;
  size_t limit = shared->callbacks.head ? shared->callbacks.head(request, shared->user) : LIMIT_BODY_BYTES;
  if (connection->state != CONNECTION_BODY) return; /* the handler has answered */
  struct slice expect = http_request_header(request, "expect");
  if (expect.data && (expect.size != 12 || strncasecmp((const char *)expect.data, "100-continue", 12) != 0)) {
    connection_refuse(connection, 417, NULL, "Expect must be 100-continue and nothing else.");
    return;
  }
  if (request->head.content_length > limit) {
    refuse_large(connection, limit);
    return;
  }
  buffer_init(&connection->body, limit);
  connection->decoder = (struct chunk_decoder){0};
  body_deadline(connection);
  struct slice piece = slice_text(go_on);
  bool waits = expect.data && request->head.minor_version == 1 &&
               (request->head.chunked || request->head.content_length > 0) && connection->input.size == 0;
  if (waits) output_send(connection, &piece, 1);
}
