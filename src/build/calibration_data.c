/* A text into windows of tokens. */
#include "build/calibration_data.h"

#include "base/file.h"
#include "base/limits.h"

#include <stdlib.h>

/* calibration_text.txt as it is, in the program (CALIBRATION_TEXT is its path; src/CMakeLists.txt). */
__asm__(".pushsection .rodata\n"
        "calibration_text_begin: .incbin \"" CALIBRATION_TEXT "\"\n"
        "calibration_text_end: .byte 0\n"
        ".popsection\n");
extern const char calibration_text_begin[], calibration_text_end[];

static bool windows_cut(struct calibration_data *data, const struct tokenizer *tokenizer, const struct token_list *list,
                        int longest, struct error *error) {
  const struct tokenizer_facts *facts = tokenizer_facts(tokenizer);
  size_t length = CALIBRATION_WINDOW;
  if (length > (size_t)longest) length = (size_t)longest;
  if (length > list->count) length = list->count;
  size_t windows = list->count / length, spare = list->count - length;
  if (windows > CALIBRATION_WINDOWS) windows = CALIBRATION_WINDOWS;
  data->token = malloc(windows * length * sizeof *data->token);
  if (!data->token) return error_set(error, ERROR_MEMORY, "Out of memory for %zu calibration tokens.", list->count);
  for (size_t i = 0; i < windows; i++) {
    size_t first = windows > 1 ? i * spare / (windows - 1) : 0;
    memcpy(data->token + i * length, list->ids + first, length * sizeof *data->token);
    if (facts->add_bos && facts->bos >= 0) data->token[i * length] = facts->bos;
  }
  data->n_window = (int)windows;
  data->length = (int)length;
  return true;
}

static bool text_cut(struct calibration_data *data, const char *name, struct slice text,
                     const struct tokenizer *tokenizer, int longest, struct error *error) {
  struct token_list list;
  token_list_init(&list, text.size + 16);
  bool done = tokenizer_encode(tokenizer, text, 0, &list, error) || error_prefix(error, "%s: ", name);
  if (done && list.count < CALIBRATION_TOKENS_LEAST)
    done = error_set(error, ERROR_INVALID,
                     "%s has %zu tokens; calibration needs at least %d, and some thousands to be "
                     "of use.",
                     name, list.count, CALIBRATION_TOKENS_LEAST);
  done = done && windows_cut(data, tokenizer, &list, longest, error);
  token_list_release(&list);
  return done;
}

bool calibration_data_read(struct calibration_data *data, const char *path, const struct tokenizer *tokenizer,
                           int longest, struct error *error) {
  *data = (struct calibration_data){0};
  if (!path)
    return text_cut(data, "The calibration text",
                    slice_make(calibration_text_begin, (size_t)(calibration_text_end - calibration_text_begin)),
                    tokenizer, longest, error);
  struct file file;
  if (!file_open(&file, path, error)) return false;
  bool done = file.size <= LIMIT_CALIBRATION_BYTES ||
              error_set(error, ERROR_LIMIT, "%s has %zu bytes; calibration data may have %d.", path, file.size,
                        LIMIT_CALIBRATION_BYTES);
  done = done && text_cut(data, path, slice_make(file.data, file.size), tokenizer, longest, error);
  file_close(&file);
  return done;
}

void calibration_data_release(struct calibration_data *data) {
  free(data->token);
  *data = (struct calibration_data){0};
}
