/* Vocabularies of directories without tokenizer.json, and the files beside them, from anywhere: refused with a
 * sentence, or made to a tokenizer.json that compiles and encodes, or is refused with a sentence in its turn. */
#include "base/limits.h"
#include "model/classic_vocabulary.h"
#include "tokenizer_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MARK = 0xFE }; /* between files: no byte of UTF-8; a SentencePiece model may have it, but is the last */

/* The next file: up to the mark, or the rest. */
static struct slice file_take(struct slice *rest, bool last) {
  const uint8_t *mark = last || rest->size == 0 ? NULL : memchr(rest->data, MARK, rest->size);
  struct slice file = slice_make(rest->data, mark ? (size_t)(mark - rest->data) : rest->size);
  size_t used = file.size + (mark != NULL);
  *rest = slice_make(rest->data + used, rest->size - used);
  return file;
}

static void compile(const json_t *tokenizer, struct slice choice, struct error *error) {
  char *text = json_dumps(tokenizer, JSON_COMPACT);
  struct buffer blob;
  buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
  if (!text) abort(); /* what was made is JSON */
  if (tokenizer_compile_json(slice_text(text), slice_make("", 0), &blob, error)) {
    struct tokenizer *opened = tokenizer_open(buffer_slice(&blob), error);
    if (!opened) abort(); /* what was compiled must open */
    tokenizer_use(opened, choice);
    tokenizer_close(opened);
  } else if (error->text[0] == '\0') {
    abort(); /* refused without a sentence */
  }
  buffer_release(&blob);
  free(text);
}

/* The first byte tells the class and how it is used; then tokenizer_config.json, added_tokens.json,
 * special_tokens_map.json, and one, two or one files of the vocabulary. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const types[] = {"bert",      "roberta", "gpt2",   "distilbert", "nomic_bert", "xlm-roberta",
                                      "camembert", "t5",      "albert", "xlnet",      "electra"};
  enum { TYPES = sizeof types / sizeof *types, FIRST_OF_PIECES = 5, ELECTRA = TYPES - 1 };
  struct error error = {0};
  json_t *beside[3], *tokenizer = NULL;
  if (size == 0) return 0;
  size_t type = data[0] % TYPES;
  struct slice rest = slice_make(data + 1, size - 1);
  for (int i = 0; i < 3; i++) {
    beside[i] = json_parse(file_take(&rest, false), &error);
    if (json_is_object(beside[i])) continue; /* checkpoint.c refuses others */
    json_decref(beside[i]);
    beside[i] = NULL;
  }
  bool words = type == 0 || type == 3 || type == 4 || type == ELECTRA, pieces = type >= FIRST_OF_PIECES && !words;
  struct classic_vocabulary files = {.settings = beside[0],
                                     .added = beside[1],
                                     .specials = beside[2],
                                     .pieces_name = "spiece.model",
                                     .model_type = slice_text(types[type])};
  if (pieces)
    files.pieces = file_take(&rest, true);
  else if (words)
    files.words = file_take(&rest, true);
  else
    files.units = file_take(&rest, false), files.merges = file_take(&rest, true);
  error = (struct error){0};
  if (!classic_vocabulary_convert(&files, &tokenizer, &error) && error.text[0] == '\0') abort();
  uint8_t choice[] = {data[0] / TYPES, data[0] / TYPES};
  if (tokenizer) compile(tokenizer, slice_make(choice, sizeof choice), &error);
  json_decref(tokenizer);
  for (int i = 0; i < 3; i++) json_decref(beside[i]);
  return 0;
}
