/* Sequences that come to slots and leave them, and the owner's part. Claims are adapter_claims.c's. */
#include "schedule/adapter_slots.h"

#include "schedule/schedule_state.h"

#include <assert.h>
#include <stdlib.h>

enum { LEFT_SHARE = 2 }; /* adapters that are remembered to have left, for each slot: so many turns others go first */

bool schedule_slots_init(struct adapter_slots *slots, int n) {
  *slots = (struct adapter_slots){.n = n,
                                  .n_left = LEFT_SHARE * n,
                                  .slot = calloc((size_t)n + 1, sizeof *slots->slot),
                                  .left = calloc((size_t)n * LEFT_SHARE + 1, sizeof *slots->left)};
  return slots->slot && slots->left;
}

void schedule_slots_release(struct adapter_slots *slots) {
  free(slots->slot);
  free(slots->left);
}

int adapter_slots_used(const struct schedule *s) {
  int used = 0;
  for (int i = 0; i < s->slots.n; i++) used += s->slots.slot[i].id != 0;
  return used;
}

struct adapter_slot *adapter_slot_of(const struct schedule *s, uint64_t id) {
  for (int i = 0; i < s->slots.n; i++)
    if (s->slots.slot[i].id == id) return &s->slots.slot[i];
  return NULL;
}

bool sequence_names(const struct sequence *q, uint64_t id) {
  for (int i = 0; i < q->n_adapter; i++)
    if (q->adapter[i].id == id) return true;
  return false;
}

/* A claimed slot lets in whoever matters more, and of others what is left of a batch. */
static bool slot_open(const struct schedule *s, const struct adapter_slot *slot, const struct sequence *q) {
  return !slot->heir || q->priority < slot->heir->priority || slot->n_entered < s->limits.seats;
}

bool adapters_allow(const struct schedule *s, const struct sequence *q) {
  if (q->unready) return false;
  for (int i = 0; i < q->n_adapter; i++) {
    const struct adapter_slot *slot = adapter_slot_of(s, q->adapter[i].id);
    if (!slot || slot->coming || !slot_open(s, slot, q)) return false;
  }
  return true;
}

/* --- coming and going --------------------------------------------------------------------------------------------- */

void adapters_enter(struct schedule *s, struct sequence *q) {
  for (int i = 0; i < q->n_adapter; i++) {
    struct adapter_slot *slot = adapter_slot_of(s, q->adapter[i].id);
    assert(slot && !slot->coming);
    slot->n_running++;
    slot->n_entered++;
    q->slot[i] = (int32_t)(slot - s->slots.slot);
  }
}

void adapters_leave(struct schedule *s, const struct sequence *q) {
  for (int i = 0; i < q->n_adapter; i++) {
    struct adapter_slot *slot = &s->slots.slot[q->slot[i]];
    assert(slot->n_running > 0 && slot->id == q->adapter[i].id);
    slot->n_running--;
    slot->used_turn = ++s->slots.turn;
  }
}

/* Who waits, claims and names it; NULL: nobody. */
static struct sequence *claimant_naming(const struct schedule *s, uint64_t id) {
  for (int t = 0; t < SCHEDULE_TENANTS; t++)
    for (struct sequence *q = s->waiting.tenant[t].first; q; q = q->next)
      if (q->claims && sequence_names(q, id)) return q;
  return NULL;
}

static void slot_empty(struct adapter_slot *slot) {
  assert(slot->n_running == 0 && slot->n_kept == 0);
  slot->id = 0;
  slot->by = NULL;
  slot->wanted = slot->coming = false;
}

/* It came for who does not wait for it any more: others may. */
static void slot_orphan(const struct schedule *s, struct adapter_slot *slot) {
  slot->by = slot->n_kept > 0 ? claimant_naming(s, slot->id) : NULL;
  if (slot->wanted && !slot->by) slot_empty(slot);
}

void adapters_give_up(struct schedule *s, struct sequence *q) {
  if (!q->claims) return;
  q->claims = false;
  for (int i = 0; i < s->slots.n; i++) {
    struct adapter_slot *slot = &s->slots.slot[i];
    if (slot->heir == q) slot->heir = NULL;
    if (slot->id && sequence_names(q, slot->id)) slot->n_kept--;
    if (slot->by == q) slot_orphan(s, slot);
  }
}

void schedule_slots_forget(struct schedule *s) {
  for (int i = 0; i < s->slots.n; i++) slot_empty(&s->slots.slot[i]);
}

/* --- the owner's part --------------------------------------------------------------------------------------------- */

bool schedule_slot_wanted(struct schedule *s, struct slot_want *want) {
  for (int i = 0; i < s->slots.n; i++) {
    struct adapter_slot *slot = &s->slots.slot[i];
    if (!slot->wanted) continue;
    slot->wanted = false;
    *want = (struct slot_want){.slot = i, .id = slot->id, .sequence = slot->by};
    return true;
  }
  return false;
}

void schedule_slot_filled(struct schedule *s, int slot, bool filled) {
  assert(s->slots.slot[slot].coming && !s->slots.slot[slot].wanted);
  s->slots.slot[slot].coming = false;
  if (filled) return;
  struct sequence *q;
  while ((q = claimant_naming(s, s->slots.slot[slot].id))) adapters_give_up(s, q); /* to claim anew */
  slot_empty(&s->slots.slot[slot]);
}
