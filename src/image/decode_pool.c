/* The pool: helpers, who has which, and their replacement. */
#include "image/decode_pool.h"

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
  uint64_t replaced;
};

static char *const own_command[] = {(char[]){"/proc/self/exe"}, (char[]){DECODE_HELPER_ARGUMENT}, NULL};

static bool pool_start(struct decode_pool *pool, struct error *error) {
  for (int i = 0; i < pool->options.helpers; i++)
    if (!decode_link_start(&pool->links[i], pool->options.command, error)) return false;
  for (int i = 0; i < pool->options.helpers; i++)
    if (!decode_link_greet(&pool->links[i], START_TIMEOUT_MS, error)) return false;
  return true;
}

struct decode_pool *decode_pool_open(const struct decode_pool_options *options, struct error *error) {
  if (options->helpers < 1 || options->helpers > LIMIT_IMAGE_HELPERS) {
    error_set(error, ERROR_INVALID, "There cannot be %d image decoders: ask for 1 to %d.", options->helpers,
              LIMIT_IMAGE_HELPERS);
    return NULL;
  }
  if (options->timeout_ms < 1 || options->timeout_ms > LIMIT_HELPER_MS) {
    error_set(error, ERROR_INVALID, "Decoding an image cannot be allowed %d ms: allow 1 to %d.", options->timeout_ms,
              LIMIT_HELPER_MS);
    return NULL;
  }
  struct decode_pool *pool = calloc(1, sizeof *pool);
  if (!pool) {
    error_set(error, ERROR_MEMORY, "There is no memory for image decoders.");
    return NULL;
  }
  pool->options = *options;
  if (!pool->options.command) pool->options.command = own_command;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->free_one, NULL);
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

static int link_take(struct decode_pool *pool) {
  int i = 0;
  pthread_mutex_lock(&pool->lock);
  for (;; i = 0) {
    while (i < pool->options.helpers && pool->taken[i]) i++;
    if (i < pool->options.helpers) break;
    pthread_cond_wait(&pool->free_one, &pool->lock);
  }
  pool->taken[i] = true;
  pthread_mutex_unlock(&pool->lock);
  return i;
}

static void link_return(struct decode_pool *pool, int i, bool replaced) {
  pthread_mutex_lock(&pool->lock);
  pool->taken[i] = false;
  pool->replaced += replaced;
  pthread_cond_signal(&pool->free_one);
  pthread_mutex_unlock(&pool->lock);
}

/* One is replaced when it is lost, and before its time of life, which is the kernel's to end, could end an image. */
static bool link_replace(struct decode_pool *pool, int i, bool lost) {
  struct decode_link *link = &pool->links[i];
  if (!lost && link->busy_us < (uint64_t)(LIMIT_HELPER_SECONDS * 1000 - LIMIT_HELPER_MS) * 1000) return false;
  decode_link_end(link);
  decode_link_start(link, pool->options.command, NULL); /* or the next one who needs it tries again, and says why not */
  return true;
}

static bool link_ready(struct decode_pool *pool, int i, struct error *error) {
  struct decode_link *link = &pool->links[i];
  if (link->greeted && !decode_link_waits(link)) decode_link_end(link); /* since it had its last image */
  if (link->pid == 0 && !decode_link_start(link, pool->options.command, error)) return false;
  if (decode_link_greet(link, START_TIMEOUT_MS, error)) return true;
  decode_link_end(link);
  return false;
}

bool decode_pool_run(struct decode_pool *pool, struct slice file, struct slice mime, struct image *image,
                     struct error *error) {
  if (!image_file_check(file, mime, error)) return false;
  int i = link_take(pool);
  bool lost = false, replaced = false;
  bool done = link_ready(pool, i, error);
  if (done) {
    done = decode_link_run(&pool->links[i], file, pool->options.timeout_ms, image, &lost, error);
    replaced = link_replace(pool, i, lost);
  }
  link_return(pool, i, replaced);
  return done;
}

uint64_t decode_pool_replaced(struct decode_pool *pool) {
  pthread_mutex_lock(&pool->lock);
  uint64_t replaced = pool->replaced;
  pthread_mutex_unlock(&pool->lock);
  return replaced;
}
