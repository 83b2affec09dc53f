/* The thread and the loop hold a look-up together: it is freed by whoever lets go of it last. */
#include "http/http_look_up.h"

#include "base/limits.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A resolver that does not answer keeps its threads longer than those who have given up. */
static atomic_int n_thread;

struct http_look_up {
  pthread_mutex_t lock; /* of the next two */
  bool open;            /* the loop waits for it: bell may be rung */
  int holders;
  uv_async_t bell;

  char host[sizeof((struct http_address *)0)->host], port[sizeof((struct http_address *)0)->port];
  struct addrinfo *found; /* the thread's until the bell rings */
  const char *why;
  http_found on_found; /* the loop's */
  void *user;
};

static void look_up_drop(struct http_look_up *look_up) {
  pthread_mutex_lock(&look_up->lock);
  bool last = --look_up->holders == 0;
  pthread_mutex_unlock(&look_up->lock);
  if (!last) return;
  if (look_up->found) freeaddrinfo(look_up->found);
  pthread_mutex_destroy(&look_up->lock);
  free(look_up);
}

static void on_closed(uv_handle_t *handle) { look_up_drop(handle->data); }

void http_look_up_abandon(struct http_look_up *look_up) {
  pthread_mutex_lock(&look_up->lock);
  look_up->open = false;
  pthread_mutex_unlock(&look_up->lock);
  uv_close((uv_handle_t *)&look_up->bell, on_closed);
}

static void on_bell(uv_async_t *bell) {
  struct http_look_up *look_up = bell->data;
  http_look_up_abandon(look_up);
  struct addrinfo *found = look_up->found;
  look_up->found = NULL;
  look_up->on_found(look_up->user, found, look_up->why);
}

static void *thread_run(void *argument) {
  static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct http_look_up *look_up = argument;
  int failed = getaddrinfo(look_up->host, look_up->port, &hints, &look_up->found);
  if (failed) {
    look_up->found = NULL;
    look_up->why = failed == EAI_SYSTEM ? uv_strerror(uv_translate_sys_error(errno)) : gai_strerror(failed);
  }
  pthread_mutex_lock(&look_up->lock);
  if (look_up->open) uv_async_send(&look_up->bell);
  pthread_mutex_unlock(&look_up->lock);
  look_up_drop(look_up);
  atomic_fetch_sub(&n_thread, 1);
  return NULL;
}

static bool thread_start(struct http_look_up *look_up) {
  pthread_t thread;
  look_up->holders = 2; /* the thread, and the loop until the bell is closed */
  bool started =
      atomic_fetch_add(&n_thread, 1) < LIMIT_LOOK_UPS && pthread_create(&thread, NULL, thread_run, look_up) == 0;
  if (started) pthread_detach(thread);
  if (!started) atomic_fetch_sub(&n_thread, 1);
  if (!started) look_up->holders = 1;
  return started;
}

struct http_look_up *http_look_up_begin(uv_loop_t *loop, const struct http_address *address, http_found on_found,
                                        void *user) {
  struct http_look_up *look_up = calloc(1, sizeof *look_up);
  if (!look_up || uv_async_init(loop, &look_up->bell, on_bell) != 0) {
    free(look_up);
    return NULL;
  }
  pthread_mutex_init(&look_up->lock, NULL);
  memcpy(look_up->host, address->host, sizeof look_up->host);
  memcpy(look_up->port, address->port, sizeof look_up->port);
  look_up->bell.data = look_up;
  look_up->on_found = on_found;
  look_up->user = user;
  look_up->open = true;
  if (thread_start(look_up)) return look_up;
  http_look_up_abandon(look_up);
  return NULL;
}
