/* The packed layout of matrices on a CPU, the same for every instruction set, so that one engine file runs on each.
 *
 * A matrix is tiles of 16 output rows, each complete in itself, so that shards are cut by tile. A tile is a run of
 * blocks; a block holds some columns of the 16 rows.
 *
 * Floats: 32 columns. F32 and F16 go column by column, 16 rows each; BF16 by pairs of columns, so that a 32-bit lane
 * has a row's even column below and its odd column above. E4M3 too goes column by column, but a block is all columns of
 * a scale, and its 16 scales follow, multiplied with E4M3_UNIT.
 *
 * Integers: low plane, high plane, scales, minima, supers. A plane of b bits has b vectors of 64 bytes for each unit of
 * 32 columns; byte 4r + j of a vector belongs to row r, and its bits [b·i, b·i + b) to the vector's column 4i + j. So a
 * shift and a mask leave four consecutive columns of each row as bytes, which is what dot-product instructions take,
 * and no sum ever crosses lanes. Scales and minima are 16 rows for each group; two-level ones as their bytes, then the
 * 16 super scales and super minima. Columns beyond the last are zero codes with zero scales. With one scale a row, a
 * block is all columns. */
#ifndef SPATE_BACKEND_CPU_LAYOUT_H
#define SPATE_BACKEND_CPU_LAYOUT_H

#include "plan/backend.h"

enum {
  TILE_ROWS = 16,
  UNIT_COLS = 32,   /* columns that kernels take at a time; also the group of int8 activations */
  UNIT_QUADS = 8,   /* runs of four columns in a unit */
  PLANE_BYTES = 64, /* a vector of a plane: 4 bytes for each row of a tile */
  LINE_BYTES = 64,
  E4M3_UNIT_BYTES = UNIT_COLS * TILE_ROWS,
  SEGMENT_UNITS = 32, /* whose dots of int8 are below 2^24 in all */
};

struct cpu_layout {
  struct scheme scheme;
  int rows, cols;
  int n_unit;      /* units of 32 columns that hold data */
  int block_units; /* of a block */
  int n_block;     /* of a tile */
  /* Byte offsets within a block of integers; the low plane is at 0. */
  size_t high_at, scale_at, min_at, super_at, super_min_at;
  size_t block_bytes; /* multiple of 64 */
  size_t tile_bytes;
  size_t words_at;       /* within a prepared activation row of int8: its words, if scheme_has_words */
  size_t row_bytes;      /* of one prepared activation row */
  size_t arranged_bytes; /* of ARRANGED_ROWS prepared rows of int8 arranged; 0: these are not int8 */
};

/* One unit of a row of activations as integer kernels want it: x ≈ scale × q. The sums serve what is added to every
 * code of a group: its minimum, or −128 for centred codes. */
struct activation_unit {
  int8_t q[UNIT_COLS]; /* −127 … 127 */
  float scale;
  float sum, half[2]; /* scale (128 for centred codes) × the sum of all q, of the first and of the last 16 */
};

/* The part of 16 rows that has one scale in each: the columns of a unit, or half of them where the weight's groups are
 * that short. Prepared rows arranged so, one part of the depth after the other, are what a matrix unit takes; base is
 * what the minima of the weight are multiplied with. */
enum { ARRANGED_ROWS = 16 };
struct arranged_part {
  int8_t q[ARRANGED_ROWS * UNIT_COLS]; /* row after row */
  float scale[ARRANGED_ROWS], base[ARRANGED_ROWS];
};

/* Parts of a unit. */
static inline int scheme_parts(const struct scheme *s) { return s->group && s->group < UNIT_COLS ? 2 : 1; }

/* Codes that are unsigned bytes 128 above what they stand for, with no minimum. 128 × the sum of q is taken from the
 * integer product, before it is scaled: beside 128, small values would lose bits. */
static inline bool scheme_is_centred(const struct scheme *s) { return !s->has_min && (s->bits == 8 || s->codebook); }

/* Weights of eight bits whose row and whose activations have one scale each: dots are summed over SEGMENT_UNITS units
 * before they are scaled. Such sums are exact in floats, whatever their order. */
static inline bool scheme_has_segments(const struct scheme *s) {
  return s->bits == 8 && s->group == 0 && s->activation == ACTIVATION_INT8_TOKEN;
}

/* Codes that take all eight bits of a byte, as entries of a codebook do. Not every instruction set multiplies such
 * bytes: there, the units of a row are followed by q once more as 16-bit words, of each quad columns 0, 2, 1, 3. */
static inline bool scheme_has_words(const struct scheme *s) { return s->bits == 8 || s->codebook != CODEBOOK_NONE; }

struct cpu_layout cpu_layout_of(const struct weight *weight);

/* backend.pack: one strip is one tile; rows that codes lack are zero. */
void cpu_pack_tile(const struct weight *weight, const struct codes *codes, void *out);

/* One row of a packed matrix, which lies at a multiple of 4 bytes, as floats (embedding lookup). */
void cpu_unpack_row(const struct cpu_layout *layout, const uint8_t *packed, int row, float *out);

/* What an unsigned code of the scheme stands above: value = scale × (code − offset) where there is no minimum. Entries
 * of a codebook are also taken as unsigned bytes, so that one instruction multiplies them. */
static inline int scheme_offset(const struct scheme *s) {
  if (s->has_min) return 0;
  return s->codebook ? 128 : 1 << (scheme_width(s) - 1);
}

#endif
