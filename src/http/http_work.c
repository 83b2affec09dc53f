/* Work beside the loops: libuv's pool, of one thread, so that it takes no more of the machine than one loop did; and
 * threads for what mostly waits, each as long as its work lasts. */
#include "http/http_loop.h"

#include "base/limits.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct http_work {
  uv_work_t uv; /* of the pool */
  bool alone;   /* in a thread of its own, which rings the bell when it is done */
  pthread_t thread;
  uv_async_t bell;
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
static void work_end(struct http_work *work) {
  *(work->previous ? &work->previous->next : &work->loop->works) = work->next;
  if (work->next) work->next->previous = work->previous;
  work->done(work->loop, work->argument);
  free(work);
}

static void on_done(uv_work_t *uv, int status) {
  (void)status;
  work_end(uv->data);
}

static struct http_work *work_new(struct http_loop *loop, void (*work)(void *argument),
                                  void (*done)(struct http_loop *loop, void *argument), void *argument) {
  struct http_work *own = calloc(1, sizeof *own);
  if (!own) return NULL;
  *own = (struct http_work){.loop = loop, .work = work, .done = done, .argument = argument};
  own->uv.data = own->bell.data = own;
  return own;
}

static void work_list(struct http_work *own) {
  struct http_loop *loop = own->loop;
  own->next = loop->works;
  if (loop->works) loop->works->previous = own;
  loop->works = own;
}

bool http_loop_work(struct http_loop *loop, void (*work)(void *argument),
                    void (*done)(struct http_loop *loop, void *argument), void *argument) {
  struct http_work *own = work_new(loop, work, done, argument);
  if (!own) return false;
  work_list(own);
  int code = uv_queue_work(&loop->uv, &own->uv, on_work, on_done);
  assert(code == 0); /* it refuses only a call without work */
  return true;
}

/* --- alone -------------------------------------------------------------------------------------------------------- */

static void *thread_run(void *argument) {
  struct http_work *work = argument;
  work->work(work->argument);
  uv_async_send(&work->bell);
  return NULL;
}

static void on_closed(uv_handle_t *bell) { work_end(bell->data); }

static void on_bell(uv_async_t *bell) {
  struct http_work *work = bell->data;
  pthread_join(work->thread, NULL); /* which has rung, and does nothing more */
  uv_close((uv_handle_t *)bell, on_closed);
}

static void on_unstarted(uv_handle_t *bell) { free(bell->data); }

static int alone_count(const struct http_loop *loop, void (*kind)(void *argument)) {
  int count = 0;
  for (const struct http_work *work = loop->works; work; work = work->next) count += work->alone && work->work == kind;
  return count;
}

bool http_loop_work_alone(struct http_loop *loop, void (*work)(void *argument),
                          void (*done)(struct http_loop *loop, void *argument), void *argument) {
  struct http_work *own = alone_count(loop, work) < LIMIT_LOOP_THREADS ? work_new(loop, work, done, argument) : NULL;
  if (!own || uv_async_init(&loop->uv, &own->bell, on_bell) != 0) {
    free(own);
    return false;
  }
  own->alone = true;
  if (pthread_create(&own->thread, NULL, thread_run, own) != 0) {
    uv_close((uv_handle_t *)&own->bell, on_unstarted);
    return false;
  }
  work_list(own);
  return true;
}

/* What a thread of its own has begun comes to its end. */
void http_works_cancel(struct http_loop *loop) {
  for (struct http_work *work = loop->works; work; work = work->next)
    if (!work->alone) uv_cancel((uv_req_t *)&work->uv);
}
