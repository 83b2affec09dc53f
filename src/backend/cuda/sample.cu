/* Drawing tokens where there are clusters: 8 blocks take a row and hold it in their shared memory, so that logits are
 * read once however many passes the filters need. Bound by that read for many rows; for few by some synchronizations of
 * the cluster, about a microsecond each: 1 for greedy, 2 for temperature alone, some 6 for each of top_k and top_p. */
#include "backend/cuda/sample.cuh"

#include "backend/cuda/launch.cuh"
#include "backend/cuda/instructions.cuh"

namespace {

__global__ __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 2) void sample(struct cuda_sample a) {
  extern __shared__ float x[];
  __shared__ struct exchange exchange;
  output_sample(a, blockIdx.x / CLUSTER, blockIdx.x % CLUSTER, x, &exchange);
}

/* A thread an output. */
__global__ void __launch_bounds__(THREADS) take(struct cuda_sample a, int n_out) {
  int out = blockIdx.x * THREADS + threadIdx.x;
  dependencies_wait();
  if (out >= n_out) return;
  unsigned long long most = a.greatest[out];
  a.greatest[out] = 0;
  if (a.draw[out].by_host) return; /* there is none: the graph has more */
  bool sound = place_sound(most);
  a.results->token[out] = sound ? place_token(most) : -1;
  a.results->logprob[out] = 0;
  if (a.draw[out].seat >= 0) a.last[a.draw[out].seat] = sound ? place_token(most) : 0;
}

size_t shared_bytes(int chunks, bool rules) {
  return (size_t)chunks * CHUNK * (sizeof(float) + (rules ? sizeof(uint32_t) : 0));
}

} // namespace

int cuda_sample_chunks(int vocab) {
  int chunks = (vocab + CHUNK * CLUSTER - 1) / (CHUNK * CLUSTER);
  return chunks <= MOST_CHUNKS ? chunks : 0;
}

bool cuda_sample_rules(int vocab) {
  int chunks = cuda_sample_chunks(vocab);
  return chunks > 0 && chunks <= MOST_CHUNKS / 2;
}

bool cuda_sample_prepare(int vocab) {
  int bytes = (int)shared_bytes(cuda_sample_chunks(vocab), cuda_sample_rules(vocab));
  return cudaFuncSetAttribute(sample, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) == cudaSuccess;
}

void cuda_sample(const struct cuda_sample *a, int n_out, cuda_stream stream) {
  if (a->greatest) {
    early_launch(take, {(n_out + THREADS - 1) / THREADS, THREADS, 0, 1}, stream, *a, n_out);
    return;
  }
  sample<<<n_out * CLUSTER, THREADS, shared_bytes(a->block_chunks, a->rules != NULL), stream>>>(*a);
}
