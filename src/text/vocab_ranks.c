/* Ranks of tiktoken to a spec: byte-level BPE in which a piece that is a token is that token, and otherwise the pair
 * whose joined bytes have the lowest rank merges first (https://github.com/openai/tiktoken). */
#include "text/vocab_files.h"

#include "base/base64.h"
#include "base/json.h"
#include "text/tokenizer_json.h"
#include "text/vocab_ranks.h"

#include <stdio.h>

bool ranked_reserve(struct ranked *ranked, size_t count, struct error *error) {
  if (!spec_reserve_tokens(ranked->spec, count, error)) return false;
  ranked->ranks = arena_array(&ranked->spec->arena, count, sizeof *ranked->ranks);
  ranked->spec->added = arena_array(&ranked->spec->arena, count, sizeof *ranked->spec->added);
  return (ranked->ranks && ranked->spec->added) || spec_out_of_memory(error);
}

bool ranked_text(struct ranked *ranked, uint32_t id, uint32_t rank, struct slice base64, struct error *error) {
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

bool ranked_marker(struct ranked *ranked, uint32_t id, struct slice text, bool special, struct error *error) {
  struct tokenizer_spec *spec = ranked->spec;
  struct slice copy = spec_copy(spec, text);
  if (!copy.data) return spec_out_of_memory(error);
  if (copy.size == 0 || copy.size > LIMIT_ADDED_TOKEN_BYTES)
    return error_set(error, ERROR_FORMAT, "Token %u has %zu bytes, expected 1 to %d.", id, copy.size,
                     LIMIT_ADDED_TOKEN_BYTES);
  spec->tokens[id] = (struct token_spec){.bytes = copy, .flags = special ? TOKEN_SPECIAL : 0};
  spec->added[spec->n_added++] = (struct added_spec){copy, id, special ? ADDED_SPECIAL : 0};
  return true;
}

bool ranked_finish(struct ranked *ranked, struct error *error) {
  struct tokenizer_spec *spec = ranked->spec;
  spec->flags = MODEL_BYTE_LEVEL | MODEL_IGNORE_MERGES;
  if (!spec_index(spec, error) || !vocab_merges_by_rank(spec, ranked->ranks, error)) return false;
  spec_byte_tokens(spec);
  for (int byte = 0; byte < 256; byte++)
    if (spec->byte_token[byte] == TOKEN_NONE)
      return error_set(error, ERROR_FORMAT, "No token is the byte 0x%02x alone, as one has to be of each.", byte);
  return true;
}

int32_t ranked_find(const struct tokenizer_spec *spec, struct slice text) {
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
  spec->bos = ranked_find(spec, json_take_text(config, "bos_token"));
  spec->eos = ranked_find(spec, json_take_text(config, "eos_token"));
  spec->pad = ranked_find(spec, json_take_text(config, "pad_token"));
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
