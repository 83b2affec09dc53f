/* What the files that read a GGUF vocabulary share: tokenizer_vocab.c (tokens, and every kind but one) and
 * vocab_byte_level.c. */
#ifndef SPATE_TEXT_VOCAB_SPEC_H
#define SPATE_TEXT_VOCAB_SPEC_H

#include "text/tokenizer_spec.h"

/* All tokens, by their types and the spec's flags; then the index. */
bool vocab_read_tokens(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error);

/* bos, eos and the like; what is put around a text, where the source does not say: add_bos. */
void vocab_read_special_ids(struct tokenizer_spec *spec, const struct vocab_source *source, bool add_bos);

/* "gpt2". */
bool vocab_read_byte_level(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error);

#endif
