/* A post_processor is "TemplateProcessing" with lists for one text and for two, or "BertProcessing" or
 * "RobertaProcessing", whose frames are known, or a "Sequence" in which one of them is. */
#include "model/encoder_frame.h"

#include "base/json.h"
#include "base/limits.h"
#include "model/model_config.h"

#include <stdio.h>

static bool post_refuse(const char *what, struct error *error) {
  return error_set(error, ERROR_FORMAT, "tokenizer.json: post_processor %s.", what);
}

static const struct encoder_frame frame_empty = {
    .before = {-1, -1, -1, -1}, .middle = {-1, -1, -1, -1}, .after = {-1, -1, -1, -1}};

static bool id_valid(const json_t *id) {
  return json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < LIMIT_VOCAB;
}

static bool id_add(int32_t list[ENCODER_FRAME_IDS], const json_t *id, struct error *error) {
  int i = 0;
  while (i < ENCODER_FRAME_IDS && list[i] >= 0) i++;
  if (!id_valid(id)) return post_refuse("names a special token without an id of the vocabulary", error);
  if (i == ENCODER_FRAME_IDS) return post_refuse("puts more than 4 tokens to one place", error);
  list[i] = (int32_t)json_integer_value(id);
  return true;
}

/* --- templates ---------------------------------------------------------------------------------------------------- */

/* {"SpecialToken": {"id": "[CLS]", "type_id": 0}}: the ids are listed beside. */
static bool special_add(const json_t *post, const json_t *token, int32_t list[ENCODER_FRAME_IDS], struct error *error) {
  const char *name = json_string_value(json_object_get(token, "id"));
  const json_t *known = name ? json_object_get(json_object_get(post, "special_tokens"), name) : NULL;
  const json_t *ids = json_object_get(known, "ids");
  if (!json_is_array(ids)) return post_refuse("names a special token that it does not describe", error);
  for (size_t i = 0; i < json_array_size(ids); i++)
    if (!id_add(list, json_array_get(ids, i), error)) return false;
  return true;
}

static bool template_read(const json_t *post, const char *key, int n_text, struct encoder_frame *frame,
                          struct error *error) {
  const json_t *list = json_object_get(post, key);
  int seen = 0;
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *piece = json_array_get(list, i), *text = json_object_get(piece, "Sequence");
    const json_t *special = json_object_get(piece, "SpecialToken");
    int32_t *place = seen == 0 ? frame->before : seen < n_text ? frame->middle : frame->after;
    if (special && !special_add(post, special, place, error)) return false;
    if (!text) continue;
    const char *name = json_string_value(json_object_get(text, "id"));
    if (!name || strcmp(name, seen == 0 ? "A" : "B") != 0) return post_refuse("has its texts in another order", error);
    if (++seen == 2) frame->second_type = json_integer_value(json_object_get(text, "type_id")) == 1;
  }
  return seen == n_text || post_refuse(n_text == 1 ? "has no template of one text" : "has no template of two", error);
}

/* --- those of old ------------------------------------------------------------------------------------------------- */

/* "cls": ["[CLS]", 101] */
static bool named_add(const json_t *post, const char *key, int32_t list[ENCODER_FRAME_IDS], struct error *error) {
  return id_add(list, json_array_get(json_object_get(post, key), 1), error);
}

static bool classic_read(const json_t *post, bool roberta, struct encoder_frame *one, struct encoder_frame *two,
                         struct error *error) {
  two->second_type = !roberta;
  return named_add(post, "cls", one->before, error) && named_add(post, "sep", one->after, error) &&
         named_add(post, "cls", two->before, error) && named_add(post, "sep", two->middle, error) &&
         (!roberta || named_add(post, "sep", two->middle, error)) && named_add(post, "sep", two->after, error);
}

/* --- any ---------------------------------------------------------------------------------------------------------- */

static bool post_read(const json_t *post, struct encoder_frame *one, struct encoder_frame *two, struct error *error) {
  const char *type = json_string_value(json_object_get(post, "type"));
  const json_t *parts = json_object_get(post, "processors");
  for (size_t i = 0; i < json_array_size(parts); i++)
    if (!post_read(json_array_get(parts, i), one, two, error)) return false;
  if (!type || strcmp(type, "Sequence") == 0 || strcmp(type, "ByteLevel") == 0) return true;
  if (strcmp(type, "TemplateProcessing") == 0)
    return template_read(post, "single", 1, one, error) && template_read(post, "pair", 2, two, error);
  bool roberta = strcmp(type, "RobertaProcessing") == 0;
  if (roberta || strcmp(type, "BertProcessing") == 0) return classic_read(post, roberta, one, two, error);
  return error_set(error, ERROR_UNSUPPORTED, "tokenizer.json: a post_processor of type \"%.60s\" is not known.", type);
}

/* --- GGUF --------------------------------------------------------------------------------------------------------- */

/* A token by its key's name, `usual` where the file does not say. */
static int32_t gguf_id(const struct gguf *gguf, const char *key, int32_t usual) {
  char whole[64];
  uint32_t id;
  snprintf(whole, sizeof whole, "tokenizer.ggml.%s_token_id", key);
  bool said = gguf_find(gguf, whole) && gguf_get_u32(gguf, whole, GGUF_OPTIONAL, &id, NULL) && id < LIMIT_VOCAB;
  return said ? (int32_t)id : usual;
}

static bool gguf_flag(const struct gguf *gguf, const char *key, bool usual) {
  bool value = usual;
  return gguf_find(gguf, key) && gguf_get_bool(gguf, key, GGUF_OPTIONAL, &value, NULL) ? value : usual;
}

static void id_put(int32_t list[ENCODER_FRAME_IDS], int32_t id) {
  int i = 0;
  while (i < ENCODER_FRAME_IDS && list[i] >= 0) i++;
  if (i < ENCODER_FRAME_IDS) list[i] = id;
}

/* BERT's vocabularies have [CLS] and [SEP], 101 and 102 where files do not say, around texts, and a second text has a
 * type of its own; others what their flags say. */
static bool gguf_frame_read(const struct checkpoint *c, struct encoder_frame *one, struct encoder_frame *two,
                            struct error *error) {
  enum { CLS = 101, SEP = 102 };
  const struct gguf *gguf = checkpoint_gguf(c);
  const struct tensor *types = checkpoint_find(c, "token_types.weight");
  struct slice model;
  if (!gguf_get_string(gguf, "tokenizer.ggml.model", GGUF_REQUIRED, &model, error)) return false;
  bool words = slice_is(model, "bert"), pieces = slice_is(model, "llama");
  int32_t first = gguf_id(gguf, "bos", words ? gguf_id(gguf, "cls", CLS) : -1);
  int32_t last = words ? gguf_id(gguf, "seperator", SEP) : gguf_id(gguf, "eos", -1);
  bool begins = words || gguf_flag(gguf, "tokenizer.ggml.add_bos_token", pieces);
  bool ends = words || gguf_flag(gguf, "tokenizer.ggml.add_eos_token", false);
  bool parts = !words && gguf_flag(gguf, "tokenizer.ggml.add_sep_token", false);
  if (begins) id_put(one->before, first);
  if (ends) id_put(one->after, last);
  *two = *one;
  if (ends) id_put(two->middle, last);
  if (parts) id_put(two->middle, gguf_id(gguf, "seperator", last));
  two->second_type = words && types && types->dim[0] > 1;
  return true;
}

/* --- both --------------------------------------------------------------------------------------------------------- */

bool encoder_frame_read(const struct checkpoint *checkpoint, struct encoder_frame *one, struct encoder_frame *two,
                        struct error *error) {
  *one = *two = frame_empty;
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF) return gguf_frame_read(checkpoint, one, two, error);
  const char *name = NULL;
  struct slice text = checkpoint_vocabulary(checkpoint, &name);
  if (text.size == 0 || strcmp(name, "tokenizer.json") != 0)
    return error_set(error, ERROR_NOT_FOUND,
                     "%s has no tokenizer.json, which says what tokens stand around an encoder's texts; save the model "
                     "with its fast tokenizer.",
                     checkpoint_path(checkpoint));
  json_t *root = json_parse(text, error);
  bool ok = root && post_read(json_object_get(root, "post_processor"), one, two, error);
  json_decref(root);
  return ok;
}

static void ending_leave(int32_t ids[ENCODER_FRAME_IDS], int32_t id) {
  int count = 0;
  while (count < ENCODER_FRAME_IDS && ids[count] >= 0) count++;
  while (count > 0 && ids[count - 1] == id) ids[--count] = -1;
}

bool encoder_frame_unpad(const struct checkpoint *checkpoint, struct encoder_frame *one, struct encoder_frame *two,
                         struct error *error) {
  int padding = -1;
  if (!config_int(checkpoint, (struct config_key){"pad_token_id", NULL}, CONFIG_OPTIONAL, -1, LIMIT_VOCAB, &padding,
                  error))
    return false;
  if (padding >= 0) ending_leave(one->after, padding);
  if (padding >= 0) ending_leave(two->after, padding);
  return true;
}
