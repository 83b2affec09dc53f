/* Ranks of tiktoken, in its own files and in Mistral's tekken.json, to a spec: byte-level BPE in which a piece that is
 * a token is that token, and otherwise the pair whose joined bytes have the lowest rank merges first
 * (https://github.com/openai/tiktoken). */
#include "text/vocab_files.h"

#include "base/base64.h"
#include "base/json.h"
#include "text/tokenizer_json.h"
#include "text/vocab_spec.h"

#include <stdio.h>

/* Tokens by id; those of text have ranks, in the order of which they merge. */
struct ranked {
  struct tokenizer_spec *spec;
  uint32_t *ranks; /* [n_token] */
  struct buffer bytes;
};

static bool ranked_reserve(struct ranked *ranked, size_t count, struct error *error) {
  if (!spec_reserve_tokens(ranked->spec, count, error)) return false;
  ranked->ranks = arena_array(&ranked->spec->arena, count, sizeof *ranked->ranks);
  ranked->spec->added = arena_array(&ranked->spec->arena, count, sizeof *ranked->spec->added);
  return (ranked->ranks && ranked->spec->added) || spec_out_of_memory(error);
}

/* A token of text, in base64. */
static bool ranked_text(struct ranked *ranked, uint32_t id, uint32_t rank, struct slice base64, struct error *error) {
  buffer_clear(&ranked->bytes);
  if (!base64_decode(base64, "A token's base64", &ranked->bytes, error)) return false;
  struct slice bytes = spec_copy(ranked->spec, buffer_slice(&ranked->bytes));
  if (!bytes.data) return spec_out_of_memory(error);
  if (bytes.size == 0 || ranked->spec->tokens[id].bytes.data)
    return error_set(error, ERROR_FORMAT, "Token %u is %s.", id, bytes.size ? "there twice" : "empty");
  ranked->spec->tokens[id] = (struct token_spec){.bytes = bytes, .flags = TOKEN_TEXT};
  ranked->ranks[id] = rank;
  return true;
}

static bool ranked_marker(struct ranked *ranked, uint32_t id, struct slice text, bool special, struct error *error) {
  struct tokenizer_spec *spec = ranked->spec;
  struct slice copy = spec_copy(spec, text);
  if (!copy.data) return spec_out_of_memory(error);
  if (copy.size == 0 || copy.size > LIMIT_TOKEN_BYTES)
    return error_set(error, ERROR_FORMAT, "Token %u has %zu bytes, expected 1 to %d.", id, copy.size,
                     LIMIT_TOKEN_BYTES);
  spec->tokens[id] = (struct token_spec){.bytes = copy, .flags = special ? TOKEN_SPECIAL : 0};
  spec->added[spec->n_added++] = (struct added_spec){copy, id, special ? ADDED_SPECIAL : 0};
  return true;
}

/* After all tokens; the steps are there already. */
static bool ranked_finish(struct ranked *ranked, struct error *error) {
  struct tokenizer_spec *spec = ranked->spec;
  spec->flags = MODEL_BYTE_LEVEL | MODEL_IGNORE_MERGES;
  if (!spec_index(spec, error) || !vocab_merges_by_rank(spec, ranked->ranks, error)) return false;
  spec_byte_tokens(spec);
  for (int byte = 0; byte < 256; byte++)
    if (spec->byte_token[byte] == TOKEN_NONE)
      return error_set(error, ERROR_FORMAT, "No token is the byte 0x%02x alone, as one has to be of each.", byte);
  return true;
}

static int32_t marker(const struct tokenizer_spec *spec, struct slice text) {
  for (size_t i = 0; text.data && i < spec->n_added; i++)
    if (slice_equal(spec->added[i].text, text)) return (int32_t)spec->added[i].id;
  return -1;
}

/* --- tiktoken --------------------------------------------------------------------------------------------------- */

struct rank_line {
  struct slice token;
  uint32_t rank;
};

/* Takes a line off *rest: "base64 rank". */
static bool take_line(struct slice *rest, struct rank_line *line, struct error *error) {
  const uint8_t *end = memchr(rest->data, '\n', rest->size);
  struct slice text = slice_make(rest->data, end ? (size_t)(end - rest->data) : rest->size);
  size_t used = text.size + (end ? 1 : 0);
  *rest = slice_make(rest->data + used, rest->size - used);
  if (text.size && text.data[text.size - 1] == '\r') text.size--;
  const uint8_t *space = text.size ? memchr(text.data, ' ', text.size) : NULL;
  size_t at = space ? (size_t)(space - text.data) + 1 : text.size, rank = 0;
  bool digits = at < text.size && text.size - at < 9;
  for (size_t i = at; digits && i < text.size; i++) {
    digits = text.data[i] >= '0' && text.data[i] <= '9';
    rank = 10 * rank + (size_t)(text.data[i] - '0');
  }
  if (!digits || rank >= LIMIT_VOCAB)
    return error_set(error, ERROR_FORMAT, "A line is '%.*s', expected a token in base64 and its rank.",
                     SLICE_ARGS(text));
  *line = (struct rank_line){slice_make(text.data, at - 1), (uint32_t)rank};
  return true;
}

/* The classes that read such files: how they split, and how many special tokens the class itself puts behind the ranks
 * where tokenizer_config.json names none. */
struct rank_class {
  const char *name, *rule;
  size_t n_marker;
};

static const struct rank_class *class_find(const json_t *config, struct error *error) {
  static const struct rank_class classes[] = {{"TikTokenTokenizer", "kimi-k2", 0},
                                              {"ChatGLM4Tokenizer", "chatglm-bpe", 0},
                                              {"QWenTokenizer", "qwen2", 3 + 205},
                                              {"HYTokenizer", "hunyuan", 0}};
  struct slice name = json_take_text(config, "tokenizer_class");
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
    if (slice_is(name, classes[i].name)) return &classes[i];
  error_set(error, ERROR_UNSUPPORTED,
            "A file of ranks does not say how text is split, and tokenizer_config.json's tokenizer_class is \"%.*s\", "
            "which is none of TikTokenTokenizer, ChatGLM4Tokenizer, QWenTokenizer, HYTokenizer; save the model's "
            "tokenizer.json.",
            SLICE_ARGS(name));
  return NULL;
}

/* Qwen's, which its first models name in no file. */
static bool class_markers(struct ranked *ranked, const struct rank_class *class, size_t first, struct error *error) {
  static const char *const names[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  for (size_t i = 0; i < class->n_marker; i++) {
    char name[32];
    if (i < 3)
      snprintf(name, sizeof name, "%s", names[i]);
    else
      snprintf(name, sizeof name, "<|extra_%zu|>", i - 3);
    if (!ranked_marker(ranked, (uint32_t)(first + i), slice_text(name), true, error)) return false;
  }
  return true;
}

static bool count_ranks(struct slice file, size_t *count, struct error *error) {
  struct rank_line line;
  for (*count = 0; file.size > 0;) {
    if (!take_line(&file, &line, error)) return false;
    if (line.rank >= *count) *count = line.rank + 1;
  }
  return true;
}

static bool read_ranks(struct ranked *ranked, struct slice file, struct error *error) {
  struct rank_line line;
  while (file.size > 0)
    if (!take_line(&file, &line, error) || !ranked_text(ranked, line.rank, line.rank, line.token, error)) return false;
  return true;
}

/* The config's tokens, each in a place that no rank has. */
static bool read_markers(struct ranked *ranked, const json_t *config, size_t n_rank, struct error *error) {
  size_t count = ranked->spec->n_token;
  struct slice *tokens = arena_array(&ranked->spec->arena, count, sizeof *tokens);
  int32_t *types = arena_array(&ranked->spec->arena, count, sizeof *types);
  if (!tokens || !types) return spec_out_of_memory(error);
  vocab_take_added(config, tokens, types);
  for (size_t id = 0; id < count; id++) {
    if (!tokens[id].data) continue;
    if (id < n_rank && ranked->spec->tokens[id].bytes.data)
      return error_set(error, ERROR_FORMAT, "tokenizer_config.json adds the token %zu, which is one of the ranks.", id);
    if (!ranked_marker(ranked, (uint32_t)id, tokens[id], types[id] == VOCAB_CONTROL, error)) return false;
  }
  return true;
}

static bool read_tiktoken(struct ranked *ranked, struct slice file, const json_t *config, struct error *error) {
  struct tokenizer_spec *spec = ranked->spec;
  size_t n_rank = 0, added = 0;
  const struct rank_class *class = class_find(config, error);
  struct vocab_rule does;
  if (!class || !count_ranks(file, &n_rank, error) || !vocab_count_added(config, &added, error)) return false;
  bool own = class->n_marker > 0 && added == 0;
  size_t count = own ? n_rank + class->n_marker : added > n_rank ? added : n_rank;
  if (!ranked_reserve(ranked, count, error) || !read_ranks(ranked, file, error) ||
      !(own ? class_markers(ranked, class, n_rank, error) : read_markers(ranked, config, n_rank, error)) ||
      !vocab_split_rule(spec, slice_text(class->rule), false, &does, error) || !ranked_finish(ranked, error))
    return false;
  snprintf(spec->name, sizeof spec->name, "byte-level BPE (%s)", class->rule);
  spec->bos = marker(spec, json_take_text(config, "bos_token"));
  spec->eos = marker(spec, json_take_text(config, "eos_token"));
  spec->pad = marker(spec, json_take_text(config, "pad_token"));
  spec_end(spec, spec->eos);
  spec_end_by_name(spec);
  return true;
}

bool tokenizer_compile_tiktoken(struct slice ranks, struct slice tokenizer_config_json, struct buffer *blob,
                                struct error *error) {
  struct tokenizer_spec spec;
  struct ranked ranked = {.spec = &spec};
  json_t *config = NULL;
  if (tokenizer_config_json.size && !(config = json_parse(tokenizer_config_json, error)))
    return error_prefix(error, "tokenizer_config.json: ");
  spec_init(&spec);
  buffer_init(&ranked.bytes, LIMIT_TOKEN_BYTES);
  bool done = read_tiktoken(&ranked, ranks, config, error) && tokenizer_blob_write(&spec, blob, error);
  buffer_release(&ranked.bytes);
  spec_release(&spec);
  json_decref(config);
  return done;
}

/* --- tekken.json ------------------------------------------------------------------------------------------------ */

/* A whole number of at most `most`; false: it is none. */
static bool take_count(const json_t *object, const char *key, size_t most, size_t *count, struct error *error) {
  json_int_t value = json_integer_value(json_object_get(object, key));
  *count = (size_t)value;
  if (json_is_integer(json_object_get(object, key)) && value >= 0 && (size_t)value <= most) return true;
  return error_set(error, ERROR_FORMAT, "\"%s\" should be a whole number from 0 to %zu.", key, most);
}

static bool special_named(struct ranked *ranked, size_t rank, const char *name, size_t count, struct error *error) {
  if (rank >= count || ranked->spec->tokens[rank].bytes.data) return true;
  return ranked_marker(ranked, (uint32_t)rank, slice_text(name), true, error);
}

/* The first files name none: Mistral's library knows these. */
static bool first_specials(struct ranked *ranked, const json_t *config, size_t count, struct error *error) {
  static const char *const names[] = {"<unk>",
                                      "<s>",
                                      "</s>",
                                      "[INST]",
                                      "[/INST]",
                                      "[AVAILABLE_TOOLS]",
                                      "[/AVAILABLE_TOOLS]",
                                      "[TOOL_RESULTS]",
                                      "[/TOOL_RESULTS]",
                                      "[TOOL_CALLS]",
                                      "[IMG]",
                                      "<pad>",
                                      "[IMG_BREAK]",
                                      "[IMG_END]",
                                      "[PREFIX]",
                                      "[MIDDLE]",
                                      "[SUFFIX]",
                                      "[SYSTEM_PROMPT]",
                                      "[/SYSTEM_PROMPT]",
                                      "[TOOL_CONTENT]"};
  static const char *const versions[] = {"v1", "v2", "v3", "v7"};
  struct slice version = json_take_text(config, "version");
  bool first = false;
  for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) first = first || slice_is(version, versions[i]);
  if (!first)
    return error_set(error, ERROR_FORMAT,
                     "It names no special_tokens, and its version is \"%.*s\": only those of v1, v2, v3 and v7 are "
                     "known.",
                     SLICE_ARGS(version));
  for (size_t rank = 0; rank < sizeof names / sizeof *names; rank++)
    if (!special_named(ranked, rank, names[rank], count, error)) return false;
  return true;
}

static bool given_specials(struct ranked *ranked, const json_t *specials, size_t count, struct error *error) {
  const json_t *token;
  size_t i, rank;
  json_array_foreach(specials, i, token) {
    if (!take_count(token, "rank", count - 1, &rank, error)) return false;
    struct slice text = json_take_text(token, "token_str");
    if (ranked->spec->tokens[rank].bytes.data)
      return error_set(error, ERROR_FORMAT, "Two special tokens have the rank %zu.", rank);
    if (!ranked_marker(ranked, (uint32_t)rank, text, true, error)) return false;
  }
  return true;
}

/* Those that the file leaves out have the name that Mistral's library gives them. */
static bool read_specials(struct ranked *ranked, const json_t *root, size_t count, struct error *error) {
  const json_t *specials = json_object_get(root, "special_tokens"), *config = json_object_get(root, "config");
  bool given = specials && !json_is_null(specials);
  if (given && !json_is_array(specials)) return error_set(error, ERROR_FORMAT, "\"special_tokens\" is no list.");
  if (!(given ? given_specials(ranked, specials, count, error) : first_specials(ranked, config, count, error)))
    return false;
  for (size_t rank = 0; rank < count; rank++) {
    char name[32];
    snprintf(name, sizeof name, "<SPECIAL_%zu>", rank);
    if (!special_named(ranked, rank, name, count, error)) return false;
  }
  return true;
}

static bool read_vocab(struct ranked *ranked, const json_t *vocab, size_t first, struct error *error) {
  const json_t *token;
  size_t i, rank;
  json_array_foreach(vocab, i, token) {
    struct slice base64 = json_take_text(token, "token_bytes");
    if (first + i == ranked->spec->n_token) break; /* the file holds more tokens than its model uses */
    if (!take_count(token, "rank", ranked->spec->n_token - first - 1, &rank, error)) return false;
    if (!base64.data) return error_set(error, ERROR_FORMAT, "Token %zu has no token_bytes.", i);
    if (!ranked_text(ranked, (uint32_t)(first + rank), (uint32_t)rank, base64, error)) return false;
  }
  return true;
}

static bool read_tekken(struct ranked *ranked, const json_t *root, struct error *error) {
  const json_t *config = json_object_get(root, "config");
  struct tokenizer_spec *spec = ranked->spec;
  struct slice pattern = json_take_text(config, "pattern");
  size_t vocab, special;
  if (!pattern.data) return error_set(error, ERROR_FORMAT, "It has no config with a pattern.");
  if (!take_count(config, "default_vocab_size", LIMIT_VOCAB, &vocab, error) ||
      !take_count(config, "default_num_special_tokens", vocab, &special, error) ||
      !ranked_reserve(ranked, vocab, error))
    return false;
  struct slice copy = spec_copy(spec, pattern);
  if (!copy.data) return spec_out_of_memory(error);
  if (special == 0) return error_set(error, ERROR_FORMAT, "\"default_num_special_tokens\" is 0.");
  if (!read_specials(ranked, root, special, error) ||
      !read_vocab(ranked, json_object_get(root, "vocab"), special, error) ||
      !spec_step(spec, (struct step_spec){.kind = STEP_SPLIT, .a = copy}, error) || !ranked_finish(ranked, error))
    return false;
  snprintf(spec->name, sizeof spec->name, "byte-level BPE (tekken)");
  spec->unk = marker(spec, slice_text("<unk>"));
  spec->bos = marker(spec, slice_text("<s>"));
  spec->eos = marker(spec, slice_text("</s>"));
  spec->pad = marker(spec, slice_text("<pad>"));
  if (spec->bos >= 0) spec->prefix[spec->n_prefix++] = spec->bos;
  spec_end(spec, spec->eos);
  return true;
}

bool tokenizer_compile_tekken(struct slice tekken_json, struct buffer *blob, struct error *error) {
  struct tokenizer_spec spec;
  struct ranked ranked = {.spec = &spec};
  json_t *root = json_parse(tekken_json, error);
  if (!root) return error_prefix(error, "tekken.json: ");
  spec_init(&spec);
  buffer_init(&ranked.bytes, LIMIT_TOKEN_BYTES);
  bool done = read_tekken(&ranked, root, error) && tokenizer_blob_write(&spec, blob, error) &&
              tokenizer_blob_opens(blob, error);
  buffer_release(&ranked.bytes);
  spec_release(&spec);
  json_decref(root);
  return done || error_prefix(error, "tekken.json: ");
}
