#include "base/vocabulary_names.h"

#include <stddef.h>

const char *const vocabulary_names[] = {
    "tokenizer.json", "tekken.json", "tokenizer.model", "tiktoken.model", "qwen.tiktoken", "hy.tiktoken", NULL};

const char *const classic_vocabulary_names[] = {"vocab.txt",    "vocab.json", "merges.txt", "sentencepiece.bpe.model",
                                                "spiece.model", NULL};
