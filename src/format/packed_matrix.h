/* A matrix that another program quantized, as safetensors hold it: a tensor of codes, packed into 32-bit words or
 * bytes, beside tensors of scales, zero points and group numbers. Element (row, col) of the weight (row: an output) is
 *   scale × (code − zero)      integers: code and zero count up from 0; without a tensor of zeros, zero = 2^(bits − 1)
 *   scale × E4M3(code)         floats
 *   scale × E2M1(code)         floats of four bits, with scales that are powers of two
 * with the scale and the zero of its row and its group of columns. Immutable once made: any thread may read it. */
#ifndef SPATE_FORMAT_PACKED_MATRIX_H
#define SPATE_FORMAT_PACKED_MATRIX_H

#include "format/tensor.h"

enum packed_layout {
  PACKED_AWQ,  /* words [cols][rows / 8]: 8 rows of a column, in the order 0 2 4 6 1 3 5 7; scales [groups][rows] */
  PACKED_GPTQ, /* words [cols × bits / 32][rows], scales [groups][rows] */
  PACKED_ROWS, /* words [rows][cols × bits / 32], scales [rows][groups]; as the two below */
  PACKED_INT8, /* signed bytes [rows][cols] */
  PACKED_E4M3, /* bytes [rows][cols] */
  PACKED_E2M1, /* MXFP4: bytes [rows][cols / 32][16], the even column of two in the low half; scales of E8M0 [rows][cols
                  / 32]. Several matrices may follow each other, as [matrices][rows]…: their rows are counted on */
  PACKED_LAYOUTS,
};

/* How a checkpoint says that its matrices, or some of them, are stored. */
struct packed_spec {
  enum packed_layout layout;
  int bits;          /* of a code: 2, 4 or 8 */
  int group;         /* columns that share a scale; 0: all */
  int scale_rows;    /* rows that share a scale; 0: all */
  uint32_t zero_add; /* to each word of zeros: what GPTQ's first version had subtracted */
  bool needs_index;  /* the groups' columns lie apart, so that their numbers must be there */
  bool needs_zero;   /* zero points must be there */
  const char *note;  /* what the engine does not do as the checkpoint asks; static, or NULL */
};

/* The tensors of one matrix; those that it lacks are NULL. */
struct packed_parts {
  const struct tensor *codes, *scale, *zero;
  const struct tensor *index; /* [cols]: the group of each column */
  const struct tensor *shape; /* rows and columns, where the words of a row are padded */
};

/* What decides how an engine can store the numbers; matrices of the same form can be joined. All bytes are set. */
struct packed_form {
  uint8_t is_float; /* E4M3 */
  uint8_t bits;
  uint8_t has_zero;   /* some zero point is not 2^(bits − 1) */
  uint8_t scattered;  /* columns of a group lie apart */
  uint8_t scale_type; /* enum tensor_type: F32, F16 or BF16, or E8M0's, which is U8 or F8_E8M0 */
  uint8_t is_e2m1;
  uint8_t reserved[2];
  int32_t group;      /* columns that share a scale; 0: all */
  int32_t scale_rows; /* rows that share a scale; 0: all */
};

struct packed_matrix {
  struct packed_spec spec;
  struct packed_parts parts;
  struct packed_form form;
  int rows, cols, n_group; /* groups of a row; rows of all matrices */
  int whole;               /* rows of the parts, by which codes and scales of a row may lie apart */
  int first;               /* of one that was divided: the parts' row that is its first */
  const int *order;        /* [cols] the columns with those of a group side by side; NULL: as they are, or not known */
};

/* Checks the shapes and types of the parts against each other and reads the zero points and the group numbers, which
 * are few; the sentence names the tensor. After true, packed_row_read reads within bounds for every row. */
bool packed_matrix_init(struct packed_matrix *matrix, const struct packed_spec *spec, const struct packed_parts *parts,
                        struct error *error);

/* Fills order, for a matrix whose groups' columns lie apart. False: the groups are not all as long as the first. */
bool packed_matrix_order(const struct packed_matrix *matrix, int *order);

/* One of n matrices that follow each other, with as many rows each. Of MXFP4 its parts are its own, and are in it: it
 * must not move; others share those of all. False: they cannot be divided so. */
struct packed_division {
  struct packed_matrix matrix;
  struct tensor codes, scale;
};
bool packed_matrix_divide(const struct packed_matrix *all, int n, int index, struct packed_division *out);

/* "GPTQ int4 g128 zero", "E4M3 128x128": for people. Returns out. */
const char *packed_matrix_name(const struct packed_matrix *matrix, char out[48]);

/* Where one row goes. */
struct packed_row {
  uint8_t *code; /* [cols] */
  float *scale;  /* [n_group] */
  int *zero;     /* [n_group] */
};

void packed_row_read(const struct packed_matrix *matrix, int row, const struct packed_row *out);

/* The group of a column. */
int packed_group(const struct packed_matrix *matrix, int col);

/* The number that a code of a row stands for, with the product rounded once. */
float packed_value(const struct packed_matrix *matrix, const struct packed_row *row, int col);

#endif
