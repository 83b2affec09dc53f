/* Programs of encoders, of images and of texts: what they have beside a decoder's, and the pool that a decoder takes
 * their rows from. Their steps have no graphs: tokens are many. */
#ifndef SPATE_BACKEND_CUDA_IMAGE_H
#define SPATE_BACKEND_CUDA_IMAGE_H

#include "backend/cuda/image_kernels.h"
#include "plan/backend.h"

struct cuda_path;
struct program;
struct cuda_slot;
struct cuda_room;
struct cuda_attend_beside;

enum { CUDA_ROOM_ALIGN = 64 /* bytes, of what is put into a slab's room */ };

/* On the device, but for numbers. */
struct cuda_images {
  uint8_t *axis;             /* what turns each of the plan's floats, where some rotation has several axes */
  struct cuda_places places; /* of the step's tokens */
  uint8_t *cache;            /* keys and values of one layer, in blocks of IMAGE_BLOCK tokens; pads of heads are 0 */
  uint16_t *query;           /* in the same blocks, pads are 0; where attention packs: [token][n_head × dim] */
  float *patches;            /* [token][numbers], where an embedding does more than take them */
  const uint32_t *place;     /* [n_token] of the step, in tokens of the cache */
  int32_t packed;            /* rows of a token (cuda_image_packed) */
  int32_t n_chunk;           /* of the step's attention */
  int32_t collected;         /* outputs of the step that was collected last */
  float *pool;               /* of a decoder: [limits.pool][hidden] */
  const int32_t *pooled;     /* [n_token] rows of it in place of embeddings; NULL: none */
};

struct cuda_image_needs {
  size_t cache, query, patches; /* bytes, numbers, numbers */
};
struct cuda_image_needs cuda_image_most(const struct plan *plan, const struct limits *limits);

/* Blocks of rows that have so many tokens together; words of the slab that name them, and each token's place. */
int32_t cuda_image_blocks(int32_t rows, int32_t tokens);
size_t cuda_image_tables(int32_t rows, int32_t tokens);
/* Numbers of a patch; 0: the plan has none. Does a step put them straight into the value that they are embedded to? */
size_t cuda_patch_numbers(const struct plan *plan);
bool cuda_patches_straight(const struct plan *plan);

/* Does a linear of an encoder run in image_linear.cu, and attention in image_attend.cu with the linear after it, on a
 * path that has them? */
bool cuda_image_linear_fits(const struct plan *plan, const struct op *op);
bool cuda_image_attend_fits(const struct plan *plan, const struct limits *limits, const struct op *op);
/* A linear of an encoder of texts that norms, where it is, what it has added to: a kernel of its own does it. */
bool cuda_image_sum_normed(const struct plan *plan, const struct op *op);
/* The linear before such attention leaves it queries, keys and values; otherwise image_heads.cu makes them. */
bool cuda_image_heads_left(const struct plan *plan, const struct limits *limits, const struct op *op);
/* Does attention of an encoder of texts run in the kernels of decoders' prompts, over a cache of one layer? Packed rows
 * of a token, of all attention of a plan that has such; 1 otherwise. */
bool cuda_image_attend_packs(const struct cuda_path *path, const struct plan *plan, const struct limits *limits,
                             const struct op *op);
int32_t cuda_image_packed(const struct plan *plan, const struct limits *limits);
/* Does any attention on matrix units want angles? */
bool cuda_image_turns(const struct plan *plan, const struct limits *limits);
/* The linear after one is the only reader of its results, and takes them as they are. */
bool cuda_image_passes(const struct plan *plan, const struct op *op);
/* What a head of attention's is stored as. */
int32_t cuda_image_room(int32_t dim);

/* Can the op run on a GPU? The sentence's end says why not. */
bool cuda_image_supports(const struct plan *plan, const struct op *op, const char **why);

/* cuda_image.c: a step of an encoder on its way to the device, and an op of it. */
bool cuda_image_send(struct program *program, struct cuda_slot *slot, const struct batch *batch, struct error *error);
void cuda_image_run(struct program *program, const struct op *op);
/* Are tokens tiles of bf16, the operands of Hopper's linears alone? */
bool cuda_image_tiled(const struct program *program);

/* cuda_image_attend.c: attention, and where a linear before it leaves queries, keys and values. */
void cuda_image_attend_run(struct program *program, const struct op *op);
void cuda_image_heads_fill(const struct program *program, const struct op *attend, struct cuda_image_ends *ends);

/* cuda_attention.c: what all attention is told; what plain kernels are told beside; heads clamped, and normed by
 * weights of their own, where they are. */
struct cuda_attend cuda_attend_of(const struct program *program, const struct op *op);
struct cuda_attend_beside cuda_attend_beside_of(const struct op *op);
void cuda_attend_heads(struct program *program, const struct op *op, struct cuda_attend *attend);

/* cuda_pool_rows.c: rows of a decoder's pool: filled (backend.pool_fill), named by a step, and put in place of what an
 * embedding has made. */
bool cuda_pool_fill(struct program *program, int32_t first, int32_t count, const struct pool_source *source,
                    struct error *error);
bool cuda_pool_named(const struct batch *batch);
void cuda_pool_send(struct program *program, const struct batch *batch, struct cuda_room *room);
void cuda_pool_run(struct program *program, const struct op *op);

#endif
