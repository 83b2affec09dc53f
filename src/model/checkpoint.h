/* A checkpoint: one view of a model that others wrote, either a Hugging Face directory (config.json, safetensors in one
 * file or in shards, tokenizer.json …) or a GGUF file. Everything returned points into the checkpoint and lives until
 * checkpoint_close. Immutable after opening: any number of threads may read it. */
#ifndef SPATE_MODEL_CHECKPOINT_H
#define SPATE_MODEL_CHECKPOINT_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"
#include "base/slice.h"
#include "format/gguf.h"
#include "format/tensor.h"
#include "model/tool_template.h"

#include <stdint.h>

struct checkpoint;

enum checkpoint_kind { CHECKPOINT_HF, CHECKPOINT_GGUF };

/* Maps the files and checks their structure: a folder with two GGUF files, one of them an encoder of images
 * (gguf_pair.h), is a GGUF checkpoint too; no tensor data is read but zero points and group numbers of matrices that
 * were quantized elsewhere, which become one tensor each (packed_tensors.h). A path that is neither is refused. */
struct checkpoint *checkpoint_open(const char *path, struct error *error);
/* The same; `ranks`: it is to rank texts, and a decoder that does not say so does by its words "yes" and "no". */
struct checkpoint *checkpoint_open_for(const char *path, bool ranks, struct error *error);
/* One that has a config.json and no tensors: enough for a plan (family_outline). */
struct checkpoint *checkpoint_of_config(const char *name, struct slice config, struct error *error);
void checkpoint_close(struct checkpoint *checkpoint); /* NULL is allowed */

enum checkpoint_kind checkpoint_kind(const struct checkpoint *checkpoint);
const char *checkpoint_name(const struct checkpoint *checkpoint);         /* of the model, for people */
const char *checkpoint_architecture(const struct checkpoint *checkpoint); /* "LlamaForCausalLM"; GGUF: "llama" */
const char *checkpoint_path(const struct checkpoint *checkpoint);         /* as it was opened */
bool checkpoint_has_modules(const struct checkpoint *checkpoint);         /* a modules.json, of sentence-transformers */

/* False, with a sentence, once a file of tensors has another size than when it was mapped, or had: what was read of it
 * may be zeros that it never held. */
bool checkpoint_intact(const struct checkpoint *checkpoint, struct error *error);

/* --- tensors: those of all shards, in the order of the files (format/tensor.h) ---------------------------------- */

int checkpoint_tensor_count(const struct checkpoint *checkpoint);
const struct tensor *checkpoint_tensor(const struct checkpoint *checkpoint, int index);
const struct tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name); /* NULL: absent */

/* --- what model_config.h reads ------------------------------------------------------------------------------------ */

const json_t *checkpoint_config(const struct checkpoint *checkpoint);    /* config.json, an object; NULL for GGUF */
const struct gguf *checkpoint_gguf(const struct checkpoint *checkpoint); /* NULL for a directory */
const struct gguf *checkpoint_projector(const struct checkpoint *checkpoint); /* an encoder's file; NULL: none */

/* --- what the tokenizer and the chat template are made from ------------------------------------------------------ */

/* A directory's vocabulary with the name of its file (tokenizer.json, or what there is in place of it: see
 * text/vocab_files.h), and tokenizer_config.json; empty when absent and for GGUF. */
struct slice checkpoint_vocabulary(const struct checkpoint *checkpoint, const char **name);
struct slice checkpoint_tokenizer_config(const struct checkpoint *checkpoint);

/* The Jinja source ("default" where there are several); empty when the model has none. */
struct slice checkpoint_chat_template(const struct checkpoint *checkpoint);

/* What that was made of, or would have been if both were not too large together; no `tools`: it is one for all. */
struct template_pair checkpoint_template_pair(const struct checkpoint *checkpoint);
/* Whether it is a GGUF ranker by yes and no (model/rank_template.h), with a template for that. */
bool checkpoint_ranks(const struct checkpoint *checkpoint);
/* The words whose logits are the score of a ranker without modules.json (model/rank_words.h); NULL: it is none. */
struct rank_words;
const struct rank_words *checkpoint_words(const struct checkpoint *checkpoint);
/* The text of preprocessor_config.json, which says what a picture becomes, or of a processor's that has it within;
 * without the files, what an encoder's file has of it. */
struct slice checkpoint_preprocessor(const struct checkpoint *checkpoint);

/* A JSON file of the directory by its name there; NULL where there is none. The caller drops it. */
bool checkpoint_json(const struct checkpoint *checkpoint, const char *name, json_t **value, struct error *error);

/* --- generation defaults ------------------------------------------------------------------------------------------ */

enum { CHECKPOINT_ENDS = 16 };

struct checkpoint_generation {
  float temperature;        /* 1 unless the model says otherwise; 0 where it says "do_sample": false */
  float top_p;              /* 1: off */
  float min_p;              /* 0: off */
  float typical_p;          /* 1: off */
  float repetition_penalty; /* 1: off */
  int32_t top_k;            /* 0: off */
  int32_t n_end;
  int32_t end[CHECKPOINT_ENDS]; /* token ids that end a text, besides those that the tokenizer knows */
};

const struct checkpoint_generation *checkpoint_generation(const struct checkpoint *checkpoint);

/* Appends a JSON object for inspection: kind, name, architecture, numbers of tensors and parameters, bytes, and the
 * config (config.json as it is; GGUF's scalar metadata). */
bool checkpoint_facts(const struct checkpoint *checkpoint, struct buffer *json);

#endif
