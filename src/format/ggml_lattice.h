/* GGML's IQ1 to IQ3: blocks of 256 weights, whose runs of eight or four are entries of a grid. */
#ifndef SPATE_FORMAT_GGML_LATTICE_H
#define SPATE_FORMAT_GGML_LATTICE_H

#include "format/tensor_type.h"

extern const uint16_t ggml_grid_iq2_xxs[256], ggml_grid_iq2_xs[512], ggml_grid_iq2_s[1024], ggml_grid_iq3_xxs[256],
    ggml_grid_iq3_s[512], ggml_grid_iq1[2048];

bool ggml_is_lattice(enum tensor_type type);

/* count weights, a multiple of 256, of a type that is one, as floats: exact, as a scale has 11 bits times 5 and a
 * weight at most 6. */
void ggml_lattice_dequantize(enum tensor_type type, const uint8_t *source, size_t count, float *out);

#endif
