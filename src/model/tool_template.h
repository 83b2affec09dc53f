/* Models with a chat template for conversations with tools beside their usual one (Hermes, Command R). transformers
 * chooses by whether a conversation has tools; here both become one template, which asks that. */
#ifndef SPATE_MODEL_TOOL_TEMPLATE_H
#define SPATE_MODEL_TOOL_TEMPLATE_H

#include "base/buffer.h"
#include "base/json.h"

/* Its name in a list of templates and in GGUF metadata; transformers 5 has it in a file of its own. */
#define TOOL_TEMPLATE      "tool_use"
#define TOOL_TEMPLATE_FILE "additional_chat_templates/" TOOL_TEMPLATE ".jinja"

/* Jinja sources; no bytes: there is none. */
struct template_pair {
  struct slice usual, tools;
};

/* Of "chat_template" in tokenizer_config.json, or NULL: a text, or a list of {"name", "template"}. */
struct template_pair template_pair_listed(const json_t *value);

/* *source is the usual one or, where there are two, made in `joint`: it writes what `tools` does where there are tools,
 * and else what `usual` does. Two that are too large together stay two: *source is the usual one. Of what is one for
 * both, or none, pair->tools becomes empty. False: no memory. */
bool template_pair_join(struct template_pair *pair, struct buffer *joint, struct slice *source, struct error *error);

#endif
