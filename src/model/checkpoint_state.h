/* Private to checkpoint.c, which opens it, and checkpoint_get.c: what an open checkpoint holds. */
#ifndef SPATE_MODEL_CHECKPOINT_STATE_H
#define SPATE_MODEL_CHECKPOINT_STATE_H

#include "base/buffer.h"
#include "format/safetensors.h"
#include "model/checkpoint.h"
#include "model/gguf_pair.h"
#include "model/packed_tensors.h"
#include "model/rank_words.h"
#include "model/stage_tensors.h"

#include <limits.h>

enum { NAME_BYTES = 128 };

struct checkpoint {
  char path[PATH_MAX];
  char name[NAME_BYTES], architecture[NAME_BYTES];
  struct gguf *gguf;               /* NULL for a directory */
  struct gguf_pair pair;           /* of a GGUF model that sees images */
  struct safetensors *safetensors; /* NULL for GGUF, as is all below */
  struct stage_tensors stages;     /* those of Dense stages too; none where there are none */
  bool has_modules;                /* there is a modules.json */
  bool wants_rank;                 /* as it is opened: it is to rank texts */
  struct rank_words words;         /* yes −1: none */
  struct packed_tensors packed;    /* the tensors of a quantized model, joined; none where they are as they are */
  json_t *config;
  struct file vocabulary, tokenizer_config, template_file, tool_template_file;
  const char *vocabulary_name;    /* of its file; NULL: there is none */
  char *classic;                  /* a tokenizer.json made of older files; NULL: none was */
  json_t *template_json;          /* tokenizer_config.json, which chat_template may point into; or NULL */
  struct template_pair templates; /* which chat_template is made of */
  struct slice chat_template;
  struct buffer joint_template; /* which chat_template points into where a model has one for tools besides */
  struct buffer rank_template;  /* of a GGUF ranker by yes and no, in place of it; no bytes: it is none */
  struct file preprocessor;     /* no data: there is none */
  struct checkpoint_generation generation;
};

/* All tensors, as networks name them. */
const struct tensor_table *checkpoint_table(const struct checkpoint *checkpoint);

#endif
