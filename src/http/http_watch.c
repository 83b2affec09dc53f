/* Descriptors that a loop watches for its user. */
#include "http/http_loop.h"

#include <stdlib.h>

struct http_watch {
  uv_poll_t poll;
  struct http_loop *loop;
  int fd;
  void (*readable)(struct http_loop *loop, void *argument);
  void *argument;
  struct http_watch *next;
};

static void on_readable(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  struct http_watch *watch = poll->data;
  watch->readable(watch->loop, watch->argument);
}

bool http_loop_watch(struct http_loop *loop, int fd, void (*readable)(struct http_loop *loop, void *argument),
                     void *argument, struct error *error) {
  struct http_watch *watch = calloc(1, sizeof *watch);
  if (!watch) return error_set(error, ERROR_MEMORY, "No memory to watch a descriptor.");
  int code = uv_poll_init(&loop->uv, &watch->poll, fd);
  if (code < 0) {
    free(watch);
    return error_set(error, ERROR_IO, "Cannot watch a descriptor: %s.", uv_strerror(code));
  }
  watch->poll.data = watch;
  watch->loop = loop;
  watch->fd = fd;
  watch->readable = readable;
  watch->argument = argument;
  watch->next = loop->watches;
  loop->watches = watch;
  uv_poll_start(&watch->poll, UV_READABLE, on_readable);
  return true;
}

static void on_unwatched(uv_handle_t *poll) { free(poll->data); }

void http_loop_unwatch(struct http_loop *loop, int fd) {
  struct http_watch **place = &loop->watches;
  while (*place && (*place)->fd != fd) place = &(*place)->next;
  struct http_watch *watch = *place;
  if (!watch) return;
  *place = watch->next;
  uv_close((uv_handle_t *)&watch->poll, on_unwatched);
}

void http_watches_close(struct http_loop *loop) {
  for (struct http_watch *watch = loop->watches; watch; watch = watch->next)
    uv_close((uv_handle_t *)&watch->poll, NULL);
}

void http_watches_free(struct http_loop *loop) {
  while (loop->watches) {
    struct http_watch *next = loop->watches->next;
    free(loop->watches);
    loop->watches = next;
  }
}
