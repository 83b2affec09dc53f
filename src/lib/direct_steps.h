/* Steps run on an engine's program past the scheduler: `count` sequences of equal length side by side, each in its own
 * run of blocks. For benches and evaluation, while the runtime is parked. */
#ifndef SPATE_LIB_DIRECT_STEPS_H
#define SPATE_LIB_DIRECT_STEPS_H

#include "engine/loaded_engine.h"

struct direct_steps {
  const struct loaded_engine *engine;
  int count, length; /* sequences; tokens of each in the cache */
  int chunk;         /* tokens that a step takes of the last one, as of a prompt; 0: as many as of the others */
  struct row *row;   /* [count] */
  int32_t *token;    /* [limits.tokens] */
  int32_t *out;
  struct sampling *sampling;
  uint32_t *table; /* [count][blocks of the longest sequence], the same for every group */
};

/* Refuses what the engine's limits do not allow: `longest` tokens for each of `count` sequences. */
bool direct_init(struct direct_steps *steps, const struct loaded_engine *engine, int count, int longest,
                 struct error *error);
void direct_release(struct direct_steps *steps);

/* All sequences use the adapters of this row from now on. */
void direct_adapt(struct direct_steps *steps, const struct row *adapters);

/* Forgets the sequences' tokens after the first `length`. */
void direct_rewind(struct direct_steps *steps, int length);

enum direct_outputs { OUTPUT_NONE, OUTPUT_LAST, OUTPUT_ALL };

/* The batch of such a step, whose arrays are the steps'; nothing is run. False: the engine's limits forbid it. tokens:
 * those of the first sequence, of the second, ... */
bool direct_batch(struct direct_steps *steps, const int32_t *tokens, int n, enum direct_outputs outputs,
                  bool want_logits, struct batch *batch, struct error *error);

/* One step: n more tokens of each sequence ([count][n]); count × n may not pass limits.tokens. `result` as collect
 * gives it: outputs in the order of the tokens. */
bool direct_step(struct direct_steps *steps, const int32_t *tokens, int n, enum direct_outputs outputs,
                 bool want_logits, struct result *result, struct error *error);

#endif
