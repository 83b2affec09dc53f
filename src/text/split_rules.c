/* The split rules that GGUF files name instead of writing them down (tokenizer.ggml.pre): the regexes of the models'
 * own tokenizer.json, one inside the other, and what the families that have them do beside. */
#include "text/split_pattern.h"
#include "text/vocab_spec.h"

enum { PRE_PATTERNS = 7 };

/* A way to split, and what the families that have it do beside. */
struct pre_rule {
  const char *names;                  /* that llama.cpp's converter gives it, with spaces between */
  const char *patterns[PRE_PATTERNS]; /* one inside the other */
  const char *bytes[2];               /* the same, of bytes, after those */
  bool nfc, ignore_merges, add_bos;
  enum vocab_letters letters;
};

/* --- regexes ---------------------------------------------------------------------------------------------------- */

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define BEFORE_WORD "[^\\r\\n\\p{L}\\p{N}]?"
#define SPACES_LAST "|\\s+(?!\\S)|\\s+"
#define LINES       "|\\s*[\\r\\n]+"
#define SIGNS       "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"

/* Of GPT-4o and Tekken: a word is capitals, then small letters. */
#define CAPITALS         "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define SMALLS           "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(ending)    BEFORE_WORD CAPITALS "*" SMALLS "+" ending "|" BEFORE_WORD CAPITALS "+" SMALLS "*" ending
#define SIGNS_AND_SPACES "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" LINES SPACES_LAST
static const char split_gpt4o[] = CASED(CONTRACTION "?") "|\\p{N}{1,3}" SIGNS_AND_SPACES;
static const char split_tekken[] = CASED("") "|\\p{N}" SIGNS_AND_SPACES;
static const char split_youtu[] = CASED(CONTRACTION "?") "|\\p{N}" SIGNS_AND_SPACES;
static const char split_youtu_scripts[] =
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}\\x{2019}\\x{2014}\\x{"
    "ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|[\\x{4e00}-\\x{9fa5}\\x{"
    "3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+";

/* As GPT-4o, but that ideographs are words of their own. */
#define NO_HAN      "(?!\\p{Han})"
#define APART(kind) "(?:" NO_HAN kind ")"
#define CASED_BESIDE_HAN                                                                                               \
  BEFORE_WORD APART(CAPITALS) "*" APART(SMALLS) "+" CONTRACTION "?|" BEFORE_WORD APART(CAPITALS) "+" APART(            \
      SMALLS) "*" CONTRACTION "?"
static const char split_kimi[] = "\\p{Han}+|" CASED_BESIDE_HAN "|\\p{N}{1,3}" SIGNS LINES SPACES_LAST;

/* Of Llama 3's kind. */
static const char split_qwen35[] =
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" LINES SPACES_LAST;
static const char split_jais2[] = CONTRACTION
    "|" BEFORE_WORD "\\p{L}+|\\p{N}{1,3}" SIGNS LINES
    "|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|"
    "\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}";
static const char split_exaone_moe[] = CONTRACTION "|" BEFORE_WORD "(?:\\p{L}\\p{M}*+(?: \\p{L}\\p{M}*+)*+)++|\\p{N}|"
                                                   " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]" SPACES_LAST;
static const char split_bailing[] =
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
    "\\s*[\\r\\n]" SPACES_LAST;
static const char split_seed[] =
    CONTRACTION "|" BEFORE_WORD "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" LINES SPACES_LAST;
static const char split_minicpm5[] = CONTRACTION "|" BEFORE_WORD "\\p{L}+|\\p{N}+" SIGNS LINES SPACES_LAST;
static const char split_ufakzeka[] = BEFORE_WORD "\\p{L}+|\\p{N}" SIGNS LINES SPACES_LAST;
static const char split_lines[] = "[^\\n]+|[\\n]+";

/* Of DeepSeek's kind. */
#define SIGN_BEFORE_WORD                                                                                               \
  "[!\"#$%\\x26'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
static const char split_deepseek_v3[] = SIGN_BEFORE_WORD "| ?[\\p{P}\\p{S}]+[\\r\\n]*" LINES SPACES_LAST;
static const char split_spark[] = SIGN_BEFORE_WORD "| ?[\\p{P}\\p{S}]+|[\\r\\n]" SPACES_LAST;
static const char split_kana_han[] = "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+";
static const char split_cjk[] = "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+";
static const char split_cased_letters[] =
    "\\s?["
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}"
    "\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}"
    "\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}"
    "\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}"
    "\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-"
    "\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}"
    "\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}"
    "\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}"
    "\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}"
    "\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}"
    "\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}"
    "\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}"
    "\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-"
    "\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"
    "]+";
static const char split_line_ends[] = "[\\r\\n]",
                  split_wide_signs[] =
                      "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+";
static const char split_afmoe_scripts[] =
    "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{8c48}-\\x{faff}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}\\x{ff65}-\\x{"
    "ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{e7f}\\x{e80}-\\x{eff}\\x{1780}-\\x{17ff}\\x{1000}-\\x{109f}\\x{aa60}-\\x{"
    "aa7f}\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+";

/* Digits in threes from the end of a number: first whole numbers, then those. Of Aya a number is one that no letter
 * follows, of SuperBPE what is over at its beginning stays with what is before it. */
static const char split_numbers[] = "\\p{N}++",
                  split_numbers_in_threes[] = "\\A\\p{N}{1,2}(?=(?:\\p{N}{3})*+\\z)|\\p{N}{3}";
static const char split_free_numbers[] = "(?<!\\d)\\d++(?!\\w)";
static const char split_free_threes[] = "\\A\\d{1,2}(?=(?:\\d{3})*+\\z)|\\A\\d{3}(?=(?:\\d{3})*+\\z)|\\G(?<=\\d)\\d{3}";
#define THREES_LEFT "\\d{3}(?=(?:\\d{3})*+(?!\\d))"
static const char split_last_threes[] =
    "(?<!\\d)" THREES_LEFT "|(?<=(?<!\\d)\\d)" THREES_LEFT "|(?<=(?<!\\d)\\d\\d)" THREES_LEFT "|(?<=\\d{3})\\d{3}";

static const char split_bloom[] = " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+";
static const char split_digits[] = "\\p{N}+", split_three[] = "[0-9][0-9][0-9]", split_up_to_three[] = "\\p{N}{1,3}";
static const char split_signs[] = "[\\p{P}\\$\\+<=>\\^~\\|`]+", split_some_signs[] = "[\\p{P}\\$\\+<=>\\^~\\|]+";

static const struct pre_rule rules[] = {
    {.names = "gpt-2 phi-2 mpt olmo jais jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe "
              "gigachat a.x-4.0 mellum modern-bert exaone4 trillion granite-docling",
     .patterns = {split_gpt2}},
    {.names = "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2",
     .patterns = {split_digit, split_gpt2}},
    {.names = "dbrx smaug-bpe chatglm-bpe", .patterns = {split_llama3}},
    {.names = "glm4 glm5", .patterns = {split_llama3}, .ignore_merges = true},
    {.names = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     .patterns = {split_llama3},
     .ignore_merges = true,
     .add_bos = true},
    {.names = "stablelm2 hunyuan solar-open grok-2 megrez", .patterns = {split_qwen2}},
    {.names = "qwen2 deepseek-r1-qwen kormo f2llmv2", .patterns = {split_qwen2}, .nfc = true},
    {.names = "qwen35", .patterns = {split_qwen35}, .nfc = true},
    {.names = "deepseek-llm",
     .patterns = {split_line_ends, split_cased_letters, split_wide_signs, "\\s+$", split_cjk, split_digits}},
    {.names = "deepseek-coder", .patterns = {split_line_ends, "\\s?\\p{L}+", "\\s?\\p{P}+", split_cjk, split_digit}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
     .patterns = {split_up_to_three, split_kana_han, split_deepseek_v3}},
    {.names = "spark2_5", .patterns = {split_up_to_three, split_kana_han, split_spark, split_digit}},
    {.names = "afmoe", .patterns = {split_numbers, split_numbers_in_threes, split_afmoe_scripts, split_deepseek_v3}},
    {.names = "falcon", .patterns = {split_signs, split_gpt2}, .bytes = {split_byte_numbers, split_three}},
    {.names = "default", .patterns = {split_some_signs, split_gpt2, split_digits, split_three}},
    {.names = "bloom poro-chat gpt3-finnish", .patterns = {split_bloom}},
    {.names = "viking", .patterns = {split_bloom, split_digit}},
    {.names = "tekken", .patterns = {split_tekken}, .ignore_merges = true, .add_bos = true},
    {.names = "gpt-4o llama4 kanana2 talkie minimax-m2", .patterns = {split_gpt4o}},
    {.names = "granite-embed-multi-97m", .patterns = {split_gpt4o}, .ignore_merges = true},
    {.names = "tiny_aya cohere2moe", .patterns = {split_free_numbers, split_free_threes, split_gpt4o}},
    {.names = "youtu", .patterns = {split_youtu_scripts, split_youtu}, .ignore_merges = true},
    {.names = "kimi-k2", .patterns = {split_kimi}, .ignore_merges = true},
    {.names = "jais-2", .patterns = {split_jais2}},
    {.names = "exaone-moe", .patterns = {split_exaone_moe}},
    {.names = "bailingmoe bailingmoe2 llada-moe", .patterns = {split_bailing}},
    {.names = "seed-coder", .patterns = {split_seed}},
    {.names = "superbpe", .patterns = {split_numbers, split_last_threes}},
    {.names = "minicpm5", .patterns = {split_up_to_three, split_minicpm5}, .ignore_merges = true},
    {.names = "ufakzeka", .patterns = {split_ufakzeka}},
    {.names = "laguna", .patterns = {split_lines, split_qwen2}},
    {.names = "chameleon",
     .patterns = {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", split_digit,
                  "[\\p{P}!-/:-@\\[-`{-~]", split_gpt2},
     .add_bos = true},
    {.names = "gemma4 granite-embed-multi-311m sarvam-moe", .patterns = {split_lines}, .letters = VOCAB_MARKED},
    {.names = "whitespace", .patterns = {"\\S+"}, .letters = VOCAB_PLAIN},
};

static bool has_word(const char *words, struct slice word) {
  for (size_t size; *words; words += size + (words[size] == ' ')) {
    size = strcspn(words, " ");
    if (slice_equal(slice_make(words, size), word)) return true;
  }
  return false;
}

static const struct pre_rule *find_rule(struct slice pre, struct error *error) {
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
    if (has_word(rules[i].names, pre)) return &rules[i];
  error_set(error, ERROR_UNSUPPORTED,
            "The vocabulary's split rule (tokenizer.ggml.pre) is '%.*s', which is not one of those in "
            "docs/tokenizers.md; convert the model to a directory with its tokenizer.json.",
            SLICE_ARGS(pre));
  return NULL;
}

static bool add_splits(struct tokenizer_spec *spec, const struct pre_rule *rule, struct error *error) {
  enum step_kind kind = rule->letters == VOCAB_MARKED ? STEP_SPLIT_MARKED : STEP_SPLIT;
  enum split_mode mode = rule->letters == VOCAB_PLAIN ? SPLIT_REMOVED : SPLIT_ISOLATED;
  for (int i = 0; i < PRE_PATTERNS && rule->patterns[i]; i++) {
    struct step_spec step = {
        .kind = kind, .mode = mode, .inverted = mode == SPLIT_REMOVED, .a = slice_text(rule->patterns[i])};
    if (!spec_step(spec, step, error)) return false;
  }
  for (int i = 0; i < 2 && rule->bytes[i]; i++)
    if (!spec_step(spec, (struct step_spec){.kind = STEP_SPLIT_BYTES, .a = slice_text(rule->bytes[i])}, error))
      return false;
  return true;
}

bool vocab_split_rule(struct tokenizer_spec *spec, struct slice name, bool prefix_space, struct vocab_rule *out,
                      struct error *error) {
  const struct pre_rule *rule = find_rule(name, error);
  if (!rule) return false;
  *out = (struct vocab_rule){.ignore_merges = rule->ignore_merges, .add_bos = rule->add_bos, .letters = rule->letters};
  if (rule->nfc && !spec_step(spec, (struct step_spec){.kind = STEP_NFC}, error)) return false;
  if (rule->letters == VOCAB_MARKED && !spec_unmark_spaces(spec, error)) return false;
  if (prefix_space &&
      !spec_step(spec, (struct step_spec){.kind = STEP_PREFIX, .mode = PREFIX_ALWAYS, .a = slice_text(" ")}, error))
    return false;
  return add_splits(spec, rule, error);
}
