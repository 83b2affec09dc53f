/* A mailbox: many threads put letters in, one thread takes them all and sleeps when there are none. Letters are
 * embedded in what is sent, so putting never allocates, fails or blocks; how many there can be is bounded by the
 * sender's own table. */
#ifndef SPATE_RUNTIME_MAILBOX_H
#define SPATE_RUNTIME_MAILBOX_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct letter {
  struct letter *next;
};

struct mailbox {
  _Atomic(struct letter *) newest;
  atomic_bool sleeping, woken;
  sem_t semaphore;
};

void mailbox_init(struct mailbox *mailbox);
void mailbox_release(struct mailbox *mailbox);

void mailbox_put(struct mailbox *mailbox, struct letter *letter);
void mailbox_wake(struct mailbox *mailbox); /* a wait in progress, or else the next one, returns */

/* The owner: all letters, oldest first, or NULL. */
struct letter *mailbox_take(struct mailbox *mailbox);

/* The owner: sleeps until a letter or a wake-up, at most timeout_ms. May return early. */
void mailbox_wait(struct mailbox *mailbox, int timeout_ms);

#endif
