/* Packing for GPUs. */
#include "backend/cuda/cuda_layout.h"

#include "base/half.h"

#include <assert.h>
#include <string.h>

_Static_assert((int)STRIP_ROWS == (int)TILE_ROWS && (int)STRIP_ROWS == (int)GATE_INTERLEAVE,
               "a strip is a tile of the CPU's, and a run of gate or up rows");

struct cuda_layout cuda_layout_of(const struct weight *weight) {
  struct cuda_layout layout = {.cpu = cpu_layout_of(weight), .rows = weight->rows, .cols = weight->cols};
  layout.pieces = weight->scheme.kind == SCHEME_F16 || weight->scheme.kind == SCHEME_BF16;
  layout.strip_bytes = layout.cpu.tile_bytes;
  if (layout.pieces) layout.strip_bytes = (size_t)((weight->cols + PIECE_COLS - 1) / PIECE_COLS) * PIECE_BYTES;
  return layout;
}

void cuda_pack_strip(const struct weight *weight, const struct codes *codes, void *out) {
  struct cuda_layout layout = cuda_layout_of(weight);
  if (!layout.pieces) {
    cpu_pack_tile(weight, codes, out);
    return;
  }
  assert(codes->rows <= STRIP_ROWS && codes->cols == layout.cols);
  memset(out, 0, layout.strip_bytes);
  const uint16_t *element = codes->dense;
  for (int row = 0; row < codes->rows; row++)
    for (int col = 0; col < layout.cols; col++)
      memcpy((uint8_t *)out + piece_offset(row, col), element + (size_t)row * (size_t)layout.cols + col, 2);
}

void cuda_unpack_row(const struct weight *weight, struct slice packed, int row, float *out) {
  struct cuda_layout layout = cuda_layout_of(weight);
  const uint8_t *strip = packed.data + (size_t)(row / STRIP_ROWS) * layout.strip_bytes;
  bool bfloat = weight->scheme.kind == SCHEME_BF16;
  if (!layout.pieces) cpu_unpack_row(&layout.cpu, packed.data, row, out);
  for (int col = 0; col < layout.cols && layout.pieces; col++) {
    uint16_t bits;
    memcpy(&bits, strip + piece_offset(row % STRIP_ROWS, col), sizeof bits);
    out[col] = bfloat ? bfloat_to_float(bits) : half_to_float(bits);
  }
}
