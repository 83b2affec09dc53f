/* What an open checkpoint says. */
#include "model/checkpoint_state.h"

struct checkpoint *checkpoint_open(const char *path, struct error *error) {
  return checkpoint_open_for(path, false, error);
}

bool checkpoint_has_modules(const struct checkpoint *checkpoint) { return checkpoint->has_modules; }

enum checkpoint_kind checkpoint_kind(const struct checkpoint *checkpoint) {
  return checkpoint->config ? CHECKPOINT_HF : CHECKPOINT_GGUF;
}
const char *checkpoint_name(const struct checkpoint *checkpoint) { return checkpoint->name; }
const char *checkpoint_architecture(const struct checkpoint *checkpoint) { return checkpoint->architecture; }
const char *checkpoint_path(const struct checkpoint *checkpoint) { return checkpoint->path; }
const json_t *checkpoint_config(const struct checkpoint *checkpoint) { return checkpoint->config; }
const struct gguf *checkpoint_gguf(const struct checkpoint *checkpoint) { return checkpoint->gguf; }
const struct gguf *checkpoint_projector(const struct checkpoint *checkpoint) { return checkpoint->pair.projector; }
struct slice checkpoint_preprocessor(const struct checkpoint *checkpoint) {
  const struct file *file = &checkpoint->preprocessor;
  return file->data ? slice_make(file->data, file->size) : checkpoint->pair.pictures;
}

bool checkpoint_ranks(const struct checkpoint *checkpoint) { return checkpoint->rank_template.size > 0; }

const struct rank_words *checkpoint_words(const struct checkpoint *checkpoint) {
  return checkpoint->words.yes >= 0 ? &checkpoint->words : NULL;
}

struct slice checkpoint_chat_template(const struct checkpoint *checkpoint) {
  const struct buffer *ranks = &checkpoint->rank_template;
  return ranks->size > 0 ? buffer_slice(ranks) : checkpoint->chat_template;
}
struct template_pair checkpoint_template_pair(const struct checkpoint *checkpoint) {
  struct template_pair pair = checkpoint->templates;
  if (checkpoint_ranks(checkpoint)) pair.tools = slice_make(NULL, 0);
  return pair;
}
const struct checkpoint_generation *checkpoint_generation(const struct checkpoint *checkpoint) {
  return &checkpoint->generation;
}
struct slice checkpoint_vocabulary(const struct checkpoint *checkpoint, const char **name) {
  *name = checkpoint->vocabulary_name;
  if (checkpoint->classic) return slice_text(checkpoint->classic);
  return slice_make(checkpoint->vocabulary.data, checkpoint->vocabulary.size);
}
struct slice checkpoint_tokenizer_config(const struct checkpoint *checkpoint) {
  return slice_make(checkpoint->tokenizer_config.data, checkpoint->tokenizer_config.size);
}

bool checkpoint_intact(const struct checkpoint *checkpoint, struct error *error) {
  if (checkpoint->safetensors)
    return safetensors_intact(checkpoint->safetensors, error) && stage_tensors_intact(&checkpoint->stages, error);
  const struct gguf *projector = checkpoint->pair.projector;
  return ((!checkpoint->gguf || gguf_intact(checkpoint->gguf, error)) &&
          (!projector || gguf_intact(projector, error))) ||
         error_prefix(error, "%s: ", checkpoint->path);
}

const struct tensor_table *checkpoint_table(const struct checkpoint *c) {
  static const struct tensor *no_tensor[1];
  static const struct tensor_table none = {.by_name = no_tensor};
  if (c->packed.table.by_name) return &c->packed.table;
  if (c->stages.table.by_name) return &c->stages.table;
  if (c->pair.table.by_name) return &c->pair.table;
  return c->gguf ? &c->gguf->tensors : c->safetensors ? &c->safetensors->tensors : &none;
}

int checkpoint_tensor_count(const struct checkpoint *checkpoint) { return checkpoint_table(checkpoint)->n_tensor; }

const struct tensor *checkpoint_tensor(const struct checkpoint *checkpoint, int index) {
  return checkpoint_table(checkpoint)->tensors + index;
}

const struct tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name) {
  return tensor_find(checkpoint_table(checkpoint), name);
}
