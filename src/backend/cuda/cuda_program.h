/* The CUDA backend's private structures: a device is a GPU and a stream; a program is a plan with all the memory that
 * its steps will need, on the device and, pinned, on the host. Only the step thread touches a program. */
#ifndef SPATE_BACKEND_CUDA_PROGRAM_H
#define SPATE_BACKEND_CUDA_PROGRAM_H

#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_layout.h"

struct device {
  int ordinal;
  cuda_stream stream;
  int multiprocessors;
  char description[384];
};

/* A batch's arrays, one after the other in one allocation on either side: copied as one. */
struct cuda_slab {
  uint8_t *host, *device;
  size_t bytes;
};

struct program {
  struct device *device;
  const struct plan *plan;
  struct limits limits;
  int n_body;         /* ops [0, n_body) are the body, the rest the head */
  int32_t table_size; /* blocks of the longest sequence */

  uint8_t **weight;            /* [n_weight] on the device */
  float **value;               /* [n_value] on the device */
  float *prepared, *product;   /* a linear's rows before the product and after it */
  void *fragments;             /* before it, as matrix units want them */
  float *frequency;            /* the plan's floats */
  uint8_t *cache[PLAN_GROUPS]; /* KV memory */
  size_t block_bytes[PLAN_GROUPS];
  struct cuda_slab slab;

  float *logits; /* [outputs][vocab] pinned, on the host, which samples */
  void *sampler;
  int32_t *token;            /* [outputs] */
  float *logprob;            /* [outputs] */
  struct token_logprob *top; /* [outputs][TOP_LOGPROBS] */

  /* the step */
  const struct batch *batch;
  struct cuda_batch on_device;
};

/* cuda_device.c; cuda_absent.c where the binary has no CUDA: it can pack, and says so when it is to open a device. */
struct device *cuda_open(const struct device_options *options, struct error *error);
void cuda_close(struct device *device);

/* cuda_compile.c */
struct program *cuda_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                             struct error *error);
bool cuda_load(struct program *program, int weight, struct slice packed, struct error *error);
void cuda_release(struct program *program);

/* cuda_step.c */
bool cuda_submit(struct program *program, const struct batch *batch, struct error *error);
bool cuda_finish(struct program *program, const struct masks *masks, struct error *error);
bool cuda_collect(struct program *program, struct result *result, struct error *error);

/* cuda_measure.c: sizes that follow from plan and limits, in host code. */
bool cuda_measure(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                  struct error *error);
size_t cuda_rows_most(const struct plan *plan, const struct limits *limits, int value);
/* What linears need at most: floats of prepared inputs and of products, bytes of fragments. */
struct cuda_linear_needs {
  size_t prepared, product, fragments;
};
struct cuda_linear_needs cuda_linear_most(const struct plan *plan, const struct limits *limits);
/* Does the linear run on the matrix units? */
bool cuda_linear_fast(const struct plan *plan, const struct op *op);
size_t cuda_block_bytes(const struct plan *plan, const struct limits *limits, int group);
/* Where the arrays of the largest batch lie in a slab; its bytes. device: the slab's place there. */
size_t cuda_slab_lay(const struct plan *plan, const struct limits *limits, uint8_t *device, struct cuda_batch *batch);

#endif
