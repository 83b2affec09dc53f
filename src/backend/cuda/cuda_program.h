/* The CUDA backend's private structures: a device is a GPU and a stream; a program is a plan with all the memory that
 * its steps will need, on the device and, pinned, on the host. Only the step thread touches a program. */
#ifndef SPATE_BACKEND_CUDA_PROGRAM_H
#define SPATE_BACKEND_CUDA_PROGRAM_H

#include "backend/cuda/attend_split.h"
#include "backend/cuda/cuda_adapter.h"
#include "backend/cuda/cuda_hosted.h"
#include "backend/cuda/cuda_image.h"
#include "backend/cuda/cuda_layout.h"
#include "backend/cuda/cuda_marks.h"
#include "backend/cuda/cuda_measure.h"
#include "backend/cuda/cuda_paths.h"
#include "backend/cuda/cuda_turns.h"
#include "backend/cuda/row_kernels.h"
#include "backend/cuda/upload.h"

struct device {
  int ordinal;
  cuda_stream stream;
  int multiprocessors;
  const struct cuda_path *path; /* the kernels that it runs */
  char description[384];
};

enum {
  CUDA_RUN_AHEAD = 1,
  CUDA_STEP_TILE = 128, /* of linear_tiles.cuh */
  CUDA_ROOM_ROWS = 32,  /* of logits, which draw at once where shared memory holds none */
};

/* The rest of a slab: room for what has no fixed size. */
struct cuda_room {
  uint8_t *host;
  const uint8_t *device;
  size_t bytes, used;
};

/* A step that is out, or is being made: pinned memory of the host. */
struct cuda_slot {
  uint8_t *slab;               /* the batch's arrays, one after the other, as they go to the device */
  uint8_t *patches;            /* of an encoder's step; NULL: it has none */
  float *vectors;              /* [outputs][cols] results of a step of texts; NULL: they are the program's logits */
  uint8_t *adapter_slab;       /* and those of its adapters; NULL: there are none */
  struct cuda_results results; /* [outputs]; written by the device */
  struct CUevent_st *done;
  struct cuda_marks marks; /* of a step of texts */
  int32_t n_out;
  bool by_host;     /* the kernel leaves some outputs out */
  bool want_logits; /* in the program's logits, which no step may overwrite that runs ahead */
};

/* Of a plan's ops, what is launched as one. */
enum cuda_part {
  CUDA_BODY,
  CUDA_HEAD,
  CUDA_HEAD_RULED,    /* some output has rules */
  CUDA_HEAD_GREATEST, /* each output's token is the greatest, which the last linear finds: no logits */
  CUDA_PARTS
};

/* Whether rows of a step have adapters. */
enum cuda_adapted_kind {
  CUDA_PLAIN,
  CUDA_ADAPTED,
  CUDA_ADAPTED_APART, /* none of its linears takes pairs: there are too many; no graph */
};

/* Sets of graphs: of steps without adapters, of those with them, and of those in which some change experts. */
enum cuda_graph_set { CUDA_SET_PLAIN, CUDA_SET_ADAPTED, CUDA_SET_EXPERTS, CUDA_GRAPH_SETS };

/* Launches of a decode step of so many rows. */
struct cuda_graph {
  int32_t rows;
  struct CUgraphExec_st *part[CUDA_PARTS]; /* NULL: no such step */
};

/* Attention on the matrix units: of each group what its layers have in common, and lengths of the step's lists, which
 * are the same in all decode steps of as many rows. */
struct cuda_attention {
  bool fast[PLAN_GROUPS];
  struct attend_heads heads[PLAN_GROUPS];
  int32_t most_share[PLAN_GROUPS], n_part[PLAN_GROUPS]; /* blocks of decode attention that run at once; parts' rows */
  int32_t n_share[PLAN_GROUPS], n_chunk[PLAN_GROUPS];
  int32_t n_angle;      /* of a token; 0 where no group is fast */
  float *angle, *parts; /* on the device */
  uint16_t *query;
  uint32_t *arrived;
};

/* A choice that expert_lists are of: a value of the plan, and which of its tokens; −1: none. In which tiles. */
struct cuda_listed {
  int32_t value, first, n, tile_pairs;
};

/* A group's KV cache: addresses, of which the first have memory. */
struct cuda_pool {
  uint8_t *base;
  uint64_t reserved, backed; /* bytes */
};

struct program {
  struct device *device;
  const struct plan *plan;
  struct limits limits;
  int n_body; /* ops [0, n_body) are the body, the rest the head */

  uint8_t *weights, **weight; /* on the device; [n_weight] where they are in there */
  int32_t **exponent;         /* [n_weight] of strips, on the device, where the path wants them */
  struct cuda_hosted hosted;  /* of those that stay on the host */
  bool *loaded;               /* [n_weight] */
  int n_loaded;               /* of them */
  struct upload_job *upload;  /* [n_upload] large ones, which go over together with the last; then NULL */
  int n_upload;
  float **value;             /* [n_value] on the device */
  float *prepared, *product; /* a linear's rows before the product and after it */
  size_t n_product;          /* floats of them */
  float *ended;              /* and products of one that ends apart */
  int32_t *expert_lists;     /* of the choice `listed` (struct cuda_expert_lists) */
  struct cuda_listed listed;
  void *fragments[2];     /* before it, as matrix units want them: of a linear and of the next */
  void *expanded;         /* a matrix of 4 or 8 bits as bf16, while many tokens are multiplied with it */
  float *squares[2];      /* and sums of their squares */
  int turn;               /* which of the two */
  const struct op *ready; /* the linear whose input is there, left by the one before */
  struct cuda_linear chain[LINEAR_CHAIN]; /* [n_chain] each leaving the next its input; not launched yet */
  int n_chain;
  struct cuda_between between; /* theirs */
  float *frequency;            /* the plan's floats */
  struct cuda_pool cache[PLAN_GROUPS];
  size_t block_bytes[PLAN_GROUPS];
  uint8_t *slab; /* the batch of the step that runs */
  size_t slab_bytes;
  int32_t *last;                /* [seats] the token that the device has drawn last */
  unsigned long long *greatest; /* [outputs] 0 between launches */
  float *room;                  /* of rows of logits that draw, where the path wants it */
  int32_t chunks;               /* of a row of logits in each block; 0: the host draws */
  bool rules;                   /* the device applies rules */
  struct cuda_attention attention;
  struct cuda_adapters adapters;
  struct cuda_images images; /* of an encoder, and the pool for its rows */

  /* on the host */
  struct cuda_slot slot[CUDA_RUN_AHEAD + 1];
  int oldest, n_slot;                                    /* those that are out */
  struct cuda_graph graph[CUDA_GRAPH_SETS][CUDA_GRAPHS]; /* by rows */
  int n_graph[CUDA_GRAPH_SETS];
  float *logits;       /* [outputs][vocab] of outputs that the host draws, or wanted */
  int32_t *last_seen;  /* [seats] pinned copy of `last` */
  int32_t *seat_token; /* [seats] drawn last, by the host; −1: by the device */
  int32_t *history;    /* [length] of an output that the host draws */
  void *sampler;

  /* the step */
  const struct batch *batch;
  const struct cuda_graph *decode; /* that it is launched by; NULL: kernel by kernel */
  enum cuda_adapted_kind adapted;
  bool experts_adapted;     /* some row's adapter changes experts */
  bool ruled;               /* some of its outputs have rules, by the device */
  bool plain;               /* all of its outputs draw the greatest, and nothing else is wanted */
  enum cuda_part part;      /* that is being launched */
  struct cuda_marks *marks; /* of a long one of texts; NULL: it has none */
  struct cuda_batch on_device;
  struct cuda_turn among; /* the programs that take turns */
};

/* A weight that is a vector; NULL for −1: none. */
static inline const float *cuda_vector(const struct program *program, int weight) {
  return weight < 0 ? NULL : (const float *)(const void *)program->weight[weight];
}

/* cuda_device.c; cuda_absent.c where the binary has no CUDA: it can pack, and says so when it is to open a device. */
bool cuda_present(struct error *error);
struct device *cuda_open(const struct device_options *options, struct error *error);
void cuda_close(struct device *device);
bool cuda_memory(const struct device *device, uint64_t *bytes, struct error *error);

/* cuda_compile.c */
struct program *cuda_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                             struct error *error);
bool cuda_load(struct program *program, int weight, struct slice packed, struct error *error);
/* The weight is there. */
bool cuda_loaded(struct program *program, int weight, struct error *error);
void cuda_release(struct program *program);

/* cuda_memory.c: all that a program has, or none of it; what was taken, of a program that lacks some too. */
bool cuda_memory_take(struct program *program, struct error *error);
void cuda_memory_release(struct program *program);

/* cuda_pool.c: memory for so many bytes, and addresses for those that are wanted. After a failure, too, it is closed.
 */
bool cuda_pool_open(struct cuda_pool *pool, int ordinal, uint64_t bytes, uint64_t wanted, struct error *error);
void cuda_pool_close(struct cuda_pool *pool);

/* cuda_upload.c: all of it is there when it returns. Or by buffers, of up to so many threads, that are kept; one thread
 * calls. */
struct cuda_upload *cuda_upload_open(struct CUstream_st *stream, int threads, struct error *error);
bool cuda_upload_run(struct cuda_upload *upload, const struct upload_job *jobs, int n_job, struct error *error);
void cuda_upload_close(struct cuda_upload *upload); /* NULL is allowed */
bool cuda_upload(const struct device *device, const struct upload_job *jobs, int n_job, struct error *error);

/* cuda_rates.c; cuda_random.c */
bool cuda_rates(struct device *device, struct machine_rates *rates, struct error *error);
bool cuda_load_random(struct program *program, int weight, struct error *error);
bool cuda_fill_cache(struct program *program, struct error *error);

/* cuda_matrix.c: a weight that is a matrix. */
struct cuda_matrix cuda_matrix_of(const struct program *program, int weight);

/* cuda_linear.c: what kernels are told of an op; products and all that follows, or products alone; an op; does one take
 * 16-bit tokens as the op before it can leave them? */
struct cuda_linear cuda_linear_of(const struct program *program, const struct op *op);
void cuda_linear_make(struct program *program, const struct op *op, struct cuda_linear *linear);
void cuda_linear_run(struct program *program, const struct op *op);
bool cuda_linear_takes(const struct program *program, const struct op *op, int n_row);
/* A linear with its adapters' parts; does its shrink read floats, in a kernel of its own? */
void cuda_linear_multiply(struct program *program, const struct op *op, struct cuda_linear *linear);
bool cuda_linear_shrinks(const struct program *program, const struct op *op, int n_row);
/* In tiles, or in fragments? */
bool cuda_linear_tiles(const struct program *program, const struct op *op, int n_row);
/* Can the op, of so many rows, leave each row's greatest in place of results, for the draw after it? */
bool cuda_linear_greatest(const struct program *program, const struct op *op, int n_row);

/* cuda_apart.c: a linear with a norm with a mean before it, or that ends apart. */
void cuda_apart_run(struct program *program, const struct op *op, const struct cuda_linear *linear);

/* cuda_experts.c; cuda_each.c: those that cuda_each_fits */
void cuda_route_run(struct program *program, const struct op *op);
void cuda_experts_run(struct program *program, const struct op *op);
void cuda_each_run(struct program *program, const struct op *op);

/* cuda_rows.c: ops of decoders and of encoders of texts. */
void cuda_rows_embed(struct program *program, const struct op *op);
void cuda_rows_select(struct program *program, const struct op *op);

/* cuda_step.c */
bool cuda_submit(struct program *program, const struct batch *batch, struct error *error);
bool cuda_finish(struct program *program, const struct masks *masks, struct error *error);
bool cuda_collect(struct program *program, struct result *result, struct error *error);
/* Puts the kernels of ops [first, end) into the stream. */
bool cuda_ops_run(struct program *program, int first, int end, struct error *error);

/* cuda_graph.c: for all sizes of decode steps, once the weights have places. */
bool cuda_graphs_make(struct program *program, struct error *error);
void cuda_graphs_release(struct program *program);
/* The smallest graph that has room for the rows; NULL: there is none. */
const struct cuda_graph *cuda_graph_find(const struct program *program, int32_t rows);
/* Has a step of so many outputs CUDA_HEAD_GREATEST? */
bool cuda_part_greatest(const struct program *program, int n_out);
/* Puts a part of the step into the stream, by its graph or kernel by kernel. */
bool cuda_part_run(struct program *program, enum cuda_part part, struct error *error);

/* cuda_send.c: on_device of a batch of these counts; bytes of the slab. */
size_t cuda_batch_lay(struct program *program, struct cuda_batch counts, bool sees, size_t n_table);
/* Into the slot's slab and on its way to the device; on_device is where it will be. */
bool cuda_send(struct program *program, struct cuda_slot *slot, const struct batch *batch, struct error *error);

/* cuda_rules.c: does the output have rules that act; their arrays into the room, false when they do not fit.
 * seat_token: the seat's last if the host knows it, otherwise −1. */
bool cuda_rules_act(const struct sampling *sampling);
bool cuda_rules_fill(struct cuda_room *room, const struct sampling *sampling, int32_t seat, int32_t seat_token,
                     struct cuda_rules *rules);

/* cuda_draw.c: waits for the step's logits, if there are outputs that the kernel leaves out, and draws those. */
bool cuda_draw_rest(struct program *program, struct cuda_slot *slot, const struct masks *masks, const float *logits,
                    struct error *error);

/* cuda_attention.c: lengths of the lists in a decode step of so many rows; fills the lists in the host's slab, of n_row
 * rows, the rest of the batch's have nothing to attend to; before the first op; an op. */
void cuda_attention_decode(struct program *program, int32_t rows);
/* As in a step that has all kinds of rows. */
void cuda_attention_all(struct program *program);
void cuda_attention_fill(struct program *program, const struct cuda_row *row, int32_t n_row, struct cuda_cut *cut,
                         struct cuda_chunk *chunk);
void cuda_attention_begin(struct program *program);
void cuda_attention_run(struct program *program, const struct op *op);

/* cuda_buffers.c: calls for each buffer on the device with its place (of a program that only measures it may be NULL)
 * and bytes, until one call is false. */
typedef bool cuda_buffer_visit(void *user, void *place, size_t bytes);
bool cuda_buffers_visit(struct program *program, cuda_buffer_visit *one, void *user);

#endif
