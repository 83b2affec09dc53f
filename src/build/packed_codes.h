/* Matrices quantized elsewhere (format/packed_matrix.h): which scheme holds their numbers, and the copying. */
#ifndef SPATE_BUILD_PACKED_CODES_H
#define SPATE_BUILD_PACKED_CODES_H

#include "build/code_rows.h"
#include "format/packed_matrix.h"

/* `order`, below: the matrix's own, where its columns are to be stored in that order; NULL: as they are.
 *
 * The scheme that holds the matrix as it is: its codes with its scales. Where none does, the numbers themselves: as
 * F32, which holds them exactly, or as F16 where columns of a group lie apart (act-order): no order of the inputs suits
 * all matrices that read the residual stream, and the format's own kernels multiply with these products rounded to F16.
 * *note then tells, as static text, why; otherwise it is NULL or what the checkpoint asks for and does not get. */
struct scheme packed_scheme(const struct packed_matrix *matrix, const int *order, const char **note);

/* Whether rows of the matrix can be stored in the scheme code by code. */
bool packed_scheme_holds(const struct scheme *scheme, const struct packed_matrix *matrix, const int *order);

/* One row taken apart. One per thread. */
struct packed_buffer {
  struct arena arena;
  struct packed_row row;
};

/* Room for rows of at most `cols` columns. */
bool packed_buffer_init(struct packed_buffer *buffer, int cols, struct error *error);
void packed_buffer_release(struct packed_buffer *buffer);

/* Row `row` of the matrix as row `at` of `out`, whose scheme holds the matrix. */
void packed_row_store(struct packed_buffer *buffer, const struct packed_matrix *matrix, const int *order, int row,
                      struct code_rows *out, int at);

/* The same as cols floats. */
void packed_row_floats(struct packed_buffer *buffer, const struct packed_matrix *matrix, const int *order, int row,
                       float *out);

#endif
