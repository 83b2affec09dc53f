/* Dots of many units that are added up before they are scaled, where scheme_has_segments. Part of integer_template.h.
 */

/* Adds what dots have come to since the last segment, scaled, to the sums of n_tile tiles, and begins the next. block
 * is of the first tile; rows are at any unit. */
static ALWAYS_INLINE void segment_end(int n_tile, const struct cpu_layout *layout, const uint8_t *block,
                                      struct row_view rows, tile_sums *segment, tile_sums *sums) {
  for (int t = 0; t < n_tile; t++, segment += rows.n, sums += rows.n) {
    UNROLL(VECTOR_UNROLL)
    for (int v = 0; v < VECTORS; v++) {
      vfloat scale = affine_load((struct unit_view){layout, NULL, block + t * layout->tile_bytes, 0}, 0, v).scale;
      for (int i = 0; i < rows.n; i++) {
        const struct activation_unit *x = (const void *)(rows.first + i * rows.stride);
        float *sum = sums[i] + v * LANES, *dot = segment[i] + v * LANES;
        vfloat_store(sum, scaled_add(vfloat_load(sum), scale, vfloat_load(dot), x));
        vfloat_store(dot, vfloat_set(0));
      }
    }
  }
}

static ALWAYS_INLINE bool segment_ends(struct code_form form, const struct cpu_layout *layout, int unit) {
  return form.segments && ((unit + 1) % SEGMENT_UNITS == 0 || unit + 1 == layout->n_unit);
}

/* The same for one row, whose sums are in registers. */
static ALWAYS_INLINE void segment_end_lone(struct unit_view unit, const struct activation_unit *x,
                                           vfloat segment[VECTORS], vfloat sum[VECTORS]) {
  UNROLL(VECTOR_UNROLL)
  for (int v = 0; v < VECTORS; v++) {
    sum[v] = scaled_add(sum[v], affine_load(unit, 0, v).scale, segment[v], x);
    segment[v] = vfloat_set(0);
  }
}
