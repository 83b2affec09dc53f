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

/* x · Φ(x) = max(x, 0) − |x| · erfc(|x| / √2) / 2, so that what is left of a large negative x is not lost in a sum.
 * erfc by 7.1.26 of Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964: absolute error below 2e-7. */
static ALWAYS_INLINE vfloat vfloat_gelu(vfloat x) {
  static const float series[] = {1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
  vfloat size = vfloat_max(x, vfloat_sub(vfloat_set(0), x)), z = vfloat_mul(size, vfloat_set(0.70710678f));
  vfloat t = vfloat_div(vfloat_set(1), vfloat_fma(z, vfloat_set(0.3275911f), vfloat_set(1)));
  vfloat sum = vfloat_set(series[0]);
  UNROLL(4)
  for (int i = 1; i < 5; i++) sum = vfloat_fma(sum, t, vfloat_set(series[i]));
  vfloat fall = vfloat_exp(vfloat_sub(vfloat_set(0), vfloat_mul(z, z)));
  vfloat rest = vfloat_mul(vfloat_mul(vfloat_mul(sum, t), fall), vfloat_mul(size, vfloat_set(0.5f)));
  return vfloat_sub(vfloat_max(x, vfloat_set(0)), rest);
}

static ALWAYS_INLINE vfloat vfloat_sigmoid(vfloat x) {
  vfloat power = vfloat_exp(vfloat_min(vfloat_sub(vfloat_set(0), x), vfloat_set(80)));
  return vfloat_div(vfloat_set(1), vfloat_add(power, vfloat_set(1)));
}
