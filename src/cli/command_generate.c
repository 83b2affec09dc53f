/* spate generate: text on standard output as it comes; a line of figures on standard error at the end. */
#include "cli/command.h"
#include "cli/terminal_answer.h"

#include <stdlib.h>

static int prompt_generate(const struct settings *settings, spate_engine *engine, const char *prompt, size_t size) {
  spate_error error;
  spate_event last;
  spate_request request;
  struct lora_words words;
  if (!request_fill(settings, engine, &request, &words, &error)) return command_fail(error.text);
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
  char *prompt = prompt_read(settings, &size);
  if (!prompt) return 1;
  spate_engine *engine = command_open(settings);
  int code = engine ? prompt_generate(settings, engine, prompt, size) : 1;
  spate_close(engine);
  free(prompt);
  return code;
}
