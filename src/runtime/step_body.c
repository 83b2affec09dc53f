/* A step's body on the step thread: at once, or, of texts that become vectors, in pieces; and the wait for one that a
 * device of its own runs. */
#include "base/clock.h"
#include "runtime/runtime_state.h"

enum {
  PIECED_TOKENS = 256, /* shorter steps of texts run at once: a look at the clock after each op would cost them more */
  PIECE_US = 100000,   /* a piece that others delay tenfold is no stall either */
};

/* Whole texts may be so long that one step of them takes minutes: each piece of it is progress, and each part. */
static bool texts_run(struct runtime *rt, const struct batch *batch, struct error *error) {
  for (bool done = false; !done; atomic_store(&rt->progress_us, clock_us()))
    if (!rt->engine->backend->advance(rt->engine->program, batch, PIECE_US, &done, error)) return false;
  return true;
}

bool step_body_run(struct runtime *rt, const struct batch *batch, struct error *error) {
  const struct backend *backend = rt->engine->backend;
  bool pieced = rt->encodes && backend->advance && batch->n_token >= PIECED_TOKENS;
  return pieced ? texts_run(rt, batch, error) : backend->submit(rt->engine->program, batch, error);
}

bool step_body_await(struct runtime *rt, struct error *error) {
  const struct backend *backend = rt->engine->backend;
  for (bool more = rt->encodes && backend->await; more; atomic_store(&rt->progress_us, clock_us()))
    if (!backend->await(rt->engine->program, &more, error)) return false;
  return true;
}
