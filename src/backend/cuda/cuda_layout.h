/* The packed layout of matrices on a GPU: host code, so that an engine is built without one.
 *
 * Sixteen-bit floats are strips of 16 rows. A strip is a run of pieces of 64 columns; a piece is two atoms of 8 rows ×
 * 128 bytes, in which the 16-byte chunk c of row r stands at chunk c ^ r: the order in which Hopper's matrix units and
 * copy engine want an operand in shared memory (128-byte swizzle). So a plain copy brings pieces of any number of
 * strips to where a matrix unit reads them, `ldmatrix` meets no bank conflict, and a thread that multiplies by itself
 * reads 16 bytes at a time. Columns beyond the last are zero.
 *
 * Bytes with one scale a row, E4M3 or int8, are the same with pieces of 128 columns, after the strip's 16 F32 scales
 * and as many zeros, so that pieces begin at multiples of 128 bytes. Within each 16 columns byte 4q + (0, 1, 2, 3) is
 * column 2q + (0, 8, 1, 9): so a matrix unit's fragment of 16-bit columns is made of one lane's own four bytes, and a
 * product of bytes, whose tokens are permuted alike, adds up the same. int8 is in two's complement.
 *
 * E4M3 with a scale for each 128 columns has no scales before its pieces: each piece is followed by its rows' 16 F32
 * scales. Eight bits above a minimum have an fp16 scale and an fp16 minimum in their place. A strip is a multiple of
 * 128 bytes long, as runs of two pieces are.
 *
 * Four bits with fp16 scales for each 32 or 128 columns, and E2M1 with bf16 scales for each 32 (MXFP4), are strips of
 * pieces of 128 columns too: codes, then scales.
 * The codes are in the order of a matrix unit's fragments: 16 bytes a lane for each four steps of 16 columns, four a
 * step, whose nibbles i and i + 4 are the lane's pair i. Scales of a group go by rows r: of r, then of r + 8, each with
 * its minimum where there are minima. A strip has whole pairs of pieces, zeros at the end, and is a multiple of 128
 * bytes long, as runs of 16 pieces are.
 *
 * Everything else is packed as on the CPU (cpu_layout.h): correct, and not meant to be fast. */
#ifndef SPATE_BACKEND_CUDA_LAYOUT_H
#define SPATE_BACKEND_CUDA_LAYOUT_H

#include "backend/cpu/cpu_layout.h"
#include "backend/cuda/cuda_kernels.h"

enum {
  STRIP_ROWS = 16,
  PIECE_COLS = 64,
  PIECE_BYTES = STRIP_ROWS * PIECE_COLS * 2,
  ATOM_ROWS = 8,
  ATOM_BYTES = ATOM_ROWS * 128,
  BYTE_COLS = 128, /* of a piece of bytes */
  BYTE_SCALES = STRIP_ROWS * 4,
  STRIP_ALIGN = 128, /* of strips with scales after each piece */
};

struct cuda_layout {
  struct cpu_layout cpu; /* of what is packed as there */
  int rows, cols;
  bool pieces;                     /* strips of pieces */
  bool bytes;                      /* the same of bytes, after scales or each with its own */
  bool nibbles;                    /* pieces of four bits and scales */
  size_t strip_bytes, piece_bytes; /* piece: of bytes and nibbles, with its scales */
  size_t head_bytes;               /* before a strip's pieces */
};

/* Is it packed as bytes or nibbles? */
bool cuda_scheme_coded(const struct scheme *scheme);

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

/* The same of a byte within its piece. */
static inline size_t byte_offset(int row, int col) {
  int chunk = col / 16 ^ row % ATOM_ROWS, c = col % 16;
  return (size_t)(row / ATOM_ROWS) * ATOM_BYTES +
         (size_t)(row % ATOM_ROWS * 128 + chunk * 16 + c % 8 / 2 * 4 + c % 2 * 2 + c / 8);
}

/* Four bits: the byte of a column within its piece, and whether it is the byte's upper half. */
static inline int nibble_offset(int row, int col, bool *high) {
  int step = col / 16, k = col % 16, lane = row % 8 * 4 + k % 8 / 2, nibble = row / 8 + k / 8 * 2 + k % 2 * 4;
  *high = nibble % 2;
  return step / 4 * 512 + lane * 16 + step % 4 * 4 + nibble / 2;
}

/* The fp16 scale of a row and group within its piece; its minimum is the next one. */
static inline int nibble_scale(int row, int group, bool has_min) {
  return NIBBLES_CODES + (group * STRIP_ROWS + row % 8 * 2 + row / 8) * (has_min ? 4 : 2);
}

#endif
