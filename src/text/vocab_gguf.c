/* GGUF metadata to a struct vocab_source. */
#include "text/vocab_gguf.h"

#include "base/limits.h"

static bool out_of_memory(struct error *error) {
  return error_set(error, ERROR_MEMORY, "No memory to read the vocabulary.");
}

/* How many elements an array beside the tokens must have. */
static bool same_count(const struct gguf_value *array, size_t expected, struct error *error) {
  if (array->count == expected) return true;
  return error_set(error, ERROR_FORMAT, "%s has %zu elements, expected one for each of the %zu tokens.", array->key,
                   array->count, expected);
}

static bool read_types(const struct gguf *gguf, struct arena *arena, struct vocab_source *source, struct error *error) {
  const struct gguf_value *types = gguf_find(gguf, "tokenizer.ggml.token_type");
  if (!types) return true;
  if (!same_count(types, source->n_token, error)) return false;
  int32_t *out = arena_array(arena, types->count, sizeof *out);
  if (!out) return out_of_memory(error);
  for (size_t i = 0; i < types->count; i++) {
    int64_t type;
    if (!gguf_value_int(types, i, &type) || type < 0 || type > 6)
      return error_set(error, ERROR_FORMAT, "tokenizer.ggml.token_type[%zu] is not a type from 0 to 6.", i);
    out[i] = (int32_t)type;
  }
  source->types = out;
  return true;
}

static bool read_scores(const struct gguf *gguf, struct arena *arena, struct vocab_source *source,
                        struct error *error) {
  const struct gguf_value *scores = gguf_find(gguf, "tokenizer.ggml.scores");
  if (!scores) return true;
  if (!same_count(scores, source->n_token, error)) return false;
  float *out = arena_array(arena, scores->count, sizeof *out);
  if (!out) return out_of_memory(error);
  for (size_t i = 0; i < scores->count; i++) {
    double score;
    if (!gguf_value_float(scores, i, &score))
      return error_set(error, ERROR_FORMAT, "tokenizer.ggml.scores[%zu] is not a number.", i);
    out[i] = (float)score;
  }
  source->scores = out;
  return true;
}

static bool read_strings(const struct gguf *gguf, struct vocab_source *source, struct error *error) {
  const struct gguf_value *tokens, *merges = NULL;
  if (!gguf_get_string(gguf, "tokenizer.ggml.model", GGUF_REQUIRED, &source->model, error) ||
      !gguf_get_string(gguf, "tokenizer.ggml.pre", GGUF_OPTIONAL, &source->pre, error) ||
      !gguf_get_array(gguf, "tokenizer.ggml.tokens", GGUF_REQUIRED, GGUF_STRING, &tokens, error) ||
      !gguf_get_array(gguf, "tokenizer.ggml.merges", GGUF_OPTIONAL, GGUF_STRING, &merges, error))
    return false;
  source->tokens = tokens->strings;
  source->n_token = tokens->count;
  source->merges = merges ? merges->strings : NULL;
  source->n_merge = merges ? merges->count : 0;
  return true;
}

static bool read_ids(const struct gguf *gguf, struct vocab_source *source, struct error *error) {
  const struct {
    const char *key;
    int32_t *id;
  } ids[] = {
      {"tokenizer.ggml.bos_token_id", &source->bos},       {"tokenizer.ggml.eos_token_id", &source->eos},
      {"tokenizer.ggml.unknown_token_id", &source->unk},   {"tokenizer.ggml.padding_token_id", &source->pad},
      {"tokenizer.ggml.eot_token_id", &source->eot},       {"tokenizer.ggml.eom_token_id", &source->eom},
      {"tokenizer.ggml.seperator_token_id", &source->sep}, /* the key is spelled so */
      {"tokenizer.ggml.cls_token_id", &source->cls},
  };
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
    uint32_t id = UINT32_MAX;
    if (!gguf_get_u32(gguf, ids[i].key, GGUF_OPTIONAL, &id, error)) return false;
    *ids[i].id = id < source->n_token ? (int32_t)id : -1;
  }
  return true;
}

static bool read_rules(const struct gguf *gguf, struct arena *arena, struct vocab_source *source, struct error *error) {
  const struct gguf_value *map = gguf_find(gguf, "tokenizer.ggml.precompiled_charsmap");
  if (gguf_find(gguf, "tokenizer.ggml.remove_extra_whitespaces") &&
      !gguf_get_bool(gguf, "tokenizer.ggml.remove_extra_whitespaces", GGUF_REQUIRED, &source->remove_extra_spaces,
                     error))
    return false;
  if (!map) return true;
  uint8_t *bytes = arena_array(arena, map->count + 1, 1);
  if (!bytes) return out_of_memory(error);
  for (size_t i = 0; i < map->count; i++) {
    int64_t byte;
    if (!gguf_value_int(map, i, &byte) || byte < -128 || byte > 255)
      return error_set(error, ERROR_FORMAT, "tokenizer.ggml.precompiled_charsmap[%zu] is not a byte.", i);
    bytes[i] = (uint8_t)byte;
  }
  source->charsmap = slice_make(bytes, map->count);
  return true;
}

static bool read_choice(const struct gguf *gguf, const char *key, enum vocab_choice *choice, struct error *error) {
  bool yes;
  if (!gguf_find(gguf, key)) return true;
  if (!gguf_get_bool(gguf, key, GGUF_REQUIRED, &yes, error)) return false;
  *choice = yes ? VOCAB_YES : VOCAB_NO;
  return true;
}

bool tokenizer_compile_gguf(const struct gguf *gguf, struct buffer *blob, struct error *error) {
  struct vocab_source source = {0};
  struct arena arena;
  arena_init(&arena, (size_t)LIMIT_VOCAB * 16);
  bool done = read_strings(gguf, &source, error) && read_types(gguf, &arena, &source, error) &&
              read_scores(gguf, &arena, &source, error) && read_ids(gguf, &source, error) &&
              read_rules(gguf, &arena, &source, error) &&
              read_choice(gguf, "tokenizer.ggml.add_bos_token", &source.add_bos, error) &&
              read_choice(gguf, "tokenizer.ggml.add_eos_token", &source.add_eos, error) &&
              read_choice(gguf, "tokenizer.ggml.add_space_prefix", &source.add_space_prefix, error) &&
              read_choice(gguf, "tokenizer.ggml.normalizer.lowercase", &source.lower, error) &&
              read_choice(gguf, "tokenizer.ggml.normalizer.strip_accents", &source.drop_marks, error) &&
              tokenizer_compile_vocab(&source, blob, error);
  arena_release(&arena);
  return done;
}
