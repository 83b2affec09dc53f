/* A conversation as OpenAI's clients send it, to text and to token ids. */
#ifndef SPATE_TEXT_CONVERSATION_H
#define SPATE_TEXT_CONVERSATION_H

#include "text/chat_template.h"

/* Who takes the images of a conversation, in their order. NULL: the model sees none, and they are refused. */
struct conversation_images {
  bool (*take)(void *user, struct slice url, struct error *error); /* the text of image_url; stays for the call alone */
  void *user;
};

/* json: an object with "messages", and perhaps "tools", "add_generation_prompt" (default true), "chat_template_kwargs"
 * and "reasoning_effort"; other members are ignored. A message's content may be a list of parts of type text: they are
 * joined, a line end between two, unless the model sees images: then its template gets the parts, and those of type
 * image_url as {"type": "image"}. Any thread. ERROR_INVALID when a member is not what it must be or the template
 * refuses the messages. */
bool conversation_write(const struct chat_template *template, struct slice json,
                        const struct conversation_images *images, const struct tokenizer *tokenizer,
                        struct chat_text *out, struct error *error);

/* The same, as tokens. */
bool conversation_encode(const struct chat_template *template, struct slice json,
                         const struct conversation_images *images, const struct tokenizer *tokenizer,
                         struct token_list *out, struct error *error);

#endif
