/* A small plan with F32 weights from memory, compiled on a device: what calibration runs parts of a network and matrix
 * products with. Tokens are rows of the plan's tables. Owned by one thread. */
#ifndef SPATE_BUILD_FLOAT_PROGRAM_H
#define SPATE_BUILD_FLOAT_PROGRAM_H

#include "build/build_progress.h"
#include "plan/backend.h"

/* Where such programs run. */
struct float_device {
  const struct backend *backend;
  struct device *device;
  /* Each step tells that the build has come so far, and may be cancelled then. NULL: it does not. */
  struct build_progress *progress;
  uint64_t done, total;
};

/* Opens the backend's device, or that of the CPU where the backend has none on this machine. */
bool float_device_open(struct float_device *device, const struct backend *backend, int n_thread, struct error *error);
void float_device_close(struct float_device *device);

struct float_program {
  const struct float_device *device;
  const struct plan *plan; /* the caller's; its last op makes the result, over outputs, and it does not sample */
  struct limits limits;
  struct program *program;
  uint8_t **packed; /* [n_weight] owned; NULL until stored */
  struct row row;
  uint32_t *blocks;
  int32_t *token, *out; /* [limits.tokens] */
  struct sampling *sampling;
};

/* For steps of at most `rows` tokens of one sequence. */
bool float_program_open(struct float_program *program, const struct float_device *device, const struct plan *plan,
                        int rows, struct error *error);
void float_program_close(struct float_program *program);

/* Gives a weight its numbers, row-major; copied. */
bool float_program_store(struct float_program *program, int weight, const float *values, struct error *error);

/* A step of the tokens [first, first + count) as a sequence of their own. Returns the result's rows, valid until the
 * next step; NULL on failure. */
const float *float_program_run(struct float_program *program, int first, int count, struct error *error);

/* --- products ----------------------------------------------------------------------------------------------------- */

/* out = a · bᵀ for matrices of `cols` columns: a has rows_a rows, taken step_rows at a time, b has rows_b. */
struct float_product {
  struct buffer block;
  struct float_program program;
  int rows_a, rows_b, cols, step_rows;
};

bool float_product_open(struct float_product *product, const struct float_device *device, int rows_a, int rows_b,
                        int cols, struct error *error);
void float_product_close(struct float_product *product);
bool float_product_a(struct float_product *product, const float *a, struct error *error);
bool float_product_b(struct float_product *product, const float *b, struct error *error);
/* Rows [first, first + count) of the product, count at most step_rows: [count][rows_b]; NULL on failure. */
const float *float_product_rows(struct float_product *product, int first, int count, struct error *error);

#endif
