/* What a calibration has found so far, kept beside the engine to be, so that a build that was killed goes on after the
 * last layer that it finished and ends with the same bytes. OUTPUT.calibration/ has a file for each layer, and one of
 * the values that the next layer takes; each appears whole or not at all. What does not fit the build is passed over.
 * Owned by the thread that builds. */
#ifndef SPATE_BUILD_CALIBRATION_JOURNAL_H
#define SPATE_BUILD_CALIBRATION_JOURNAL_H

#include "build/calibrate.h"
#include "build/journal_file.h"
#include "build/network_walk.h"

enum { JOURNAL_PIECE_BYTES = 1 << 20 }; /* of packed matrices, at a time */

/* What follows for a site in a layer's file: factors, a metric, packed matrices; each is 0 or 1. */
struct site_marks {
  uint32_t scaled, metric;
  uint32_t written[WALK_SITE_LINEARS];
};

struct calibration_journal {
  const struct calibration_job *job;
  struct network_walk *walk;
  struct calibration *calibration;
  struct hash128 identity; /* of all that the findings depend on */
  char *folder;            /* owned; NULL: nothing is kept (any more) */
  int n_layer;             /* kept */
};

/* Reads the model's bytes once, for the identity. The three must outlive the journal. */
bool calibration_journal_open(struct calibration_journal *journal, const struct calibration_job *job,
                              struct network_walk *walk, struct calibration *calibration, struct error *error);
void calibration_journal_close(struct calibration_journal *journal);

/* Of the values, or of the layer after those kept; the caller frees it. NULL when out of memory. */
char *journal_file_name(const struct calibration_journal *journal, enum journal_kind kind, struct error *error);

/* calibration_resume.c: takes up what an earlier build has left: the op that the walk goes on with, whose values it has
 * then. 0: nothing, and a warning when something was there. */
int calibration_journal_resume(struct calibration_journal *journal);

/* Keeps the layer of the ops [first, end), the last one calibrated. Where that fails, a full disk say, it warns, and
 * the build goes on without a journal. */
void calibration_journal_keep(struct calibration_journal *journal, int first, int end);

/* Removes the journal of an output. */
void calibration_journal_remove(const char *output);

#endif
