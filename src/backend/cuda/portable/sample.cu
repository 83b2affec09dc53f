/* Drawing tokens where there are no clusters: a block takes a row, which it holds in device memory, in practice in the
 * second-level cache. Bound by the passes over it, each at what one multiprocessor can read: some for temperature
 * alone, ten or more for top_k and top_p. */
#define ROW_BLOCKS 1
#include "backend/cuda/cuda_paths.h"
#include "backend/cuda/sample.cuh"

namespace {

__global__ void __launch_bounds__(THREADS, 1) sample(struct cuda_sample a, int n_out) {
  __shared__ struct exchange exchange;
  float *room = a.room + (size_t)blockIdx.x * 2 * a.block_chunks * CHUNK;
  for (int out = blockIdx.x; out < n_out; out += gridDim.x) output_sample(a, out, 0, room, &exchange);
}

} // namespace

int portable_sample_chunks(int vocab) {
  int chunks = (vocab + CHUNK - 1) / CHUNK;
  return chunks <= MOST_CHUNKS ? chunks : 0;
}

bool portable_sample_rules(int vocab) { return portable_sample_chunks(vocab) > 0; }

bool portable_sample_prepare(int) { return true; }

void portable_sample(const struct cuda_sample *a, int n_out, cuda_stream stream) {
  int blocks = n_out < a->rows ? n_out : a->rows;
  sample<<<blocks, THREADS, 0, stream>>>(*a, n_out);
}
