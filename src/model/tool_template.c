/* Neither part may see that the other is there: Jinja, as chat templates are read, drops the line end behind a
 * statement and the spaces before one that begins its line, and the last line end of all. */
#include "model/tool_template.h"

/* Begins as a template of its own does, at a line's beginning; the empty text keeps what ends it from the statement
 * that follows. */
static bool part_write(struct buffer *source, const char *statement, struct slice part) {
  if (part.size > 0 && part.data[part.size - 1] == '\n') part.size--;
  return buffer_text(source, statement) && buffer_text(source, "\n") && buffer_append(source, part.data, part.size) &&
         buffer_text(source, "{{ '' }}");
}

bool tool_template_join(struct buffer *source, struct slice usual, struct slice tools) {
  return part_write(source, "{% if tools %}", tools) && part_write(source, "{% else %}", usual) &&
         buffer_text(source, "{% endif %}");
}
