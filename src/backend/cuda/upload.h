/* Weights on their way from a mapped file to a device. A copy from pageable memory goes through the driver's one thread
 * and buffer, far below the link's rate; here threads fill pinned buffers by turns while the copy engine empties those
 * that are full. Host code that knows no CUDA: who moves a buffer is a struct upload_link (cuda_upload.c; a test). */
#ifndef SPATE_BACKEND_CUDA_UPLOAD_H
#define SPATE_BACKEND_CUDA_UPLOAD_H

#include "base/error.h"
#include "base/slice.h"

#include <stdbool.h>

enum {
  UPLOAD_THREADS = 16, /* at most: each copies 4 to 8 GB/s, and a link takes 25 to 60 */
  UPLOAD_BUFFERS = 2 * UPLOAD_THREADS,
  UPLOAD_BYTES = 2 << 20, /* of a buffer: a copy of 0.04 ms, beside which its start does not count */
};

/* Bytes of a weight or an adapter, and where they go. */
struct upload_job {
  uint8_t *to; /* on the device, */
  bool host;   /* or on the host: threads copy, and no link */
  struct slice from;
  /* Where they are not as they go over (from.data is NULL then): makes bytes [at, at + bytes) of them. */
  void (*fill)(const void *source, size_t at, size_t bytes, uint8_t *to);
  const void *source;
};

/* Pinned buffers, two for each thread, and how they leave. Several threads call at once, for different buffers. */
struct upload_link {
  uint8_t *buffer[UPLOAD_BUFFERS]; /* [UPLOAD_BYTES] */
  int turn[UPLOAD_THREADS];        /* which of a thread's two is next */
  void *user;
  /* Starts the copy of a buffer's first bytes to the device, and returns. */
  bool (*send)(void *user, int buffer, void *to, size_t bytes, struct error *error);
  /* Until what was last sent from the buffer has left it; at once where nothing was. */
  bool (*await)(void *user, int buffer, struct error *error);
};

/* Copies all jobs by up to n_thread threads, this one among them. What is read has been read when it returns, but may
 * be on its way to the device. */
bool upload_run(struct upload_link *link, int n_thread, const struct upload_job *jobs, int n_job, struct error *error);

#endif
