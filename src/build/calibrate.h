/* The stage of a build in which the network is watched while it reads the calibration data: methods that need that find
 * what to change in its numbers, or round its matrices themselves. */
#ifndef SPATE_BUILD_CALIBRATE_H
#define SPATE_BUILD_CALIBRATE_H

#include "base/arena.h"
#include "build/build_progress.h"
#include "build/calibration_data.h"
#include "build/weight_transform.h"
#include "engine/engine_config.h"
#include "engine/engine_writer.h"
#include "model/checkpoint.h"

enum { EXPERT_ROWS_LEAST = 128 }; /* tokens that an expert is calibrated with alone; fewer are joined by others */

struct calibration_job {
  const struct plan *plan; /* with its schemes */
  const struct checkpoint *checkpoint;
  const struct calibration_data *data;
  struct engine_writer *writer; /* begun: GPTQ writes its matrices at once */
  struct build_progress *progress;
  const struct weight_transform *merged; /* [n_weight] of the adapter that is merged first; NULL: none is */
  enum quant_method method;
  int n_thread;
};

/* What packing has to know of it. */
struct calibration {
  struct weight_transform *transforms; /* [n_weight] */
  bool *written;                       /* [n_weight] matrices that are in the file */
  struct arena arena;                  /* of the transforms' arrays */
  uint32_t *few; /* [n_weight] of weights that add experts up which were calibrated: 1 + those of them that saw fewer
                    than EXPERT_ROWS_LEAST tokens */
};

bool quant_method_calibrates(enum quant_method method);

/* Experts that were calibrated, and those of them that saw few tokens. */
void calibration_experts(const struct calibration *calibration, const struct plan *plan, int *n_expert, int *n_few);

/* Bytes of memory that it takes at most, about, besides the mapped source. */
uint64_t calibration_memory(const struct calibration_job *job);

/* Bounded memory, one site (the matrices with one input) at a time. The result does not depend on the number of
 * threads.
 */
bool calibration_run(struct calibration *calibration, const struct calibration_job *job, struct error *error);
/* Forgets what was found. */
void calibration_clear(struct calibration *calibration, int n_weight);
void calibration_release(struct calibration *calibration);

#endif
