/* Threads that prepare images, and who holds them; encoding is in image_encode.c. */
#include "runtime/image_store_state.h"

#include "base/limits.h"
#include "image/decode.h"
#include "image/decode_helper.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* --- life --------------------------------------------------------------------------------------------------------- */

static void *prepare_thread(void *argument) {
  struct image_store *store = argument;
  setpriority(PRIO_PROCESS, (id_t)gettid(), IMAGE_NICE);
  for (struct waiting_request *waiting; (waiting = image_queue_take(store));) {
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

static void locks_init(struct image_store *store) {
  pthread_condattr_t monotonic;
  pthread_mutex_init(&store->lock, NULL);
  pthread_cond_init(&store->work, NULL);
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&store->room, &monotonic);
  pthread_condattr_destroy(&monotonic);
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
  store->waiting_most = options->waiting_most;
  store->request_most = options->request_most;
  locks_init(store);
  store->run.tile = calloc((size_t)engine->vision_limits.seats, sizeof(struct stored_image *));
  if (!store->run.tile || !embed_pool_init(&store->pool, engine->limits.pool - (engine->own_row >= 0)))
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

void stored_image_free(struct embed_entry *entry) {
  struct stored_image *image = (struct stored_image *)(void *)entry;
  free(image->numbers);
  free(image);
}

void image_store_free(struct image_store *store) {
  if (!store) return;
  image_store_stop(store);
  embed_pool_release_all(&store->pool, stored_image_free); /* those of a run that was broken off, too */
  free(store->run.tile);
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
  if (!there) embed_pool_add(&store->pool, &image->entry);
  pthread_mutex_unlock(&store->lock);
  if (!there) return image;
  image_bytes_leave(store, image->bytes);
  stored_image_free(&image->entry);
  return (struct stored_image *)(void *)there;
}

static bool rows_check(const struct image_store *store, int64_t rows, struct error *error) {
  if (rows <= image_store_rows(store)) return true;
  return error_set(error, ERROR_LIMIT,
                   "The image becomes %lld rows and there is room for %d: send a smaller one, or give the engine more "
                   "(--image-cache-memory).",
                   (long long)rows, image_store_rows(store));
}

static struct stored_image *image_make(struct image_store *store, const struct image *picture, struct image_room *room,
                                       struct error *error) {
  const struct image_form *form = &store->form;
  static const struct preprocess_layout whole_tiles = {0, 1, 1};
  struct image_shape shape;
  if (!image_form_measure(form, picture->width, picture->height, &shape, error)) return NULL;
  int64_t rows = (int64_t)shape.tile_rows * shape.plan.tiles;
  if (!rows_check(store, rows, error)) return NULL;
  int32_t n_row = (int32_t)rows;
  size_t bytes = preprocess_count(&shape.plan, &whole_tiles) * sizeof(float);
  if (!image_room_take(store, room, bytes, error)) return NULL;
  struct stored_image *image = calloc(1, sizeof *image + (size_t)embed_pages(n_row) * sizeof image->page[0]);
  if (image) image->numbers = malloc(bytes);
  if (!image || !image->numbers) {
    error_set(error, ERROR_MEMORY, "Out of memory for an image of %d tiles.", shape.plan.tiles);
    image_bytes_leave(store, bytes);
    free(image);
    return NULL;
  }
  image->entry.n_row = n_row;
  image->entry.page = image->page;
  image->shape = shape;
  image->bytes = bytes;
  if (preprocess_run(&form->config, &shape.plan, &whole_tiles, picture, image->numbers, error)) return image;
  image_bytes_leave(store, bytes);
  stored_image_free(&image->entry);
  return NULL;
}

struct stored_image *image_store_take(struct image_store *store, struct slice file, struct slice mime,
                                      struct hash128 salt, uint64_t until_us, struct image_room *room,
                                      struct error *error) {
  struct image picture;
  if (!image_file_check(file, mime, error)) return NULL;
  struct hash128 hash = content_hash(store, file, salt);
  struct stored_image *image = image_find(store, hash);
  if (image || !decode_pool_run(store->decoders, file, mime, until_us, &picture, error)) return image;
  image = image_make(store, &picture, room, error);
  image_release(&picture);
  if (!image) return NULL;
  image->entry.hash = hash;
  return image_enter(store, image);
}

void image_numbers_free(struct image_store *store, struct stored_image *image) {
  if (!image->numbers) return;
  free(image->numbers);
  image->numbers = NULL;
  store->bytes -= image->bytes;
  pthread_cond_broadcast(&store->room);
}

void image_hold_end(struct image_store *store, struct stored_image *image) {
  if (!embed_pool_drop(&store->pool, &image->entry)) return;
  image_numbers_free(store, image);
  stored_image_free(&image->entry);
}

void image_store_drop(struct image_store *store, struct stored_image *image) {
  pthread_mutex_lock(&store->lock);
  image_hold_end(store, image);
  pthread_mutex_unlock(&store->lock);
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

struct embed_claim *image_store_stuck(struct image_store *store) {
  if (!store->pool.first) return NULL; /* which is this thread's */
  pthread_mutex_lock(&store->lock);
  struct embed_claim *claim = embed_pool_stuck(&store->pool);
  pthread_mutex_unlock(&store->lock);
  return claim;
}

bool image_store_moves(const struct image_store *store) { return store->pool.n_placed > 0 || !store->pool.first; }
