/* How a weight's numbers are stored: one description for every quantized type, so that few kernel families serve all.
 *
 * An integer weight has codes of bits + high_bits bits in two planes (low: 2, 4 or 8 bits; high: 0, 1 or 2 bits above
 * them) and one scale for each run of `group` columns of a row:
 *   has_min:   value = scale × code + min
 *   codebook:  value = scale × entry[code]
 *   otherwise: value = scale × (code − 2^(width − 1))
 * A two-level scale is super × sub: super one fp16 for 256 columns, sub one int8 for the group; its minimum is
 * −(super_min × sub_min) with sub_min unsigned. */
#ifndef SPATE_PLAN_SCHEME_H
#define SPATE_PLAN_SCHEME_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum scheme_kind { SCHEME_F32, SCHEME_F16, SCHEME_BF16, SCHEME_INT };
enum scale_kind { SCALE_F32, SCALE_F16, SCALE_BF16, SCALE_TWO_LEVEL };
enum codebook { CODEBOOK_NONE, CODEBOOK_IQ4, CODEBOOK_E2M1 };
enum activation { ACTIVATION_FLOAT, ACTIVATION_INT8 }; /* INT8: quantized per group of 32 along K */

enum { SCHEME_SUPER = 256, ACTIVATION_GROUP = 32, CODEBOOK_ENTRIES = 16 };

struct scheme {
  uint8_t kind;      /* enum scheme_kind; the fields below are zero unless SCHEME_INT */
  uint8_t bits;      /* low plane: 2, 4 or 8 */
  uint8_t high_bits; /* high plane: 0, 1 or 2 */
  uint8_t scale;     /* enum scale_kind */
  uint8_t has_min;
  uint8_t codebook;   /* enum codebook */
  uint8_t activation; /* enum activation: what the linear multiplies with */
  uint8_t reserved;
  uint16_t group; /* columns per scale: 16, 32, 64 or 128; the last group of a row may be short */
};

/* Refuses any combination that the definition above does not allow, with a sentence that names the field. */
bool scheme_check(const struct scheme *scheme, struct error *error);

/* "F32", "BF16", "int4 g32 f16 min", …: for people. Returns out. */
const char *scheme_name(const struct scheme *scheme, char out[48]);

static inline int scheme_width(const struct scheme *s) { return s->bits + s->high_bits; }          /* bits of a code */
static inline int scheme_element(const struct scheme *s) { return s->kind == SCHEME_F32 ? 4 : 2; } /* bytes, floats */
static inline int scheme_groups(const struct scheme *s, int cols) { return (cols + s->group - 1) / s->group; }

/* The 16 integers of a codebook. */
const int8_t *codebook_entries(enum codebook codebook);

/* Plain numbers of some rows of a weight, before packing: what quantizers produce and packers consume. Row-major; the
 * unused pointers are NULL. */
struct codes {
  struct scheme scheme;
  int rows, cols;
  const void *dense;        /* float kinds: rows × cols elements of the kind's type */
  const uint8_t *code;      /* SCHEME_INT: rows × cols, one code a byte */
  const float *scale, *min; /* one level: rows × groups, each exactly representable in the scale kind */
  const int8_t *sub;        /* two levels: rows × groups */
  const uint8_t *sub_min;
  const uint16_t *super, *super_min; /* two levels: fp16 bits, rows × ⌈cols / 256⌉ */
};

/* The value of one element as a double: the definition that every kernel is checked against. */
double codes_value(const struct codes *codes, int row, int col);

#endif
