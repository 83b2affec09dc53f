/* Engines into whose matrices made-up factors are folded, as a calibration that finds factors does it, but of numbers
 * that are not rounded: what such an engine computes is what its checkpoint says. */
#ifndef SPATE_TESTS_FOLDED_ENGINE_H
#define SPATE_TESTS_FOLDED_ENGINE_H

#include "parity_support.h"

#include "base/arena.h"
#include "build/draft.h"
#include "build/fold_record.h"
#include "build/pack.h"
#include "build/scale_fold.h"

/* Numbers from ¼ to 4 that differ from channel to channel. */
static inline float *factors_make(struct arena *arena, int count, int seed) {
  float *out = arena_array(arena, (size_t)count, sizeof *out);
  for (int i = 0; i < count; i++) out[i] = exp2f((float)((i * 37 + seed * 11) % 41) / 10 - 2);
  return out;
}

/* Factors on the input columns of all sites, each folded to where it can be. Returns the sites that have none. */
static inline int factors_set(const struct plan *plan, struct weight_transform *transforms, struct arena *arena) {
  struct walk_site site;
  int missed = 0, seed = 0;
  for (int from = 0; walk_site_find(plan, from, &site); from = site.first + site.n_op) {
    struct scale_fold fold;
    int cols = walk_site_cols(plan, &site);
    scale_fold_find(&fold, plan, &site);
    if (fold.n_target == 0) {
      missed++;
      continue;
    }
    float *channel = factors_make(arena, fold.n_channel, seed++);
    float *column = arena_array(arena, (size_t)cols, sizeof *column);
    for (int i = 0; i < cols; i++) column[i] = channel[scale_fold_channel(&fold, i)];
    for (int i = 0; i < fold.n_channel; i++) channel[i] = 1 / channel[i];
    for (int i = 0; i < site.count; i++) transforms[walk_site_op(plan, &site, i)->weight[0]].column = column;
    for (int i = 0; i < fold.n_target; i++) transforms[fold.target[i].weight].row[fold.target[i].part] = channel;
  }
  return missed;
}

/* The draft's engine with the factors, for the backend's target. */
static inline void folded_engine_write(const struct draft *draft, const struct weight_transform *transforms,
                                       const struct backend *backend, const char *path) {
  struct build_progress progress = {0};
  struct engine_writer writer;
  struct engine_contents contents = {
      .facts = &draft->facts, .plan = draft_plan(draft), .tokenizer = buffer_slice(&draft->tokenizer_blob)};
  struct pack_job job = {.plan = draft_plan(draft),
                         .checkpoint = draft->checkpoint,
                         .writer = &writer,
                         .progress = &progress,
                         .n_thread = 2,
                         .transforms = transforms};
  struct engine_ending ending = {.manifest = slice_text("{}")};
  struct buffer folds;
  struct error error;
  buffer_init(&folds, 1 << 24);
  if (!engine_writer_init(&writer, path, draft_plan(draft), NULL, backend, &error) ||
      !engine_writer_begin(&writer, &contents, &error) || !pack_weights(&job, &ending.base, &error) ||
      !fold_record_make(job.plan, job.checkpoint, transforms, &folds, &error))
    fail_msg("%s", error.text);
  ending.folds = buffer_slice(&folds);
  if (!engine_writer_commit(&writer, &ending, &error)) fail_msg("%s", error.text);
  engine_writer_release(&writer);
  buffer_release(&folds);
}

#endif
