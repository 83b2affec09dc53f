/* Requests from options, events to the terminal. */
#include "cli/terminal_answer.h"

#include "base/clock.h"
#include "base/scaled_name.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { TAKE_MS = 100 }; /* a signal waits so long at most */

/* --- interrupts --------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t n_interrupt;
static struct sigaction before;

static void interrupt(int signal) {
  (void)signal;
  n_interrupt = n_interrupt + 1;
}

void interrupt_begin(void) {
  struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
  n_interrupt = 0;
  sigaction(SIGINT, &action, &before);
}

void interrupt_end(void) {
  sigaction(SIGINT, &before, NULL);
  if (n_interrupt > 1) raise(SIGINT);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static bool lora_parse(const char *given, spate_lora *lora, char name[256], spate_error *error) {
  struct slice found = scaled_name_read(given, &lora->scale);
  if (found.size >= 1 && found.size < 256) {
    memcpy(name, found.data, found.size);
    name[found.size] = '\0';
    lora->name = name;
    return true;
  }
  error->code = SPATE_INVALID;
  snprintf(error->text, sizeof error->text,
           "--lora is \"%.200s\", expected an adapter's name of 1 to 255 bytes, and perhaps = and a finite number.",
           given);
  return false;
}

bool loras_read(const struct text_list *given, struct lora_words *words, spate_error *error) {
  for (int i = 0; i < given->count; i++)
    if (!lora_parse(given->text[i], &words->lora[i], words->name[i], error)) return false;
  return true;
}

bool request_fill(const struct settings *s, const spate_engine *engine, spate_request *request,
                  struct lora_words *words, spate_error *error) {
  spate_request_init(engine, request);
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
  request->loras = words->lora;
  request->n_loras = s->loras.count;
  return loras_read(&s->loras, words, error);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static void figures_print(const spate_event *event, uint64_t start, uint64_t first, uint64_t end) {
  double decode = (double)(end - first) * 1e-6;
  fprintf(stderr, "\n[%d prompt tokens", event->prompt_tokens);
  if (event->cached_tokens) fprintf(stderr, " (%d cached)", event->cached_tokens);
  fprintf(stderr, ", first text after %.0f ms; %d tokens", (double)(first - start) * 1e-3, event->generated_tokens);
  if (event->generated_tokens > 1 && decode > 0)
    fprintf(stderr, ", %.1f a second", (event->generated_tokens - 1) / decode);
  fprintf(stderr, "]\n");
}

static bool failure_tell(const spate_event *event, spate_error *error) {
  error->code = event->code;
  snprintf(error->text, sizeof error->text, "%.*s", (int)event->text_size, event->text);
  return false;
}

bool answer_print(spate_engine *engine, spate_inbox *inbox, const spate_request *request, struct buffer *text,
                  spate_event *last, spate_error *error) {
  uint64_t start = clock_us(), first = 0, id = spate_submit(engine, inbox, request, error);
  if (!id) return false;
  *last = (spate_event){.kind = SPATE_TEXT};
  while (last->kind != SPATE_DONE) {
    if (n_interrupt) spate_cancel(engine, id);
    if (spate_inbox_take(inbox, last, 1, TAKE_MS) == 0) continue;
    if (!first) first = clock_us();
    if (last->kind == SPATE_FAILED) return failure_tell(last, error);
    fwrite(last->text, 1, last->text_size, stdout);
    fflush(stdout);
    if (text) buffer_append(text, last->text, last->text_size);
  }
  printf("\n");
  fflush(stdout);
  figures_print(last, start, first, clock_us());
  return true;
}
