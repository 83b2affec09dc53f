/* A checkpoint: one view of a model that others wrote, either a Hugging Face directory (config.json, safetensors in one
 * file or in shards, tokenizer.json …) or a GGUF file. Everything returned points into the checkpoint and lives until
 * checkpoint_close. Immutable after opening: any number of threads may read it. */
#ifndef SPATE_MODEL_CHECKPOINT_H
#define SPATE_MODEL_CHECKPOINT_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/slice.h"

#include <stdint.h>

struct gguf;
struct tensor;
struct checkpoint;

enum checkpoint_kind { CHECKPOINT_HF, CHECKPOINT_GGUF };

/* Maps the files and checks their structure; no tensor data is read. A path that is neither is refused. */
struct checkpoint *checkpoint_open(const char *path, struct error *error);
void checkpoint_close(struct checkpoint *checkpoint); /* NULL is allowed */

enum checkpoint_kind checkpoint_kind(const struct checkpoint *checkpoint);
const char *checkpoint_name(const struct checkpoint *checkpoint);         /* of the model, for people */
const char *checkpoint_architecture(const struct checkpoint *checkpoint); /* "LlamaForCausalLM"; GGUF: "llama" */
const char *checkpoint_path(const struct checkpoint *checkpoint);         /* as it was opened */

/* False when a file no longer has the size that it was mapped with: its data must not be read then. */
bool checkpoint_intact(const struct checkpoint *checkpoint, struct error *error);

/* --- tensors: those of all shards, in the order of the files (format/tensor.h) ---------------------------------- */

int checkpoint_tensor_count(const struct checkpoint *checkpoint);
const struct tensor *checkpoint_tensor(const struct checkpoint *checkpoint, int index);
const struct tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name); /* NULL: absent */

/* --- config: numbers are checked for type and range; sentences name the key, the expected and the actual --------- */

/* The name of one setting in each kind of file. hf is a path in config.json ("rope_scaling.factor"), looked up below
 * "text_config" first; gguf is a metadata key without the architecture's prefix. NULL: that kind never has it. */
struct config_key {
  const char *hf, *gguf;
};

/* An absent key (or a JSON null) leaves *value as it is, unless `need`: then it is an error. */
enum config_need { CONFIG_OPTIONAL, CONFIG_NEEDED };

bool config_has(const struct checkpoint *checkpoint, struct config_key key);
bool config_int(const struct checkpoint *checkpoint, struct config_key key, enum config_need need, int min, int max,
                int *value, struct error *error);
bool config_float(const struct checkpoint *checkpoint, struct config_key key, enum config_need need, double min,
                  double max, double *value, struct error *error);
bool config_bool(const struct checkpoint *checkpoint, struct config_key key, bool *value, struct error *error);
bool config_text(const struct checkpoint *checkpoint, struct config_key key, struct slice *value, struct error *error);

/* Arrays of texts: the number of elements, −1 when the key is absent or no array; one element. */
int config_list_size(const struct checkpoint *checkpoint, struct config_key key);
bool config_list_text(const struct checkpoint *checkpoint, struct config_key key, int index, struct slice *value,
                      struct error *error);

/* "config.json: hidden_size" or "llama.embedding_length": what a sentence calls the key. Returns out. */
const char *config_key_name(const struct checkpoint *checkpoint, struct config_key key, char out[160]);

/* --- what the tokenizer and the chat template are made from --------------------------------------------------------
 */

const struct gguf *checkpoint_gguf(const struct checkpoint *checkpoint); /* NULL for a directory */

/* A directory's tokenizer.json and tokenizer_config.json; empty when absent and for GGUF. */
struct slice checkpoint_tokenizer_json(const struct checkpoint *checkpoint);
struct slice checkpoint_tokenizer_config(const struct checkpoint *checkpoint);

/* The Jinja source ("default" where there are several); empty when the model has none. */
struct slice checkpoint_chat_template(const struct checkpoint *checkpoint);

/* --- generation defaults ------------------------------------------------------------------------------------------ */

enum { GENERATION_ENDS = 16 };

struct generation_defaults {
  float temperature; /* 1 unless the model says otherwise */
  float top_p;       /* 1: off */
  int32_t top_k;     /* 0: off */
  int32_t n_end;
  int32_t end[GENERATION_ENDS]; /* token ids that end a text, besides those of the tokenizer */
};

const struct generation_defaults *checkpoint_generation(const struct checkpoint *checkpoint);

/* Appends a JSON object for inspection: kind, name, architecture, number of tensors, the scalar config values. */
bool checkpoint_facts(const struct checkpoint *checkpoint, struct buffer *json);

#endif
