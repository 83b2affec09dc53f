/* Literal text becomes strings of the template's own, so that nothing in it is taken for Jinja and no line's end is
 * trimmed. */
#include "model/rank_template.h"

#include "base/limits.h"

#include <stdio.h>
#include <string.h>

static const char template_key[] = "tokenizer.chat_template.rerank";

static const struct { const char *mark, *role; } marks[] = {{"{query}", "query"}, {"{document}", "document"}};

enum { MARKS = sizeof marks / sizeof *marks };

enum { POOLING_RANK = 4 }; /* of pooling_type: the head's labels are the result, and no vector */

/* The value of a key of the architecture's; NULL: there is none. */
static const struct gguf_value *value_of(const struct gguf *gguf, const char *name) {
  struct slice architecture;
  char key[128];
  if (!gguf_get_string(gguf, "general.architecture", GGUF_REQUIRED, &architecture, NULL) || architecture.size > 64)
    return NULL;
  snprintf(key, sizeof key, "%.*s.%s", SLICE_ARGS(architecture), name);
  return gguf_find(gguf, key);
}

static bool pools_for_a_rank(const struct gguf *gguf) {
  const struct gguf_value *type = value_of(gguf, "pooling_type");
  int64_t kind;
  return type && !type->is_array && gguf_value_int(type, 0, &kind) && kind == POOLING_RANK;
}

/* The likelihood of the first of two labels is the score. */
static bool labels_are_yes_and_no(const struct gguf *gguf) {
  const struct gguf_value *list = value_of(gguf, "classifier.output_labels");
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
  if (!pools_for_a_rank(gguf) || !labels_are_yes_and_no(gguf)) return true;
  if (!gguf_get_string(gguf, template_key, GGUF_OPTIONAL, &text, error)) return false;
  if (text.size == 0) return true;
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
