/* The model of a tokenizer.json to a spec: its kind, vocabulary, scores and merges. */
#include "text/tokenizer_json.h"

#include "text/byte_level.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool malformed(const char *what, struct error *error) {
  return error_set(error, ERROR_FORMAT, "The tokenizer.json is malformed: %s.", what);
}

/* What a part of a token's name, or of a merge, stands for; data NULL when out of memory. */
static struct slice token_bytes(struct tokenizer_spec *spec, struct slice written) {
  if (spec->flags & MODEL_SPACE_MARKED) return spec_replaced(spec, written, SPACE_MARK, " ");
  if (!(spec->flags & MODEL_BYTE_LEVEL)) return spec_copy(spec, written);
  uint8_t *room = arena_alloc(&spec->arena, written.size + 1);
  size_t size;
  return room && byte_level_decode(written, room, &size) ? slice_make(room, size) : written;
}

/* With a space in place of the suffix of words, where decoding makes it one. */
static struct slice suffix_spaced(struct tokenizer_spec *spec, struct slice written) {
  size_t suffix = spec->word_suffix.size;
  if (!(spec->flags & MODEL_SPACE_ENDS) || spec->flags & MODEL_WRITTEN || written.size < suffix ||
      memcmp(written.data + written.size - suffix, spec->word_suffix.data, suffix) != 0)
    return written;
  struct slice spaced = spec_copy(spec, slice_make(written.data, written.size - suffix + 1));
  if (spaced.data) ((uint8_t *)spaced.data)[spaced.size - 1] = ' ';
  return spaced;
}

/* --- kind and flags --------------------------------------------------------------------------------------------- */

static void read_suffix(struct tokenizer_spec *spec, const json_t *model) {
  struct slice suffix = json_take_text(model, "end_of_word_suffix");
  if (spec->model == MODEL_BPE && suffix.data) spec->word_suffix = suffix;
}

bool json_read_kind(struct tokenizer_spec *spec, const json_t *model, struct error *error) {
  static const char *const kinds[MODEL_KINDS] = {[MODEL_BPE] = "BPE",
                                                 [MODEL_UNIGRAM] = "Unigram",
                                                 [MODEL_WORDPIECE] = "WordPiece",
                                                 [MODEL_WORDLEVEL] = "WordLevel"};
  struct slice type = json_type_of(model);
  if (!json_is_object(model)) return malformed("it has no model", error);
  for (int kind = 0; kind < MODEL_KINDS; kind++) {
    spec->model = (enum model_kind)kind;
    if (!slice_is(type, kinds[kind])) continue;
    read_suffix(spec, model);
    return true;
  }
  spec->model = MODEL_BPE; /* old files name no kind */
  read_suffix(spec, model);
  if (type.size == 0 && json_object_get(model, "merges")) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "The tokenizer's model '%.*s' is not supported; BPE, Unigram, WordPiece and WordLevel are.",
                   SLICE_ARGS(type));
}

/* What stands before a token that begins no word, and behind one that ends one: its letters' bytes, like a token's. */
static bool read_affixes(struct tokenizer_spec *spec, const json_t *model, struct error *error) {
  struct slice prefix = json_take_text(model, "continuing_subword_prefix"), suffix = spec->word_suffix;
  if (prefix.size + suffix.size == 0) return true;
  if (spec->flags & (MODEL_SPACE_MARKED | MODEL_BYTE_FALLBACK) && !(spec->flags & MODEL_WRITTEN))
    return json_unfit(error);
  if (spec->flags & MODEL_BYTE_LEVEL && spec->flags & MODEL_SPACE_ENDS) return json_unfit(error);
  if (spec->flags & MODEL_SPACE_ENDS) suffix = slice_text(" ");
  prefix = token_bytes(spec, prefix);
  suffix = token_bytes(spec, suffix);
  if (!prefix.data || !suffix.data) return spec_out_of_memory(error);
  if (prefix.size > LIMIT_AFFIX_BYTES || suffix.size > LIMIT_AFFIX_BYTES)
    return error_set(error, ERROR_LIMIT, "An affix of the tokenizer's BPE model has more than the %d bytes allowed.",
                     LIMIT_AFFIX_BYTES);
  spec->prefix_bytes = prefix.size;
  return spec_step(spec, (struct step_spec){.kind = STEP_AFFIXES, .a = prefix, .b = suffix}, error);
}

/* A dropout is for training: without it a text has one encoding. */
static bool read_bpe_flags(struct tokenizer_spec *spec, const json_t *model, struct error *error) {
  if (json_take_bool(model, "fuse_unk", false)) spec->flags |= MODEL_FUSE_UNKNOWN;
  if (json_take_bool(model, "ignore_merges", false)) spec->flags |= MODEL_IGNORE_MERGES;
  bool plain = spec->flags & (MODEL_BYTE_LEVEL | MODEL_SPACE_MARKED | MODEL_SPACE_ENDS);
  return plain || spec->flags & MODEL_WRITTEN ? read_affixes(spec, model, error) : json_unfit(error);
}

static struct slice word_prefix(const json_t *model) {
  struct slice prefix = json_take_text(model, "continuing_subword_prefix");
  return prefix.data ? prefix : slice_text("##");
}

static bool read_word_flags(struct tokenizer_spec *spec, const json_t *model, struct error *error) {
  const json_t *most = json_object_get(model, "max_input_chars_per_word");
  json_int_t chars = json_is_integer(most) ? json_integer_value(most) : 100;
  if (chars < 1 || chars > LIMIT_WORD_CHARS)
    return error_set(error, ERROR_LIMIT, "The tokenizer's words may have %lld characters, expected 1 to %d.",
                     (long long)chars, LIMIT_WORD_CHARS);
  spec->word_chars = (uint32_t)chars;
  if (!(spec->flags & MODEL_WRITTEN)) spec->flags |= MODEL_STRIP_SPACE;
  if (!(spec->flags & MODEL_WRITTEN) || spec->model != MODEL_WORDPIECE) return true;
  struct slice prefix = word_prefix(model);
  if (prefix.size > LIMIT_AFFIX_BYTES)
    return error_set(error, ERROR_LIMIT,
                     "The prefix of the tokenizer's WordPiece model has more than the %d bytes allowed.",
                     LIMIT_AFFIX_BYTES);
  return spec_step(spec, (struct step_spec){.kind = STEP_AFFIXES, .a = prefix}, error);
}

bool json_read_flags(struct tokenizer_spec *spec, const json_t *model, struct error *error) {
  bool words = spec->model == MODEL_WORDPIECE || spec->model == MODEL_WORDLEVEL;
  bool written = spec->flags & MODEL_WRITTEN;
  if (words && spec->flags & (MODEL_BYTE_LEVEL | MODEL_SPACE_MARKED)) return json_unfit(error);
  bool plain_pieces = spec->drops_space && spec->parts_signs && slice_is(word_prefix(model), "##");
  if (spec->model == MODEL_WORDPIECE && !written && !plain_pieces) return json_unfit(error);
  if (json_take_bool(model, "byte_fallback", false)) spec->flags |= MODEL_BYTE_FALLBACK;
  if (spec->flags & MODEL_BYTE_LEVEL && spec->flags & MODEL_BYTE_FALLBACK) return json_unfit(error);
  if (spec->flags & MODEL_BYTE_LEVEL && spec->model == MODEL_UNIGRAM) return json_unfit(error);
  if (spec->mark_waits) return json_unfit(error);
  if (spec->model == MODEL_BPE) return read_bpe_flags(spec, model, error);
  return !words || read_word_flags(spec, model, error);
}

void json_name(struct tokenizer_spec *spec) {
  static const char *const names[MODEL_KINDS] = {
      [MODEL_UNIGRAM] = "Unigram", [MODEL_WORDPIECE] = "WordPiece", [MODEL_WORDLEVEL] = "WordLevel"};
  const char *bpe = spec->flags & MODEL_BYTE_LEVEL                     ? "byte-level BPE"
                    : spec->flags & (MODEL_SPACE_ENDS | MODEL_WRITTEN) ? "BPE"
                                                                       : "SentencePiece BPE";
  snprintf(spec->name, sizeof spec->name, "%s", spec->model == MODEL_BPE ? bpe : names[spec->model]);
}

/* --- vocabulary ------------------------------------------------------------------------------------------------- */

/* The number of ids: one more than the highest of the vocabulary and the added tokens. */
bool json_count_tokens(const struct tokenizer_spec *spec, const json_t *model, const json_t *added, size_t *count,
                       struct error *error) {
  const json_t *vocab = json_object_get(model, "vocab");
  bool listed = spec->model == MODEL_UNIGRAM;
  if (listed ? !json_is_array(vocab) : !json_is_object(vocab)) return malformed("its model has no vocabulary", error);
  json_int_t highest = (json_int_t)json_array_size(vocab) - 1; /* a list's ids are its places */
  void *entry;
  for (entry = json_object_iter((json_t *)vocab); entry; entry = json_object_iter_next((json_t *)vocab, entry)) {
    const json_t *id = json_object_iter_value(entry);
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= LIMIT_VOCAB)
      return error_set(error, ERROR_FORMAT, "The id of the token '%.100s' is not a number from 0 to %d.",
                       json_object_iter_key(entry), LIMIT_VOCAB - 1);
    if (json_integer_value(id) > highest) highest = json_integer_value(id);
  }
  size_t i;
  const json_t *token;
  json_array_foreach(added, i, token) {
    const json_t *id = json_object_get(token, "id");
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= LIMIT_VOCAB)
      return error_set(error, ERROR_FORMAT, "The id of added token %zu is not a number from 0 to %d.", i,
                       LIMIT_VOCAB - 1);
    if (json_integer_value(id) > highest) highest = json_integer_value(id);
  }
  *count = (size_t)(highest + 1);
  return true;
}

/* "##ing" continues a word, "the" begins one; all of WordLevel's do. */
static bool read_word(struct tokenizer_spec *spec, const json_t *model, uint32_t id, struct slice text,
                      struct error *error) {
  struct slice prefix = word_prefix(model);
  bool continues = spec->model == MODEL_WORDPIECE && prefix.size > 0 && text.size >= prefix.size &&
                   memcmp(text.data, prefix.data, prefix.size) == 0;
  if (continues) text = slice_make(text.data + prefix.size, text.size - prefix.size);
  return spec_word_token(spec, id, text, !continues, error);
}

static bool read_token(struct tokenizer_spec *spec, const json_t *model, uint32_t id, struct slice text,
                       struct error *error) {
  if (spec->tokens[id].bytes.data)
    return error_set(error, ERROR_FORMAT, "Two tokens have the id %u; '%.*s' is one of them.", id, SLICE_ARGS(text));
  bool words = spec->model == MODEL_WORDPIECE || spec->model == MODEL_WORDLEVEL;
  if (spec->flags & MODEL_WRITTEN) return spec_text_token(spec, id, text, error);
  if (spec->flags & MODEL_SPACE_ENDS && memchr(text.data, ' ', text.size)) return json_unfit(error);
  text = suffix_spaced(spec, text);
  if (!text.data) return spec_out_of_memory(error);
  return words ? read_word(spec, model, id, text, error) : spec_text_token(spec, id, text, error);
}

/* The package `tokenizers` reads a number's digits as an integer and divides it by a power of ten, which rounds twice,
 * and cuts that are equally likely are told apart by that: so the digits, the fewest that give the number, are read
 * again here. */
static double score_rounded(double score) {
  char digits[40];
  int places = 0;
  do snprintf(digits, sizeof digits, "%.*e", places, score);
  while (strtod(digits, NULL) != score && ++places < 17);
  char *exponent = strchr(digits, 'e'), *point = strchr(digits, '.');
  int power = exponent ? (int)strtol(exponent + 1, NULL, 10) - places : 0;
  if (!point || power >= 0 || power < -22) return score; /* exact already */
  memmove(point, point + 1, (size_t)(exponent - point - 1));
  exponent[-1] = 0;
  double scale = 1;
  for (int i = 0; i > power; i--) scale *= 10; /* exact to 10²² */
  return (double)strtoll(digits, NULL, 10) / scale;
}

/* [["<unk>", 0.0], ["▁the", -3.2], ...] */
static bool read_scored(struct tokenizer_spec *spec, const json_t *model, struct error *error) {
  const json_t *vocab = json_object_get(model, "vocab"), *entry, *unknown = json_object_get(model, "unk_id");
  size_t id;
  spec->scores = arena_array(&spec->arena, spec->n_token, sizeof *spec->scores);
  if (!spec->scores) return spec_out_of_memory(error);
  json_array_foreach(vocab, id, entry) {
    const json_t *text = json_array_get(entry, 0), *score = json_array_get(entry, 1);
    if (!json_is_string(text) || !json_is_number(score) || !isfinite(json_number_value(score)))
      return error_set(error, ERROR_FORMAT, "Token %zu of the tokenizer is not a text with a score.", id);
    spec->scores[id] = score_rounded(json_number_value(score));
    if (!read_token(spec, model, (uint32_t)id, json_slice(text), error)) return false;
  }
  if (!json_is_integer(unknown)) return true;
  if (json_integer_value(unknown) < 0 || (size_t)json_integer_value(unknown) >= spec->n_token)
    return malformed("its model's unk_id is no token's", error);
  spec->unk = (int32_t)json_integer_value(unknown);
  return true;
}

bool json_read_vocab(struct tokenizer_spec *spec, const json_t *model, struct error *error) {
  if (spec->model == MODEL_UNIGRAM) return read_scored(spec, model, error);
  json_t *vocab = json_object_get(model, "vocab");
  struct slice unknown = json_take_text(model, "unk_token");
  for (void *entry = json_object_iter(vocab); entry; entry = json_object_iter_next(vocab, entry)) {
    uint32_t id = (uint32_t)json_integer_value(json_object_iter_value(entry));
    struct slice text = slice_make(json_object_iter_key(entry), json_object_iter_key_len(entry));
    if (!read_token(spec, model, id, text, error)) return false;
    if (spec->model != MODEL_BPE && unknown.data && slice_equal(text, unknown)) spec->unk = (int32_t)id;
  }
  return true;
}

/* --- merges ----------------------------------------------------------------------------------------------------- */

/* "left right" or ["left", "right"]. */
static bool merge_halves(const json_t *merge, struct slice *left, struct slice *right) {
  if (json_is_array(merge)) {
    const json_t *first = json_array_get(merge, 0), *second = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(first) || !json_is_string(second)) return false;
    *left = json_slice(first);
    *right = json_slice(second);
    return true;
  }
  if (!json_is_string(merge)) return false;
  struct slice text = json_slice(merge);
  const uint8_t *space = memchr(text.data, ' ', text.size);
  if (!space) return false;
  *left = slice_make(text.data, (size_t)(space - text.data));
  *right = slice_make(space + 1, text.size - left->size - 1);
  return !memchr(right->data, ' ', right->size);
}

bool json_read_merges(struct tokenizer_spec *spec, const json_t *model, struct error *error) {
  const json_t *merges = json_object_get(model, "merges");
  if (spec->model != MODEL_BPE) return true;
  size_t rank;
  const json_t *merge;
  if (!json_is_array(merges)) return malformed("its model has no list of merges", error);
  if (!spec_reserve_merges(spec, json_array_size(merges), error)) return false;
  json_array_foreach(merges, rank, merge) {
    struct slice left, right;
    if (!merge_halves(merge, &left, &right))
      return error_set(error, ERROR_FORMAT, "Merge %zu of the tokenizer is not a pair of tokens.", rank);
    left = token_bytes(spec, suffix_spaced(spec, left));
    right = token_bytes(spec, suffix_spaced(spec, right));
    if (!left.data || !right.data) return spec_out_of_memory(error);
    if (!spec_merge(spec, left, right, (uint32_t)rank, error)) return false;
  }
  return true;
}
