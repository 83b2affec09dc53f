/* GGML's IQ1 to IQ3: blocks of 256 weights, whose runs of eight or four are entries of a grid. Taken apart into a code
 * for each weight, which its type's codebook knows (ggml_codes.h), as the other types are. */
#ifndef SPATE_FORMAT_GGML_LATTICE_H
#define SPATE_FORMAT_GGML_LATTICE_H

#include "format/ggml_codes.h"

extern const uint16_t ggml_grid_iq2_xxs[256], ggml_grid_iq2_xs[512], ggml_grid_iq2_s[1024], ggml_grid_iq3_xxs[256],
    ggml_grid_iq3_s[512], ggml_grid_iq1[2048];

/* A block's codes, sub scales and super scale, to where those of the row's block-th go. */
void ggml_split_iq1_s(const uint8_t *bytes, size_t block, struct ggml_codes *out);
void ggml_split_iq1_m(const uint8_t *bytes, size_t block, struct ggml_codes *out);
void ggml_split_iq2_xxs(const uint8_t *bytes, size_t block, struct ggml_codes *out);
void ggml_split_iq2_xs(const uint8_t *bytes, size_t block, struct ggml_codes *out);
void ggml_split_iq2_s(const uint8_t *bytes, size_t block, struct ggml_codes *out);
void ggml_split_iq3_xxs(const uint8_t *bytes, size_t block, struct ggml_codes *out);
void ggml_split_iq3_s(const uint8_t *bytes, size_t block, struct ggml_codes *out);

#endif
