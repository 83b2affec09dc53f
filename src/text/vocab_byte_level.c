/* A GGUF vocabulary of byte-level BPE to a spec: merges in order, and the split rule that the file names instead of
 * writing it down ("pre"). */
#include "text/byte_level.h"
#include "text/split_pattern.h"
#include "text/vocab_spec.h"

#include <stdio.h>

enum { PRE_PATTERNS = 5 };

/* The split rules that are known by name. */
static const struct pre_rule {
  const char *name;
  const char *patterns[PRE_PATTERNS]; /* one inside the other */
  bool nfc, ignore_merges, add_bos;
} pre_rules[] = {
    {"gpt-2", {split_gpt2}, false, false, false},
    {"smollm", {split_digit, split_gpt2}, false, false, false},
    {"llama-bpe", {split_llama3}, false, true, true},
    {"llama3", {split_llama3}, false, true, true},
    {"llama-v3", {split_llama3}, false, true, true},
    {"qwen2", {split_qwen2}, true, false, false},
    {"deepseek-r1-qwen", {split_qwen2}, true, false, false},
    {"deepseek-llm",
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+",
      split_digit},
     false,
     false,
     false},
};

static const struct pre_rule *find_rule(struct slice pre, struct error *error) {
  for (size_t i = 0; i < sizeof pre_rules / sizeof *pre_rules; i++)
    if (slice_is(pre, pre_rules[i].name)) return &pre_rules[i];
  error_set(error, ERROR_UNSUPPORTED,
            "The vocabulary's split rule (tokenizer.ggml.pre) is '%.*s', which is not supported; gpt-2, smollm, "
            "llama-bpe, qwen2 and deepseek-llm are.",
            SLICE_ARGS(pre));
  return NULL;
}

/* Byte letters to bytes, in the arena. */
static bool merge_half(struct tokenizer_spec *spec, struct slice letters, struct slice *bytes) {
  uint8_t *room = arena_alloc(&spec->arena, letters.size + 1);
  bytes->data = room;
  return room && byte_level_decode(letters, room, &bytes->size);
}

static bool read_merge(struct tokenizer_spec *spec, uint32_t rank, struct slice text, struct error *error) {
  const uint8_t *space = text.size ? memchr(text.data + 1, ' ', text.size - 1) : NULL;
  size_t left_size = space ? (size_t)(space - text.data) : 0;
  struct slice left, right;
  if (!space || !merge_half(spec, slice_make(text.data, left_size), &left) ||
      !merge_half(spec, slice_make(space + 1, text.size - left_size - 1), &right))
    return error_set(error, ERROR_FORMAT, "Merge %u of the vocabulary is '%.*s', expected two tokens and a space.",
                     rank, SLICE_ARGS(text));
  return spec_merge(spec, left, right, rank, error);
}

static bool read_merges(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error) {
  if (!spec_reserve_merges(spec, source->n_merge, error)) return false;
  for (uint32_t rank = 0; rank < source->n_merge; rank++)
    if (!read_merge(spec, rank, source->merges[rank], error)) return false;
  return true;
}

bool vocab_read_byte_level(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error) {
  const struct pre_rule *rule = find_rule(source->pre, error);
  if (!rule) return false;
  snprintf(spec->name, sizeof spec->name, "byte-level BPE (%s)", rule->name);
  spec->flags = MODEL_BYTE_LEVEL | (rule->ignore_merges ? MODEL_IGNORE_MERGES : 0u);
  if (!vocab_read_tokens(spec, source, error) || !read_merges(spec, source, error)) return false;
  spec_byte_tokens(spec);
  vocab_read_special_ids(spec, source, rule->add_bos);
  if (rule->nfc && !spec_step(spec, (struct step_spec){.kind = STEP_NFC}, error)) return false;
  if (source->add_space_prefix == VOCAB_YES &&
      !spec_step(spec, (struct step_spec){.kind = STEP_PREFIX_SPACE, .mode = PREFIX_ALWAYS}, error))
    return false;
  for (int i = 0; i < PRE_PATTERNS && rule->patterns[i]; i++)
    if (!spec_step(spec, (struct step_spec){.kind = STEP_SPLIT, .a = slice_text(rule->patterns[i])}, error))
      return false;
  return true;
}
