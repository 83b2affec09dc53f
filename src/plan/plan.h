/* A plan: the graph of fused ops of one network as plain data. One contiguous block without pointers: arrays are byte
 * offsets from its start, so it is stored in the engine file and used there as it is mapped. Families build plans
 * (plan_builder.h); backends compile them; nobody runs an op by itself. */
#ifndef SPATE_PLAN_PLAN_H
#define SPATE_PLAN_PLAN_H

#include "base/error.h"
#include "base/limits.h"
#include "base/slice.h"
#include "plan/op.h"
#include "plan/scheme.h"

enum {
  PLAN_MAGIC = 0x4e4c5053, /* "SPLN" */
  PLAN_VERSION = 13,
  PLAN_GROUPS = 4,      /* KV groups of one plan, at most */
  PLAN_PARTS = 4,       /* checkpoint tensors joined into one weight, at most */
  PLAN_CHANNELS = 4,    /* of an image, at most, */
  PLAN_PATCH = 64,      /* pixels of a patch's side, */
  PLAN_GRID = 256,      /* patches of its side, where there is a table of their positions, */
  PLAN_SIDE = 4096,     /* or where there is none, */
  PLAN_AREA = 1 << 16,  /* patches of it all, */
  PLAN_FRAMES = 8,      /* of a patch, */
  PLAN_MERGE = 8,       /* and patches of a side of those that become one row */
  GATE_INTERLEAVE = 16, /* a gated weight alternates runs of this many gate rows and up rows, each part padded */
};

enum plan_role {
  PLAN_DECODER,
  PLAN_VISION,  /* images to rows of the decoder's embeddings: no KV groups, no vocabulary, no sample */
  PLAN_ENCODER, /* texts to a vector each: tokens, an output for each row of the batch, no KV groups, no sample */
  PLAN_ROLES,
};
enum label_act { LABELS_AS_THEY_ARE, LABELS_SIGMOID, LABELS_SOFTMAX }; /* what becomes of a classifier's numbers */
enum weight_order { ORDER_AS_IS = 0, ORDER_TRANSPOSED = 255 };         /* the tensor is [cols][rows] */
enum weight_use { WEIGHT_MATRIX, WEIGHT_VECTOR };                      /* a vector is F32, one row, stored plainly */
enum value_rows { ROWS_TOKENS, ROWS_OUTPUTS }; /* one row per token of the batch, or per wanted output */

#define EXPERT_MARK "{e}"

/* Rows of a checkpoint tensor (elements, in a vector): those from `first` on or, with `run`, as many runs of so many,
 * which begin `period` rows apart (heads of q between those of k and v). `add` is added to each element (1 for norms
 * stored as an offset from one). In a vector the tensor's name may be empty: then all its elements are `add`. */
struct weight_part {
  uint32_t tensor; /* offset of its NUL-terminated name in names */
  int32_t first, rows;
  int32_t run, period; /* 0: the rows follow each other */
  float add;
};

/* Experts: n_expert matrices (or vectors) of this shape, packed one after the other, each as it would be alone. A
 * part's tensor is one of all of them, expert after expert, or, where EXPERT_MARK is in its name, one for each, with
 * the expert's number there. Rows are counted through: `rows` of the first expert, then those of the next. */
struct weight {
  uint32_t name;      /* offset in names: what people and errors call it */
  int32_t rows, cols; /* padding rows of an interleaved weight included */
  int32_t n_expert;   /* 0: it is one matrix, or vector */
  uint8_t use;        /* enum weight_use */
  uint8_t
      interleaved; /* two parts of equal rows alternate in runs of GATE_INTERLEAVE; otherwise parts follow each other */
  uint8_t n_part;
  uint8_t order; /* of a matrix of one part: ORDER_AS_IS, ORDER_TRANSPOSED, or else n of the tensor's columns, which lie
                    there as [cols / n][n] and here as [n][cols / n]. Experts are transposed in any parts */
  struct weight_part part[PLAN_PARTS];
  struct scheme scheme;
};

/* A buffer between ops: cols floats for each row. The residual stream is one value that ops add to in place. */
struct value {
  int32_t cols;
  uint8_t rows; /* enum value_rows */
  uint8_t reserved;
  uint16_t n_expert; /* of routes' results, which nothing else writes: ids are below it; 0: plain numbers */
};

/* Layers that share a block table: same heads, same window. */
struct kv_group {
  int32_t n_layer, n_head; /* n_head: KV heads */
  int32_t dim_k, dim_v;
  int32_t window;       /* tokens a query sees, itself included; 0: all */
  int32_t value_in_key; /* 1: a value is the last dim_v numbers of its key, and is not stored by itself */
};

/* Numbers of a token that a head of one layer keeps. */
static inline int kv_group_numbers(const struct kv_group *g) { return g->dim_k + (g->value_in_key ? 0 : g->dim_v); }

/* Images that an encoder sees: one size; sizes up to one, whose positions are spread over the table; or any within
 * bounds, whose patches have places in rotations and no table. */
enum image_sizes { SIZES_ONE, SIZES_SPREAD, SIZES_ANY };

/* What stands for an image in a prompt (engine/image_text.h). */
enum image_text {
  TEXT_MARKS, /* a mark for each row */
  TEXT_TILES, /* the same of a whole and its tiles, with breaks */
  TEXT_SPLIT, /* tiles that say which they are, then the whole */
  TEXT_PAN,   /* the whole between two tokens, then parts of it so, in a sentence */
  TEXT_LINES, /* lines of marks with a token behind each, and another one at the end */
  IMAGE_TEXTS,
};

/* How an image becomes tokens of a PLAN_VISION; all zero in other plans. A token is a patch of `patch` × `patch`
 * pixels, its numbers in the order [channel][frame][y][x]. Before those of an image stand `lead` tokens that the
 * network has learned: their numbers are zeros and their position is their index. Patches that become one row of the
 * result, merge × merge neighbours, follow each other line by line, and so do these squares, or, with windows, those of
 * each window, and the windows.
 *
 * A patch in column x of line y has the position {index into the table, y, x}. */
struct plan_vision {
  int32_t channels, patch;
  int32_t frames; /* of a patch, of a film: a picture is each of them */
  int32_t merge;
  int32_t lead;
  int32_t keep;   /* 1: the learned tokens become rows too, before those of the patches */
  int32_t grid;   /* patches a side that the table of positions is made for: column x of line y is lead + y × grid + x;
                     of SIZES_ANY: at most */
  int32_t area;   /* patches of an image, at most */
  int32_t sizes;  /* enum image_sizes */
  int32_t window; /* patches a side of the windows that local attentions see; 0: there are none */
  int32_t text;   /* enum image_text */
  int32_t mark;   /* the decoder's token that stands in a prompt for each row of the result */
  int32_t
      mutual;   /* 1: in the decoder, an image's tokens see each other all, in whichever order: they are of one step */
  int32_t axes; /* 1: in the decoder, a token of an image has the places {first, first + line, first + column} */
  int32_t breaks; /* weight (a vector of the result's columns) that is a row behind each line of rows; −1: none */
};

/* What may stand for an image of LLaVA's: its own token, else one that is lent by a decoder that knows no images; NULL
 * at the end. Templates and people write the first in any case. */
extern const char *const plan_marks[];

struct plan {
  uint32_t magic, version;
  uint64_t bytes; /* of the whole block */
  int32_t role;   /* enum plan_role */
  int32_t n_op, n_weight, n_value, n_group;
  uint32_t n_float, names_bytes;
  uint32_t ops, weights, values, groups, floats, names; /* byte offsets from this struct's start */
  int32_t vocab, hidden;                                /* logits per output; width of the residual stream */
  int32_t max_position;                                 /* the longest sequence the network was made for */
  struct plan_vision vision;                            /* of PLAN_VISION */
};

static inline const struct op *plan_ops(const struct plan *p) { return (const void *)((const char *)p + p->ops); }
static inline const struct weight *plan_weights(const struct plan *p) {
  return (const void *)((const char *)p + p->weights);
}
static inline const struct value *plan_values(const struct plan *p) {
  return (const void *)((const char *)p + p->values);
}
static inline const struct kv_group *plan_groups(const struct plan *p) {
  return (const void *)((const char *)p + p->groups);
}
static inline const float *plan_floats(const struct plan *p) { return (const void *)((const char *)p + p->floats); }
static inline const char *plan_name(const struct plan *p, uint32_t name) { return (const char *)p + p->names + name; }

/* The tensor's row that is row `row` of the part; the row of the part that row `row` of the tensor, one of its own, is;
 * and how many rows the tensor has at least. */
static inline int part_tensor_row(const struct weight_part *part, int row) {
  return part->first + (part->run ? row / part->run * part->period + row % part->run : row);
}
static inline int part_row_of(const struct weight_part *part, int tensor_row) {
  int row = tensor_row - part->first;
  return part->run ? row / part->period * part->run + row % part->period : row;
}
static inline int part_end(const struct weight_part *part) { return part_tensor_row(part, part->rows - 1) + 1; }

/* Matrices that a weight is, and rows of all of them. */
static inline int weight_experts(const struct weight *weight) { return weight->n_expert > 0 ? weight->n_expert : 1; }
static inline int weight_rows(const struct weight *weight) { return weight_experts(weight) * weight->rows; }

/* Has it no tensor? */
static inline bool part_is_constant(const struct plan *p, const struct weight_part *part) {
  return *plan_name(p, part->tensor) == '\0';
}

static inline bool plan_samples(const struct plan *p) { return plan_ops(p)[p->n_op - 1].kind == OP_SAMPLE; }

/* The first op of a kind, or NULL. */
const struct op *plan_find(const struct plan *plan, enum op_kind kind);
/* The embedding by this source, or NULL. */
const struct op *plan_embed(const struct plan *plan, enum embed_source source);
/* Tokens that the plan's select makes one output of; 1 without one. */
int plan_merged(const struct plan *plan);
/* Whether that is made of a row's tokens together. */
bool plan_pools(const struct plan *plan);
/* Whether the weight's products are what a route chooses by. */
bool plan_weight_routes(const struct plan *plan, int weight);
/* Whether batches have positions for rotations of several axes; spans. */
bool plan_has_axes(const struct plan *plan);
bool plan_has_spans(const struct plan *plan);

/* The value that a step's result is: the logits that the sample takes or, in a plan without one, what the last op
 * makes.
 */
static inline int plan_result(const struct plan *p) {
  const struct op *last = plan_ops(p) + p->n_op - 1;
  return last->kind == OP_SAMPLE ? last->in[0] : last->out;
}

/* Checks a block from a file (8-byte aligned) completely: bounds, op arguments, shapes of values against weights.
 * After true, no field of it can lead a backend out of bounds. The sentence names the op or weight. */
bool plan_check(struct slice block, struct error *error);

/* Its parts: a weight (plan_weight.c), */
bool plan_check_weight(const struct plan *plan, int index, struct error *error);
/* and what follows from the plan's role, once its ops are known to be sound (plan_role.c). */
bool plan_check_role(const struct plan *plan, struct error *error);

/* An encoder's rows can take the place of the decoder's embeddings. */
bool plan_vision_fits(const struct plan *decoder, const struct plan *vision, struct error *error);

/* Whether a weight can have its columns' order and a part, and an attention its clamp and its growth, its slopes and a
 * rotation its axes. */
bool weight_order_valid(const struct weight *weight);
bool weight_part_valid(const struct plan *plan, const struct weight *weight, const struct weight_part *part);
bool attend_extra_valid(const struct attend_args *args);
bool attend_alibi_valid(const struct plan *plan, const struct attend_args *args);
bool attend_axes_valid(const struct attend_args *args);

/* Which checkpoint row is row `row` of a weight: the part, and the row within the tensor. False for a padding row. Of a
 * vector: the same for its element `row`; a bias is joined, interleaved and padded as the rows of its matrix are. Of
 * experts: row of one, and the row within its own tensor or its part of the one of all. */
bool weight_row_source(const struct weight *weight, int row, int *part, int *tensor_row);

/* Whether each expert has a tensor of its own by this name; and what the name is: the number in place of EXPERT_MARK,
 * cut at the end where it is longer than a tensor's. */
enum { EXPERT_NAME_BYTES = LIMIT_TENSOR_NAME_BYTES };
bool expert_tensor_apart(const char *name);
const char *expert_tensor_name(const char *name, int expert, char out[EXPERT_NAME_BYTES]);

/* The weights that an op of the plan uses as a matrix, in the order in which the plan first reads them, then the
 * vectors: the order of the engine file. Fills order[n_weight]; false when out of memory. */
bool plan_read_order(const struct plan *plan, int *order);

#endif
