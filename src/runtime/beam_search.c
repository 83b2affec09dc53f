/* Beam search. The texts are a tree: a node for each beam and step, which knows the beam that it went on from. */
#include "runtime/beam_search.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct continuation {
  double score;
  int32_t beam, place; /* place: among the beam's likeliest */
};

struct beam {
  bool lives, heard;
  double score; /* sum of log-probabilities */
  struct token_logprob likely[TOP_LOGPROBS];
};

struct node {
  int32_t token;
  uint8_t parent; /* beam of the step before; of the first token none */
};

_Static_assert(LIMIT_BEAMS <= UINT8_MAX, "a beam's number must fit in a node");

/* A text that has ended: its last node, which has no place in the tree. */
struct finished {
  double score; /* with the length penalty */
  int32_t n_token;
  struct node last;
  struct token_logprob *row; /* [1 + n_top] */
};

struct beam_search {
  struct beam_params params;
  int32_t n_token; /* of each beam that lives */
  int32_t n_live, n_heard, n_finished;
  struct beam *beam;                 /* [n_beam] */
  struct node *node;                 /* [max_tokens][n_beam] */
  struct token_logprob *row;         /* [max_tokens][n_beam][1 + n_top], or NULL */
  struct finished *finished;         /* [n_beam + 1]: one more to build the next in */
  struct token_logprob *last_row;    /* [n_beam + 1][1 + n_top]: theirs */
  uint8_t *trail;                    /* [n_beam][max_tokens]: the beams that a finished text went through, once over */
  struct continuation *continuation; /* [n_beam]: those that go on */
};

/* --- life --------------------------------------------------------------------------------------------------------- */

static size_t row_count(const struct beam_params *params) { return params->n_top < 0 ? 0 : (size_t)params->n_top + 1; }

size_t beam_search_bytes(const struct beam_params *params) {
  size_t n = (size_t)params->n_beam, row = row_count(params) * sizeof(struct token_logprob);
  size_t each = sizeof(struct node) + row + sizeof(uint8_t);
  return sizeof(struct beam_search) + n * (sizeof(struct beam) + sizeof(struct continuation)) +
         (n + 1) * (sizeof(struct finished) + row) + n * (size_t)params->max_tokens * each;
}

static bool rows_init(struct beam_search *search) {
  size_t n = (size_t)search->params.n_beam, row = row_count(&search->params);
  if (row == 0) return true;
  search->row = calloc((size_t)search->params.max_tokens * n * row, sizeof *search->row);
  search->last_row = calloc((n + 1) * row, sizeof *search->last_row);
  if (!search->row || !search->last_row) return false;
  for (size_t i = 0; i <= n; i++) search->finished[i].row = search->last_row + i * row;
  return true;
}

struct beam_search *beam_search_new(const struct beam_params *params) {
  struct beam_search *search = calloc(1, sizeof *search);
  if (!search) return NULL;
  size_t n = (size_t)params->n_beam, n_node = n * (size_t)params->max_tokens;
  search->params = *params;
  search->n_live = 1;
  search->beam = calloc(n, sizeof *search->beam);
  search->node = calloc(n_node, sizeof *search->node);
  search->trail = calloc(n_node, sizeof *search->trail);
  search->finished = calloc(n + 1, sizeof *search->finished);
  search->continuation = calloc(n, sizeof *search->continuation);
  if (search->beam && search->node && search->trail && search->finished && search->continuation && rows_init(search)) {
    search->beam[0].lives = true;
    return search;
  }
  beam_search_free(search);
  return NULL;
}

void beam_search_free(struct beam_search *search) {
  if (!search) return;
  free(search->beam);
  free(search->node);
  free(search->row);
  free(search->trail);
  free(search->finished);
  free(search->last_row);
  free(search->continuation);
  free(search);
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

static struct node *node_at(const struct beam_search *search, int32_t step, int32_t beam) {
  return &search->node[(size_t)step * (size_t)search->params.n_beam + (size_t)beam];
}

static struct token_logprob *row_at(const struct beam_search *search, int32_t step, int32_t beam) {
  if (!search->row) return NULL;
  return search->row + ((size_t)step * (size_t)search->params.n_beam + (size_t)beam) * row_count(&search->params);
}

/* The node of a continuation, and what it tells. */
static struct node node_make(const struct beam_search *search, const struct continuation *c,
                             struct token_logprob *row) {
  const struct token_logprob *likely = search->beam[c->beam].likely;
  int32_t n_top = search->params.n_top;
  if (row) row[0] = likely[c->place];
  if (row && n_top > 0) memcpy(row + 1, likely, (size_t)n_top * sizeof *row);
  return (struct node){.token = likely[c->place].token, .parent = (uint8_t)c->beam};
}

/* From the ends of the finished texts back to their beginnings. */
static void trails_follow(struct beam_search *search) {
  for (int32_t i = 0; i < search->n_finished; i++) {
    uint8_t *trail = search->trail + (size_t)i * (size_t)search->params.max_tokens;
    uint8_t beam = search->finished[i].last.parent;
    for (int32_t step = search->finished[i].n_token - 2; step >= 0; step--) {
      trail[step] = beam;
      beam = node_at(search, step, beam)->parent;
    }
  }
}

int32_t beam_search_finished(const struct beam_search *search) { return search->n_finished; }

int32_t beam_search_length(const struct beam_search *search, int32_t index) { return search->finished[index].n_token; }

int32_t beam_search_token(const struct beam_search *search, int32_t index, int32_t at,
                          const struct token_logprob **row) {
  const struct finished *text = &search->finished[index];
  *row = text->row;
  if (at == text->n_token - 1) return text->last.token;
  uint8_t beam = search->trail[(size_t)index * (size_t)search->params.max_tokens + (size_t)at];
  *row = row_at(search, at, beam);
  return node_at(search, at, beam)->token;
}

/* --- a step ------------------------------------------------------------------------------------------------------- */

int32_t beam_search_candidates(int32_t n_beam, int32_t n_end) { return n_beam + n_end; }

bool beam_search_hear(struct beam_search *search, int32_t beam, const struct token_logprob *top, int32_t n_top) {
  struct beam *b = &search->beam[beam];
  assert(b->lives && !b->heard && n_top <= TOP_LOGPROBS);
  memcpy(b->likely, top, (size_t)n_top * sizeof *top);
  for (int i = n_top; i < TOP_LOGPROBS; i++) b->likely[i].token = -1;
  b->heard = true;
  return ++search->n_heard == search->n_live;
}

/* The likeliest that the beams have told and not yet given here; of equal ones that of the first beam. place: for each
 * beam, how many it has given. False: there are no more. */
static bool continuation_next(const struct beam_search *search, int32_t place[LIMIT_BEAMS],
                              struct continuation *likeliest) {
  int32_t wanted = beam_search_candidates(search->params.n_beam, search->params.n_end);
  likeliest->beam = -1;
  for (int i = 0; i < search->params.n_beam; i++) {
    const struct beam *b = &search->beam[i];
    if (!b->lives || place[i] == wanted || b->likely[place[i]].token < 0) continue;
    double score = b->score + (double)b->likely[place[i]].logprob;
    if (likeliest->beam < 0 || score > likeliest->score) *likeliest = (struct continuation){score, i, place[i]};
  }
  if (likeliest->beam >= 0) place[likeliest->beam]++;
  return likeliest->beam >= 0;
}

static bool all_finished(const struct beam_search *search) { return search->n_finished == search->params.n_beam; }

/* Puts a text among the finished ones if it is good enough, with the place after the last as scratch. */
static void finished_add(struct beam_search *search, const struct continuation *c) {
  double score = c->score / pow(search->n_token + 1, search->params.length_penalty);
  int at = search->n_finished, n_beam = search->params.n_beam;
  while (at > 0 && score > search->finished[at - 1].score) at--;
  if (at == n_beam) return;
  struct finished text = search->finished[n_beam];
  text.score = score;
  text.n_token = search->n_token + 1;
  text.last = node_make(search, c, text.row);
  memmove(search->finished + at + 1, search->finished + at, (size_t)(n_beam - at) * sizeof text);
  search->finished[at] = text;
  if (!all_finished(search)) search->n_finished++;
}

typedef bool ends_function(void *context, int32_t beam, int32_t token);

/* Sorts out what ends and what goes on, which is kept; how many do. */
static int continuations_sift(struct beam_search *search, ends_function *ends, void *context) {
  int n_beam = search->params.n_beam, n = 0;
  int32_t place[LIMIT_BEAMS] = {0};
  struct continuation c;
  bool last = search->n_token + 1 == search->params.max_tokens;
  bool closed = all_finished(search) && search->params.early_stop == EARLY_STOP_AT_ONCE;
  for (int i = 0; (i < n_beam || n < n_beam) && continuation_next(search, place, &c); i++) {
    bool ended = last || ends(context, c.beam, search->beam[c.beam].likely[c.place].token);
    if (!ended)
      search->continuation[n++] = c;
    else if (i < n_beam && !closed)
      finished_add(search, &c);
  }
  return n;
}

static bool search_over(const struct beam_search *search, double best) {
  const struct beam_params *params = &search->params;
  if (!all_finished(search)) return false;
  if (params->early_stop == EARLY_STOP_AT_ONCE) return true;
  bool longest = params->early_stop == EARLY_STOP_CERTAIN && params->length_penalty > 0;
  double length = longest ? params->max_tokens : search->n_token + 1;
  return best / pow(length, params->length_penalty) <= search->finished[search->n_finished - 1].score;
}

/* Gives each survivor a beam: its own to the first of each beam, one that nobody goes on from to the rest. */
static void moves_make(const struct beam_search *search, int n, struct beam_move *moves) {
  bool taken[LIMIT_BEAMS] = {false};
  for (int i = 0; i < n; i++) {
    const struct continuation *c = &search->continuation[i];
    bool first = !taken[c->beam];
    moves[i] = (struct beam_move){c->beam, first ? c->beam : -1, search->beam[c->beam].likely[c->place].token};
    taken[c->beam] = true;
  }
  for (int i = 0, next = 0; i < n; i++) {
    if (moves[i].to >= 0) continue;
    while (taken[next]) next++;
    taken[next] = true;
    moves[i].to = next;
  }
}

static void moves_apply(struct beam_search *search, int n, const struct beam_move *moves) {
  for (int i = 0; i < search->params.n_beam; i++) search->beam[i].lives = search->beam[i].heard = false;
  for (int i = 0; i < n; i++) {
    int32_t to = moves[i].to;
    *node_at(search, search->n_token, to) =
        node_make(search, &search->continuation[i], row_at(search, search->n_token, to));
    search->beam[to].lives = true;
    search->beam[to].score = search->continuation[i].score;
  }
  search->n_live = n;
  search->n_heard = 0;
  search->n_token++;
}

int32_t beam_search_choose(struct beam_search *search, bool (*ends)(void *context, int32_t beam, int32_t token),
                           void *context, struct beam_move *moves) {
  int n = continuations_sift(search, ends, context);
  if (n == 0 || search_over(search, search->continuation[0].score)) {
    trails_follow(search);
    return 0;
  }
  moves_make(search, n, moves);
  moves_apply(search, n, moves);
  return n;
}
