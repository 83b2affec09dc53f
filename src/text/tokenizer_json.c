/* tokenizer.json to a spec: added tokens, what is put around a text, and the order in which all of it is read. */
#include "text/tokenizer_json.h"

#include "text/normalize.h"

/* --- added tokens --------------------------------------------------------------------------------------------- */

/* The steps that normalize, for all added tokens: compiling a regex takes longer than using it. */
struct added_reader {
  struct tokenizer_spec *spec;
  struct normalizer normalizers[LIMIT_TOKENIZER_STEPS];
  int n_normalizer;
  struct split_match match;
};

static bool reader_open(struct added_reader *reader, struct error *error) {
  const struct tokenizer_spec *spec = reader->spec;
  for (int i = 0; i < spec->n_step && step_normalizes(spec->steps[i].kind); i++) {
    const struct step_spec *step = &spec->steps[i];
    struct normalizer *normalizer = &reader->normalizers[reader->n_normalizer++];
    *normalizer = (struct normalizer){.kind = step->kind, .mode = step->mode, .a = step->a, .b = step->b};
    if (!normalizer_open(normalizer, error)) return false;
  }
  return split_match_init(&reader->match) || spec_out_of_memory(error);
}

static void reader_close(struct added_reader *reader) {
  for (int i = 0; i < reader->n_normalizer; i++) normalizer_close(&reader->normalizers[i]);
  split_match_release(&reader->match);
}

/* What a normalized added token is looked for as: its text through the normalizer, in the arena. */
static bool normalized_text(struct added_reader *reader, struct slice text, struct slice *out, struct error *error) {
  struct buffer buffer;
  *out = text;
  buffer_init(&buffer, LIMIT_TOKENIZER_BYTES);
  bool done = true;
  for (int i = 0; done && i < reader->n_normalizer; i++) {
    done = normalize_step(&reader->normalizers[i], &reader->match, *out, &buffer, out, error);
    if (done) *out = spec_copy(reader->spec, *out);
    if (done && !out->data) done = spec_out_of_memory(error);
  }
  buffer_release(&buffer);
  return done;
}

static unsigned added_flags(const json_t *token) {
  bool special = json_take_bool(token, "special", false);
  return (special ? ADDED_SPECIAL : 0u) | (json_take_bool(token, "lstrip", false) ? ADDED_LSTRIP : 0u) |
         (json_take_bool(token, "rstrip", false) ? ADDED_RSTRIP : 0u) |
         (json_take_bool(token, "single_word", false) ? ADDED_SINGLE_WORD : 0u) |
         (json_take_bool(token, "normalized", !special) ? ADDED_NORMALIZED : 0u);
}

static bool word_model(const struct tokenizer_spec *spec) {
  return spec->model == MODEL_WORDPIECE || spec->model == MODEL_WORDLEVEL;
}

/* In the plain form a text has spaces for marks, and ends of words, when added tokens are looked for in it and shown.
 */
static bool added_fits(const struct tokenizer_spec *spec, struct slice content, unsigned flags) {
  bool marked = spec->flags & MODEL_SPACE_MARKED, spaced = content.size && memchr(content.data, ' ', content.size);
  if (spec->flags & MODEL_SPACE_ENDS && content.size && content.data[content.size - 1] == ' ') return false;
  if (!(flags & ADDED_NORMALIZED)) return true;
  if (spec->spells_text) return !(flags & (ADDED_LSTRIP | ADDED_RSTRIP | ADDED_SINGLE_WORD));
  if (!marked) return true;
  return !(flags & (ADDED_LSTRIP | ADDED_RSTRIP)) && !(spaced && spec->marks_pieces);
}

/* A marker keeps its name, another token is shown as what it is looked for. */
static bool added_shown(struct tokenizer_spec *spec, struct token_spec *known, struct slice content,
                        struct slice looked_for, unsigned flags, struct error *error) {
  bool marked = spec->flags & MODEL_SPACE_MARKED && !(flags & ADDED_SPECIAL), written = spec->flags & MODEL_WRITTEN;
  struct slice shown = flags & ADDED_SPECIAL ? content : looked_for;
  if (marked) shown = spec_replaced(spec, shown, SPACE_MARK, " ");
  if (marked) content = spec_replaced(spec, content, SPACE_MARK, " ");
  if (!shown.data || !content.data) return spec_out_of_memory(error);
  if (!written && !added_fits(spec, content, flags)) return json_unfit(error);
  bool is_new = !known->bytes.data, renamed = !slice_equal(shown, content);
  if (flags & ADDED_SPECIAL) {
    *known = (struct token_spec){.bytes = shown, .flags = TOKEN_SPECIAL};
    return true;
  }
  if (!written && is_new ? word_model(spec) : !written && renamed) return json_unfit(error);
  if (is_new) *known = (struct token_spec){.bytes = written ? content : shown};
  known->named = shown;
  return true;
}

static bool read_added_token(struct added_reader *reader, const json_t *token, struct error *error) {
  struct tokenizer_spec *spec = reader->spec;
  struct slice text = json_take_text(token, "content"), looked_for;
  uint32_t id = (uint32_t)json_integer_value(json_object_get(token, "id"));
  if (!text.data) return error_set(error, ERROR_FORMAT, "Added token %u has no content.", id);
  if (text.size == 0) return true;
  unsigned flags = added_flags(token);
  struct slice content = spec_copy(spec, text);
  looked_for = content;
  if (!content.data) return spec_out_of_memory(error);
  if (flags & ADDED_NORMALIZED && !normalized_text(reader, content, &looked_for, error)) return false;
  size_t most = text.size > looked_for.size ? text.size : looked_for.size;
  if (most > LIMIT_ADDED_TOKEN_BYTES)
    return error_set(error, ERROR_LIMIT, "Added token %u has %zu bytes, more than the %d allowed.", id, most,
                     LIMIT_ADDED_TOKEN_BYTES);
  if (!added_shown(spec, &spec->tokens[id], content, looked_for, flags, error)) return false;
  if (looked_for.size) spec->added[spec->n_added++] = (struct added_spec){looked_for, id, flags};
  return true;
}

static bool read_added(struct tokenizer_spec *spec, const json_t *list, struct error *error) {
  if (json_array_size(list) > LIMIT_VOCAB)
    return error_set(error, ERROR_LIMIT, "The tokenizer has %zu added tokens, more than the %d allowed.",
                     json_array_size(list), LIMIT_VOCAB);
  spec->added = arena_array(&spec->arena, json_array_size(list) + 1, sizeof *spec->added);
  if (!spec->added) return spec_out_of_memory(error);
  struct added_reader reader = {.spec = spec};
  bool done = json_array_size(list) == 0 || reader_open(&reader, error);
  for (size_t i = 0; done && i < json_array_size(list); i++)
    done = read_added_token(&reader, json_array_get(list, i), error);
  reader_close(&reader);
  return done;
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

static bool inner_space(struct slice bytes) {
  for (size_t at = 1; at < bytes.size; at++)
    if (bytes.data[at] == ' ' && bytes.data[at - 1] != ' ') return true;
  return false;
}

/* Whether the tokens, now indexed, have the plain form. Shown as a text's first, one is without the spaces that its
 * bytes begin with: others cannot go. A space falls back to the bytes of U+2581 unless it is a token. */
static bool tokens_fit(const struct tokenizer_spec *spec, struct error *error) {
  bool falls = spec->flags & MODEL_SPACE_MARKED && spec->flags & MODEL_BYTE_FALLBACK, fine = true;
  if (falls && spec_find(spec, slice_text(" ")) == TOKEN_NONE) return json_unfit(error);
  for (size_t id = 0; fine && id < spec->n_token; id++)
    fine = !(spec->flags & MODEL_BARE_START) || !inner_space(spec->tokens[id].bytes);
  return fine || json_unfit(error);
}

/* --- whole ---------------------------------------------------------------------------------------------------- */

static bool read_root(struct tokenizer_spec *spec, const json_t *root, const json_t *config, struct error *error) {
  const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
  size_t count = 0;
  bool templated = false;
  if (!json_read_kind(spec, model, error) || !json_read_steps(spec, root, error) ||
      !json_read_flags(spec, model, error) || !json_decoder_fits(spec, error) ||
      !json_count_tokens(spec, model, added, &count, error) || !spec_reserve_tokens(spec, count, error) ||
      !json_read_vocab(spec, model, error) || !read_added(spec, added, error) || !spec_index(spec, error) ||
      !tokens_fit(spec, error) || !json_read_merges(spec, model, error) ||
      !json_read_around(spec, json_object_get(root, "post_processor"), &templated, error))
    return false;
  if (spec->model == MODEL_BPE) spec->unk = find_added(spec, json_take_text(model, "unk_token"));
  read_config(spec, config, templated);
  if (spec->flags & MODEL_BYTE_LEVEL) spec_byte_tokens(spec);
  bool written = spec->flags & MODEL_WRITTEN, plain = !written && !(spec->flags & MODEL_BYTE_LEVEL);
  if (spec->model == MODEL_BPE && plain && spec_space_starts(spec)) spec->flags |= MODEL_SPACE_STARTS;
  json_name(spec);
  return !written || json_show_tokens(spec, error);
}

static bool compile(const json_t *root, const json_t *config, unsigned form, struct buffer *blob, struct error *error) {
  struct tokenizer_spec spec;
  spec_init(&spec);
  spec.flags = form;
  buffer_clear(blob);
  bool done = read_root(&spec, root, config, error) && tokenizer_blob_write(&spec, blob, error) &&
              tokenizer_blob_opens(blob, error);
  spec_release(&spec);
  return done;
}

bool tokenizer_compile_json(struct slice tokenizer_json, struct slice tokenizer_config_json, struct buffer *blob,
                            struct error *error) {
  json_t *root = json_parse(tokenizer_json, error), *config = NULL;
  if (!root) return error_prefix(error, "tokenizer.json: ");
  if (tokenizer_config_json.size && !(config = json_parse(tokenizer_config_json, error))) {
    json_decref(root);
    return error_prefix(error, "tokenizer_config.json: ");
  }
  struct error unfit = {0};
  bool done = compile(root, config, 0, blob, &unfit);
  if (!done && unfit.code == ERROR_UNSUPPORTED)
    done = compile(root, config, MODEL_WRITTEN, blob, error);
  else if (!done && error)
    *error = unfit;
  json_decref(root);
  json_decref(config);
  return done;
}
