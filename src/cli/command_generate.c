/* spate generate: text on standard output as it comes; a line of figures on standard error at the end. */
#include "base/file.h"
#include "cli/command.h"
#include "cli/terminal_answer.h"

#include <stdlib.h>

/* The files of --image. */
struct image_files {
  struct file file[TEXT_LIST_MAX];
  spate_image image[TEXT_LIST_MAX];
  int n;
};

static bool images_read(const struct text_list *given, struct image_files *files, struct error *error) {
  for (; files->n < given->count; files->n++) {
    struct file *file = &files->file[files->n];
    if (!file_open(file, given->text[files->n], error)) return false;
    files->image[files->n] = (spate_image){.data = (const char *)file->data, .size = file->size};
  }
  return true;
}

static void images_close(struct image_files *files) {
  while (files->n > 0) file_close(&files->file[--files->n]);
}

static int prompt_generate(const struct settings *settings, spate_engine *engine, const char *prompt, size_t size,
                           const struct image_files *images) {
  spate_error error;
  spate_event last;
  spate_request request;
  struct lora_words words;
  if (!request_fill(settings, engine, &request, &words, &error)) return command_fail(error.text);
  request.images = images->image;
  request.n_images = images->n;
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  if (!inbox) return command_fail(error.text);
  request.prompt = prompt;
  request.prompt_size = size;
  interrupt_begin();
  bool done = answer_print(engine, inbox, &request, NULL, &last, &error);
  interrupt_end();
  spate_inbox_free(inbox);
  return done ? 0 : command_fail(error.text);
}

int command_generate(const struct settings *settings) {
  size_t size;
  struct error problem = {0};
  struct image_files images = {.n = 0};
  char *prompt = prompt_read(settings, &size);
  if (!prompt) return 1;
  bool read = images_read(&settings->images, &images, &problem);
  spate_engine *engine = read ? command_open(settings) : NULL;
  int code = engine ? prompt_generate(settings, engine, prompt, size, &images) : 1;
  if (!read) command_fail(problem.text);
  images_close(&images);
  spate_close(engine);
  free(prompt);
  return code;
}
