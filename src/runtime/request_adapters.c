/* From names to slots. */
#include "runtime/request_adapters.h"

#include "runtime/runtime_state.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- life --------------------------------------------------------------------------------------------------------- */

static void adapters_changed(void *runtime) {
  struct runtime *rt = runtime;
  mailbox_wake(&rt->to_step);
}

bool adapters_start(struct runtime *rt, const struct runtime_options *options, struct error *error) {
  const struct loaded_engine *engine = rt->engine;
  struct adapter_store_options store = {.folder = options->adapter_folder,
                                        .engine = &engine->file,
                                        .program = engine->program,
                                        .n_slot = engine->limits.adapters,
                                        .max_rank = engine->limits.adapter_rank,
                                        .max_held = options->adapters_held,
                                        .max_bytes = options->adapter_bytes,
                                        .read = adapter_read,
                                        .release = adapter_free,
                                        .place = engine->backend->adapter_load,
                                        .changed = adapters_changed,
                                        .user = rt};
  if (!options->adapter_folder) return true;
  rt->placing = calloc((size_t)engine->limits.adapters + 1, sizeof *rt->placing);
  if (!rt->placing) return error_set(error, ERROR_MEMORY, "Out of memory for adapters.");
  rt->adapters = adapter_store_new(&store, error);
  return rt->adapters != NULL;
}

struct adapter_store *runtime_adapters(struct runtime *rt) {
  return rt->adapters;
}

void runtime_forget_slots(struct runtime *rt) { schedule_slots_forget(rt->schedule); }

/* --- whoever submits ---------------------------------------------------------------------------------------------- */

static bool choices_check(const struct runtime *rt, const struct request_params *params, struct error *error) {
  int32_t most = rt->engine->limits.adapters < ROW_LORAS ? rt->engine->limits.adapters : ROW_LORAS;
  if (!rt->adapters)
    return error_set(error, ERROR_INVALID,
                     "An adapter was asked for and there are none: the engine was opened without a folder of them "
                     "(--lora-dir).");
  if (params->n_adapter > most)
    return error_set(error, ERROR_INVALID, "%d adapters were asked for at once, expected at most %d.",
                     params->n_adapter, most);
  for (int i = 0; i < params->n_adapter; i++)
    if (!isfinite(params->adapter[i].scale))
      return error_set(error, ERROR_INVALID, "lora_scale is %g, expected a finite number.",
                       (double)params->adapter[i].scale);
  return true;
}

/* Takes one more over. */
static void stored_add(struct request_adapters *adapters, struct stored_adapter *stored, float scale) {
  int i = 0;
  while (i < adapters->n && adapters->stored[i] != stored) i++;
  if (i < adapters->n) {
    adapters->scale[i] += scale;
    adapter_store_drop(adapters->store, stored);
    return;
  }
  adapters->stored[i] = stored;
  adapters->scale[i] = scale;
  adapters->n++;
}

static void zeros_drop(struct request_adapters *adapters) {
  int kept = 0;
  for (int i = 0; i < adapters->n; i++) {
    if (adapters->scale[i] == 0) {
      adapter_store_drop(adapters->store, adapters->stored[i]);
      continue;
    }
    adapters->stored[kept] = adapters->stored[i];
    adapters->scale[kept++] = adapters->scale[i];
  }
  adapters->n = kept;
}

/* One that is named more than once is scaled by the sum. */
static bool sums_check(const struct request_adapters *adapters, struct error *error) {
  for (int i = 0; i < adapters->n; i++)
    if (!isfinite(adapters->scale[i]))
      return error_set(error, ERROR_INVALID,
                       "The sum of the lora_scale of one adapter is %g, expected a finite number.",
                       (double)adapters->scale[i]);
  return true;
}

static bool all_drop(struct request_adapters *adapters) {
  for (int i = 0; i < adapters->n; i++) adapter_store_drop(adapters->store, adapters->stored[i]);
  adapters->n = 0;
  return false;
}

bool request_adapters_take(const struct runtime *rt, struct request_adapters *adapters,
                           const struct request_params *params, struct error *error) {
  *adapters = (struct request_adapters){.store = rt->adapters};
  if (params->n_adapter == 0) return true;
  if (!choices_check(rt, params, error)) return false;
  for (int i = 0; i < params->n_adapter; i++) {
    const struct adapter_choice *choice = &params->adapter[i];
    struct stored_adapter *stored = adapter_store_take(rt->adapters, choice->name, params->n_adapter > 1, error);
    if (!stored) return all_drop(adapters);
    stored_add(adapters, stored, choice->scale);
  }
  if (!sums_check(adapters, error)) return all_drop(adapters);
  zeros_drop(adapters);
  for (int i = 0; i < adapters->n; i++) atomic_fetch_add(&adapters->stored[i]->waits, 1);
  return true;
}

void request_adapters_drop(struct request_adapters *adapters) {
  for (int i = 0; i < adapters->n; i++) {
    struct stored_adapter *stored = adapters->stored[i];
    atomic_fetch_sub(adapters->runs ? &stored->runs : &stored->waits, 1);
    adapter_store_drop(adapters->store, stored);
  }
  adapters->n = 0;
}

/* --- the step thread ---------------------------------------------------------------------------------------------- */

static float scale_sum(float a, float b) {
  double sum = (double)a + (double)b;
  return (float)fmax(fmin(sum, FLT_MAX), -FLT_MAX);
}

/* In one order, so that equal adapters are equal bytes, and each once: two names may stand for one content. */
static void sequence_adapt(struct sequence *q, const struct request_adapters *adapters) {
  q->n_adapter = 0;
  for (int i = 0; i < adapters->n; i++) {
    struct sequence_adapter adapter = {adapters->stored[i]->id, adapters->scale[i]};
    int at = q->n_adapter;
    while (at > 0 && q->adapter[at - 1].id > adapter.id) at--;
    if (at > 0 && q->adapter[at - 1].id == adapter.id) {
      q->adapter[at - 1].scale = scale_sum(q->adapter[at - 1].scale, adapter.scale);
      continue;
    }
    memmove(q->adapter + at + 1, q->adapter + at, (size_t)(q->n_adapter - at) * sizeof adapter);
    q->adapter[at] = adapter;
    q->n_adapter++;
  }
}

static void adapters_settle(struct runtime *rt, struct request *r) {
  const struct request_adapters *adapters = &r->adapters;
  bool coming = false;
  for (int i = 0; i < adapters->n; i++) {
    enum adapter_state state = atomic_load_explicit(&adapters->stored[i]->state, memory_order_acquire);
    coming |= state == ADAPTER_COMING;
    if (state != ADAPTER_FAILED) continue;
    request_fail(r, &adapters->stored[i]->error);
    return;
  }
  if (coming) return;
  for (int i = 0; i < r->n_generation; i++) sequence_adapt(&r->generation[i].sequence, adapters);
  r->adapters.ready = true;
  request_settle(rt, r);
}

void request_adapters_review(struct runtime *rt, struct request *r) {
  struct request_adapters *adapters = &r->adapters;
  if (adapters->n == 0 || request_ended(r)) return;
  if (!adapters->ready) adapters_settle(rt, r);
  if (adapters->runs || r->generation[0].sequence.started_us == 0) return;
  adapters->runs = true;
  for (int i = 0; i < adapters->n; i++) {
    atomic_fetch_add(&adapters->stored[i]->runs, 1);
    atomic_fetch_sub(&adapters->stored[i]->waits, 1);
  }
}

static struct stored_adapter *stored_of(const struct request *r, uint64_t id) {
  for (int i = 0; i < r->adapters.n; i++)
    if (r->adapters.stored[i]->id == id) return r->adapters.stored[i];
  return NULL;
}

/* An adapter that the device does not take is nobody's. */
static void requests_fail(struct runtime *rt, uint64_t id, const struct error *error) {
  for (struct request *r = rt->live; r; r = r->next)
    if (r->adapters.ready && stored_of(r, id)) request_fail(r, error);
}

void adapter_slots_fill(struct runtime *rt) {
  struct slot_want want;
  while (schedule_slot_wanted(rt->schedule, &want)) {
    const struct generation *g = want.sequence->owner;
    adapter_store_place(rt->adapters, want.slot, stored_of(g->request, want.id));
    rt->placing[want.slot] = want.id;
    rt->n_placing++;
  }
}

static void slot_tell(struct runtime *rt, int slot) {
  struct error error;
  enum adapter_placing placing = adapter_store_placed(rt->adapters, slot, &error);
  if (placing == PLACE_COMING) return;
  schedule_slot_filled(rt->schedule, slot, placing == PLACE_DONE);
  if (placing == PLACE_FAILED) requests_fail(rt, rt->placing[slot], &error);
  rt->placing[slot] = 0;
  rt->n_placing--;
}

void adapter_slots_tell(struct runtime *rt) {
  for (int slot = 0; rt->n_placing > 0 && slot < rt->engine->limits.adapters; slot++)
    if (rt->placing[slot]) slot_tell(rt, slot);
}
