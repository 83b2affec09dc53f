/* Keys and values in codes of eight bits as the pairs of bf16 that the matrix unit takes, which they are without loss:
 * a tile is expanded into scratch when its turn comes. Part of kernels_amx.c.
 *
 * A number's two bytes are looked up by the code's lower seven bits, 64 codes at a time. */

/* How codes become pairs. */
struct expander {
  __m512i low[2], high[2]; /* the bytes of bf16, by magnitude */
  __m512i order;           /* of two rows of 32 codes, */
  __m512i order_short;     /* of four rows of 16: so that unpacking bytes makes two lines of pairs */
  bool e4m3;
};

/* Lines of 16 pairs each; line l has its pairs' first numbers from byte l × `line` on and the second `pair` behind. */
static __m512i expander_order(int line, int pair) {
  uint8_t order[UNIT_BYTES];
  for (int i = 0; i < UNIT_BYTES; i++) {
    int part = i / 16, within = i % 8, number = part * 8 + within;
    order[i] = (uint8_t)(i / 8 % 2 * line + number % 2 * pair + number / 2);
  }
  return _mm512_loadu_si512(order);
}

static struct expander expander_make(uint8_t dtype) {
  enum { MAGNITUDES = 128 };
  uint8_t code[MAGNITUDES], low[MAGNITUDES], high[MAGNITUDES];
  uint16_t number[MAGNITUDES];
  bool e4m3 = dtype == KV_E4M3;
  for (int i = 0; i < MAGNITUDES; i++) code[i] = (uint8_t)i;
  for (int i = 0; i < MAGNITUDES; i += LANES) {
    vfloat wide = e4m3 ? vfloat_from_e4m3(code + i) : vfloat_from_int8(code + i);
    _mm256_storeu_si256((__m256i *)(void *)(number + i), (__m256i)_mm512_cvtneps_pbh(wide));
  }
  for (int i = 0; i < MAGNITUDES; i++) low[i] = (uint8_t)number[i], high[i] = (uint8_t)(number[i] >> 8);
  return (struct expander){.low = {_mm512_loadu_si512(low), _mm512_loadu_si512(low + UNIT_BYTES)},
                           .high = {_mm512_loadu_si512(high), _mm512_loadu_si512(high + UNIT_BYTES)},
                           .order = expander_order(16, 32),
                           .order_short = expander_order(32, 16),
                           .e4m3 = e4m3};
}

/* 64 codes to two lines. */
static ALWAYS_INLINE void codes_expand(const struct expander *x, const bool e4m3, __m512i order, __m512i codes,
                                       uint8_t *first, uint8_t *second) {
  enum { FIRST_OR_SECOND_AND_THIRD = 0xF8 };
  codes = _mm512_permutexvar_epi8(order, codes);
  __m512i magnitude = e4m3 ? codes : _mm512_abs_epi8(codes); /* lookups ignore the highest bit */
  __m512i low = _mm512_permutex2var_epi8(x->low[0], magnitude, x->low[1]);
  __m512i high = _mm512_permutex2var_epi8(x->high[0], magnitude, x->high[1]);
  high = _mm512_ternarylogic_epi32(high, codes, _mm512_set1_epi8((char)0x80), FIRST_OR_SECOND_AND_THIRD);
  _mm512_store_si512(first, _mm512_unpacklo_epi8(low, high));
  _mm512_store_si512(second, _mm512_unpackhi_epi8(low, high));
}

static ALWAYS_INLINE __m512i two_rows(const uint8_t *first, const uint8_t *second) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)first)),
                            _mm256_loadu_si256((const void *)second), 1);
}

/* The keys of a run of l->tile tokens to [pair of dimensions][KEY_TILE][2], from the run's place on. */
static ALWAYS_INLINE void run_expand(const struct expander *x, const bool e4m3, const struct kv_layout *l,
                                     const uint8_t *key, uint8_t *to) {
  const size_t pair_bytes = KEY_TILE * 2 * sizeof(uint16_t);
  if (l->tile == LANES) {
    for (int d = 0; d < l->stored_k; d += 4, key += UNIT_BYTES, to += 2 * pair_bytes)
      codes_expand(x, e4m3, x->order_short, _mm512_loadu_si512(key), to, to + pair_bytes);
    return;
  }
  for (int d = 0; d < l->stored_k; d += 2, key += 2 * (size_t)l->tile, to += pair_bytes)
    for (int i = 0; i < l->tile; i += 2 * LANES) {
      uint8_t *line = to + i / LANES * UNIT_BYTES;
      codes_expand(x, e4m3, x->order, two_rows(key + i, key + i + l->tile), line, line + UNIT_BYTES);
    }
}

static void keys_expand(const struct expander *x, const struct tile_span *span, uint8_t *to) {
  const struct kv_layout *l = span->kv->layout;
  for (int run = span->low / l->tile * l->tile; run < span->high; run += l->tile) {
    const uint8_t *key = kv_head_keys(span->kv, span->start + run);
    uint8_t *first = to + run / LANES * UNIT_BYTES;
    if (x->e4m3)
      run_expand(x, true, l, key, first);
    else
      run_expand(x, false, l, key, first);
  }
}

/* The values of two neighbouring tokens, 32 dimensions at a time: what is read behind the last is within the block, and
 * finite as pairs. */
static ALWAYS_INLINE void pair_expand(const struct expander *x, const bool e4m3, const struct kv_layout *l,
                                      const uint8_t *value, uint8_t *to) {
  for (int d = 0; d < l->dim_v; d += 2 * LANES, value += 2 * LANES, to += 2 * UNIT_BYTES)
    codes_expand(x, e4m3, x->order, two_rows(value, value + l->stored_v), to, to + UNIT_BYTES);
}

/* To [pair of tokens][bytes], zeros for pairs of which nothing is seen. */
static void values_expand(const struct expander *x, const struct tile_span *span, uint8_t *to, size_t bytes) {
  const struct kv_layout *l = span->kv->layout;
  for (int token = 0; token < KEY_TILE; token += 2, to += bytes) {
    if (token + 1 < span->low || token >= span->high) {
      memset(to, 0, bytes);
      continue;
    }
    const uint8_t *value = kv_head_value(span->kv, span->start + token);
    if (x->e4m3)
      pair_expand(x, true, l, value, to);
    else
      pair_expand(x, false, l, value, to);
  }
}
