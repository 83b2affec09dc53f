/* Threads that prepare, and the encoder's runs. */
#include "runtime/image_store.h"

#include "base/clock.h"
#include "base/limits.h"
#include "image/decode.h"

#include <stdlib.h>

/* A request of the queue. */
struct waiting_request {
  struct waiting_request *next;
  void *request;
};

struct image_store {
  struct image_form form;
  const struct loaded_engine *engine;
  struct decode_pool *decoders;
  struct hash_key key;
  struct hash128 config; /* of the preprocessor's text */
  void (*prepare)(void *user, void *request);
  void *user;
  int n_thread;
  pthread_t thread[LIMIT_IMAGE_HELPERS];

  pthread_mutex_t lock; /* of what follows */
  pthread_cond_t work, room;
  struct waiting_request *first, *last;
  bool stopping;
  size_t bytes; /* of numbers that wait to be encoded */
  uint64_t n_decoded;
  struct embed_pool pool; /* its list of work is the step thread's to walk without it */

  /* the step thread's */
  struct image_batch batch;
  struct encoder_pace pace;
};

/* --- life --------------------------------------------------------------------------------------------------------- */

/* NULL once the store ends and the queue is empty. */
static struct waiting_request *queue_take(struct image_store *store) {
  pthread_mutex_lock(&store->lock);
  while (!store->first && !store->stopping) pthread_cond_wait(&store->work, &store->lock);
  struct waiting_request *waiting = store->first;
  if (waiting) store->first = waiting->next;
  if (!store->first) store->last = NULL;
  pthread_mutex_unlock(&store->lock);
  return waiting;
}

static void *prepare_thread(void *argument) {
  struct image_store *store = argument;
  for (struct waiting_request *waiting; (waiting = queue_take(store));) {
    void *request = waiting->request;
    free(waiting);
    store->prepare(store->user, request);
  }
  return NULL;
}

static bool threads_start(struct image_store *store, int count, struct error *error) {
  while (store->n_thread < count) {
    if (pthread_create(&store->thread[store->n_thread], NULL, prepare_thread, store) != 0)
      return error_set(error, ERROR_MEMORY, "The system refused to start a thread: raise its limit on threads.");
    pthread_setname_np(store->thread[store->n_thread++], "spate-image");
  }
  return true;
}

struct image_store *image_store_new(const struct image_store_options *options, struct error *error) {
  const struct loaded_engine *engine = options->engine;
  struct image_store *store = calloc(1, sizeof *store);
  if (!store) {
    error_set(error, ERROR_MEMORY, "Out of memory for images.");
    return NULL;
  }
  store->form = *options->form;
  store->engine = engine;
  store->decoders = options->pool;
  store->key = options->key;
  store->config = keyed_hash(&store->key, options->preprocessor);
  store->prepare = options->prepare;
  store->user = options->user;
  store->pace.target_us = options->target_gap_us;
  pthread_mutex_init(&store->lock, NULL);
  pthread_cond_init(&store->work, NULL);
  pthread_cond_init(&store->room, NULL);
  if (!embed_pool_init(&store->pool, engine->limits.pool))
    error_set(error, ERROR_MEMORY, "Out of memory for images.");
  else if (image_batch_init(&store->batch, engine->file.vision, &engine->vision_limits, error) &&
           threads_start(store, options->threads, error))
    return store;
  image_store_free(store);
  return NULL;
}

void image_store_stop(struct image_store *store) {
  if (!store) return;
  pthread_mutex_lock(&store->lock);
  store->stopping = true;
  pthread_cond_broadcast(&store->work);
  pthread_cond_broadcast(&store->room);
  pthread_mutex_unlock(&store->lock);
  while (store->n_thread > 0) pthread_join(store->thread[--store->n_thread], NULL);
}

static void image_free(struct embed_entry *entry) {
  struct stored_image *image = (struct stored_image *)(void *)entry;
  free(image->numbers);
  free(image);
}

void image_store_free(struct image_store *store) {
  if (!store) return;
  image_store_stop(store);
  embed_pool_release_all(&store->pool, image_free);
  image_batch_release(&store->batch);
  pthread_mutex_destroy(&store->lock);
  pthread_cond_destroy(&store->work);
  pthread_cond_destroy(&store->room);
  free(store);
}

const struct image_form *image_store_form(const struct image_store *store) { return &store->form; }

int32_t image_store_rows(const struct image_store *store) { return store->pool.n_page * EMBED_PAGE; }

void image_store_stats(struct image_store *store, struct image_store_stats *stats) {
  pthread_mutex_lock(&store->lock);
  *stats = (struct image_store_stats){.images = store->n_decoded,
                                      .hits = store->pool.hits,
                                      .misses = store->pool.misses,
                                      .evictions = store->pool.evictions};
  pthread_mutex_unlock(&store->lock);
  stats->losses = decode_pool_losses(store->decoders);
}

/* --- preparing ---------------------------------------------------------------------------------------------------- */

bool image_store_queue(struct image_store *store, void *request, struct error *error) {
  struct waiting_request *waiting = malloc(sizeof *waiting);
  if (!waiting) return error_set(error, ERROR_MEMORY, "Out of memory for a request's images.");
  *waiting = (struct waiting_request){.request = request};
  pthread_mutex_lock(&store->lock);
  *(store->last ? &store->last->next : &store->first) = waiting;
  store->last = waiting;
  pthread_cond_signal(&store->work);
  pthread_mutex_unlock(&store->lock);
  return true;
}

bool image_store_wait(struct image_store *store) {
  pthread_mutex_lock(&store->lock);
  while (store->bytes > LIMIT_PREPARED_BYTES && !store->stopping) pthread_cond_wait(&store->room, &store->lock);
  bool goes_on = !store->stopping;
  pthread_mutex_unlock(&store->lock);
  return goes_on;
}

/* Of the file's bytes, of who may know that they were here, and of what the model makes of them. */
static struct hash128 content_hash(const struct image_store *store, struct slice file, struct hash128 salt) {
  struct {
    struct hash128 file, salt, config;
  } content = {keyed_hash(&store->key, file), salt, store->config};
  return keyed_hash(&store->key, slice_make(&content, sizeof content));
}

static struct stored_image *image_find(struct image_store *store, struct hash128 hash) {
  pthread_mutex_lock(&store->lock);
  struct embed_entry *entry = embed_pool_find(&store->pool, hash);
  pthread_mutex_unlock(&store->lock);
  return (struct stored_image *)(void *)entry;
}

/* Whoever comes first; another thread may have made the same meanwhile. */
static struct stored_image *image_enter(struct image_store *store, struct stored_image *image) {
  pthread_mutex_lock(&store->lock);
  uint64_t hits = store->pool.hits, misses = store->pool.misses;
  struct embed_entry *there = embed_pool_find(&store->pool, image->entry.hash);
  store->pool.hits = hits; /* it was counted when it was looked for first */
  store->pool.misses = misses;
  store->n_decoded++;
  if (!there) {
    embed_pool_add(&store->pool, &image->entry);
    store->bytes += image->bytes;
  }
  pthread_mutex_unlock(&store->lock);
  if (!there) return image;
  image_free(&image->entry);
  return (struct stored_image *)(void *)there;
}

static bool rows_check(const struct image_store *store, int64_t rows, struct error *error) {
  if (rows <= image_store_rows(store)) return true;
  return error_set(error, ERROR_LIMIT,
                   "The image becomes %lld rows and there is room for %d: send a smaller one, or give the engine more "
                   "(--image-cache-memory).",
                   (long long)rows, image_store_rows(store));
}

static struct stored_image *image_make(const struct image_store *store, const struct image *picture,
                                       struct error *error) {
  const struct image_form *form = &store->form;
  static const struct preprocess_layout whole_tiles = {0, 1, 1};
  struct image_shape shape;
  if (!image_form_measure(form, picture->width, picture->height, &shape, error)) return NULL;
  int64_t rows = (int64_t)shape.tile_rows * shape.plan.tiles;
  if (!rows_check(store, rows, error)) return NULL;
  int32_t n_row = (int32_t)rows;
  size_t bytes = preprocess_count(&shape.plan, &whole_tiles) * sizeof(float);
  struct stored_image *image = calloc(1, sizeof *image + (size_t)embed_pages(n_row) * sizeof image->page[0]);
  if (image) image->numbers = malloc(bytes);
  if (!image || !image->numbers) {
    error_set(error, ERROR_MEMORY, "Out of memory for an image of %d tiles.", shape.plan.tiles);
    free(image);
    return NULL;
  }
  image->entry.n_row = n_row;
  image->entry.page = image->page;
  image->shape = shape;
  image->bytes = bytes;
  if (preprocess_run(&form->config, &shape.plan, &whole_tiles, picture, image->numbers, error)) return image;
  image_free(&image->entry);
  return NULL;
}

struct stored_image *image_store_take(struct image_store *store, struct slice file, struct slice mime,
                                      struct hash128 salt, struct error *error) {
  struct image picture;
  if (!image_file_check(file, mime, error)) return NULL;
  struct hash128 hash = content_hash(store, file, salt);
  struct stored_image *image = image_find(store, hash);
  if (image || !decode_pool_run(store->decoders, file, mime, &picture, error)) return image;
  image = image_make(store, &picture, error);
  image_release(&picture);
  if (!image) return NULL;
  image->entry.hash = hash;
  return image_enter(store, image);
}

/* Its numbers are needed no more. Under the lock. */
static void numbers_free(struct image_store *store, struct stored_image *image) {
  if (!image->numbers) return;
  free(image->numbers);
  image->numbers = NULL;
  store->bytes -= image->bytes;
  pthread_cond_broadcast(&store->room);
}

void image_store_drop(struct image_store *store, struct stored_image *image) {
  pthread_mutex_lock(&store->lock);
  bool gone = embed_pool_drop(&store->pool, &image->entry);
  if (gone) numbers_free(store, image);
  pthread_mutex_unlock(&store->lock);
  if (gone) image_free(&image->entry);
}

void image_store_claim(struct image_store *store, struct embed_claim *claim) {
  pthread_mutex_lock(&store->lock);
  embed_pool_claim(&store->pool, claim);
  pthread_mutex_unlock(&store->lock);
}

void image_store_unclaim(struct image_store *store, struct embed_claim *claim) {
  pthread_mutex_lock(&store->lock);
  embed_pool_unclaim(&store->pool, claim);
  pthread_mutex_unlock(&store->lock);
}

/* --- encoding ----------------------------------------------------------------------------------------------------- */

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
    numbers_free(store, image);
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

/* Gives pages to who waits; false when nothing is due. */
static bool work_begin(struct image_store *store, struct embed_entry **first) {
  pthread_mutex_lock(&store->lock);
  embed_pool_place(&store->pool, image_free);
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
