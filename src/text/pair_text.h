/* Two texts as the chat template of a ranker joins them, whole: tokens may merge where its words and theirs meet. The
 * messages are sentence-transformers': of the roles "query" and "document", behind one of the role "system" where
 * there is an instruction. Any thread. */
#ifndef SPATE_TEXT_PAIR_TEXT_H
#define SPATE_TEXT_PAIR_TEXT_H

#include "text/chat_template.h"

/* How a template takes a content: as a string, or as a list of one part of type text. */
enum pair_form { PAIR_PLAIN, PAIR_STRINGS, PAIR_PARTS, PAIR_FORMS }; /* PAIR_PLAIN: no template joins them */

struct pair_text {
  const struct chat_template *template;
  const struct tokenizer *tokenizer;
  enum pair_form form;
  bool generation_prompt;                    /* the template is asked for the beginning of an answer */
  struct slice instruction, query, document; /* borrowed; instruction without bytes: none */
  int32_t most;                              /* tokens of the document that count; 0: all */
};

/* The form in which both texts reach what the template writes; a template that takes them in none is
 * ERROR_UNSUPPORTED. */
bool pair_form_find(const struct chat_template *template, bool generation_prompt, enum pair_form *form,
                    struct error *error);

/* *matter: it joins two texts for being those of these roles, or whatever their roles are, and does not write them as
 * it writes messages of any roles that it has never heard of. A template that takes none is no error. */
bool pair_roles_matter(const struct chat_template *template, bool generation_prompt, enum pair_form form, bool *matter,
                       struct error *error);

/* Of a conversation in JSON: has it one message of each of the two roles, and besides them at most one of the role
 * "system"? Otherwise what it says would count for nothing: ERROR_INVALID. */
bool pair_messages_check(struct slice json, struct error *error);

/* Appends the ids. More than `max` are ERROR_LIMIT, or `cut` to as many: the last of them are those that the template
 * ends with, whatever the texts. */
bool pair_text_encode(const struct pair_text *pair, size_t max, bool cut, struct token_list *out, struct error *error);

#endif
