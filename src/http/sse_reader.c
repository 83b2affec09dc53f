/* Lines, and events out of them. */
#include "http/sse_reader.h"

void sse_reader_init(struct sse_reader *reader, size_t limit) {
  *reader = (struct sse_reader){0};
  buffer_init(&reader->line, limit);
  buffer_init(&reader->data, limit);
}

void sse_reader_release(struct sse_reader *reader) {
  buffer_release(&reader->line);
  buffer_release(&reader->data);
}

/* *line: without its end, valid until the next call. False: its end has not come. */
static bool line_next(struct sse_reader *reader, struct slice *input, struct slice *line) {
  if (reader->after_return && input->size) {
    if (input->data[0] == '\n') *input = slice_make(input->data + 1, input->size - 1);
    reader->after_return = false;
  }
  size_t size = 0;
  while (size < input->size && input->data[size] != '\n' && input->data[size] != '\r') size++;
  bool ended = size < input->size;
  *line = slice_make(input->data, size);
  if (!ended || reader->line.size) {
    if (!buffer_append(&reader->line, input->data, size)) reader->data.failed = true;
    *line = buffer_slice(&reader->line);
  }
  if (!ended) {
    *input = slice_make(input->data + size, 0);
    return false;
  }
  reader->after_return = input->data[size] == '\r';
  *input = slice_make(input->data + size + 1, input->size - size - 1);
  return true;
}

/* "data: text", "data:text" and "data"; other fields and comments are nobody's here. */
static void line_take(struct sse_reader *reader, struct slice line) {
  if (!slice_starts(line, "data") || (line.size > 4 && line.data[4] != ':')) return;
  size_t begin = line.size > 5 && line.data[5] == ' ' ? 6 : 5;
  if (line.size > begin) buffer_append(&reader->data, line.data + begin, line.size - begin);
  buffer_append(&reader->data, "\n", 1);
}

bool sse_reader_next(struct sse_reader *reader, struct slice *input, struct slice *event) {
  struct slice line;
  if (reader->given) buffer_clear(&reader->data);
  reader->given = false;
  while (!reader->data.failed && line_next(reader, input, &line)) {
    bool empty = line.size == 0;
    line_take(reader, line);
    buffer_clear(&reader->line);
    if (!empty || reader->data.size == 0) continue;
    *event = slice_make(reader->data.data, reader->data.size - 1);
    return reader->given = true;
  }
  return false;
}
