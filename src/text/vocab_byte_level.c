/* A GGUF vocabulary of byte-level BPE to a spec: merges in order, and the split rule that the file names instead of
 * writing it down ("pre"). */
#include "text/byte_level.h"
#include "text/split_pattern.h"
#include "text/vocab_spec.h"

#include <stdio.h>

enum { PRE_PATTERNS = 5 };

enum rule {
  RULE_GPT2,
  RULE_DIGITS_GPT2,
  RULE_LLAMA3,
  RULE_LLAMA3_WHOLE,
  RULE_QWEN2,
  RULE_QWEN2_NFC,
  RULE_DEEPSEEK_LLM,
  RULE_DEEPSEEK_V3,
  RULE_FALCON,
  RULE_DEFAULT,
  RULE_BLOOM,
  RULE_VIKING,
  RULE_TEKKEN,
  RULE_GPT4O,
  RULE_KIMI,
};

/* A way to split, and what the families that have it do beside. */
struct pre_rule {
  const char *patterns[PRE_PATTERNS]; /* one inside the other */
  bool nfc, ignore_merges, add_bos;
};

/* Of GPT-4o and Tekken: a word is capitals, then small letters. */
#define CAPITALS         "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define SMALLS           "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE_WORD      "[^\\r\\n\\p{L}\\p{N}]?"
#define CASED(ending)    BEFORE_WORD CAPITALS "*" SMALLS "+" ending "|" BEFORE_WORD CAPITALS "+" SMALLS "*" ending
#define CONTRACTIONS     "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define SIGNS_AND_SPACES "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
static const char split_gpt4o[] = CASED(CONTRACTIONS) "|\\p{N}{1,3}" SIGNS_AND_SPACES;
static const char split_tekken[] = CASED("") "|\\p{N}" SIGNS_AND_SPACES;

/* As GPT-4o, but that ideographs are words of their own. */
#define NO_HAN      "(?!\\p{Han})"
#define APART(kind) "(?:" NO_HAN kind ")"
#define CASED_BESIDE_HAN                                                                                               \
  BEFORE_WORD APART(CAPITALS) "*" APART(SMALLS) "+" CONTRACTIONS "|" BEFORE_WORD APART(CAPITALS) "+" APART(            \
      SMALLS) "*" CONTRACTIONS
static const char split_kimi[] =
    "\\p{Han}+|" CASED_BESIDE_HAN "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static const char split_bloom[] = " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+";
static const char split_digits[] = "\\p{N}+", split_three[] = "[0-9][0-9][0-9]", split_up_to_three[] = "\\p{N}{1,3}";
static const char split_signs[] = "[\\p{P}\\$\\+<=>\\^~\\|`]+", split_some_signs[] = "[\\p{P}\\$\\+<=>\\^~\\|]+";
static const char split_deepseek_v3[] =
    "[!\"#$%\\x26'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static const struct pre_rule rules[] = {
    [RULE_GPT2] = {.patterns = {split_gpt2}},
    [RULE_DIGITS_GPT2] = {.patterns = {split_digit, split_gpt2}},
    [RULE_LLAMA3] = {.patterns = {split_llama3}},
    [RULE_LLAMA3_WHOLE] = {.patterns = {split_llama3}, .ignore_merges = true, .add_bos = true},
    [RULE_QWEN2] = {.patterns = {split_qwen2}},
    [RULE_QWEN2_NFC] = {.patterns = {split_qwen2}, .nfc = true},
    [RULE_DEEPSEEK_LLM] = {.patterns = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
                                        "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+", split_digit}},
    [RULE_DEEPSEEK_V3] = {.patterns = {split_up_to_three,
                                       "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
                                       split_deepseek_v3}},
    [RULE_FALCON] = {.patterns = {split_signs, split_gpt2, split_three}},
    [RULE_DEFAULT] = {.patterns = {split_some_signs, split_gpt2, split_digits, split_three}},
    [RULE_BLOOM] = {.patterns = {split_bloom}},
    [RULE_VIKING] = {.patterns = {split_bloom, split_digit}},
    [RULE_TEKKEN] = {.patterns = {split_tekken}, .ignore_merges = true, .add_bos = true},
    [RULE_GPT4O] = {.patterns = {split_gpt4o}},
    [RULE_KIMI] = {.patterns = {split_kimi}, .ignore_merges = true},
};

/* The names that llama.cpp's converter gives them. */
static const struct {
  const char *name;
  enum rule rule;
} rule_names[] = {
    {"default", RULE_DEFAULT},
    {"gpt-2", RULE_GPT2},
    {"phi-2", RULE_GPT2},
    {"mpt", RULE_GPT2},
    {"olmo", RULE_GPT2},
    {"jais", RULE_GPT2},
    {"roberta-bpe", RULE_GPT2},
    {"modern-bert", RULE_GPT2},
    {"smollm", RULE_DIGITS_GPT2},
    {"starcoder", RULE_DIGITS_GPT2},
    {"refact", RULE_DIGITS_GPT2},
    {"command-r", RULE_DIGITS_GPT2},
    {"codeshell", RULE_DIGITS_GPT2},
    {"exaone", RULE_DIGITS_GPT2},
    {"minerva-7b", RULE_DIGITS_GPT2},
    {"dbrx", RULE_LLAMA3},
    {"smaug-bpe", RULE_LLAMA3},
    {"chatglm-bpe", RULE_LLAMA3},
    {"llama-bpe", RULE_LLAMA3_WHOLE},
    {"llama3", RULE_LLAMA3_WHOLE},
    {"llama-v3", RULE_LLAMA3_WHOLE},
    {"falcon3", RULE_LLAMA3_WHOLE},
    {"qwen2", RULE_QWEN2_NFC},
    {"stablelm2", RULE_QWEN2},
    {"deepseek-r1-qwen", RULE_QWEN2_NFC},
    {"deepseek-llm", RULE_DEEPSEEK_LLM},
    {"deepseek-coder", RULE_DEEPSEEK_LLM},
    {"deepseek-v3", RULE_DEEPSEEK_V3},
    {"falcon", RULE_FALCON},
    {"bloom", RULE_BLOOM},
    {"poro-chat", RULE_BLOOM},
    {"gpt3-finnish", RULE_BLOOM},
    {"viking", RULE_VIKING},
    {"tekken", RULE_TEKKEN},
    {"gpt-4o", RULE_GPT4O},
    {"llama4", RULE_GPT4O},
    {"kimi-k2", RULE_KIMI},
};

static const struct pre_rule *find_rule(struct slice pre, struct error *error) {
  for (size_t i = 0; i < sizeof rule_names / sizeof *rule_names; i++)
    if (slice_is(pre, rule_names[i].name)) return &rules[rule_names[i].rule];
  error_set(error, ERROR_UNSUPPORTED,
            "The vocabulary's split rule (tokenizer.ggml.pre) is '%.*s', which is not one of those in "
            "docs/tokenizers.md; convert the model to a directory with its tokenizer.json.",
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

bool vocab_split_rule(struct tokenizer_spec *spec, struct slice name, bool prefix_space, struct vocab_rule *out,
                      struct error *error) {
  const struct pre_rule *rule = find_rule(name, error);
  if (!rule) return false;
  *out = (struct vocab_rule){.ignore_merges = rule->ignore_merges, .add_bos = rule->add_bos};
  if (rule->nfc && !spec_step(spec, (struct step_spec){.kind = STEP_NFC}, error)) return false;
  if (prefix_space && !spec_step(spec, (struct step_spec){.kind = STEP_PREFIX_SPACE, .mode = PREFIX_ALWAYS}, error))
    return false;
  for (int i = 0; i < PRE_PATTERNS && rule->patterns[i]; i++)
    if (!spec_step(spec, (struct step_spec){.kind = STEP_SPLIT, .a = slice_text(rule->patterns[i])}, error))
      return false;
  return true;
}

bool vocab_read_byte_level(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error) {
  struct vocab_rule rule;
  if (!vocab_split_rule(spec, source->pre, source->add_space_prefix == VOCAB_YES, &rule, error)) return false;
  snprintf(spec->name, sizeof spec->name, "byte-level BPE (%.*s)", SLICE_ARGS(source->pre));
  spec->flags = MODEL_BYTE_LEVEL | (rule.ignore_merges ? MODEL_IGNORE_MERGES : 0u);
  if (!vocab_read_tokens(spec, source, error) || !read_merges(spec, source, error)) return false;
  spec_byte_tokens(spec);
  vocab_read_special_ids(spec, source, rule.add_bos);
  return true;
}
