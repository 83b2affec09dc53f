/* Private to engine_slot.c, which loops and other callers use, slot_thread.c, which carries out orders, and
 * slot_metrics.c. */
#ifndef SPATE_SERVER_SLOT_STATE_H
#define SPATE_SERVER_SLOT_STATE_H

#include "server/engine_slot.h"
#include "server/given_names.h"

#include <pthread.h>
#include <stdatomic.h>

enum { SLOT_LOOPS = 64, SLOT_ACTIONS = 3, SLOT_WAITERS = 16 };

/* A request that waits for the result of the order, or has one that its loop is to take. */
struct slot_waiter {
  int loop;
  bool done;
  struct slot_result result; /* http_id: of the request, from the beginning */
};

struct slot_loop {
  bool present;
  int bell;               /* eventfd */
  uint64_t seen, adopted; /* of engine_slot.turn */
};

struct engine_slot {
  spate_open_options again;
  const char *folder;   /* NULL: none */
  spate_totals *totals; /* of all engines that were ever in it */
  pthread_t thread;
  atomic_bool closing;

  pthread_mutex_t lock; /* of what follows */
  pthread_cond_t changed;
  struct served_engine *current; /* NULL: asleep */
  struct served_engine *open;    /* list, newest first; current is in it */
  uint64_t turn;                 /* how often current has changed */
  int generation;                /* of the newest engine */
  struct slot_loop loop[SLOT_LOOPS];
  bool busy;               /* the thread carries the order out */
  struct slot_order order; /* `abort` may be set meanwhile */
  struct slot_waiter waiter[SLOT_WAITERS];
  int n_waiter;
  uint64_t count[SLOT_ACTIONS][2]; /* of orders: failed, done */

  char *model;              /* the thread's: the path that was opened last, */
  struct given_names given; /* and of its adapters, while none is open */
};

void *slot_thread(void *slot);

/* An engine that is open becomes one of the slot's, with a holder. Takes it over: closed when there is no memory. */
struct served_engine *served_new(struct engine_slot *slot, spate_engine *engine, struct error *error);

/* Under the lock: everybody looks. */
void slot_ring_all(struct engine_slot *slot);
/* Under it too: all requests of all engines are cancelled. */
void slot_cancel_all(struct engine_slot *slot);

#endif
