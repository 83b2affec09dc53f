/* Attention within images on Hopper's matrix units (attend_units.cuh), whose queries, keys and values the linear before
 * has left (image_linear.cu). */
#include "backend/cuda/attend_units.cuh"
#include "backend/cuda/launch.cuh"

namespace {

template <int D, typename A> void whole_launch(const A &a, const cuda_batch &batch, cuda_stream stream) {
  using S = shape<D>;
  int units = a.n_chunk * S::per_chunk * a.n_kv_head, blocks = units < a.n_block ? units : a.n_block;
  launch_shape of = {blocks, S::threads, S::bytes, 1};
  early_launch(prefill<cache_f16, D, true, A>, of, stream, a, batch);
}

template <typename A> void whole_of(const A &a, const cuda_batch &batch, cuda_stream stream) {
  switch (a.dim_k) {
  case 64: whole_launch<64>(a, batch, stream); break;
  case 80: whole_launch<80>(a, batch, stream); break;
  case 96: whole_launch<96>(a, batch, stream); break;
  default: whole_launch<128>(a, batch, stream); break;
  }
}

} // namespace

void cuda_image_attend(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream) {
  whole_of(*attend, *batch, stream);
}

void cuda_image_attend_apart(const struct cuda_attend *attend, const struct cuda_distances *distances,
                             const struct cuda_batch *batch, cuda_stream stream) {
  whole_of(attend_apart{*attend, *distances}, *batch, stream);
}
