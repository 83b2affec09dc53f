/* The pool: helpers, who has which, and their replacement. */
#include "image/decode_pool.h"

#include "base/clock.h"
#include "base/limits.h"
#include "image/decode.h"
#include "image/decode_helper.h"
#include "image/decode_link.h"

#include <pthread.h>
#include <stdlib.h>

enum { START_TIMEOUT_MS = 10000 };

struct decode_pool {
  struct decode_pool_options options;
  pthread_mutex_t lock; /* of what follows, but a link that is taken is its taker's */
  pthread_cond_t free_one;
  bool taken[LIMIT_IMAGE_HELPERS];
  struct decode_link links[LIMIT_IMAGE_HELPERS];
  uint64_t losses;
};

static char *const own_command[] = {(char[]){"/proc/self/exe"}, (char[]){DECODE_HELPER_ARGUMENT}, NULL};

/* A child that waits, of a helper that is started anew if need be: one or the other may have been killed. */
static bool link_ready(struct decode_pool *pool, int i, struct error *error) {
  struct decode_link *link = &pool->links[i];
  for (int attempt = 0; attempt < 2; attempt++) {
    if (link->pid && !decode_link_waits(link) && !decode_link_renew(link, NULL)) decode_link_end(link);
    if (link->pid == 0 && !decode_link_start(link, pool->options.command, error)) return false;
    if (decode_link_greet(link, START_TIMEOUT_MS, error)) return true;
    decode_link_end(link);
  }
  return false;
}

static bool pool_start(struct decode_pool *pool, struct error *error) {
  for (int i = 0; i < pool->options.helpers; i++)
    if (!decode_link_start(&pool->links[i], pool->options.command, error)) return false;
  for (int i = 0; i < pool->options.helpers; i++)
    if (!link_ready(pool, i, error)) return false;
  return true;
}

static bool options_check(const struct decode_pool_options *options, struct error *error) {
  if (options->helpers < 1 || options->helpers > LIMIT_IMAGE_HELPERS)
    return error_set(error, ERROR_INVALID, "There cannot be %d image decoders: ask for 1 to %d.", options->helpers,
                     LIMIT_IMAGE_HELPERS);
  if (options->timeout_ms < 1 || options->timeout_ms > LIMIT_HELPER_MS)
    return error_set(error, ERROR_INVALID, "Decoding an image cannot be allowed %d ms: allow 1 to %d.",
                     options->timeout_ms, LIMIT_HELPER_MS);
  return (options->wait_ms >= 1 && options->wait_ms <= DECODE_WAIT_MOST_MS) ||
         error_set(error, ERROR_INVALID, "An image cannot wait %d ms for a decoder: allow 1 to %d.", options->wait_ms,
                   DECODE_WAIT_MOST_MS);
}

struct decode_pool *decode_pool_open(const struct decode_pool_options *options, struct error *error) {
  if (!options_check(options, error)) return NULL;
  struct decode_pool *pool = calloc(1, sizeof *pool);
  if (!pool) {
    error_set(error, ERROR_MEMORY, "There is no memory for image decoders.");
    return NULL;
  }
  pool->options = *options;
  if (!pool->options.command) pool->options.command = own_command;
  pthread_condattr_t monotonic;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&pool->free_one, &monotonic);
  pthread_condattr_destroy(&monotonic);
  if (pool_start(pool, error)) return pool;
  decode_pool_close(pool);
  return NULL;
}

void decode_pool_close(struct decode_pool *pool) {
  if (!pool) return;
  for (int i = 0; i < pool->options.helpers; i++) decode_link_end(&pool->links[i]);
  pthread_cond_destroy(&pool->free_one);
  pthread_mutex_destroy(&pool->lock);
  free(pool);
}

static bool late_tell(struct error *error) {
  return error_set(error, ERROR_TIMEOUT, "The request's time was over before its image was decoded.");
}

/* Under the lock; helpers: none is. */
static int free_find(const struct decode_pool *pool) {
  int i = 0;
  while (i < pool->options.helpers && pool->taken[i]) i++;
  return i;
}

/* −1: none was free in time. */
static int link_take(struct decode_pool *pool, uint64_t until_us, struct error *error) {
  uint64_t patience_us = clock_us() + (uint64_t)pool->options.wait_ms * 1000;
  uint64_t end_us = until_us < patience_us ? until_us : patience_us;
  struct timespec end = {(time_t)(end_us / 1000000), (long)(end_us % 1000000) * 1000};
  int i, late = clock_us() >= end_us;
  pthread_mutex_lock(&pool->lock);
  while ((i = free_find(pool)) == pool->options.helpers && !late)
    late = pthread_cond_timedwait(&pool->free_one, &pool->lock, &end) != 0;
  bool found = i < pool->options.helpers;
  if (found) pool->taken[i] = true;
  pthread_mutex_unlock(&pool->lock);
  if (found) return i;
  if (end_us == until_us)
    late_tell(error);
  else
    error_set(error, ERROR_BUSY, "No image decoder was free within %d ms: try again later.", pool->options.wait_ms);
  return -1;
}

static void link_return(struct decode_pool *pool, int i, bool lost) {
  pthread_mutex_lock(&pool->lock);
  pool->taken[i] = false;
  pool->losses += lost;
  pthread_cond_signal(&pool->free_one);
  pthread_mutex_unlock(&pool->lock);
}

/* Of one image, what it may take and what is left. */
static int decode_ms(const struct decode_pool *pool, uint64_t until_us) {
  uint64_t now_us = clock_us(), left_ms = until_us > now_us ? (until_us - now_us) / 1000 + 1 : 1;
  return left_ms < (uint64_t)pool->options.timeout_ms ? (int)left_ms : pool->options.timeout_ms;
}

bool decode_pool_run(struct decode_pool *pool, struct slice file, struct slice mime, uint64_t until_us,
                     struct image *image, struct error *error) {
  if (!image_file_check(file, mime, error)) return false;
  int i = link_take(pool, until_us, error);
  if (i < 0) return false;
  bool lost = false, done = link_ready(pool, i, error);
  if (done) {
    done = decode_link_run(&pool->links[i], file, decode_ms(pool, until_us), image, &lost, error);
    decode_link_renew(&pool->links[i], NULL); /* for the next image; if not, link_ready sees it */
  }
  bool late = !done && lost && clock_us() >= until_us;
  link_return(pool, i, lost && !late);
  return done || (late ? late_tell(error) : false);
}

uint64_t decode_pool_losses(struct decode_pool *pool) {
  pthread_mutex_lock(&pool->lock);
  uint64_t losses = pool->losses;
  pthread_mutex_unlock(&pool->lock);
  return losses;
}
