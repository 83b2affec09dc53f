#include "base/vocabulary_names.h"

#include <stddef.h>

const char *const vocabulary_names[] = {
    "tokenizer.json", "tekken.json", "tokenizer.model", "tiktoken.model", "qwen.tiktoken", "hy.tiktoken", NULL};
