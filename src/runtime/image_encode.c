/* Runs of the encoder: which tiles of whose images are in one, and where its rows go. The step thread's alone. */
#include "base/clock.h"
#include "runtime/image_store_state.h"

static struct image_pixels tile_of(const struct stored_image *image, int32_t tile) {
  const struct preprocess_plan *plan = &image->shape.plan;
  size_t numbers = 3 * (size_t)plan->tile_width * (size_t)plan->tile_height;
  return (struct image_pixels){plan->tile_width, plan->tile_height, image->numbers + (size_t)tile * numbers};
}

/* Calls each with the tiles that are due, in the order of claims, until it says that there is no room. */
static void tiles_visit(struct image_store *store, bool (*each)(void *user, struct stored_image *image, int32_t tile),
                        void *user) {
  for (struct embed_entry *entry = embed_pool_work(&store->pool); entry; entry = entry->next) {
    struct stored_image *image = (struct stored_image *)(void *)entry;
    for (int32_t tile = image->n_encoded; tile < image->shape.plan.tiles; tile++)
      if (!each(user, image, tile)) return;
  }
}

/* A run that is being formed, and then told of. */
struct encoder_run {
  struct image_store *store;
  int32_t most, row; /* tokens of the encoder; the next of its outputs */
  struct error error;
  bool failed;
};

static bool tile_add(void *user, struct stored_image *image, int32_t tile) {
  struct encoder_run *run = user;
  struct image_batch *batch = &run->store->batch;
  struct image_pixels pixels = tile_of(image, tile);
  if (batch->batch.n_token + image->shape.tile_tokens > run->most) return false;
  return image_batch_add(batch, &pixels, NULL);
}

/* The outputs of a tile go where its image's pages are, in as few pieces as these lie side by side. */
static bool tile_place(void *user, struct stored_image *image, int32_t tile) {
  struct encoder_run *run = user;
  const struct image_store *store = run->store;
  const struct loaded_engine *engine = store->engine;
  int32_t rows = image->shape.tile_rows, first = tile * rows;
  if (run->row >= store->batch.batch.n_out) return false;
  for (int32_t i = 0; i < rows && !run->failed;) {
    int32_t at = embed_row(&image->entry, first + i), count = 1;
    while (i + count < rows && embed_row(&image->entry, first + i + count) == at + count) count++;
    struct pool_source source = {.encoder = engine->vision, .first = run->row + i};
    run->failed = !engine->backend->pool_fill(engine->program, at, count, &source, &run->error);
    i += count;
  }
  run->row += rows;
  image->n_encoded++;
  return !run->failed;
}

/* Those whose tiles are all encoded. */
static void work_finish(struct image_store *store) {
  pthread_mutex_lock(&store->lock);
  for (struct embed_entry *entry; (entry = embed_pool_work(&store->pool));) {
    struct stored_image *image = (struct stored_image *)(void *)entry;
    if (image->n_encoded < image->shape.plan.tiles) break;
    image_numbers_free(store, image);
    embed_pool_ready(&store->pool, entry);
  }
  pthread_mutex_unlock(&store->lock);
}

static bool encoder_step(const struct image_store *store, struct error *error) {
  const struct loaded_engine *engine = store->engine;
  struct result result;
  return engine->backend->submit(engine->vision, &store->batch.batch, error) &&
         engine->backend->finish(engine->vision, NULL, error) &&
         engine->backend->collect(engine->vision, &result, error) && engine_file_intact(&engine->file, error);
}

/* Gives pages to who waits; false when nothing is due. Claims and work are this thread's: it sees without the lock that
 * there are none. */
static bool work_begin(struct image_store *store, struct embed_entry **first) {
  if (!store->pool.first && !embed_pool_work(&store->pool)) return false;
  pthread_mutex_lock(&store->lock);
  embed_pool_place(&store->pool, stored_image_free);
  *first = embed_pool_work(&store->pool);
  pthread_mutex_unlock(&store->lock);
  return *first != NULL;
}

bool image_store_run(struct image_store *store, bool streams, int32_t *tokens, struct error *error) {
  struct embed_entry *first;
  *tokens = 0;
  if (!work_begin(store, &first)) return true;
  int32_t each = ((struct stored_image *)(void *)first)->shape.tile_tokens;
  struct encoder_run run = {.store = store};
  run.most = encoder_pace_tokens(&store->pace, streams, each, store->engine->vision_limits.tokens);
  if (run.most == 0) return true;
  uint64_t start_us = clock_us();
  image_batch_clear(&store->batch);
  tiles_visit(store, tile_add, &run);
  if (!encoder_step(store, error)) return false;
  *tokens = store->batch.batch.n_token;
  tiles_visit(store, tile_place, &run);
  if (run.failed) return error_set(error, run.error.code, "%s", run.error.text);
  work_finish(store);
  encoder_pace_ran(&store->pace, streams, *tokens, (double)(clock_us() - start_us));
  return true;
}

void image_store_pace(struct image_store *store, double step_us) { encoder_pace_step(&store->pace, step_us); }
