/* BertTokenizer reads vocab.txt: WordPiece of words that are cut at spaces and marks. RobertaTokenizer and
 * GPT2Tokenizer read vocab.json and merges.txt: BPE of bytes. SentencePiece models are classic_pieces.c's. */
#include "model/classic_vocabulary.h"

#include "base/limits.h"
#include "base/utf8.h"
#include "model/classic_added.h"
#include "model/classic_pieces.h"

#include <stdio.h>
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
    {"ElectraTokenizer", "electra", true, true, {"[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"}},
    {"BertTokenizer", "nomic_bert", true, true, {"[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"}},
    {"RobertaTokenizer", "roberta", false, true, {"<unk>", "<s>", "</s>", "<mask>", "<pad>"}},
    {"GPT2Tokenizer", "gpt2", false, false, {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL, NULL}},
};

/* tokenizer_config.json's and special_tokens_map.json's keys for them. */
static const char *const special_keys[][SPECIALS] = {
    {"unk_token", "bos_token", "eos_token", "mask_token", "pad_token"},
    {"unk_token", "cls_token", "sep_token", "mask_token", "pad_token"}};

static const struct class *class_find(const struct classic_vocabulary *files) {
  const char *name = json_string_value(json_object_get(files->settings, "tokenizer_class"));
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
    if (name ? classic_class_named(classes[i].name, name) : slice_is(files->model_type, classes[i].model_type))
      return &classes[i];
  return NULL;
}

/* --- settings ----------------------------------------------------------------------------------------------------- */

static bool flag_of(const struct classic_vocabulary *files, const char *key, bool usual) {
  const json_t *value = json_object_get(files->settings, key);
  return json_is_boolean(value) ? json_is_true(value) : usual;
}

static const char *special_of(const struct classic_vocabulary *files, const struct class *class, int which) {
  return classic_special(files, special_keys[class->frame][which], class->special[which]);
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

static json_t *tokens_make(const struct classic_vocabulary *files, const struct class *class, const json_t *model,
                           struct error *error) {
  return classic_added_make(files, model, special_keys[class->frame], class->special, SPECIALS, error);
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
  if (classic_id_find(model, text, id)) return true;
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
  if (!class || (class->words ? !files->words.data : !files->units.data || !files->merges.data))
    return !files->pieces.data || classic_pieces_convert(files, tokenizer, error);
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
