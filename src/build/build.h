/* Building an engine file from a checkpoint: read, plan, quantize, pack, write. The output appears under its name only
 * when it is complete; a build that fails, is cancelled or is killed leaves nothing there, and beside it what its
 * calibration has found (calibration_journal.h), from which the next one goes on. */
#ifndef SPATE_BUILD_BUILD_H
#define SPATE_BUILD_BUILD_H

#include "engine/engine_config.h"
#include "plan/backend.h"

struct build_options {
  const char *model;             /* a Hugging Face directory or a .gguf */
  const char *output;            /* the engine file */
  const struct backend *backend; /* whose layout to pack */
  struct engine_config config;   /* zeros: defaults */
  struct step_limits steps;      /* that it is going to be opened with */
  const char *calib_data;        /* a text file for methods that calibrate; NULL: a text that Spate brings along */
  const char *overrides;         /* modes of single weights (quant_override.h); NULL: none */
  bool emulate;                  /* FP8 may run as floats where there is no such arithmetic */
  double target_bits;            /* of quant_mode auto; 0 for others */
  bool ranks;                    /* the model is to rank texts (checkpoint_open_for) */
  const char *merge_lora;        /* as merge_adapter_open takes it; NULL: none */
  int n_thread;                  /* at most, fewer where memory is short; 0: as many as affinity allows */
  /* May be NULL. Called from the calling thread at most about ten times a second and at the end of each stage; done and
   * total are bytes of packed weights in the stage "pack", otherwise of that stage's own work. False cancels, but for
   * the last stage, "flush", which is reported when the file is there. */
  bool (*progress)(void *user, const char *stage, uint64_t done, uint64_t total);
  void *user;
  /* NULL: no figures in the manifest. Called when the engine is complete but for its name, which `path` stands for
   * meanwhile; appends an object. */
  bool (*evaluate)(void *user, const char *path, struct buffer *json, struct error *error);
  void *evaluate_user;
};

bool build_engine(const struct build_options *options, struct error *error);

#endif
