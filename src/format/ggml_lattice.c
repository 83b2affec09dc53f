/* A sign, or an IQ1's direction of its eighth, is the highest bit of a code; what the grid says is below it. */
#include "format/ggml_lattice.h"

enum { RUN = 8, RUNS = GGML_SUPER / RUN };

static unsigned load_u16(const uint8_t *bytes) { return (unsigned)(bytes[0] | bytes[1] << 8); }
static uint32_t load_u32(const uint8_t *bytes) { return load_u16(bytes) | (uint32_t)load_u16(bytes + 2) << 16; }
static unsigned nibble(const uint8_t *bytes, int index) { return bytes[index / 2] >> 4 * (index % 2) & 15; }

/* Seven signs, and an eighth that makes the number of minuses even. */
static unsigned signs_even(unsigned seven) {
  unsigned parity = seven ^ seven >> 4;
  parity ^= parity >> 2;
  return seven | ((parity ^ parity >> 1) & 1) << 7;
}

static uint8_t *run_at(const struct ggml_codes *out, size_t block, int run) {
  return out->code + GGML_SUPER * block + (size_t)(RUN * run);
}

/* Fields of two bits, and a third bit for each. */
static void run_put(uint8_t *code, unsigned entry, unsigned signs) {
  for (int i = 0; i < RUN; i++) code[i] = (uint8_t)((entry >> 2 * i & 3) | (signs >> i & 1) << 2);
}

/* Two entries of four fields of three bits, and a fourth bit for each. */
static void run_put_wide(uint8_t *code, unsigned entry, unsigned next, unsigned signs) {
  for (int i = 0; i < RUN; i++)
    code[i] = (uint8_t)(((i < 4 ? entry : next) >> 4 * (i % 4) & 7) | (signs >> i & 1) << 3);
}

/* Sub scales are odd numbers. */
static void sub_put(const struct ggml_codes *out, size_t block, int groups, int group, unsigned sub) {
  out->sub_scale[(size_t)groups * block + (size_t)group] = (int8_t)(2 * sub + 1);
}

void ggml_split_iq2_xxs(const uint8_t *b, size_t block, struct ggml_codes *out) {
  out->super[block] = (uint16_t)load_u16(b);
  for (int run = 0; run < RUNS; run++) {
    const uint8_t *part = b + 2 + run / 4 * 8;
    uint32_t word = load_u32(part + 4);
    run_put(run_at(out, block, run), ggml_grid_iq2_xxs[part[run % 4]], signs_even(word >> run % 4 * 7 & 127));
    sub_put(out, block, 8, run / 4, word >> 28);
  }
}

void ggml_split_iq2_xs(const uint8_t *b, size_t block, struct ggml_codes *out) {
  out->super[block] = (uint16_t)load_u16(b);
  for (int run = 0; run < RUNS; run++) {
    unsigned word = load_u16(b + 2 + 2 * run);
    run_put(run_at(out, block, run), ggml_grid_iq2_xs[word & 511], signs_even(word >> 9));
    sub_put(out, block, 16, run / 2, nibble(b + 66, run / 2));
  }
}

void ggml_split_iq2_s(const uint8_t *b, size_t block, struct ggml_codes *out) {
  out->super[block] = (uint16_t)load_u16(b);
  for (int run = 0; run < RUNS; run++) {
    unsigned high = b[66 + run / 4] >> 2 * (run % 4) & 3;
    run_put(run_at(out, block, run), ggml_grid_iq2_s[b[2 + run] | high << 8], b[34 + run]);
    sub_put(out, block, 16, run / 2, nibble(b + 74, run / 2));
  }
}

void ggml_split_iq3_xxs(const uint8_t *b, size_t block, struct ggml_codes *out) {
  out->super[block] = (uint16_t)load_u16(b);
  for (int run = 0; run < RUNS; run++) {
    uint32_t word = load_u32(b + 66 + run / 4 * 4);
    run_put_wide(run_at(out, block, run), ggml_grid_iq3_xxs[b[2 + 2 * run]], ggml_grid_iq3_xxs[b[3 + 2 * run]],
                 signs_even(word >> run % 4 * 7 & 127));
    sub_put(out, block, 8, run / 4, word >> 28);
  }
}

static unsigned entry_iq3_s(const uint8_t *b, int at) {
  return ggml_grid_iq3_s[b[2 + at] | (b[66 + at / 8] >> at % 8 & 1u) << 8];
}

void ggml_split_iq3_s(const uint8_t *b, size_t block, struct ggml_codes *out) {
  out->super[block] = (uint16_t)load_u16(b);
  for (int run = 0; run < RUNS; run++) {
    run_put_wide(run_at(out, block, run), entry_iq3_s(b, 2 * run), entry_iq3_s(b, 2 * run + 1), b[74 + run]);
    sub_put(out, block, 8, run / 4, nibble(b + 106, run / 4));
  }
}

void ggml_split_iq1_s(const uint8_t *b, size_t block, struct ggml_codes *out) {
  out->super[block] = (uint16_t)load_u16(b);
  for (int run = 0; run < RUNS; run++) {
    unsigned word = load_u16(b + 34 + run / 4 * 2), high = word >> 3 * (run % 4) & 7;
    run_put(run_at(out, block, run), ggml_grid_iq1[b[2 + run] | high << 8], word >> 15 ? 255 : 0);
    sub_put(out, block, 8, run / 4, word >> 12 & 7);
  }
}

/* The scale of the block is four times the top four bits of 16. */
void ggml_split_iq1_m(const uint8_t *b, size_t block, struct ggml_codes *out) {
  unsigned super = 0;
  for (int i = 0; i < 4; i++) super |= load_u16(b + 48 + 2 * i) >> 12 << 4 * i;
  out->super[block] = (uint16_t)super;
  for (int run = 0; run < RUNS; run++) {
    unsigned high = nibble(b + 32, run), group = (unsigned)run / 2;
    run_put(run_at(out, block, run), ggml_grid_iq1[b[run] | (high & 7) << 8], high >> 3 ? 255 : 0);
    sub_put(out, block, 16, run / 2, load_u16(b + 48 + 2 * (group / 4)) >> 3 * (group % 4) & 7);
  }
}
