/* What attention's products on the matrix unit share: its registers, the view of a tile, what is asked of the memory in
 * advance, floats in two parts of bf16. Part of kernels_amx.c. */

/* Registers of the unit: sums in 0 to 3. */
#define LEFT       4
#define RIGHT      5
#define RIGHT_NEXT 6

enum {
  UNIT_QUERIES = ATTEND_ROWS,
  UNIT_BYTES = 64, /* of a row of a register, and of a vector */
  UNIT_DEPTH = KV_PAIRED_DIMS,
  KEY_GROUPS = KEY_TILE / LANES,
};

/* A product takes as long as it has queries. */
static void attend_configure(int n_query) {
  struct tile_config config = {.palette = 1};
  for (int i = 0; i <= RIGHT_NEXT; i++) {
    config.row_bytes[i] = UNIT_BYTES;
    config.rows[i] = (uint8_t)(i <= LEFT && n_query < UNIT_QUERIES ? n_query : UNIT_QUERIES);
  }
  unit_load_config(&config);
}

/* A tile's keys in groups of 16, and its values. */
struct tile_view {
  const uint8_t *key[KEY_GROUPS];
  size_t key_stride;
  const uint8_t *value;
  size_t value_stride;
  bool in_place;
};

/* The unit's intrinsics do not tell compilers what they read. */
static ALWAYS_INLINE void memory_settle(void) { __asm__ volatile("" : : : "memory"); }

static void lines_ask(const uint8_t *from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += UNIT_BYTES) __builtin_prefetch(from + i);
}

/* The values while scores are made, then the next tile's keys. */
static void values_ask(const struct tile_span *span) {
  const struct kv_layout *l = span->kv->layout;
  size_t bytes = (size_t)l->tile * (size_t)l->stored_v * l->element;
  if (l->value_in_key) return;
  for (int run = span->low / l->tile * l->tile; run < span->high; run += l->tile)
    lines_ask(kv_head_value(span->kv, span->start + run), bytes);
}

static void next_keys_ask(const struct tile_span *span) {
  const struct kv_layout *l = span->kv->layout;
  size_t bytes = (size_t)l->tile * (size_t)l->stored_k * l->element;
  for (int run = KEY_TILE; run < span->ahead; run += l->tile)
    lines_ask(kv_head_keys(span->kv, span->start + run), bytes);
  for (int run = KEY_TILE; run < span->ahead && kv_is_coded(l->dtype); run += l->tile) {
    const float *scales = kv_head_scales(span->kv, span->start + run);
    lines_ask((const uint8_t *)scales, (size_t)l->tile * sizeof *scales);
    lines_ask((const uint8_t *)(scales + kv_value_scale(l)), (size_t)l->tile * sizeof *scales);
  }
}

/* Two bf16 parts of rows of floats: the second is what the first leaves. */
struct parts {
  uint16_t *high, *low;
  size_t stride; /* numbers from row to row */
};

static struct parts parts_take(float **scratch, size_t rows, size_t cols) {
  uint16_t *high = (uint16_t *)scratch_take(scratch, rows * cols);
  return (struct parts){high, high + rows * cols, cols};
}

/* 32 floats. */
static ALWAYS_INLINE void parts_split(vfloat first, vfloat second, uint16_t *high, uint16_t *low) {
  __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(second, first);
  _mm512_storeu_si512(high, rounded);
  __m512i wide[2] = {_mm512_cvtepu16_epi32(_mm512_castsi512_si256(rounded)),
                     _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(rounded, 1))};
  vfloat kept[2] = {_mm512_castsi512_ps(_mm512_slli_epi32(wide[0], 16)),
                    _mm512_castsi512_ps(_mm512_slli_epi32(wide[1], 16))};
  __m512bh rest = _mm512_cvtne2ps_pbh(vfloat_sub(second, kept[1]), vfloat_sub(first, kept[0]));
  _mm512_storeu_si512(low, (__m512i)rest);
}

/* --- values that are the ends of keys ----------------------------------------------------------------------------- */

/* 16 words of each of `together` tokens become their numbers side by side, a token's behind the other's. */
static ALWAYS_INLINE void pairs_join(const __m512i row[2], uint8_t *to) {
  const __m512i first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                         5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
  _mm512_storeu_si512(to, _mm512_permutex2var_epi16(row[0], first, row[1]));
  _mm512_storeu_si512(to + UNIT_BYTES, _mm512_permutex2var_epi16(row[0], second, row[1]));
}

static ALWAYS_INLINE void quads_join(const __m512i row[4], uint8_t *to) {
  __m512i even[2] = {_mm512_unpacklo_epi8(row[0], row[1]), _mm512_unpackhi_epi8(row[0], row[1])};
  __m512i odd[2] = {_mm512_unpacklo_epi8(row[2], row[3]), _mm512_unpackhi_epi8(row[2], row[3])};
  for (int i = 0; i < 4; i++) { /* in quarter q: dimensions 16 q + 4 i and so on */
    __m512i four =
        i % 2 ? _mm512_unpackhi_epi16(even[i / 2], odd[i / 2]) : _mm512_unpacklo_epi16(even[i / 2], odd[i / 2]);
    _mm_storeu_si128((__m128i *)(void *)(to + i * 16), _mm512_castsi512_si128(four));
    _mm_storeu_si128((__m128i *)(void *)(to + (4 + i) * 16), _mm512_extracti32x4_epi32(four, 1));
    _mm_storeu_si128((__m128i *)(void *)(to + (8 + i) * 16), _mm512_extracti32x4_epi32(four, 2));
    _mm_storeu_si128((__m128i *)(void *)(to + (12 + i) * 16), _mm512_extracti32x4_epi32(four, 3));
  }
}

/* 16 words from `word` on of 16 tokens whose keys begin at `key`, to their values; zeros behind the last word. */
static ALWAYS_INLINE void words_turn(const struct kv_layout *l, const uint8_t *key, int word, int words, uint8_t *to) {
  enum { WORD = 4 };
  const size_t row_bytes = (size_t)l->tile * WORD;
  vfloat block[LANES];
  for (int r = 0; r < LANES; r++)
    block[r] = word + r < words ? vfloat_load((const float *)(const void *)(key + (size_t)(word + r) * row_bytes))
                                : vfloat_set(0);
  vfloat_turn(block);
  for (int r = 0; r < LANES; r += l->together, to += (size_t)l->stored_v * WORD) {
    __m512i row[4];
    for (int i = 0; i < l->together; i++) row[i] = _mm512_castps_si512(block[r + i]);
    if (l->together == 2)
      pairs_join(row, to);
    else
      quads_join(row, to);
  }
}

/* The values of a tile out of its keys, as they would lie by themselves in a block of KEY_TILE tokens; of groups of 16
 * tokens of which nothing is seen nothing is written. stored_v is what `to` has of a token, at least whole words. */
static void values_turn(const struct tile_span *span, uint8_t *to) {
  const struct kv_layout *l = span->kv->layout;
  int words = l->stored_k / l->together, first = (l->dim_k - l->dim_v) / l->together;
  for (int token = span->low / LANES * LANES; token < span->high; token += LANES) {
    const uint8_t *key = kv_head_keys(span->kv, span->start + token) + token % l->tile * 4;
    uint8_t *group = to + (size_t)token * (size_t)l->stored_v * l->element;
    for (int word = 0; word * l->together < l->dim_v; word += LANES)
      words_turn(l, key, first + word, words, group + (size_t)word * (size_t)l->together * 4);
  }
}
