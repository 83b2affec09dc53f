/* The file that an adapter is read from, and what it has for a module of the base: a folder as the package peft saves
 * it, or a GGUF file as llama.cpp converts one. Internal to adapter_read.c and adapter_norms.c. */
#ifndef SPATE_ENGINE_ADAPTER_SOURCE_H
#define SPATE_ENGINE_ADAPTER_SOURCE_H

#include "engine/adapter_config.h"
#include "engine/adapter_module.h"
#include "engine/engine_file.h"
#include "format/gguf_adapter.h"
#include "format/safetensors.h"

enum { ADAPTER_PATH_BYTES = 4096 };

struct adapter_source {
  char path[ADAPTER_PATH_BYTES]; /* of the tensors */
  struct adapter_config *config; /* NULL: GGUF */
  struct safetensors *safetensors;
  struct gguf *gguf;
  struct gguf_adapter settings; /* of GGUF */
  const struct tensor_table *tensors;
  bool *used; /* [n_tensor]: it belongs to a module */
};

/* What the file has for a module; NULL: nothing. */
struct module_tensors {
  struct adapter_module module;
  const struct tensor *a, *b, *b_bias, *bias, *magnitude;
  int rank;
  double scale;  /* α ÷ r */
  bool by_token; /* a of an embedding is [token][rank], as GGUF has it, not [rank][token] */
};

/* path: a folder or a GGUF file. After false it must be closed as well. */
bool adapter_source_open(struct adapter_source *source, const char *path, struct error *error);
void adapter_source_close(struct adapter_source *source);
bool adapter_source_intact(const struct adapter_source *source, struct error *error);

/* The tensors of a part of the op's matrix, their shapes checked. */
bool adapter_source_find(struct adapter_source *source, const struct plan *plan, const struct op *op, int part,
                         struct module_tensors *m, struct error *error);
/* Refuses what no module has asked for. */
bool adapter_source_used(const struct adapter_source *source, struct error *error);

#endif
