/* The sending side of a connection: straight to the kernel while it takes all, else one uv_write in flight and one
 * buffer that collects behind it. */
#include "http/http_connection.h"

/* A client that takes less than LIMIT_STALL_BYTES (and not all) in stall_ms is let go; one that takes them gets
 * stall_ms more. */
static void watch_stall(struct http_connection *connection) {
  connection->stalled_at = uv_stream_get_write_queue_size(&connection->socket.stream);
  connection_set_deadline(connection, (uint64_t)connection->loop->shared->options.stall_ms);
}

void output_check_stall(struct http_connection *connection) {
  size_t left = uv_stream_get_write_queue_size(&connection->socket.stream);
  if (left < connection->stalled_at && connection->stalled_at - left >= LIMIT_STALL_BYTES) {
    watch_stall(connection);
  } else {
    connection_close(connection);
  }
}

static void on_written(uv_write_t *write, int status);

static void start_write(struct http_connection *connection) {
  struct buffer empty = connection->flying;
  connection->flying = connection->waiting;
  connection->waiting = empty;
  connection->in_flight = true;
  uv_buf_t bytes = uv_buf_init(connection->flying.data, (unsigned)connection->flying.size);
  connection->write.data = connection;
  if (uv_write(&connection->write, &connection->socket.stream, &bytes, 1, on_written) < 0) {
    connection->in_flight = false;
    connection_close(connection);
  } else if (connection->state == CONNECTION_ANSWER || connection->state == CONNECTION_FLUSH) {
    watch_stall(connection);
  }
}

static void all_sent(struct http_connection *connection) {
  buffer_release(&connection->flying);
  buffer_release(&connection->waiting);
  if (connection->state == CONNECTION_ANSWER || connection->state == CONNECTION_FLUSH) {
    uv_timer_stop(&connection->deadline);
  }
  if (connection->state == CONNECTION_FLUSH) {
    http_loop_take_turn(connection->loop, connection);
  } else if (connection->state == CONNECTION_ANSWER && connection->answer.stopped) {
    const struct http_shared *shared = connection->loop->shared;
    connection->answer.stopped = false;
    if (shared->callbacks.drain) shared->callbacks.drain(connection->request, shared->user);
  }
}

static void on_written(uv_write_t *write, int status) {
  struct http_connection *connection = write->data;
  connection->in_flight = false;
  if (connection->state == CONNECTION_CLOSING) return;
  if (status < 0) {
    connection_close(connection);
    return;
  }
  connection->bytes_out += connection->flying.size;
  buffer_clear(&connection->flying);
  if (connection->waiting.size) {
    start_write(connection);
  } else {
    all_sent(connection);
  }
}

/* Hands the kernel what it takes at once. Returns the bytes taken, or a negative error. */
static int try_write(struct http_connection *connection, const struct slice *pieces, int n_piece) {
  if (connection->in_flight || connection->waiting.size) return 0;
  uv_buf_t bytes[OUTPUT_PIECES_MAX];
  for (int i = 0; i < n_piece; i++) bytes[i] = uv_buf_init((char *)(uintptr_t)pieces[i].data, (unsigned)pieces[i].size);
  int taken = uv_try_write(&connection->socket.stream, bytes, (unsigned)n_piece);
  return taken == UV_EAGAIN ? 0 : taken;
}

static void send_pieces(struct http_connection *connection, const struct slice *pieces, int n_piece) {
  int taken = try_write(connection, pieces, n_piece);
  if (taken < 0) {
    connection_close(connection);
    return;
  }
  connection->bytes_out += (uint64_t)taken;
  size_t skip = (size_t)taken;
  for (int i = 0; i < n_piece; i++) {
    size_t skipped = skip < pieces[i].size ? skip : pieces[i].size;
    buffer_append(&connection->waiting, pieces[i].data + skipped, pieces[i].size - skipped);
    skip -= skipped;
  }
  if (connection->waiting.failed) {
    connection_close(connection);
  } else if (connection->waiting.size && !connection->in_flight) {
    start_write(connection);
  } else if (connection->in_flight && !uv_is_active((uv_handle_t *)&connection->deadline)) {
    watch_stall(connection); /* behind a 100 Continue that was already under way */
  }
}

static void send_sealed(struct http_connection *connection, const struct slice *pieces, int n_piece) {
  bool sealed = true;
  for (int i = 0; i < n_piece && sealed; i++) sealed = tls_session_write(connection->tls, pieces[i]);
  struct slice output = tls_session_output(connection->tls);
  if (output.size) send_pieces(connection, &output, 1);
  tls_session_clear_output(connection->tls);
  if (!sealed) connection_close(connection); /* nothing can be said before the handshake is done */
}

void output_send(struct http_connection *connection, const struct slice *pieces, int n_piece) {
  if (connection->state == CONNECTION_CLOSING) return;
  if (connection->tls) {
    send_sealed(connection, pieces, n_piece);
  } else {
    send_pieces(connection, pieces, n_piece);
  }
}

size_t output_pending(const struct http_connection *connection) {
  size_t flying = connection->in_flight ? uv_stream_get_write_queue_size(&connection->socket.stream) : 0;
  return flying + connection->waiting.size;
}

void output_end(struct http_connection *connection) {
  if (connection->state == CONNECTION_CLOSING) return;
  connection->state = CONNECTION_FLUSH;
  connection->answered = true;
  if (!connection->in_flight) http_loop_take_turn(connection->loop, connection);
}
