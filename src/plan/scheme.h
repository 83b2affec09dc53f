/* How a weight's numbers are stored: one description for every quantized type, so that few kernel families serve all.
 *
 * An integer weight has codes of bits + high_bits bits in two planes (low: 2, 4 or 8 bits; high: 0, 1 or 2 bits above
 * them) and one scale for each run of `group` columns of a row:
 *   has_min:   value = scale × code + min
 *   codebook:  value = scale × unit × entry[code], the unit being the codebook's
 *   otherwise: value = scale × (code − 2^(width − 1))
 * Group 0 is one scale for a whole row. An E4M3 weight (SCHEME_F8) has eight-bit floats and F32 scales likewise:
 * value = scale × e4m3(code).
 * A two-level scale is super × sub: super one fp16 for 256 columns, sub one int8 for the group; its minimum is
 * −(super_min × sub_min) with sub_min unsigned. */
#ifndef SPATE_PLAN_SCHEME_H
#define SPATE_PLAN_SCHEME_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum scheme_kind { SCHEME_F32, SCHEME_F16, SCHEME_BF16, SCHEME_INT, SCHEME_F8 };
enum scale_kind { SCALE_F32, SCALE_F16, SCALE_BF16, SCALE_TWO_LEVEL };
enum codebook {
  CODEBOOK_NONE,
  CODEBOOK_IQ4,
  CODEBOOK_E2M1, /* twice its values, so that they are integers: such scales are stored halved */
  CODEBOOK_IQ1,  /* codes of 3 bits: ±1 and 0, an eighth above or below; in eighths */
  CODEBOOK_IQ2,  /* codes of 3 bits: ±8, 25, 43; in eighths */
  CODEBOOK_IQ3,  /* ±4, 12, 20, 28, 36, 44, 52, 62; in quarters */
  CODEBOOK_ODD,  /* odd numbers from −15 to 15 */
  CODEBOOK_COUNT,
};

/* What a linear multiplies with. The other three are rounded from the input first:
 *   INT8         in groups of 32 columns, scale = greatest magnitude / 127
 *   INT8_TOKEN   the same with one scale for the whole row of a token
 *   E4M3_TOKEN   to E4M3 with one scale a token, greatest magnitude / 448 */
enum activation { ACTIVATION_FLOAT, ACTIVATION_INT8, ACTIVATION_INT8_TOKEN, ACTIVATION_E4M3_TOKEN };

enum { SCHEME_SUPER = 256, ACTIVATION_GROUP = 32, CODEBOOK_ENTRIES = 16 };

struct scheme {
  uint8_t kind;      /* enum scheme_kind; the fields below are zero for plain floats */
  uint8_t bits;      /* low plane: 2, 4 or 8 */
  uint8_t high_bits; /* high plane: 0, 1 or 2 */
  uint8_t scale;     /* enum scale_kind */
  uint8_t has_min;
  uint8_t codebook;   /* enum codebook */
  uint8_t activation; /* enum activation; INT8… with SCHEME_INT, E4M3_TOKEN with SCHEME_F8 */
  uint8_t reserved;
  uint16_t group; /* columns per scale: 16, 32, 64 or 128, the last of a row may be short; 0: all of a row. An E4M3
                     weight has 128 or 0 */
};

/* Refuses any combination that the definition above does not allow, with a sentence that names the field. */
bool scheme_check(const struct scheme *scheme, struct error *error);

/* "F32", "BF16", "int4 g32 f16 min", …: for people. Returns out. */
const char *scheme_name(const struct scheme *scheme, char out[48]);

static inline int scheme_width(const struct scheme *s) { return s->bits + s->high_bits; }          /* bits of a code */
static inline int scheme_element(const struct scheme *s) { return s->kind == SCHEME_F32 ? 4 : 2; } /* bytes, floats */
static inline bool scheme_is_plain(const struct scheme *s) { return s->kind < SCHEME_INT; } /* floats, no scales */
static inline int scheme_groups(const struct scheme *s, int cols) {
  return s->group ? (cols + s->group - 1) / s->group : 1;
}
static inline int scheme_group_of(const struct scheme *s, int col) { return s->group ? col / s->group : 0; }

/* The 16 integers of a codebook, of which codes of 3 bits reach 8, and what one of them stands for. */
const int8_t *codebook_entries(enum codebook codebook);
float codebook_unit(enum codebook codebook);

/* Plain numbers of some rows of a weight, before packing: what quantizers produce and packers consume. Row-major; the
 * unused pointers are NULL. */
struct codes {
  struct scheme scheme;
  int rows, cols;
  const void *dense;        /* plain floats: rows × cols elements of the kind's type */
  const uint8_t *code;      /* SCHEME_INT: rows × cols, one code a byte; SCHEME_F8: E4M3 */
  const float *scale, *min; /* one level: rows × groups, each exactly representable in the scale kind */
  const int8_t *sub;        /* two levels: rows × groups */
  const uint8_t *sub_min;
  const uint16_t *super, *super_min; /* two levels: fp16 bits, rows × ⌈cols / 256⌉ */
};

/* The value of one element as a double: the definition that every kernel is checked against. */
double codes_value(const struct codes *codes, int row, int col);

#endif
