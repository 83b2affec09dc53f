/* A model's chat template: Jinja source compiled once, rendered for each conversation to text and to token ids.
 *
 * What the user wrote (contents, tools, variables of the request) is remembered byte by byte through all that the
 * template does to it, and special tokens are recognised only in bytes that are the template's own: a user who writes
 * <|im_end|> gets the tokens of these letters. The one exception are the roles that everybody knows ("user",
 * "assistant"…), which templates may build special tokens of.
 *
 * A struct chat_template is immutable after opening: any number of threads may render it at once. A rendering is
 * bounded in steps, depth, memory and output (LIMIT_TEMPLATE_*). */
#ifndef SPATE_TEXT_CHAT_TEMPLATE_H
#define SPATE_TEXT_CHAT_TEMPLATE_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"
#include "text/tokenizer.h"

#include <time.h>

struct chat_template;

/* Copies and compiles the source. An empty one is ERROR_UNSUPPORTED: the model has no chat template. ERROR_MEMORY says
 * that the system lacked memory, and nothing of the template. */
struct chat_template *chat_template_open(struct slice source, struct error *error);
void chat_template_close(struct chat_template *template); /* NULL is allowed */

/* How it takes contents: does it place images, and does it ask whether a content is a string (or all are lists of
 * parts)? As its source says. */
bool chat_template_places_images(const struct chat_template *template);
bool chat_template_takes_strings(const struct chat_template *template);

/* A conversation; everything is borrowed for the call. */
struct chat_input {
  const json_t *messages;     /* an array of objects */
  const json_t *tools;        /* an array, or NULL: the template sees none */
  const json_t *variables;    /* an object of further variables for the template, or NULL */
  bool add_generation_prompt; /* end with the beginning of the assistant's turn */
  struct slice bos, eos;      /* the template's bos_token and eos_token; data NULL: undefined */
  struct tm now;              /* for strftime_now: local time */
};

/* What a rendering gives. */
struct chat_text {
  struct buffer text;       /* UTF-8 */
  struct text_range *plain; /* [n_plain] owned; the bytes of text that the user wrote, in order, apart */
  size_t n_plain;
  size_t steps; /* that rendering into it took: it goes on from there where it is tried again */
};

void chat_text_init(struct chat_text *text);
void chat_text_release(struct chat_text *text);

/* Renders into text (initialised, empty). A template that refuses the conversation is ERROR_INVALID with its sentence.
 */
bool chat_template_render(const struct chat_template *template, const struct chat_input *input, struct chat_text *text,
                          struct error *error);

/* The same with the bos and eos of the tokenizer where input has none. */
bool chat_template_write(const struct chat_template *template, const struct chat_input *input,
                         const struct tokenizer *tokenizer, struct chat_text *text, struct error *error);

/* Appends the token ids of what was rendered. The tokenizer adds none of its own: as in transformers, a template that
 * wants a beginning token writes it. */
bool chat_text_encode(const struct chat_text *text, const struct tokenizer *tokenizer, struct token_list *out,
                      struct error *error);

/* chat_template_write, then chat_text_encode. */
bool chat_template_encode(const struct chat_template *template, const struct chat_input *input,
                          const struct tokenizer *tokenizer, struct token_list *out, struct error *error);

#endif
