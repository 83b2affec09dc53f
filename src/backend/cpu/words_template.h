/* Units with codes of eight bits on an instruction set that cannot multiply bytes of full range: codes and activations
 * as 16-bit words, pairs of products summed to 32 bits. The codes of a unit are widened once for all rows, into the
 * first-level cache, from where each vector is loaded once for some rows. The including file defines the primitives
 * (vwords_even, vwords_odd, vwords_load, vwords_store, vwords_set_pair, vpairs_add, vpairs_float); part of
 * integer_template.h. */

enum {
  WORD_ROWS = 4, /* rows whose dots with all vectors of a tile are in registers */
  UNIT_PAIRS = UNIT_COLS / 2,
};

_Static_assert(TILES_TOGETHER == 1, "the words of one tile at a time are made and multiplied");

typedef int16_t word_vector[2 * LANES]; /* two columns of each row of a vector */

/* Words of vector v, less 128 if centred, in the order of activation words: of each quad columns 0 and 2, then 1 and 3.
 */
static ALWAYS_INLINE void unit_words(struct code_form form, struct unit_view unit, int v,
                                     word_vector words[UNIT_PAIRS]) {
  UNROLL(8)
  for (int quad = 0; quad < UNIT_QUADS; quad++) {
    vbytes codes = unit_quad(form, unit, quad, v);
    vwords_store(words[2 * quad], vwords_even(codes, form.centred ? 128 : 0));
    vwords_store(words[2 * quad + 1], vwords_odd(codes, form.centred ? 128 : 0));
  }
}

/* Dots of n_pair vectors of words with n rows. */
static ALWAYS_INLINE void words_dot(const int n_pair, const int n, int first, word_vector words[VECTORS][UNIT_PAIRS],
                                    const void *word[WORD_ROWS], vpairs dot[WORD_ROWS][VECTORS]) {
  UNROLL(16)
  for (int i = 0; i < n_pair; i++) {
    vwords x[WORD_ROWS];
    UNROLL(4)
    for (int r = 0; r < n; r++) x[r] = vwords_set_pair((const int16_t *)word[r] + 2 * (first + i));
    UNROLL(2)
    for (int v = 0; v < VECTORS; v++) {
      vwords code = vwords_load(words[v][first + i]);
      UNROLL(4)
      for (int r = 0; r < n; r++) dot[r][v] = vpairs_add(i, dot[r][v], code, x[r]);
    }
  }
}

/* Adds the unit times n rows to their sums. */
static ALWAYS_INLINE void words_add(struct code_form form, int n_part, const int n,
                                    word_vector words[VECTORS][UNIT_PAIRS], const struct affine affine[VECTORS][2],
                                    struct row_view rows, size_t word_at, tile_sums *sums) {
  const void *row[WORD_ROWS], *word[WORD_ROWS];
  rows_take(rows, n, row);
  rows.first += word_at;
  rows_take(rows, n, word);
  UNROLL(2)
  for (int part = 0; part < n_part; part++) {
    vpairs dot[WORD_ROWS][VECTORS];
    words_dot(UNIT_PAIRS / n_part, n, part * (UNIT_PAIRS / n_part), words, word, dot);
    UNROLL(8)
    for (int k = 0; k < n * VECTORS; k++) {
      int r = k / VECTORS, v = k % VECTORS;
      float *at = sums[r] + v * LANES;
      vfloat sum = vfloat_load(at), product = vpairs_float(dot[r][v]);
      if (form.segments)
        sum = vfloat_add(sum, product);
      else if (form.centred)
        sum = scaled_add(sum, affine[v][part].scale, product, row[r]);
      else
        sum = part_add(form, sum, affine[v][part], product, row[r], n_part, part);
      vfloat_store(at, sum);
    }
  }
}

/* Adds unit `index` of a tile times each row to the sums. */
static ALWAYS_INLINE void unit_rows_words(struct code_form form, int n_part, struct unit_view unit, int index,
                                          struct row_view rows, tile_sums *sums) {
  word_vector words[VECTORS][UNIT_PAIRS] __attribute__((aligned(LINE_BYTES)));
  struct affine affine[VECTORS][2];
  size_t unit_at = index * sizeof(struct activation_unit);
  size_t word_at = unit.layout->words_at + index * UNIT_COLS * sizeof(int16_t) - unit_at; /* from the unit */
  UNROLL(2)
  for (int v = 0; v < VECTORS; v++) {
    unit_words(form, unit, v, words[v]);
    for (int part = 0; part < 2; part++)
      affine[v][part] = affine_load(unit, part_group(unit, n_part, n_part == 2 ? part : 0), v);
  }
  for (; rows.n >= WORD_ROWS; rows.n -= WORD_ROWS, sums += WORD_ROWS, rows.first += WORD_ROWS * rows.stride)
    words_add(form, n_part, WORD_ROWS, words, affine, rows, word_at, sums);
  for (; rows.n > 0; rows.n--, sums++, rows.first += rows.stride)
    words_add(form, n_part, 1, words, affine, rows, word_at, sums);
}
