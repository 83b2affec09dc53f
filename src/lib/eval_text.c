/* Losses over a text. Both engines do the same chunk of tokens before the next, so that memory holds one chunk of
 * logits of each, which are the program's own. */
#include "lib/eval_text.h"

#include "base/clock.h"
#include "base/limits.h"
#include "build/distribution.h"
#include "lib/direct_steps.h"

#include <math.h>
#include <stdlib.h>

enum { DEFAULT_WINDOW = 1024 };

struct text_run {
  const struct text_eval *eval;
  const struct loaded_engine *engine[2]; /* the second is NULL without another */
  int n_engine, chunk;                   /* tokens of a step */
  struct direct_steps steps[2];
  struct distribution next[2];
  struct token_list stream; /* what stands before the text, and its tokens */
  size_t first;             /* index in the stream of the first token that is predicted */
  float *kl;                /* [tokens predicted] */
  size_t done;              /* tokens predicted so far */
  double loss_sum[2], kl_sum;
  uint64_t ns[2];
  size_t same;
};

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static bool stream_make(struct text_run *run, struct error *error) {
  const struct text_eval *eval = run->eval;
  const struct tokenizer_facts *facts = tokenizer_facts(eval->tokenizer);
  int32_t prefix = facts->bos >= 0 ? facts->bos : facts->eos;
  token_list_init(&run->stream, LIMIT_EVAL_TOKENS);
  run->first = prefix >= 0 ? 1 : 0;
  if (prefix >= 0) token_list_append(&run->stream, prefix);
  if (!tokenizer_encode(eval->tokenizer, eval->text, 0, &run->stream, error)) return false;
  if (run->first == 0) run->first = 1; /* nothing stands before the first token: it cannot be predicted */
  size_t most = eval->max_tokens > 0 ? (size_t)eval->max_tokens + run->first : run->stream.count;
  if (run->stream.count > most) run->stream.count = most;
  if (run->stream.count > run->first) return true;
  return error_set(error, ERROR_INVALID,
                   "The text to evaluate has %zu tokens, expected at least 1 that can be predicted.",
                   run->stream.count);
}

static size_t bytes_predicted(const struct text_run *run) {
  size_t bytes = 0;
  for (size_t i = run->first; i < run->stream.count; i++)
    bytes += tokenizer_piece(run->eval->tokenizer, run->stream.ids[i]).size;
  return bytes;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* The rows of a step whose first predicts token `at` of the stream. */
static bool rows_add(struct text_run *run, const struct result *result, int first, int count, size_t at,
                     struct error *error) {
  size_t vocab = (size_t)run->engine[0]->plan->vocab;
  for (int i = first; i < count; i++) {
    int32_t token = run->stream.ids[at + (size_t)(i - first)];
    for (int e = 0; e < run->n_engine; e++) {
      if (!distribution_set(&run->next[e], result[e].logits + (size_t)i * vocab))
        return error_set(error, ERROR_INTERNAL, "The logits of %s for token %zu of the text are not finite numbers.",
                         run->engine[e]->file.facts->name, at + (size_t)(i - first) - run->first);
      run->loss_sum[e] -= distribution_logprob(&run->next[e], token);
    }
    if (run->n_engine == 2) {
      double kl = distribution_divergence(&run->next[1], &run->next[0]);
      run->kl[run->done] = (float)kl;
      run->kl_sum += kl;
      run->same += distribution_top(&run->next[0]) == distribution_top(&run->next[1]);
    }
    run->done++;
  }
  return true;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static bool chunk_step(struct text_run *run, const int32_t *tokens, int n, bool wanted, struct result *result,
                       struct error *error) {
  for (int e = 0; e < run->n_engine; e++) {
    uint64_t start = clock_ns();
    if (!direct_step(&run->steps[e], tokens, n, wanted ? OUTPUT_ALL : OUTPUT_NONE, true, &result[e], error))
      return false;
    run->ns[e] += clock_ns() - start;
    if (wanted && !result[e].logits)
      return error_set(error, ERROR_UNSUPPORTED, "The backend %s computes no logits; open the engine with another.",
                       run->engine[e]->backend->name);
  }
  return true;
}

/* A window that takes the tokens [from, to) of the stream in, and predicts those from `first` to the one after `to`. */
static bool window_run(struct text_run *run, size_t from, size_t to, size_t first, struct error *error) {
  for (int e = 0; e < run->n_engine; e++) direct_rewind(&run->steps[e], 0);
  for (size_t at = from; at < to;) {
    struct result result[2];
    int n = to - at < (size_t)run->chunk ? (int)(to - at) : run->chunk;
    size_t end = at + (size_t)n;
    int skip = first <= at + 1 ? 0 : first > end ? n : (int)(first - 1 - at); /* rows that predict what others have */
    if (!chunk_step(run, run->stream.ids + at, n, skip < n, result, error) ||
        !rows_add(run, result, skip, n, at + 1 + (size_t)skip, error) ||
        !progress_report(run->eval->progress, "text", run->done, run->stream.count - run->first, error))
      return false;
    at = end;
  }
  return true;
}

static bool windows_run(struct text_run *run, int window, struct error *error) {
  size_t size = (size_t)window, end = run->stream.count;
  for (size_t first = run->first; first < end;) {
    size_t last = end - first < size ? end : first + size; /* one past the tokens that this window predicts */
    size_t from = last - 1 > size ? last - 1 - size : 0;
    if (!window_run(run, from, last - 1, first, error)) return false;
    first = last;
  }
  return true;
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

static int least(int a, int b) { return a < b ? a : b; }

static bool window_choose(struct text_run *run, int *window, struct error *error) {
  int most = run->engine[0]->limits.length;
  if (run->n_engine == 2) most = least(most, run->engine[1]->limits.length);
  *window = run->eval->window ? run->eval->window : least(DEFAULT_WINDOW, most);
  if (*window >= 1 && *window <= most) return true;
  return error_set(error, ERROR_LIMIT, "A window of %d tokens; the engines allow 1 to %d (max_seq_len).", *window,
                   most);
}

static bool run_prepare(struct text_run *run, int *window, struct error *error) {
  run->chunk = LIMIT_STEP_TOKENS;
  for (int e = 0; e < run->n_engine; e++)
    run->chunk = least(run->chunk, least(run->engine[e]->limits.outputs, run->engine[e]->limits.tokens));
  if (!window_choose(run, window, error) || !stream_make(run, error)) return false;
  for (int e = 0; e < run->n_engine; e++)
    if (!direct_init(&run->steps[e], run->engine[e], 1, *window, error) ||
        !distribution_init(&run->next[e], run->engine[e]->plan->vocab, error))
      return false;
  if (run->eval->adapters) direct_adapt(&run->steps[0], run->eval->adapters);
  run->kl = calloc(run->stream.count, sizeof *run->kl);
  return run->kl || error_set(error, ERROR_MEMORY, "Out of memory for %zu divergences.", run->stream.count);
}

static int ascending(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* Between the two values around it, as most tools do. */
static double percentile(const float *sorted, size_t count, double share) {
  double place = share * (double)(count - 1);
  size_t below = (size_t)place, above = below + 1 < count ? below + 1 : below;
  double part = place - (double)below;
  return (1 - part) * (double)sorted[below] + part * (double)sorted[above];
}

static void loss_fill(struct text_run *run, int window, struct text_loss *loss) {
  double n = (double)run->done;
  *loss = (struct text_loss){.window = window, .tokens = run->done, .bytes = bytes_predicted(run)};
  for (int e = 0; e < run->n_engine; e++)
    loss->side[e] = (struct text_side){.loss = run->loss_sum[e] / n, .seconds = (double)run->ns[e] * 1e-9};
  if (run->n_engine < 2) return;
  qsort(run->kl, run->done, sizeof *run->kl, ascending);
  loss->mean_kl = run->kl_sum / n;
  loss->p999_kl = percentile(run->kl, run->done, 0.999);
  loss->most_kl = (double)run->kl[run->done - 1];
  loss->same_top = (double)run->same / n;
}

bool text_eval_run(const struct text_eval *eval, struct text_loss *loss, struct error *error) {
  struct text_run run = {
      .eval = eval, .engine = {eval->engine, eval->against}, .n_engine = eval->against != NULL ? 2 : 1};
  int window;
  bool done = run_prepare(&run, &window, error) && windows_run(&run, window, error);
  if (done) loss_fill(&run, window, loss);
  for (int e = 0; e < run.n_engine; e++) {
    direct_release(&run.steps[e]);
    distribution_release(&run.next[e]);
  }
  token_list_release(&run.stream);
  free(run.kl);
  return done;
}

bool vocabularies_match(const struct loaded_engine *engine, const struct tokenizer *tokenizer,
                        const struct loaded_engine *against, const struct tokenizer *other, struct error *error) {
  size_t count = tokenizer_vocab(tokenizer);
  if (engine->plan->vocab != against->plan->vocab || count != tokenizer_vocab(other))
    return error_set(error, ERROR_INVALID,
                     "%s has a vocabulary of %d and %s one of %d: only engines of the same vocabulary can be compared.",
                     engine->file.facts->name, engine->plan->vocab, against->file.facts->name, against->plan->vocab);
  for (size_t i = 0; i < count; i++)
    if (!slice_equal(tokenizer_piece(tokenizer, (int32_t)i), tokenizer_piece(other, (int32_t)i)))
      return error_set(
          error, ERROR_INVALID,
          "Token %zu is another one in %s than in %s: only engines of the same vocabulary can be compared.", i,
          engine->file.facts->name, against->file.facts->name);
  return true;
}
