/* Fetches the images of one request, on the thread that calls, which waits for them. */
#ifndef SPATE_SERVER_MEDIA_FETCH_H
#define SPATE_SERVER_MEDIA_FETCH_H

#include "base/buffer.h"
#include "server/media_rules.h"

#include <stdatomic.h>

struct media_image {
  struct http_url url;
  struct buffer bytes; /* what came; whole when the fetch is done */
};

struct media_fetch {
  const struct media_rules *rules;
  struct media_image *image; /* [n] */
  int n;
  uint64_t begun_us;
  float timeout_s;       /* the request's own, since begun_us; 0: none */
  atomic_bool cancelled; /* any thread: nobody wants them any more */
  atomic_size_t
      *bytes_of_all; /* of those that others fetch too: at most LIMIT_FETCHED_BYTES, which these are added to */
  int failed;        /* which of the images the error is about */
};

/* False with a sentence, when one of them cannot be had; ERROR_BUSY: because of what others fetch. */
bool media_fetch_run(struct media_fetch *fetch, struct error *error);

/* Frees the bytes, and gives back what they count. */
void media_fetch_release(struct media_fetch *fetch);

#endif
