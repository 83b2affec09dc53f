/* How a connection begins: accepted, counted, and turned away when it is one too many. */
#include "base/log.h"
#include "http/http_connection.h"

#include <stdlib.h>

static void socket_init(struct http_loop *loop, union http_socket *socket) {
  if (loop->shared->options.unix_path) {
    uv_pipe_init(&loop->uv, &socket->pipe, false);
  } else {
    uv_tcp_init(&loop->uv, &socket->tcp);
  }
}

static struct http_connection *new_connection(struct http_loop *loop) {
  struct http_connection *connection = calloc(1, sizeof *connection);
  if (!connection) return NULL;
  connection->loop = loop;
  connection->slot = -1;
  socket_init(loop, &connection->socket);
  uv_timer_init(&loop->uv, &connection->deadline);
  connection->n_handle = 2;
  connection->socket.handle.data = connection->deadline.data = connection;
  buffer_init(&connection->input, LIMIT_PIPELINED_BYTES + sizeof loop->bytes);
  buffer_init(&connection->flying, LIMIT_RESPONSE_BYTES);
  buffer_init(&connection->waiting, LIMIT_RESPONSE_BYTES);
  return connection;
}

/* Its address has as many connections as one may have. Local sockets have no address. */
static bool is_crowding(struct http_connection *connection) {
  struct http_shared *shared = connection->loop->shared;
  struct sockaddr_storage address;
  int size = sizeof address;
  if (shared->options.max_per_peer == 0 || shared->options.unix_path) return false;
  if (uv_tcp_getpeername(&connection->socket.tcp, (struct sockaddr *)&address, &size) < 0) return false;
  uint64_t peer = peer_key(&address);
  if (!peer) return false;
  if (!peer_count_add(&shared->peers, peer, shared->options.max_per_peer)) return true;
  connection->peer = peer;
  return false;
}

/* Counts the connection against the limits, or among the refused. */
static void count(struct http_connection *connection) {
  struct http_shared *shared = connection->loop->shared;
  bool fits = atomic_fetch_add(&shared->n_connection, 1) < shared->options.max_connections;
  connection->refusal = is_crowding(connection) ? HTTP_REFUSED_PEER
                        : fits                  ? HTTP_REFUSED_NOT
                                                : HTTP_REFUSED_CONNECTIONS;
  connection->refused = connection->refusal != HTTP_REFUSED_NOT;
  if (!connection->refused) return;
  atomic_fetch_sub(&shared->n_connection, 1);
  connection->loop->n_refused++;
}

void connection_discount(struct http_connection *connection) {
  struct http_shared *shared = connection->loop->shared;
  if (connection->peer) peer_count_remove(&shared->peers, connection->peer);
  if (connection->refused) {
    connection->loop->n_refused--;
  } else {
    atomic_fetch_sub(&shared->n_connection, 1);
  }
}

void connection_turn_away(struct http_connection *connection) {
  if (!connection_open_request(connection)) return;
  if (connection->refusal == HTTP_REFUSED_PEER) {
    connection_refuse(connection, 429, "Retry-After: 1\r\n",
                      "This address has as many connections as one may have; use those that it has.");
  } else {
    connection_refuse(connection, 503, "Retry-After: 1\r\n",
                      "The server has as many connections as it may have; try again later.");
  }
}

static void on_unwanted_closed(uv_handle_t *handle) {
  struct http_loop *loop = handle->data;
  bool again = loop->is_deaf && !loop->draining;
  loop->is_closing_unwanted = loop->is_deaf = false;
  if (again) connection_accept(loop);
}

/* libuv listens no further until it is rid of what it has accepted. */
static void close_unwanted(struct http_loop *loop) {
  loop->is_deaf = loop->is_closing_unwanted;
  if (loop->is_deaf) return;
  socket_init(loop, &loop->unwanted);
  loop->unwanted.handle.data = loop;
  loop->is_closing_unwanted = true;
  uv_accept(&loop->listener.stream, &loop->unwanted.stream);
  uv_close(&loop->unwanted.handle, on_unwanted_closed);
}

void connection_accept(struct http_loop *loop) {
  struct http_connection *connection = new_connection(loop);
  if (!connection) {
    log_warning("There is no memory for a connection: it is closed.");
    close_unwanted(loop);
    return;
  }
  struct tls_context *tls = loop->shared->tls;
  bool accepted = uv_accept(&loop->listener.stream, &connection->socket.stream) == 0;
  count(connection);
  if (tls) connection->tls = tls_session_new(tls);
  bool keep = accepted && (!tls || connection->tls) && loop->n_refused <= LIMIT_REFUSED_CONNECTIONS &&
              http_loop_add(loop, connection, &connection->slot) && connection_start(connection);
  if (!keep) {
    connection_close(connection);
    return;
  }
  if (!loop->shared->options.unix_path) uv_tcp_nodelay(&connection->socket.tcp, true);
  if (connection->refused && !tls) connection_turn_away(connection); /* with TLS after the handshake */
}
