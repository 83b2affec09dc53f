/* Neither part may see that the other is there: Jinja, as chat templates are read, drops the line end behind a
 * statement and the spaces before one that begins its line, and the last line end of all. */
#include "model/tool_template.h"

static struct slice named_find(const json_t *list, const char *wanted) {
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *entry = json_array_get(list, i), *source = json_object_get(entry, "template");
    const char *name = json_string_value(json_object_get(entry, "name"));
    if (name && strcmp(name, wanted) == 0 && json_is_string(source)) return json_slice(source);
  }
  return (struct slice){0};
}

struct template_pair template_pair_listed(const json_t *value) {
  if (json_is_string(value)) return (struct template_pair){.usual = json_slice(value)};
  return (struct template_pair){.usual = named_find(value, "default"), .tools = named_find(value, TOOL_TEMPLATE)};
}

/* Begins as a template of its own does, at a line's beginning; the empty text keeps what ends it from the statement
 * that follows. */
static bool part_write(struct buffer *source, const char *statement, struct slice part) {
  if (part.data[part.size - 1] == '\n') part.size--;
  return buffer_text(source, statement) && buffer_text(source, "\n") && buffer_append(source, part.data, part.size) &&
         buffer_text(source, "{{ '' }}");
}

bool template_pair_join(struct template_pair *pair, struct buffer *joint, struct slice *source, struct error *error) {
  enum { FRAME_BYTES = 64 }; /* at most, of what is written around both */
  *source = pair->usual;
  if (pair->usual.size == 0 || pair->tools.size == 0 || slice_equal(pair->usual, pair->tools)) {
    pair->tools = (struct slice){0};
    return true;
  }
  if (pair->usual.size + pair->tools.size + FRAME_BYTES > joint->max) return true;
  if (!part_write(joint, "{% if tools %}", pair->tools) || !part_write(joint, "{% else %}", pair->usual) ||
      !buffer_text(joint, "{% endif %}"))
    return error_set(error, ERROR_MEMORY, "There is no memory for a chat template.");
  *source = buffer_slice(joint);
  return true;
}
