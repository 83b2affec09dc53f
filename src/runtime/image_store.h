/* The images of all requests: decoded and preprocessed by threads of their own (in the helpers of a decode pool),
 * encoded by the step thread in runs that requests share, kept in the embedding pool by the hash of their content.
 *
 * The lock is taken once an image by those threads and once an image and a run by the step thread, never for a token.
 */
#ifndef SPATE_RUNTIME_IMAGE_STORE_H
#define SPATE_RUNTIME_IMAGE_STORE_H

#include "base/buffer.h"
#include "base/keyed_hash.h"
#include "engine/image_batch.h"
#include "engine/loaded_engine.h"
#include "image/decode_pool.h"
#include "runtime/image_form.h"
#include "schedule/embed_pool.h"
#include "schedule/encoder_pace.h"

#include <pthread.h>

struct image_store_options {
  const struct image_form *form; /* copied */
  struct slice preprocessor;     /* its text is part of the content that is hashed; borrowed for the call */
  struct hash_key key;
  const struct loaded_engine *engine; /* borrowed, as what the form names */
  struct decode_pool *pool;           /* borrowed */
  int threads;                        /* that decode and preprocess: 1 to LIMIT_IMAGE_HELPERS */
  size_t waiting_most, request_most; /* bytes of preprocessed images that wait to be encoded, beyond which no request is
                                        begun; of a request's; all there are: both together */
  /* A request of the queue, in one of the threads: it is the caller's again when this returns. */
  void (*prepare)(void *user, void *request);
  void *user;
};

struct image_store_stats {
  uint64_t images, hits, misses, evictions, losses; /* decoded; found encoded or on its way, and not; of the decoder */
};

struct image_store;

/* An image that is preprocessed: its shape, its numbers until they are encoded, its place in the pool. */
struct stored_image {
  struct embed_entry entry; /* first: an entry is its image */
  struct image_shape shape;
  float *numbers;    /* [tiles][3][tile_height][tile_width], owned; NULL once encoded */
  size_t bytes;      /* of numbers */
  int32_t n_encoded; /* tiles */
  int32_t page[];
};

struct image_store *image_store_new(const struct image_store_options *options, struct error *error);
/* Ends the threads when their queue is empty. Before the step thread ends. */
void image_store_stop(struct image_store *store);
/* After it. Nobody holds an image. NULL is allowed. */
void image_store_free(struct image_store *store);

const struct image_form *image_store_form(const struct image_store *store);
int32_t image_store_rows(const struct image_store *store); /* that the pool has */
void image_store_stats(struct image_store *store, struct image_store_stats *stats);

/* Whose turn it is to be prepared: a lower priority's; of those the tenant's whose last turn is longest ago. */
struct image_turn {
  int32_t priority, tenant; /* [0, SCHEDULE_TENANTS) */
};

/* Any thread: has the request prepared. False: there is no memory for it. */
bool image_store_queue(struct image_store *store, void *request, struct image_turn turn, struct error *error);

/* The step thread: calls leave with each request of the queue for which over is true, which is in it no longer. */
void image_store_review(struct image_store *store, bool (*over)(const void *request),
                        void (*leave)(void *user, void *request));

/* Memory for the preprocessed images of one request. No request waits in the middle, where it would keep what others
 * wait for: it lets go of all that it has, and begins again once there is room for as much as it had. */
struct image_room {
  size_t wanted;     /* at the beginning: what is known to be needed */
  size_t kept, used; /* of it for images to come; by images so far */
  bool full;         /* there was none for the next image: wanted is what would have done */
};

/* A thread of the store, in prepare: waits until earlier images have left room for a request's, or it is over. False:
 * the store ends. */
bool image_store_wait(struct image_store *store, struct image_room *room, bool (*over)(const void *request),
                      const void *request);
/* What it has not used. */
void image_store_leave_room(struct image_store *store, struct image_room *room);

/* A thread of the store: the image of these bytes, held, whoever else has sent it with this salt. NULL: a sentence;
 * ERROR_TIMEOUT where it was not decoded until then. */
struct stored_image *image_store_take(struct image_store *store, struct slice file, struct slice mime,
                                      struct hash128 salt, uint64_t until_us, struct image_room *room,
                                      struct error *error);
void image_store_drop(struct image_store *store, struct stored_image *image);

/* The step thread: the claim of a request whose images are held, and its end. */
void image_store_claim(struct image_store *store, struct embed_claim *claim);
/* A claim that has to give way, or nobody's images would come any more; NULL: none. */
struct embed_claim *image_store_stuck(struct image_store *store);
/* Somebody has his pages, or nobody waits for any. */
bool image_store_moves(const struct image_store *store);
void image_store_unclaim(struct image_store *store, struct embed_claim *claim);

/* The encoder's turn. */
struct encoder_turn {
  int32_t tile_tokens; /* of a tile of the first image that is due; 0: none is */
  bool due;            /* there are images to encode, or a run goes on, */
  bool runs;           /* for which there is time now */
  /* what became of it */
  bool done;       /* a run has ended, */
  uint64_t run_us; /* which has taken so long in all */
  uint64_t us;     /* that it has run for; 0: it did not */
};

/* The step thread: gives pages to those that wait, and says whether a slice of a run is due beside streams that leave
 * so much of their step (schedule_aside_us; negative: there are none). */
void image_store_look(struct image_store *store, double granted_us, struct encoder_turn *turn);
/* The same slice, where one runs; no step is out, whose time would be taken for the encoder's. */
bool image_store_run(struct image_store *store, double granted_us, struct encoder_turn *turn, struct error *error);

/* The step thread: the engine has stopped, and with it the run; whoever waits for the room of its images has it. */
void image_store_break(struct image_store *store);

/* The step thread: a step has gone by, beside which so much is granted. */
void image_store_grant(struct image_store *store, double us);

#endif
