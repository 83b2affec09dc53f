/* Linears over weights of 4 and 8 bits for LINEAR_WIDE tokens and more: which shape of the kernel (coded_wide.cuh), how
 * many blocks share the columns, and the launch; of more than 128 tokens, one for each 128. */
#include "backend/cuda/coded_wide.cuh"
#include "backend/cuda/launch.cuh"

namespace {

using namespace coded_wide;

enum { WIDE_MOST = 128 };

struct version {
  int strips, resident;
  void (*kernel)(wide);
  launch_shape shape;
};

template <typename C, int TOKENS, int GROUPS> version version_of() {
  using S = coded_wide::shape<C, TOKENS, GROUPS>;
  return {S::warps, S::resident, linear_coded_wide<C, TOKENS, GROUPS>, {1, S::threads, S::shared_bytes, 1}};
}

/* Of so many strips. */
template <typename C> version coding_choose(int tokens, int strips, int multiprocessors) {
  if (tokens <= 32) return version_of<C, 32, 2>();
  if (tokens <= 64) return version_of<C, 64, 2>();
  return strips >= 13 * multiprocessors ? version_of<C, 128, 4>() : version_of<C, 128, 2>();
}

/* Of those that are not coded_many.cu's. */
template <typename C> version nibbles_choose(int tokens) {
  return tokens <= 32 ? version_of<C, 32, 2>() : version_of<C, 128, 4>();
}

version version_choose(const wide &f, int multiprocessors) {
  const struct cuda_matrix &m = f.linear.matrix;
  int tokens = f.linear.n_row, strips = f.n_strip;
  if (m.kind == KIND_F8 && m.group) return coding_choose<grouped>(tokens, strips, multiprocessors);
  if (m.kind == KIND_F8) return coding_choose<bytes<e4m3>>(tokens, strips, multiprocessors);
  if (m.bytes && m.has_min) return coding_choose<least>(tokens, strips, multiprocessors);
  if (m.bytes) return coding_choose<bytes<int8>>(tokens, strips, multiprocessors);
  return m.group == 128 ? nibbles_choose<nibbles<1>>(tokens) : nibbles_choose<nibbles<4>>(tokens);
}

/* How blocks share the rows, and those of a cluster the columns: as many parts as keep one and a half blocks on a
 * multiprocessor. */
struct sharing {
  int groups, parts;
};

sharing sharing_choose(const wide &f, const version &v, int multiprocessors) {
  static const int counts[] = {8, 6, 4, 3, 2};
  int units = f.n_strip / f.unit, most = v.strips / f.unit, groups = (units + most - 1) / most;
  for (int parts : counts)
    if (groups * parts * 2 <= multiprocessors * 3 && f.n_piece >= 2 * parts) return {groups, parts};
  int all = multiprocessors * v.resident;
  if (groups < all) groups = units < all ? units : all;
  return {groups, 1};
}

void wide_launch(wide f, int multiprocessors, cuda_stream stream) {
  version v = version_choose(f, multiprocessors);
  sharing s = sharing_choose(f, v, multiprocessors);
  f.parts = s.parts;
  v.shape.blocks = s.groups * s.parts, v.shape.cluster = s.parts;
  early_launch(v.kernel, v.shape, stream, f);
}

wide wide_of(const struct cuda_linear *linear) {
  const struct cuda_matrix &m = linear->matrix;
  wide f = {linear->has_post_norm ? products_alone(linear) : *linear, (const uint8_t *)linear->fragments};
  f.n_strip = (m.rows + 15) / 16, f.n_piece = m.cols / 128;
  f.unit = f.linear.gated ? 2 : 1;
  f.piece_bytes = m.piece_bytes, f.head_bytes = m.head_bytes;
  f.scales = scale_shape_of(m.has_min);
  return f;
}

/* From so many tokens further on. */
void wide_skip(wide *f, int tokens) {
  struct cuda_linear *a = &f->linear;
  f->tokens += (size_t)tokens * LINE * f->n_piece * 2;
  if (a->out) a->out += (size_t)tokens * a->out_cols;
  if (a->residual) a->residual += (size_t)tokens * a->residual_cols;
  rows_skip(&a->rows, tokens);
  if (a->squares) a->squares += (size_t)tokens * a->n_square;
  if (a->next_squares) a->next_squares += (size_t)tokens * (a->result_cols / 16);
  if (a->next_fragments) a->next_fragments = (uint8_t *)a->next_fragments + (size_t)tokens * a->result_cols * 2;
}

} // namespace

void cuda_linear_coded_wide(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream) {
  wide f = wide_of(linear);
  if (!linear->ready) cuda_linear_prepare(linear, true, stream);
  for (int left = linear->n_row; left > 0; left -= WIDE_MOST) {
    f.linear.n_row = left < WIDE_MOST ? left : WIDE_MOST;
    wide_launch(f, multiprocessors, stream);
    wide_skip(&f, WIDE_MOST);
  }
  if (linear->has_post_norm) cuda_linear_tail(linear, stream);
}
