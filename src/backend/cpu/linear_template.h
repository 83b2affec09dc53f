/* Linears over the packed layout, written once for all instruction sets on the primitives of vector_*.h.
 *
 * With many rows a kernel takes one unit of a tile at a time and adds its part to the sums of all rows of a block,
 * which stay in the first-level cache: the codes of integers are unpacked once for each block of rows. With one row its
 * sums stay in registers instead. Either way a row's sums are formed in the order of the columns, whatever runs beside
 * it. Integers: an exact dot for each unit (half a unit for groups of 16), then sum += min × the sum of activations
 * unless the codes are centred, sum += (scale × activation scale) × dot; with one scale a row and token, dots of a
 * segment of units are added up exactly and scaled once. Floats: one multiply-add for each column. Needs
 * tile_kernel_of, tiles_at_once and ends_by_panel of the file that includes it. */

/* The sums of n tiles from `tile` on, all rows of one tile before the next. */
static void tiles_sums(const struct cpu_layout *layout, const uint8_t *tile, int n, struct row_view rows,
                       tile_sums *sums, const struct tile_end *end) {
  tile_kernel *kernel = tile_kernel_of(&layout->scheme);
  int at_once = tiles_at_once(&layout->scheme, rows.n);
  _Static_assert(TILES_TOGETHER <= 2, "end is of the first tile: what ends by panels is one run of the kernel");
  if (layout->scheme.kind == SCHEME_INT) memset(sums, 0, (size_t)n * rows.n * sizeof *sums);
  for (int t = 0, count; t < n; t += count) {
    count = n - t < at_once ? 1 : at_once;
    kernel(layout, tile + t * layout->tile_bytes, count, rows, sums + t * rows.n, end);
  }
}

static int rows_at_a_time(const struct linear_input *input) {
  size_t fit = ROW_BLOCK_BYTES / input->row_bytes;
  return fit < 16 ? 16 : fit > SUM_ROWS / 2 ? SUM_ROWS / 2 : (int)fit;
}

static void linear(const struct cpu_layout *layout, const uint8_t *packed, int first, int count,
                   const struct linear_input *input, const struct linear_tail *tail, float *out, size_t out_stride) {
  tile_sums sums[SUM_ROWS];
  int step = rows_at_a_time(input), end = first + count, pair = tail->gated ? 2 : 1;
  for (int row = 0; row < input->n_row; row += step) {
    int left = input->n_row - row;
    struct row_view rows = {.first = (const uint8_t *)input->rows + row * input->row_bytes,
                            .stride = input->row_bytes,
                            .n = left < step ? left : step};
    int at_once = tiles_at_once(&layout->scheme, rows.n), run = at_once > pair ? at_once : pair;
    bool by_panel = rows.n > 1 && ends_by_panel(&layout->scheme) && at_once >= pair; /* which one kernel has */
    bool asks = !by_panel && rows.n > 1 && layout->scheme.kind != SCHEME_INT;        /* not shown to help integers */
    for (int tile = first, n; tile < end; tile += n) {
      n = end - tile < run ? end - tile : run;
      struct tile_end ends = {tail, tile, row, out, out_stride};
      if (asks) panel_ask(&ends, n, 0, rows.n);
      tiles_sums(layout, packed + tile * layout->tile_bytes, n, rows, sums, by_panel ? &ends : NULL);
      for (int t = 0; t < n && !by_panel; t += pair)
        tail_store(layout, tail, tile + t, sums + t * rows.n, rows.n, row, rows.n, out, out_stride);
    }
  }
}
