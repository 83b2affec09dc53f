/* One function a type takes a run of eight weights out of a block; the table at the end has the blocks' sizes. */
#include "format/ggml_lattice.h"

#include "base/half.h"

enum { RUN = 8, RUNS = 256 / RUN };

static unsigned load_u16(const uint8_t *bytes) { return (unsigned)(bytes[0] | bytes[1] << 8); }
static uint32_t load_u32(const uint8_t *bytes) { return load_u16(bytes) | (uint32_t)load_u16(bytes + 2) << 16; }
static float load_half(const uint8_t *bytes) { return half_to_float((uint16_t)load_u16(bytes)); }
static unsigned nibble(const uint8_t *bytes, int index) { return bytes[index / 2] >> 4 * (index % 2) & 15; }

/* Seven signs, and an eighth that makes the number of minuses even. */
static unsigned signs_even(unsigned seven) {
  unsigned parity = seven ^ seven >> 4;
  parity ^= parity >> 2;
  return seven | ((parity ^ parity >> 1) & 1) << 7;
}

static float signed_by(unsigned signs, int i, int value) { return (float)(signs >> i & 1 ? -value : value); }

static void run_iq2(unsigned entry, unsigned signs, float scale, float *out) {
  static const int value[4] = {8, 25, 43};
  for (int i = 0; i < RUN; i++) out[i] = scale * signed_by(signs, i, value[entry >> 2 * i & 3]);
}

static void run_iq2_xxs(const uint8_t *b, int run, float *out) {
  const uint8_t *part = b + 2 + run / 4 * 8;
  uint32_t word = load_u32(part + 4);
  run_iq2(ggml_grid_iq2_xxs[part[run % 4]], signs_even(word >> run % 4 * 7 & 127),
          load_half(b) * (float)(2 * (word >> 28) + 1) / 8, out);
}

static void run_iq2_xs(const uint8_t *b, int run, float *out) {
  unsigned word = load_u16(b + 2 + 2 * run);
  run_iq2(ggml_grid_iq2_xs[word & 511], signs_even(word >> 9),
          load_half(b) * (float)(2 * nibble(b + 66, run / 2) + 1) / 8, out);
}

static void run_iq2_s(const uint8_t *b, int run, float *out) {
  unsigned high = b[66 + run / 4] >> 2 * (run % 4) & 3;
  run_iq2(ggml_grid_iq2_s[b[2 + run] | high << 8], b[34 + run],
          load_half(b) * (float)(2 * nibble(b + 74, run / 2) + 1) / 8, out);
}

static void run_iq3_xxs(const uint8_t *b, int run, float *out) {
  static const int value[8] = {4, 12, 20, 28, 36, 44, 52, 62};
  uint32_t word = load_u32(b + 66 + run / 4 * 4);
  unsigned signs = signs_even(word >> run % 4 * 7 & 127);
  float scale = load_half(b) * (float)(2 * (word >> 28) + 1) / 4;
  for (int i = 0; i < RUN; i++) {
    unsigned entry = ggml_grid_iq3_xxs[b[2 + 2 * run + i / 4]];
    out[i] = scale * signed_by(signs, i, value[entry >> 4 * (i % 4) & 7]);
  }
}

static void run_iq3_s(const uint8_t *b, int run, float *out) {
  float scale = load_half(b) * (float)(2 * nibble(b + 106, run / 4) + 1);
  for (int i = 0; i < RUN; i++) {
    int at = 2 * run + i / 4;
    unsigned entry = ggml_grid_iq3_s[b[2 + at] | (b[66 + at / 8] >> at % 8 & 1u) << 8];
    out[i] = scale * signed_by(b[74 + run], i, (int)(2 * (entry >> 4 * (i % 4) & 7) + 1));
  }
}

/* −1, 0 or 1, and an eighth added or taken away. */
static void run_iq1(unsigned entry, bool less, float scale, float *out) {
  for (int i = 0; i < RUN; i++) out[i] = scale / 8 * (float)(8 * ((int)(entry >> 2 * i & 3) - 1) + (less ? -1 : 1));
}

static void run_iq1_s(const uint8_t *b, int run, float *out) {
  unsigned word = load_u16(b + 34 + run / 4 * 2), high = word >> 3 * (run % 4) & 7;
  run_iq1(ggml_grid_iq1[b[2 + run] | high << 8], word >> 15, load_half(b) * (float)(2 * (word >> 12 & 7) + 1), out);
}

/* The scale of the block is four times the top four bits of 16. */
static void run_iq1_m(const uint8_t *b, int run, float *out) {
  unsigned super = 0, high = nibble(b + 32, run), group = (unsigned)run / 2;
  for (int i = 0; i < 4; i++) super |= load_u16(b + 48 + 2 * i) >> 12 << 4 * i;
  unsigned sub = load_u16(b + 48 + 2 * (group / 4)) >> 3 * (group % 4) & 7;
  run_iq1(ggml_grid_iq1[b[run] | (high & 7) << 8], high >> 3, half_to_float((uint16_t)super) * (float)(2 * sub + 1),
          out);
}

static void (*const runs[TENSOR_TYPE_COUNT])(const uint8_t *block, int run, float *out) = {
    [TENSOR_IQ1_S] = run_iq1_s,   [TENSOR_IQ1_M] = run_iq1_m, [TENSOR_IQ2_XXS] = run_iq2_xxs,
    [TENSOR_IQ2_XS] = run_iq2_xs, [TENSOR_IQ2_S] = run_iq2_s, [TENSOR_IQ3_XXS] = run_iq3_xxs,
    [TENSOR_IQ3_S] = run_iq3_s,
};

bool ggml_is_lattice(enum tensor_type type) { return runs[type] != NULL; }

void ggml_lattice_dequantize(enum tensor_type type, const uint8_t *source, size_t count, float *out) {
  const struct tensor_type_info *info = tensor_type_info(type);
  for (; count > 0; count -= info->block, source += info->block_bytes)
    for (int run = 0; run < RUNS; run++, out += RUN) runs[type](source, run, out);
}
