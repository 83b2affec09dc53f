/* Mailbox: a lock-free stack (Treiber), taken whole and reversed, so that there is no ABA problem. */
#include "runtime/mailbox.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

void mailbox_init(struct mailbox *mailbox) {
  atomic_init(&mailbox->newest, NULL);
  atomic_init(&mailbox->sleeping, false);
  atomic_init(&mailbox->woken, false);
  sem_init(&mailbox->semaphore, 0, 0);
}

void mailbox_release(struct mailbox *mailbox) { sem_destroy(&mailbox->semaphore); }

static void owner_rouse(struct mailbox *mailbox) {
  if (atomic_exchange(&mailbox->sleeping, false)) sem_post(&mailbox->semaphore);
}

void mailbox_put(struct mailbox *mailbox, struct letter *letter) {
  letter->next = atomic_load(&mailbox->newest);
  while (!atomic_compare_exchange_weak(&mailbox->newest, &letter->next, letter)) {
  }
  owner_rouse(mailbox);
}

void mailbox_wake(struct mailbox *mailbox) {
  atomic_store(&mailbox->woken, true);
  owner_rouse(mailbox);
}

struct letter *mailbox_take(struct mailbox *mailbox) {
  if (!atomic_load_explicit(&mailbox->newest, memory_order_relaxed)) return NULL;
  struct letter *newest = atomic_exchange(&mailbox->newest, NULL), *oldest = NULL;
  while (newest) {
    struct letter *next = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = next;
  }
  return oldest;
}

void mailbox_wait(struct mailbox *mailbox, int timeout_ms) {
  atomic_store(&mailbox->sleeping, true);
  bool ready = atomic_exchange(&mailbox->woken, false) || atomic_load(&mailbox->newest);
  if (!ready) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) until.tv_sec++, until.tv_nsec -= 1000000000L;
    sem_clockwait(&mailbox->semaphore, CLOCK_MONOTONIC, &until);
    atomic_exchange(&mailbox->woken, false); /* not a store: what the waker wrote before must be visible from here on */
  }
  /* Whoever cleared `sleeping` has posted or is about to: take that post, so that it does not end the next wait. */
  if (!atomic_exchange(&mailbox->sleeping, false)) sem_trywait(&mailbox->semaphore);
}
