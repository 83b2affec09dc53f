#include "http/work_queue.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

/* Where the work to run next hangs; of none, where NULL does. */
static struct queued_work **work_choose(struct work_queue *queue) {
  struct queued_work **chosen = &queue->first;
  for (struct queued_work **place = chosen; *place; place = &(*place)->next)
    if (queue->last[(*place)->turn] < queue->last[(*chosen)->turn]) chosen = place;
  return chosen;
}

static void work_take(struct queued_work **place) {
  struct queued_work *work = *place;
  *place = work->next;
  work->waits = false;
}

static void *queue_run(void *argument) {
  struct work_queue *queue = argument;
  pthread_mutex_lock(&queue->lock);
  while (!queue->ended) {
    struct queued_work **place = work_choose(queue), *work = *place;
    if (!work) {
      pthread_cond_wait(&queue->ready, &queue->lock);
      continue;
    }
    work_take(place);
    queue->last[work->turn] = ++queue->n_begun;
    pthread_mutex_unlock(&queue->lock);
    queue->run(work);
    pthread_mutex_lock(&queue->lock);
  }
  pthread_mutex_unlock(&queue->lock);
  return NULL;
}

bool work_queue_begin(struct work_queue *queue, void (*run)(struct queued_work *work), struct error *error) {
  *queue = (struct work_queue){.run = run, .begun = true};
  pthread_mutex_init(&queue->lock, NULL);
  pthread_cond_init(&queue->ready, NULL);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int code = pthread_create(&queue->thread, NULL, queue_run, queue);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (code == 0) return true;
  queue->begun = false;
  return error_set(error, ERROR_IO, "Cannot start a thread beside the network's: %s.", strerror(code));
}

void work_queue_add(struct work_queue *queue, struct queued_work *work) {
  assert(work->turn >= 0 && work->turn < HTTP_TURNS);
  pthread_mutex_lock(&queue->lock);
  struct queued_work **end = &queue->first;
  while (*end) end = &(*end)->next;
  work->waits = true;
  work->next = NULL;
  *end = work;
  pthread_cond_signal(&queue->ready);
  pthread_mutex_unlock(&queue->lock);
}

bool work_queue_remove(struct work_queue *queue, struct queued_work *work) {
  pthread_mutex_lock(&queue->lock);
  struct queued_work **place = &queue->first;
  while (work->waits && *place != work) place = &(*place)->next;
  bool removed = work->waits;
  if (removed) work_take(place);
  pthread_mutex_unlock(&queue->lock);
  return removed;
}

void work_queue_end(struct work_queue *queue) {
  if (!queue->begun) return;
  pthread_mutex_lock(&queue->lock);
  assert(!queue->first);
  queue->ended = true;
  pthread_cond_signal(&queue->ready);
  pthread_mutex_unlock(&queue->lock);
  pthread_join(queue->thread, NULL);
  pthread_mutex_destroy(&queue->lock);
  pthread_cond_destroy(&queue->ready);
  queue->begun = false;
}
