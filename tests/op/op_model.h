/* A plan of one op (and the embedding, select and sample around it) with random weights, and running it on a backend.
 * What cannot fail in a correct test ends the program with the sentence. */
#ifndef SPATE_TESTS_OP_MODEL_H
#define SPATE_TESTS_OP_MODEL_H

#include "base/arena.h"
#include "plan/backend.h"
#include "plan/plan_builder.h"

enum { MODEL_WEIGHTS = 24 };

struct op_model {
  struct plan_builder builder;
  struct buffer block;
  const struct plan *plan;
  struct codes codes[MODEL_WEIGHTS]; /* of each weight, all rows of all experts */
  struct scheme scheme[MODEL_WEIGHTS];
  float low[MODEL_WEIGHTS], high[MODEL_WEIGHTS]; /* about what range its values have */
  struct arena arena;
  uint64_t random; /* state of the generator */
};

/* vocab is both the ids that can be embedded and the columns of the result. */
void model_init(struct op_model *model, int vocab, uint64_t seed);
void model_release(struct op_model *model);
int model_matrix(struct op_model *model, struct scheme scheme, int rows, int cols, float size);
int model_gated_matrix(struct op_model *model, struct scheme scheme, int part_rows, int cols, float size);
int model_vector(struct op_model *model, int cols, float low, float high);
/* Experts' matrices, gated or not, and the biases that go with them. */
int model_experts(struct op_model *model, struct scheme scheme, int n_expert, int rows, int cols, bool gated,
                  float size);
int model_expert_bias(struct op_model *model, int n_expert, int rows, bool gated, float low, float high);
int model_gated_bias(struct op_model *model, int part_rows, float low, float high);
/* value = the embedding of the token through a new F32 table of numbers in [−size, size]. */
int model_embedded_value(struct op_model *model, int cols, float size);
/* Lays out the plan and fills the weights; with the tail (select, unless `selected`, and sample). */
void model_close(struct op_model *model);
void model_finish(struct op_model *model, int value, bool selected);

double random_uniform(uint64_t *state); /* [0, 1) */

/* A model packed for a backend; shared by all devices and programs. */
struct op_packed {
  const struct backend *backend;
  const struct op_model *model;
  struct slice weight[MODEL_WEIGHTS];
};

void packed_init(struct op_packed *packed, const struct backend *backend, const struct op_model *model);
void packed_release(struct op_packed *packed);

struct program *packed_compile(const struct op_packed *packed, struct device *device, const struct limits *limits);
/* Runs one step; its result (n_out × vocab, or × the columns of one that is not sampled; may be NULL) is copied out. */
struct result program_step(const struct op_packed *packed, struct program *program, const struct limits *limits,
                           struct batch batch, const struct masks *masks, float *logits);

/* --- sequences over blocks of a KV cache --- */

enum { STEP_ROWS = 20, STEP_TOKENS = 360 };

/* A step of rows of several sequences, all of whose results are wanted. */
struct op_step {
  struct batch batch;
  struct row row[STEP_ROWS];
  int32_t token[STEP_TOKENS], out[STEP_TOKENS];
};

/* Of steps of up to `tokens` tokens. */
struct limits step_limits(int seats, int tokens, int length, int block_size, uint8_t kv, uint32_t n_block);
void step_begin(struct op_step *step);
/* count tokens of a sequence, from position `length` on: sequence and position say which, below vocab. */
void step_add(struct op_step *step, int vocab, int sequence, int length, int count, const uint32_t *block, int n_block);

/* A step of the first n ids (below vocab, over again) as one sequence, with the logits of each. */
void program_tokens(const struct op_packed *packed, struct program *program, const struct limits *limits, int n,
                    float *logits);

/* Ends the program with a sentence. */
_Noreturn void op_die(const char *what, const struct error *error);

#endif
