/* The inbox's ring: records of 16-byte multiples that never wrap; a record of kind SKIP fills the end. `head` is
 * written by the producer, `tail` by the consumer; both count bytes since the start. */
#include "runtime/inbox.h"

#include "base/clock.h"
#include "base/limits.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { RECORD_SKIP = -1 };

struct record {
  uint64_t bytes; /* this header, log-probabilities, numbers, the text and padding */
  struct inbox_event event;
};

struct inbox {
  atomic_int holders;
  atomic_bool abandoned;
  atomic_bool starved;   /* the producer found no room */
  atomic_bool signalled; /* the descriptor is readable */
  int descriptor;
  struct inbox_producer *producer;
  struct inbox *next_pushed; /* the producer's */
  bool is_pushed;            /* in its list */
  _Atomic uint64_t head, tail;
  uint64_t taken; /* consumer: where reading goes on; bytes before it are given back at the next take */
  _Alignas(16) uint8_t ring[LIMIT_INBOX_BYTES];
};

struct inbox *inbox_new(struct inbox_producer *producer, struct error *error) {
  struct inbox *inbox = aligned_alloc(_Alignof(struct inbox), sizeof *inbox);
  int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (!inbox || descriptor < 0) {
    error_set(error, ERROR_MEMORY, "No inbox: %s.", inbox ? strerror(errno) : "out of memory");
    if (descriptor >= 0) close(descriptor);
    free(inbox);
    return NULL;
  }
  memset(inbox, 0, offsetof(struct inbox, ring));
  inbox->descriptor = descriptor;
  inbox->producer = producer;
  atomic_store(&inbox->holders, 1);
  return inbox;
}

void inbox_hold(struct inbox *inbox) { atomic_fetch_add(&inbox->holders, 1); }

void inbox_drop(struct inbox *inbox) {
  if (atomic_fetch_sub(&inbox->holders, 1) != 1) return;
  close(inbox->descriptor);
  free(inbox);
}

void inbox_abandon(struct inbox *inbox) {
  atomic_store(&inbox->abandoned, true);
  mailbox_wake(inbox->producer->mailbox);
}

int inbox_descriptor(const struct inbox *inbox) { return inbox->descriptor; }

/* --- producer ----------------------------------------------------------------------------------------------------- */

static struct record *record_at(struct inbox *inbox, uint64_t position) {
  return (struct record *)(void *)(inbox->ring + position % LIMIT_INBOX_BYTES);
}

static size_t logprob_bytes(const struct inbox_event *event) {
  return (size_t)event->n_logprob * (1 + (size_t)event->n_top) * sizeof *event->logprobs;
}

static size_t number_bytes(const struct inbox_event *event) { return (size_t)event->n_number * sizeof *event->numbers; }

static uint64_t record_bytes(const struct inbox_event *event) {
  return (sizeof(struct record) + logprob_bytes(event) + number_bytes(event) + event->text.size + 15) & ~(uint64_t)15;
}

/* Where a record of `bytes` can start, after a SKIP if the rest of the ring is too short; false: no room. */
static bool room_find(struct inbox *inbox, uint64_t bytes, uint64_t *position) {
  uint64_t head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
  uint64_t tail = atomic_load(&inbox->tail); /* in one order with `starved`: room_give does the reverse */
  uint64_t rest = LIMIT_INBOX_BYTES - head % LIMIT_INBOX_BYTES;
  uint64_t skip = rest < bytes ? rest : 0;
  if (head + skip + bytes - tail > LIMIT_INBOX_BYTES) return false;
  if (skip) {
    struct record *record = record_at(inbox, head);
    record->bytes = skip;
    if (skip >= sizeof *record) record->event.kind = (enum inbox_event_kind)RECORD_SKIP;
  }
  *position = head + skip;
  return true;
}

static void consumer_signal(struct inbox *inbox) {
  if (atomic_exchange(&inbox->signalled, true)) return;
  uint64_t one = 1;
  ssize_t written = write(inbox->descriptor, &one, sizeof one);
  (void)written; /* the counter cannot overflow: it is written once between reads */
}

bool inbox_push(struct inbox *inbox, const struct inbox_event *event) {
  if (atomic_load_explicit(&inbox->abandoned, memory_order_relaxed)) return true;
  uint64_t bytes = record_bytes(event), position;
  if (!room_find(inbox, bytes, &position)) {
    atomic_store(&inbox->starved, true);
    if (!room_find(inbox, bytes, &position)) return false; /* again: room may have appeared before `starved` was seen */
  }
  struct record *record = record_at(inbox, position);
  record->bytes = bytes;
  record->event = *event;
  uint8_t *tail = (uint8_t *)(record + 1);
  if (event->n_logprob) memcpy(tail, event->logprobs, logprob_bytes(event));
  tail += logprob_bytes(event);
  if (event->n_number) memcpy(tail, event->numbers, number_bytes(event));
  if (event->text.size) memcpy(tail + number_bytes(event), event->text.data, event->text.size);
  atomic_store_explicit(&inbox->head, position + bytes, memory_order_release);
  if (!inbox->is_pushed) {
    inbox_hold(inbox);
    inbox->is_pushed = true;
    inbox->next_pushed = inbox->producer->pushed;
    inbox->producer->pushed = inbox;
  }
  return true;
}

void inbox_signal(struct inbox_producer *producer) {
  while (producer->pushed) {
    struct inbox *inbox = producer->pushed;
    producer->pushed = inbox->next_pushed;
    inbox->is_pushed = false;
    consumer_signal(inbox);
    inbox_drop(inbox);
  }
}

/* --- consumer ----------------------------------------------------------------------------------------------------- */

static void room_give(struct inbox *inbox) {
  atomic_store(&inbox->tail, inbox->taken);
  if (atomic_exchange(&inbox->starved, false)) mailbox_wake(inbox->producer->mailbox);
}

static bool record_skipped(struct inbox *inbox, uint64_t rest) {
  return rest < sizeof(struct record) || (int)record_at(inbox, inbox->taken)->event.kind == RECORD_SKIP;
}

static int records_read(struct inbox *inbox, struct inbox_event *events, int max) {
  uint64_t head = atomic_load_explicit(&inbox->head, memory_order_acquire);
  int count = 0;
  while (inbox->taken < head && count < max) {
    uint64_t rest = LIMIT_INBOX_BYTES - inbox->taken % LIMIT_INBOX_BYTES;
    if (record_skipped(inbox, rest)) {
      inbox->taken += rest;
      continue;
    }
    struct record *record = record_at(inbox, inbox->taken);
    struct inbox_event *event = &events[count++];
    *event = record->event;
    event->logprobs = (const struct token_logprob *)(record + 1);
    event->numbers = (const float *)(const void *)((const uint8_t *)event->logprobs + logprob_bytes(event));
    event->text.data = (const uint8_t *)event->numbers + number_bytes(event);
    inbox->taken += record->bytes;
  }
  return count;
}

/* Makes the descriptor unreadable, then looks once more, so that a push in between is not missed. */
static int records_read_last(struct inbox *inbox, struct inbox_event *events, int max) {
  uint64_t count;
  ssize_t size = read(inbox->descriptor, &count, sizeof count);
  (void)size;                                /* nothing to read is fine: it was not signalled */
  atomic_exchange(&inbox->signalled, false); /* not a store: what was pushed before the signal must be visible */
  int n = records_read(inbox, events, max);
  if (n == max) consumer_signal(inbox);
  return n;
}

/* The descriptor may be readable although its event has been taken, and signals interrupt: only the clock ends a wait.
 */
static int records_wait(struct inbox *inbox, struct inbox_event *events, int max, int timeout_ms) {
  uint64_t start = clock_us() / 1000;
  struct pollfd wait = {.fd = inbox->descriptor, .events = POLLIN};
  int count = 0, left = timeout_ms;
  while (count == 0 && left != 0) {
    if (poll(&wait, 1, left) < 0 && errno != EINTR) return 0;
    count = records_read_last(inbox, events, max);
    if (timeout_ms < 0) continue;
    uint64_t waited = clock_us() / 1000 - start;
    left = waited < (uint64_t)timeout_ms ? timeout_ms - (int)waited : 0;
  }
  return count;
}

int inbox_take(struct inbox *inbox, struct inbox_event *events, int max, int timeout_ms) {
  if (max < 1) return 0;
  room_give(inbox);
  int count = records_read(inbox, events, max);
  if (count == max) return count;
  count += records_read_last(inbox, events + count, max - count);
  return count > 0 ? count : records_wait(inbox, events, max, timeout_ms);
}
