/* Evaluating at the end of a build. */
#include "lib/build_eval.h"

#include "base/file.h"
#include "lib/spate_state.h"

#include <errno.h>
#include <unistd.h>

enum { BUILD_OUTPUTS = 128 };

static bool opened_evaluate(const spate_build_options *o, spate_engine *engine, struct buffer *json,
                            spate_error *problem) {
  spate_eval_options options;
  spate_text text;
  spate_eval_options_init(&options);
  options.text = o->eval_text;
  options.against = o->eval_against;
  options.progress = o->progress;
  options.user = o->user;
  if (!spate_eval(engine, &options, &text, problem)) return false;
  buffer_append(json, text.data, text.size);
  spate_text_free(&text);
  return true;
}

static bool build_evaluate(void *user, const char *path, struct buffer *json, struct error *error) {
  const spate_build_options *o = user;
  spate_open_options open;
  spate_error problem;
  spate_open_options_init(&open);
  open.model = path;
  open.max_outputs = BUILD_OUTPUTS;
  spate_engine *engine = spate_open(&open, &problem);
  bool done = engine && opened_evaluate(o, engine, json, &problem);
  spate_close(engine);
  if (done) return true;
  error_set(error, (enum error_code)problem.code, "%s", problem.text);
  return error_prefix(error, "The engine cannot be evaluated: ");
}

bool build_eval_prepare(const spate_build_options *options, struct build_options *build, struct error *error) {
  struct file text;
  if (!options->eval_text)
    return !options->eval_against ||
           error_set(error, ERROR_INVALID,
                     "Two engines are compared on a text: name one for eval, or leave eval_against "
                     "out.");
  if (build->backend->present && !build->backend->present(error))
    return error_prefix(error, "The engine could not be evaluated here: ");
  if (!file_open(&text, options->eval_text, error)) return false;
  file_close(&text);
  if (options->eval_against && access(options->eval_against, R_OK) != 0)
    return error_set(error, ERROR_NOT_FOUND, "%s cannot be opened: %s.", options->eval_against, strerror(errno));
  build->evaluate = build_evaluate;
  build->evaluate_user = (void *)(uintptr_t)options; /* read only */
  return true;
}
