/* How many tokens a server finds in words. */
#include "load/load_run.h"

#include <math.h>
#include <stdlib.h>

bool load_measure_words(struct load_target *target, struct error *error) {
  enum { FEW = 1, MANY = 128 };
  struct load_request asked[] = {{.input = FEW}, {.input = MANY}};
  struct load_plan plan = {.request = asked, .count = 2, .clients = 1};
  struct load_result result;
  for (int i = 0; i < 2; i++) {
    asked[i].output = 1;
    asked[i].after = asked[i].client = asked[i].prompt_tokens = asked[i].output_tokens = -1;
  }
  target->fixed_tokens = 0, target->word_tokens = 1;
  bool done = load_run(target, &plan, &result, error);
  double more = asked[1].prompt_tokens - asked[0].prompt_tokens;
  if (asked[0].end == LOAD_OK && asked[1].end == LOAD_OK && asked[0].prompt_tokens > 0 && more > 0) {
    target->word_tokens = more / (MANY - FEW);
    target->fixed_tokens = fmax(0, asked[0].prompt_tokens - FEW * target->word_tokens);
  }
  for (int i = 0; i < 2; i++) free(asked[i].event_us);
  return done;
}
