/* Taking up what a journal has: nothing in it is believed before the plan has told what it must be. */
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
    bool may = i < site->count && gptq_takes(&plan_weights(plan)[walk_site_weight(plan, site, i)].scheme);
    if (marks->written[i] > may) return false;
  }
  return true;
}

static bool site_take(const struct calibration_journal *journal, const struct walk_site *site,
                      struct journal_reader *reader, void *piece, struct error *error) {
  const struct plan *plan = journal->job->plan;
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
  for (int i = 0; i < site->count; i++)
    if (marks.written[i] && !packed_take(journal, reader, walk_site_weight(plan, site, i), piece, error)) return false;
  return true;
}

static bool sites_take(const struct calibration_journal *journal, int first, int end, struct journal_reader *reader,
                       struct error *error) {
  struct walk_site site;
  void *piece = malloc(JOURNAL_PIECE_BYTES);
  bool done = piece || error_set(error, ERROR_MEMORY, "Out of memory for a piece of a matrix.");
  for (int from = first; done && from < end && walk_site_find(journal->job->plan, from, &site);
       from = site.first + site.n_op)
    done = site_take(journal, &site, reader, piece, error);
  free(piece);
  return done;
}

static bool layer_take(const struct calibration_journal *journal, int first, int end, struct error *error) {
  struct journal_reader reader = {.descriptor = -1};
  char *name = journal_file_name(journal, JOURNAL_FITS, error);
  bool done = name && journal_reader_open(&reader, name, JOURNAL_FITS, journal->identity, error) &&
              (reader.header.op == (uint32_t)end ||
               error_set(error, ERROR_FORMAT, "%s ends at op %" PRIu32 " and its layer at op %d.", name,
                         reader.header.op, end)) &&
              sites_take(journal, first, end, &reader, error) && journal_reader_end(&reader, error);
  journal_reader_release(&reader);
  free(name);
  return done;
}

static int layers_count(const struct plan *plan) {
  int count = 0;
  for (int from = 0, end; (end = walk_layer_end(plan, from)) > from; from = end) count++;
  return count;
}

/* That the values are those before a layer, or after the last. */
static bool op_check(const struct calibration_journal *journal, const struct journal_reader *reader,
                     struct error *error) {
  const struct plan *plan = journal->job->plan;
  for (int from = 0, end; (end = walk_layer_end(plan, from)) > from; from = end)
    if ((uint32_t)end == reader->header.op) return true;
  return error_set(error, ERROR_FORMAT, "%s is of op %" PRIu32 ", at which no layer ends.", reader->path,
                   reader->header.op);
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

static bool journal_take(struct calibration_journal *journal, uint32_t *op, struct error *error) {
  const struct plan *plan = journal->job->plan;
  if (!values_take(journal, op, error)) return false;
  for (int from = 0, end; from < (int)*op; from = end, journal->n_layer++) {
    end = walk_layer_end(plan, from);
    if (!layer_take(journal, from, end, error)) return false;
  }
  return true;
}

int calibration_journal_resume(struct calibration_journal *journal) {
  struct error problem = {0};
  uint32_t op = 0;
  if (journal_take(journal, &op, &problem)) {
    log_info("The calibration goes on after layer %d of %d, as %s has it.", journal->n_layer,
             layers_count(journal->job->plan), journal->folder);
    return (int)op;
  }
  if (problem.code != ERROR_NOT_FOUND || op > 0) /* without values there was no journal */
    log_warning("The calibration begins anew. %s", problem.text);
  journal->n_layer = 0;
  calibration_clear(journal->calibration, journal->job->plan->n_weight);
  return 0;
}
