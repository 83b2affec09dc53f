/* Eight prompts at once from one inbox: the engine computes them together, and their events come mixed, each with the
 * id of its request. Prints each answer when it is whole, in the order in which they end.
 *
 *   usage: many_prompts MODEL|ENGINE [PROMPT...]
 *   cc many_prompts.c -I include -L build/release -lspate -o many_prompts */
#include "spate.h"

#include <stdio.h>
#include <string.h>

enum { PROMPTS_MAX = 8, ANSWER_TOKENS = 32, ANSWER_BYTES = 4096, EVENTS = 16 };

static const char *const examples[PROMPTS_MAX] = {
    "The capital of France is", "Water boils at",      "The first president was",   "A cat is an animal that",
    "The opposite of hot is",   "In the morning, the", "Two and two are four, and", "The sun rises in the"};

struct request {
  uint64_t id;
  const char *prompt;
  size_t size; /* of the answer so far */
  char answer[ANSWER_BYTES];
};

static int fail(const char *sentence) {
  fprintf(stderr, "many_prompts: %s\n", sentence);
  return 1;
}

/* True when the event was the last of its request. */
static int event_take(struct request *requests, const spate_event *event) {
  struct request *r = requests;
  while (r->id != event->id) r++;
  if (event->kind == SPATE_FAILED) {
    fprintf(stderr, "many_prompts: \"%s\" failed: %.*s\n", r->prompt, (int)event->text_size, event->text);
    return 1;
  }
  size_t room = sizeof r->answer - r->size, size = event->text_size < room ? event->text_size : room;
  memcpy(r->answer + r->size, event->text, size);
  r->size += size;
  if (event->kind == SPATE_DONE) printf("%s|%.*s\n", r->prompt, (int)r->size, r->answer);
  return event->kind == SPATE_DONE;
}

static int all_submit(spate_engine *engine, spate_inbox *inbox, struct request *requests, int count) {
  spate_error error;
  for (int i = 0; i < count; i++) {
    spate_request request;
    spate_request_init(engine, &request);
    request.prompt = requests[i].prompt;
    request.prompt_size = strlen(request.prompt);
    request.max_tokens = ANSWER_TOKENS;
    request.temperature = 0;
    if (!(requests[i].id = spate_submit(engine, inbox, &request, &error))) return fail(error.text);
  }
  return 0;
}

static int prompts_serve(spate_engine *engine, struct request *requests, int count) {
  spate_error error;
  spate_event events[EVENTS];
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  if (!inbox) return fail(error.text);
  int code = all_submit(engine, inbox, requests, count);
  for (int ended = 0; !code && ended < count;) {
    int taken = spate_inbox_take(inbox, events, EVENTS, -1);
    for (int i = 0; i < taken; i++) ended += event_take(requests, &events[i]);
  }
  spate_inbox_free(inbox); /* cancels what still runs */
  return code;
}

int main(int argc, char **argv) {
  static struct request requests[PROMPTS_MAX];
  int given = argc - 2, count = given > 0 ? given : PROMPTS_MAX;
  if (argc < 2 || given > PROMPTS_MAX) return fail("usage: many_prompts MODEL|ENGINE [PROMPT...] (at most 8)");
  for (int i = 0; i < count; i++) requests[i].prompt = given > 0 ? argv[2 + i] : examples[i];
  spate_open_options options;
  spate_open_options_init(&options);
  options.model = argv[1];
  spate_error error;
  spate_engine *engine = spate_open(&options, &error);
  if (!engine) return fail(error.text);
  int code = prompts_serve(engine, requests, count);
  spate_close(engine);
  return code;
}
