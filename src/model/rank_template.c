/* Literal text becomes strings of the template's own, so that nothing in it is taken for Jinja and no line's end is
 * trimmed. */
#include "model/rank_template.h"

#include "base/limits.h"

#include <stdio.h>
#include <string.h>

static const char template_key[] = "tokenizer.chat_template.rerank";

static const struct { const char *mark, *role; } marks[] = {{"{query}", "query"}, {"{document}", "document"}};

enum { MARKS = sizeof marks / sizeof *marks };

/* The likelihood of the first of two labels is the score. */
static bool labels_are_yes_and_no(const struct gguf *gguf) {
  struct slice architecture;
  char key[128];
  if (!gguf_get_string(gguf, "general.architecture", GGUF_REQUIRED, &architecture, NULL) || architecture.size > 64)
    return false;
  snprintf(key, sizeof key, "%.*s.classifier.output_labels", SLICE_ARGS(architecture));
  const struct gguf_value *list = gguf_find(gguf, key);
  return list && list->is_array && list->type == GGUF_STRING && list->count == 2 && slice_is(list->strings[0], "yes") &&
         slice_is(list->strings[1], "no");
}

/* The mark that the text begins with; −1: none. */
static int mark_at(struct slice text) {
  for (int i = 0; i < MARKS; i++) {
    size_t size = strlen(marks[i].mark);
    if (text.size >= size && memcmp(text.data, marks[i].mark, size) == 0) return i;
  }
  return -1;
}

static void literal_write(struct buffer *source, uint8_t byte) {
  if (byte == '\n') {
    buffer_text(source, "\\n");
    return;
  }
  if (byte == '"' || byte == '\\') buffer_append(source, "\\", 1);
  buffer_append(source, &byte, 1);
}

bool rank_template_write(const struct gguf *gguf, struct buffer *source, struct error *error) {
  struct slice text = {0};
  int seen[MARKS] = {0};
  if (!gguf_get_string(gguf, template_key, GGUF_OPTIONAL, &text, error)) return false;
  if (text.size == 0 || !labels_are_yes_and_no(gguf)) return true;
  buffer_text(source, "{{ \"");
  for (size_t at = 0; at < text.size;) {
    int mark = mark_at(slice_make(text.data + at, text.size - at));
    if (mark < 0) {
      literal_write(source, text.data[at++]);
      continue;
    }
    buffer_print(source,
                 "\" }}{{ messages | selectattr(\"role\", \"eq\", \"%s\") | map(attribute=\"content\") | first }}{{ \"",
                 marks[mark].role);
    at += strlen(marks[mark].mark);
    seen[mark]++;
  }
  buffer_text(source, "\" }}");
  if (source->failed) return error_set(error, ERROR_LIMIT, "%s takes more than %zu bytes.", template_key, source->max);
  for (int i = 0; i < MARKS; i++)
    if (seen[i] != 1)
      return error_set(error, ERROR_UNSUPPORTED, "%s has %s %d times, expected once.", template_key, marks[i].mark,
                       seen[i]);
  return true;
}
