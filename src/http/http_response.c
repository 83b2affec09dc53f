/* Answers: heads, whole bodies, streams; and what a handler asks of its request. */
#include "base/json.h"
#include "http/head_parse.h"
#include "http/http_connection.h"

#include <assert.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

enum { ANSWER_HEAD_MAX = 8 << 10, CHUNK_LINE_MAX = 18, CHUNK_COPIED_MAX = 2048 };

struct slice http_request_header(const struct http_request *request, const char *name) {
  size_t size = strlen(name);
  for (int i = 0; i < request->head.n_header; i++) {
    const struct http_header *header = &request->head.header[i];
    if (header->name.size == size && strncasecmp((const char *)header->name.data, name, size) == 0)
      return header->value;
  }
  return (struct slice){0};
}

static bool may_answer(const struct http_connection *connection) {
  if (connection->state == CONNECTION_CLOSING) return false;
  assert(connection->answer.status == 0); /* a request is answered once */
  return true;
}

/* Settles how the answer is framed and whether the connection outlives it. */
static void begin_answer(struct http_connection *connection, int status, bool stream) {
  const struct http_head *head = &connection->request->head;
  bool wanted = head->keep_alive && connection->loop->shared->options.keep_alive_ms > 0;
  bool body_unread = connection->state == CONNECTION_BODY && (head->chunked || head->content_length > 0);
  bool framed = !stream || head->minor_version == 1;
  connection->answer = (struct http_answer){
      .status = status,
      .keep_alive = wanted && !body_unread && framed && !connection->loop->draining,
      .no_body = slice_is(head->method, "HEAD") || status == 204 || status == 304,
      .chunked = stream && framed,
  };
  connection->state = CONNECTION_ANSWER;
  uv_timer_stop(&connection->deadline);
}

static void write_date(struct buffer *out) {
  char text[40];
  struct tm utc;
  time_t now = time(NULL);
  gmtime_r(&now, &utc);
  strftime(text, sizeof text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
  buffer_text(out, text);
}

static void write_head(const struct http_connection *connection, struct buffer *out, const char *content_type,
                       const char *headers) {
  const struct http_answer *answer = &connection->answer;
  buffer_print(out, "HTTP/1.1 %d %s\r\n", answer->status, http_status_text(answer->status));
  write_date(out);
  if (content_type) buffer_print(out, "Content-Type: %s\r\n", content_type);
  if (headers) buffer_text(out, headers);
  const struct http_shared *shared = connection->loop->shared;
  if (shared->callbacks.answer_head) shared->callbacks.answer_head(connection->request, out, shared->user);
  if (answer->chunked) buffer_text(out, "Transfer-Encoding: chunked\r\n");
  buffer_text(out, answer->keep_alive ? "Connection: keep-alive\r\n" : "Connection: close\r\n");
}

/* Its parts come from the program and fit, so that only memory can be lacking: then the client sees its connection end.
 */
static bool head_sendable(struct http_connection *connection, const struct buffer *head) {
  if (head->failed) connection_close(connection);
  return !head->failed;
}

void http_respond(struct http_request *request, int status, const char *content_type, const char *headers,
                  struct slice body) {
  struct http_connection *connection = request->connection;
  if (!may_answer(connection)) return;
  begin_answer(connection, status, false);
  struct buffer head;
  buffer_init(&head, ANSWER_HEAD_MAX);
  write_head(connection, &head, content_type, headers);
  if (status != 204 && status != 304) buffer_print(&head, "Content-Length: %zu\r\n", body.size);
  buffer_text(&head, "\r\n");
  struct slice pieces[] = {buffer_slice(&head), body};
  if (head_sendable(connection, &head)) {
    output_send(connection, pieces, connection->answer.no_body ? 1 : 2);
    output_end(connection);
  }
  buffer_release(&head);
}

void http_respond_error(struct http_request *request, int status, const char *headers, const char *sentence) {
  const struct http_shared *shared = request->loop->shared;
  struct buffer body;
  buffer_init(&body, LIMIT_RESPONSE_BYTES);
  if (shared->callbacks.error_body) {
    shared->callbacks.error_body(request, status, sentence, &body, shared->user);
  } else {
    buffer_text(&body, "{\"error\":");
    json_write_string(&body, slice_text(sentence));
    buffer_text(&body, "}");
  }
  http_respond(request, status, "application/json", headers, buffer_slice(&body));
  buffer_release(&body);
}

void http_stream_begin(struct http_request *request, int status, const char *content_type, const char *headers) {
  struct http_connection *connection = request->connection;
  if (!may_answer(connection)) return;
  begin_answer(connection, status, true);
  struct buffer head;
  buffer_init(&head, ANSWER_HEAD_MAX);
  write_head(connection, &head, content_type, headers);
  buffer_text(&head, "\r\n");
  struct slice piece = buffer_slice(&head);
  if (head_sendable(connection, &head)) output_send(connection, &piece, 1);
  buffer_release(&head);
}

/* Writes the line that starts a chunk; returns its end. */
static char *write_chunk_size(char *line, size_t size) {
  int shift = 0;
  while (size >> shift > 15) shift += 4;
  for (; shift >= 0; shift -= 4) *line++ = "0123456789abcdef"[size >> shift & 15];
  *line++ = '\r';
  *line++ = '\n';
  return line;
}

/* A small chunk is copied into one piece: the kernel takes that faster than three. */
static void send_chunk(struct http_connection *connection, struct slice piece) {
  char bytes[CHUNK_LINE_MAX + CHUNK_COPIED_MAX + 2], *end = write_chunk_size(bytes, piece.size);
  if (piece.size <= CHUNK_COPIED_MAX) {
    memcpy(end, piece.data, piece.size);
    memcpy(end + piece.size, "\r\n", 2);
    struct slice chunk = slice_make(bytes, (size_t)(end - bytes) + piece.size + 2);
    output_send(connection, &chunk, 1);
  } else {
    struct slice pieces[] = {slice_make(bytes, (size_t)(end - bytes)), piece, slice_text("\r\n")};
    output_send(connection, pieces, 3);
  }
}

enum http_flow http_stream_write(struct http_request *request, struct slice piece) {
  struct http_connection *connection = request->connection;
  const struct http_answer *answer = &connection->answer;
  if (connection->state == CONNECTION_CLOSING) return HTTP_GONE;
  assert(connection->state == CONNECTION_ANSWER && answer->status != 0);
  if (piece.size && !answer->no_body) {
    if (answer->chunked) {
      send_chunk(connection, piece);
    } else {
      output_send(connection, &piece, 1);
    }
  }
  if (connection->state == CONNECTION_CLOSING) return HTTP_GONE;
  if (output_pending(connection) > LIMIT_CONNECTION_OUTPUT_BYTES) connection->answer.stopped = true;
  return connection->answer.stopped ? HTTP_STOP : HTTP_PROCEED;
}

void http_stream_end(struct http_request *request) {
  struct http_connection *connection = request->connection;
  if (connection->state == CONNECTION_CLOSING) return;
  assert(connection->state == CONNECTION_ANSWER && connection->answer.status != 0);
  struct slice last = slice_text("0\r\n\r\n");
  if (connection->answer.chunked && !connection->answer.no_body) output_send(connection, &last, 1);
  output_end(connection);
}
