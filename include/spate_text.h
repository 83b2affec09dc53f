/* Spate: texts and tokens of an open engine. Included by spate.h. */
#ifndef SPATE_H
#include "spate.h" /* which includes this */
#elif !defined SPATE_TEXT_H
#define SPATE_TEXT_H

#ifdef __cplusplus
extern "C" {
#endif

/* Text that a function returns; free with spate_text_free. NUL-terminated. */
typedef struct {
  char *data;
  size_t size;
} spate_text;

SPATE_API void spate_text_free(spate_text *text);

typedef struct {
  int32_t *ids; /* for a request's tokens */
  size_t count;
} spate_tokens;

SPATE_API void spate_tokens_free(spate_tokens *tokens);

/* The token ids of a text (UTF-8; special tokens written in it are recognised) without or with those that the tokenizer
 * puts around a prompt. */
SPATE_API bool spate_encode(const spate_engine *engine, const char *text, size_t size, bool add_special,
                            spate_tokens *tokens, spate_error *error);

/* The text of token ids, special tokens written out; free with spate_text_free. */
SPATE_API bool spate_decode(const spate_engine *engine, const int32_t *tokens, size_t count, spate_text *text,
                            spate_error *error);

/* A conversation as the model's chat template writes it, in token ids. json is an object with "messages", and perhaps
 * "tools" (which the template does not see where "tool_choice" is "none"), "add_generation_prompt" (default true: the
 * answer is what comes next) and "chat_template_kwargs", as OpenAI's clients send them; other members are ignored.
 * Arguments of calls that are JSON in a string become what they are. Contents may be lists of parts of type text.
 * Special tokens come from the template alone: what the messages contain stays text. SPATE_UNSUPPORTED when the model
 * has no usable template, SPATE_INVALID when the template refuses the messages, SPATE_LIMIT when the ids are more than
 * max_input_len.
 */
SPATE_API bool spate_chat_tokens(const spate_engine *engine, const char *json, size_t size, spate_tokens *tokens,
                                 spate_error *error);

/* The model's chat template, Jinja, while the engine is open; empty: it has none. Not NUL-terminated. */
SPATE_API const char *spate_chat_template(const spate_engine *engine, size_t *size);

#ifdef __cplusplus
}
#endif

#endif
