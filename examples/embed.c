/* Text from a model inside your own program: include/spate.h is all it needs. The first run builds the model's engine
 * into ~/.cache/spate; later ones map it. The target `embed` in tests/e2e/CMakeLists.txt shows how to link it.
 *
 *   usage: embed MODEL|ENGINE PROMPT */
#include "spate.h"

#include <stdio.h>
#include <string.h>

static int fail(const char *sentence, size_t size) {
  fprintf(stderr, "embed: %.*s\n", (int)size, sentence);
  return 1;
}

/* Prints text as it comes; returns when the request has ended. */
static int print_events(spate_inbox *inbox) {
  spate_event events[16];
  for (;;) {
    int count = spate_inbox_take(inbox, events, 16, -1); /* waits; spate_inbox_descriptor is for event loops */
    for (int i = 0; i < count; i++) {
      if (events[i].kind == SPATE_FAILED) return fail(events[i].text, events[i].text_size);
      fwrite(events[i].text, 1, events[i].text_size, stdout);
      fflush(stdout);
      if (events[i].kind == SPATE_DONE) return puts("") == EOF;
    }
  }
}

static int generate(spate_engine *engine, const char *prompt) {
  spate_error error;
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  if (!inbox) return fail(error.text, strlen(error.text));
  spate_request request;
  spate_request_init(engine, &request);
  request.prompt = prompt;
  request.prompt_size = strlen(prompt);
  request.max_tokens = 32;
  request.temperature = 0; /* the likeliest token each time */
  int code = spate_submit(engine, inbox, &request, &error) ? print_events(inbox) : fail(error.text, strlen(error.text));
  spate_inbox_free(inbox);
  return code;
}

int main(int argc, char **argv) {
  if (argc != 3) return fail("usage: embed MODEL|ENGINE PROMPT", 33);
  spate_open_options options;
  spate_open_options_init(&options);
  options.model = argv[1];
  spate_error error;
  spate_engine *engine = spate_open(&options, &error);
  if (!engine) return fail(error.text, strlen(error.text));
  int code = generate(engine, argv[2]);
  spate_close(engine);
  return code;
}
