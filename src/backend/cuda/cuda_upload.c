/* The link of weights' copies to a GPU: pinned buffers, an event for each, all in the stream that steps run in, so that
 * the first step comes after the last weight. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"
#include "base/cpu_share.h"

#include <stdlib.h>

struct cuda_upload {
  struct upload_link link;
  const struct device *device;
  cudaEvent_t left[UPLOAD_BUFFERS]; /* recorded after a buffer's copy */
  int n_thread;
};

static bool buffer_send(void *user, int buffer, void *to, size_t bytes, struct error *error) {
  struct cuda_upload *u = user;
  cudaStream_t stream = u->device->stream;
  return cuda_check(cudaMemcpyAsync(to, u->link.buffer[buffer], bytes, cudaMemcpyHostToDevice, stream),
                    "copying weights to the GPU", error) &&
         cuda_check(cudaEventRecord(u->left[buffer], stream), "copying weights to the GPU", error);
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

static bool upload_close(struct cuda_upload *u, struct error *error) {
  bool done = cuda_check(cudaStreamSynchronize(u->device->stream), "copying weights to the GPU", error);
  for (int i = 0; i < UPLOAD_BUFFERS; i++) {
    cudaFreeHost(u->link.buffer[i]);
    if (u->left[i]) cudaEventDestroy(u->left[i]);
  }
  free(u);
  return done;
}

static struct cuda_upload *upload_open(const struct device *device, struct error *error) {
  struct cuda_upload *u = calloc(1, sizeof *u);
  if (!u) {
    error_set(error, ERROR_MEMORY, "There is no memory for the copy of weights.");
    return NULL;
  }
  int cpus = cpu_share_count();
  *u = (struct cuda_upload){.device = device, .n_thread = cpus < UPLOAD_THREADS ? cpus : UPLOAD_THREADS};
  u->link.user = u, u->link.send = buffer_send, u->link.await = buffer_await;
  if (buffers_make(u, error)) return u;
  upload_close(u, NULL);
  return NULL;
}

bool cuda_upload(const struct device *device, const struct upload_job *jobs, int n_job, struct error *error) {
  struct cuda_upload *u = upload_open(device, error);
  if (!u) return false;
  bool sent = upload_run(&u->link, u->n_thread, jobs, n_job, error);
  return upload_close(u, sent ? error : NULL) && sent;
}
