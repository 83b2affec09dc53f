/* Vocabularies of other libraries from anywhere: refused with a sentence, or compiled to a table that opens and
 * encodes. */
#include "base/limits.h"
#include "format/gguf.h"
#include "text/vocab_files.h"
#include "text/vocab_gguf.h"
#include "tokenizer_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILES = 3, KINDS };

static bool compile(size_t kind, struct slice file, struct buffer *blob, struct error *error) {
  static const char *const names[FILES] = {"tokenizer.model", "tiktoken.model", "tekken.json"};
  static const char *const configs[FILES] = {
      "", "{\"tokenizer_class\": \"QWenTokenizer\", \"added_tokens_decoder\": {\"260\": {\"content\": \"</s>\"}}}", ""};
  if (kind < FILES) return tokenizer_compile_file(names[kind], file, slice_text(configs[kind]), blob, error);
  struct gguf *gguf = gguf_read(file, error);
  bool done = gguf && tokenizer_compile_gguf(gguf, blob, error);
  gguf_close(gguf);
  return done;
}

/* The first byte says which file the rest is, and how it is used. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct buffer blob;
  struct error error = {0};
  if (size == 0) return 0;
  buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
  uint8_t choice[] = {data[0] / KINDS, data[0] / KINDS};
  if (compile(data[0] % KINDS, slice_make(data + 1, size - 1), &blob, &error)) {
    struct tokenizer *tokenizer = tokenizer_open(buffer_slice(&blob), &error);
    if (!tokenizer && error.text[0] == '\0') abort();
    if (tokenizer) tokenizer_use(tokenizer, slice_make(choice, sizeof choice));
    tokenizer_close(tokenizer);
  } else if (error.code == ERROR_NONE || error.text[0] == '\0') {
    abort(); /* refused without a sentence */
  }
  buffer_release(&blob);
  return 0;
}
