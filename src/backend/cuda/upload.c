/* The copy of a weight, in pieces of a buffer, by threads that take the next piece in turn. */
#include "backend/cuda/upload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct upload {
  struct upload_link *link;
  uint8_t *to; /* on the device */
  struct slice from;
  atomic_size_t next; /* piece that nobody has taken */
  atomic_bool failed;
};

struct uploader {
  struct upload *upload;
  int index;
  pthread_t thread;
  bool started;
  struct error error;
};

static bool piece_copy(const struct uploader *u, size_t at, struct error *error) {
  const struct upload *upload = u->upload;
  struct upload_link *link = upload->link;
  int buffer = 2 * u->index + link->turn[u->index];
  size_t rest = upload->from.size - at, bytes = rest < UPLOAD_BYTES ? rest : UPLOAD_BYTES;
  link->turn[u->index] ^= 1;
  if (!link->await(link->user, buffer, error)) return false;
  memcpy(link->buffer[buffer], upload->from.data + at, bytes);
  return link->send(link->user, buffer, upload->to + at, bytes, error);
}

static void *uploader_run(void *argument) {
  struct uploader *u = argument;
  struct upload *upload = u->upload;
  while (!atomic_load(&upload->failed)) {
    size_t at = atomic_fetch_add(&upload->next, 1) * UPLOAD_BYTES;
    if (at >= upload->from.size) break;
    if (!piece_copy(u, at, &u->error)) atomic_store(&upload->failed, true);
  }
  return NULL;
}

/* A thread that cannot be started is done without. */
bool upload_run(struct upload_link *link, int n_thread, uint8_t *to, struct slice from, struct error *error) {
  struct upload upload = {.link = link, .to = to, .from = from};
  struct uploader uploader[UPLOAD_THREADS];
  size_t pieces = (from.size + UPLOAD_BYTES - 1) / UPLOAD_BYTES;
  if (n_thread > UPLOAD_THREADS) n_thread = UPLOAD_THREADS;
  if (pieces < (size_t)n_thread) n_thread = (int)pieces;
  for (int i = 0; i < n_thread; i++) uploader[i] = (struct uploader){.upload = &upload, .index = i};
  for (int i = 1; i < n_thread; i++)
    uploader[i].started = pthread_create(&uploader[i].thread, NULL, uploader_run, &uploader[i]) == 0;
  if (n_thread > 0) uploader_run(&uploader[0]);
  for (int i = 1; i < n_thread; i++)
    if (uploader[i].started) pthread_join(uploader[i].thread, NULL);
  for (int i = 0; i < n_thread; i++)
    if (uploader[i].error.code) return error_set(error, uploader[i].error.code, "%s", uploader[i].error.text);
  return true;
}
