/* What the files of the store of images share. Internal to the room. */
#ifndef SPATE_RUNTIME_IMAGE_STORE_STATE_H
#define SPATE_RUNTIME_IMAGE_STORE_STATE_H

#include "base/limits.h"
#include "runtime/image_store.h"
#include "schedule/schedule.h"

/* A request of the queue. */
struct waiting_request {
  struct waiting_request *next;
  void *request;
  struct image_turn turn;
};

/* Tiles that are in the encoder, from its first slice to its last. */
struct encoder_run {
  struct stored_image **tile; /* [limits.seats of the encoder] whose each is, held for it; in the order of its rows */
  int32_t n_tile;             /* 0: nothing runs */
  uint64_t us;                /* that its slices have taken */
};

struct image_store {
  struct image_form form;
  const struct loaded_engine *engine;
  struct decode_pool *decoders;
  struct hash_key key;
  struct hash128 config; /* of the preprocessor's text */
  void (*prepare)(void *user, void *request);
  void *user;
  size_t waiting_most, request_most;
  int n_thread;
  pthread_t thread[LIMIT_IMAGE_HELPERS];

  pthread_mutex_t lock; /* of what follows */
  pthread_cond_t work, room;
  struct waiting_request *first, *last;
  uint64_t n_turn, turn[SCHEDULE_TENANTS]; /* taken so far; when each tenant had its last */
  bool stopping;
  size_t bytes; /* of numbers that wait to be encoded or are being made */
  uint64_t n_decoded;
  struct embed_pool pool; /* its claims are the step thread's, which sees without the lock whether there are any */

  /* the step thread's */
  struct image_batch batch;
  struct encoder_run run;
  struct encoder_pace pace;
};

/* image_queue.c: whose turn it is; NULL once the store ends and the queue is empty. */
struct waiting_request *image_queue_take(struct image_store *store);
/* Room for one image more of a request, of what was kept for it first; and given back. */
bool image_room_take(struct image_store *store, struct image_room *room, size_t bytes, struct error *error);
void image_bytes_leave(struct image_store *store, size_t bytes);

void stored_image_free(struct embed_entry *entry);

/* Its numbers are needed no more. Under the lock. */
void image_numbers_free(struct image_store *store, struct stored_image *image);

/* One holder less; nobody's and not encoded, it is freed. Under the lock. */
void image_hold_end(struct image_store *store, struct stored_image *image);

#endif
