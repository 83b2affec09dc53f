/* Work on one activation row: the norm before a linear, the row as the linear wants it, and keys and values as a cache
 * keeps them. Plain loops that the compiler vectorises for the including file's instruction set. */

enum { NORM_LANES = 32 }; /* partial sums of squares: their number, and so the result, is the same everywhere */

/* Their sum, by halves: one after the other they would wait for each other longer than a row takes. */
static ALWAYS_INLINE double lanes_total(const float lane[NORM_LANES]) {
  double part[NORM_LANES / 2];
  for (int i = 0; i < NORM_LANES / 2; i++) part[i] = (double)lane[i] + (double)lane[i + NORM_LANES / 2];
  UNROLL(4)
  for (int half = NORM_LANES / 4; half > 0; half /= 2)
    for (int i = 0; i < half; i++) part[i] += part[i + half];
  return part[0];
}

static void rms_norm(const float *x, const float *weight, int cols, float eps, float *y) {
  float lane[NORM_LANES] = {0};
  int col = 0;
  for (; col + NORM_LANES <= cols; col += NORM_LANES)
    for (int i = 0; i < NORM_LANES; i++) lane[i] += x[col + i] * x[col + i];
  double squares = lanes_total(lane);
  for (; col < cols; col++) squares += (double)x[col] * (double)x[col];
  float scale = (float)(1 / sqrt(squares / cols + (double)eps));
  for (col = 0; col < cols; col++) y[col] = x[col] * scale * weight[col];
}

/* Partial sums as of the other norm, of what the mean leaves. */
static void layer_norm(const float *x, const float *weight, int cols, float eps, float *y) {
  float lane[NORM_LANES] = {0};
  int col = 0;
  for (; col + NORM_LANES <= cols; col += NORM_LANES)
    for (int i = 0; i < NORM_LANES; i++) lane[i] += x[col + i];
  double sum = lanes_total(lane);
  memset(lane, 0, sizeof lane);
  for (; col < cols; col++) sum += (double)x[col];
  float mean = (float)(sum / cols);
  for (col = 0; col + NORM_LANES <= cols; col += NORM_LANES)
    for (int i = 0; i < NORM_LANES; i++) lane[i] += (x[col + i] - mean) * (x[col + i] - mean);
  double squares = lanes_total(lane);
  for (; col < cols; col++) squares += (double)(x[col] - mean) * (double)(x[col] - mean);
  float scale = (float)(1 / sqrt(squares / cols + (double)eps));
  const float *shift = weight + cols;
  for (col = 0; col < cols; col++) y[col] = (x[col] - mean) * scale * weight[col] + shift[col];
}

/* The largest magnitude, NaN above all; compared as integers, which order like the magnitudes do. */
static ALWAYS_INLINE float peak_of(const float *x, int count) {
  uint32_t peak = 0;
  for (int i = 0; i < count; i++) {
    uint32_t magnitude = float_bits(x[i]) & 0x7FFFFFFFu;
    peak = magnitude > peak ? magnitude : peak;
  }
  return float_from_bits(peak);
}

static bool peak_is_nothing(float peak) { return peak <= 1e-30f; } /* a NaN is not nothing: it goes on in the scale */

/* Each number to the nearest multiple of its last place in E4M3: adding 1.5 × 2^20 times its power of two, 2^-6 at
 * least, leaves it four significant bits. */
static void round_e4m3(float *x, int cols) {
  float peak = peak_of(x, cols);
  bool nothing = peak_is_nothing(peak);
  float inverse = nothing ? 0 : E4M3_MAX / peak, scale = nothing ? 0 : peak / E4M3_MAX;
  for (int i = 0; i < cols; i++) {
    float code = x[i] * inverse;
    uint32_t power = float_bits(code) & 0x7F800000u, least = float_bits(0x1p-6f);
    float whole = float_from_bits(power > least ? power : least) * 0x1.8p20f;
    x[i] = (code + whole - whole) * scale;
  }
}

static void prepare_floats(const struct cpu_layout *layout, const float *x, float *row) {
  int padded = layout->n_unit * UNIT_COLS;
  memcpy(row, x, layout->cols * sizeof *x);
  memset(row + layout->cols, 0, (padded - layout->cols) * sizeof *x);
  if (layout->scheme.activation == ACTIVATION_E4M3_TOKEN) round_e4m3(row, layout->cols);
}

#ifndef UNIT_VECTORS
static ALWAYS_INLINE float unit_peak(const float x[UNIT_COLS]) { return peak_of(x, UNIT_COLS); }

/* x × factor to the nearest whole numbers, and the sum of each half of them. Unsigned inside: what a NaN leaves may
 * overflow, and its scale is NaN. */
static ALWAYS_INLINE void unit_round(const float x[UNIT_COLS], float factor, int8_t q[UNIT_COLS], int32_t half[2]) {
  const float whole = 0x1.8p23f; /* adding it rounds to an integer, left in the low bits */
  uint32_t code[UNIT_COLS], sum[2] = {0, 0};
  for (int i = 0; i < UNIT_COLS; i++) code[i] = float_bits(x[i] * factor + whole) - float_bits(whole);
  for (int i = 0; i < UNIT_COLS; i++) q[i] = (int8_t)code[i];
  for (int i = 0; i < UNIT_COLS / 2; i++) sum[0] += code[i];
  for (int i = UNIT_COLS / 2; i < UNIT_COLS; i++) sum[1] += code[i];
  half[0] = (int32_t)sum[0], half[1] = (int32_t)sum[1];
}
#endif

/* peak: the greatest magnitude of those that share a scale. */
static ALWAYS_INLINE void prepare_unit(const float x[UNIT_COLS], float peak, bool centred,
                                       struct activation_unit *unit) {
  bool nothing = peak_is_nothing(peak);
  int32_t half[2];
  unit_round(x, nothing ? 0 : 127 / peak, unit->q, half);
  unit->scale = nothing ? 0 : peak / 127;
  float factor = centred ? 128 : unit->scale;
  unit->half[0] = factor * (float)half[0];
  unit->half[1] = factor * (float)half[1];
  unit->sum = factor * (float)(int32_t)((uint32_t)half[0] + (uint32_t)half[1]);
}

#ifdef WORD_KERNELS
/* q once more, as the words that words_template.h multiplies. */
static void prepare_words(const struct cpu_layout *layout, void *row) {
  const struct activation_unit *unit = row;
  int16_t *word = (int16_t *)((uint8_t *)row + layout->words_at);
  for (int u = 0; u < layout->n_unit; u++, word += UNIT_COLS)
    for (int i = 0; i < UNIT_COLS; i += 4)
      for (int j = 0; j < 4; j++) word[i + (j == 1 ? 2 : j == 2 ? 1 : j)] = unit[u].q[i + j];
}
#endif

static void prepare(const struct cpu_layout *layout, const float *x, void *row) {
  const struct scheme *s = &layout->scheme;
  if (s->kind != SCHEME_INT || s->activation == ACTIVATION_FLOAT) {
    prepare_floats(layout, x, row);
    return;
  }
  struct activation_unit *unit = row;
  bool centred = scheme_is_centred(s), token = s->activation == ACTIVATION_INT8_TOKEN;
  float peak = token ? peak_of(x, layout->cols) : 0;
  int col = 0;
  for (; col + UNIT_COLS <= layout->cols; col += UNIT_COLS)
    prepare_unit(x + col, token ? peak : unit_peak(x + col), centred, unit++);
  if (col < layout->cols) {
    float last[UNIT_COLS] = {0};
    memcpy(last, x + col, (layout->cols - col) * sizeof *x);
    prepare_unit(last, token ? peak : unit_peak(last), centred, unit);
  }
#ifdef WORD_KERNELS
  if (scheme_has_words(s)) prepare_words(layout, row);
#endif
}

/* What is no number is so in the scale. */
static float narrow_int8(const float *from, int n, uint8_t *to) {
  const float whole = 0x1.8p23f; /* adding it rounds to an integer, left in the low bits */
  float peak = peak_of(from, n);
  bool nothing = peak <= KV_PEAK_LEAST;
  float inverse = nothing ? 0 : 127 / peak;
  for (int i = 0; i < n; i++) to[i] = (uint8_t)(float_bits(from[i] * inverse + whole) - float_bits(whole));
  return nothing ? 0 : peak / 127;
}

/* Without branches, as compilers vectorise it. */
static inline uint8_t e4m3_narrow(float x) {
  const float least = 0x1p-6f, units = 0x1.8p14f; /* the least normal number; adding it rounds to multiples of 2⁻⁹ */
  uint32_t bits = float_bits(x), magnitude = bits & 0x7FFFFFFFu, sign = bits >> 24 & 0x80;
  magnitude = magnitude < float_bits(E4M3_MAX) ? magnitude : float_bits(E4M3_MAX);
  uint32_t small = float_bits(float_from_bits(magnitude) + units) - float_bits(units);
  uint32_t normal = ((magnitude + 0x7FFFF + (magnitude >> 20 & 1)) >> 20) - (120u << 3);
  return (uint8_t)(sign | (magnitude < float_bits(least) ? small : normal));
}

static float narrow_e4m3(const float *from, int n, uint8_t *to) {
  float peak = peak_of(from, n);
  bool nothing = peak <= KV_PEAK_LEAST;
  float inverse = nothing ? 0 : E4M3_MAX / peak;
  for (int i = 0; i < n; i++) to[i] = e4m3_narrow(from[i] * inverse);
  return nothing ? 0 : peak / E4M3_MAX * E4M3_UNIT;
}

/* Floats to the type of a cache of less than 32 bits; the scale of codes. */
static float narrow(const float *from, int n, uint8_t dtype, void *to) {
  if (dtype == KV_INT8) return narrow_int8(from, n, to);
  if (dtype == KV_E4M3) return narrow_e4m3(from, n, to);
  uint16_t *half = to;
  int i = 0;
  if (dtype == KV_BF16)
    for (; i < n; i++) half[i] = bfloat_from_float(from[i]);
  for (; i + LANES <= n; i += LANES) vfloat_to_half(vfloat_load(from + i), half + i);
  for (; i < n; i++) half[i] = half_from_float(from[i]);
  return 1;
}
