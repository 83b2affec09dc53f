/* The table of live requests. */
#include "runtime/request_table.h"

#include "base/limits.h"

#include <inttypes.h>
#include <stdlib.h>

enum { ID_SLOT_BITS = 16 };

_Static_assert(2 * (LIMIT_QUEUE_REQUESTS + LIMIT_BATCH_SIZE) < 1 << ID_SLOT_BITS, "a slot number must fit in an id");

bool request_table_init(struct request_table *table, int32_t max_request, int64_t max_queued_tokens) {
  int32_t n_slot = 2 * max_request;
  *table = (struct request_table){
      .n_slot = n_slot, .n_free = n_slot, .max_request = max_request, .max_queued_tokens = max_queued_tokens};
  pthread_mutex_init(&table->lock, NULL);
  table->slot = calloc((size_t)n_slot, sizeof(struct request *));
  table->free = calloc((size_t)n_slot, sizeof *table->free);
  table->candidate = calloc((size_t)n_slot, sizeof *table->candidate);
  if (!table->slot || !table->free || !table->candidate) return false;
  for (int32_t i = 0; i < n_slot; i++) table->free[i] = n_slot - 1 - i;
  return true;
}

void request_table_release(struct request_table *table) {
  pthread_mutex_destroy(&table->lock);
  free(table->slot);
  free(table->free);
  free(table->candidate);
}

static int32_t slot_of(uint64_t id) { return (int32_t)(id & ((1u << ID_SLOT_BITS) - 1)); }

static bool room_check(const struct request_table *table, const struct request *r, struct error *error) {
  int64_t queued = atomic_load(&table->queued_tokens);
  if (r->charge > LIMIT_QUEUED_BYTES)
    return error_set(error, ERROR_LIMIT, "The request takes %zu bytes; all requests together may take %d: shorten it.",
                     r->charge, LIMIT_QUEUED_BYTES);
  if (table->n_request >= table->max_request || table->n_free == 0)
    return error_set(error, ERROR_BUSY, "%d requests are waiting or running, as many as allowed: try again later.",
                     table->max_request);
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

/* --- shedding ----------------------------------------------------------------------------------------------------- */

/* Those that matter less than a newcomer: as a rule there are none, and a full queue refuses quickly. */
static size_t candidates_list(struct request_table *table, int32_t priority) {
  size_t n = 0;
  for (int32_t i = 0; i < table->n_slot; i++) {
    struct request *r = table->slot[i];
    if (!r || r->generation[0].sequence.priority <= priority || atomic_load(&r->place) != REQUEST_WAITS) continue;
    table->candidate[n++] = (struct shed_candidate){.priority = r->generation[0].sequence.priority,
                                                    .arrival = r->id >> ID_SLOT_BITS,
                                                    .tokens = atomic_load(&r->queued_tokens),
                                                    .bytes = r->charge,
                                                    .owner = r};
  }
  return n;
}

/* It counts no longer. It may just have begun: then it stays, and the newcomer finds no room. */
static bool request_shed(struct request_table *table, struct request *r) {
  enum request_place waits = REQUEST_WAITS;
  if (!atomic_compare_exchange_strong(&r->place, &waits, REQUEST_SHED)) return false;
  table->n_request--;
  table->charged -= r->charge;
  request_table_recount(table, r, 0);
  return true;
}

/* Makes room for a request that found none, if those that matter less have enough. */
static bool room_make(struct request_table *table, const struct request *r) {
  int64_t queued = atomic_load(&table->queued_tokens), over = r->queued_tokens - (table->max_queued_tokens - queued);
  struct shed_need need = {.requests = table->n_request + 1 - table->max_request,
                           .tokens = over < queued ? over : queued,
                           .bytes = (int64_t)r->charge - (int64_t)(LIMIT_QUEUED_BYTES - table->charged)};
  if (r->charge > LIMIT_QUEUED_BYTES || table->n_free == 0) return false;
  bool shed = false;
  int32_t priority = r->generation[0].sequence.priority;
  size_t n = shed_choose(table->candidate, candidates_list(table, priority), priority, &need);
  for (size_t i = 0; i < n; i++) shed |= request_shed(table, table->candidate[i].owner);
  return shed;
}

bool request_table_begin(struct request *r) {
  enum request_place waits = REQUEST_WAITS;
  if (atomic_load_explicit(&r->place, memory_order_relaxed) == REQUEST_BEGUN) return true;
  return atomic_compare_exchange_strong(&r->place, &waits, REQUEST_BEGUN);
}

/* --- in and out --------------------------------------------------------------------------------------------------- */

bool request_table_enter(struct request_table *table, struct request *r, bool *shed, struct error *error) {
  pthread_mutex_lock(&table->lock);
  bool entered = room_check(table, r, error);
  *shed = !entered && room_make(table, r);
  entered = entered || room_check(table, r, error);
  if (entered) {
    int32_t slot = table->free[--table->n_free];
    table->slot[slot] = r;
    table->n_request++;
    table->charged += r->charge;
    atomic_fetch_add(&table->queued_tokens, r->queued_tokens);
    r->id = ++table->serial << ID_SLOT_BITS | (uint64_t)slot;
  }
  pthread_mutex_unlock(&table->lock);
  return entered;
}

void request_table_recount(struct request_table *table, struct request *r, int64_t queued_tokens) {
  int64_t before = atomic_exchange(&r->queued_tokens, queued_tokens);
  atomic_fetch_add(&table->queued_tokens, queued_tokens - before);
}

void request_table_leave(struct request_table *table, struct request *r) {
  request_table_recount(table, r, 0);
  pthread_mutex_lock(&table->lock);
  table->slot[slot_of(r->id)] = NULL;
  table->free[table->n_free++] = slot_of(r->id);
  if (atomic_load(&r->place) != REQUEST_SHED) {
    table->n_request--;
    table->charged -= r->charge;
  }
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
