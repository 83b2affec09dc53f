/* Elementary functions over the primitives of vector_*.h, for kernels that need them. */

/* e^x by powers of two and a Taylor series: relative error below 2 units of the last place; 0 below −87, so that
 * results are never subnormal and e^−∞ is exactly 0; x ≤ 88. */
static ALWAYS_INLINE vfloat vfloat_exp(vfloat x) {
  static const float series[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  const float lowest = -87;
  vfloat bounded = vfloat_max(x, vfloat_set(lowest));
  vfloat n = vfloat_round(vfloat_mul(bounded, vfloat_set(1.44269504f)));
  vfloat rest = vfloat_fma(n, vfloat_set(-0.693359375f), bounded); /* ln 2 in two parts: n × the first is exact */
  rest = vfloat_fma(n, vfloat_set(2.12194440e-4f), rest);
  vfloat sum = vfloat_set(series[0]);
  UNROLL(8)
  for (int i = 1; i < 8; i++) sum = vfloat_fma(sum, rest, vfloat_set(series[i]));
  return vfloat_where_from(x, lowest, vfloat_mul(sum, vfloat_pow2(n)));
}

/* Absolute error below 2e-7; of a NaN some number. */
static ALWAYS_INLINE vfloat vfloat_tanh(vfloat x) {
  vfloat power = vfloat_exp(vfloat_min(vfloat_add(x, x), vfloat_set(80)));
  return vfloat_sub(vfloat_set(1), vfloat_div(vfloat_set(2), vfloat_add(power, vfloat_set(1))));
}

/* cap · tanh(x / cap); NaN where x is no finite number, so that it is noticed. */
static ALWAYS_INLINE vfloat vfloat_softcap(vfloat x, float cap) {
  vfloat capped = vfloat_mul(vfloat_set(cap), vfloat_tanh(vfloat_mul(x, vfloat_set(1 / cap))));
  return vfloat_fma(x, vfloat_set(0), capped);
}

/* x · Φ(x) = max(x, 0) − |x| · Φ(−|x|), of a NaN a NaN. Φ(−|x|) is a polynomial (fitted at Chebyshev's points) up to
 * where the product is below 3e-7, which it stays from there on. Absolute error below 3.2e-7, most of which is the
 * rounding of x. */
static ALWAYS_INLINE vfloat vfloat_gelu(vfloat x) {
  static const float series[] = {0.00100898487f, -0.00554547133f, 0.00253401813f, 0.0252851062f, -0.0363146812f,
                                 -0.0320337527f, 0.109973527f,    -0.0521176793f, -0.120486952f, 0.20663777f,
                                 -0.0814705417f, -0.143558711f,   0.264354676f,   -0.218853906f, 0.10666465f,
                                 -0.0298134722f, 0.00373647455f};
  enum { TERMS = sizeof series / sizeof *series };
  const float end = 5.35f;
  vfloat size = vfloat_min(vfloat_max(x, vfloat_sub(vfloat_set(0), x)), vfloat_set(end));
  vfloat place = vfloat_fma(size, vfloat_set(2 / end), vfloat_set(-1)), sum = vfloat_set(series[0]);
  UNROLL(16)
  for (int i = 1; i < TERMS; i++) sum = vfloat_fma(sum, place, vfloat_set(series[i]));
  return vfloat_sub(vfloat_max(vfloat_set(0), x), vfloat_mul(size, sum));
}

static ALWAYS_INLINE vfloat vfloat_sigmoid(vfloat x) {
  vfloat power = vfloat_exp(vfloat_min(vfloat_sub(vfloat_set(0), x), vfloat_set(80)));
  return vfloat_div(vfloat_set(1), vfloat_add(power, vfloat_set(1)));
}
