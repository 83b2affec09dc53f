/* All are Unigram models whose words are apart. */
#include "model/classic_pieces.h"

#include "base/base64.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "format/sentencepiece.h"
#include "model/classic_added.h"
#include "model/piece_class.h"

#include <stdio.h>
#include <string.h>

/* --- vocabulary --------------------------------------------------------------------------------------------------- */

enum { CHARSMAP_BYTES = LIMIT_TOKENIZER_BYTES / 4 * 3 }; /* which base64 makes those of a tokenizer of */

struct conversion {
  const struct classic_vocabulary *files;
  const struct piece_class *class;
  struct sentencepiece model;
  json_t *vocab; /* [[text, score], …] */
  json_t *names; /* {"vocab": {text: id}}, of the last with a text */
};

static bool no_memory(struct error *error) {
  return error_set(error, ERROR_MEMORY, "There is no memory for a tokenizer.");
}

static const char *role_text(const struct conversion *made, int role) {
  return classic_special(made->files, piece_role_keys[role], made->class->special[role]);
}

static bool token_add(struct conversion *made, struct slice text, double score, struct error *error) {
  size_t id = json_array_size(made->vocab);
  json_t *ids = json_object_get(made->names, "vocab");
  if (memchr(text.data, 0, text.size) || !utf8_valid(text))
    return error_set(error, ERROR_FORMAT, "%s: the text of token %zu is not UTF-8, or has a zero.",
                     made->files->pieces_name, id);
  json_t *pair = json_pack("[o, f]", json_stringn((const char *)text.data, text.size), score);
  if (json_array_append_new(made->vocab, pair) != 0) return no_memory(error);
  return json_object_setn_new(ids, (const char *)text.data, text.size, json_integer((json_int_t)id)) == 0 ||
         no_memory(error);
}

static bool head_add(struct conversion *made, struct error *error) {
  for (size_t i = 0; i < made->class->n_head; i++) {
    const struct piece_head *head = &made->class->head[i];
    const char *text = head->text ? head->text : role_text(made, head->role);
    if (!token_add(made, slice_text(text), head->score, error)) return false;
  }
  return true;
}

/* How many sentinels there are: a hundred unless it is said. One that is a piece as well is there twice, and means the
 * latter, as in transformers 5. */
static bool extras_add(struct conversion *made, struct error *error) {
  const json_t *said = json_object_get(made->files->settings, "extra_ids");
  json_int_t count = json_is_integer(said) ? json_integer_value(said) : 100;
  if (count < 0 || count > LIMIT_VOCAB)
    return error_set(error, ERROR_FORMAT, "tokenizer_config.json: extra_ids is %lld, expected 0 to %d.",
                     (long long)count, LIMIT_VOCAB);
  while (count-- > 0) {
    char name[32];
    snprintf(name, sizeof name, "<extra_id_%lld>", (long long)count);
    if (!token_add(made, slice_text(name), 0, error)) return false;
  }
  return true;
}

static bool vocab_make(struct conversion *made, struct error *error) {
  const struct sentencepiece *model = &made->model;
  const struct piece_class *class = made->class;
  if (model->kind != SENTENCEPIECE_UNIGRAM || model->n_piece <= class->n_dropped)
    return error_set(error, ERROR_FORMAT, "%s is of the kind %llu and has %zu pieces, expected a Unigram model (1).",
                     made->files->pieces_name, (unsigned long long)model->kind, model->n_piece);
  if (model->charsmap.size > CHARSMAP_BYTES)
    return error_set(error, ERROR_LIMIT, "%s has %zu bytes of rules for characters, more than the %d allowed.",
                     made->files->pieces_name, model->charsmap.size, CHARSMAP_BYTES);
  if (!head_add(made, error)) return false;
  for (size_t id = class->n_dropped; id < model->n_piece; id++)
    if (!token_add(made, model->pieces[id].text, (double)model->pieces[id].score, error)) return false;
  return (!class->adds_mask || token_add(made, slice_text(role_text(made, MASK)), 0, error)) &&
         (!class->adds_extras || extras_add(made, error));
}

/* --- added tokens ------------------------------------------------------------------------------------------------- */

static bool marker_put(json_t *tokens, json_int_t id, const char *text, bool special) {
  json_t *token = json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", text, "single_word", 0,
                            "lstrip", 0, "rstrip", 0, "normalized", 0, "special", (int)special);
  return json_object_set_new(tokens, text, token) == 0;
}

static bool is_sentinel(const char *text) {
  static const char start[] = "<extra_id_";
  if (strncmp(text, start, sizeof start - 1) != 0) return false;
  const char *number = text + sizeof start - 1;
  size_t digits = strspn(number, "0123456789");
  return digits > 0 && strcmp(number + digits, ">") == 0;
}

/* The model's markers and what its author defined, and sentinels, which are markers as well. */
static bool markers_add(const struct conversion *made, json_t *tokens, struct error *error) {
  const struct sentencepiece *model = &made->model;
  json_t *ids = json_object_get(made->names, "vocab"), *id;
  bool ok = true;
  const char *text;
  for (size_t i = 0; i < model->n_piece && ok; i++) {
    const struct sentencepiece_piece *piece = &model->pieces[i];
    if (piece->type != PIECE_CONTROL && piece->type != PIECE_USER) continue;
    json_t *found = json_object_getn(ids, (const char *)piece->text.data, piece->text.size);
    const char *name =
        json_string_value(json_array_get(json_array_get(made->vocab, (size_t)json_integer_value(found)), 0));
    if (!found || !*name || json_object_get(tokens, name)) continue;
    ok = marker_put(tokens, json_integer_value(found), name, piece->type == PIECE_CONTROL);
  }
  json_object_foreach(ids, text, id) {
    bool extra = made->class->adds_extras && is_sentinel(text);
    if (ok && extra && !json_object_get(tokens, text)) ok = marker_put(tokens, json_integer_value(id), text, true);
  }
  return ok || no_memory(error);
}

/* Where the files say no more of the mask than its text. */
static void mask_settle(const struct conversion *made, json_t *tokens) {
  const struct classic_vocabulary *files = made->files;
  bool told = json_object_get(files->settings, "added_tokens_decoder") ||
              json_is_object(json_object_get(files->settings, piece_role_keys[MASK])) ||
              json_is_object(json_object_get(files->specials, piece_role_keys[MASK]));
  const char *text = role_text(made, MASK);
  json_t *token = text ? json_object_get(tokens, text) : NULL;
  if (token && made->class->mask_strips && !told) json_object_set(token, "lstrip", json_true());
}

static json_t *added_make(const struct conversion *made, struct error *error) {
  json_t *tokens = classic_added_make(made->files, made->names, piece_role_keys, made->class->special, ROLES, error);
  if (tokens && !markers_add(made, tokens, error)) {
    json_decref(tokens);
    return NULL;
  }
  if (tokens) mask_settle(made, tokens);
  return tokens;
}

/* --- components --------------------------------------------------------------------------------------------------- */

static bool flag_of(const struct conversion *made, const char *key, bool usual) {
  const json_t *value = json_object_get(made->files->settings, key);
  return json_is_boolean(value) ? json_is_true(value) : usual;
}

static json_t *rules_make(const struct conversion *made) {
  struct buffer base64;
  buffer_init(&base64, LIMIT_TOKENIZER_BYTES);
  bool done = base64_encode(made->model.charsmap, &base64);
  json_t *rules = done ? json_pack("{s:s, s:s%}", "type", "Precompiled", "precompiled_charsmap",
                                   (const char *)base64.data, base64.size)
                       : NULL;
  buffer_release(&base64);
  return rules;
}

static json_t *normalizer_make(const struct conversion *made) {
  bool rules = made->model.charsmap.size > 0, xlnet = made->class->unk == 0;
  if (!made->class->tidies) return rules ? rules_make(made) : json_null();
  json_t *steps = json_pack("[{s:s, s:{s:s}, s:s}, {s:s, s:{s:s}, s:s}]", "type", "Replace", "pattern", "String", "``",
                            "content", "\"", "type", "Replace", "pattern", "String", "''", "content", "\"");
  bool ok = steps != NULL;
  if (xlnet || !flag_of(made, "keep_accents", false))
    ok = ok && json_array_append_new(steps, json_pack("{s:s}", "type", "NFKD")) == 0 &&
         json_array_append_new(steps, json_pack("{s:s}", "type", "StripAccents")) == 0;
  if (flag_of(made, "do_lower_case", made->class->lower))
    ok = ok && json_array_append_new(steps, json_pack("{s:s}", "type", "Lowercase")) == 0;
  if (rules) ok = ok && json_array_append_new(steps, rules_make(made)) == 0;
  json_t *whole = ok ? json_pack("{s:s, s:O}", "type", "Sequence", "normalizers", steps) : NULL;
  json_decref(steps);
  return whole;
}

static json_t *metaspace_make(const struct conversion *made) {
  bool prefix = !made->class->prefix_said || flag_of(made, "add_prefix_space", true);
  return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", "\xE2\x96\x81", "prepend_scheme",
                   prefix ? "always" : "never", "split", 1);
}

/* Appends the roles of one side of a text to its template, and their ids to `special`. */
static bool side_add(const struct conversion *made, const json_t *tokens, const int *roles, json_t *single,
                     json_t *special, struct error *error) {
  for (int i = 0; i < FRAME_MAX && roles[i] != NO_ROLE; i++) {
    const char *text = role_text(made, roles[i]);
    const json_t *id = json_object_get(json_object_get(tokens, text), "id");
    if (!id)
      return error_set(error, ERROR_FORMAT, "%s has no token \"%.60s\", which stands beside a text.",
                       made->files->pieces_name, text);
    if (json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", text, "type_id", 0)) != 0 ||
        json_object_set_new(
            special, text,
            json_pack("{s:s, s:[I], s:[s]}", "id", text, "ids", json_integer_value(id), "tokens", text)) != 0)
      return no_memory(error);
  }
  return true;
}

static json_t *post_make(const struct conversion *made, const json_t *tokens, struct error *error) {
  json_t *single = json_array(), *special = json_object(), *post = NULL;
  json_t *text = json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0);
  if (side_add(made, tokens, made->class->before, single, special, error) &&
      (json_array_append(single, text) == 0 || no_memory(error)) &&
      side_add(made, tokens, made->class->after, single, special, error)) {
    post = json_pack("{s:s, s:O, s:[], s:O}", "type", "TemplateProcessing", "single", single, "pair", "special_tokens",
                     special);
    if (!post) no_memory(error);
  }
  json_decref(text);
  json_decref(single);
  json_decref(special);
  return post;
}

/* --- whole -------------------------------------------------------------------------------------------------------- */

static json_t *assemble(const struct conversion *made, const json_t *tokens, json_t *post, struct error *error) {
  json_t *added = json_array(), *token;
  const char *text;
  bool ok = added != NULL;
  json_object_foreach((json_t *)(uintptr_t)tokens, text, token) ok = ok && json_array_append(added, token) == 0;
  json_t *split = json_pack("{s:s, s:[{s:s}, o]}", "type", "Sequence", "pretokenizers", "type", "WhitespaceSplit",
                            metaspace_make(made));
  json_t *model = json_pack("{s:s, s:i, s:b, s:O}", "type", "Unigram", "unk_id", made->class->unk, "byte_fallback", 0,
                            "vocab", made->vocab);
  json_t *whole = json_pack("{s:s, s:o, s:o, s:o, s:O, s:o, s:o}", "version", "1.0", "added_tokens", added,
                            "normalizer", normalizer_make(made), "pre_tokenizer", split, "post_processor", post,
                            "decoder", metaspace_make(made), "model", model);
  if (ok && whole) return whole;
  json_decref(whole);
  no_memory(error);
  return NULL;
}

static json_t *convert(struct conversion *made, struct error *error) {
  json_t *tokens = NULL, *post = NULL, *whole = NULL;
  if (vocab_make(made, error) && (tokens = added_make(made, error)) && (post = post_make(made, tokens, error)))
    whole = assemble(made, tokens, post, error);
  json_decref(post);
  json_decref(tokens);
  return whole;
}

bool classic_pieces_convert(const struct classic_vocabulary *files, json_t **tokenizer, struct error *error) {
  struct conversion made = {.files = files, .class = piece_class_find(files, error)};
  struct arena arena;
  *tokenizer = NULL;
  if (!made.class) return false;
  arena_init(&arena, LIMIT_TOKENIZER_BYTES);
  made.vocab = json_array();
  made.names = json_pack("{s:{}}", "vocab");
  if (!made.vocab || !made.names)
    no_memory(error);
  else if (!sentencepiece_read(files->pieces, &arena, &made.model, error))
    error_prefix(error, "%s: ", files->pieces_name);
  else
    *tokenizer = convert(&made, error);
  json_decref(made.vocab);
  json_decref(made.names);
  arena_release(&arena);
  return *tokenizer != NULL;
}
