/* Claims on slots, and slots changing hands. */
#include "schedule/schedule_state.h"

enum { LOOKED_MAX = 1024 }; /* waiting sequences of a tenant that are looked at for a step: bounds its cost */

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

/* Who has claimed a slot for this adapter, or the slot that it is in; NULL: nobody. */
static struct sequence *heir_about(const struct schedule *s, uint64_t id) {
  for (int i = 0; i < s->slots.n; i++) {
    const struct adapter_slot *slot = &s->slots.slot[i];
    if (slot->heir && (slot->heir_id == id || slot->id == id)) return slot->heir;
  }
  return NULL;
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
    need += !adapter_slot_of(s, q->adapter[i].id);
  }
  return need;
}

static int claimable_count(const struct schedule *s, const struct sequence *q) {
  int count = 0;
  for (int i = 0; i < s->slots.n; i++) count += claimable(&s->slots.slot[i]) && !sequence_names(q, s->slots.slot[i].id);
  return count;
}

static void claim(struct schedule *s, struct sequence *q) {
  q->claims = true;
  for (int i = 0; i < q->n_adapter; i++) {
    struct adapter_slot *slot = adapter_slot_of(s, q->adapter[i].id);
    if (slot) slot->n_kept++;
  }
  for (int i = 0; i < q->n_adapter; i++) {
    if (adapter_slot_of(s, q->adapter[i].id)) continue;
    struct adapter_slot *slot = slot_choose(s);
    slot->heir = q;
    slot->heir_id = q->adapter[i].id;
  }
}

/* The lateness of whatever it lacks. */
static int lateness_of(const struct schedule *s, const struct sequence *q) {
  int latest = 0;
  for (int i = 0; i < q->n_adapter; i++) {
    int late = adapter_slot_of(s, q->adapter[i].id) ? 0 : lateness(&s->slots, q->adapter[i].id);
    if (late > latest) latest = late;
  }
  return latest;
}

static void slots_name(const struct schedule *s, const struct sequence *q) {
  for (int i = 0; i < s->slots.n; i++)
    if (sequence_names(q, s->slots.slot[i].id)) s->slots.slot[i].named_step = s->n_formed;
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
    if (sequence_names(s->running[i], slot->id) && sequence_idles(s, s->running[i])) sequence_preempt(s, s->running[i]);
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
