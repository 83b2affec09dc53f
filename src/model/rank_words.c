/* vLLM's: two tokens with the method "from_2_way_softmax" (or "is_original_qwen3_reranker"), of which the second is the
 * answer that counts, or one token, whose logit is the score. */
#include "model/rank_words.h"

#include "base/json.h"
#include "base/limits.h"
#include "model/text_tail.h"

#include <string.h>

const char rank_words_template[] =
    "{%- set said = messages | selectattr(\"role\", \"eq\", \"system\") | map(attribute=\"content\") | first | "
    "default(\"Given a web search query, retrieve relevant passages that answer the query\", true) -%}\n"
    "<|im_start|>system\n"
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
    "answer can only be \"yes\" or \"no\".<|im_end|>\n"
    "<|im_start|>user\n"
    "<Instruct>: {{ said }}\n"
    "<Query>: {{ messages | selectattr(\"role\", \"eq\", \"query\") | map(attribute=\"content\") | first }}\n"
    "<Document>: {{ messages | selectattr(\"role\", \"eq\", \"document\") | map(attribute=\"content\") | first }}"
    "<|im_end|>\n"
    "<|im_start|>assistant\n"
    "<think>\n"
    "\n"
    "</think>\n"
    "\n"
    "{{ \"\" }}";

/* Of the vocabulary, or of those that are added to it; −1: there is none. */
static int token_find(const json_t *tokenizer, const char *token) {
  const json_t *id = json_object_get(json_object_get(json_object_get(tokenizer, "model"), "vocab"), token);
  const json_t *added = json_object_get(tokenizer, "added_tokens"), *entry;
  size_t at;
  json_array_foreach(added, at, entry) {
    const char *content = json_string_value(json_object_get(entry, "content"));
    if (content && strcmp(content, token) == 0) id = json_object_get(entry, "id");
  }
  json_int_t number = json_integer_value(id);
  return json_is_integer(id) && number >= 0 && number < LIMIT_VOCAB ? (int)number : -1;
}

static bool ids_find(const char *const token[2], int n, struct slice text, int id[2], struct error *error) {
  json_t *tokenizer = json_parse(text, error);
  bool ok = tokenizer != NULL;
  for (int i = 0; ok && i < n; i++) {
    id[i] = token_find(tokenizer, token[i]);
    ok = id[i] >= 0 || error_set(error, ERROR_NOT_FOUND,
                                 "tokenizer.json has no token \"%.60s\", whose logit is to be the score of two texts "
                                 "(classifier_from_token in config.json, or rerank).",
                                 token[i]);
  }
  json_decref(tokenizer);
  return ok;
}

/* As vLLM's settings have it, or, if `asked` and there are none, "no" and "yes". */
static bool words_read(struct rank_words *words, const json_t *config, struct slice tokenizer, bool asked,
                       struct error *error) {
  const json_t *list = json_object_get(config, "classifier_from_token");
  const char *method = json_string_value(json_object_get(config, "method")), *token[2] = {"no", "yes"};
  bool two = asked || json_is_true(json_object_get(config, "is_original_qwen3_reranker")) ||
             (method && strcmp(method, "from_2_way_softmax") == 0);
  bool given = list && !json_is_null(list);
  size_t n = given ? json_array_size(list) : 2;
  int id[2] = {-1, -1};
  for (size_t i = 0; given && i < n && i < 2; i++) token[i] = json_string_value(json_array_get(list, i));
  if (!(two ? n == 2 : n == 1) || !token[0] || !token[1])
    return error_set(error, ERROR_UNSUPPORTED,
                     "config.json: classifier_from_token is expected to be a list of two tokens, the second of which "
                     "is the answer that counts, with the method \"from_2_way_softmax\", or of one token.");
  if (!ids_find(token, (int)n, tokenizer, id, error)) return false;
  *words = n == 2 ? (struct rank_words){.yes = id[1], .no = id[0]} : (struct rank_words){.yes = id[0], .no = -1};
  return words->yes != words->no ||
         error_set(error, ERROR_INVALID, "config.json: classifier_from_token has the same token twice.");
}

/* Stages say it themselves, and so does a head of labels that is there. */
bool rank_words_open(struct rank_words *words, const struct checkpoint *c, bool asked, struct error *error) {
  const json_t *config = checkpoint_config(c);
  const char *name;
  struct slice tokenizer = checkpoint_vocabulary(c, &name);
  asked = asked && !text_classifies(c);
  *words = (struct rank_words){-1, -1};
  const json_t *list = json_object_get(config, "classifier_from_token");
  if (checkpoint_has_modules(c) || (!asked && (!list || json_is_null(list)))) return true;
  if (tokenizer.size > 0 && strcmp(name, "tokenizer.json") == 0)
    return words_read(words, config, tokenizer, asked, error);
  return error_set(error, ERROR_NOT_FOUND,
                   "%s has no tokenizer.json, in which the words are whose logits are the score of two texts; save the "
                   "model with its fast tokenizer.",
                   checkpoint_path(c));
}
