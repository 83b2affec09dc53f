/* tokenizer.json from anywhere: refused with a sentence, or compiled to a table that opens, encodes and decodes. */
#include "base/limits.h"
#include "tokenizer_use.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct buffer blob;
  struct error error = {0};
  buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
  if (tokenizer_compile_json(slice_make(data, size), slice_make(data, 0), &blob, &error)) {
    struct tokenizer *tokenizer = tokenizer_open(buffer_slice(&blob), &error);
    if (!tokenizer) abort(); /* what was compiled must open */
    tokenizer_use(tokenizer);
    tokenizer_close(tokenizer);
  } else if (error.code == ERROR_NONE || error.text[0] == '\0') {
    abort(); /* refused without a sentence */
  }
  buffer_release(&blob);
  return 0;
}
