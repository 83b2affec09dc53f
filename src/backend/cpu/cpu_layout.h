/* The packed layout of matrices on a CPU, the same for every instruction set: tiles of 16 output rows, each tile
 * complete in itself (codes and scales inline), so that shards are cut by tile. docs/engine-file.md has the picture. */
#ifndef SPATE_BACKEND_CPU_LAYOUT_H
#define SPATE_BACKEND_CPU_LAYOUT_H

#include "plan/backend.h"

enum { TILE_ROWS = 16 };

struct cpu_layout {
  struct scheme scheme;
  int rows, cols;
  int block_cols;     /* columns of a block: codes of so many columns, then their scales and minima */
  int n_block;        /* blocks of a tile: columns are padded with zero codes */
  size_t block_bytes; /* multiple of 64 */
  size_t tile_bytes;
  size_t row_bytes; /* of one prepared activation row */
};

struct cpu_layout cpu_layout_of(const struct weight *weight);

/* backend.pack: one strip is one tile. */
void cpu_pack_tile(const struct weight *weight, const struct codes *codes, void *out);

/* One row of a packed matrix as floats (embedding lookup). */
void cpu_unpack_row(const struct cpu_layout *layout, const uint8_t *packed, int row, float *out);

#endif
