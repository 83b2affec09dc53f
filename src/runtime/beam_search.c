/* Beam search. Paths are copied when a beam takes over from another: some KB a step, beside a step of the network. */
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
  struct beam_path path;
  struct token_logprob likely[TOP_LOGPROBS];
};

struct beam_search {
  struct beam_params params;
  int32_t n_token; /* of each beam that lives */
  int32_t n_live, n_heard, n_finished;
  struct beam *beam;                 /* [n_beam] */
  struct beam_path *finished;        /* [n_beam + 1]: one more to build the next in */
  struct continuation *continuation; /* [n_beam]: those that go on */
};

/* --- life --------------------------------------------------------------------------------------------------------- */

static size_t row_size(const struct beam_params *params) {
  return (size_t)(1 + params->n_top) * sizeof(struct token_logprob);
}

static size_t path_bytes(const struct beam_params *params) {
  return (size_t)params->max_tokens * (sizeof(int32_t) + row_size(params));
}

size_t beam_search_bytes(const struct beam_params *params) {
  size_t n = (size_t)params->n_beam;
  return sizeof(struct beam_search) + n * (sizeof(struct beam) + sizeof(struct continuation)) +
         (n + 1) * sizeof(struct beam_path) + (2 * n + 1) * path_bytes(params);
}

static bool path_init(struct beam_path *path, const struct beam_params *params) {
  path->token = calloc((size_t)params->max_tokens, sizeof *path->token);
  if (params->n_top >= 0) path->row = calloc((size_t)params->max_tokens, row_size(params));
  return path->token && (params->n_top < 0 || path->row);
}

static void path_release(struct beam_path *path) {
  free(path->token);
  free(path->row);
}

struct beam_search *beam_search_new(const struct beam_params *params) {
  struct beam_search *search = calloc(1, sizeof *search);
  if (!search) return NULL;
  size_t n = (size_t)params->n_beam;
  search->params = *params;
  search->n_live = 1;
  search->beam = calloc(n, sizeof *search->beam);
  search->finished = calloc(n + 1, sizeof *search->finished);
  search->continuation = calloc(n, sizeof *search->continuation);
  bool ready = search->beam && search->finished && search->continuation;
  for (size_t i = 0; ready && i < n; i++) ready = path_init(&search->beam[i].path, params);
  for (size_t i = 0; ready && i <= n; i++) ready = path_init(&search->finished[i], params);
  if (ready) {
    search->beam[0].lives = true;
    return search;
  }
  beam_search_free(search);
  return NULL;
}

void beam_search_free(struct beam_search *search) {
  if (!search) return;
  for (int i = 0; search->beam && i < search->params.n_beam; i++) path_release(&search->beam[i].path);
  for (int i = 0; search->finished && i <= search->params.n_beam; i++) path_release(&search->finished[i]);
  free(search->beam);
  free(search->finished);
  free(search->continuation);
  free(search);
}

int32_t beam_search_finished(const struct beam_search *search) { return search->n_finished; }

const struct beam_path *beam_search_path(const struct beam_search *search, int32_t index) {
  return &search->finished[index];
}

/* --- paths -------------------------------------------------------------------------------------------------------- */

static void path_copy(const struct beam_params *params, struct beam_path *to, const struct beam_path *from) {
  size_t n = (size_t)from->n_token;
  to->n_token = from->n_token;
  to->score = from->score;
  memcpy(to->token, from->token, n * sizeof *to->token);
  if (to->row) memcpy(to->row, from->row, n * row_size(params));
}

/* One token more: `place` of the likeliest that follow. */
static void path_extend(const struct beam_params *params, struct beam_path *path, const struct token_logprob *likely,
                        int32_t place, double score) {
  if (path->row) {
    struct token_logprob *row = path->row + (size_t)path->n_token * (size_t)(1 + params->n_top);
    row[0] = likely[place];
    if (params->n_top > 0) memcpy(row + 1, likely, (size_t)params->n_top * sizeof *row);
  }
  path->token[path->n_token++] = likely[place].token;
  path->score = score;
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
    double score = b->path.score + (double)b->likely[place[i]].logprob;
    if (likeliest->beam < 0 || score > likeliest->score) *likeliest = (struct continuation){score, i, place[i]};
  }
  if (likeliest->beam >= 0) place[likeliest->beam]++;
  return likeliest->beam >= 0;
}

static bool all_finished(const struct beam_search *search) { return search->n_finished == search->params.n_beam; }

/* Puts a path among the finished ones if it is good enough, with the place after the last as scratch. */
static void finished_add(struct beam_search *search, const struct continuation *c) {
  const struct beam *b = &search->beam[c->beam];
  double score = c->score / pow(search->n_token + 1, search->params.length_penalty);
  int at = search->n_finished;
  while (at > 0 && score > search->finished[at - 1].score) at--;
  if (at == search->params.n_beam) return;
  struct beam_path path = search->finished[search->params.n_beam];
  path_copy(&search->params, &path, &b->path);
  path_extend(&search->params, &path, b->likely, c->place, score);
  memmove(search->finished + at + 1, search->finished + at,
          (size_t)(search->params.n_beam - at) * sizeof *search->finished);
  search->finished[at] = path;
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

/* Copies first, as what is copied must not have grown yet. */
static void moves_apply(struct beam_search *search, int n, const struct beam_move *moves) {
  const struct beam_params *params = &search->params;
  for (int i = 0; i < params->n_beam; i++) search->beam[i].lives = search->beam[i].heard = false;
  for (int i = 0; i < n; i++) {
    struct beam *to = &search->beam[moves[i].to];
    const struct beam *from = &search->beam[moves[i].from];
    to->lives = true;
    if (to == from) continue;
    path_copy(params, &to->path, &from->path);
    memcpy(to->likely, from->likely, sizeof to->likely);
  }
  for (int i = 0; i < n; i++) {
    struct beam *to = &search->beam[moves[i].to];
    path_extend(params, &to->path, to->likely, search->continuation[i].place, search->continuation[i].score);
  }
  search->n_live = n;
  search->n_heard = 0;
  search->n_token++;
}

int32_t beam_search_choose(struct beam_search *search, bool (*ends)(void *context, int32_t beam, int32_t token),
                           void *context, struct beam_move *moves) {
  int n = continuations_sift(search, ends, context);
  if (n == 0 || search_over(search, search->continuation[0].score)) return 0;
  moves_make(search, n, moves);
  moves_apply(search, n, moves);
  return n;
}
