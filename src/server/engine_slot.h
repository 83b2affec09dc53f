/* The place of the engine that a server serves. One is in it, or none while the server sleeps; engines that have left
 * it stay open until their last answer is out. A thread of the slot's opens and closes them, by one order at a time:
 * reload, sleep, wake.
 *
 * Each network loop takes over what is in the slot when its bell rings, so that no request takes a lock for it, and an
 * order is done when all have. An engine is closed when nobody holds it: the slot while it is in it, the loops while
 * they send its answers, and whoever calls it elsewhere. */
#ifndef SPATE_SERVER_ENGINE_SLOT_H
#define SPATE_SERVER_ENGINE_SLOT_H

#include "base/buffer.h"
#include "base/error.h"
#include "server/answer_dialect.h"
#include "spate.h"

#include <stdint.h>

/* An open engine. Constant but for the holders. */
struct served_engine {
  spate_engine *engine;
  spate_engine_info info;
  struct answer_dialect dialect;
  int generation;             /* 1: that of the start */
  int holders;                /* under the slot's lock */
  struct served_engine *next; /* of those that are open */
};

struct engine_slot;

/* The engine becomes the slot's, unless NULL is returned. `again`: how it was opened, for the next time; its texts are
 * borrowed. folder: where an order finds other models by their names; NULL: nowhere. */
struct engine_slot *engine_slot_open(spate_engine *engine, const spate_open_options *again, const char *folder,
                                     struct error *error);
void engine_slot_close(struct engine_slot *slot); /* when no loop is left; NULL is allowed */

/* --- orders, from any thread -------------------------------------------------------------------------------------- */

enum slot_action {
  SLOT_RELOAD, /* opens the engine file beside what runs, and lets it take its place */
  SLOT_SLEEP,  /* nothing new is taken, answers end, the engine is closed; a second one may make it an abort */
  SLOT_WAKE,   /* opens it again; nothing when it is open */
};

enum { SLOT_MODEL_MAX = 256, SLOT_NO_LOOP = -1 };

struct slot_order {
  enum slot_action action;
  char model[SLOT_MODEL_MAX]; /* a name in the folder; "": what was opened last */
  bool abort;                 /* SLEEP: answers are cancelled, */
  int32_t wait_s;             /* or those that have not ended after so long */
  int loop;                   /* whose request it is; SLOT_NO_LOOP: a signal's, told to the log alone */
  uint64_t http_id;           /* of that request */
};

struct slot_result {
  uint64_t http_id;
  struct error error; /* ERROR_NONE: done */
  bool asleep;
  int generation; /* of the engine in the slot, or the last that was */
  double seconds;
};

/* False: an order is being carried out (ERROR_BUSY), or this one has a name that is none. A sleep with `abort` joins
 * one that is being carried out, and both have its result. */
bool engine_slot_order(struct engine_slot *slot, const struct slot_order *order, struct error *error);
bool engine_slot_busy(struct engine_slot *slot);

/* --- loops ---------------------------------------------------------------------------------------------------------
 */

/* A loop comes: the descriptor of its bell, readable when there is something to see below; −1 with a sentence. */
int engine_slot_enter(struct engine_slot *slot, int *loop, struct error *error);
void engine_slot_leave(struct engine_slot *slot, int loop);

/* By the loop that then does all that the bell may have rung for: nobody else's look may end the ringing. */
void engine_slot_silence(struct engine_slot *slot, int loop);

/* The engine that is in the slot, held, or NULL. */
struct served_engine *engine_slot_look(struct engine_slot *slot, int loop);

/* The loop sends no request to another engine than the one it has seen last. */
void engine_slot_adopted(struct engine_slot *slot, int loop);

/* The result of an order of the loop's, once. */
bool engine_slot_result(struct engine_slot *slot, int loop, struct slot_result *result);

void engine_slot_ring(struct engine_slot *slot, int loop); /* from the loop itself */

/* --- engines, from any thread ----------------------------------------------------------------------------------------
 */

void engine_slot_hold(struct engine_slot *slot, struct served_engine *served); /* by who holds it already */
void engine_slot_drop(struct engine_slot *slot, struct served_engine *served);

/* Of an engine that a loop has taken over; NULL: of the last that was in the slot. */
int engine_slot_generation(struct engine_slot *slot, const struct served_engine *served);
bool engine_slot_asleep(struct engine_slot *slot);

/* As spate_healthy; a server that sleeps is. */
bool engine_slot_healthy(struct engine_slot *slot, spate_error *error);
void engine_slot_cancel(struct engine_slot *slot); /* all requests of all engines */

/* Appends the exposition of what the slot has done; the generation is that of `served`, as above. */
void engine_slot_metrics(struct engine_slot *slot, const struct served_engine *served, struct buffer *out);

#endif
