/* Helpers that have untrusted images decoded: processes of the same binary, started before traffic is. Each image has a
 * process of its own (decode_helper.h), in a sandbox; if it crashes, hangs or answers nonsense, that image has a
 * sentence. */
#ifndef SPATE_IMAGE_DECODE_POOL_H
#define SPATE_IMAGE_DECODE_POOL_H

#include "base/slice.h"
#include "image/image.h"

struct decode_pool;

enum { DECODE_WAIT_MOST_MS = 60000 };

struct decode_pool_options {
  /* What a helper is started with: a path and arguments, NULL at the end; stays the caller's as long as the pool is.
   * NULL: this program as a helper. Within another program, as a library is, {"/usr/bin/spate", "decode-images", NULL}.
   */
  char *const *command;
  int helpers;    /* images at once: 1 to LIMIT_IMAGE_HELPERS */
  int timeout_ms; /* for one image: 1 to LIMIT_HELPER_MS */
  int wait_ms;    /* for a free helper: 1 to DECODE_WAIT_MOST_MS */
};

/* Starts the helpers and waits until each has a process in its sandbox. Its program must call decode_helper_main first.
 */
struct decode_pool *decode_pool_open(const struct decode_pool_options *options, struct error *error);

/* image_file_check and image_decode in a helper; waits for one, wait_ms at most (ERROR_BUSY). Both are over at until_us
 * of clock_us (ERROR_TIMEOUT), whose image is no loss; UINT64_MAX: never. Any thread, many at once. */
bool decode_pool_run(struct decode_pool *pool, struct slice file, struct slice mime, uint64_t until_us,
                     struct image *image, struct error *error);

/* Images whose process crashed, hung or answered nonsense. */
uint64_t decode_pool_losses(struct decode_pool *pool);

/* Nobody may be in decode_pool_run. */
void decode_pool_close(struct decode_pool *pool);

#endif
