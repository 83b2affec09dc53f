/* Attention's two products of a tile over int8 codes in quads, which the matrix unit multiplies as they lie: queries
 * and weights become two digits of eight bits each, off by 2⁻¹⁶ of their row's peak at most. Sums are exact, so what is
 * not seen is only multiplied with zeros, whatever lies there. Part of kernels_amx.c. */

enum { DIGIT_BASE = 128, DIGITS_MOST = 127 * DIGIT_BASE };

/* Rows of numbers, scale × (DIGIT_BASE × high + low): row 2 i has the high digits, row 2 i + 1 the low ones. */
struct digits {
  int8_t *digit;
  float *scale;
  size_t stride; /* whole rows of the unit's registers */
};

struct quad_operands {
  struct digits query, weight;
  size_t rows;  /* of digits in a product */
  int32_t *sum; /* [UNIT_QUERIES][sum_stride] of a product */
  size_t sum_stride;
  uint8_t *key, *value; /* copies of a tile: [quad of dimensions][KEY_TILE][4], [quad of tokens][stored_v][4] */
};

static struct digits digits_take(float **scratch, size_t n, size_t cols) {
  struct digits d = {.stride = (cols + UNIT_BYTES - 1) / UNIT_BYTES * UNIT_BYTES};
  d.digit = (int8_t *)scratch_take(scratch, (2 * n + UNIT_QUERIES) * d.stride / sizeof(float));
  d.scale = scratch_take(scratch, n);
  return d;
}

/* The first of n numbers, zeros behind them. */
static ALWAYS_INLINE vfloat first_load(const float *x, size_t n) {
  return _mm512_maskz_loadu_ps(n < LANES ? (__mmask16)((1u << n) - 1) : (__mmask16)-1, x);
}

/* Row i, of n numbers. A peak that is no number is so in the scale. */
static ALWAYS_INLINE void digits_split(const struct digits *d, size_t i, const float *x, size_t n) {
  int8_t *high = d->digit + 2 * i * d->stride, *low = high + d->stride;
  __m512i top = _mm512_setzero_si512();
  for (size_t c = 0; c < n; c += LANES)
    top = _mm512_max_epu32(top, _mm512_and_si512((__m512i)first_load(x + c, n - c), _mm512_set1_epi32(0x7FFFFFFF)));
  float peak = float_from_bits(_mm512_reduce_max_epu32(top));
  bool nothing = peak <= KV_PEAK_LEAST;
  vfloat inverse = vfloat_set(nothing ? 0 : DIGITS_MOST / peak);
  for (size_t c = 0; c < d->stride; c += LANES) {
    vfloat number = c < n ? first_load(x + c, n - c) : vfloat_set(0);
    __m512i whole = _mm512_cvtps_epi32(vfloat_mul(number, inverse));
    __m512i upper = _mm512_srai_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(DIGIT_BASE / 2)), 7);
    __m512i rest = _mm512_sub_epi32(whole, _mm512_slli_epi32(upper, 7));
    _mm_storeu_si128((__m128i *)(void *)(high + c), _mm512_cvtepi32_epi8(upper));
    _mm_storeu_si128((__m128i *)(void *)(low + c), _mm512_cvtepi32_epi8(rest));
  }
  d->scale[i] = nothing ? 0 : peak / DIGITS_MOST;
}

static struct quad_operands quads_start(const struct attend_work *work, const struct attend_state *state,
                                        float **scratch) {
  const struct kv_layout *l = work->kv.layout;
  size_t n = (size_t)work->n_token * (size_t)work->n_head, cols = (size_t)state->value_cols;
  struct quad_operands o = {.query = digits_take(scratch, n, (size_t)l->dim_k),
                            .weight = digits_take(scratch, n, KEY_TILE),
                            .rows = 2 * n < UNIT_QUERIES ? 2 * n : UNIT_QUERIES,
                            .sum_stride = cols > KEY_TILE ? cols : KEY_TILE};
  o.sum = (int32_t *)scratch_take(scratch, UNIT_QUERIES * o.sum_stride);
  o.key = (uint8_t *)scratch_take(scratch, KEY_TILE * o.query.stride / sizeof(float));
  o.value = (uint8_t *)scratch_take(scratch, KEY_TILE * (size_t)l->stored_v / sizeof(float));
  for (size_t q = 0; q < n; q++) digits_split(&o.query, q, work->query + q * (size_t)l->dim_k, (size_t)l->dim_k);
  return o;
}

/* --- a tile's keys and values ------------------------------------------------------------------------------------- */

/* The quads of a tile that its registers' rows do not divide. */
static void quad_keys_copy(const struct tile_span *span, uint8_t *to) {
  const struct kv_layout *l = span->kv->layout;
  size_t bytes = (size_t)l->tile * QUAD;
  for (int run = span->low / l->tile * l->tile; run < span->high; run += l->tile) {
    const uint8_t *key = kv_head_keys(span->kv, span->start + run);
    for (int d = 0; d < l->stored_k; d += QUAD, key += bytes) memcpy(to + (d * KEY_TILE + run * QUAD), key, bytes);
  }
}

static void quad_values_copy(const struct tile_span *span, uint8_t *to) {
  const struct kv_layout *l = span->kv->layout;
  size_t bytes = (size_t)l->stored_v * (size_t)l->tile;
  if (l->value_in_key) {
    values_turn(span, to);
    return;
  }
  for (int run = span->low / l->tile * l->tile; run < span->high; run += l->tile)
    memcpy(to + run * l->stored_v, kv_head_value(span->kv, span->start + run), bytes);
}

static void quad_view_init(const struct quad_operands *o, const struct tile_span *span, struct tile_view *view) {
  const struct kv_layout *l = span->kv->layout;
  bool whole = l->dim_k % UNIT_BYTES == 0;
  if (!whole) quad_keys_copy(span, o->key);
  view->key_stride = (size_t)(whole ? l->tile : KEY_TILE) * QUAD;
  for (int group = 0; group < KEY_GROUPS; group++) {
    int token = group * LANES,
        seen = token < span->high && token + LANES > span->low ? token : span->low / LANES * LANES;
    const uint8_t *keys = kv_head_keys(span->kv, span->start + seen);
    view->key[group] = whole ? keys + seen % l->tile * QUAD : o->key + seen * QUAD;
  }
  view->in_place = l->tile == KEY_TILE && !l->value_in_key;
  view->value = view->in_place ? kv_head_value(span->kv, span->start) : o->value;
  view->value_stride = (size_t)l->stored_v * QUAD;
}

/* --- products ----------------------------------------------------------------------------------------------------- */

/* DIGIT_BASE × high + low of 16 columns of a query in a product. */
static ALWAYS_INLINE vfloat sums_join(const struct quad_operands *o, size_t query, int col) {
  const int32_t *high = o->sum + 2 * query * o->sum_stride + col, *low = high + o->sum_stride;
  return vfloat_fma(_mm512_cvtepi32_ps(_mm512_loadu_si512(high)), vfloat_set(DIGIT_BASE),
                    _mm512_cvtepi32_ps(_mm512_loadu_si512(low)));
}

static void quad_scores(const struct quad_operands *o, const struct attend_state *state, const struct tile_span *span,
                        const struct tile_view *view) {
  size_t end = span->first + (size_t)span->n_query, together = o->rows / 2;
  for (size_t q = span->first; q < end; q += together) {
    const int8_t *digit = o->query.digit + 2 * q * o->query.stride;
    for (int group = 0; group < KEY_GROUPS; group++) {
      const uint8_t *key = view->key[group];
      _tile_zero(0);
      for (size_t d = 0; d < o->query.stride; d += UNIT_BYTES, key += UNIT_BYTES / QUAD * view->key_stride) {
        _tile_loadd(LEFT, digit + d, o->query.stride);
        _tile_loadd(RIGHT, key, view->key_stride);
        _tile_dpbssd(0, LEFT, RIGHT);
      }
      _tile_stored(0, o->sum + group * LANES, o->sum_stride * sizeof *o->sum);
    }
    memory_settle();
    for (size_t i = 0; i < together && q + i < end; i++) {
      float *score = state->score.data + (q + i) * state->score.stride;
      vfloat scale = vfloat_set(o->query.scale[q + i]);
      for (int col = 0; col < KEY_TILE; col += LANES)
        vfloat_store(score + col, vfloat_mul(sums_join(o, i, col), scale));
    }
    memory_settle();
  }
}

static void quad_values(const struct quad_operands *o, const struct attend_state *state, const struct tile_span *span,
                        const struct tile_view *view) {
  size_t end = span->first + (size_t)span->n_query, together = o->rows / 2;
  size_t reached = (size_t)(span->high + LANES - 1) / LANES * LANES; /* by the softmax */
  if (!view->in_place) quad_values_copy(span, o->value);
  for (size_t q = span->first; q < end; q++)
    digits_split(&o->weight, q, state->score.data + q * state->score.stride, reached);
  memory_settle();
  for (size_t q = span->first; q < end; q += together) {
    _tile_loadd(LEFT, o->weight.digit + 2 * q * o->weight.stride, o->weight.stride);
    for (int col = 0; col < state->value_cols; col += LANES) {
      _tile_zero(0);
      _tile_loadd(RIGHT, view->value + col * QUAD, view->value_stride);
      _tile_dpbssd(0, LEFT, RIGHT);
      _tile_stored(0, o->sum + col, o->sum_stride * sizeof *o->sum);
    }
    memory_settle();
    for (size_t i = 0; i < together && q + i < end; i++) {
      float *result = state->result.data + (q + i) * state->result.stride;
      vfloat scale = vfloat_set(o->weight.scale[q + i]), shrink = vfloat_set(state->shrink[q + i]);
      for (int col = 0; col < state->value_cols; col += LANES)
        vfloat_store(result + col,
                     vfloat_fma(sums_join(o, i, col), scale, vfloat_mul(vfloat_load(result + col), shrink)));
    }
    memory_settle();
  }
}
