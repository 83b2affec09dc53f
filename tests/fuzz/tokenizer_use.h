/* What fuzzers do with a tokenizer that was compiled: encode and decode a text of many kinds of characters. */
#ifndef SPATE_TESTS_TOKENIZER_USE_H
#define SPATE_TESTS_TOKENIZER_USE_H

#include "text/detokenizer.h"
#include "text/tokenizer.h"

static inline void tokenizer_use(const struct tokenizer *tokenizer) {
  static const char text[] =
      "Hello  world\xC3\xA9 e\xCC\x81 123 <s></s>\n\n aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaa\xF0\x9F\xA6\x99 ab abab \xE2\x96\x81   ";
  struct token_list ids;
  struct buffer out;
  token_list_init(&ids, 1 << 16);
  buffer_init(&out, 1 << 20);
  tokenizer_encode(tokenizer, slice_text(text), ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, &ids, NULL);
  detokenize(tokenizer, ids.ids, ids.count, DETOKENIZE_START, &out);
  buffer_release(&out);
  token_list_release(&ids);
}

#endif
