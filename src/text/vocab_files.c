/* Which library's file a vocabulary is. */
#include "text/vocab_files.h"

bool tokenizer_compile_file(const char *name, struct slice file, struct slice tokenizer_config_json,
                            struct buffer *blob, struct error *error) {
  enum { FIRST_PIECE = 0x0A }; /* how a SentencePiece model begins: no line of base64 does */
  bool model = strcmp(name, "tokenizer.model") == 0;
  if (strcmp(name, "tokenizer.json") == 0) return tokenizer_compile_json(file, tokenizer_config_json, blob, error);
  if (strcmp(name, "tekken.json") == 0) return tokenizer_compile_tekken(file, blob, error);
  if (model && file.size > 0 && file.data[0] == FIRST_PIECE)
    return tokenizer_compile_sentencepiece(file, tokenizer_config_json, blob, error);
  return tokenizer_compile_tiktoken(file, tokenizer_config_json, blob, error) || error_prefix(error, "%s: ", name);
}
