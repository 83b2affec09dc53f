/* Generate and match: answers to questions, generated greedily side by side by the engine's runtime, each until the
 * strings that lm-evaluation-harness ends gsm8k at, or 256 tokens. */
#ifndef SPATE_LIB_EVAL_ANSWER_H
#define SPATE_LIB_EVAL_ANSWER_H

#include "build/build_progress.h"
#include "build/eval_task.h"
#include "lib/spate_state.h"

/* Writes `,"exact_match_strict":…,"exact_match_flexible":…` with their standard errors, `,"generated_tokens":…` and
 * `,"samples":[{"text":"…","strict":true,"flexible":true},…]`. */
bool answers_evaluate(spate_engine *engine, const spate_eval_options *options, const struct eval_task *task,
                      struct build_progress *progress, struct buffer *out, struct error *error);

#endif
