/* tokenizer.json to a spec: the model's vocabulary and merges, added tokens, what is put around a text. */
#include "text/tokenizer_json.h"

#include "text/byte_level.h"
#include "text/normalize.h"

#include <stdio.h>
#include <string.h>

static bool malformed(const char *what, struct error *error) {
  return error_set(error, ERROR_FORMAT, "The tokenizer.json is malformed: %s.", what);
}

/* --- model ---------------------------------------------------------------------------------------------------- */

static bool read_model_flags(struct tokenizer_spec *spec, const json_t *model, struct error *error) {
  struct slice type = json_type_of(model);
  if (!json_is_object(model)) return malformed("it has no model", error);
  if (!slice_is(type, "BPE") && (type.size || !json_object_get(model, "merges")))
    return error_set(error, ERROR_UNSUPPORTED, "The tokenizer's model '%.*s' is not supported; BPE is.",
                     SLICE_ARGS(type));
  static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
  for (int i = 0; i < 2; i++)
    if (json_take_text(model, affixes[i]).size)
      return error_set(error, ERROR_UNSUPPORTED,
                       "The tokenizer's BPE model has a non-empty %s, which is not supported.", affixes[i]);
  if (json_number_value(json_object_get(model, "dropout")) != 0)
    return error_set(error, ERROR_UNSUPPORTED, "The tokenizer's BPE model has a dropout, which is not supported.");
  if (json_take_bool(model, "byte_fallback", false)) spec->flags |= MODEL_BYTE_FALLBACK;
  if (json_take_bool(model, "fuse_unk", false)) spec->flags |= MODEL_FUSE_UNKNOWN;
  if (json_take_bool(model, "ignore_merges", false)) spec->flags |= MODEL_IGNORE_MERGES;
  if (spec->flags & MODEL_BYTE_LEVEL && spec->flags & MODEL_BYTE_FALLBACK)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The tokenizer is byte-level with byte fallback, which is not supported.");
  return true;
}

/* The number of ids: one more than the highest of the vocabulary and the added tokens. */
static bool count_tokens(const json_t *vocab, const json_t *added, size_t *count, struct error *error) {
  json_int_t highest = -1;
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

static bool read_vocab(struct tokenizer_spec *spec, const json_t *vocab, struct error *error) {
  void *entry;
  for (entry = json_object_iter((json_t *)vocab); entry; entry = json_object_iter_next((json_t *)vocab, entry)) {
    uint32_t id = (uint32_t)json_integer_value(json_object_iter_value(entry));
    struct slice text = slice_make(json_object_iter_key(entry), json_object_iter_key_len(entry));
    if (spec->tokens[id].bytes.data)
      return error_set(error, ERROR_FORMAT, "Two tokens have the id %u; '%.*s' is one of them.", id, SLICE_ARGS(text));
    if (!spec_text_token(spec, id, text, error)) return false;
  }
  return true;
}

/* A merge's half as the source writes it, in the tokens' form of bytes; data NULL when out of memory. */
static struct slice merge_half(struct tokenizer_spec *spec, struct slice written) {
  if (spec->flags & MODEL_SPACE_MARKED) return spec_replaced(spec, written, SPACE_MARK, " ");
  uint8_t *room = arena_alloc(&spec->arena, written.size + 1);
  size_t size;
  return room && byte_level_decode(written, room, &size) ? slice_make(room, size) : written;
}

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

static bool read_merges(struct tokenizer_spec *spec, const json_t *merges, struct error *error) {
  size_t rank;
  const json_t *merge;
  if (!json_is_array(merges)) return malformed("its model has no list of merges", error);
  if (!spec_reserve_merges(spec, json_array_size(merges), error)) return false;
  json_array_foreach(merges, rank, merge) {
    struct slice left, right;
    if (!merge_halves(merge, &left, &right))
      return error_set(error, ERROR_FORMAT, "Merge %zu of the tokenizer is not a pair of tokens.", rank);
    left = merge_half(spec, left);
    right = merge_half(spec, right);
    if (!left.data || !right.data) return spec_out_of_memory(error);
    if (!spec_merge(spec, left, right, (uint32_t)rank, error)) return false;
  }
  return true;
}

/* --- added tokens --------------------------------------------------------------------------------------------- */

/* What a normalized added token is looked for as: its text through the normalizer, in the arena. */
static bool normalized_text(struct tokenizer_spec *spec, struct slice text, struct slice *out, struct error *error) {
  struct buffer buffer;
  buffer_init(&buffer, LIMIT_TOKENIZER_BYTES);
  bool done = true;
  *out = text;
  for (int i = 0; done && i < spec->n_step && step_normalizes(spec->steps[i].kind); i++) {
    struct slice result;
    done = normalize_step(spec->steps[i].kind, spec->steps[i].a, spec->steps[i].b, *out, &buffer, &result);
    if (done) *out = spec_copy(spec, result);
    done = done && out->data;
  }
  buffer_release(&buffer);
  return done || spec_out_of_memory(error);
}

static unsigned added_flags(const json_t *token) {
  bool special = json_take_bool(token, "special", false);
  return (special ? ADDED_SPECIAL : 0u) | (json_take_bool(token, "lstrip", false) ? ADDED_LSTRIP : 0u) |
         (json_take_bool(token, "rstrip", false) ? ADDED_RSTRIP : 0u) |
         (json_take_bool(token, "single_word", false) ? ADDED_SINGLE_WORD : 0u) |
         (json_take_bool(token, "normalized", !special) ? ADDED_NORMALIZED : 0u);
}

static bool read_added_token(struct tokenizer_spec *spec, const json_t *token, struct error *error) {
  struct slice text = json_take_text(token, "content"), looked_for;
  uint32_t id = (uint32_t)json_integer_value(json_object_get(token, "id"));
  if (!text.data) return error_set(error, ERROR_FORMAT, "Added token %u has no content.", id);
  if (text.size == 0) return true;
  unsigned flags = added_flags(token);
  struct slice shown = spec_copy(spec, text);
  looked_for = shown;
  if (!shown.data) return spec_out_of_memory(error);
  if (flags & ADDED_NORMALIZED && !normalized_text(spec, shown, &looked_for, error)) return false;
  if (shown.size > LIMIT_TOKEN_BYTES || looked_for.size > LIMIT_TOKEN_BYTES)
    return error_set(error, ERROR_LIMIT, "Added token %u has %zu bytes, more than the %d allowed.", id, shown.size,
                     LIMIT_TOKEN_BYTES);
  if (!(flags & ADDED_SPECIAL)) shown = looked_for; /* a marker keeps its name */
  struct token_spec *known = &spec->tokens[id];
  if (flags & ADDED_SPECIAL)
    *known = (struct token_spec){shown, TOKEN_SPECIAL};
  else if (!known->bytes.data)
    *known = (struct token_spec){shown, 0};
  if (looked_for.size) spec->added[spec->n_added++] = (struct added_spec){looked_for, id, flags};
  return true;
}

static bool read_added(struct tokenizer_spec *spec, const json_t *list, struct error *error) {
  size_t i;
  const json_t *token;
  if (json_array_size(list) > LIMIT_VOCAB)
    return error_set(error, ERROR_LIMIT, "The tokenizer has %zu added tokens, more than the %d allowed.",
                     json_array_size(list), LIMIT_VOCAB);
  spec->added = arena_array(&spec->arena, json_array_size(list) + 1, sizeof *spec->added);
  if (!spec->added) return spec_out_of_memory(error);
  json_array_foreach(list, i, token) {
    if (!read_added_token(spec, token, error)) return false;
  }
  return true;
}

/* --- around the text ------------------------------------------------------------------------------------------ */

static bool add_around(struct tokenizer_spec *spec, const json_t *ids, bool after, struct error *error) {
  size_t i;
  const json_t *id;
  int *count = after ? &spec->n_suffix : &spec->n_prefix;
  int32_t *out = after ? spec->suffix : spec->prefix;
  if (json_array_size(ids) == 0) return malformed("its post-processor names a special token without ids", error);
  json_array_foreach(ids, i, id) {
    json_int_t value = json_integer_value(id);
    if (!json_is_integer(id) || value < 0 || (size_t)value >= spec->n_token || *count == TOKENIZER_AROUND_MAX)
      return malformed("its post-processor puts too many tokens or unknown ones around a text", error);
    out[(*count)++] = (int32_t)value;
  }
  return true;
}

static bool read_template(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  const json_t *single = json_object_get(component, "single"), *element;
  size_t i;
  bool after = false;
  json_array_foreach(single, i, element) {
    struct slice name = json_take_text(json_object_get(element, "SpecialToken"), "id");
    if (!name.data) {
      if (after || !json_object_get(element, "Sequence"))
        return malformed("its post-processor's template is not one text with special tokens around it", error);
      after = true;
      continue;
    }
    const json_t *tokens = json_object_get(component, "special_tokens");
    const json_t *token = json_object_getn(tokens, (const char *)name.data, name.size);
    if (!add_around(spec, json_object_get(token, "ids"), after, error)) return false;
  }
  return after || malformed("its post-processor's template has no text", error);
}

/* *templated: a template says what is around a text. */
static bool read_post_processor(struct tokenizer_spec *spec, const json_t *component, bool *templated,
                                struct error *error) {
  struct slice type = json_type_of(component);
  if (!component || json_is_null(component) || slice_is(type, "ByteLevel")) return true;
  if (slice_is(type, "Sequence")) {
    size_t i;
    const json_t *element;
    json_array_foreach(json_object_get(component, "processors"), i, element) {
      if (!read_post_processor(spec, element, templated, error)) return false;
    }
    return true;
  }
  if (!slice_is(type, "TemplateProcessing"))
    return error_set(error, ERROR_UNSUPPORTED, "The tokenizer's post-processor '%.*s' is not supported.",
                     SLICE_ARGS(type));
  *templated = true;
  return read_template(spec, component, error);
}

/* --- special tokens of tokenizer_config.json ------------------------------------------------------------------- */

static int32_t find_added(const struct tokenizer_spec *spec, struct slice text) {
  for (size_t id = 0; text.data && id < spec->n_token; id++)
    if (spec->tokens[id].flags & TOKEN_SPECIAL && slice_equal(spec->tokens[id].bytes, text)) return (int32_t)id;
  uint32_t id = text.data ? spec_find(spec, text) : TOKEN_NONE;
  return (int32_t)id; /* TOKEN_NONE is -1 */
}

/* "<s>" or {"content": "<s>", ...}. */
static int32_t config_token(const struct tokenizer_spec *spec, const json_t *config, const char *key) {
  struct slice text = json_take_text(config, key);
  return find_added(spec, text.data ? text : json_take_text(json_object_get(config, key), "content"));
}

static void read_config(struct tokenizer_spec *spec, const json_t *config, bool templated) {
  spec->bos = config_token(spec, config, "bos_token");
  spec->eos = config_token(spec, config, "eos_token");
  spec->pad = config_token(spec, config, "pad_token");
  if (spec->bos < 0 && spec->n_prefix > 0) spec->bos = spec->prefix[0];
  spec_end(spec, spec->eos);
  spec_end_by_name(spec);
  if (spec->eos < 0 && spec->n_end > 0) spec->eos = spec->end[0];
  if (!templated && json_take_bool(config, "add_bos_token", false) && spec->bos >= 0)
    spec->prefix[spec->n_prefix++] = spec->bos;
  if (!templated && json_take_bool(config, "add_eos_token", false) && spec->eos >= 0)
    spec->suffix[spec->n_suffix++] = spec->eos;
}

/* --- whole ---------------------------------------------------------------------------------------------------- */

static bool read_root(struct tokenizer_spec *spec, const json_t *root, const json_t *config, struct error *error) {
  const json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
  const json_t *added = json_object_get(root, "added_tokens");
  size_t count = 0;
  bool templated = false;
  if (!json_read_steps(spec, root, error) || !read_model_flags(spec, model, error)) return false;
  if (!json_is_object(vocab)) return malformed("its model has no vocabulary", error);
  if (!count_tokens(vocab, added, &count, error) || !spec_reserve_tokens(spec, count, error) ||
      !read_vocab(spec, vocab, error) || !read_added(spec, added, error) || !spec_index(spec, error) ||
      !read_merges(spec, json_object_get(model, "merges"), error) ||
      !read_post_processor(spec, json_object_get(root, "post_processor"), &templated, error))
    return false;
  spec->unk = find_added(spec, json_take_text(model, "unk_token"));
  read_config(spec, config, templated);
  if (spec->flags & MODEL_BYTE_LEVEL) spec_byte_tokens(spec);
  if (!(spec->flags & MODEL_BYTE_LEVEL) && spec_space_starts(spec)) spec->flags |= MODEL_SPACE_STARTS;
  snprintf(spec->name, sizeof spec->name, "%s BPE", spec->flags & MODEL_BYTE_LEVEL ? "byte-level" : "SentencePiece");
  return true;
}

/* A pattern that does not compile is found when the tokenizer is built, not when it serves. */
static bool opens(struct slice blob, struct error *error) {
  struct tokenizer *tokenizer = tokenizer_open(blob, error);
  tokenizer_close(tokenizer);
  return tokenizer;
}

bool tokenizer_compile_json(struct slice tokenizer_json, struct slice tokenizer_config_json, struct buffer *blob,
                            struct error *error) {
  json_t *root = json_parse(tokenizer_json, error), *config = NULL;
  if (!root) return error_prefix(error, "tokenizer.json: ");
  if (tokenizer_config_json.size && !(config = json_parse(tokenizer_config_json, error))) {
    json_decref(root);
    return error_prefix(error, "tokenizer_config.json: ");
  }
  struct tokenizer_spec spec;
  spec_init(&spec);
  bool done = read_root(&spec, root, config, error) && tokenizer_blob_write(&spec, blob, error) &&
              opens(buffer_slice(blob), error);
  spec_release(&spec);
  json_decref(root);
  json_decref(config);
  return done;
}
