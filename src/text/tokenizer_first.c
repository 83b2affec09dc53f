/* The first ids of a text, which may have more. */
#include "text/tokenizer.h"

bool tokenizer_encode_first(const struct tokenizer *tokenizer, struct slice text, unsigned flags,
                            struct token_list *out, struct error *error) {
  struct error failure = {0};
  if (tokenizer_encode(tokenizer, text, flags, out, &failure)) return true;
  if (failure.code == ERROR_LIMIT && out->failed) return true;
  return error_set(error, failure.code, "%s", failure.text);
}
