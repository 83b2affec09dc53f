/* The store's placer: it puts adapters into slots, while others are read. */
#include "base/log.h"
#include "engine/adapter_state.h"

static struct placement *placement_next(struct adapter_store *store, int *slot) {
  for (*slot = 0; *slot < store->options.n_slot; ++*slot)
    if (store->placement[*slot].state == PLACE_COMING) return &store->placement[*slot];
  return NULL;
}

/* Called and returns with the lock. */
static void placement_run(struct adapter_store *store, struct placement *placement, int slot) {
  struct error error = {0};
  pthread_mutex_unlock(&store->lock);
  bool placed = store->options.place(store->options.program, slot, placement->stored->adapter, &error);
  pthread_mutex_lock(&store->lock);
  stored_drop(store, placement->stored);
  placement->stored = NULL;
  placement->error = error;
  placement->state = placed ? PLACE_DONE : PLACE_FAILED;
  store->stats.placements += placed;
}

void *adapter_placer_thread(void *argument) {
  struct adapter_store *store = argument;
  pthread_mutex_lock(&store->lock);
  while (!store->stopping) {
    int slot;
    struct placement *placement = placement_next(store, &slot);
    if (!placement) {
      pthread_cond_wait(&store->placing, &store->lock);
      continue;
    }
    placement_run(store, placement, slot);
    pthread_cond_broadcast(&store->settled);
    pthread_mutex_unlock(&store->lock);
    if (store->options.changed) store->options.changed(store->options.user);
    pthread_mutex_lock(&store->lock);
  }
  pthread_mutex_unlock(&store->lock);
  return NULL;
}
