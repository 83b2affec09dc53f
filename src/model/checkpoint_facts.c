/* A checkpoint described in JSON, for people who inspect it. */
#include "model/checkpoint.h"

#include <stdlib.h>

static void value_write(const struct gguf_value *value, struct buffer *json) {
  int64_t whole = 0;
  double number = 0;
  if (value->type == GGUF_STRING)
    json_write_string(json, value->strings[0]);
  else if (value->type == GGUF_BOOL)
    buffer_text(json, value->data[0] ? "true" : "false");
  else if (gguf_value_int(value, 0, &whole))
    buffer_print(json, "%lld", (long long)whole);
  else if (gguf_value_float(value, 0, &number))
    json_write_number(json, number);
  else
    buffer_text(json, "null");
}

/* Scalars only: arrays are vocabularies, and a chat template is not a setting. */
static void metadata_write(const struct gguf *gguf, struct buffer *json) {
  const char *separator = "";
  buffer_text(json, "{");
  for (int i = 0; i < gguf->n_value; i++) {
    const struct gguf_value *value = gguf->values + i;
    if (value->is_array || strcmp(value->key, "tokenizer.chat_template") == 0) continue;
    buffer_text(json, separator);
    json_write_string(json, slice_text(value->key));
    buffer_text(json, ":");
    value_write(value, json);
    separator = ",";
  }
  buffer_text(json, "}");
}

static void config_write(const json_t *config, struct buffer *json) {
  char *text = json_dumps(config, JSON_COMPACT);
  buffer_text(json, text ? text : "");
  json->failed |= !text; /* out of memory */
  free(text);
}

bool checkpoint_facts(const struct checkpoint *checkpoint, struct buffer *json) {
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF;
  size_t bytes = 0, parameters = 0;
  for (int i = 0; i < checkpoint_tensor_count(checkpoint); i++) {
    bytes += checkpoint_tensor(checkpoint, i)->data.size;
    parameters += checkpoint_tensor(checkpoint, i)->count;
  }
  buffer_print(json, "{\"kind\":\"%s\",\"name\":", gguf ? "gguf" : "huggingface");
  json_write_string(json, slice_text(checkpoint_name(checkpoint)));
  buffer_text(json, ",\"architecture\":");
  json_write_string(json, slice_text(checkpoint_architecture(checkpoint)));
  buffer_print(json,
               ",\"tensors\":%d,\"parameters\":%zu,\"bytes\":%zu,\"config\":", checkpoint_tensor_count(checkpoint),
               parameters, bytes);
  if (gguf)
    metadata_write(checkpoint_gguf(checkpoint), json);
  else
    config_write(checkpoint_config(checkpoint), json);
  return buffer_text(json, "}");
}
