/* Generations: from tokens to events. */
#include "runtime/generation.h"

#include "runtime/request.h"

#include <assert.h>
#include <string.h>

static void text_flush(struct generation *g) {
  uint8_t rest[DETOKENIZER_REST_MAX];
  size_t size = detokenizer_flush(&g->detokenizer, rest), written;
  if (stop_matcher_feed(&g->stop, slice_make(rest, size), g->text + g->n_text, &written)) {
    g->n_text += written;
    return;
  }
  g->n_text += written;
  g->n_text += stop_matcher_flush(&g->stop, g->text + g->n_text);
}

/* What a beam has gone through is nobody's answer as long as the search goes on. */
void generation_end(struct generation *g, enum finish_reason finish) {
  const struct request *r = g->request;
  if (g->ended) return;
  g->ended = true;
  g->finish = finish;
  if (r->n_beam > 0 && !r->searched)
    g->generated = 0;
  else if (g->detokenizer.tokenizer && g->stop.found < 0)
    text_flush(g);
}

static void logprobs_keep(struct generation *g, int32_t token, float logprob, const struct token_logprob *top) {
  int32_t n_top = g->request->n_top;
  struct token_logprob *place = &g->logprobs[g->n_logprob++ * (1 + n_top)];
  assert(place + 1 + n_top <= g->logprobs + GENERATION_LOGPROBS_MAX);
  *place = (struct token_logprob){token, logprob};
  if (n_top > 0) memcpy(place + 1, top, (size_t)n_top * sizeof *place);
}

/* True when a stop string is complete. */
static bool text_add(struct generation *g, int32_t token) {
  uint8_t piece[DETOKENIZER_OUT_MAX];
  size_t size = detokenizer_feed(&g->detokenizer, token, piece), written = 0;
  g->stop.muted = g->generated <= g->request->rules->min_tokens;
  bool stopped = stop_matcher_feed(&g->stop, slice_make(piece, size), g->text + g->n_text, &written);
  g->n_text += written;
  return stopped;
}

void generation_accept(struct generation *g, int32_t token, float logprob, const struct token_logprob *top) {
  if (g->ended) return;
  const struct request *r = g->request;
  bool is_end = rules_is_end(r->rules, token);
  g->generated++;
  g->last_token = token;
  if (r->want_logprob) logprobs_keep(g, token, logprob, top);
  bool stopped = (!is_end || r->show_stop) && text_add(g, token);
  if (is_end && !stopped && rules_is_stop(r->rules, r->n_stop_token, token)) g->stop_token = token;
  if (stopped || is_end)
    generation_end(g, FINISH_STOP);
  else if (g->generated == r->max_tokens)
    generation_end(g, FINISH_LENGTH);
}

/* --- beams: text is only looked at -------------------------------------------------------------------------------- */

bool generation_would_stop(const struct generation *g, int32_t token) {
  if (g->stop.n_string == 0) return false;
  uint8_t piece[DETOKENIZER_OUT_MAX], shown[DETOKENIZER_OUT_MAX + LIMIT_STOP_BYTES];
  struct detokenizer detokenizer = g->detokenizer;
  struct stop_matcher stop = g->stop;
  size_t size = detokenizer_feed(&detokenizer, token, piece), written;
  stop.muted = g->generated + 1 <= g->request->rules->min_tokens;
  return stop_matcher_feed(&stop, slice_make(piece, size), shown, &written);
}

void generation_skim(struct generation *g, int32_t token) {
  g->generated++;
  if (g->stop.n_string == 0) return;
  text_add(g, token);
  g->n_text = 0;
}

/* --- to the inbox ------------------------------------------------------------------------------------------------- */

/* Of all generations of a request that fails, the last one says so. */
static bool failure_deliver(struct generation *g) {
  struct request *r = g->request;
  if (r->n_over + 1 < r->n_generation) return true;
  struct inbox_event event = {.request = r->id,
                              .kind = INBOX_FAILED,
                              .code = r->error.code,
                              .token = g->last_token,
                              .generated = g->generated,
                              .prompt = g->sequence.n_prompt,
                              .cached = r->generation[0].sequence.n_cached,
                              .text = slice_text(r->error.text)};
  return inbox_push(r->inbox, &event);
}

static void prompt_end_copy(const struct sequence *sequence, int32_t end[INBOX_PROMPT_END]) {
  for (int i = 0; i < INBOX_PROMPT_END; i++) {
    int32_t at = sequence->n_prompt - INBOX_PROMPT_END + i;
    end[i] = at >= 0 ? sequence->tokens[at] : -1;
  }
}

bool generation_deliver(struct generation *g) {
  struct request *r = g->request;
  if (r->error.code) return failure_deliver(g);
  bool quiet = !g->ended && g->n_text == 0 && g->n_logprob == 0;
  if (quiet || g->index >= r->n_answer) return true;
  struct inbox_event event = {.request = r->id,
                              .kind = g->ended ? INBOX_DONE : INBOX_TEXT,
                              .answer = g->index,
                              .finish = g->finish,
                              .token = g->last_token,
                              .generated = g->generated,
                              .prompt = g->sequence.n_prompt,
                              .cached = r->generation[0].sequence.n_cached,
                              .n_logprob = g->n_logprob,
                              .n_top = r->n_top,
                              .stop_string = g->stop.found,
                              .stop_token = g->stop_token,
                              .logprobs = g->logprobs,
                              .n_number = g->finish == FINISH_STOP ? r->n_number : 0,
                              .numbers = r->numbers,
                              .text = slice_make(g->text, g->n_text)};
  prompt_end_copy(&g->sequence, event.prompt_end);
  if (!inbox_push(r->inbox, &event)) return false;
  g->n_text = 0;
  g->n_logprob = 0;
  return true;
}
