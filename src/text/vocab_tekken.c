/* Mistral's tekken.json to a spec: ranks, the split's regex and special tokens, whose ids come first
 * (https://github.com/mistralai/mistral-common). */
#include "text/vocab_files.h"

#include "base/json.h"
#include "text/tokenizer_json.h"
#include "text/vocab_ranks.h"

#include <stdio.h>

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
static const char *const first_names[] = {"<unk>",
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

static bool first_specials(struct ranked *ranked, const json_t *config, size_t count, struct error *error) {
  static const char *const versions[] = {"v1", "v2", "v3", "v7"};
  struct slice version = json_take_text(config, "version");
  bool first = false;
  for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) first = first || slice_is(version, versions[i]);
  if (!first)
    return error_set(error, ERROR_FORMAT,
                     "It names no special_tokens, and its version is \"%.*s\": only those of v1, v2, v3 and v7 are "
                     "known.",
                     SLICE_ARGS(version));
  for (size_t rank = 0; rank < sizeof first_names / sizeof *first_names; rank++)
    if (!special_named(ranked, rank, first_names[rank], count, error)) return false;
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
  spec->unk = ranked_find(spec, slice_text("<unk>"));
  spec->bos = ranked_find(spec, slice_text("<s>"));
  spec->eos = ranked_find(spec, slice_text("</s>"));
  spec->pad = ranked_find(spec, slice_text("<pad>"));
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
