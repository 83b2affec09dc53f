/* Runs of the encoder: which tiles of whose images are in one, how much of it runs beside which step, and where its
 * rows go. The step thread's alone. */
#include "base/clock.h"
#include "runtime/image_store_state.h"

static struct image_pixels tile_of(const struct stored_image *image, int32_t tile) {
  const struct preprocess_plan *plan = &image->shape.plan;
  size_t numbers = 3 * (size_t)plan->tile_width * (size_t)plan->tile_height;
  return (struct image_pixels){plan->tile_width, plan->tile_height, image->numbers + (size_t)tile * numbers};
}

/* The tiles that are due, in the order of claims, as far as they go into a run; their images are held, so that a
 * request that ends meanwhile takes none away. False: there are none. */
static bool run_fill(struct image_store *store, int32_t most) {
  struct encoder_run *run = &store->run;
  bool room = true;
  image_batch_clear(&store->batch);
  run->n_tile = 0;
  run->us = 0;
  pthread_mutex_lock(&store->lock);
  for (struct embed_entry *entry = embed_pool_work(&store->pool); entry && room; entry = entry->next) {
    struct stored_image *image = (struct stored_image *)(void *)entry;
    for (int32_t tile = image->n_encoded; tile < image->shape.plan.tiles && room; tile++) {
      struct image_pixels pixels = tile_of(image, tile);
      room = store->batch.batch.n_token + image->shape.tile_tokens <= most &&
             image_batch_add(&store->batch, &pixels, NULL);
      if (room) {
        run->tile[run->n_tile++] = image;
        embed_pool_hold(entry);
      }
    }
  }
  pthread_mutex_unlock(&store->lock);
  return run->n_tile > 0;
}

/* The outputs of a tile go where its image's pages are, in as few pieces as these lie side by side. */
static bool tile_place(const struct image_store *store, struct stored_image *image, int32_t *row, struct error *error) {
  const struct loaded_engine *engine = store->engine;
  int32_t rows = image->shape.tile_rows, first = image->n_encoded * rows;
  for (int32_t i = 0; i < rows;) {
    int32_t at = embed_row(&image->entry, first + i), count = 1;
    while (i + count < rows && embed_row(&image->entry, first + i + count) == at + count) count++;
    struct pool_source source = {.encoder = engine->vision, .first = *row + i};
    if (!engine->backend->pool_fill(engine->program, at, count, &source, error)) return false;
    i += count;
  }
  *row += rows;
  image->n_encoded++;
  return true;
}

/* Whose tiles are all encoded is ready; the run holds its images no longer. */
static void run_let_go(struct image_store *store) {
  struct encoder_run *run = &store->run;
  pthread_mutex_lock(&store->lock);
  for (int32_t i = 0; i < run->n_tile; i++) {
    struct stored_image *image = run->tile[i];
    if (image->n_encoded == image->shape.plan.tiles && image->numbers) {
      image_numbers_free(store, image);
      embed_pool_ready(&store->pool, &image->entry);
    }
    image_hold_end(store, image);
  }
  run->n_tile = 0;
  pthread_mutex_unlock(&store->lock);
}

void image_store_break(struct image_store *store) {
  if (store->run.n_tile > 0) run_let_go(store);
}

static bool run_end(struct image_store *store, struct error *error) {
  const struct loaded_engine *engine = store->engine;
  struct encoder_run *run = &store->run;
  struct result result;
  int32_t row = 0;
  if (!engine->backend->finish(engine->vision, NULL, error) ||
      !engine->backend->collect(engine->vision, &result, error) || !engine_file_intact(&engine->file, error))
    return false;
  for (int32_t i = 0; i < run->n_tile; i++)
    if (!tile_place(store, run->tile[i], &row, error)) return false;
  run_let_go(store);
  return true;
}

/* Gives pages to who waits; tokens of a tile of the first image that is due, 0: none is. Claims are this thread's: it
 * sees without the lock that there are none. Work is not, nor its images: a thread of the store that lets go of the
 * last hold takes one away. */
static int32_t work_begin(struct image_store *store) {
  if (!store->pool.first && store->pool.n_placed == 0) return 0;
  pthread_mutex_lock(&store->lock);
  embed_pool_place(&store->pool, stored_image_free);
  const struct stored_image *first = (const struct stored_image *)(const void *)embed_pool_work(&store->pool);
  int32_t tokens = first ? first->shape.tile_tokens : 0;
  pthread_mutex_unlock(&store->lock);
  return tokens;
}

/* A run begins, or goes on. *done: it is over. */
static bool run_advance(struct image_store *store, double us, bool *done, struct error *error) {
  const struct loaded_engine *engine = store->engine;
  const struct backend *backend = engine->backend;
  *done = true;
  if (!backend->advance) return backend->submit(engine->vision, &store->batch.batch, error);
  return backend->advance(engine->vision, &store->batch.batch, us, done, error);
}

void image_store_look(struct image_store *store, double granted_us, struct encoder_turn *turn) {
  turn->tile_tokens = work_begin(store);
  turn->due = store->run.n_tile > 0 || turn->tile_tokens > 0;
  turn->runs = turn->due && encoder_pace_slice(&store->pace, granted_us) > 0;
}

bool image_store_run(struct image_store *store, double granted_us, struct encoder_turn *turn, struct error *error) {
  struct encoder_run *run = &store->run;
  double slice_us = encoder_pace_slice(&store->pace, granted_us);
  uint64_t start_us = clock_us();
  if (run->n_tile == 0 &&
      !run_fill(store, encoder_pace_tokens(&store->pace, granted_us, store->engine->backend->advance, turn->tile_tokens,
                                           store->engine->vision_limits.tokens)))
    return true;
  if (!run_advance(store, slice_us, &turn->done, error) || (turn->done && !run_end(store, error))) return false;
  turn->us = clock_us() - start_us;
  turn->run_us = run->us += turn->us;
  encoder_pace_ran(&store->pace, granted_us, (double)turn->us);
  if (turn->done) encoder_pace_learn(&store->pace, store->batch.batch.n_token, (double)run->us);
  return true;
}

void image_store_grant(struct image_store *store, double us) { encoder_pace_grant(&store->pace, us); }
