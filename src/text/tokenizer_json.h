/* What the files that read a tokenizer.json share: tokenizer_json.c (the whole, special tokens), tokenizer_json_model.c
 * (vocabulary, scores, merges), tokenizer_json_normalizer.c, tokenizer_json_steps.c (splits), tokenizer_json_decoder.c,
 * tokenizer_json_around.c (post-processor), and what reads a file as it is written, tokenizer_json_written.c.
 */
#ifndef SPATE_TEXT_TOKENIZER_JSON_H
#define SPATE_TEXT_TOKENIZER_JSON_H

#include "base/json.h"
#include "text/tokenizer_spec.h"

/* The model, in this order: its kind before the steps are read, its flags after them, then how many ids there are (with
 * those of added tokens), the vocabulary, and after indexing the merges. */
bool json_read_kind(struct tokenizer_spec *spec, const json_t *model, struct error *error);
bool json_read_flags(struct tokenizer_spec *spec, const json_t *model, struct error *error);
bool json_count_tokens(const struct tokenizer_spec *spec, const json_t *model, const json_t *added, size_t *count,
                       struct error *error);
bool json_read_vocab(struct tokenizer_spec *spec, const json_t *model, struct error *error);
bool json_read_merges(struct tokenizer_spec *spec, const json_t *model, struct error *error);
void json_name(struct tokenizer_spec *spec); /* what people call it */

/* Reads normalizer, pre_tokenizer and decoder into the spec's flags and steps. */
bool json_read_steps(struct tokenizer_spec *spec, const json_t *root, struct error *error);

/* Reads the post-processor into the spec's prefix and suffix. *templated: it says what is around a text. */
bool json_read_around(struct tokenizer_spec *spec, const json_t *component, bool *templated, struct error *error);

/* One component of the normalizer, and of the decoder. */
bool json_read_normalizer(struct tokenizer_spec *spec, const json_t *component, struct error *error);
bool json_read_decoder(struct tokenizer_spec *spec, const json_t *component, struct error *error);

/* Whether the plain form, whose flags are known, shows what the decoder that was read would. */
bool json_decoder_fits(const struct tokenizer_spec *spec, struct error *error);

/* The same of a decoder for MODEL_WRITTEN; and then, when all tokens are known, what each is shown as. */
bool json_read_written_decoder(struct tokenizer_spec *spec, const json_t *component, struct error *error);
bool json_show_tokens(struct tokenizer_spec *spec, struct error *error);

/* The replacements that make a text tidy, in their order. */
enum { DECODE_TIDIED = 11 };
extern const char *const decode_tidied[DECODE_TIDIED][2];

/* What the plain form of a tokenizer has no room for: it is read again, as it is written. Nobody sees the sentence. */
bool json_unfit(struct error *error);

/* Adds STEP_LETTERS or STEP_SPELL: each makes a text twice as long, or less. */
bool json_spell(struct tokenizer_spec *spec, enum step_kind kind, struct error *error);

/* The sentences about a component: `where` is what it is one of, `what` its type. */
bool json_unsupported(const char *where, struct slice what, struct error *error);
bool json_malformed(const char *where, struct slice what, const char *expected, struct error *error);

/* Reading members; each with a default where the member is absent or null. `where` names the component in sentences. */
bool json_take_bool(const json_t *object, const char *key, bool fallback);
struct slice json_take_text(const json_t *object, const char *key); /* data NULL when it is no string */
struct slice json_type_of(const json_t *component);                 /* its "type", "" when it has none */

#endif
