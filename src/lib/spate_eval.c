/* spate.h: evaluation. */
#include "base/file.h"
#include "base/clock.h"
#include "base/json.h"
#include "build/eval_plot.h"
#include "lib/eval_adapters.h"
#include "lib/eval_answer.h"
#include "lib/eval_choice.h"
#include "lib/eval_report.h"
#include "lib/public_options.h"
#include "lib/spate_state.h"

#include <stdlib.h>

enum { EVAL_REPORT_MAX = 256 << 20, PLOT_MAX = 4 << 20 };

struct evaluation {
  spate_engine *engine, *against; /* against: owned; NULL: none */
  spate_eval_options options;
  struct build_progress progress;
  struct buffer *out;
};

/* --- the other engine --------------------------------------------------------------------------------------------- */

/* A model is compared with as what its file says: everything in FP32, within the same limits. */
static spate_engine *against_open(const struct evaluation *evaluation, struct error *error) {
  const spate_eval_options *o = &evaluation->options;
  const struct engine_config *config = &evaluation->engine->loaded->file.facts->config;
  spate_build_options build;
  spate_open_options open;
  spate_error problem;
  if (!o->open)
    spate_open_options_init(&open);
  else if (!open_options_read(o->open, &open, error))
    return NULL;
  spate_build_options_init(&build);
  build.quant_mode = "FP32";
  build.max_batch_size = evaluation->engine->loaded->limits.seats;
  build.max_seq_len = config->max_seq_len;
  build.max_num_tokens = evaluation->engine->loaded->limits.tokens;
  open.model = o->against;
  open.build = engine_file_detect(o->against) ? NULL : &build;
  open.max_outputs = evaluation->engine->loaded->limits.outputs;
  open.progress = o->progress;
  open.user = o->user;
  spate_engine *against = spate_open(&open, &problem);
  if (!against) error_set(error, (enum error_code)problem.code, "%s", problem.text);
  return against;
}

static bool against_prepare(struct evaluation *evaluation, struct error *error) {
  const spate_engine *engine = evaluation->engine;
  if (!evaluation->options.against) return true;
  evaluation->against = against_open(evaluation, error);
  return evaluation->against && vocabularies_match(engine->loaded, engine->tokenizer, evaluation->against->loaded,
                                                   evaluation->against->tokenizer, error);
}

/* --- the engine by itself ----------------------------------------------------------------------------------------- */

static bool parked_begin(struct evaluation *evaluation, struct eval_adapters *adapters, struct error *error) {
  const spate_eval_options *o = &evaluation->options;
  if (!runtime_park(evaluation->engine->runtime, error)) return false;
  if (eval_adapters_take(adapters, evaluation->engine, o->loras, o->n_loras, error)) return true;
  runtime_resume(evaluation->engine->runtime);
  return false;
}

static void parked_end(struct evaluation *evaluation, struct eval_adapters *adapters) {
  eval_adapters_drop(adapters, evaluation->engine);
  runtime_resume(evaluation->engine->runtime);
}

/* --- the text ----------------------------------------------------------------------------------------------------- */

static bool text_run(struct evaluation *evaluation, struct slice text, struct error *error) {
  spate_engine *engine = evaluation->engine, *against = evaluation->against;
  struct eval_adapters adapters;
  struct text_eval eval = {.engine = engine->loaded,
                           .adapters = &adapters.row,
                           .against = against ? against->loaded : NULL,
                           .tokenizer = engine->tokenizer,
                           .text = text,
                           .window = evaluation->options.window,
                           .max_tokens = evaluation->options.max_tokens,
                           .progress = &evaluation->progress};
  struct text_loss loss;
  if (!parked_begin(evaluation, &adapters, error)) return false;
  bool done = !against || runtime_park(against->runtime, error);
  if (done) {
    done = text_eval_run(&eval, &loss, error);
    if (against) runtime_resume(against->runtime);
  }
  parked_end(evaluation, &adapters);
  if (!done) return false;
  buffer_text(evaluation->out, ",");
  text_loss_write(evaluation->out, &eval, &loss);
  return true;
}

static bool text_evaluate(struct evaluation *evaluation, struct error *error) {
  struct file file;
  if (!evaluation->options.text) return true;
  if (!file_open(&file, evaluation->options.text, error)) return false;
  bool done = text_run(evaluation, slice_make(file.data, file.size), error);
  file_close(&file);
  return done;
}

/* --- the task ----------------------------------------------------------------------------------------------------- */

static bool task_run(struct evaluation *evaluation, const struct eval_task *task, struct error *error) {
  spate_engine *engine = evaluation->engine;
  struct eval_adapters adapters;
  if (task->layout == LAYOUT_GSM8K)
    return answers_evaluate(engine, &evaluation->options, task, &evaluation->progress, evaluation->out, error);
  if (!parked_begin(evaluation, &adapters, error)) return false;
  bool done = choices_evaluate(engine->loaded, engine->tokenizer, &adapters.row, task, &evaluation->progress,
                               evaluation->out, error);
  parked_end(evaluation, &adapters);
  return done;
}

static bool task_evaluate(struct evaluation *evaluation, struct error *error) {
  const spate_eval_options *o = &evaluation->options;
  struct eval_task task;
  if (!o->task) return true;
  if (!eval_task_read(&task, o->task, o->shots, o->max_items, error)) return false;
  uint64_t start = clock_ns();
  buffer_text(evaluation->out, ",\"task\":{\"file\":");
  json_write_string(evaluation->out, slice_text(o->task));
  buffer_print(evaluation->out, ",\"layout\":\"%s\",\"items\":%zu", eval_layout_name(task.layout), task.n_item);
  bool done = task_run(evaluation, &task, error);
  buffer_print(evaluation->out, ",\"seconds\":%.6g}", (double)(clock_ns() - start) * 1e-9);
  eval_task_release(&task);
  return done;
}

/* ------------------------------------------------------------------------------------------------------------------ */

static bool options_check(const spate_eval_options *o, struct error *error) {
  if (o->against && !o->text)
    return error_set(error, ERROR_INVALID, "Two engines are compared on a text: name one, or leave against out.");
  if (!o->text && !o->task) return error_set(error, ERROR_INVALID, "An evaluation needs a text or a task.");
  if (o->shots && !o->task)
    return error_set(error, ERROR_INVALID, "Answered questions (shots) were given without a task.");
  if (o->window < 0 || o->max_tokens < 0 || o->max_items < 0)
    return error_set(error, ERROR_INVALID,
                     "A window of %d tokens, at most %d tokens and %d questions; expected 0 or more of each.",
                     o->window, o->max_tokens, o->max_items);
  return true;
}

/* `,"adapters":[{"name":…,"scale":…},…]` where there are any. */
static void adapters_write(struct buffer *out, const spate_lora *loras, int count) {
  for (int i = 0; i < count; i++) {
    buffer_text(out, i ? ",{\"name\":" : ",\"adapters\":[{\"name\":");
    json_write_string(out, slice_text(loras[i].name));
    buffer_text(out, ",\"scale\":");
    json_write_number(out, (double)loras[i].scale);
    buffer_text(out, i + 1 < count ? "}" : "}]");
  }
}

static bool evaluation_run(struct evaluation *evaluation, struct error *error) {
  const spate_eval_options *o = &evaluation->options;
  if (!options_check(o, error)) return false;
  evaluation->progress = (struct build_progress){.report = o->progress, .user = o->user};
  if (!against_prepare(evaluation, error)) return false;
  buffer_text(evaluation->out, "{");
  engine_write(evaluation->out, evaluation->engine->loaded);
  adapters_write(evaluation->out, o->loras, o->n_loras);
  if (!text_evaluate(evaluation, error) || !task_evaluate(evaluation, error)) return false;
  buffer_text(evaluation->out, "}");
  return true;
}

bool spate_eval(spate_engine *engine, const spate_eval_options *options, spate_text *json, spate_error *error) {
  struct error detail = {0};
  struct buffer out;
  struct evaluation evaluation = {.engine = engine, .out = &out};
  buffer_init(&out, EVAL_REPORT_MAX);
  bool done = eval_options_read(options, &evaluation.options, &detail) && evaluation_run(&evaluation, &detail);
  spate_close(evaluation.against);
  if (done && text_export(&out, json, &detail)) return true;
  if (!done) buffer_release(&out);
  return error_export(&detail, error);
}

bool spate_eval_plot(const spate_text *results, size_t count, spate_text *svg, spate_error *error) {
  struct error detail = {0};
  struct buffer out;
  struct slice *texts = calloc(count + 1, sizeof *texts);
  buffer_init(&out, PLOT_MAX);
  for (size_t i = 0; texts && i < count; i++) texts[i] = slice_make(results[i].data, results[i].size);
  bool done = texts ? eval_plot(texts, count, &out, &detail) : error_set(&detail, ERROR_MEMORY, "Out of memory.");
  free(texts);
  if (done && text_export(&out, svg, &detail)) return true;
  if (!done) buffer_release(&out);
  return error_export(&detail, error);
}
