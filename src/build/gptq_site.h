/* GPTQ's matrices on their way into the engine file. */
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

#endif
