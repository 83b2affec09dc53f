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
};

bool quant_method_calibrates(enum quant_method method);

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
