/* Keys and values in E4M3 as the pairs of bf16 that the matrix unit takes, which they are without loss: a tile of quads
 * is expanded into scratch when its turn comes. Part of kernels_amx.c.
 *
 * A number's two bytes are looked up by the code's lower seven bits, 64 codes at a time. Of a quad the first and the
 * third number make a pair, and the second and the fourth: bytes become words without moving. */

enum { QUAD = 4 };

struct expander {
  __m512i low[2], high[2]; /* the bytes of bf16, by magnitude */
};

static struct expander expander_make(void) {
  enum { MAGNITUDES = 128 };
  uint8_t code[MAGNITUDES], low[MAGNITUDES], high[MAGNITUDES];
  uint16_t number[MAGNITUDES];
  for (int i = 0; i < MAGNITUDES; i++) code[i] = (uint8_t)i;
  for (int i = 0; i < MAGNITUDES; i += LANES)
    _mm256_storeu_si256((__m256i *)(void *)(number + i), (__m256i)_mm512_cvtneps_pbh(vfloat_from_e4m3(code + i)));
  for (int i = 0; i < MAGNITUDES; i++) low[i] = (uint8_t)number[i], high[i] = (uint8_t)(number[i] >> 8);
  return (struct expander){.low = {_mm512_loadu_si512(low), _mm512_loadu_si512(low + UNIT_BYTES)},
                           .high = {_mm512_loadu_si512(high), _mm512_loadu_si512(high + UNIT_BYTES)}};
}

/* Floats in the order in which quads become pairs: 0, 2, 1, 3 of each four. */
static ALWAYS_INLINE vfloat quads_ordered(vfloat x) { return _mm512_permute_ps(x, 0xD8); }

/* 16 quads to two lines of pairs, `apart` bytes from each other. */
static ALWAYS_INLINE void quads_expand(const struct expander *x, const uint8_t *quads, uint8_t *to, size_t apart) {
  enum { BOTH_OR_THIRD = 0xEA, FIRST_OR_BOTH = 0xF8 };
  __m512i codes = _mm512_loadu_si512(quads);
  __m512i low = _mm512_permutex2var_epi8(x->low[0], codes, x->low[1]);
  __m512i high = _mm512_permutex2var_epi8(x->high[0], codes, x->high[1]);
  high = _mm512_ternarylogic_epi32(high, codes, _mm512_set1_epi8((char)0x80), FIRST_OR_BOTH);
  __m512i even = _mm512_ternarylogic_epi32(low, _mm512_set1_epi16(0xFF), _mm512_slli_epi16(high, 8), BOTH_OR_THIRD);
  __m512i odd =
      _mm512_ternarylogic_epi32(high, _mm512_set1_epi16((short)0xFF00), _mm512_srli_epi16(low, 8), BOTH_OR_THIRD);
  _mm512_store_si512(to, even);
  _mm512_store_si512(to + apart, odd);
}

/* To [pair of dimensions][KEY_TILE][2]. */
static void keys_expand(const struct expander *x, const struct tile_span *span, uint8_t *to) {
  const struct kv_layout *l = span->kv->layout;
  const size_t row_bytes = KEY_GROUPS * UNIT_BYTES;
  for (int run = span->low / l->tile * l->tile; run < span->high; run += l->tile) {
    const uint8_t *key = kv_head_keys(span->kv, span->start + run);
    uint8_t *row = to + run / LANES * UNIT_BYTES;
    for (int d = 0; d < l->stored_k; d += QUAD, row += 2 * row_bytes)
      for (int i = 0; i < l->tile; i += LANES, key += UNIT_BYTES)
        quads_expand(x, key, row + i / LANES * UNIT_BYTES, row_bytes);
  }
}

/* To [pair of tokens][bytes], zeros for quads of which nothing is seen. turned: where they are; NULL: in the cache. */
static void values_expand(const struct expander *x, const struct tile_span *span, const uint8_t *turned, uint8_t *to,
                          size_t bytes) {
  const struct kv_layout *l = span->kv->layout;
  for (int token = 0; token < KEY_TILE; token += QUAD, to += 2 * bytes) {
    if (token + QUAD <= span->low || token >= span->high) {
      memset(to, 0, 2 * bytes);
      continue;
    }
    const uint8_t *value = turned ? turned + token * l->stored_v : kv_head_value(span->kv, span->start + token);
    for (int d = 0; d < l->stored_v; d += LANES) quads_expand(x, value + d * QUAD, to + d * QUAD, bytes);
  }
}
