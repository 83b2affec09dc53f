/* config_sentence_transformers.json: {"prompts": {name: text}, "default_prompt_name": a name or null,
 * "similarity_fn_name": a name}. */
#include "model/sentence_config.h"

static const char file_name[] = "config_sentence_transformers.json";

static bool likeness_read(struct sentence_prompts *prompts, const json_t *object, struct error *error) {
  static const struct {
    const char *name;
    enum vector_likeness likeness;
  } names[] = {{"cosine", LIKENESS_COSINE},
               {"dot", LIKENESS_DOT},
               {"dot_product", LIKENESS_DOT},
               {"euclidean", LIKENESS_EUCLIDEAN},
               {"manhattan", LIKENESS_MANHATTAN}};
  const json_t *given = json_object_get(object, "similarity_fn_name");
  const char *name = json_string_value(given);
  if (!given || json_is_null(given)) return true;
  for (size_t i = 0; name && i < sizeof names / sizeof *names; i++) {
    if (strcmp(names[i].name, name) != 0) continue;
    prompts->likeness = names[i].likeness;
    return true;
  }
  return error_set(error, ERROR_UNSUPPORTED,
                   "%s: similarity_fn_name is \"%.60s\", expected \"cosine\", \"dot\", \"euclidean\" or \"manhattan\".",
                   file_name, name ? name : "");
}

static bool prompts_read(struct sentence_prompts *prompts, struct buffer *texts, const json_t *object,
                         struct error *error) {
  const json_t *usual = json_object_get(object, "default_prompt_name"), *text;
  const char *wanted = json_string_value(usual), *name;
  json_object_foreach(json_object_get(object, "prompts"), name, text) {
    const char *value = json_string_value(text);
    if (!value) return error_set(error, ERROR_FORMAT, "%s: the prompt \"%.60s\" is no text.", file_name, name);
    if (wanted && strcmp(wanted, name) == 0) prompts->usual = prompts->n;
    prompts->n++;
    buffer_append(texts, name, strlen(name) + 1);
    buffer_append(texts, value, strlen(value) + 1);
  }
  if (texts->failed)
    return error_set(error, ERROR_LIMIT, "%s: the prompts and their names take more than %zu bytes.", file_name,
                     texts->max);
  if (!usual || json_is_null(usual) || prompts->usual >= 0) return true;
  return error_set(error, ERROR_INVALID, "%s: default_prompt_name is \"%.60s\", which is none of the prompts.",
                   file_name, wanted ? wanted : "");
}

bool sentence_prompts_read(struct sentence_prompts *prompts, struct buffer *texts, const struct checkpoint *c,
                           struct error *error) {
  *prompts = (struct sentence_prompts){.usual = -1};
  json_t *object;
  if (checkpoint_kind(c) != CHECKPOINT_HF) return true;
  if (!checkpoint_json(c, file_name, &object, error)) return false;
  bool ok = !object || json_is_object(object) || error_set(error, ERROR_FORMAT, "%s holds no JSON object.", file_name);
  ok = ok && (!object || (likeness_read(prompts, object, error) && prompts_read(prompts, texts, object, error)));
  json_decref(object);
  return ok;
}
