/* BertTokenizer reads vocab.txt: WordPiece of words that are cut at spaces and marks. RobertaTokenizer and
 * GPT2Tokenizer read vocab.json and merges.txt: BPE of bytes. */
#include "model/classic_vocabulary.h"

#include "base/limits.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- classes ------------------------------------------------------------------------------------------------------ */

enum { SPECIALS = 5 };
enum { UNKNOWN, BEGIN, END, MASK, PAD }; /* of the specials */

static const struct class {
  const char *name, *model_type; /* the first without "Fast" */
  bool words, frame;             /* vocab.txt; BEGIN and END stand around a text */
  const char *special[SPECIALS]; /* as they are called where the settings do not say; NULL: there is none */
} classes[] = {
    {"BertTokenizer", "bert", true, true, {"[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"}},
    {"DistilBertTokenizer", "distilbert", true, true, {"[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"}},
    {"BertTokenizer", "nomic_bert", true, true, {"[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"}},
    {"RobertaTokenizer", "roberta", false, true, {"<unk>", "<s>", "</s>", "<mask>", "<pad>"}},
    {"GPT2Tokenizer", "gpt2", false, false, {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL, NULL}},
};

#define DECODER "added_tokens_decoder" /* tokenizer_config.json's key for all of them, where it has it */

/* tokenizer_config.json's and special_tokens_map.json's keys for them. */
static const char *const special_keys[][SPECIALS] = {
    {"unk_token", "bos_token", "eos_token", "mask_token", "pad_token"},
    {"unk_token", "cls_token", "sep_token", "mask_token", "pad_token"}};

static bool class_named(const struct class *class, const char *name) {
  size_t size = strlen(class->name);
  return strncmp(name, class->name, size) == 0 && (name[size] == '\0' || strcmp(name + size, "Fast") == 0);
}

static const struct class *class_find(const struct classic_vocabulary *files) {
  const char *name = json_string_value(json_object_get(files->settings, "tokenizer_class"));
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
    if (name ? class_named(&classes[i], name) : slice_is(files->model_type, classes[i].model_type)) return &classes[i];
  return NULL;
}

/* --- settings ----------------------------------------------------------------------------------------------------- */

static bool flag_of(const struct classic_vocabulary *files, const char *key, bool usual) {
  const json_t *value = json_object_get(files->settings, key);
  return json_is_boolean(value) ? json_is_true(value) : usual;
}

/* Of special tokens special_tokens_map.json comes first, but where tokenizer_config.json lists all added tokens. */
static const json_t *said_of(const struct classic_vocabulary *files, const char *key) {
  const json_t *value = json_object_get(files->settings, DECODER) ? NULL : json_object_get(files->specials, key);
  return value && !json_is_null(value) ? value : json_object_get(files->settings, key);
}

/* Of a text, or of an object that describes an added token; NULL: there is none. */
static const char *special_text(const json_t *value) {
  return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

static const char *special_of(const struct classic_vocabulary *files, const struct class *class, int which) {
  const char *text = special_text(said_of(files, special_keys[class->frame][which]));
  return text ? text : class->special[which];
}

/* --- vocabularies ------------------------------------------------------------------------------------------------- */

/* Cuts the next line off *text; without what ends it. */
static struct slice line_take(struct slice *text) {
  const uint8_t *end = memchr(text->data, '\n', text->size);
  struct slice line = slice_make(text->data, end ? (size_t)(end - text->data) : text->size);
  size_t used = line.size + (end != NULL);
  *text = slice_make(text->data + used, text->size - used);
  if (line.size > 0 && line.data[line.size - 1] == '\r') line.size--;
  return line;
}

static bool no_memory(struct error *error) {
  return error_set(error, ERROR_MEMORY, "There is no memory for a tokenizer.");
}

static bool line_refuse(const char *file, size_t number, const char *what, struct error *error) {
  return error_set(error, ERROR_FORMAT, "%s: line %zu is %s.", file, number, what);
}

/* The place of a line is the id of its token; of one that occurs twice the last counts. */
static bool words_read(struct slice text, json_t *vocabulary, struct error *error) {
  for (size_t id = 0; text.size > 0; id++) {
    struct slice line = line_take(&text);
    if (id >= LIMIT_VOCAB)
      return error_set(error, ERROR_LIMIT, "vocab.txt has more than the %d lines allowed.", LIMIT_VOCAB);
    if (memchr(line.data, 0, line.size) || !utf8_valid(line))
      return line_refuse("vocab.txt", id + 1, "no text in UTF-8", error);
    if (json_object_setn_new(vocabulary, (const char *)line.data, line.size, json_integer((json_int_t)id)) != 0)
      return no_memory(error);
  }
  return true;
}

/* Lines of two tokens, behind one with a version. */
static bool merges_read(struct slice text, json_t *merges, struct error *error) {
  for (size_t number = 1; text.size > 0; number++) {
    struct slice line = line_take(&text);
    if (line.size == 0 || (number == 1 && line.size > 8 && memcmp(line.data, "#version", 8) == 0)) continue;
    const uint8_t *space = memchr(line.data, ' ', line.size);
    if (!space || memchr(space + 1, ' ', line.size - (size_t)(space + 1 - line.data)))
      return line_refuse("merges.txt", number, "not two tokens with a space between", error);
    if (!utf8_valid(line)) return line_refuse("merges.txt", number, "no text in UTF-8", error);
    if (json_array_append_new(merges, json_stringn((const char *)line.data, line.size)) != 0) return no_memory(error);
  }
  return true;
}

static bool units_read(const struct classic_vocabulary *files, json_t **vocabulary, struct error *error) {
  *vocabulary = json_parse(files->units, error);
  if (!*vocabulary) return error_prefix(error, "vocab.json: ");
  return json_is_object(*vocabulary) || error_set(error, ERROR_FORMAT, "vocab.json holds no JSON object.");
}

/* --- tokenizer.json ----------------------------------------------------------------------------------------------- */

static json_t *model_make(const struct classic_vocabulary *files, const struct class *class, struct error *error) {
  json_t *vocabulary = NULL, *merges = json_array();
  bool ok = class->words ? words_read(files->words, vocabulary = json_object(), error)
                         : units_read(files, &vocabulary, error) && merges_read(files->merges, merges, error);
  json_t *model = NULL;
  const char *unknown = special_of(files, class, UNKNOWN);
  if (ok && class->words)
    model = json_pack("{s:s, s:s, s:s, s:i, s:O}", "type", "WordPiece", "unk_token", unknown,
                      "continuing_subword_prefix", "##", "max_input_chars_per_word", 100, "vocab", vocabulary);
  else if (ok)
    model = json_pack("{s:s, s:n, s:n, s:s, s:s, s:b, s:b, s:O, s:O}", "type", "BPE", "dropout", "unk_token",
                      "continuing_subword_prefix", "", "end_of_word_suffix", "", "fuse_unk", 0, "byte_fallback", 0,
                      "vocab", vocabulary, "merges", merges);
  if (ok && !model) no_memory(error);
  json_decref(vocabulary);
  json_decref(merges);
  return model;
}

static json_t *normalizer_make(const struct classic_vocabulary *files) {
  const json_t *accents = json_object_get(files->settings, "strip_accents");
  json_t *strip = json_is_boolean(accents) ? json_boolean(json_is_true(accents)) : json_null();
  return json_pack("{s:s, s:b, s:b, s:o, s:b}", "type", "BertNormalizer", "clean_text", 1, "handle_chinese_chars",
                   flag_of(files, "tokenize_chinese_chars", true), "strip_accents", strip, "lowercase",
                   flag_of(files, "do_lower_case", true));
}

static json_t *byte_level_make(const struct classic_vocabulary *files) {
  return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space",
                   flag_of(files, "add_prefix_space", false), "trim_offsets", 1, "use_regex", 1);
}

/* A special token's id; false: it is not in the vocabulary. */
static bool id_find(const json_t *model, const char *token, json_int_t *id) {
  const json_t *found = token ? json_object_get(json_object_get(model, "vocab"), token) : NULL;
  *id = json_integer_value(found);
  return json_is_integer(found);
}

/* --- tokens beside the vocabulary ----------------------------------------------------------------------------------
 */

static bool added_flag(const json_t *value, const char *key, bool usual) {
  const json_t *flag = json_object_get(value, key);
  return json_is_boolean(flag) ? json_is_true(flag) : usual;
}

/* Puts it among `tokens`, by its text; `value` may be an object that describes it. */
static bool token_put(json_t *tokens, json_int_t id, const char *text, const json_t *value, bool special,
                      struct error *error) {
  json_t *token =
      json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", text, "single_word",
                added_flag(value, "single_word", false), "lstrip", added_flag(value, "lstrip", false), "rstrip",
                added_flag(value, "rstrip", false), "normalized", added_flag(value, "normalized", !special), "special",
                added_flag(value, "special", special));
  return (token && json_object_set_new(tokens, text, token) == 0) || no_memory(error);
}

/* added_tokens_decoder (id: {"content": text}) or added_tokens.json (text: id): each as of the latter. */
static bool extra_read(const char *key, const json_t *value, bool decoder, const char **text, json_int_t *id) {
  const json_t *content = json_object_get(value, "content");
  char *end = NULL;
  *text = decoder ? json_string_value(content) : key;
  *id = decoder ? strtoll(key, &end, 10) : json_integer_value(value);
  bool whole = decoder ? end != key && *end == '\0' : json_is_integer(value);
  return whole && *text && **text && (!decoder || strlen(*text) == json_string_length(content)) && *id >= 0 &&
         *id < LIMIT_VOCAB;
}

/* Those that the vocabulary lacks come behind it, one id after the other. */
static bool extras_add(const struct classic_vocabulary *files, const json_t *model, json_t *tokens,
                       struct error *error) {
  const json_t *vocabulary = json_object_get(model, "vocab");
  json_t *list = json_object_get(files->settings, DECODER), *value, *ids = json_object();
  bool decoder = list != NULL, ok = true;
  const char *key, *text, *file = decoder ? "tokenizer_config.json: " DECODER : "added_tokens.json";
  json_int_t id, own, most = -1, size = (json_int_t)json_object_size(vocabulary);
  if (!decoder) list = (json_t *)(uintptr_t)files->added;
  json_object_foreach(list, key, value) {
    char number[32];
    if (!extra_read(key, value, decoder, &text, &id)) {
      ok = error_set(error, ERROR_FORMAT, "%s has \"%.60s\", expected texts of tokens and ids below %d.", file, key,
                     LIMIT_VOCAB);
      break;
    }
    bool known = id_find(model, text, &own);
    snprintf(number, sizeof number, "%lld", (long long)id);
    if ((known && own != id) || (!known && (id < size || json_object_get(ids, number)))) {
      ok = error_set(error, ERROR_FORMAT, "%s: the token \"%.60s\" has id %lld, which is another's.", file, text,
                     (long long)id);
      break;
    }
    if (!known && id > most) most = id;
    ok = (known || json_object_set_new(ids, number, json_true()) == 0 || no_memory(error)) &&
         token_put(tokens, id, text, value, false, error);
    if (!ok) break;
  }
  json_int_t n = (json_int_t)json_object_size(ids);
  json_decref(ids);
  if (ok && n > 0 && most != size + n - 1)
    return error_set(error, ERROR_FORMAT, "%s: the greatest id is %lld, expected %lld: the vocabulary's %lld and %lld.",
                     file, (long long)most, (long long)(size + n - 1), (long long)size, (long long)n);
  return ok;
}

/* `text` is that of `value`, or the class's own where the files say none: that may be absent. */
static bool special_add(const json_t *model, json_t *tokens, const json_t *value, const char *text,
                        struct error *error) {
  json_int_t id;
  const json_t *known = text ? json_object_get(tokens, text) : NULL;
  if (known)
    id = json_integer_value(json_object_get(known, "id"));
  else if (!id_find(model, text, &id))
    return !value || error_set(error, ERROR_UNSUPPORTED,
                               "The special token \"%.60s\" is neither in the vocabulary nor in added_tokens.json.",
                               text ? text : "");
  return token_put(tokens, id, text, value, true, error);
}

static bool specials_add(const struct classic_vocabulary *files, const struct class *class, const json_t *model,
                         json_t *tokens, struct error *error) {
  bool decoder = json_object_get(files->settings, DECODER) != NULL;
  const json_t *more = said_of(files, "additional_special_tokens");
  for (int i = 0; i < SPECIALS; i++) {
    const json_t *value = said_of(files, special_keys[class->frame][i]);
    const char *text = special_of(files, class, i);
    bool said = json_is_string(value) || json_is_object(value), known = text && json_object_get(tokens, text);
    if (!(decoder && known) && !special_add(model, tokens, said ? value : NULL, text, error)) return false;
  }
  for (size_t i = 0; i < json_array_size(more); i++) {
    const json_t *value = json_array_get(more, i);
    const char *text = special_text(value);
    if (!(text && json_object_get(tokens, text)) && !special_add(model, tokens, value, text, error)) return false;
  }
  return true;
}

/* By their texts; NULL with a sentence. */
static json_t *tokens_make(const struct classic_vocabulary *files, const struct class *class, const json_t *model,
                           struct error *error) {
  json_t *tokens = json_object();
  if (tokens && extras_add(files, model, tokens, error) && specials_add(files, class, model, tokens, error))
    return tokens;
  if (!tokens) no_memory(error);
  json_decref(tokens);
  return NULL;
}

static json_t *added_make(json_t *tokens) {
  json_t *added = json_array(), *token;
  const char *text;
  json_object_foreach(tokens, text, token) if (json_array_append(added, token) != 0) {
    json_decref(added);
    return NULL;
  }
  return added;
}

/* Of a token that stands around a text. */
static bool frame_find(const json_t *model, const json_t *tokens, const char *text, json_int_t *id) {
  if (id_find(model, text, id)) return true;
  const json_t *found = json_object_get(json_object_get(tokens, text), "id");
  *id = json_integer_value(found);
  return found != NULL;
}

static json_t *post_make(const struct classic_vocabulary *files, const struct class *class, const json_t *model,
                         const json_t *tokens, struct error *error) {
  const char *begin = special_of(files, class, BEGIN), *end = special_of(files, class, END);
  json_int_t first, last;
  if (!class->frame) return json_null();
  if (!frame_find(model, tokens, begin, &first) || !frame_find(model, tokens, end, &last)) {
    error_set(error, ERROR_FORMAT, "%s has no token \"%.60s\" or \"%.60s\", which stand around a text.",
              class->words ? "vocab.txt" : "vocab.json", begin, end);
    return NULL;
  }
  json_t *post = json_pack("{s:s, s:[s,I], s:[s,I], s:b, s:b}", "type",
                           class->words ? "BertProcessing" : "RobertaProcessing", "sep", end, last, "cls", begin, first,
                           "trim_offsets", 1, "add_prefix_space", flag_of(files, "add_prefix_space", false));
  if (!post) no_memory(error);
  return post;
}

bool classic_vocabulary_convert(const struct classic_vocabulary *files, json_t **tokenizer, struct error *error) {
  const struct class *class = class_find(files);
  *tokenizer = NULL;
  if (!class || (class->words ? !files->words.data : !files->units.data || !files->merges.data)) return true;
  json_t *model = model_make(files, class, error), *tokens = model ? tokens_make(files, class, model, error) : NULL;
  json_t *post = tokens ? post_make(files, class, model, tokens, error) : NULL;
  if (!post) {
    json_decref(tokens);
    json_decref(model);
    return false;
  }
  json_t *decoder = class->words ? json_pack("{s:s, s:s, s:b}", "type", "WordPiece", "prefix", "##", "cleanup", 1)
                                 : byte_level_make(files);
  json_t *split = class->words ? json_pack("{s:s}", "type", "BertPreTokenizer") : byte_level_make(files);
  *tokenizer =
      json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                "added_tokens", added_make(tokens), "normalizer", class->words ? normalizer_make(files) : json_null(),
                "pre_tokenizer", split, "post_processor", post, "decoder", decoder, "model", model);
  json_decref(tokens);
  return *tokenizer || no_memory(error);
}
