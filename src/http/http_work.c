/* Work beside the loops: libuv's pool, of one thread, so that it takes no more of the machine than one loop did. */
#include "http/http_loop.h"

#include <assert.h>
#include <stdlib.h>

struct http_work {
  uv_work_t uv;
  struct http_loop *loop;
  void (*work)(void *argument);
  void (*done)(struct http_loop *loop, void *argument);
  void *argument;
  struct http_work *previous, *next; /* in the loop's list */
};

void http_work_prepare(void) { setenv("UV_THREADPOOL_SIZE", "1", 0); }

static void on_work(uv_work_t *uv) {
  struct http_work *work = uv->data;
  work->work(work->argument);
}

/* Cancelled or not, the argument is given back. */
static void on_done(uv_work_t *uv, int status) {
  (void)status;
  struct http_work *work = uv->data;
  *(work->previous ? &work->previous->next : &work->loop->works) = work->next;
  if (work->next) work->next->previous = work->previous;
  work->done(work->loop, work->argument);
  free(work);
}

bool http_loop_work(struct http_loop *loop, void (*work)(void *argument),
                    void (*done)(struct http_loop *loop, void *argument), void *argument) {
  struct http_work *own = calloc(1, sizeof *own);
  if (!own) return false;
  *own = (struct http_work){.loop = loop, .work = work, .done = done, .argument = argument, .next = loop->works};
  own->uv.data = own;
  if (loop->works) loop->works->previous = own;
  loop->works = own;
  int code = uv_queue_work(&loop->uv, &own->uv, on_work, on_done);
  assert(code == 0); /* it refuses only a call without work */
  return true;
}

void http_works_cancel(struct http_loop *loop) {
  for (struct http_work *work = loop->works; work; work = work->next) uv_cancel((uv_req_t *)&work->uv);
}
