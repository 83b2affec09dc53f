/* The copy of weights, in pieces of a buffer, by threads that take the next piece in turn. */
#include "backend/cuda/upload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct upload {
  struct upload_link *link;
  const struct upload_job *jobs;
  int n_job;
  atomic_size_t next; /* piece that nobody has taken, counted through all jobs */
  atomic_bool failed;
};

struct uploader {
  struct upload *upload;
  int index;
  pthread_t thread;
  bool started;
  struct error error;
};

static size_t pieces_of(const struct upload_job *job) { return (job->from.size + UPLOAD_BYTES - 1) / UPLOAD_BYTES; }

/* Maps what is about to be read, all at once, where the bytes are a file's: a fault for some pages at a time costs as
 * much as the copy. Older kernels cannot, and fault. */
static void bytes_map(const uint8_t *from, size_t bytes) {
#ifdef MADV_POPULATE_READ
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)from / page * page;
  madvise((void *)first, (uintptr_t)from + bytes - first, MADV_POPULATE_READ);
#else
  (void)from, (void)bytes;
#endif
}

static bool piece_copy(const struct uploader *u, const struct upload_job *job, size_t at, struct error *error) {
  struct upload_link *link = u->upload->link;
  int buffer = 2 * u->index + link->turn[u->index];
  size_t rest = job->from.size - at, bytes = rest < UPLOAD_BYTES ? rest : UPLOAD_BYTES;
  if (job->host) {
    bytes_map(job->from.data + at, bytes);
    memcpy(job->to + at, job->from.data + at, bytes);
    return true;
  }
  link->turn[u->index] ^= 1;
  if (!link->await(link->user, buffer, error)) return false;
  if (job->fill) {
    job->fill(job->source, at, bytes, link->buffer[buffer]);
  } else {
    bytes_map(job->from.data + at, bytes);
    memcpy(link->buffer[buffer], job->from.data + at, bytes);
  }
  return link->send(link->user, buffer, job->to + at, bytes, error);
}

static void *uploader_run(void *argument) {
  struct uploader *u = argument;
  struct upload *upload = u->upload;
  size_t first = 0; /* piece of the job */
  int job = 0;
  while (!atomic_load(&upload->failed)) {
    size_t piece = atomic_fetch_add(&upload->next, 1);
    while (job < upload->n_job && piece - first >= pieces_of(&upload->jobs[job]))
      first += pieces_of(&upload->jobs[job++]);
    if (job == upload->n_job) break;
    if (!piece_copy(u, &upload->jobs[job], (piece - first) * UPLOAD_BYTES, &u->error))
      atomic_store(&upload->failed, true);
  }
  return NULL;
}

/* A thread that cannot be started is done without. */
bool upload_run(struct upload_link *link, int n_thread, const struct upload_job *jobs, int n_job, struct error *error) {
  struct upload upload = {.link = link, .jobs = jobs, .n_job = n_job};
  struct uploader uploader[UPLOAD_THREADS];
  if (n_thread > UPLOAD_THREADS) n_thread = UPLOAD_THREADS;
  for (int i = 0; i < n_thread; i++) uploader[i] = (struct uploader){.upload = &upload, .index = i};
  for (int i = 1; i < n_thread; i++)
    uploader[i].started = pthread_create(&uploader[i].thread, NULL, uploader_run, &uploader[i]) == 0;
  uploader_run(&uploader[0]);
  for (int i = 1; i < n_thread; i++)
    if (uploader[i].started) pthread_join(uploader[i].thread, NULL);
  for (int i = 0; i < n_thread; i++)
    if (uploader[i].error.code) return error_set(error, uploader[i].error.code, "%s", uploader[i].error.text);
  return true;
}
