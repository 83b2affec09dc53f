/* Vocabularies of other libraries from anywhere: refused with a sentence, or compiled to a table that opens and
 * encodes. */
#include "base/limits.h"
#include "text/detokenizer.h"
#include "text/vocab_files.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct tokenizer *tokenizer) {
  static const char text[] = "Hello  world\xC3\xA9 e\xCC\x81 123 <s></s>\n\n\xE2\x96\x81 \xF0\x9F\xA6\x99 ab abab   ";
  struct token_list ids;
  struct buffer out;
  token_list_init(&ids, 1 << 16);
  buffer_init(&out, 1 << 20);
  tokenizer_encode(tokenizer, slice_text(text), ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, &ids, NULL);
  detokenize(tokenizer, ids.ids, ids.count, DETOKENIZE_START, &out);
  buffer_release(&out);
  token_list_release(&ids);
}

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
    if (tokenizer) use(tokenizer);
    tokenizer_close(tokenizer);
  } else if (error.code == ERROR_NONE || error.text[0] == '\0') {
    abort(); /* refused without a sentence */
  }
  buffer_release(&blob);
  return 0;
}
