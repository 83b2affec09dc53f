/* Claims on slots, and slots changing hands. */
#include "schedule/adapter_slots.h"

#include "schedule/schedule_state.h"

#include <assert.h>
#include <stdlib.h>

enum {
  LOOKED_MAX = 1024, /* waiting sequences of a tenant that are looked at for a step: bounds its cost */
  LEFT_SHARE = 2,    /* adapters that are remembered to have left, for each slot: so many turns others go first */
};

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

/* How lately an adapter has left: 0 when that is forgotten. */
static int lateness(const struct adapter_slots *slots, uint64_t id) {
  for (int k = 0; k < slots->n_left; k++)
    if (slots->left[(slots->newest_left + slots->n_left - k) % slots->n_left] == id) return slots->n_left - k;
  return 0;
}

static void left_note(struct adapter_slots *slots, uint64_t id) {
  slots->newest_left = (slots->newest_left + 1) % slots->n_left;
  slots->left[slots->newest_left] = id;
}

static struct adapter_slot *slot_of(const struct schedule *s, uint64_t id) {
  for (int i = 0; i < s->slots.n; i++)
    if (s->slots.slot[i].id == id) return &s->slots.slot[i];
  return NULL;
}

/* Who has claimed a slot for this adapter, or the slot that it is in; NULL: nobody. */
static struct sequence *heir_about(const struct schedule *s, uint64_t id) {
  for (int i = 0; i < s->slots.n; i++) {
    const struct adapter_slot *slot = &s->slots.slot[i];
    if (slot->heir && (slot->heir_id == id || slot->id == id)) return slot->heir;
  }
  return NULL;
}

static bool names(const struct sequence *q, uint64_t id) {
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
    const struct adapter_slot *slot = slot_of(s, q->adapter[i].id);
    if (!slot || slot->coming || !slot_open(s, slot, q)) return false;
  }
  return true;
}

/* --- coming and going --------------------------------------------------------------------------------------------- */

void adapters_enter(struct schedule *s, struct sequence *q) {
  for (int i = 0; i < q->n_adapter; i++) {
    struct adapter_slot *slot = slot_of(s, q->adapter[i].id);
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
      if (q->claims && names(q, id)) return q;
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
    if (slot->id && names(q, slot->id)) slot->n_kept--;
    if (slot->by == q) slot_orphan(s, slot);
  }
}

/* --- claims ------------------------------------------------------------------------------------------------------- */

static bool claimable(const struct adapter_slot *slot) { return !slot->heir && slot->n_kept == 0; }

/* Would one slot rather be given away than the other? Those that somebody waits for last, those in use before them. */
static bool slot_before(const struct schedule *s, const struct adapter_slot *a, const struct adapter_slot *b) {
  bool a_named = a->id && a->named_step == s->n_formed, b_named = b->id && b->named_step == s->n_formed;
  bool a_runs = a->n_running > 0 || a->coming, b_runs = b->n_running > 0 || b->coming;
  if (!a->id != !b->id) return !a->id;
  if (a_named != b_named) return b_named;
  if (a_runs != b_runs) return b_runs;
  return a_runs ? a->since_turn < b->since_turn : a->used_turn < b->used_turn;
}

static struct adapter_slot *slot_choose(const struct schedule *s) {
  struct adapter_slot *best = NULL;
  for (int i = 0; i < s->slots.n; i++) {
    struct adapter_slot *slot = &s->slots.slot[i];
    if (claimable(slot) && (!best || slot_before(s, slot, best))) best = slot;
  }
  return best;
}

/* The slots that a sequence has to claim: −1 when one of its adapters is about to come or to go for one that matters
 * as much. */
static int claims_needed(const struct schedule *s, const struct sequence *q) {
  int need = 0;
  for (int i = 0; i < q->n_adapter; i++) {
    const struct sequence *heir = heir_about(s, q->adapter[i].id);
    if (heir && heir->priority <= q->priority) return -1;
    need += !slot_of(s, q->adapter[i].id);
  }
  return need;
}

static int claimable_count(const struct schedule *s, const struct sequence *q) {
  int count = 0;
  for (int i = 0; i < s->slots.n; i++) count += claimable(&s->slots.slot[i]) && !names(q, s->slots.slot[i].id);
  return count;
}

static void claim(struct schedule *s, struct sequence *q) {
  q->claims = true;
  for (int i = 0; i < q->n_adapter; i++) {
    struct adapter_slot *slot = slot_of(s, q->adapter[i].id);
    if (slot) slot->n_kept++;
  }
  for (int i = 0; i < q->n_adapter; i++) {
    if (slot_of(s, q->adapter[i].id)) continue;
    struct adapter_slot *slot = slot_choose(s);
    slot->heir = q;
    slot->heir_id = q->adapter[i].id;
  }
}

/* The lateness of whatever it lacks. */
static int lateness_of(const struct schedule *s, const struct sequence *q) {
  int latest = 0;
  for (int i = 0; i < q->n_adapter; i++) {
    int late = slot_of(s, q->adapter[i].id) ? 0 : lateness(&s->slots, q->adapter[i].id);
    if (late > latest) latest = late;
  }
  return latest;
}

static void slots_name(const struct schedule *s, const struct sequence *q) {
  for (int i = 0; i < s->slots.n; i++)
    if (names(q, s->slots.slot[i].id)) s->slots.slot[i].named_step = s->n_formed;
}

/* Of the tenant's best priority who lacks an adapter which is not on its way, and does not claim yet. Slots note what
 * others wait for that is there. */
static struct sequence *claimant_of(const struct schedule *s, const struct tenant *tenant) {
  struct sequence *best = NULL, *q = tenant->first;
  int best_lateness = 0;
  for (int looked = 0; q && looked < LOOKED_MAX && (!best || q->priority == best->priority); q = q->next, looked++) {
    if (q->n_adapter == 0 || q->unready || q->claims || q->paused) continue;
    int need = claims_needed(s, q);
    if (need == 0) slots_name(s, q);
    if (need == 0 || (need < 0 && q->n_adapter == 1)) continue;
    int late = lateness_of(s, q);
    if (best && late >= best_lateness) continue;
    best = q;
    best_lateness = late;
  }
  return best;
}

/* Of the tenants' claimants the one with the best priority, of equals the next tenant's in turn. */
static struct sequence *claimant_choose(struct schedule *s) {
  struct sequence *best = NULL;
  for (int k = 1; k <= SCHEDULE_TENANTS; k++) {
    const struct tenant *tenant = &s->waiting.tenant[(s->slots.tenant + k) % SCHEDULE_TENANTS];
    struct sequence *q = tenant->first ? claimant_of(s, tenant) : NULL;
    if (q && (!best || q->priority < best->priority)) best = q;
  }
  if (best) s->slots.tenant = best->tenant;
  return best;
}

/* Clients that have not read for long keep no adapter on the device whose slot is another's next. */
static void idlers_preempt(struct schedule *s, const struct adapter_slot *slot) {
  for (int i = s->n_running - 1; i >= 0; i--)
    if (names(s->running[i], slot->id) && sequence_idles(s, s->running[i])) sequence_preempt(s, s->running[i]);
}

static void slots_take_over(struct schedule *s) {
  for (int i = 0; i < s->slots.n; i++) {
    struct adapter_slot *slot = &s->slots.slot[i];
    if (slot->heir && slot->n_running > 0) idlers_preempt(s, slot);
    if (!slot->heir || slot->n_running > 0 || slot->coming) continue;
    if (slot->id) left_note(&s->slots, slot->id);
    *slot = (struct adapter_slot){.id = slot->heir_id,
                                  .wanted = true,
                                  .coming = true,
                                  .by = slot->heir,
                                  .n_kept = 1,
                                  .since_turn = ++s->slots.turn};
  }
}

/* Who claims, or is kept, this slot; NULL: nobody. */
static struct sequence *claimant_at(const struct adapter_slot *slot) { return slot->heir ? slot->heir : slot->by; }

static struct sequence *least_claimant(const struct schedule *s) {
  struct sequence *least = NULL;
  for (int i = 0; i < s->slots.n; i++) {
    struct sequence *q = claimant_at(&s->slots.slot[i]);
    if (q && (!least || q->priority > least->priority)) least = q;
  }
  return least;
}

/* Could anybody who waits claim: what is free, or what is kept for one that matters less? */
static bool claims_open(const struct schedule *s) {
  if (s->waiting.n_adapted == 0) return false;
  if (slot_choose(s)) return true;
  const struct sequence *least = least_claimant(s);
  for (int t = 0; least && t < SCHEDULE_TENANTS; t++)
    if (s->waiting.tenant[t].first && s->waiting.tenant[t].first->priority < least->priority) return true;
  return false;
}

static bool claim_fits(const struct schedule *s, const struct sequence *q) {
  int need = claims_needed(s, q);
  return need >= 0 && need <= claimable_count(s, q);
}

/* Those that matter less give up what is kept for them: of what it names first, then the least of all, until it can
 * have all that it lacks. One of them may not come to run for as long as others of better priorities have requests. */
static bool claims_give_way(struct schedule *s, const struct sequence *q) {
  struct sequence *other;
  for (int i = 0; i < q->n_adapter; i++)
    while ((other = heir_about(s, q->adapter[i].id)) && other->priority > q->priority) adapters_give_up(s, other);
  while (!claim_fits(s, q) && (other = least_claimant(s)) && other->priority > q->priority) adapters_give_up(s, other);
  return claim_fits(s, q);
}

/* One that cannot have all that it lacks yet keeps others from claiming: it would never have. */
void adapters_claim(struct schedule *s) {
  struct sequence *q;
  while (claims_open(s) && (q = claimant_choose(s)) && claims_give_way(s, q)) {
    claim(s, q);
    slots_take_over(s);
  }
  slots_take_over(s);
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
