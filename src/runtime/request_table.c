/* The table of live requests. */
#include "runtime/request_table.h"

#include "base/limits.h"

#include <inttypes.h>
#include <stdlib.h>

enum { ID_SLOT_BITS = 16 };

_Static_assert(LIMIT_QUEUE_REQUESTS + LIMIT_BATCH_SIZE < 1 << ID_SLOT_BITS, "a slot number must fit in an id");

bool request_table_init(struct request_table *table, int32_t n_slot, int64_t max_queued_tokens) {
  *table = (struct request_table){.n_slot = n_slot, .n_free = n_slot, .max_queued_tokens = max_queued_tokens};
  pthread_mutex_init(&table->lock, NULL);
  table->slot = calloc((size_t)n_slot, sizeof(struct request *));
  table->free = calloc((size_t)n_slot, sizeof *table->free);
  if (!table->slot || !table->free) return false;
  for (int32_t i = 0; i < n_slot; i++) table->free[i] = n_slot - 1 - i;
  return true;
}

void request_table_release(struct request_table *table) {
  pthread_mutex_destroy(&table->lock);
  free(table->slot);
  free(table->free);
}

static int32_t slot_of(uint64_t id) { return (int32_t)(id & ((1u << ID_SLOT_BITS) - 1)); }

static bool room_check(const struct request_table *table, const struct request *r, struct error *error) {
  int64_t queued = atomic_load(&table->queued_tokens);
  if (r->charge > LIMIT_QUEUED_BYTES)
    return error_set(error, ERROR_LIMIT, "The request takes %zu bytes; all requests together may take %d: shorten it.",
                     r->charge, LIMIT_QUEUED_BYTES);
  if (table->n_free == 0)
    return error_set(error, ERROR_BUSY, "%d requests are waiting or running, as many as allowed: try again later.",
                     table->n_slot);
  if (r->charge > LIMIT_QUEUED_BYTES - table->charged)
    return error_set(error, ERROR_BUSY,
                     "The waiting requests hold %zu bytes; %zu more would pass the limit: try again later.",
                     table->charged, r->charge);
  if (queued > 0 && r->queued_tokens > table->max_queued_tokens - queued)
    return error_set(error, ERROR_BUSY,
                     "The waiting requests have %" PRId64 " tokens; %" PRId64 " more would pass the limit of %" PRId64
                     ": try again later, or ask for fewer (max_tokens).",
                     queued, r->queued_tokens, table->max_queued_tokens);
  return true;
}

bool request_table_enter(struct request_table *table, struct request *r, struct error *error) {
  pthread_mutex_lock(&table->lock);
  bool entered = room_check(table, r, error);
  if (entered) {
    int32_t slot = table->free[--table->n_free];
    table->slot[slot] = r;
    table->charged += r->charge;
    atomic_fetch_add(&table->queued_tokens, r->queued_tokens);
    r->id = ++table->serial << ID_SLOT_BITS | (uint64_t)slot;
  }
  pthread_mutex_unlock(&table->lock);
  return entered;
}

void request_table_recount(struct request_table *table, struct request *r, int64_t queued_tokens) {
  atomic_fetch_add(&table->queued_tokens, queued_tokens - r->queued_tokens);
  r->queued_tokens = queued_tokens;
}

void request_table_leave(struct request_table *table, struct request *r) {
  request_table_recount(table, r, 0);
  pthread_mutex_lock(&table->lock);
  table->slot[slot_of(r->id)] = NULL;
  table->free[table->n_free++] = slot_of(r->id);
  table->charged -= r->charge;
  pthread_mutex_unlock(&table->lock);
}

int32_t request_table_live(struct request_table *table) {
  pthread_mutex_lock(&table->lock);
  int32_t live = table->n_slot - table->n_free;
  pthread_mutex_unlock(&table->lock);
  return live;
}

bool request_table_cancel(struct request_table *table, uint64_t id) {
  int32_t slot = slot_of(id);
  pthread_mutex_lock(&table->lock);
  struct request *r = slot < table->n_slot ? table->slot[slot] : NULL;
  bool live = r && r->id == id;
  if (live) atomic_store(&r->cancelled, true);
  pthread_mutex_unlock(&table->lock);
  return live;
}

void request_table_cancel_all(struct request_table *table, const struct inbox *inbox) {
  pthread_mutex_lock(&table->lock);
  for (int32_t i = 0; i < table->n_slot; i++) {
    struct request *r = table->slot[i];
    if (r && (!inbox || r->inbox == inbox)) atomic_store(&r->cancelled, true);
  }
  pthread_mutex_unlock(&table->lock);
}
