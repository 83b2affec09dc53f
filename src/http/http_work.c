/* Work beside the loops: one thread for what a loop would take too long for, so that it takes no more of the machine
 * than one loop did; and threads for what mostly waits, each as long as its work lasts. */
#include "http/http_loop.h"

#include "base/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct http_work {
  struct queued_work queued; /* first: where the queue has it; unused of a work with a thread of its own */
  bool alone;
  uint64_t request; /* whose it is, in the queue */
  pthread_t thread; /* alone */
  uv_async_t bell;  /* rings when it is done, or is not to be begun any more */
  atomic_bool over; /* what the thread did comes before what the loop does on the bell; libuv's own order of the two
                       TSan does not see */
  struct http_loop *loop;
  void (*work)(void *argument);
  void (*done)(struct http_loop *loop, void *argument);
  void *argument;
  struct http_work *previous, *next; /* in the loop's list */
};

/* Done or not, the argument is given back. */
static void work_end(struct http_work *work) {
  *(work->previous ? &work->previous->next : &work->loop->works) = work->next;
  if (work->next) work->next->previous = work->previous;
  work->done(work->loop, work->argument);
  free(work);
}

static void on_closed(uv_handle_t *bell) { work_end(bell->data); }

static void work_ring(struct http_work *work) {
  atomic_store_explicit(&work->over, true, memory_order_release);
  uv_async_send(&work->bell);
}

static void on_bell(uv_async_t *bell) {
  struct http_work *work = bell->data;
  if (!atomic_load_explicit(&work->over, memory_order_acquire)) return;
  if (work->alone) pthread_join(work->thread, NULL); /* which has rung, and does nothing more */
  uv_close((uv_handle_t *)bell, on_closed);
}

static struct http_work *work_new(struct http_loop *loop, void (*work)(void *argument),
                                  void (*done)(struct http_loop *loop, void *argument), void *argument) {
  struct http_work *own = calloc(1, sizeof *own);
  if (!own) return NULL;
  *own = (struct http_work){.loop = loop, .work = work, .done = done, .argument = argument};
  own->bell.data = own;
  if (uv_async_init(&loop->uv, &own->bell, on_bell) == 0) return own;
  free(own);
  return NULL;
}

static void work_list(struct http_work *own) {
  struct http_loop *loop = own->loop;
  own->next = loop->works;
  if (loop->works) loop->works->previous = own;
  loop->works = own;
}

/* --- in turn ------------------------------------------------------------------------------------------------------ */

void http_work_run(struct queued_work *queued) {
  struct http_work *work = (struct http_work *)queued;
  work->work(work->argument);
  work_ring(work);
}

bool http_request_work(struct http_request *request, int turn, void (*work)(void *argument),
                       void (*done)(struct http_loop *loop, void *argument), void *argument) {
  struct http_work *own = work_new(request->loop, work, done, argument);
  if (!own) return false;
  own->request = request->id;
  own->queued.turn = turn;
  work_list(own);
  work_queue_add(&own->loop->shared->queue, &own->queued);
  return true;
}

void http_works_drop(struct http_loop *loop, uint64_t request) {
  for (struct http_work *work = loop->works; work; work = work->next)
    if (!work->alone && (work->request == request || !request) &&
        work_queue_remove(&loop->shared->queue, &work->queued))
      work_ring(work);
}

/* --- alone -------------------------------------------------------------------------------------------------------- */

static void *thread_run(void *argument) {
  struct http_work *work = argument;
  work->work(work->argument);
  work_ring(work);
  return NULL;
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
  if (!own) return false;
  own->alone = true;
  if (pthread_create(&own->thread, NULL, thread_run, own) != 0) {
    uv_close((uv_handle_t *)&own->bell, on_unstarted);
    return false;
  }
  work_list(own);
  return true;
}
