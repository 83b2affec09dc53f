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
    lines_ask((const uint8_t *)(scales + l->block_size), (size_t)l->tile * sizeof *scales);
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
