/* The server as a whole: the address, the loops, the drain. */
#include "http/http_server.h"

#include "base/clock.h"
#include "http/http_loop.h"
#include "http/unix_socket.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOOPS_MAX = 64, CONNECTIONS_MAX = 1000000 }; /* both have to fit into a request's id */

struct http_server {
  struct http_shared shared;
  int port;
  int n_loop; /* running */
  bool joined;
  struct http_loop *loops;
};

struct http_options http_options_default(void) {
  return (struct http_options){
      .host = "127.0.0.1",
      .port = 8000,
      .loops = 1,
      .max_connections = 4096,
      .bodies_bytes = LIMIT_BODIES_BYTES,
      .head_ms = 10000,
      .body_ms = 10000,
      .keep_alive_ms = 5000,
      .stall_ms = 30000,
      .linger_ms = 2000,
  };
}

static bool check_options(const struct http_options *options, struct error *error) {
  if (options->port < 0 || options->port > 65535) {
    return error_set(error, ERROR_INVALID, "The port is %d; it must be 0 to 65535.", options->port);
  }
  if (options->loops < 1 || options->loops > LOOPS_MAX) {
    return error_set(error, ERROR_INVALID, "%d network loops are asked for; 1 to %d are possible.", options->loops,
                     LOOPS_MAX);
  }
  if (options->max_connections < 1 || options->max_connections > CONNECTIONS_MAX) {
    return error_set(error, ERROR_INVALID, "The connection limit is %d; it must be 1 to %d.", options->max_connections,
                     CONNECTIONS_MAX);
  }
  if (options->max_per_peer < 0) {
    return error_set(error, ERROR_INVALID, "The connection limit of an address is %d; it must be 0 (none) or more.",
                     options->max_per_peer);
  }
  if (!options->tls_certificate != !options->tls_key) {
    return error_set(error, ERROR_INVALID, "A TLS %s is given without its %s: both or neither are needed.",
                     options->tls_key ? "key" : "certificate", options->tls_key ? "certificate" : "key");
  }
  return true;
}

static bool find_address(const struct http_options *options, struct sockaddr_storage *address, struct error *error) {
  char port[8];
  snprintf(port, sizeof port, "%d", options->port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
  int code = getaddrinfo(options->host, port, &hints, &found);
  if (code != 0) {
    return error_set(error, ERROR_INVALID, "Cannot listen on \"%s\": %s.", options->host, gai_strerror(code));
  }
  memcpy(address, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return true;
}

/* Loops share a port with SO_REUSEPORT, which would also share it with another such server: a socket without the option
 * finds that out. */
static bool check_port_free(const struct http_options *options, const struct sockaddr_storage *address,
                            struct error *error) {
  int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  if (fd < 0) return error_set(error, ERROR_IO, "Cannot make a socket: %s.", strerror(errno));
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  bool used = bind(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno == EADDRINUSE;
  close(fd);
  if (!used) return true;
  return error_set(error, ERROR_IO,
                   "Cannot listen on %s port %d: another program does. Stop it or choose another port.", options->host,
                   options->port);
}

/* All loops listen before the first one starts, so that a port that cannot be had starts nothing. */
static bool open_loops(struct http_server *server, struct sockaddr_storage *address, struct error *error) {
  int n_open = 0, n_loop = server->shared.options.loops;
  while (n_open < n_loop && http_loop_init(&server->loops[n_open], &server->shared, n_open, address, error)) n_open++;
  while (n_open == n_loop && server->n_loop < n_loop && http_loop_start(&server->loops[server->n_loop], error)) {
    server->n_loop++;
  }
  if (server->n_loop == n_loop) return true;
  http_server_drain(server, 0);
  http_server_join(server);
  for (int i = 0; i < n_open; i++) http_loop_release(&server->loops[i]);
  return false;
}

/* What all loops share and the address that they listen on. */
static bool open_shared(struct http_server *server, struct sockaddr_storage *address, struct error *error) {
  struct http_shared *shared = &server->shared;
  const struct http_options *options = &shared->options;
  if (options->tls_certificate) {
    shared->tls = tls_context_open(options->tls_certificate, options->tls_key, error);
    if (!shared->tls) return false;
  }
  if (options->unix_path) {
    shared->unix_fd = unix_socket_listen(options->unix_path, HTTP_LISTEN_BACKLOG, error);
    shared->bound = shared->unix_fd >= 0;
    return shared->bound;
  }
  return find_address(options, address, error) && (options->loops == 1 || check_port_free(options, address, error));
}

static void close_unix(struct http_shared *shared) {
  if (shared->unix_fd >= 0) close(shared->unix_fd);
  shared->unix_fd = -1;
}

static void free_server(struct http_server *server) {
  work_queue_end(&server->shared.queue);
  tls_context_free(server->shared.tls);
  if (server->shared.bound) unlink(server->shared.options.unix_path);
  close_unix(&server->shared);
  peer_count_release(&server->shared.peers);
  pthread_mutex_destroy(&server->shared.lock);
  free(server->loops);
  free(server);
}

static struct http_server *new_server(const struct http_options *options) {
  struct http_server *server = calloc(1, sizeof *server);
  struct http_loop *loops = calloc((size_t)options->loops, sizeof *loops);
  if (!server || !loops) {
    free(server);
    free(loops);
    return NULL;
  }
  server->shared.options = *options;
  server->shared.unix_fd = -1;
  pthread_mutex_init(&server->shared.lock, NULL);
  peer_count_init(&server->shared.peers);
  server->loops = loops;
  return server;
}

struct http_server *http_server_open(const struct http_options *options, const struct http_callbacks *callbacks,
                                     void *user, struct error *error) {
  struct sockaddr_storage address = {0};
  if (!check_options(options, error)) return NULL;
  struct http_server *server = new_server(options);
  if (!server) {
    error_set(error, ERROR_MEMORY, "No memory for the HTTP server.");
    return NULL;
  }
  server->shared.callbacks = *callbacks;
  server->shared.user = user;
  if (!work_queue_begin(&server->shared.queue, http_work_run, error) || !open_shared(server, &address, error) ||
      !open_loops(server, &address, error)) {
    free_server(server);
    return NULL;
  }
  close_unix(&server->shared); /* the loops have theirs: when they stop listening, nobody does */
  /* sin_port and sin6_port lie at the same place. */
  if (!options->unix_path) server->port = ntohs(((struct sockaddr_in *)&address)->sin_port);
  return server;
}

int http_server_port(const struct http_server *server) { return server->port; }

int http_server_connections(const struct http_server *server) { return atomic_load(&server->shared.n_connection); }

void http_server_drain(struct http_server *server, int deadline_ms) {
  uint64_t at = clock_us() / 1000 + (uint64_t)deadline_ms;
  pthread_mutex_lock(&server->shared.lock);
  if (server->shared.drain_at_ms == 0 || at < server->shared.drain_at_ms) server->shared.drain_at_ms = at;
  pthread_mutex_unlock(&server->shared.lock);
  for (int i = 0; i < server->n_loop; i++) http_loop_wake(&server->loops[i]);
}

void http_server_join(struct http_server *server) {
  for (int i = 0; i < server->n_loop && !server->joined; i++) pthread_join(server->loops[i].thread, NULL);
  server->joined = true;
}

void http_server_close(struct http_server *server) {
  if (!server) return;
  http_server_drain(server, 0);
  http_server_join(server);
  for (int i = 0; i < server->n_loop; i++) http_loop_release(&server->loops[i]);
  free_server(server);
}
