/* A decoder's pool of rows that stand in place of embeddings: memory of the device, filled in the order of the stream.
 */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

#include <string.h>

bool cuda_pool_fill(struct program *p, int32_t first, int32_t count, const struct pool_source *source,
                    struct error *error) {
  struct program *encoder = source->encoder;
  size_t width = (size_t)p->plan->hidden, bytes = (size_t)count * width * sizeof(float);
  int32_t cols = encoder ? plan_values(encoder->plan)[plan_result(encoder->plan)].cols : 0;
  if (!pool_check(p->plan, &p->limits, first, count, source, encoder ? encoder->images.collected : 0, cols, error))
    return false;
  if (encoder && !source->rows && encoder->n_slot > 0)
    return error_set(error, ERROR_INVALID,
                     "An encoder's rows were to be taken while its next step, which overwrites them, is out.");
  float *to = p->images.pool + (size_t)first * width;
  if (count == 0) return true;
  if (!source->rows)
    return cuda_check(cudaMemcpyAsync(to, encoder->value[plan_result(encoder->plan)] + (size_t)source->first * width,
                                      bytes, cudaMemcpyDeviceToDevice, p->device->stream),
                      "copying an encoder's rows", error);
  return cuda_check(cudaMemcpyAsync(to, source->rows, bytes, cudaMemcpyHostToDevice, p->device->stream),
                    "copying rows to the GPU", error) &&
         cuda_check(cudaStreamSynchronize(p->device->stream), "copying rows to the GPU", error);
}

bool cuda_pool_named(const struct batch *batch) {
  bool named = false;
  for (int i = 0; batch->embed && i < batch->n_token && !named; i++) named = batch->embed[i] >= 0;
  return named;
}

/* In the slab's room. A step of ids alone has no such list. */
void cuda_pool_send(struct program *p, const struct batch *batch, struct cuda_room *room) {
  p->images.pooled = NULL;
  if (!cuda_pool_named(batch)) return;
  size_t bytes = (size_t)batch->n_token * sizeof *batch->embed;
  memcpy(room->host + room->used, batch->embed, bytes);
  p->images.pooled = (const int32_t *)(const void *)(room->device + room->used);
  room->used += (bytes + CUDA_ROOM_ALIGN - 1) / CUDA_ROOM_ALIGN * CUDA_ROOM_ALIGN;
}

void cuda_pool_run(struct program *p, const struct op *op) {
  int32_t cols = plan_values(p->plan)[op->out].cols;
  if (p->images.pooled)
    cuda_pool_embed(p->images.pool, p->images.pooled, p->on_device.n_token, cols, p->value[op->out], p->device->stream);
}
