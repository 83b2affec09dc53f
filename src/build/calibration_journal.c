/* The folder of a calibration's journal. */
#include "build/calibration_journal.h"

#include "base/clock.h"
#include "base/log.h"
#include "build/journal_identity.h"
#include "build/site_fit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define VALUES_NAME "values"
#define LAYER_NAME  "layer-"

/* --- names -------------------------------------------------------------------------------------------------------- */

static char *folder_name(const char *output) {
  char *name;
  return asprintf(&name, "%s.calibration", output) >= 0 ? name : NULL;
}

char *journal_file_name(const struct calibration_journal *journal, enum journal_kind kind, struct error *error) {
  char *name;
  int length = kind == JOURNAL_VALUES ? asprintf(&name, "%s/" VALUES_NAME, journal->folder)
                                      : asprintf(&name, "%s/" LAYER_NAME "%d", journal->folder, journal->n_file);
  if (length >= 0) return name;
  error_set(error, ERROR_MEMORY, "Out of memory for a file's name.");
  return NULL;
}

/* "values", "layer-N", or what one of them was before it was whole (journal_file.c). */
static bool name_is_ours(const char *name) {
  size_t length = strlen(LAYER_NAME);
  if (strncmp(name, VALUES_NAME, strlen(VALUES_NAME)) == 0)
    name += strlen(VALUES_NAME);
  else if (strncmp(name, LAYER_NAME, length) == 0 && strspn(name + length, "0123456789") > 0)
    name += length + strspn(name + length, "0123456789");
  else
    return false;
  size_t rest = strlen(name);
  return rest == 0 || (*name == '.' && rest > 5 && strcmp(name + rest - 5, ".part") == 0);
}

void calibration_journal_remove(const char *output) {
  char *name = folder_name(output);
  int descriptor = name ? open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
  DIR *folder = descriptor >= 0 ? fdopendir(descriptor) : NULL;
  if (descriptor >= 0 && !folder) close(descriptor);
  if (folder) unlinkat(dirfd(folder), VALUES_NAME, 0); /* first: without them the rest counts for nothing */
  for (struct dirent *entry; folder && (entry = readdir(folder));)
    if (name_is_ours(entry->d_name)) unlinkat(dirfd(folder), entry->d_name, 0);
  if (folder) closedir(folder);
  if (name) rmdir(name);
  free(name);
}

bool calibration_journal_open(struct calibration_journal *journal, const struct calibration_job *job,
                              struct network_walk *walk, struct calibration *calibration, struct error *error) {
  *journal = (struct calibration_journal){.job = job, .walk = walk, .calibration = calibration};
  journal->folder = folder_name(job->writer->path);
  if (!journal->folder) return error_set(error, ERROR_MEMORY, "Out of memory for a file's name.");
  return journal_identity_make(job, walk->device, &journal->identity, error);
}

void calibration_journal_close(struct calibration_journal *journal) {
  free(journal->folder);
  journal->folder = NULL;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static bool floats_add(struct journal_writer *writer, const float *numbers, size_t count, struct error *error) {
  return !numbers || journal_writer_add(writer, slice_make(numbers, count * sizeof *numbers), error);
}

static bool packed_add(struct journal_writer *writer, struct engine_writer *engine, int weight, void *piece,
                       struct error *error) {
  for (uint64_t at = 0, rest; (rest = engine->weights[weight].bytes - at) > 0;) {
    size_t size = rest < JOURNAL_PIECE_BYTES ? (size_t)rest : JOURNAL_PIECE_BYTES;
    if (!engine_writer_read(engine, weight, at, piece, size, error) ||
        !journal_writer_add(writer, slice_make(piece, size), error))
      return false;
    at += size;
  }
  return true;
}

static bool site_add(struct calibration_journal *journal, const struct walk_site *site, void *file, void *piece,
                     struct error *error) {
  const struct calibration_job *job = journal->job;
  struct journal_writer *writer = file;
  struct scale_fold fold;
  scale_fold_find(&fold, job->plan, site);
  struct site_fit fit = site_fit_get(journal->calibration->transforms, job->plan, site, &fold);
  struct site_marks marks = {.scaled = fit.column != NULL, .metric = fit.metric != NULL};
  if (walk_site_mixes(site)) marks.few = journal->calibration->few[walk_site_weight(job->plan, site, site->count)];
  for (int i = 0; i < site->n_owned; i++)
    marks.written[i] = journal->calibration->written[walk_site_weight(job->plan, site, i)];
  int cols = walk_site_cols(job->plan, site);
  bool done = journal_writer_add(writer, slice_make(&marks, sizeof marks), error) &&
              floats_add(writer, fit.column, (size_t)cols, error) &&
              floats_add(writer, marks.scaled ? fit.inverse : NULL, (size_t)fold.n_channel, error) &&
              floats_add(writer, fit.metric, site_metric_count(cols, site_group(job->plan, site)), error);
  for (int i = 0; i < site->n_owned && done; i++)
    done = !marks.written[i] || packed_add(writer, job->writer, walk_site_weight(job->plan, site, i), piece, error);
  return done;
}

bool journal_sites_each(struct calibration_journal *journal, int first, int end, journal_site_step step, void *file,
                        struct error *error) {
  struct walk_site site;
  void *piece = malloc(JOURNAL_PIECE_BYTES);
  bool done = piece || error_set(error, ERROR_MEMORY, "Out of memory for a piece of a matrix.");
  for (int from = first; done && from < end && walk_site_find(journal->job->plan, from, &site);
       from = site.first + site.n_op)
    done = step(journal, &site, file, piece, error);
  free(piece);
  return done;
}

static bool values_add(const struct calibration_journal *journal, int end, struct journal_writer *writer,
                       struct error *error) {
  const struct network_walk *walk = journal->walk;
  bool done = true;
  for (int i = 0; i < walk->plan->n_value && done; i++)
    if (network_walk_takes(walk, end, i))
      done = floats_add(writer, walk->value[i], network_walk_numbers(walk, i), error);
  return done;
}

/* Writes one of the two kinds of files. */
static bool file_keep(struct calibration_journal *journal, enum journal_kind kind, int end, struct error *error) {
  struct journal_header header = {.kind = kind, .op = (uint32_t)end, .identity = journal->identity};
  struct journal_writer writer = {.file.descriptor = -1};
  char *name = journal_file_name(journal, kind, error);
  bool done = name && journal_writer_open(&writer, name, &header, error) &&
              (kind == JOURNAL_FITS ? journal_sites_each(journal, journal->kept_op, end, site_add, &writer, error)
                                    : values_add(journal, end, &writer, error)) &&
              journal_writer_commit(&writer, error);
  journal_writer_release(&writer);
  free(name);
  return done;
}

static bool folder_make(const char *folder, struct error *error) {
  if (mkdir(folder, 0700) == 0) return true;
  if (errno != EEXIST) return error_set(error, ERROR_IO, "%s cannot be made: %s.", folder, strerror(errno));
  return journal_folder_check(folder, error);
}

bool journal_pays(uint64_t write_us, uint64_t work_us) {
  return write_us < JOURNAL_CHEAP_US || work_us / JOURNAL_SHARE >= write_us;
}

void calibration_journal_keep(struct calibration_journal *journal, int end) {
  struct error problem;
  uint64_t now = clock_us();
  if (!journal->folder || !journal_pays(journal->write_us, now - journal->kept_us)) return;
  if (folder_make(journal->folder, &problem) && file_keep(journal, JOURNAL_FITS, end, &problem) &&
      file_keep(journal, JOURNAL_VALUES, end, &problem)) {
    journal->n_file++;
    journal->kept_op = end;
    journal->kept_us = clock_us();
    journal->write_us = journal->kept_us - now;
    return;
  }
  log_warning("The calibration goes on, but could not be taken up again after a kill: %s", problem.text);
  calibration_journal_remove(journal->job->writer->path);
  calibration_journal_close(journal);
}
