/* Taking up what a journal has: nothing in it is believed before the plan has told what it must be. */
#include "base/clock.h"
#include "base/log.h"
#include "build/calibration_journal.h"
#include "build/gptq_site.h"
#include "build/site_fit.h"

#include <inttypes.h>
#include <stdlib.h>

/* Numbers where the mark says so; NULL when there are none, or when they could not be read. */
static const float *floats_take(const struct calibration_journal *journal, struct journal_reader *reader, bool there,
                                size_t count, struct error *error) {
  if (!there) return NULL;
  float *out = arena_array(&journal->calibration->arena, count, sizeof *out);
  if (!out) error_set(error, ERROR_MEMORY, "Out of memory for %zu factors.", count);
  return out && journal_reader_floats(reader, out, count, error) ? out : NULL;
}

static bool packed_take(const struct calibration_journal *journal, struct journal_reader *reader, int weight,
                        void *piece, struct error *error) {
  struct engine_writer *engine = journal->job->writer;
  struct hasher *hasher = hasher_new(0);
  bool done = hasher || error_set(error, ERROR_MEMORY, "Out of memory for a hash.");
  for (uint64_t at = 0, rest; done && (rest = engine->weights[weight].bytes - at) > 0;) {
    size_t size = rest < JOURNAL_PIECE_BYTES ? (size_t)rest : JOURNAL_PIECE_BYTES;
    done = journal_reader_take(reader, piece, size, error) &&
           engine_writer_weight(engine, weight, at, slice_make(piece, size), error);
    if (done) hasher_update(hasher, slice_make(piece, size));
    at += size;
  }
  if (hasher) engine_writer_hash(engine, weight, hasher_finish(hasher));
  journal->calibration->written[weight] = done;
  return done;
}

/* Whether the method can have left this of the site. */
static bool marks_check(const struct calibration_journal *journal, const struct walk_site *site,
                        const struct scale_fold *fold, const struct site_marks *marks) {
  const struct plan *plan = journal->job->plan;
  if (marks->scaled > (fold->n_target > 0) || marks->metric > (site_group(plan, site) > 0)) return false;
  for (int i = 0; i < WALK_SITE_LINEARS; i++) {
    const struct weight *w = i < site->n_owned ? &plan_weights(plan)[walk_site_weight(plan, site, i)] : NULL;
    if (marks->written[i] > (w && (w->n_expert > 0 || gptq_takes(&w->scheme)))) return false;
  }
  const struct weight *last = &plan_weights(plan)[walk_site_weight(plan, site, site->n_linear - 1)];
  return marks->few <= (walk_site_mixes(site) ? (uint32_t)last->n_expert + 1 : 0);
}

static bool site_take(struct calibration_journal *journal, const struct walk_site *site, void *file, void *piece,
                      struct error *error) {
  const struct plan *plan = journal->job->plan;
  struct journal_reader *reader = file;
  struct scale_fold fold;
  struct site_marks marks;
  scale_fold_find(&fold, plan, site);
  if (!journal_reader_take(reader, &marks, sizeof marks, error)) return false;
  if (!marks_check(journal, site, &fold, &marks))
    return error_set(error, ERROR_FORMAT, "%s has findings that no calibration makes of op %d.", reader->path,
                     site->first);
  int cols = walk_site_cols(plan, site);
  struct site_fit fit;
  fit.column = floats_take(journal, reader, marks.scaled, (size_t)cols, error);
  if (marks.scaled && !fit.column) return false;
  fit.inverse = floats_take(journal, reader, marks.scaled, (size_t)fold.n_channel, error);
  if (marks.scaled && !fit.inverse) return false;
  fit.metric = floats_take(journal, reader, marks.metric, site_metric_count(cols, site_group(plan, site)), error);
  if (marks.metric && !fit.metric) return false;
  site_fit_set(journal->calibration->transforms, plan, site, &fold, &fit);
  if (marks.few > 0) journal->calibration->few[walk_site_weight(plan, site, site->count)] = marks.few;
  for (int i = 0; i < site->n_owned; i++)
    if (marks.written[i] && !packed_take(journal, reader, walk_site_weight(plan, site, i), piece, error)) return false;
  return true;
}

/* Layers that end at the op `most` or before; 0 of none. */
static int layers_count(const struct plan *plan, int most) {
  int count = 0;
  for (int from = 0, end; (end = walk_layer_end(plan, from)) > from && end <= most; from = end) count++;
  return count;
}

/* That the file ends where a layer does. */
static bool op_check(const struct calibration_journal *journal, const struct journal_reader *reader,
                     struct error *error) {
  const struct plan *plan = journal->job->plan;
  for (int from = 0, end; (end = walk_layer_end(plan, from)) > from; from = end)
    if ((uint32_t)end == reader->header.op) return true;
  return error_set(error, ERROR_FORMAT, "%s is of op %" PRIu32 ", at which no layer ends.", reader->path,
                   reader->header.op);
}

/* The next file of layers, none of which is beyond the op `most`. */
static bool layers_take(struct calibration_journal *journal, int most, struct error *error) {
  struct journal_reader reader = {.descriptor = -1};
  char *name = journal_file_name(journal, JOURNAL_FITS, error);
  bool done = name && journal_reader_open(&reader, name, JOURNAL_FITS, journal->identity, error) &&
              op_check(journal, &reader, error);
  int end = done ? (int)reader.header.op : 0;
  if (done && (end <= journal->kept_op || end > most))
    done = error_set(error, ERROR_FORMAT, "%s ends at op %d, which is not behind op %d and up to op %d.", name, end,
                     journal->kept_op, most);
  done = done && journal_sites_each(journal, journal->kept_op, end, site_take, &reader, error) &&
         journal_reader_end(&reader, error);
  journal_reader_release(&reader);
  free(name);
  journal->kept_op = end;
  journal->n_file++;
  return done;
}

/* The values, and in *op where the walk goes on with them. */
static bool values_take(const struct calibration_journal *journal, uint32_t *op, struct error *error) {
  const struct network_walk *walk = journal->walk;
  struct journal_reader reader = {.descriptor = -1};
  char *name = journal_file_name(journal, JOURNAL_VALUES, error);
  bool done = name && journal_reader_open(&reader, name, JOURNAL_VALUES, journal->identity, error) &&
              op_check(journal, &reader, error);
  *op = reader.header.op;
  for (int i = 0; i < walk->plan->n_value && done; i++)
    if (network_walk_takes(walk, (int)*op, i))
      done = journal_reader_floats(&reader, walk->value[i], network_walk_numbers(walk, i), error);
  done = done && journal_reader_end(&reader, error);
  journal_reader_release(&reader);
  free(name);
  return done;
}

static bool journal_take(struct calibration_journal *journal, struct error *error) {
  uint32_t op = 0;
  if (!journal_folder_check(journal->folder, error) || !values_take(journal, &op, error)) return false;
  while (journal->kept_op < (int)op)
    if (!layers_take(journal, (int)op, error)) return false;
  return true;
}

int calibration_journal_resume(struct calibration_journal *journal) {
  const struct plan *plan = journal->job->plan;
  struct error problem = {0};
  bool taken = journal_take(journal, &problem);
  journal->kept_us = clock_us();
  if (taken) {
    log_info("The calibration goes on after layer %d of %d, as %s has it.", layers_count(plan, journal->kept_op),
             layers_count(plan, plan->n_op), journal->folder);
    return journal->kept_op;
  }
  if (problem.code != ERROR_NOT_FOUND || journal->n_file > 0) /* without values there was no journal */
    log_warning("The calibration begins anew. %s", problem.text);
  journal->n_file = journal->kept_op = 0;
  calibration_clear(journal->calibration, plan->n_weight);
  calibration_journal_remove(journal->job->writer->path);
  return 0;
}
