/* tokenizer.json from anywhere: refused with a sentence, or compiled to a table that opens, encodes and decodes. */
#include "base/limits.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct tokenizer *tokenizer) {
  static const char text[] =
      "Hello  world\xC3\xA9 e\xCC\x81 123 <s></s>\n\n aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaa\xF0\x9F\xA6\x99 ab abab";
  struct token_list ids;
  struct buffer out;
  token_list_init(&ids, 1 << 16);
  buffer_init(&out, 1 << 20);
  tokenizer_encode(tokenizer, slice_text(text), ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, &ids, NULL);
  detokenize(tokenizer, ids.ids, ids.count, DETOKENIZE_START, &out);
  buffer_release(&out);
  token_list_release(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct buffer blob;
  struct error error = {0};
  buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
  if (tokenizer_compile_json(slice_make(data, size), slice_make(data, 0), &blob, &error)) {
    struct tokenizer *tokenizer = tokenizer_open(buffer_slice(&blob), &error);
    if (!tokenizer) abort(); /* what was compiled must open */
    use(tokenizer);
    tokenizer_close(tokenizer);
  } else if (error.code == ERROR_NONE || error.text[0] == '\0') {
    abort(); /* refused without a sentence */
  }
  buffer_release(&blob);
  return 0;
}
