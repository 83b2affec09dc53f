/* The tensors of a checkpoint whose Dense stages have files of their own: those of FOLDER/model.safetensors become
 * FOLDER/NAME beside the network's. */
#ifndef SPATE_MODEL_STAGE_TENSORS_H
#define SPATE_MODEL_STAGE_TENSORS_H

#include "base/arena.h"
#include "format/safetensors.h"
#include "model/sentence_config.h"

struct stage_tensors {
  struct arena arena;
  struct tensor_table table; /* of all; empty where there are no such stages */
  struct safetensors *file[DENSE_STAGES];
};

/* As modules.json of the folder `path` says. The tensors of `in` must outlive *out. Released in any case. */
bool stage_tensors_open(struct stage_tensors *out, const char *path, const json_t *modules,
                        const struct tensor_table *in, struct error *error);
void stage_tensors_release(struct stage_tensors *tensors);

bool stage_tensors_intact(const struct stage_tensors *tensors, struct error *error);

#endif
