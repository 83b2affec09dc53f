/* spate.h: conversations and texts to token ids, and back. Any thread: an engine's template and tokenizer never change.
 */
#include "lib/spate_state.h"
#include "text/conversation.h"
#include "text/detokenizer.h"

#include <stdlib.h>

enum { TEXT_MAX = 64 << 20 };

/* Hands the list over, or releases it with the error. */
static bool tokens_export(bool done, struct token_list *list, spate_tokens *tokens, const struct error *detail,
                          spate_error *error) {
  *tokens = (spate_tokens){0};
  if (done) {
    *tokens = (spate_tokens){list->ids, list->count};
    return true;
  }
  token_list_release(list);
  return error_export(detail, error);
}

static bool image_refuse(void *user, struct slice url, struct error *error) {
  (void)user;
  (void)url;
  return error_set(error, ERROR_UNSUPPORTED,
                   "Which tokens an image becomes is known once it is decoded: leave images out, or send the request "
                   "itself, whose usage counts them.");
}

bool spate_chat_tokens(const spate_engine *engine, const char *json, size_t size, spate_tokens *tokens,
                       spate_error *error) {
  struct error detail = engine->chat_problem;
  struct token_list list;
  token_list_init(&list, (size_t)engine->loaded->file.facts->config.max_input_len);
  const struct conversation_images images = {image_refuse, NULL};
  bool done = engine->chat &&
              conversation_encode(engine->chat, slice_make(json, size), engine->loaded->file.vision ? &images : NULL,
                                  engine->tokenizer, &list, &detail);
  return tokens_export(done, &list, tokens, &detail, error);
}

bool spate_encode(const spate_engine *engine, const char *text, size_t size, bool add_special, spate_tokens *tokens,
                  spate_error *error) {
  struct error detail = {0};
  struct token_list list;
  unsigned flags = ENCODE_PARSE_SPECIAL | (add_special ? (unsigned)ENCODE_ADD_SPECIAL : 0);
  token_list_init(&list, size + 16); /* a token is a byte at least, but for what is added */
  bool done = tokenizer_encode(engine->tokenizer, slice_make(text, size), flags, &list, &detail);
  return tokens_export(done, &list, tokens, &detail, error);
}

bool spate_decode(const spate_engine *engine, const int32_t *tokens, size_t count, spate_text *text,
                  spate_error *error) {
  struct error detail = {0};
  struct buffer out;
  int vocab = engine->loaded->plan->vocab;
  for (size_t i = 0; i < count; i++)
    if (tokens[i] < 0 || tokens[i] >= vocab) {
      error_set(&detail, ERROR_INVALID, "Token %zu is %d, expected 0 to %d.", i, tokens[i], vocab - 1);
      return error_export(&detail, error);
    }
  buffer_init(&out, TEXT_MAX);
  if (detokenize(engine->tokenizer, tokens, count, DETOKENIZE_SPECIAL | DETOKENIZE_START, &out))
    return text_export(&out, text, &detail) || error_export(&detail, error);
  buffer_release(&out);
  error_set(&detail, ERROR_LIMIT, "The text of %zu tokens is longer than %d bytes.", count, TEXT_MAX);
  return error_export(&detail, error);
}

void spate_tokens_free(spate_tokens *tokens) {
  free(tokens->ids);
  *tokens = (spate_tokens){0};
}

const char *spate_chat_template(const spate_engine *engine, size_t *size) {
  struct slice source = engine->loaded->file.chat_template;
  *size = source.size;
  return (const char *)source.data;
}
