/* A prompt with pictures in it, from its text to where the pictures' rows stand among its tokens. As the processors of
 * transformers do, text takes the place of each picture before anything is tokenized: what stands beside it may join
 * it. Any thread. */
#ifndef SPATE_RUNTIME_IMAGE_PROMPT_H
#define SPATE_RUNTIME_IMAGE_PROMPT_H

#include "runtime/image_form.h"
#include "schedule/schedule.h"
#include "text/chat_template.h"

enum { EMBED_NONE = -1, EMBED_OWN = -2 }; /* a text's token; the network's own row behind a line */

/* Where the pictures of a prompt are. */
struct image_layout {
  struct sequence_span *span; /* [n] owned; of each its tokens from the first row to the last; the hashes are not set */
  int32_t n_image;
  struct image_span *image; /* [n_image] owned; as struct sequence has them */
  int32_t *embed;           /* [n_token] owned; which row of its picture a token is, or EMBED_NONE, EMBED_OWN */
};

/* Rewrites a prompt that people write: <image> is a picture's place; where it has none, n places go in front. out:
 * initialised, empty; its maximum is what the prompt may grow to. */
bool image_prompt_mark(const struct image_form *form, struct slice prompt, int n, struct buffer *out,
                       struct error *error);

/* Are there n places for pictures, in what users have not written? */
bool image_prompt_check(const struct image_form *form, const struct chat_text *text, int32_t n, struct error *error);

/* The checked text with what is written for the n pictures in their places. out: initialised, empty. */
bool image_prompt_write(const struct image_form *form, const struct chat_text *text,
                        const struct image_shape *const *shape, int32_t n, struct chat_text *out, struct error *error);

/* Finds the pictures among the tokens of that text. The layout is the caller's to release, after false too. */
bool image_prompt_place(const struct image_form *form, const struct image_shape *const *shape, int32_t n,
                        const struct token_list *tokens, struct image_layout *layout, struct error *error);
void image_layout_release(struct image_layout *layout);

#endif
