/* Works that wait for one thread, which runs one at a time: of the turns that have works the one whose last is longest
 * ago, and of a turn the first that came. So the works of one turn, however many and large, keep those of another
 * waiting for no more than one of each. */
#ifndef SPATE_HTTP_WORK_QUEUE_H
#define SPATE_HTTP_WORK_QUEUE_H

#include "http/http_server.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct queued_work {
  int turn; /* below HTTP_TURNS */
  bool waits;
  struct queued_work *next;
};

struct work_queue {
  void (*run)(struct queued_work *work); /* on the thread; the work is the caller's again */
  pthread_t thread;
  pthread_mutex_t lock; /* guards what is below */
  pthread_cond_t ready;
  struct queued_work *first;
  uint64_t n_begun, last[HTTP_TURNS]; /* the number of each turn's last work */
  bool begun, ended;
};

/* Starts the thread, which no signal reaches. */
bool work_queue_begin(struct work_queue *queue, void (*run)(struct queued_work *work), struct error *error);

/* Any thread. */
void work_queue_add(struct work_queue *queue, struct queued_work *work);
/* False: it has begun, or was never added. */
bool work_queue_remove(struct work_queue *queue, struct queued_work *work);

/* Of an empty queue, or of one that was not begun: waits for the thread. */
void work_queue_end(struct work_queue *queue);

#endif
