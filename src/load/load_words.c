/* How many tokens a server finds in words. */
#include "load/load_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { FEW = 1, MANY = 128 };

static void tokens_take(struct load_target *target, const struct load_request asked[2],
                        const struct load_result *result, char why[ERROR_TEXT_MAX]) {
  double more = asked[1].prompt_tokens - asked[0].prompt_tokens;
  why[0] = '\0';
  for (int i = 0; i < 2 && !why[0]; i++) {
    enum load_end end = asked[i].end;
    if (end != LOAD_OK)
      snprintf(why, ERROR_TEXT_MAX, "%s", result->first[end][0] ? result->first[end] : load_end_name[end]);
  }
  if (!why[0] && (asked[0].prompt_tokens <= 0 || more <= 0))
    snprintf(why, ERROR_TEXT_MAX, "The server does not say how many tokens a prompt has.");
  if (why[0]) return;
  target->word_tokens = more / (MANY - FEW);
  target->fixed_tokens = fmax(0, asked[0].prompt_tokens - FEW * target->word_tokens);
}

bool load_measure_words(struct load_target *target, char why[ERROR_TEXT_MAX], struct error *error) {
  struct load_request asked[] = {{.input = FEW}, {.input = MANY}};
  struct load_plan plan = {.request = asked, .count = 2, .clients = 1};
  struct load_result result;
  for (int i = 0; i < 2; i++) {
    asked[i].output = 1;
    asked[i].after = asked[i].client = asked[i].prompt_tokens = asked[i].output_tokens = -1;
  }
  target->fixed_tokens = 0;
  target->word_tokens = 1;
  bool done = load_run(target, &plan, &result, error);
  if (done) tokens_take(target, asked, &result, why);
  for (int i = 0; i < 2; i++) free(asked[i].event_us);
  return done;
}
