/* The CPU backend's private structures: a device is a team and a kernel set; a program is a plan turned into a list of
 * prepared calls with all the memory that its steps will need. Only the step thread and the team touch a program. */
#ifndef SPATE_BACKEND_CPU_PROGRAM_H
#define SPATE_BACKEND_CPU_PROGRAM_H

#include "backend/cpu/attend_work.h"
#include "backend/cpu/cpu_kernels.h"
#include "backend/cpu/kv_cache.h"
#include "backend/cpu/team.h"
#include "base/arena.h"
#include "plan/backend.h"

#include <stdatomic.h>

struct device {
  struct team *team;
  const struct kernel_set *kernels;
  char *tactic_cache; /* path, owned; NULL: none */
  char description[160];
};

/* Where an adapter is: its factors for each call, packed. */
struct adapter_slot {
  struct arena arena;
  const struct adapter_factors **factors; /* [n_site], NULL: the matrix is left alone; NULL: the slot is empty */
  bool *changes;                          /* [n_call] it has any of the call's */
};

/* A row of the step's tokens, or of its outputs, and the lora of its sequence that is in use; or such a row's result of
 * one expert, by its place in the order of the experts. */
struct adapter_pair {
  int32_t row, lora, slot, expert;
  float scale;
};

/* Of all rows, by experts, then by slots. */
struct adapter_pairs {
  int n;
  struct adapter_pair *pair; /* [rows][ROW_LORAS] */
  struct adapter_use *use;   /* [rows][ROW_LORAS] of the linear that runs */
};

/* What a step's tokens owe to the experts that a route has chosen: results, numbered token × k + j, in the order of the
 * experts. */
struct expert_order {
  int n_active;               /* experts that anyone chose */
  int32_t *active;            /* [n_expert] they, ascending */
  int32_t *first;             /* [n_expert + 1] the place of each one's first result */
  int32_t *place;             /* [limits.tokens × k] of each result */
  int32_t *result;            /* [limits.tokens × k] at each place */
  int32_t *count;             /* [n_expert] while they are sorted */
  struct adapter_pairs pairs; /* of results */
};

/* An op made ready: what follows from the plan alone is worked out once. */
struct call {
  const struct op *op;
  int index;                /* in the plan */
  int site;                 /* of its first matrix, among all that adapters change */
  struct cpu_layout layout; /* embed, linear: of weight[0] */
  int n_unit, unit_tiles;   /* linear: units of 1 tile, or of 2 when gated, are what is split over workers */
  int chunk;                /* linear: units a worker claims at once in a small batch; 0: an even share */
  int rope;                 /* attend: index of its angles; −1: none */
  struct kv_cache *cache;   /* attend: of its group, or the program's own for heads of this shape */
};

/* Angles of the step's tokens, shared by all layers with the same frequencies. */
struct rope_table {
  uint32_t frequency; /* in the plan's floats */
  int32_t dim;
  float scale;
  bool axes;        /* places are the batch's */
  int32_t count[3]; /* frequencies of each axis */
  float *angles;    /* [limits.tokens][dim] */
};

/* Tokens that attention takes together: of one row, or the only tokens of rows that begin with the same blocks. */
struct query_block {
  int32_t first, count; /* in query_token */
  int32_t shared; /* leading tokens, whole tiles, that their rows have in the same blocks; SHARED_ALL: of one row */
  int64_t cost;   /* keys that they see, about */
};

enum slice_kind { SLICE_LINEAR, SLICE_ATTEND, SLICE_OTHER, SLICE_KINDS };

/* How far a step that is run in slices has come, and what its work has cost so far. */
struct step_slice {
  int call, row;          /* the next */
  bool stored;            /* of an attention: its keys and values are in the cache */
  bool whole;             /* all calls have run, those of the head too */
  double us[SLICE_KINDS]; /* a unit of work (cpu_slice.c), moving averages; 0: not known */
};

struct program {
  struct device *device;
  const struct plan *plan;
  struct limits limits;
  int n_call, n_body; /* calls [0, n_body) are the body, the rest the head */
  int n_site;         /* of all calls */
  struct call *calls;
  const uint8_t **weight; /* [n_weight] packed bytes, not owned */
  struct kv_cache cache[PLAN_GROUPS];
  struct expert_order *order; /* [n_value] of those that are choices */
  struct rope_table *rope;
  int n_rope;
  struct kv_cache *own; /* [n_own] of attentions without a group, by the shape of their heads: a step's keys and values,
                           in blocks of KEY_TILE tokens, each row's from a block of its own on; in the workspace */
  int n_own;
  int query_tokens; /* of a query block, at most */

  void *workspace; /* one mapping; what follows lies in it */
  size_t workspace_bytes;
  float **value;     /* [n_value] */
  uint8_t *prepared; /* a batch's rows as its linear wants them */
  uint8_t *arranged; /* the same in blocks, for kernels that take many rows so */
  float *unnormed;   /* a linear's result before its post norm, or before experts are added up */
  uint8_t *scratch;  /* [workers][scratch_bytes] */
  size_t scratch_bytes;
  struct query_block *query_block;
  int32_t *query_token; /* the batch's tokens in the order of the blocks */
  int32_t *single_row;  /* rows of one token */
  int32_t *token_row;
  uint32_t *own_block; /* 0, 1, 2, …: a row's block table begins at own_first[row] */
  int32_t *own_first;
  float *pool;                     /* [limits.pool][hidden of the plan] */
  struct adapter_slot *slot;       /* [limits.adapters] */
  int32_t *slot_used, *slot_count; /* [limits.adapters] those that the step names; pairs of each */
  struct adapter_pairs pairs;      /* of the step's tokens, or of its outputs */
  float *shrunk;                   /* [most pairs that a linear has][shrunk_stride], in their order */
  size_t shrunk_stride;
  int32_t *out_token;
  float *out_logprob;
  struct token_logprob *out_top; /* [limits.outputs][TOP_LOGPROBS] */

  /* the step */
  const struct batch *batch;
  const struct masks *masks;
  int n_slot_used;     /* 0: no row has an adapter */
  int32_t n_collected; /* outputs of the last step that was collected */
  int n_query_block;
  struct step_slice slice;
  atomic_bool failed;
  struct error *error; /* where the first worker that fails writes */
};

/* cpu_compile.c */
bool cpu_measure(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                 struct error *error);
struct program *cpu_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                            struct error *error);
bool cpu_load(struct program *program, int weight, struct slice packed, struct error *error);
void cpu_release(struct program *program);

/* cpu_queries.c: the blocks of queries of program->batch. */
void queries_cut(struct program *program);

/* cpu_workspace.c. What steps need, once all that follows from the plan is known: its bytes; or mapped, for the
 * program's team. */
size_t workspace_count(struct program *program, int n_worker);
bool workspace_alloc(struct program *program, struct error *error);

/* cpu_adapter.c: slots. */
bool cpu_adapter_load(struct program *program, int slot, const struct adapter *adapter, struct error *error);
void adapter_slots_release(struct program *program);

/* call_adapter.c. Which adapters the step's tokens, or its outputs, have: before all that follows, on one thread. */
void adapters_begin(struct program *program, bool outputs);
/* Has any of them factors for the call? */
bool adapters_meet(const struct program *program, const struct call *call);
/* Floats of a worker's scratch for inputs of so many columns. */
size_t adapters_shrink_scratch(int cols);
/* From the pairs of tokens to those of what experts owe them, once a route has put that in order: on one thread. */
void adapters_choose(const struct program *program, const struct op *route);
/* This worker's share of the shrinks of a linear's input; pairs->use is the tail's after the next barrier. */
void adapters_shrink(struct program *program, const struct adapter_pairs *pairs, const struct call *call, int worker,
                     float *scratch);
/* What they change in a token's row of the embedding. */
void adapters_embed(const struct program *program, const struct call *call, int token, float *row);

/* call_rows.c: backend.pool_fill. */
bool cpu_pool_fill(struct program *program, int32_t first, int32_t count, const struct pool_source *source,
                   struct error *error);

/* cpu_step.c */
bool cpu_submit(struct program *program, const struct batch *batch, struct error *error);
bool cpu_finish(struct program *program, const struct masks *masks, struct error *error);
bool cpu_collect(struct program *program, struct result *result, struct error *error);

/* cpu_slice.c: backend.advance. */
bool cpu_advance(struct program *program, const struct batch *batch, double us, bool *done, struct error *error);

/* Angles and what else a step needs before its first call, by every worker. */
void step_prepare(const struct program *program, int worker);

/* A call of a step that runs at once, by every worker: with all its rows. */
void call_run(struct program *program, const struct call *call, int worker);

/* Ops, each called by every worker at once; they end without a barrier. call_rows.c, call_linear.c, call_store.c,
 * call_attend.c, call_route.c, call_experts.c. rows: of tokens, of outputs for a select and linears behind it, of
 * blocks of queries for call_attend, which call_store goes before, with a barrier between them. */
void call_embed(const struct program *program, const struct call *call, struct range rows, int worker);
void call_select(const struct program *program, const struct call *call, struct range rows, int worker);
void call_linear(struct program *program, const struct call *call, struct range rows, int worker);
/* call_each.c: of a linear whose matrices have a part of each row. */
void call_each(struct program *program, const struct call *call, struct range tokens, int worker);
void call_route(const struct program *program, const struct call *call, struct range tokens, int worker);
void call_experts(struct program *program, const struct call *call, struct range tokens, int worker);
void call_store(const struct program *program, const struct call *call, struct range tokens, int worker);
void call_attend(struct program *program, const struct call *call, struct range blocks, int worker);

/* call_store.c: head `head` of q (norm 0) or k (norm 1): normed if the network does, rotated. In `to`, which from may
 * be, or where it was if nothing is to be done. */
const float *call_head_prepare(const struct program *program, const struct call *call, int norm, int token, int head,
                               const float *from, float *to);

/* Floats of a worker's scratch that the ops want. */
size_t call_linear_scratch(const struct plan *plan, const struct op *op);
size_t call_experts_scratch(const struct plan *plan, const struct op *op);
size_t call_route_scratch(const struct route_args *args);
size_t call_store_scratch(const struct attend_args *args);
size_t call_attend_scratch(const struct attend_args *args, int query_tokens);

static inline const float *program_vector(const struct program *program, int weight) {
  return weight < 0 ? NULL : (const float *)program->weight[weight];
}

static inline size_t value_cols(const struct program *program, int value) {
  return (size_t)plan_values(program->plan)[value].cols;
}

static inline float *value_row(const struct program *program, int value, int row) {
  return program->value[value] + (size_t)row * value_cols(program, value);
}

/* Rows that a value has in this step. */
static inline int value_rows(const struct program *program, int value) {
  return plan_values(program->plan)[value].rows == ROWS_OUTPUTS ? program->batch->n_out : program->batch->n_token;
}

/* A norm of this kind (not NORM_NONE) with the weight of the plan's that `weight` names. */
static inline void row_norm(const struct program *program, uint8_t norm, const float *x, int weight, int cols,
                            float eps, float *y) {
  const struct kernel_set *kernels = program->device->kernels;
  (norm == NORM_LAYER ? kernels->layer_norm : kernels->rms_norm)(x, program_vector(program, weight), cols, eps, y);
}

/* The block table of a row of the batch for an attention. */
static inline const uint32_t *row_blocks(const struct program *program, const struct attend_args *args, int row) {
  return args->group < 0 ? program->own_block + program->own_first[row] : program->batch->row[row].block[args->group];
}

static inline uint8_t *worker_scratch(const struct program *program, int worker) {
  return program->scratch + (size_t)worker * program->scratch_bytes;
}

#endif
