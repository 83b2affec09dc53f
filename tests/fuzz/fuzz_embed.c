/* Any bytes as the body of each route of texts that become numbers. What is accepted can be read, text by text. */
#include "base/limits.h"
#include "server/embed_request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every byte, every id. */
static void texts_check(const struct embed_texts *texts) {
  uint64_t sum = 0;
  if (texts->count < 1 || texts->count > LIMIT_REQUEST_TEXTS) abort();
  for (size_t i = 0; i < texts->count; i++) {
    const json_t *text = embed_text_at(texts, i), *id;
    size_t at;
    for (size_t k = 0; k < json_string_length(text); k++) sum += (uint8_t)json_string_value(text)[k];
    json_array_foreach(text, at, id) sum += (uint64_t)json_integer_value(id);
    if (!json_is_string(text) && json_array_size(text) == 0) abort();
  }
  if (sum == UINT64_MAX) abort(); /* it is read */
}

static void fields_read(struct embed_request *request) {
  static const char *const names[] = {"input", "query", "documents", "text_1", "text_2"};
  struct embed_texts texts;
  struct error error;
  int number = 0;
  bool flag = false;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    for (int ids = 0; ids < 2; ids++)
      if (embed_texts_read(request, names[i], ids > 0, &texts, &error)) texts_check(&texts);
  if (embed_int_read(request, "dimensions", 1, 64, &number, &error) && (number < 0 || number > 64)) abort();
  embed_bool_read(request, "use_activation", &flag, &error);
  embed_format_read(request, &error);
  if (embed_has(request, "messages") && embed_messages_read(request, &error)) texts_check(&request->first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct embed_request request;
  struct error error;
  if (embed_request_read(&request, slice_make(data, size), &error)) fields_read(&request);
  embed_request_release(&request);
  return 0;
}
