/* Any bytes as spate.yaml: what is refused has a sentence that begins with a line of the file; what is read prints as a
 * file that is read again and prints the same. */
#include "base/limits.h"
#include "cli/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool read_and_print(struct slice bytes, struct buffer *out) {
  struct settings settings = {.config = "f"};
  struct arena texts;
  char text[512] = "";
  arena_init(&texts, LIMIT_SETTINGS_BYTES);
  bool read = config_bytes_read(&settings, FOR_SERVE, "f", bytes, &texts, text);
  if (read) {
    buffer_init(out, 4 << 20);
    if (!config_print(&settings, FOR_SERVE, out)) abort();
  } else if (strncmp(text, "f:", 2) != 0 || atoi(text + 2) < 1 || text[strlen(text) - 1] != '.') {
    abort();
  }
  arena_release(&texts);
  return read;
}

/* Where each comes from differs: the lines have moved. */
static void comments_drop(struct buffer *out) {
  size_t kept = 0;
  bool dropped = false;
  for (size_t i = 0; i < out->size; i++) {
    if (i + 5 < out->size && memcmp(out->data + i, " # f:", 5) == 0) dropped = true;
    if (out->data[i] == '\n') dropped = false;
    if (!dropped) out->data[kept++] = out->data[i];
  }
  out->size = kept;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct buffer first, again;
  if (size > LIMIT_SETTINGS_BYTES || !read_and_print(slice_make(data, size), &first)) return 0;
  bool secret = memmem(first.data, first.size, "set, and not shown", 18) != NULL; /* it is not in the print */
  if (!read_and_print(buffer_slice(&first), &again)) abort();
  comments_drop(&first);
  comments_drop(&again);
  if (!secret && !slice_equal(buffer_slice(&first), buffer_slice(&again))) abort();
  buffer_release(&first);
  buffer_release(&again);
  return 0;
}
