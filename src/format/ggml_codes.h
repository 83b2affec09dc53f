/* GGML's quantized rows taken apart without arithmetic: the exact integer codes and scales that a file holds, so that
 * an engine can keep every type's own width.
 *
 * How a value is rebuilt. Weight i of a row lies in group g = i / group and, with two levels, super block s = i / 256:
 *   one level:  S = scale[g],               M = min[g]
 *   two levels: S = super[s] × sub_scale[g], M = −(super_min[s] × sub_min[g])
 *   codebook:   value = S × ggml_unit(form.codebook) × ggml_codebook(form.codebook)[code[i]]
 *   has_min:    value = S × code[i] + M
 *   otherwise:  value = S × (code[i] − 2^(bits − 1))
 * Evaluated in float in just this order (each product and the sum rounded once) this is ggml_dequant.h bit for bit: S
 * and M are exact in float (11-bit fp16 × at most 8 bits), so the only roundings are those of the last product and of
 * the sum. */
#ifndef SPATE_FORMAT_GGML_CODES_H
#define SPATE_FORMAT_GGML_CODES_H

#include "format/tensor_type.h"

enum { GGML_SUPER = 256 }; /* weights per super scale */

enum ggml_codebook {
  GGML_CODEBOOK_NONE,
  GGML_CODEBOOK_IQ4,
  GGML_CODEBOOK_E2M1, /* twice its values: the scales are stored halved */
  GGML_CODEBOOK_IQ1,
  GGML_CODEBOOK_IQ2,
  GGML_CODEBOOK_IQ3,
  GGML_CODEBOOK_ODD,
};

struct ggml_code_form {
  int bits;     /* of a code: 2, 3, 4, 5, 6 or 8 */
  int group;    /* weights per scale: 16, 32 or 128 */
  bool has_min; /* codes count up from a minimum, otherwise they are centred or looked up */
  bool two_level;
  bool scale_bfloat; /* one level: scales are bf16 bits, otherwise fp16 bits */
  enum ggml_codebook codebook;
};

/* False for the types that have no such codes: plain ones and the quantized ones that do not load. */
bool ggml_code_form(enum tensor_type type, struct ggml_code_form *form);

/* Where the parts of one row go. Those that the type's form does not have are left alone and may be NULL. */
struct ggml_codes {
  uint8_t *code;               /* [cols] 0 … 2^bits − 1 */
  uint16_t *scale, *min;       /* one level: [cols / group] fp16 bits (scale: see scale_bfloat) */
  int8_t *sub_scale;           /* two levels: [cols / group] */
  uint8_t *sub_min;            /* [cols / group] */
  uint16_t *super, *super_min; /* [cols / 256] fp16 bits */
};

/* The row's parts. type has a form; cols is a multiple of its block. */
void ggml_row_codes(enum tensor_type type, const uint8_t *row, size_t cols, struct ggml_codes *out);

/* The 16 integers of a codebook, and what one of them stands for. */
const int8_t *ggml_codebook(enum ggml_codebook codebook);
float ggml_unit(enum ggml_codebook codebook);

#endif
