/* A GGUF ranker's template of two texts, "tokenizer.chat_template.rerank", which has {query} and {document} where they
 * go: the same as a chat template, of messages of these roles. */
#ifndef SPATE_MODEL_RANK_TEMPLATE_H
#define SPATE_MODEL_RANK_TEMPLATE_H

#include "base/buffer.h"
#include "base/error.h"
#include "format/gguf.h"

/* Appends Jinja source, or nothing where the file has no such template, or is no ranker (by its pooling_type) with a
 * head of a yes and a no. */
bool rank_template_write(const struct gguf *gguf, struct buffer *source, struct error *error);

#endif
