/* Vocabularies of other libraries from anywhere: refused with a sentence, or compiled to a table that opens and
 * encodes. */
#include "base/limits.h"
#include "text/vocab_files.h"
#include "tokenizer_use.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte says which file the rest is. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const names[] = {"tokenizer.model", "tiktoken.model", "tekken.json"};
  static const char *const configs[] = {
      "", "{\"tokenizer_class\": \"QWenTokenizer\", \"added_tokens_decoder\": {\"260\": {\"content\": \"</s>\"}}}", ""};
  struct buffer blob;
  struct error error = {0};
  if (size == 0) return 0;
  buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
  size_t kind = data[0] % 3;
  if (tokenizer_compile_file(names[kind], slice_make(data + 1, size - 1), slice_text(configs[kind]), &blob, &error)) {
    struct tokenizer *tokenizer = tokenizer_open(buffer_slice(&blob), &error);
    if (!tokenizer && error.text[0] == '\0') abort();
    if (tokenizer) tokenizer_use(tokenizer);
    tokenizer_close(tokenizer);
  } else if (error.code == ERROR_NONE || error.text[0] == '\0') {
    abort(); /* refused without a sentence */
  }
  buffer_release(&blob);
  return 0;
}
