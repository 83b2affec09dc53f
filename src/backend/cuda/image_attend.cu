/* Attention within images on Hopper's matrix units (attend_units.cuh), whose queries, keys and values the linear before
 * has left (image_linear.cu). */
#include "backend/cuda/attend_units.cuh"
#include "backend/cuda/launch.cuh"

namespace {

template <int D> void whole_launch(const cuda_attend &a, const cuda_batch &batch, cuda_stream stream) {
  using S = shape<D>;
  int units = a.n_chunk * S::per_chunk * a.n_kv_head, blocks = units < a.n_block ? units : a.n_block;
  launch_shape of = {blocks, S::threads, S::bytes, 1};
  early_launch(prefill<cache_f16, D, true>, of, stream, a, batch);
}

} // namespace

void cuda_image_attend(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
  switch (attend->dim_k) {
  case 64: whole_launch<64>(*attend, *batch, stream); break;
  case 80: whole_launch<80>(*attend, *batch, stream); break;
  case 96: whole_launch<96>(*attend, *batch, stream); break;
  default: whole_launch<128>(*attend, *batch, stream); break;
  }
}
