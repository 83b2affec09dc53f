/* Matrices that calibration rounds itself, on their way into the engine file: GPTQ's, and experts'. */
#ifndef SPATE_BUILD_GPTQ_SITE_H
#define SPATE_BUILD_GPTQ_SITE_H

#include "build/gptq.h"
#include "engine/engine_writer.h"
#include "plan/plan.h"

/* Can GPTQ round into the scheme? Others are left to packing. */
bool gptq_takes(const struct scheme *scheme);

/* Rounds a matrix of the plan, [rows][cols], packs it and writes it; its numbers become those of the codes. */
bool gptq_write(const struct gptq *gptq, const struct plan *plan, int weight, float *matrix,
                struct engine_writer *writer, int n_thread, struct error *error);

/* --- experts, one after the other --------------------------------------------------------------------------------- */

/* A weight of experts as its matrices are written. */
struct stack_writer {
  const struct plan *plan;
  struct engine_writer *writer;
  int weight, n_thread;
  int expert;      /* the next one's number */
  uint8_t *packed; /* of one matrix */
  struct hasher *hasher;
};

/* Release it in any case. */
bool stack_begin(struct stack_writer *stack, const struct plan *plan, int weight, struct engine_writer *writer,
                 int n_thread, struct error *error);
/* Rounds the next expert's matrix, [rows][cols], by GPTQ, whose numbers become those of the codes, or, without it, to
 * nearest by the metric (quantize.h) or, NULL, without one, which leaves the numbers. */
bool stack_add(struct stack_writer *stack, const struct gptq *gptq, const float *metric, float *matrix,
               struct error *error);
/* All have been added. */
void stack_end(struct stack_writer *stack);
void stack_release(struct stack_writer *stack);

#endif
