/* As pack.c hashes them, weight by weight. */
#include "build/source_digest.h"

#include "build/weight_source.h"

#include <stdlib.h>

static bool plan_hash(const struct plan *plan, const struct checkpoint *checkpoint, struct hasher *hasher,
                      struct error *error) {
  int *order = calloc((size_t)plan->n_weight + 1, sizeof *order);
  bool done = order && plan_read_order(plan, order);
  if (!done) error_set(error, ERROR_MEMORY, "Out of memory for reading %d weights.", plan->n_weight);
  for (int i = 0; i < plan->n_weight && done; i++) {
    struct weight_source source;
    done = weight_source_init(&source, plan, order[i], checkpoint, error);
    if (done) weight_source_hash(&source, hasher);
  }
  free(order);
  return done;
}

bool source_digest(const struct draft *draft, struct hash128 *digest, struct error *error) {
  const struct plan *vision = draft_vision(draft);
  struct hasher *hasher = hasher_new(0);
  if (!hasher) return error_set(error, ERROR_MEMORY, "Out of memory for a hash.");
  bool done = plan_hash(draft_plan(draft), draft->checkpoint, hasher, error) &&
              (!vision || plan_hash(vision, draft->checkpoint, hasher, error)) &&
              checkpoint_intact(draft->checkpoint, error); /* so all that was read was there */
  *digest = hasher_finish(hasher);
  return done;
}
