/* Requests that wait to be prepared, and the memory that they wait for. */
#include "runtime/image_store_state.h"

#include <stdlib.h>

enum { ROOM_WAIT_NS = 100000000 };

/* Of all images that are preprocessed: whoever begins last has all it may have, alone. */
static size_t room_most(const struct image_store *store) { return store->waiting_most + store->request_most; }

/* --- turns -------------------------------------------------------------------------------------------------------- */

static bool turn_before(const struct image_store *store, const struct waiting_request *a,
                        const struct waiting_request *b) {
  if (a->turn.priority != b->turn.priority) return a->turn.priority < b->turn.priority;
  return store->turn[a->turn.tenant] < store->turn[b->turn.tenant];
}

/* The place in the queue of whoever is next; of equals the first that came. */
static struct waiting_request **queue_next(struct image_store *store) {
  struct waiting_request **next = &store->first;
  for (struct waiting_request **at = &store->first; *at; at = &(*at)->next)
    if (turn_before(store, *at, *next)) next = at;
  return next;
}

static struct waiting_request *queue_unlink(struct image_store *store, struct waiting_request **at) {
  struct waiting_request *waiting = *at;
  *at = waiting->next;
  if (waiting->next) return waiting;
  store->last = at == &store->first ? NULL : (struct waiting_request *)(void *)at; /* next is a member's first */
  return waiting;
}

struct waiting_request *image_queue_take(struct image_store *store) {
  struct waiting_request *waiting = NULL;
  pthread_mutex_lock(&store->lock);
  while (!store->first && !store->stopping) pthread_cond_wait(&store->work, &store->lock);
  if (store->first) {
    waiting = queue_unlink(store, queue_next(store));
    store->turn[waiting->turn.tenant] = ++store->n_turn;
  }
  pthread_mutex_unlock(&store->lock);
  return waiting;
}

bool image_store_queue(struct image_store *store, void *request, struct image_turn turn, struct error *error) {
  struct waiting_request *waiting = malloc(sizeof *waiting);
  if (!waiting) return error_set(error, ERROR_MEMORY, "Out of memory for a request's images.");
  *waiting = (struct waiting_request){.request = request, .turn = turn};
  pthread_mutex_lock(&store->lock);
  bool open = !store->stopping;
  if (open) {
    *(store->last ? &store->last->next : &store->first) = waiting;
    store->last = waiting;
    pthread_cond_signal(&store->work);
  }
  pthread_mutex_unlock(&store->lock);
  if (!open) free(waiting);
  return open || error_set(error, ERROR_CANCELLED, "The engine is being closed.");
}

void image_store_review(struct image_store *store, bool (*over)(const void *request),
                        void (*leave)(void *user, void *request)) {
  struct waiting_request *left = NULL;
  pthread_mutex_lock(&store->lock);
  for (struct waiting_request **at = &store->first; *at;) {
    if (!over((*at)->request)) {
      at = &(*at)->next;
      continue;
    }
    struct waiting_request *waiting = queue_unlink(store, at);
    waiting->next = left;
    left = waiting;
  }
  pthread_mutex_unlock(&store->lock);
  for (struct waiting_request *next; left; left = next) {
    next = left->next;
    leave(store->user, left->request);
    free(left);
  }
}

/* A tenth of a second at most, so that whoever waits hears that it need not. */
static void room_await(struct image_store *store) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += ROOM_WAIT_NS;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  pthread_cond_timedwait(&store->room, &store->lock, &until);
}

bool image_store_wait(struct image_store *store, struct image_room *room, bool (*over)(const void *request),
                      const void *request) {
  pthread_mutex_lock(&store->lock);
  while ((store->bytes > store->waiting_most || store->bytes + room->wanted > room_most(store)) && !store->stopping &&
         !over(request))
    room_await(store);
  bool goes_on = !store->stopping;
  *room = (struct image_room){.kept = goes_on && !over(request) ? room->wanted : 0};
  store->bytes += room->kept;
  pthread_mutex_unlock(&store->lock);
  return goes_on;
}

void image_bytes_leave(struct image_store *store, size_t bytes) {
  pthread_mutex_lock(&store->lock);
  store->bytes -= bytes;
  pthread_cond_broadcast(&store->room);
  pthread_mutex_unlock(&store->lock);
}

void image_store_leave_room(struct image_store *store, struct image_room *room) {
  image_bytes_leave(store, room->kept);
  room->kept = 0;
}

bool image_room_take(struct image_store *store, struct image_room *room, size_t bytes, struct error *error) {
  size_t kept = room->kept < bytes ? room->kept : bytes, more = bytes - kept;
  if (room->used + bytes > store->request_most)
    return error_set(error, ERROR_LIMIT,
                     "The images take %zu MiB together once they are preprocessed, and a request's may take %zu: send "
                     "fewer or smaller ones.",
                     (room->used + bytes) >> 20, store->request_most >> 20);
  pthread_mutex_lock(&store->lock);
  room->full = store->bytes + more > room_most(store);
  if (!room->full) store->bytes += more;
  pthread_mutex_unlock(&store->lock);
  if (room->full) {
    room->wanted = room->used + bytes;
    return error_set(error, ERROR_BUSY, "There is no room for a request's images beside those of others.");
  }
  room->kept -= kept;
  room->used += bytes;
  return true;
}
