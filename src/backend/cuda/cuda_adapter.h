/* Adapters on a GPU: where an adapter's factors lie in a slot, which is as large as the largest adapter that the limits
 * allow, and how they get there. Those of experts would make slots many times as large: they have memory of their own,
 * as much as the adapter has of them, from when it comes until another does. Factors are bf16, floats where the matrix
 * is. Host code but for what needs a program. */
#ifndef SPATE_BACKEND_CUDA_ADAPTER_H
#define SPATE_BACKEND_CUDA_ADAPTER_H

#include "backend/cuda/expert_adapter.h"
#include "backend/cuda/upload.h"
#include "plan/backend.h"

struct cuda_upload;

/* Of an op, from the slot's start; of experts which of a slot's sites is the first. */
struct cuda_adapter_place {
  size_t a, b, vectors;
  int32_t expert;
};

/* What a step must know of the adapter in a slot: its greatest rank, whether it has neither magnitudes nor shifts:
 * twice in a row, it is then as once with the sum of its scales; and whether it changes experts. */
struct cuda_adapter_kind {
  int32_t rank;
  bool plain, experts;
};

struct cuda_adapters {
  /* on the device */
  uint8_t *factors;                /* [adapters][slot_bytes] */
  struct cuda_adapter_site *site;  /* [adapters][n_op] */
  struct cuda_expert_site *expert; /* [adapters][n_expert] */
  uint8_t *slab;                   /* the step's lists */
  float *h, *squares;
  uint32_t *counts;  /* struct cuda_adapter_sums.arrived */
  uint32_t *partial; /* [LINEAR_CHAIN][part_bytes] (struct cuda_adapted) */
  /* on the host */
  struct cuda_adapter_place *place; /* [n_op] */
  size_t slot_bytes;
  struct cuda_adapter_site *row;       /* [n_op] pinned: a slot's on their way */
  struct cuda_expert_site *expert_row; /* [n_expert] the same */
  uint8_t **expert_factors;            /* [adapters] on the device; NULL: its adapter changes no experts */
  int32_t n_expert;                    /* matrices of all experts that adapters can change */
  struct cuda_upload *upload;          /* with a stream of its own, of whoever loads */
  struct CUstream_st *stream;
  int32_t *count;                 /* [adapters] */
  struct cuda_adapter_kind *kind; /* [adapters] */
  size_t part_bytes;              /* 0: no linear takes pairs */
  int32_t most_part;              /* of a matrix that takes them */
  /* the step */
  struct cuda_adapter_lists tokens, outputs;
  size_t slab_bytes;
};

/* Places of all ops' factors, if wanted, and bytes of a slot; how many sites of experts it has. */
size_t cuda_adapter_lay(const struct plan *plan, const struct limits *limits, struct cuda_adapter_place *place);
int32_t cuda_adapter_experts(const struct plan *plan);

/* What of a linear's products is in memory at once; floats of sums and of squares; counts of blocks. */
struct cuda_adapter_needs {
  size_t product, h, squares, counts, slab;
  size_t part_bytes; /* struct cuda_adapted */
};
struct cuda_adapter_needs cuda_adapter_most(const struct plan *plan, const struct limits *limits);

/* Lists of a step of so many tokens and outputs in a slab; returns their bytes. */
size_t cuda_adapter_slab_lay(int32_t n_token, int32_t n_out, uint8_t *slab, struct cuda_adapter_lists *tokens,
                             struct cuda_adapter_lists *outputs);

/* Can the op take pairs (struct cuda_adapter_pair), on a path that has kernels for them? */
bool cuda_adapter_paired(const struct plan *plan, const struct limits *limits, const struct op *op);

/* Splits of a matrix's columns that n tokens' sums are kept of. */
int32_t cuda_adapter_splits(int32_t cols, int32_t n);

/* Are an op's factors floats? Ranks of its slot, filled up. */
bool cuda_adapter_floats(const struct weight *weight);
int32_t cuda_adapter_rank(int32_t rank);

/* An op's arrays as they go to its place in a slot. `packs` holds what jobs point at. */
enum { ADAPTER_JOBS = 2 + VECTORS };
struct cuda_adapter_pack {
  int32_t n_row, width, have; /* of the result: rows, numbers of a row, of which there are some */
  int32_t group, given;       /* rows come in groups, of which there are some given; the rest is zeros */
  bool strips, floats;
  struct factor numbers;
  const float *gain;           /* what rows are multiplied with: that of their part; NULL: 1 */
  const struct weight *weight; /* whose rows have parts; NULL: all are of the first */
};
int cuda_adapter_jobs(const struct plan *plan, const struct adapter_op *from, const struct cuda_adapter_place *place,
                      uint8_t *slot, struct cuda_adapter_pack packs[2], struct upload_job jobs[ADAPTER_JOBS]);
/* Factors of an expert, the next ones from `used` on: where they are. */
struct cuda_adapter_place cuda_adapter_expert_lay(const struct plan *plan, const struct adapter_op *from, size_t *used);

#endif
