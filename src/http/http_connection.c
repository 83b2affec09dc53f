/* The receiving side of a connection and its life: head, the handler's turn, keep-alive, deadlines, the
 * lingering close. Reading goes on while an answer is made, so that a client that leaves is noticed at once. */
#include "http/http_connection.h"

#include "base/clock.h"
#include "http/head_parse.h"

#include <assert.h>
#include <stdlib.h>

static const struct http_options *options_of(const struct http_connection *connection) {
  return &connection->loop->shared->options;
}

bool connection_open_request(struct http_connection *connection) {
  connection->request = calloc(1, sizeof *connection->request);
  if (!connection->request) {
    connection_close(connection);
    return false;
  }
  connection->request->id = http_loop_next_id(connection->loop, connection->slot);
  connection->request->loop = connection->loop;
  connection->request->connection = connection;
  return true;
}

static void finish_request(struct http_connection *connection, bool aborted) {
  const struct http_shared *shared = connection->loop->shared;
  struct http_summary summary = {
      .status = connection->answer.status,
      .refusal = connection->refusal,
      .bytes_in = connection->bytes_in,
      .bytes_out = connection->bytes_out,
      .duration_us = clock_us() - connection->started_us,
      .aborted = aborted,
  };
  if (shared->callbacks.finish) shared->callbacks.finish(connection->request, &summary, shared->user);
  free(connection->request);
  free(connection->head_bytes);
  connection->request = NULL;
  connection->head_bytes = NULL;
  body_release(connection);
}

void connection_refuse(struct http_connection *connection, int status, const char *headers, const char *sentence) {
  connection->request->head.keep_alive = false;
  http_respond_error(connection->request, status, headers, sentence);
}

/* Closing. */

static void on_closed(uv_handle_t *handle) {
  struct http_connection *connection = handle->data;
  if (--connection->n_handle > 0) return;
  assert(!connection->in_turn);
  struct http_loop *loop = connection->loop;
  const struct http_shared *shared = loop->shared;
  if (connection->request) {
    bool cancel = connection->handled && !connection->answered;
    if (cancel) http_works_drop(loop, connection->request->id);
    if (cancel && shared->callbacks.close) shared->callbacks.close(connection->request, shared->user);
    finish_request(connection, true);
  }
  buffer_release(&connection->input);
  buffer_release(&connection->flying);
  buffer_release(&connection->waiting);
  tls_session_free(connection->tls);
  connection_discount(connection);
  int slot = connection->slot;
  free(connection);
  if (slot >= 0) http_loop_remove(loop, slot);
}

void connection_close(struct http_connection *connection) {
  if (connection->state == CONNECTION_CLOSING) return;
  connection->state = CONNECTION_CLOSING;
  uv_close(&connection->socket.handle, on_closed);
  uv_close((uv_handle_t *)&connection->deadline, on_closed);
}

static void on_shutdown(uv_shutdown_t *shutdown, int status) { (void)shutdown, (void)status; }

/* Closing at once, with input unread, would make the kernel send a reset that can overtake the answer. */
static void linger(struct http_connection *connection) {
  buffer_release(&connection->input);
  if (connection->tls) {
    tls_session_end(connection->tls);
    output_send(connection, NULL, 0);
    if (connection->state == CONNECTION_CLOSING) return;
  }
  connection->state = CONNECTION_LINGER;
  bool closed = connection->eof || uv_shutdown(&connection->shutdown, &connection->socket.stream, on_shutdown) < 0;
  if (closed) {
    connection_close(connection);
  } else {
    connection_set_deadline(connection, (uint64_t)options_of(connection)->linger_ms);
  }
}

void connection_drain(struct http_connection *connection) {
  if (connection->state == CONNECTION_IDLE) connection_close(connection);
}

/* Deadlines. */

static void on_deadline(uv_timer_t *timer) {
  struct http_connection *connection = timer->data;
  switch (connection->state) {
  case CONNECTION_HEAD:
    if (connection_open_request(connection))
      connection_refuse(connection, 408, NULL, "The head of the request did not arrive in time.");
    break;
  case CONNECTION_BODY:
    connection_refuse(connection, 408, NULL, "The body of the request did not arrive in time.");
    break;
  case CONNECTION_ANSWER:
  case CONNECTION_FLUSH: output_check_stall(connection); break;
  case CONNECTION_IDLE:
  case CONNECTION_LINGER: connection_close(connection); break;
  case CONNECTION_CLOSING: break;
  }
}

void connection_set_deadline(struct http_connection *connection, uint64_t ms) {
  uv_update_time(&connection->loop->uv); /* timers count from the loop's idea of now, which may be old */
  uv_timer_start(&connection->deadline, on_deadline, ms, 0);
}

/* Reading. */

void connection_drop_input(struct http_connection *connection, size_t size) {
  connection->bytes_in += size;
  buffer_consume(&connection->input, size);
}

static void read_head(struct http_connection *connection) {
  struct slice input = buffer_slice(&connection->input);
  size_t size = input.size;
  if (!head_gate_find_end(input, &connection->scanned, &size) && input.size <= LIMIT_HEAD_BYTES) return;
  struct head_verdict verdict = head_gate_check(slice_make(input.data, size));
  if (!connection_open_request(connection)) return;
  if (!verdict.status) {
    connection->head_bytes = malloc(size);
    if (!connection->head_bytes) {
      connection_close(connection);
      return;
    }
    memcpy(connection->head_bytes, input.data, size);
    verdict = head_parse(connection->head_bytes, size, &connection->request->head);
  }
  connection_drop_input(connection, size);
  if (verdict.status) {
    connection_refuse(connection, verdict.status, NULL, verdict.reason);
  } else {
    body_start(connection);
  }
}

static void start_head(struct http_connection *connection) {
  connection->state = CONNECTION_HEAD;
  connection->scanned = 0;
  connection->handled = connection->answered = false;
  connection->answer = (struct http_answer){0};
  connection->started_us = clock_us();
  connection->bytes_in = connection->bytes_out = 0;
  connection_set_deadline(connection, (uint64_t)options_of(connection)->head_ms);
}

static void advance(struct http_connection *connection) {
  if (connection->state == CONNECTION_IDLE && connection->input.size) start_head(connection);
  if (connection->state == CONNECTION_HEAD) read_head(connection);
  if (connection->state == CONNECTION_BODY) body_read(connection);
}

void connection_turn(struct http_connection *connection) {
  if (connection->state != CONNECTION_FLUSH) return;
  finish_request(connection, false);
  if (!connection->answer.keep_alive || connection->eof || connection->loop->draining) {
    linger(connection);
    return;
  }
  connection->state = CONNECTION_IDLE;
  if (connection->input.size == 0) buffer_release(&connection->input); /* idle connections hold little */
  connection_set_deadline(connection, (uint64_t)options_of(connection)->keep_alive_ms);
  advance(connection);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
  (void)suggested;
  struct http_connection *connection = handle->data;
  *buffer = uv_buf_init(connection->loop->bytes, sizeof connection->loop->bytes);
}

static void on_end(struct http_connection *connection, bool orderly) {
  if (orderly && connection->state == CONNECTION_FLUSH) {
    connection->eof = true; /* it asked for no more; it gets what it asked for */
    uv_read_stop(&connection->socket.stream);
  } else {
    connection_close(connection);
  }
}

/* Bytes of the client, in the clear. */
static void receive(struct http_connection *connection, const char *bytes, size_t size) {
  bool answering = connection->state == CONNECTION_ANSWER || connection->state == CONNECTION_FLUSH;
  if (answering && connection->answer.status && !connection->answer.keep_alive) return;
  bool kept = buffer_append(&connection->input, bytes, size);
  /* Not reading on would hide a client that leaves: one that sends this far ahead is cut off. */
  if (!kept || (answering && connection->input.size > LIMIT_PIPELINED_BYTES)) {
    connection_close(connection);
  } else if (!answering) {
    advance(connection);
  }
}

static bool is_over(const struct http_connection *connection) {
  return connection->state == CONNECTION_CLOSING || connection->state == CONNECTION_LINGER;
}

/* The session has copied what it was fed: the loop's bytes take what comes out of it. */
static void receive_sealed(struct http_connection *connection, struct slice sealed) {
  struct http_loop *loop = connection->loop;
  bool was_ready = tls_session_ready(connection->tls);
  int got = tls_session_feed(connection->tls, sealed) ? 1 : TLS_BROKEN;
  while (got > 0 && !is_over(connection)) {
    got = tls_session_read(connection->tls, loop->bytes, sizeof loop->bytes);
    if (got > 0 && !connection->refused) receive(connection, loop->bytes, (size_t)got);
  }
  output_send(connection, NULL, 0);
  if (got < 0 && !is_over(connection)) {
    on_end(connection, got == TLS_END);
  } else if (connection->refused && !was_ready && tls_session_ready(connection->tls)) {
    connection_turn_away(connection);
  }
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *bytes) {
  struct http_connection *connection = stream->data;
  if (size < 0) on_end(connection, size == UV_EOF);
  if (size <= 0 || is_over(connection)) return;
  if (connection->tls) {
    receive_sealed(connection, slice_make(bytes->base, (size_t)size));
  } else {
    receive(connection, bytes->base, (size_t)size);
  }
}

bool connection_start(struct http_connection *connection) {
  if (uv_read_start(&connection->socket.stream, on_alloc, on_read) < 0) return false;
  connection_set_deadline(connection, (uint64_t)options_of(connection)->head_ms);
  connection->started_us = clock_us();
  return true;
}
