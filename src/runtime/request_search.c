/* Beam search in the runtime. */
#include "runtime/request_search.h"

enum { TELL_AT_ONCE = 256 }; /* tokens of an answer, so that streams are not kept waiting */

/* --- the search --------------------------------------------------------------------------------------------------- */

static bool beam_ends(void *context, int32_t beam, int32_t token) {
  const struct request *r = context;
  return rules_is_end(r->rules, token) || generation_would_stop(&r->generation[beam], token);
}

static void text_fork(struct generation *to, const struct generation *from) {
  to->generated = from->generated;
  to->detokenizer = from->detokenizer;
  if (from->stop.n_string > 0) to->stop = from->stop;
}

static void moves_run(struct schedule *schedule, struct request *r, const struct beam_move *moves, int32_t n) {
  for (int i = 0; i < n; i++) {
    if (moves[i].to == moves[i].from) continue;
    struct generation *to = &r->generation[moves[i].to], *from = &r->generation[moves[i].from];
    schedule_fork(schedule, &to->sequence, &from->sequence);
    text_fork(to, from);
  }
  for (int i = 0; i < n; i++) {
    struct generation *g = &r->generation[moves[i].to];
    schedule_extend(schedule, &g->sequence, moves[i].token);
    generation_skim(g, moves[i].token);
  }
}

/* --- its answers -------------------------------------------------------------------------------------------------- */

static void answer_begin(struct generation *g) {
  detokenizer_init(&g->detokenizer, g->detokenizer.tokenizer, g->request->detokenize);
  stop_matcher_reset(&g->stop);
  g->generated = 0;
  g->last_token = -1;
}

/* No beam is part of a step now: all leave the schedule at once. */
static void search_end(struct schedule *schedule, struct request *r) {
  r->searched = true;
  for (int i = 0; i < r->n_generation; i++) {
    struct generation *g = &r->generation[i];
    g->scheduled = !schedule_remove(schedule, &g->sequence);
    answer_begin(g);
    if (i >= r->n_answer) g->ended = true; /* the other beams */
  }
}

void request_search_hear(struct schedule *schedule, struct generation *beam, const struct schedule_event *event) {
  struct request *r = beam->request;
  struct beam_move moves[LIMIT_BEAMS];
  if (!beam_search_hear(r->search, beam->index, event->top, beam->sequence.sampling.n_top)) return;
  int32_t n = beam_search_choose(r->search, beam_ends, r, moves);
  if (n > 0)
    moves_run(schedule, r, moves, n);
  else
    search_end(schedule, r);
}

bool request_search_tell(struct generation *g) {
  const struct request *r = g->request;
  if (g->ended) return true;
  if (g->index >= beam_search_finished(r->search)) { /* the rules left too few tokens for so many beams */
    generation_end(g, FINISH_LENGTH);
    return true;
  }
  for (int told = 0; !g->ended; told++) {
    if (!generation_deliver(g)) return true;
    if (told == TELL_AT_ONCE) return false;
    const struct token_logprob *row;
    int32_t token = beam_search_token(r->search, g->index, g->generated, &row);
    generation_accept(g, token, row ? row->logprob : 0, row ? row + 1 : NULL);
    if (g->generated == beam_search_length(r->search, g->index)) generation_end(g, FINISH_LENGTH);
  }
  return true;
}
