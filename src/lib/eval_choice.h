/* Multiple choice: the likelihood of each choice after its question, as lm-evaluation-harness scores them. The right
 * one counts as found when its log-likelihood is the highest (acc), or when that divided by the choice's characters is
 * (acc_norm); of equal ones the first. BOS stands before the question where the tokenizer says so. */
#ifndef SPATE_LIB_EVAL_CHOICE_H
#define SPATE_LIB_EVAL_CHOICE_H

#include "build/build_progress.h"
#include "build/eval_task.h"
#include "engine/loaded_engine.h"
#include "text/tokenizer.h"

/* Writes `,"acc":…,"acc_stderr":…,"acc_norm":…,"acc_norm_stderr":…,"samples":[{"answer":1,"loglikelihoods":[…]},…]`.
 * The engine's runtime is parked. adapters: those of a row. */
bool choices_evaluate(const struct loaded_engine *engine, const struct tokenizer *tokenizer, const struct row *adapters,
                      const struct eval_task *task, struct build_progress *progress, struct buffer *out,
                      struct error *error);

#endif
