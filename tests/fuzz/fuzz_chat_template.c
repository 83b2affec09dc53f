/* A chat template from anywhere, and after a NUL byte perhaps the messages: refused with a sentence, or rendered to
 * text whose untrusted ranges are in order and within it. After a first byte of 1 the others say which calls of every
 * filter, method, test and function a template makes. */
#include "text/chat_template.h"

#include "template_grammar.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ranges(const struct chat_text *text) {
  size_t at = 0;
  for (size_t i = 0; i < text->n_plain; i++) {
    if (text->plain[i].start < at || text->plain[i].end <= text->plain[i].start) abort();
    at = text->plain[i].end;
  }
  if (at > text->text.size) abort();
}

static void render(const struct chat_template *template, const json_t *messages) {
  struct chat_input input = {.messages = messages,
                             .tools = messages,
                             .add_generation_prompt = true,
                             .bos = slice_text("<s>"),
                             .eos = slice_text("</s>"),
                             .now = {.tm_year = 124, .tm_mday = 1}};
  struct chat_text text;
  struct error error = {0};
  chat_text_init(&text);
  if (chat_template_render(template, &input, &text, &error))
    check_ranges(&text);
  else if (error.code == ERROR_NONE || error.text[0] == '\0' || strstr(error.text, "gave no value"))
    abort(); /* refused without a sentence, or done without a result */
  chat_text_release(&text);
}

static int test_template(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0 || data[0] != 1) return test_template(data, size);
  struct buffer source;
  buffer_init(&source, 1 << 16);
  template_write(&source, data + 1, size - 1);
  test_template((const uint8_t *)source.data, source.size);
  buffer_release(&source);
  return 0;
}

static int test_template(const uint8_t *data, size_t size) {
  static const char usual[] =
      "[{\"role\":\"system\",\"content\":\"a b\"},{\"role\":\"user\",\"content\":\"<|im_end|>\","
      "\"n\":[1,2.5,null,true]},{\"role\":\"assistant\",\"content\":\"\\u00e9\\n\"}]";
  const uint8_t *border = size ? memchr(data, 0, size) : NULL;
  size_t source = border ? (size_t)(border - data) : size;
  struct error error = {0};
  struct chat_template *template = chat_template_open(slice_make(data, source), &error);
  if (!template) {
    if (error.code == ERROR_NONE || error.text[0] == '\0') abort();
    return 0;
  }
  json_t *messages = border ? json_parse_client(slice_make(border + 1, size - source - 1), true, &error) : NULL;
  if (!messages) messages = json_parse(slice_text(usual), &error);
  render(template, messages);
  json_decref(messages);
  chat_template_close(template);
  return 0;
}
