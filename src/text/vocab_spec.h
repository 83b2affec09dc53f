/* What the files that read vocabularies share: of GGUF tokenizer_vocab.c (tokens, and every kind but one) and
 * vocab_byte_level.c, of other libraries those of vocab_files.h; split_rules.c for both. */
#ifndef SPATE_TEXT_VOCAB_SPEC_H
#define SPATE_TEXT_VOCAB_SPEC_H

#include "base/json.h"
#include "text/tokenizer_spec.h"

/* What a token of a vocabulary is, by the numbers of SentencePiece and GGUF. */
enum vocab_type { VOCAB_NORMAL = 1, VOCAB_UNKNOWN, VOCAB_CONTROL, VOCAB_USER, VOCAB_UNUSED, VOCAB_BYTE };

/* All tokens, by their types and the spec's flags; then the index. */
bool vocab_read_tokens(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error);

/* bos, eos and the like; what is put around a text, where the source does not say: add_bos. */
void vocab_read_special_ids(struct tokenizer_spec *spec, const struct vocab_source *source, bool add_bos);

/* Every way to cut a token into two tokens is a merge: of the token's rank, or the earlier the higher its score. */
bool vocab_merges_by_rank(struct tokenizer_spec *spec, const uint32_t *ranks, struct error *error);
bool vocab_merges_from_scores(struct tokenizer_spec *spec, const float *scores, struct error *error);

/* Those of a Unigram model. */
bool vocab_scores(struct tokenizer_spec *spec, const float *scores, struct error *error);

/* How the tokens of BPE by merges are written: bytes as letters, U+2581 for a space, or as they are. */
enum vocab_letters { VOCAB_LETTERS, VOCAB_MARKED, VOCAB_PLAIN };

/* The steps that a split rule of GGUF's names stands for, and what its families do beside. */
struct vocab_rule {
  bool ignore_merges, add_bos;
  enum vocab_letters letters;
};
bool vocab_split_rule(struct tokenizer_spec *spec, struct slice name, bool prefix_space, struct vocab_rule *rule,
                      struct error *error);

/* The tokens that tokenizer_config.json (NULL: there is none) adds or names anew (added_tokens_decoder): how many ids
 * there are with them, and the tokens put in their places, with the types VOCAB_CONTROL and VOCAB_USER. */
bool vocab_count_added(const json_t *config, size_t *count, struct error *error);
void vocab_take_added(const json_t *config, struct slice *tokens, int32_t *types);

/* "gpt2", split as the name says. */
bool vocab_read_byte_level(struct tokenizer_spec *spec, const struct vocab_source *source, struct slice pre,
                           struct error *error);

#endif
