/* Generated answers. */
#include "lib/eval_answer.h"

#include "base/json.h"
#include "base/limits.h"
#include "build/answer_match.h"
#include "lib/eval_report.h"

#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_TOKENS = 256, TAKE_MS = 100, TAKE_MAX = 16 };

struct answer {
  uint64_t id; /* 0: not asked for yet */
  struct buffer text;
};

struct answer_run {
  spate_engine *engine;
  const spate_eval_options *options; /* whose adapters answer */
  spate_inbox *inbox;
  const struct eval_task *task;
  struct answer *answers; /* [n_item] */
  size_t asked, done, tokens;
};

static bool failed(const spate_error *problem, size_t item, struct error *error) {
  error_set(error, (enum error_code)problem->code, "%s", problem->text);
  return error_prefix(error, "Question %zu: ", item + 1);
}

/* What the model's own defaults would add to greedy choice is left out. */
static bool answer_ask(struct answer_run *run, struct error *error) {
  static const char *const ends[] = {"Question:", "</s>", "<|im_end|>"};
  const struct eval_item *item = &run->task->items[run->asked];
  spate_request request;
  spate_error problem;
  spate_request_init(run->engine, &request);
  request.prompt = (const char *)item->context.data;
  request.prompt_size = item->context.size;
  request.max_tokens = ANSWER_TOKENS;
  request.temperature = 0;
  request.repetition_penalty = 1;
  request.stop = ends;
  request.n_stop = sizeof ends / sizeof *ends;
  request.loras = run->options->loras;
  request.n_loras = run->options->n_loras;
  uint64_t id = spate_submit(run->engine, run->inbox, &request, &problem);
  if (!id) return failed(&problem, run->asked, error);
  buffer_init(&run->answers[run->asked].text, LIMIT_EVAL_ANSWER_BYTES);
  run->answers[run->asked++].id = id;
  return true;
}

static bool event_take(struct answer_run *run, const spate_event *event, struct error *error) {
  size_t i = 0;
  while (i < run->asked && run->answers[i].id != event->id) i++;
  if (i == run->asked) return true;
  if (event->kind == SPATE_FAILED) {
    spate_error problem = {.code = event->code};
    snprintf(problem.text, sizeof problem.text, "%.*s", (int)event->text_size, event->text);
    return failed(&problem, i, error);
  }
  buffer_append(&run->answers[i].text, event->text, event->text_size);
  if (event->kind != SPATE_DONE) return true;
  run->done++;
  run->tokens += (size_t)event->generated_tokens;
  return true;
}

/* As many at once as a step has room for. */
static bool answers_run(struct answer_run *run, struct build_progress *progress, struct error *error) {
  size_t seats = (size_t)run->engine->loaded->limits.seats, total = run->task->n_item;
  while (run->done < total) {
    spate_event events[TAKE_MAX];
    while (run->asked < total && run->asked - run->done < seats)
      if (!answer_ask(run, error)) return false;
    int count = spate_inbox_take(run->inbox, events, TAKE_MAX, TAKE_MS);
    for (int i = 0; i < count; i++)
      if (!event_take(run, &events[i], error)) return false;
    if (!progress_report(progress, "answers", run->done, total, error)) return false;
  }
  return true;
}

static void answers_write(const struct answer_run *run, const struct answer_match *match, struct buffer *out) {
  size_t right[FILTER_COUNT] = {0};
  struct buffer samples;
  buffer_init(&samples, out->max);
  for (size_t i = 0; i < run->task->n_item; i++) {
    struct slice text = buffer_slice(&run->answers[i].text);
    bool matched[FILTER_COUNT];
    for (int f = 0; f < FILTER_COUNT; f++) {
      matched[f] = answer_matches(match, (enum answer_filter)f, text, run->task->items[i].reference);
      right[f] += matched[f];
    }
    buffer_text(&samples, i ? ",{\"text\":" : "{\"text\":");
    json_write_string(&samples, text);
    buffer_print(&samples, ",\"strict\":%s,\"flexible\":%s}", matched[FILTER_STRICT] ? "true" : "false",
                 matched[FILTER_FLEXIBLE] ? "true" : "false");
  }
  share_write(out, "exact_match_strict", right[FILTER_STRICT], run->task->n_item);
  share_write(out, "exact_match_flexible", right[FILTER_FLEXIBLE], run->task->n_item);
  buffer_print(out, ",\"generated_tokens\":%zu", run->tokens);
  samples_write(out, &samples);
  buffer_release(&samples);
}

bool answers_evaluate(spate_engine *engine, const spate_eval_options *options, const struct eval_task *task,
                      struct build_progress *progress, struct buffer *out, struct error *error) {
  struct answer_run run = {.engine = engine, .options = options, .task = task};
  struct answer_match match;
  spate_error problem;
  if (!answer_match_init(&match, error)) return false;
  run.answers = calloc(task->n_item, sizeof *run.answers);
  run.inbox = run.answers ? spate_inbox_new(engine, &problem) : NULL;
  bool done =
      run.inbox ? answers_run(&run, progress, error) : error_set(error, ERROR_MEMORY, "Out of memory for answers.");
  if (done) answers_write(&run, &match, out);
  if (run.inbox) spate_inbox_free(run.inbox);
  for (size_t i = 0; i < run.asked; i++) buffer_release(&run.answers[i].text);
  free(run.answers);
  answer_match_release(&match);
  return done;
}
