/* One network loop: its thread, its listener, the table of its connections, and the drain. */
#include "http/http_loop.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/http_connection.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* A request's id: its number in the loop, the loop's index, its connection's slot. */
enum { ID_SLOT_BITS = 20, ID_LOOP_BITS = 6 };

void *http_loop_user(const struct http_loop *loop) { return loop->user; }
void http_loop_set_user(struct http_loop *loop, void *user) { loop->user = user; }

static bool fail_uv(struct error *error, const char *what, int code) {
  return error_set(error, ERROR_IO, "%s: %s.", what, uv_strerror(code));
}

/* The table of connections. */

bool http_loop_add(struct http_loop *loop, struct http_connection *connection, int *slot) {
  if (loop->n_slot_used == loop->n_slot) return false;
  *slot = loop->free_slot[loop->n_slot - loop->n_slot_used - 1];
  loop->n_slot_used++;
  loop->slot[*slot] = connection;
  return true;
}

/* An ended drain leaves only the loop's own handles: closing them ends uv_run. */
static void end_when_empty(struct http_loop *loop) {
  if (!loop->draining || loop->n_slot_used > 0 || loop->ended) return;
  pthread_mutex_lock(&loop->shared->lock);
  loop->ended = true; /* nobody wakes it from now on */
  pthread_mutex_unlock(&loop->shared->lock);
  uv_close((uv_handle_t *)&loop->wake, NULL);
  uv_close((uv_handle_t *)&loop->drain_timer, NULL);
  uv_close((uv_handle_t *)&loop->before_poll, NULL);
  uv_close((uv_handle_t *)&loop->after_poll, NULL);
  http_watches_close(loop);
  http_works_drop(loop, 0);
}

void http_loop_remove(struct http_loop *loop, int slot) {
  loop->slot[slot] = NULL;
  loop->n_slot_used--;
  loop->free_slot[loop->n_slot - loop->n_slot_used - 1] = slot;
  end_when_empty(loop);
}

uint64_t http_loop_next_id(struct http_loop *loop, int slot) {
  uint64_t number = ++loop->n_request;
  return (number << ID_LOOP_BITS | (uint64_t)loop->index) << ID_SLOT_BITS | (uint64_t)slot;
}

struct http_request *http_find(struct http_loop *loop, uint64_t id) {
  uint64_t slot = id & ((1u << ID_SLOT_BITS) - 1);
  struct http_connection *connection = slot < (uint64_t)loop->n_slot ? loop->slot[slot] : NULL;
  if (!connection || connection->state != CONNECTION_ANSWER || connection->request->id != id) return NULL;
  return connection->request;
}

/* Turns: an answer that completes inside a callback of the handler is finished here, so that the handler never meets
 * its next request, or the end of this one, inside its own call. */

void http_loop_take_turn(struct http_loop *loop, struct http_connection *connection) {
  assert(!connection->in_turn);
  connection->in_turn = true;
  connection->next_turn = loop->turns;
  loop->turns = connection;
}

static void take_turns(struct http_loop *loop) {
  struct http_connection *connection = loop->turns;
  loop->turns = NULL;
  while (connection) {
    struct http_connection *next = connection->next_turn;
    connection->in_turn = false;
    connection_turn(connection);
    connection = next;
  }
}

/* A turn may answer the next pipelined request and so give another one; before sleeping there must be none left. */
static void on_before_poll(uv_prepare_t *prepare) {
  struct http_loop *loop = prepare->data;
  while (loop->turns) take_turns(loop);
}

static void on_after_poll(uv_check_t *check) { take_turns(check->data); }

/* Draining. */

static void close_all(struct http_loop *loop) {
  for (int i = 0; i < loop->n_slot; i++) {
    if (loop->slot[i]) connection_close(loop->slot[i]);
  }
}

static void on_drain_deadline(uv_timer_t *timer) { close_all(timer->data); }

static void on_wake(uv_async_t *async) {
  struct http_loop *loop = async->data;
  pthread_mutex_lock(&loop->shared->lock);
  uint64_t at = loop->shared->drain_at_ms;
  pthread_mutex_unlock(&loop->shared->lock);
  if (at == 0 || loop->ended) return;
  uint64_t now = clock_us() / 1000;
  uv_update_time(&loop->uv); /* timers count from the loop's idea of now, which may be old */
  uv_timer_start(&loop->drain_timer, on_drain_deadline, at > now ? at - now : 0, 0);
  if (loop->draining) return;
  loop->draining = true;
  uv_close(&loop->listener.handle, NULL);
  for (int i = 0; i < loop->n_slot; i++) {
    if (loop->slot[i]) connection_drain(loop->slot[i]);
  }
  end_when_empty(loop);
}

void http_loop_wake(struct http_loop *loop) {
  pthread_mutex_lock(&loop->shared->lock);
  if (!loop->ended) uv_async_send(&loop->wake);
  pthread_mutex_unlock(&loop->shared->lock);
}

/* Life. */

static void on_connection(uv_stream_t *listener, int status) {
  if (status < 0) {
    log_warning("Cannot accept a connection: %s.", uv_strerror(status));
    return;
  }
  connection_accept(listener->data);
}

/* Every loop accepts from the one socket. */
static bool listen_at_path(struct http_loop *loop, struct error *error) {
  int code = uv_pipe_init(&loop->uv, &loop->listener.pipe, false);
  loop->listener.handle.data = loop;
  int fd = fcntl(loop->shared->unix_fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return fail_uv(error, "Cannot listen", uv_translate_sys_error(errno));
  if (code == 0) code = uv_pipe_open(&loop->listener.pipe, fd);
  if (code == 0) code = uv_listen(&loop->listener.stream, HTTP_LISTEN_BACKLOG, on_connection);
  return code == 0 || fail_uv(error, "Cannot listen", code);
}

static bool listen_on(struct http_loop *loop, struct sockaddr_storage *address, struct error *error) {
  uv_os_fd_t fd = -1;
  int code = uv_tcp_init_ex(&loop->uv, &loop->listener.tcp, address->ss_family);
  loop->listener.handle.data = loop;
  if (code == 0) code = uv_fileno(&loop->listener.handle, &fd);
  int one = 1;
  /* Each loop has a queue of its own and the kernel spreads connections over them. */
  if (code == 0 && loop->shared->options.loops > 1) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  if (code == 0) code = uv_tcp_bind(&loop->listener.tcp, (struct sockaddr *)address, 0);
  if (code == 0) code = uv_listen(&loop->listener.stream, HTTP_LISTEN_BACKLOG, on_connection);
  int size = sizeof *address;
  if (code == 0) code = uv_tcp_getsockname(&loop->listener.tcp, (struct sockaddr *)address, &size);
  if (code == 0) return true;
  char where[300];
  snprintf(where, sizeof where, "%s port %d", loop->shared->options.host, loop->shared->options.port);
  if (code != UV_EADDRINUSE) return error_set(error, ERROR_IO, "Cannot listen on %s: %s.", where, uv_strerror(code));
  return error_set(error, ERROR_IO, "Cannot listen on %s: another program does. Stop it or choose another port.",
                   where);
}

static void init_handles(struct http_loop *loop) {
  uv_async_init(&loop->uv, &loop->wake, on_wake);
  uv_timer_init(&loop->uv, &loop->drain_timer);
  uv_prepare_init(&loop->uv, &loop->before_poll);
  uv_check_init(&loop->uv, &loop->after_poll);
  uv_prepare_start(&loop->before_poll, on_before_poll);
  uv_check_start(&loop->after_poll, on_after_poll);
  loop->wake.data = loop->drain_timer.data = loop->before_poll.data = loop->after_poll.data = loop;
}

static bool init_slots(struct http_loop *loop) {
  loop->n_slot = loop->shared->options.max_connections + LIMIT_REFUSED_CONNECTIONS;
  loop->slot = calloc((size_t)loop->n_slot, sizeof *loop->slot);
  loop->free_slot = calloc((size_t)loop->n_slot, sizeof *loop->free_slot);
  if (!loop->slot || !loop->free_slot) return false;
  for (int i = 0; i < loop->n_slot; i++) loop->free_slot[i] = loop->n_slot - 1 - i;
  return true;
}

bool http_loop_init(struct http_loop *loop, struct http_shared *shared, int index, struct sockaddr_storage *address,
                    struct error *error) {
  loop->shared = shared;
  loop->index = index;
  int code = uv_loop_init(&loop->uv);
  if (code < 0) return fail_uv(error, "Cannot make a network loop", code);
  uv_sem_init(&loop->started, 0);
  init_handles(loop);
  if (!init_slots(loop)) error_set(error, ERROR_MEMORY, "No memory for the table of connections.");
  bool opened = loop->slot && loop->free_slot &&
                (shared->options.unix_path ? listen_at_path(loop, error) : listen_on(loop, address, error));
  if (!opened) http_loop_release(loop);
  return opened;
}

static void *run_thread(void *argument) {
  struct http_loop *loop = argument;
  const struct http_callbacks *callbacks = &loop->shared->callbacks;
  char name[16];
  snprintf(name, sizeof name, "http-%d", loop->index);
  pthread_setname_np(pthread_self(), name);
  bool started = !callbacks->loop_start || callbacks->loop_start(loop, loop->shared->user, &loop->start_error);
  loop->start_failed = !started;
  uv_sem_post(&loop->started);
  if (!started) return NULL; /* http_loop_release closes what is open */
  uv_run(&loop->uv, UV_RUN_DEFAULT);
  if (callbacks->loop_stop) callbacks->loop_stop(loop, loop->shared->user);
  return NULL;
}

bool http_loop_start(struct http_loop *loop, struct error *error) {
  /* Signals go to the caller's threads. SIGPIPE must stay blocked here: libuv writes without MSG_NOSIGNAL. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int code = pthread_create(&loop->thread, NULL, run_thread, loop);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (code != 0) return error_set(error, ERROR_IO, "Cannot start a network thread: %s.", strerror(code));
  uv_sem_wait(&loop->started);
  if (!loop->start_failed) return true;
  pthread_join(loop->thread, NULL);
  if (error) *error = loop->start_error;
  return false;
}

static void close_handle(uv_handle_t *handle, void *argument) {
  (void)argument;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

void http_loop_release(struct http_loop *loop) {
  uv_walk(&loop->uv, close_handle, NULL);
  uv_run(&loop->uv, UV_RUN_DEFAULT);
  int code = uv_loop_close(&loop->uv);
  assert(code == 0);
  uv_sem_destroy(&loop->started);
  http_watches_free(loop);
  free(loop->slot);
  free(loop->free_slot);
}
