/* The link of copies to a GPU: pinned buffers, an event for each, all in one stream. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"
#include "base/cpu_share.h"

#include <stdlib.h>

struct cuda_upload {
  struct upload_link link;
  cudaStream_t stream;
  cudaEvent_t left[UPLOAD_BUFFERS]; /* recorded after a buffer's copy */
  int n_thread;
};

static bool buffer_send(void *user, int buffer, void *to, size_t bytes, struct error *error) {
  struct cuda_upload *u = user;
  return cuda_check(cudaMemcpyAsync(to, u->link.buffer[buffer], bytes, cudaMemcpyHostToDevice, u->stream),
                    "copying weights to the GPU", error) &&
         cuda_check(cudaEventRecord(u->left[buffer], u->stream), "copying weights to the GPU", error);
}

/* Of an event that was never recorded the runtime says that it is over. */
static bool buffer_await(void *user, int buffer, struct error *error) {
  struct cuda_upload *u = user;
  return cuda_check(cudaEventSynchronize(u->left[buffer]), "copying weights to the GPU", error);
}

static bool buffers_make(struct cuda_upload *u, struct error *error) {
  for (int i = 0; i < 2 * u->n_thread; i++)
    if (!cuda_pin(&u->link.buffer[i], UPLOAD_BYTES, error) ||
        !cuda_check(cudaEventCreateWithFlags(&u->left[i], cudaEventDisableTiming), "making an event", error))
      return false;
  return true;
}

void cuda_upload_close(struct cuda_upload *u) {
  if (!u) return;
  cudaStreamSynchronize(u->stream);
  for (int i = 0; i < UPLOAD_BUFFERS; i++) {
    cudaFreeHost(u->link.buffer[i]);
    if (u->left[i]) cudaEventDestroy(u->left[i]);
  }
  free(u);
}

struct cuda_upload *cuda_upload_open(struct CUstream_st *stream, int most, struct error *error) {
  struct cuda_upload *u = calloc(1, sizeof *u);
  if (!u) {
    error_set(error, ERROR_MEMORY, "There is no memory for copies to the GPU.");
    return NULL;
  }
  int cpus = cpu_share_count();
  *u = (struct cuda_upload){.stream = stream, .n_thread = cpus < most ? cpus : most};
  u->link.user = u, u->link.send = buffer_send, u->link.await = buffer_await;
  if (buffers_make(u, error)) return u;
  cuda_upload_close(u);
  return NULL;
}

bool cuda_upload_run(struct cuda_upload *u, const struct upload_job *jobs, int n_job, struct error *error) {
  bool sent = upload_run(&u->link, u->n_thread, jobs, n_job, error);
  return cuda_check(cudaStreamSynchronize(u->stream), "copying weights to the GPU", sent ? error : NULL) && sent;
}

bool cuda_upload(const struct device *device, const struct upload_job *jobs, int n_job, struct error *error) {
  struct cuda_upload *u = cuda_upload_open(device->stream, UPLOAD_THREADS, error);
  bool done = u && cuda_upload_run(u, jobs, n_job, error);
  cuda_upload_close(u);
  return done;
}
