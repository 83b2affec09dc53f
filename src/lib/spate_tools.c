/* spate.h: texts, inspection, tokenization. */
#include "base/json.h"
#include "build/draft.h"
#include "build/inspect.h"
#include "lib/spate_state.h"

#include <stdlib.h>

enum { TEXT_MAX = 256 << 20 };

bool text_export(struct buffer *buffer, spate_text *text, struct error *error) {
  size_t size = buffer->size;
  if (!buffer_append(buffer, "", 1)) {
    buffer_release(buffer);
    return error_set(error, ERROR_MEMORY, "The text does not fit in %zu bytes.", buffer->max);
  }
  *text = (spate_text){buffer->data, size};
  return true;
}

void spate_text_free(spate_text *text) {
  free(text->data);
  *text = (spate_text){0};
}

bool spate_inspect(const char *path, spate_text *json, spate_error *error) {
  struct error detail = {0};
  struct buffer out;
  buffer_init(&out, TEXT_MAX);
  if (inspect_path(path, &out, &detail)) return text_export(&out, json, &detail) || error_export(&detail, error);
  buffer_release(&out);
  return error_export(&detail, error);
}

static void tokens_write(const struct tokenizer *tokenizer, const struct token_list *list, struct buffer *out) {
  buffer_text(out, "{\"tokens\":[");
  for (size_t i = 0; i < list->count; i++) {
    buffer_print(out, "%s{\"id\":%d,\"text\":", i ? "," : "", list->ids[i]);
    json_write_string(out, tokenizer_piece(tokenizer, list->ids[i]));
    buffer_text(out, "}");
  }
  buffer_text(out, "]}");
}

static bool text_tokenize(const struct tokenizer *tokenizer, struct slice text, bool add_special, struct buffer *out,
                          struct error *error) {
  struct token_list list;
  token_list_init(&list, text.size + 16);
  unsigned flags = ENCODE_PARSE_SPECIAL | (add_special ? (unsigned)ENCODE_ADD_SPECIAL : 0);
  bool done = tokenizer_encode(tokenizer, text, flags, &list, error);
  if (done) tokens_write(tokenizer, &list, out);
  token_list_release(&list);
  return done;
}

/* With the tokenizer that an engine file holds. */
static bool engine_tokenize(const char *path, struct slice text, bool add_special, struct buffer *out,
                            struct error *error) {
  struct engine_file file;
  if (!engine_file_open(&file, path, error)) return false;
  struct tokenizer *tokenizer = tokenizer_open(file.tokenizer, error);
  bool done = tokenizer && text_tokenize(tokenizer, text, add_special, out, error);
  tokenizer_close(tokenizer);
  engine_file_close(&file);
  return done;
}

/* With the tokenizer that a build of the checkpoint would compile: no weight is read. */
static bool checkpoint_tokenize(const char *path, struct slice text, bool add_special, struct buffer *out,
                                struct error *error) {
  struct draft draft;
  draft_init(&draft);
  bool done = draft_open(&draft, path, error) && draft_tokenizer(&draft, error) &&
              text_tokenize(draft.tokenizer, text, add_special, out, error);
  draft_release(&draft);
  return done;
}

bool spate_tokenize(const char *model, const char *text, size_t text_size, bool add_special, spate_text *json,
                    spate_error *error) {
  struct error detail = {0};
  struct buffer out;
  buffer_init(&out, TEXT_MAX);
  bool is_engine = engine_file_detect(model);
  bool done = (is_engine ? engine_tokenize : checkpoint_tokenize)(model, slice_make(text, text_size), add_special, &out,
                                                                  &detail);
  if (done && text_export(&out, json, &detail)) return true;
  buffer_release(&out);
  return error_export(&detail, error);
}
