/* Every GGML block layout that Spate loads, once: a form and a function that takes one block apart.
 * To add a type: its line in tensor_type.c, its split function and its line in `layouts` here, its vectors. */
#include "format/ggml_lattice.h"

#include <assert.h>
#include <string.h>

static uint16_t load_u16(const uint8_t *bytes) { return (uint16_t)(bytes[0] | bytes[1] << 8); }

/* ORs a plane of `width`-bit fields into count codes, `up` bits above their bottom. GGML stores planes in runs of
 * `run` bytes, each of which holds 8 / width stretches of run weights: the first stretch in the lowest bits. */
static inline void plane_add(uint8_t *code, int count, const uint8_t *plane, int run, int width, int up) {
  unsigned mask = (1u << width) - 1;
  for (int first = 0; first < count; plane += run)
    for (int shift = 0; shift < 8; shift += width, first += run)
      for (int i = 0; i < run; i++) code[first + i] |= (uint8_t)((plane[i] >> shift & mask) << up);
}

/* --- blocks of 32 weights, one level of scales -------------------------------------------------------------------- */

static uint8_t *block32_codes(const struct ggml_codes *out, size_t block) {
  return memset(out->code + 32 * block, 0, 32);
}

static void split_q4_0(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  out->scale[block] = load_u16(bytes);
  plane_add(block32_codes(out, block), 32, bytes + 2, 16, 4, 0);
}

static void split_q4_1(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  out->scale[block] = load_u16(bytes);
  out->min[block] = load_u16(bytes + 2);
  plane_add(block32_codes(out, block), 32, bytes + 4, 16, 4, 0);
}

static void split_q5_0(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  uint8_t *code = block32_codes(out, block);
  out->scale[block] = load_u16(bytes);
  plane_add(code, 32, bytes + 6, 16, 4, 0);
  plane_add(code, 32, bytes + 2, 1, 1, 4);
}

static void split_q5_1(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  uint8_t *code = block32_codes(out, block);
  out->scale[block] = load_u16(bytes);
  out->min[block] = load_u16(bytes + 2);
  plane_add(code, 32, bytes + 8, 16, 4, 0);
  plane_add(code, 32, bytes + 4, 1, 1, 4);
}

static void split_q8_0(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  out->scale[block] = load_u16(bytes);
  for (int i = 0; i < 32; i++) out->code[32 * block + i] = bytes[2 + i] ^ 0x80; /* int8 + 128 */
}

static void split_mxfp4(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  unsigned exponent = bytes[0]; /* the scale is 2^(exponent − 128), the lowest two of which are subnormal */
  out->scale[block] = (uint16_t)(exponent < 2 ? 0x20u << exponent : (exponent - 1) << 7);
  plane_add(block32_codes(out, block), 32, bytes + 1, 16, 4, 0);
}

/* Half an unsigned E4M3 as bf16: the lowest seven are subnormal there. 0x7f is no number but 0, and bit 7 has no
 * meaning. */
static uint16_t half_e4m3(uint8_t scale) {
  unsigned bits = scale & 0x7f, exponent = bits >> 3;
  if (bits == 0x7f) return 0;
  if (exponent) return (uint16_t)((exponent + 119) << 7 | (bits & 7) << 4);
  static const uint16_t subnormal[8] = {0, 0x3a80, 0x3b00, 0x3b40, 0x3b80, 0x3ba0, 0x3bc0, 0x3be0};
  return subnormal[bits];
}

/* Four groups of 16, their scales before their codes. */
static void split_nvfp4(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  uint8_t *code = memset(out->code + 64 * block, 0, 64);
  for (size_t group = 0; group < 4; group++) {
    out->scale[4 * block + group] = half_e4m3(bytes[group]);
    plane_add(code + 16 * group, 16, bytes + 4 + 8 * group, 8, 4, 0);
  }
}

/* --- super blocks of 256 weights, two levels ---------------------------------------------------------------------- */

static uint8_t *super_codes(const struct ggml_codes *out, size_t block) {
  return memset(out->code + GGML_SUPER * block, 0, GGML_SUPER);
}

static void split_q2_k(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  for (int i = 0; i < 16; i++) {
    out->sub_scale[16 * block + i] = bytes[i] & 15;
    out->sub_min[16 * block + i] = bytes[i] >> 4;
  }
  out->super[block] = load_u16(bytes + 80);
  out->super_min[block] = load_u16(bytes + 82);
  plane_add(super_codes(out, block), GGML_SUPER, bytes + 16, 32, 2, 0);
}

/* Q3_K's 16 signed scales: 8 bytes hold their low 4 bits (the last eight above the first), 4 bytes their high 2. */
static void split_q3_k(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  const uint8_t *low = bytes + 96, *high = low + 8;
  for (int i = 0; i < 16; i++) {
    int bottom = low[i % 8] >> (i < 8 ? 0 : 4) & 15, top = high[i % 4] >> 2 * (i / 4) & 3;
    out->sub_scale[16 * block + i] = (int8_t)((bottom | top << 4) - 32);
  }
  out->super[block] = load_u16(bytes + 108);
  uint8_t *code = super_codes(out, block);
  plane_add(code, GGML_SUPER, bytes + 32, 32, 2, 0);
  plane_add(code, GGML_SUPER, bytes, 32, 1, 2);
}

/* The 8 scales and 8 minima of Q4_K and Q5_K, 6 bits each in 12 bytes: the first four of each are the low 6 bits of
 * bytes 0–3 and 4–7; the last four have their low 4 bits in bytes 8–11 and their high 2 atop the first four's. */
static void split_scales_k4(const uint8_t *bytes, int8_t scale[8], uint8_t min[8]) {
  for (int i = 0; i < 4; i++) {
    scale[i] = bytes[i] & 63;
    min[i] = bytes[4 + i] & 63;
    scale[4 + i] = (int8_t)((bytes[8 + i] & 15) | (bytes[i] >> 6) << 4);
    min[4 + i] = (uint8_t)(bytes[8 + i] >> 4 | (bytes[4 + i] >> 6) << 4);
  }
}

static void split_q4_k(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  out->super[block] = load_u16(bytes);
  out->super_min[block] = load_u16(bytes + 2);
  split_scales_k4(bytes + 4, out->sub_scale + 8 * block, out->sub_min + 8 * block);
  plane_add(super_codes(out, block), GGML_SUPER, bytes + 16, 32, 4, 0);
}

static void split_q5_k(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  out->super[block] = load_u16(bytes);
  out->super_min[block] = load_u16(bytes + 2);
  split_scales_k4(bytes + 4, out->sub_scale + 8 * block, out->sub_min + 8 * block);
  uint8_t *code = super_codes(out, block);
  plane_add(code, GGML_SUPER, bytes + 48, 32, 4, 0);
  plane_add(code, GGML_SUPER, bytes + 16, 32, 1, 4);
}

static void split_q6_k(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  memcpy(out->sub_scale + 16 * block, bytes + 192, 16);
  out->super[block] = load_u16(bytes + 208);
  uint8_t *code = super_codes(out, block);
  plane_add(code, GGML_SUPER, bytes, 64, 4, 0);
  plane_add(code, GGML_SUPER, bytes + 128, 32, 2, 4);
}

static void split_iq4_xs(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  unsigned high = load_u16(bytes + 2);
  for (int i = 0; i < 8; i++) {
    unsigned bottom = bytes[4 + i / 2] >> 4 * (i % 2) & 15, top = high >> 2 * i & 3;
    out->sub_scale[8 * block + i] = (int8_t)((int)(bottom | top << 4) - 32);
  }
  out->super[block] = load_u16(bytes);
  plane_add(super_codes(out, block), GGML_SUPER, bytes + 8, 16, 4, 0);
}

/* --- ternary blocks of 256 weights, one scale --------------------------------------------------------------------- */

static void ternary_scale(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  out->scale[2 * block] = out->scale[2 * block + 1] = load_u16(bytes);
}

/* Its fourth code, which no quantizer writes, means 2: codes count up from −scale. */
static void split_tq2_0(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  ternary_scale(bytes + 64, block, out);
  out->min[2 * block] = out->min[2 * block + 1] = load_u16(bytes + 64) ^ 0x8000;
  plane_add(super_codes(out, block), GGML_SUPER, bytes, 32, 2, 0);
}

/* Each byte is a fraction of 256ths whose ternary digits are codes, 0 for −1; the first digits of `run` bytes come
 * before their second ones. */
static uint8_t *ternary_read(uint8_t *code, const uint8_t *bytes, int run, int digits) {
  unsigned power = 1;
  for (int digit = 0; digit < digits; digit++, power *= 3)
    for (int i = 0; i < run; i++) *code++ = (uint8_t)(((bytes[i] * power & 255) * 3 >> 8) + 1);
  return code;
}

static void split_tq1_0(const uint8_t *bytes, size_t block, struct ggml_codes *out) {
  ternary_scale(bytes + 52, block, out);
  uint8_t *code = ternary_read(out->code + GGML_SUPER * block, bytes, 32, 5);
  code = ternary_read(code, bytes + 32, 16, 5);
  ternary_read(code, bytes + 48, 4, 4);
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

struct layout {
  struct ggml_code_form form;
  void (*split)(const uint8_t *bytes, size_t block, struct ggml_codes *out); /* NULL: the type has no codes */
};

#define LATTICE(width, columns, book)                                                                                  \
  { .bits = width, .group = columns, .two_level = true, .codebook = book }

static const struct layout layouts[TENSOR_TYPE_COUNT] = {
    [TENSOR_Q4_0] = {{.bits = 4, .group = 32}, split_q4_0},
    [TENSOR_Q4_1] = {{.bits = 4, .group = 32, .has_min = true}, split_q4_1},
    [TENSOR_Q5_0] = {{.bits = 5, .group = 32}, split_q5_0},
    [TENSOR_Q5_1] = {{.bits = 5, .group = 32, .has_min = true}, split_q5_1},
    [TENSOR_Q8_0] = {{.bits = 8, .group = 32}, split_q8_0},
    [TENSOR_Q2_K] = {{.bits = 2, .group = 16, .has_min = true, .two_level = true}, split_q2_k},
    [TENSOR_Q3_K] = {{.bits = 3, .group = 16, .two_level = true}, split_q3_k},
    [TENSOR_Q4_K] = {{.bits = 4, .group = 32, .has_min = true, .two_level = true}, split_q4_k},
    [TENSOR_Q5_K] = {{.bits = 5, .group = 32, .has_min = true, .two_level = true}, split_q5_k},
    [TENSOR_Q6_K] = {{.bits = 6, .group = 16, .two_level = true}, split_q6_k},
    [TENSOR_IQ4_NL] = {{.bits = 4, .group = 32, .codebook = GGML_CODEBOOK_IQ4}, split_q4_0},
    [TENSOR_IQ4_XS] = {{.bits = 4, .group = 32, .two_level = true, .codebook = GGML_CODEBOOK_IQ4}, split_iq4_xs},
    [TENSOR_IQ1_S] = {LATTICE(3, 32, GGML_CODEBOOK_IQ1), ggml_split_iq1_s},
    [TENSOR_IQ1_M] = {LATTICE(3, 16, GGML_CODEBOOK_IQ1), ggml_split_iq1_m},
    [TENSOR_IQ2_XXS] = {LATTICE(3, 32, GGML_CODEBOOK_IQ2), ggml_split_iq2_xxs},
    [TENSOR_IQ2_XS] = {LATTICE(3, 16, GGML_CODEBOOK_IQ2), ggml_split_iq2_xs},
    [TENSOR_IQ2_S] = {LATTICE(3, 16, GGML_CODEBOOK_IQ2), ggml_split_iq2_s},
    [TENSOR_IQ3_XXS] = {LATTICE(4, 32, GGML_CODEBOOK_IQ3), ggml_split_iq3_xxs},
    [TENSOR_IQ3_S] = {LATTICE(4, 32, GGML_CODEBOOK_ODD), ggml_split_iq3_s},
    [TENSOR_TQ1_0] = {{.bits = 2, .group = 128}, split_tq1_0},
    [TENSOR_TQ2_0] = {{.bits = 2, .group = 128, .has_min = true}, split_tq2_0},
    [TENSOR_NVFP4] = {{.bits = 4, .group = 16, .scale_bfloat = true, .codebook = GGML_CODEBOOK_E2M1}, split_nvfp4},
    [TENSOR_MXFP4] = {{.bits = 4, .group = 32, .scale_bfloat = true, .codebook = GGML_CODEBOOK_E2M1}, split_mxfp4},
};

bool ggml_code_form(enum tensor_type type, struct ggml_code_form *form) {
  assert(type < TENSOR_TYPE_COUNT);
  *form = layouts[type].form;
  return layouts[type].split != NULL;
}

void ggml_row_codes(enum tensor_type type, const uint8_t *row, size_t cols, struct ggml_codes *out) {
  const struct tensor_type_info *info = tensor_type_info(type);
  assert(layouts[type].split && cols % info->block == 0);
  size_t n_block = cols / info->block;
  for (size_t block = 0; block < n_block; block++) layouts[type].split(row + block * info->block_bytes, block, out);
}

const int8_t *ggml_codebook(enum ggml_codebook codebook) {
  static const int8_t entries[][16] = {
      [GGML_CODEBOOK_IQ4] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113},
      [GGML_CODEBOOK_E2M1] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12},
      [GGML_CODEBOOK_IQ1] = {-7, 1, 9, 0, -9, -1, 7, 0},
      [GGML_CODEBOOK_IQ2] = {8, 25, 43, 0, -8, -25, -43, 0},
      [GGML_CODEBOOK_IQ3] = {4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62},
      [GGML_CODEBOOK_ODD] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15},
  };
  assert(codebook > GGML_CODEBOOK_NONE && codebook <= GGML_CODEBOOK_ODD);
  return entries[codebook];
}

float ggml_unit(enum ggml_codebook codebook) {
  if (codebook == GGML_CODEBOOK_IQ1 || codebook == GGML_CODEBOOK_IQ2) return 0.125f;
  return codebook == GGML_CODEBOOK_IQ3 ? 0.25f : 1;
}
