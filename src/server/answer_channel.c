/* Words of headers end at spaces and marks. */
#include "server/answer_channel.h"

/* The word after a name ("to=", "<|channel|>"); empty: it is not there. */
static struct slice word_after(struct slice header, const char *name) {
  const uint8_t *at = header.size ? memmem(header.data, header.size, name, strlen(name)) : NULL;
  if (!at) return slice_make("", 0);
  at += strlen(name);
  const uint8_t *end = at, *last = header.data + header.size;
  while (end<last && * end> ' ' && *end != '<') end++;
  return slice_make(at, (size_t)(end - at));
}

struct channel_header channel_header_read(struct slice header) {
  static const char prefix[] = "functions.";
  struct channel_header read = {.to = word_after(header, "to="),
                                .thinks = slice_is(word_after(header, "<|channel|>"), "analysis")};
  read.to_function = slice_starts(read.to, prefix);
  if (read.to_function) read.to = slice_make(read.to.data + sizeof prefix - 1, read.to.size - (sizeof prefix - 1));
  return read;
}
