/* From site to site. */
#include "build/calibrating.h"

#include "base/log.h"
#include "build/calibration_journal.h"
#include "build/gptq_site.h"

#include <stdlib.h>

bool quant_method_calibrates(enum quant_method method) {
  return method == QUANT_AWQ || method == QUANT_GPTQ || method == QUANT_SMOOTH;
}

/* --- GPTQ -----------------------------------------------------------------------------------------------------------
 */

/* Rounds those of the matrices that have the given group, and marks them. */
static bool group_round(struct calibrating *c, struct site_matrices *m, const float *sums, int group,
                        struct error *error) {
  struct gptq gptq;
  bool done = gptq_init(&gptq, sums, m->weight[0]->cols, group, c->job->n_thread, error);
  for (int i = 0; i < m->n && done; i++) {
    bool takes = gptq_takes(&m->weight[i]->scheme) && m->weight[i]->scheme.group == group;
    if (!takes || c->result->written[m->index[i]]) continue;
    done = gptq_write(&gptq, c->job->plan, m->index[i], m->matrix[i], c->job->writer, c->job->n_thread, error);
    c->result->written[m->index[i]] = true;
  }
  gptq_release(&gptq);
  return done;
}

bool site_round(struct calibrating *c, const struct walk_site *site, struct site_matrices *m, struct error *error) {
  float *sums = NULL;
  bool done = true;
  for (int i = 0; i < m->n && done; i++) {
    const struct scheme *scheme = &m->weight[i]->scheme;
    if (!gptq_takes(scheme) || c->result->written[m->index[i]]) continue;
    if (!sums) sums = input_sums_make(&c->walk, site, error);
    done = sums && group_round(c, m, sums, scheme->group, error);
  }
  free(sums);
  return done;
}

/* --- factors --------------------------------------------------------------------------------------------------------
 */

float *calibrating_floats(struct calibrating *c, size_t count) {
  return arena_array(&c->result->arena, count, sizeof(float));
}

scale_rule calibrating_rule(const struct calibrating *c) {
  return c->job->method == QUANT_AWQ ? awq_scale : smooth_scale;
}

void metric_scale(const struct input_record *record, const float *column, float *out) {
  memcpy(out, record->metric, site_metric_count(record->cols, record->group) * sizeof *out);
  for (int i = 0; i < record->cols && column; i++)
    for (int k = 0, first = i / record->group * record->group; k < record->group && first + k < record->cols; k++)
      out[(size_t)i * (size_t)record->group + (size_t)k] /= column[i] * column[first + k];
}

static bool site_scale(struct calibrating *c, const struct scale_site *site, struct site_fit *fit,
                       struct error *error) {
  const struct scale_fold *fold = site->fold;
  float *column = calibrating_floats(c, (size_t)site->record->cols);
  float *channel = calibrating_floats(c, (size_t)fold->n_channel);
  if (!column || !channel) return error_set(error, ERROR_MEMORY, "Out of memory for a site's factors.");
  if (!channel_scale_search(site, calibrating_rule(c), channel, column, error)) return false;
  for (int i = 0; i < fold->n_channel; i++) channel[i] = 1 / channel[i];
  fit->column = column;
  fit->inverse = channel;
  return true;
}

static bool site_transform(struct calibrating *c, const struct walk_site *site, struct site_matrices *m,
                           struct error *error) {
  struct scale_fold fold;
  struct input_record record;
  struct site_fit fit = {0};
  scale_fold_find(&fold, c->job->plan, site);
  int group = c->job->method == QUANT_AWQ ? site_group(c->job->plan, site) : 0;
  struct scale_site scale = {.fold = &fold,
                             .record = &record,
                             .device = &c->device,
                             .n_matrix = m->n,
                             .n_thread = c->job->n_thread,
                             .weight = m->weight,
                             .matrix = m->matrix};
  bool done = input_record_make(&record, &c->walk, site, group, c->job->n_thread, error) &&
              (fold.n_target == 0 || site_scale(c, &scale, &fit, error));
  if (done && record.metric) {
    float *metric = calibrating_floats(c, site_metric_count(record.cols, record.group));
    done = metric || error_set(error, ERROR_MEMORY, "Out of memory for a site's metric.");
    if (done) metric_scale(&record, fit.column, metric);
    fit.metric = metric;
  }
  if (done) site_fit_set(c->result->transforms, c->job->plan, site, &fold, &fit);
  input_record_release(&record);
  return done;
}

/* --- all sites ------------------------------------------------------------------------------------------------------
 */

static bool plain_run(struct calibrating *c, const struct walk_site *site, struct error *error) {
  struct site_matrices m;
  bool done = site_matrices_read(c, site, &m, error);
  if (done && site_matrices_round(&m))
    done = c->job->method == QUANT_GPTQ ? site_round(c, site, &m, error) : site_transform(c, site, &m, error);
  done = done && heads_round(c, site, &m, error) && network_walk_run(&c->walk, site, m.matrix, error);
  site_matrices_release(&m);
  return done;
}

/* Packed bytes of the site's matrices. */
static uint64_t site_bytes(const struct calibrating *c, const struct walk_site *site) {
  uint64_t bytes = 0;
  for (int i = 0; i < site->n_owned; i++)
    bytes += c->job->writer->weights[walk_site_weight(c->job->plan, site, i)].bytes;
  return bytes;
}

static bool site_run(struct calibrating *c, const struct walk_site *site, struct error *error) {
  if (!(walk_site_mixes(site) ? mixture_run : plain_run)(c, site, error)) return false;
  c->device.done += site_bytes(c, site);
  return progress_report(c->job->progress, "calibrate", c->device.done, c->device.total, error);
}

static bool layer_run(struct calibrating *c, int from, int end, struct error *error) {
  struct walk_site site;
  for (; from < end && walk_site_find(c->job->plan, from, &site); from = site.first + site.n_op)
    if (!site_run(c, &site, error)) return false;
  return true;
}

/* Packed bytes of the matrices of sites that begin before an op. */
static uint64_t bytes_before(const struct calibrating *c, int op) {
  const struct plan *plan = c->job->plan;
  struct walk_site site;
  uint64_t bytes = 0;
  for (int from = 0; walk_site_find(plan, from, &site) && site.first < op; from = site.first + site.n_op)
    bytes += site_bytes(c, &site);
  return bytes;
}

static bool layers_run(struct calibrating *c, struct calibration_journal *journal, struct error *error) {
  const struct plan *plan = c->job->plan;
  int from = calibration_journal_resume(journal);
  if (from == 0 && !network_walk_begin(&c->walk, error)) return false;
  c->device.total = bytes_before(c, plan->n_op);
  c->device.done = bytes_before(c, from);
  for (int end; (end = walk_layer_end(plan, from)) > from; from = end) {
    if (!layer_run(c, from, end, error)) return false;
    calibration_journal_keep(journal, end);
  }
  return true;
}

void calibration_experts(const struct calibration *calibration, const struct plan *plan, int *n_expert, int *n_few) {
  *n_expert = *n_few = 0;
  for (int i = 0; calibration->few && i < plan->n_weight; i++) {
    if (calibration->few[i] == 0) continue;
    *n_expert += plan_weights(plan)[i].n_expert;
    *n_few += (int)calibration->few[i] - 1;
  }
}

/* How many experts have seen little of the text. */
static void experts_report(const struct calibration *calibration, const struct plan *plan) {
  int n_expert, n_few;
  calibration_experts(calibration, plan, &n_expert, &n_few);
  if (n_expert == 0) return;
  log_info("Calibration: %d of %d experts were chosen for fewer than %d tokens of the text; they were watched with "
           "others of their layer's too.",
           n_few, n_expert, EXPERT_ROWS_LEAST);
}

bool calibration_run(struct calibration *calibration, const struct calibration_job *job, struct error *error) {
  struct calibrating c = {.job = job, .result = calibration};
  size_t count = (size_t)job->plan->n_weight + 1;
  *calibration = (struct calibration){0};
  arena_init(&calibration->arena, SIZE_MAX);
  calibration->transforms = calloc(count, sizeof *calibration->transforms);
  calibration->written = calloc(count, sizeof *calibration->written);
  calibration->few = calloc(count, sizeof *calibration->few);
  if (!calibration->transforms || !calibration->written || !calibration->few)
    return error_set(error, ERROR_MEMORY, "Out of memory for a calibration of %d weights.", job->plan->n_weight);
  c.walk = (struct network_walk){
      .plan = job->plan, .checkpoint = job->checkpoint, .merged = job->merged, .data = job->data, .device = &c.device};
  bool done = float_device_open(&c.device, job->writer->backend, job->n_thread, error);
  c.device.progress = job->progress;
  struct calibration_journal journal = {0};
  done = done && network_walk_init(&c.walk, error) &&
         calibration_journal_open(&journal, job, &c.walk, calibration, error) && layers_run(&c, &journal, error);
  calibration_journal_close(&journal);
  if (done) experts_report(calibration, job->plan);
  network_walk_release(&c.walk);
  float_device_close(&c.device);
  for (int i = 0; i < job->plan->n_weight && job->merged; i++) calibration->transforms[i].merge = job->merged[i].merge;
  return done;
}

void calibration_clear(struct calibration *calibration, int n_weight) {
  memset(calibration->transforms, 0, (size_t)n_weight * sizeof *calibration->transforms);
  memset(calibration->written, 0, (size_t)n_weight * sizeof *calibration->written);
  memset(calibration->few, 0, (size_t)n_weight * sizeof *calibration->few);
  arena_release(&calibration->arena);
}

void calibration_release(struct calibration *calibration) {
  free(calibration->transforms);
  free(calibration->written);
  free(calibration->few);
  arena_release(&calibration->arena);
  *calibration = (struct calibration){0};
}

/* --- memory ---------------------------------------------------------------------------------------------------------
 */

/* Numbers held while a site is looked at, and those kept of it until its matrices are packed. */
static uint64_t site_numbers(const struct calibration_job *job, const struct walk_site *site, uint64_t *kept) {
  enum { COPIES = 5, SQUARES = 4, ROWS_COPIES = 8 }; /* of a site's matrices, of its sums, of a window's rows */
  uint64_t cols = (uint64_t)walk_site_cols(job->plan, site), rows = 0, group = 0;
  uint64_t mixture = walk_site_mixes(site) ? mixture_numbers(job, site) : 0;
  uint64_t beside = 0; /* numbers of matrices that are there for the site to run */
  for (int i = 0; i < site->n_linear && !walk_site_mixes(site); i++) {
    const struct weight *weight = &plan_weights(job->plan)[walk_site_weight(job->plan, site, i)];
    if (i < site->count) continue;
    uint64_t squares = (uint64_t)weight->n_expert * ((uint64_t)weight->cols + (uint64_t)job->data->length);
    beside +=
        (2 * (uint64_t)weight_rows(weight) + squares) * (uint64_t)weight->cols; /* squares: of each head's inputs */
  }
  for (int i = 0; i < site->count; i++) {
    const struct weight *weight = &plan_weights(job->plan)[walk_site_weight(job->plan, site, i)];
    rows += (uint64_t)weight->rows;
    if (weight->scheme.group > group) group = weight->scheme.group;
  }
  *kept = job->method == QUANT_GPTQ ? 0 : 2 * cols; /* factors of columns and channels */
  if (job->method == QUANT_AWQ) *kept += (cols + group) * group;
  uint64_t sums = job->method == QUANT_GPTQ ? SQUARES * cols * cols : 0;
  return COPIES * rows * cols + ROWS_COPIES * (uint64_t)job->data->length * (rows + cols) + sums + mixture + beside;
}

uint64_t calibration_memory(const struct calibration_job *job) {
  uint64_t most = 0, all_kept = 0;
  struct walk_site site;
  for (int from = 0; walk_site_find(job->plan, from, &site); from = site.first + site.n_op) {
    uint64_t kept, numbers = site_numbers(job, &site, &kept);
    all_kept += kept;
    if (numbers > most) most = numbers;
  }
  return (most + all_kept) * sizeof(float) + network_walk_memory(job->plan, job->data);
}
