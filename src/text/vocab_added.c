/* Tokens that a tokenizer_config.json adds to a vocabulary: {"32000": {"content": "<|im_end|>", "special": true}…}. */
#include "text/tokenizer_json.h"
#include "text/vocab_spec.h"

/* Ids are texts there. */
static bool added_id(const char *text, size_t *id) {
  size_t size = strlen(text);
  *id = 0;
  for (size_t i = 0; i < size; i++) {
    if (text[i] < '0' || text[i] > '9' || i > 8) return false;
    *id = 10 * *id + (size_t)(text[i] - '0');
  }
  return size > 0;
}

bool vocab_count_added(const json_t *config, size_t *count, struct error *error) {
  const char *key;
  json_t *token;
  *count = 0;
  json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, token) {
    size_t id;
    if (!added_id(key, &id) || id >= LIMIT_VOCAB || !json_take_text(token, "content").data)
      return error_set(error, ERROR_FORMAT,
                       "tokenizer_config.json: added_tokens_decoder has \"%.40s\", expected ids below %d and tokens "
                       "with a content.",
                       key, LIMIT_VOCAB);
    if (id >= *count) *count = id + 1;
  }
  return true;
}

void vocab_take_added(const json_t *config, struct slice *tokens, int32_t *types) {
  const char *key;
  json_t *token;
  json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, token) {
    size_t id;
    if (!added_id(key, &id)) continue;
    tokens[id] = json_take_text(token, "content");
    types[id] = json_take_bool(token, "special", false) ? VOCAB_CONTROL : VOCAB_USER;
  }
}
