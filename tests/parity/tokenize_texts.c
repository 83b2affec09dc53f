/* Encodes and decodes texts for compare_tokenizers.py and compare_vocabularies.py:
 * tokenize_texts VOCABULARY [TOKENIZER_CONFIG] < texts > results
 *
 * VOCABULARY is a tokenizer.json or, by its name, another library's file (text/vocab_files.h), whose library takes
 * special tokens within a text for text.
 *
 * In: for each text its size (uint32_t) and its bytes, or 2^31 and a number of ids, and ids (int32_t). Out: for each
 * the number of ids, the ids, the size of what they decode to without special tokens, and that. */
#include "base/file.h"
#include "base/limits.h"
#include "text/detokenizer.h"
#include "text/vocab_files.h"

#include <stdio.h>
#include <stdlib.h>

#define IDS_FOLLOW (1u << 31)

static void stop(const struct error *error) {
  fprintf(stderr, "%s\n", error->text);
  exit(1);
}

static void write_counted(size_t count, const void *what, size_t unit) {
  uint32_t number = (uint32_t)count;
  if (fwrite(&number, sizeof number, 1, stdout) != 1) exit(1);
  if (count > 0 && fwrite(what, unit, count, stdout) != count) exit(1);
}

static void decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, struct buffer *decoded) {
  buffer_clear(decoded);
  if (!detokenize(tokenizer, ids, count, DETOKENIZE_START, decoded)) exit(1);
  write_counted(count, ids, sizeof *ids);
  write_counted(decoded->size, decoded->data, 1);
}

static void take(const struct tokenizer *tokenizer, struct slice text, unsigned flags, struct buffer *decoded) {
  struct token_list ids;
  struct error error = {0};
  token_list_init(&ids, 1 << 20);
  if (!tokenizer_encode(tokenizer, text, flags, &ids, &error)) stop(&error);
  decode(tokenizer, ids.ids, ids.count, decoded);
  token_list_release(&ids);
}

int main(int argc, char **argv) {
  struct error error = {0};
  struct file file, config = {.descriptor = -1};
  struct buffer blob, decoded;
  struct tokenizer *tokenizer;
  buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
  buffer_init(&decoded, 1 << 24);
  if (argc != 2 && argc != 3) return 2;
  const char *slash = strrchr(argv[1], '/'), *name = slash ? slash + 1 : argv[1], *dot = strchr(name, '.');
  bool json = dot && strcmp(dot, ".tokenizer.json") == 0;
  if (json) name = "tokenizer.json";
  unsigned flags = json ? ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL : 0;
  if (!file_open(&file, argv[1], &error) || (argc == 3 && !file_open(&config, argv[2], &error)) ||
      !tokenizer_compile_file(name, slice_make(file.data, file.size), slice_make(config.data, config.size), &blob,
                              &error) ||
      !(tokenizer = tokenizer_open(buffer_slice(&blob), &error)))
    stop(&error);
  static uint8_t text[1 << 20];
  static int32_t ids[1 << 10];
  for (uint32_t size; fread(&size, sizeof size, 1, stdin) == 1;) {
    uint32_t count = size & ~IDS_FOLLOW;
    if (size & IDS_FOLLOW) {
      if (count > sizeof ids / sizeof *ids || fread(ids, sizeof *ids, count, stdin) != count) return 2;
      decode(tokenizer, ids, count, &decoded);
      continue;
    }
    if (size > sizeof text || fread(text, 1, size, stdin) != size) return 2;
    take(tokenizer, slice_make(text, size), flags, &decoded);
  }
  tokenizer_close(tokenizer);
  buffer_release(&decoded);
  buffer_release(&blob);
  file_close(&file);
  file_close(&config);
  return 0;
}
