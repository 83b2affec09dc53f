/* Threads that take items from a counter. */
#include "build/parallel.h"

#include "base/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct parallel {
  void (*work)(void *context, int worker, int item);
  void *context;
  int n_item;
  _Atomic int next;
};

struct parallel_worker {
  struct parallel *parallel;
  int index;
  pthread_t thread;
  bool started;
};

static void *items_take(void *argument) {
  const struct parallel_worker *worker = argument;
  struct parallel *parallel = worker->parallel;
  int item;
  while ((item = atomic_fetch_add(&parallel->next, 1)) < parallel->n_item)
    parallel->work(parallel->context, worker->index, item);
  return NULL;
}

void parallel_run(int n_thread, int n_item, void (*work)(void *context, int worker, int item), void *context) {
  struct parallel parallel = {.work = work, .context = context, .n_item = n_item};
  struct parallel_worker worker[LIMIT_BUILD_THREADS];
  if (n_thread > LIMIT_BUILD_THREADS) n_thread = LIMIT_BUILD_THREADS;
  for (int i = 0; i < n_thread; i++) {
    worker[i] = (struct parallel_worker){.parallel = &parallel, .index = i};
    if (i > 0 && i < n_item) worker[i].started = pthread_create(&worker[i].thread, NULL, items_take, &worker[i]) == 0;
  }
  items_take(&worker[0]);
  for (int i = 1; i < n_thread; i++)
    if (worker[i].started) pthread_join(worker[i].thread, NULL);
}
