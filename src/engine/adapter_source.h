/* The file that an adapter is read from, and what it has for a module of the base: a folder as the package peft saves
 * it, or a GGUF file as llama.cpp converts one. Internal to adapter_read.c and adapter_norms.c. */
#ifndef SPATE_ENGINE_ADAPTER_SOURCE_H
#define SPATE_ENGINE_ADAPTER_SOURCE_H

#include "engine/adapter_config.h"
#include "engine/adapter_module.h"
#include "engine/adapter_parameter.h"
#include "engine/engine_file.h"
#include "format/gguf_adapter.h"
#include "format/safetensors.h"

enum { ADAPTER_PATH_BYTES = 4096 };

#define PEFT_BASE "base_model.model." /* what peft puts before a module's name */

/* What the file has for a module; NULL: nothing. */
struct module_tensors {
  struct adapter_module module;
  const struct tensor *a, *b, *b_bias, *bias, *magnitude;
  int rank;
  double scale;  /* α ÷ r */
  bool by_token; /* a of an embedding is [token][rank], as GGUF has it, not [rank][token] */
};

/* What it has for the parts of an op's matrix. */
struct op_tensors {
  int op, rank; /* the greatest of its parts */
  int expert;   /* of a linear of experts; 0 of others */
  struct module_tensors part[PLAN_PARTS];
};

struct adapter_source {
  char path[ADAPTER_PATH_BYTES]; /* of the tensors */
  struct adapter_config *config; /* NULL: GGUF */
  struct safetensors *safetensors;
  struct gguf *gguf;
  struct gguf_adapter settings; /* of GGUF */
  const struct tensor_table *tensors;
  const char *base_architecture; /* GGUF's name of the base's, borrowed; its reader sets it once it is open */
  const char *no_experts; /* the backend that it is for, which takes none that changes experts; NULL: it takes them */
  bool *used;             /* [n_tensor]: it belongs to a module */
  struct expert_factors *cut; /* owned: of parameters of all experts, each expert's */
  struct op_tensors *found;   /* [n_found] ops that it has anything for */
  int n_found, found_room;
};

/* path: a folder or a GGUF file. After false it must be closed as well. */
bool adapter_source_open(struct adapter_source *source, const char *path, struct error *error);
void adapter_source_close(struct adapter_source *source);
bool adapter_source_intact(const struct adapter_source *source, struct error *error);

/* The digest of the weights that it is for; NULL: it does not tell. */
const struct hash128 *adapter_source_base(const struct adapter_source *source);

/* Looks up the tensors of all ops and checks their shapes; refuses a tensor that belongs to none. */
bool adapter_source_find(struct adapter_source *source, const struct plan *plan, struct error *error);

/* --- for adapter_source_parameter.c ------------------------------------------------------------------------------- */

/* A tensor of peft's by its module and what it is to that, which is used then; NULL: there is none. */
const struct tensor *adapter_source_take(struct adapter_source *source, const char *module, const char *suffix);
/* Its shape; cols 0: a vector. `by`: what wants it, beside the base. */
bool adapter_shape_check(const struct tensor *tensor, int64_t rows, int64_t cols, const char *by, struct error *error);
/* Of a and b both or none are there. */
bool adapter_halves_check(const struct module_tensors *m, struct error *error);

/* What an expert's part of a matrix, `rows` rows of the tensor, has of a parameter of all experts: nothing where m->a
 * is NULL. */
bool adapter_parameter_part(struct adapter_source *source, const struct weight *weight, const char *tensor, int expert,
                            int rows, struct module_tensors *m, struct error *error);

/* Are an adapter's factors of this name, without what peft puts before it, of the parameter that a base's tensor of
 * experts is in? */
bool adapter_parameter_has(const char *base, const char *name);

/* --- for adapter_source_expert.c ---------------------------------------------------------------------------------- */

/* From a module's name with EXPERT_MARK to that of one expert's. False: experts are no modules of their own here. */
bool adapter_expert_name(const char *tensor, int expert, struct adapter_module *module);

/* Can any of the tensors be of an expert? Most adapters have none, and there may be thousands to look for. */
bool adapter_names_experts(const struct adapter_source *source);

/* Does the tensor belong to an expert of the plan that is a module of its own, or to all of them? */
bool adapter_expert_has(const struct adapter_source *source, const struct plan *plan, const char *tensor);

#endif
