/* What a calibration has found so far, kept beside the engine to be, so that a build that was killed goes on after the
 * last layer that was kept and ends with the same bytes. OUTPUT.calibration/ has files of one layer or of several, and
 * one of the values that the next layer takes; each appears whole or not at all. What does not fit the build, or others
 * than its user could have written, is passed over. Owned by the thread that builds. */
#ifndef SPATE_BUILD_CALIBRATION_JOURNAL_H
#define SPATE_BUILD_CALIBRATION_JOURNAL_H

#include "build/calibrate.h"
#include "build/journal_file.h"
#include "build/network_walk.h"

enum {
  JOURNAL_PIECE_BYTES = 1 << 20, /* of packed matrices, at a time */
  JOURNAL_CHEAP_US = 200000,     /* writes that take less are always worth it; of others one for each so many times */
  JOURNAL_SHARE = 20,            /* the work that it saves */
};

/* What follows for a site in a layer's file: factors, a metric, packed matrices; each is 0 or 1. And what the
 * calibration has in `few`. */
struct site_marks {
  uint32_t scaled, metric;
  uint32_t few;
  uint32_t written[WALK_SITE_LINEARS];
};

struct calibration_journal {
  const struct calibration_job *job;
  struct network_walk *walk;
  struct calibration *calibration;
  struct hash128 identity; /* of all that the findings depend on */
  char *folder;            /* owned; NULL: nothing is kept (any more) */
  int n_file;              /* of layers, kept */
  int kept_op;             /* the op behind the last layer that was */
  uint64_t kept_us;        /* when, or when the calibration began */
  uint64_t write_us;       /* which the last keeping took; 0: there was none */
};

/* Reads the model's bytes once, for the identity, with the job's progress. The three must outlive the journal. */
bool calibration_journal_open(struct calibration_journal *journal, const struct calibration_job *job,
                              struct network_walk *walk, struct calibration *calibration, struct error *error);
void calibration_journal_close(struct calibration_journal *journal);

/* Of the values, or of the layers after those kept; the caller frees it. NULL when out of memory. */
char *journal_file_name(const struct calibration_journal *journal, enum journal_kind kind, struct error *error);

/* calibration_resume.c: takes up what an earlier build has left: the op that the walk goes on with, whose values it has
 * then. 0: nothing, and a warning when something was there. */
int calibration_journal_resume(struct calibration_journal *journal);

/* Is a write that takes so long worth it after so much work? Writes that are not cheap take
 * about 1 / JOURNAL_SHARE of the time, but for the first. */
bool journal_pays(uint64_t write_us, uint64_t work_us);

/* Keeps all layers up to the op `end` that are not kept yet, if that pays. Where it fails, a full disk say, it warns,
 * and the build goes on without a journal. */
void calibration_journal_keep(struct calibration_journal *journal, int end);

/* One site of a file, a journal_writer or a journal_reader; piece: JOURNAL_PIECE_BYTES. */
typedef bool (*journal_site_step)(struct calibration_journal *journal, const struct walk_site *site, void *file,
                                  void *piece, struct error *error);

/* Those of the ops [first, end), in order. */
bool journal_sites_each(struct calibration_journal *journal, int first, int end, journal_site_step step, void *file,
                        struct error *error);

/* Removes the journal of an output. */
void calibration_journal_remove(const char *output);

#endif
