/* Models with a chat template for conversations with tools beside their usual one (Hermes, Command R). transformers
 * chooses by whether a conversation has tools; here both become one template, which asks that. */
#ifndef SPATE_MODEL_TOOL_TEMPLATE_H
#define SPATE_MODEL_TOOL_TEMPLATE_H

#include "base/buffer.h"
#include "base/slice.h"

/* By this name, in a list of templates and in GGUF metadata; transformers 5 has it in a file of its own. */
#define TOOL_TEMPLATE      "tool_use"
#define TOOL_TEMPLATE_FILE "additional_chat_templates/" TOOL_TEMPLATE ".jinja"

/* Appends Jinja source that writes what `tools` does where there are tools, and else what `usual` does. False: it is
 * more than the buffer may have. */
bool tool_template_join(struct buffer *source, struct slice usual, struct slice tools);

#endif
