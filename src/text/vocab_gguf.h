/* The vocabulary of a GGUF file (keys tokenizer.ggml.*) to a compiled tokenizer. */
#ifndef SPATE_TEXT_VOCAB_GGUF_H
#define SPATE_TEXT_VOCAB_GGUF_H

#include "format/gguf.h"
#include "text/tokenizer.h"

bool tokenizer_compile_gguf(const struct gguf *gguf, struct buffer *blob, struct error *error);

#endif
