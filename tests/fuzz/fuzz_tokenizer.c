/* tokenizer.json from anywhere: refused with a sentence, or compiled to a table that opens, encodes and decodes. Behind
 * a NUL byte may stand how it is used, and behind another one what is spoiled of the table. */
#include "base/limits.h"
#include "tokenizer_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes what stands before the next NUL byte off *rest. */
static struct slice part_take(struct slice *rest) {
  const uint8_t *end = rest->size ? memchr(rest->data, 0, rest->size) : NULL;
  struct slice part = slice_make(rest->data, end ? (size_t)(end - rest->data) : rest->size);
  size_t used = part.size + (end != NULL);
  *rest = slice_make(rest->data + used, rest->size - used);
  return part;
}

/* Bytes of a table are others, each by three of `spoils`: the place, and what is added there. What opens still does no
 * harm. */
static void use_spoiled(struct slice blob, struct slice spoils, struct slice choice) {
  struct error error = {0};
  uint8_t *copy = malloc(blob.size);
  if (!copy) abort();
  memcpy(copy, blob.data, blob.size);
  for (size_t at = 0; at + 3 <= spoils.size; at += 3) {
    size_t place = ((size_t)spoils.data[at] << 8 | spoils.data[at + 1]) % blob.size;
    copy[place] = (uint8_t)(copy[place] + spoils.data[at + 2]);
  }
  struct tokenizer *tokenizer = tokenizer_open(slice_make(copy, blob.size), &error);
  if (!tokenizer && error.text[0] == '\0') abort();
  if (tokenizer) tokenizer_use(tokenizer, choice);
  tokenizer_close(tokenizer);
  free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct slice rest = slice_make(data, size), json = part_take(&rest), choice = part_take(&rest);
  struct buffer blob;
  struct error error = {0};
  buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
  if (tokenizer_compile_json(json, slice_make(data, 0), &blob, &error)) {
    struct tokenizer *tokenizer = tokenizer_open(buffer_slice(&blob), &error);
    if (!tokenizer) abort(); /* what was compiled must open */
    tokenizer_use(tokenizer, choice);
    tokenizer_close(tokenizer);
    if (rest.size > 0) use_spoiled(buffer_slice(&blob), rest, choice);
  } else if (error.code == ERROR_NONE || error.text[0] == '\0') {
    abort(); /* refused without a sentence */
  }
  buffer_release(&blob);
  return 0;
}
