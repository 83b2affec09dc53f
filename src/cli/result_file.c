/* Results in files. */
#include "cli/result_file.h"

#include "base/file.h"
#include "cli/command.h"

#include <stdio.h>

int result_write(const char *path, const spate_text *text) {
  char sentence[512];
  FILE *file = fopen(path, "wb");
  bool written = file && fwrite(text->data, 1, text->size, file) == text->size;
  if ((file ? fclose(file) == 0 : false) && written) return 0;
  snprintf(sentence, sizeof sentence, "%.400s cannot be written.", path);
  return command_fail(sentence);
}

/* The files of --result, as texts that point into their mappings. */
static int files_open(const struct settings *settings, struct file files[], spate_text texts[], int *count) {
  struct error error;
  for (*count = 0; *count < settings->results.count; ++*count) {
    struct file *file = &files[*count];
    if (!file_open(file, settings->results.text[*count], &error)) return command_fail(error.text);
    texts[*count] = (spate_text){(char *)(uintptr_t)file->data, file->size};
  }
  return 0;
}

static int plot_write(const struct settings *settings, const spate_text *own) {
  struct file files[TEXT_LIST_MAX];
  spate_text texts[TEXT_LIST_MAX + 1], svg;
  spate_error error;
  int count, code = files_open(settings, files, texts, &count), all = count;
  if (own) texts[all++] = *own;
  if (code == 0 && !spate_eval_plot(texts, (size_t)all, &svg, &error))
    code = command_fail(error.text);
  else if (code == 0) {
    code = result_write(settings->plot, &svg);
    spate_text_free(&svg);
  }
  for (int i = 0; i < count; i++) file_close(&files[i]);
  return code;
}

int results_write(const struct settings *settings, const spate_text *own) {
  int code = own && settings->json_file ? result_write(settings->json_file, own) : 0;
  return code == 0 && settings->plot ? plot_write(settings, own) : code;
}
