/* Weights kept as their file has them: which scheme holds the numbers of a file's type exactly, and the copying. */
#ifndef SPATE_BUILD_EXACT_CODES_H
#define SPATE_BUILD_EXACT_CODES_H

#include "build/code_rows.h"
#include "format/ggml_codes.h"

/* The scheme of a type that loads: its own codes and scales, or its float kind. It may have F32 scales in place of its
 * own ones of 16 bits. */
struct scheme exact_scheme(enum tensor_type type);

/* A plainer scheme that holds rows of an integer type exactly, for backends without its own: no codebook and one level
 * of scales, with F32 scales and minima. False for other types. */
bool exact_scheme_wide(enum tensor_type type, struct scheme *scheme);

/* Whether a row of the type can be stored in the scheme without arithmetic on floats. */
bool exact_scheme_holds(const struct scheme *scheme, enum tensor_type type);

/* One row of a file's integer type, taken apart. One per thread. */
struct exact_row {
  struct arena arena;
  struct ggml_codes parts;
};

bool exact_row_init(struct exact_row *row, int cols, struct error *error);
void exact_row_release(struct exact_row *row);

/* Row `at` of `out` from a row of an integer type that out->scheme holds. */
void exact_row_store(struct exact_row *row, enum tensor_type type, const uint8_t *source, struct code_rows *out,
                     int at);

#endif
