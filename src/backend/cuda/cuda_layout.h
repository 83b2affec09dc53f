/* The packed layout of matrices on a GPU: host code, so that an engine is built without one.
 *
 * Sixteen-bit floats are strips of 16 rows. A strip is a run of pieces of 64 columns; a piece is two atoms of 8 rows ×
 * 128 bytes, in which the 16-byte chunk c of row r stands at chunk c ^ r: the order in which Hopper's matrix units and
 * copy engine want an operand in shared memory (128-byte swizzle). So a plain copy brings pieces of any number of
 * strips to where a matrix unit reads them, `ldmatrix` meets no bank conflict, and a thread that multiplies by itself
 * reads 16 bytes at a time. Columns beyond the last are zero.
 *
 * Everything else is packed as on the CPU (cpu_layout.h): correct, and not meant to be fast. */
#ifndef SPATE_BACKEND_CUDA_LAYOUT_H
#define SPATE_BACKEND_CUDA_LAYOUT_H

#include "backend/cpu/cpu_layout.h"

enum {
  STRIP_ROWS = 16,
  PIECE_COLS = 64,
  PIECE_BYTES = STRIP_ROWS * PIECE_COLS * 2,
  ATOM_ROWS = 8,
  ATOM_BYTES = ATOM_ROWS * 128,
};

struct cuda_layout {
  struct cpu_layout cpu; /* of what is packed as there */
  int rows, cols;
  bool pieces; /* strips of pieces */
  size_t strip_bytes;
};

struct cuda_layout cuda_layout_of(const struct weight *weight);

/* backend.pack: one strip. */
void cuda_pack_strip(const struct weight *weight, const struct codes *codes, void *out);

/* backend.unpack_row. */
void cuda_unpack_row(const struct weight *weight, struct slice packed, int row, float *out);

/* Byte offset of an element within its strip. */
static inline size_t piece_offset(int row, int col) {
  int within = col % PIECE_COLS, chunk = within / 8 ^ row % ATOM_ROWS;
  return (size_t)(col / PIECE_COLS) * PIECE_BYTES + (size_t)(row / ATOM_ROWS) * ATOM_BYTES +
         (size_t)(row % ATOM_ROWS * 128 + chunk * 16 + within % 8 * 2);
}

#endif
