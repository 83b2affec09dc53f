/* Which adapters are on the device: slots, whose they are next, and who waits for them. A slot is free for another
 * adapter when no running sequence names the one in it. Internal to the schedule.
 *
 * A waiting sequence whose adapters are not all there claims slots for the others, all at once: empty ones, then those
 * that nobody uses, then those that were taken longest ago, which let in what is left of a batch of sequences since,
 * and are taken over when the last has left. Tenants claim in turn; of one's sequences those of the best priority whose
 * adapters have left longest ago, of equals in the order of arrival. What a claiming sequence needs is kept for it
 * until it runs, or until one of a better priority lacks it. So no adapter waits for another one's requests without
 * end, and nobody waits for what is kept for who waits for him: slots with something kept in them are not claimed by
 * those that matter no more. */
#ifndef SPATE_SCHEDULE_ADAPTER_SLOTS_H
#define SPATE_SCHEDULE_ADAPTER_SLOTS_H

#include "schedule/schedule.h"

struct adapter_slot {
  uint64_t id;           /* 0: none */
  bool wanted;           /* the owner has not been asked for it yet, */
  bool coming;           /* has not said that it is there */
  int32_t n_running;     /* sequences with a seat that name it */
  int32_t n_kept;        /* waiting ones that it is kept for */
  struct sequence *by;   /* for whom it came, while he waits; NULL: he does not */
  struct sequence *heir; /* who has claimed it, for heir_id; NULL: nobody */
  uint64_t heir_id;
  int32_t n_entered;   /* sequences since it was taken */
  uint64_t since_turn; /* when that was, */
  uint64_t used_turn;  /* and last left */
  uint64_t named_step; /* the last step for which a sequence was seen to wait for it */
};

struct adapter_slots {
  int n;
  struct adapter_slot *slot; /* [n] */
  uint64_t turn;             /* counts changes */
  int tenant;                /* that has claimed last */
  uint64_t *left;            /* [n_left] ring of those that have left last */
  int n_left, newest_left;
};

bool schedule_slots_init(struct adapter_slots *slots, int n);
void schedule_slots_release(struct adapter_slots *slots);

int adapter_slots_used(const struct schedule *s);

struct adapter_slot *adapter_slot_of(const struct schedule *s, uint64_t id); /* NULL: it is in none */
bool sequence_names(const struct sequence *q, uint64_t id);

/* May a waiting sequence run, as far as its adapters go? */
bool adapters_allow(const struct schedule *s, const struct sequence *q);

/* adapter_claims.c: those that wait claim what they lack, and what is claimed and free changes hands. */
void adapters_claim(struct schedule *s);

/* It gets a seat; it loses it; it no longer waits. */
void adapters_enter(struct schedule *s, struct sequence *q);
void adapters_leave(struct schedule *s, const struct sequence *q);
void adapters_give_up(struct schedule *s, struct sequence *q);

#endif
