/* spate generate: text on standard output as it comes; a line of figures on standard error at the end. */
#include "base/clock.h"
#include "cli/command.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static volatile sig_atomic_t interrupted;

static void interrupt(int signal) {
  (void)signal;
  interrupted = 1;
}

static void request_fill(const struct settings *s, spate_request *request) {
  if (s->has_max_tokens) request->max_tokens = s->max_tokens;
  if (s->has_temperature) request->temperature = (float)s->temperature;
  if (s->has_top_p) request->top_p = (float)s->top_p;
  if (s->has_top_k) request->top_k = s->top_k;
  request->has_seed = s->has_seed;
  request->seed = s->seed;
  request->stop = s->stop.text;
  request->n_stop = s->stop.count;
  request->include_stop_str_in_output = s->include_stop;
  if (s->has_min_p) request->min_p = (float)s->min_p;
  if (s->has_typical_p) request->typical_p = (float)s->typical_p;
  if (s->has_repetition_penalty) request->repetition_penalty = (float)s->repetition_penalty;
  request->frequency_penalty = (float)s->frequency_penalty;
  request->presence_penalty = (float)s->presence_penalty;
  request->min_tokens = s->min_tokens;
  request->ignore_eos = s->ignore_eos;
  request->bad_words = s->bad_words.text;
  request->n_bad_words = s->bad_words.count;
}

static void figures_print(const spate_event *event, uint64_t start, uint64_t first, uint64_t end) {
  double decode = (double)(end - first) * 1e-6;
  fprintf(stderr, "\n[%d prompt tokens, first text after %.0f ms; %d tokens", event->prompt_tokens,
          (double)(first - start) * 1e-3, event->generated_tokens);
  if (event->generated_tokens > 1 && decode > 0)
    fprintf(stderr, ", %.1f a second", (event->generated_tokens - 1) / decode);
  fprintf(stderr, "]\n");
}

static int event_fail(const spate_event *event) {
  char sentence[512];
  snprintf(sentence, sizeof sentence, "%.*s", (int)event->text_size, event->text);
  return command_fail(sentence);
}

/* Prints events until the last. */
static int events_print(spate_engine *engine, spate_inbox *inbox, uint64_t id) {
  uint64_t start = clock_us(), first = 0;
  for (;;) {
    spate_event event;
    if (interrupted) spate_cancel(engine, id);
    if (spate_inbox_take(inbox, &event, 1, 100) == 0) continue;
    if (!first) first = clock_us();
    if (event.kind == SPATE_FAILED) return event_fail(&event);
    fwrite(event.text, 1, event.text_size, stdout);
    fflush(stdout);
    if (event.kind != SPATE_DONE) continue;
    printf("\n");
    figures_print(&event, start, first, clock_us());
    return 0;
  }
}

static int prompt_generate(const struct settings *settings, spate_engine *engine, const char *prompt, size_t size) {
  spate_error error;
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  if (!inbox) return command_fail(error.text);
  spate_request request;
  spate_request_init(engine, &request);
  request.prompt = prompt;
  request.prompt_size = size;
  request_fill(settings, &request);
  uint64_t id = spate_submit(engine, inbox, &request, &error);
  int code = id ? events_print(engine, inbox, id) : command_fail(error.text);
  spate_inbox_free(inbox);
  return code;
}

int command_generate(const struct settings *settings) {
  size_t size;
  char *prompt = prompt_read(settings, &size);
  if (!prompt) return 1;
  signal(SIGINT, interrupt);
  spate_engine *engine = command_open(settings);
  int code = engine ? prompt_generate(settings, engine, prompt, size) : 1;
  spate_close(engine);
  free(prompt);
  return code;
}
