/* Prefill attention's kernels (attend_units.cuh): a type of cache and a size of heads each. */
#include "backend/cuda/attend_units.cuh"

namespace {

template <typename T, int D> void prefill_launch(const cuda_attend &a, const cuda_batch &batch, cuda_stream stream) {
  using S = shape<D>;
  cudaFuncSetAttribute(prefill<T, D, false>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::bytes);
  int units = a.n_chunk * S::per_chunk * a.n_kv_head, blocks = units < a.n_block ? units : a.n_block;
  prefill<T, D, false><<<blocks, S::threads, S::bytes, stream>>>(a, batch);
}

template <typename T> void prefill_of(const cuda_attend &a, const cuda_batch &batch, cuda_stream stream) {
  switch (a.dim_k) {
  case 64: prefill_launch<T, 64>(a, batch, stream); break;
  case 80: prefill_launch<T, 80>(a, batch, stream); break;
  case 96: prefill_launch<T, 96>(a, batch, stream); break;
  case 128: prefill_launch<T, 128>(a, batch, stream); break;
  default: prefill_launch<T, 256>(a, batch, stream); break;
  }
}

} // namespace

void cuda_attend_prefill(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
  switch (attend->kv) {
  case CACHE_BF16: prefill_of<cache_bf16>(*attend, *batch, stream); break;
  case CACHE_E4M3: prefill_of<cache_e4m3>(*attend, *batch, stream); break;
  case CACHE_INT8: prefill_of<cache_int8>(*attend, *batch, stream); break;
  default: prefill_of<cache_f16>(*attend, *batch, stream); break;
  }
}
