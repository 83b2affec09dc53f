/* Scoring choices. A context is computed once for all its choices, and what it shares with the one before it (the
 * answered questions of a task) not at all. */
#include "lib/eval_choice.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "build/distribution.h"
#include "lib/direct_steps.h"
#include "lib/eval_report.h"

struct choice_run {
  const struct loaded_engine *engine;
  const struct tokenizer *tokenizer;
  struct direct_steps steps;
  struct distribution next;
  struct token_list context, before; /* of this item; those in the cache since the item before it */
  struct token_list whole;           /* context and a choice */
  struct buffer text;
  size_t right, right_norm;
};

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static bool tokens_make(const struct choice_run *run, struct slice text, struct token_list *list, struct error *error) {
  const struct tokenizer_facts *facts = tokenizer_facts(run->tokenizer);
  token_list_clear(list);
  if (facts->add_bos) token_list_append(list, facts->bos);
  return tokenizer_encode(run->tokenizer, text, 0, list, error);
}

/* The tokens of a choice are those that the whole text has after as many as the context alone has: a choice's first
 * letters may change the last token of the context, which then stays as it was. */
static bool choice_tokens(struct choice_run *run, const struct eval_item *item, int choice, int32_t **tokens,
                          int *count, struct error *error) {
  size_t most = (size_t)run->engine->limits.length;
  buffer_clear(&run->text);
  buffer_append(&run->text, item->context.data, item->context.size);
  buffer_text(&run->text, " ");
  buffer_append(&run->text, item->choices[choice].data, item->choices[choice].size);
  if (!tokens_make(run, buffer_slice(&run->text), &run->whole, error)) return false;
  if (run->whole.count <= run->context.count)
    return error_set(error, ERROR_INVALID, "Choice %d adds no token to its question.", choice);
  if (run->whole.count > most)
    return error_set(error, ERROR_LIMIT,
                     "Choice %d and its question have %zu tokens; the engine allows %zu (max_seq_len).", choice,
                     run->whole.count, most);
  *tokens = run->whole.ids + run->context.count;
  *count = (int)(run->whole.count - run->context.count);
  return true;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static bool logits_take(struct choice_run *run, const struct result *result, int row, struct error *error) {
  if (!result->logits)
    return error_set(error, ERROR_UNSUPPORTED, "The backend %s computes no logits; open the engine with another.",
                     run->engine->backend->name);
  return distribution_set(&run->next, result->logits + (size_t)row * (size_t)run->engine->plan->vocab) ||
         error_set(error, ERROR_INTERNAL, "The logits of %s are not finite numbers.", run->engine->file.facts->name);
}

/* Leaves the distribution after the context in `next`. */
static bool context_run(struct choice_run *run, struct error *error) {
  struct result result;
  struct token_list *context = &run->context, *before = &run->before;
  size_t shared = 0, most = (size_t)run->engine->limits.tokens;
  while (shared + 1 < context->count && shared < before->count && context->ids[shared] == before->ids[shared]) shared++;
  direct_rewind(&run->steps, (int)shared);
  for (size_t at = shared, n; at < context->count; at += n) {
    n = context->count - at < most ? context->count - at : most;
    bool last = at + n == context->count;
    if (!direct_step(&run->steps, context->ids + at, (int)n, last ? OUTPUT_LAST : OUTPUT_NONE, true, &result, error))
      return false;
  }
  token_list_clear(before);
  for (size_t i = 0; i < context->count; i++) token_list_append(before, context->ids[i]);
  return logits_take(run, &result, 0, error);
}

/* Adds the log-probabilities of all tokens of a choice but the first. */
static bool continuation_run(struct choice_run *run, const int32_t *tokens, int count, double *sum,
                             struct error *error) {
  const struct limits *limits = &run->engine->limits;
  int most = limits->outputs < limits->tokens ? limits->outputs : limits->tokens;
  direct_rewind(&run->steps, (int)run->context.count);
  for (int at = 0, n; at < count - 1; at += n) {
    struct result result;
    n = count - 1 - at < most ? count - 1 - at : most;
    if (!direct_step(&run->steps, tokens + at, n, OUTPUT_ALL, true, &result, error)) return false;
    for (int i = 0; i < n; i++) {
      if (!logits_take(run, &result, i, error)) return false;
      *sum += distribution_logprob(&run->next, tokens[at + i + 1]);
    }
  }
  return true;
}

/* The first tokens of all choices come from one row of logits, which the steps of the others would overwrite. */
static bool item_score(struct choice_run *run, const struct eval_item *item, double score[], struct error *error) {
  int32_t *tokens;
  int count;
  if (!tokens_make(run, item->context, &run->context, error)) return false;
  if (run->context.count >= (size_t)run->engine->limits.length)
    return error_set(error, ERROR_LIMIT,
                     "The question has %zu tokens; the engine allows %d with its choice (max_seq_len).",
                     run->context.count, run->engine->limits.length);
  if (!context_run(run, error)) return false;
  for (int c = 0; c < item->n_choice; c++) {
    if (!choice_tokens(run, item, c, &tokens, &count, error)) return false;
    score[c] = distribution_logprob(&run->next, tokens[0]);
  }
  for (int c = 0; c < item->n_choice; c++)
    if (!choice_tokens(run, item, c, &tokens, &count, error) || !continuation_run(run, tokens, count, &score[c], error))
      return false;
  return true;
}

/* --- figures ------------------------------------------------------------------------------------------------------ */

static void item_count(struct choice_run *run, const struct eval_item *item, const double score[]) {
  int best = 0, best_norm = 0;
  double most = 0;
  for (int c = 0; c < item->n_choice; c++) {
    double norm = score[c] / (double)utf8_characters(item->choices[c]);
    if (score[c] > score[best]) best = c;
    if (c == 0 || norm > most) most = norm, best_norm = c;
  }
  run->right += best == item->answer;
  run->right_norm += best_norm == item->answer;
}

static void sample_write(struct buffer *samples, const struct eval_item *item, const double score[]) {
  buffer_print(samples, "%s{\"answer\":%d,\"loglikelihoods\":[", samples->size ? "," : "", item->answer);
  for (int c = 0; c < item->n_choice; c++) {
    if (c) buffer_text(samples, ",");
    json_write_number(samples, score[c]);
  }
  buffer_text(samples, "]}");
}

static bool items_run(struct choice_run *run, const struct eval_task *task, struct build_progress *progress,
                      struct buffer *samples, struct error *error) {
  for (size_t i = 0; i < task->n_item; i++) {
    double score[LIMIT_EVAL_CHOICES];
    if (!item_score(run, &task->items[i], score, error)) return error_prefix(error, "Question %zu: ", i + 1);
    item_count(run, &task->items[i], score);
    sample_write(samples, &task->items[i], score);
    if (!progress_report(progress, "choices", i + 1, task->n_item, error)) return false;
  }
  return true;
}

bool choices_evaluate(const struct loaded_engine *engine, const struct tokenizer *tokenizer, const struct row *adapters,
                      const struct eval_task *task, struct build_progress *progress, struct buffer *out,
                      struct error *error) {
  struct choice_run run = {.engine = engine, .tokenizer = tokenizer};
  struct token_list *lists[] = {&run.context, &run.before, &run.whole};
  struct buffer samples;
  buffer_init(&samples, out->max);
  buffer_init(&run.text, LIMIT_EVAL_PROMPT_BYTES + LIMIT_EVAL_LINE_BYTES);
  for (int i = 0; i < 3; i++) token_list_init(lists[i], LIMIT_EVAL_PROMPT_BYTES + LIMIT_EVAL_LINE_BYTES);
  bool done = direct_init(&run.steps, engine, 1, engine->limits.length, error) &&
              distribution_init(&run.next, engine->plan->vocab, error);
  if (done) direct_adapt(&run.steps, adapters);
  done = done && items_run(&run, task, progress, &samples, error);
  if (done) {
    share_write(out, "acc", run.right, task->n_item);
    share_write(out, "acc_norm", run.right_norm, task->n_item);
    samples_write(out, &samples);
  }
  for (int i = 0; i < 3; i++) token_list_release(lists[i]);
  buffer_release(&samples);
  buffer_release(&run.text);
  distribution_release(&run.next);
  direct_release(&run.steps);
  return done;
}
