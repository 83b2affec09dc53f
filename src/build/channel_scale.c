/* The search: for each matrix, its true products with the sample, then those of each candidate. */
#include "build/channel_scale.h"

#include "base/limits.h"
#include "build/parallel.h"
#include "build/quantize.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { STRENGTHS = 21 }; /* 0, 0.05, …, 1 */

static float strength_of(int index) { return (float)index / (STRENGTHS - 1); }

float channel_least(const float *numbers, int n_channel) {
  static const float part = 1e-4f;
  float most = 0;
  for (int i = 0; i < n_channel; i++) most = fmaxf(most, numbers[i]);
  return most > 0 ? most * part : 1;
}

/* --- statistics of channels -----------------------------------------------------------------------------------------
 */

struct channel_facts {
  float *mean, *peak, *weight_peak; /* [n_channel] */
};

static void weight_peaks(const struct scale_site *site, float *peak) {
  int cols = site->record->cols;
  for (int m = 0; m < site->n_matrix; m++)
    for (size_t i = 0; i < (size_t)site->weight[m]->rows * (size_t)cols; i++) {
      float size = fabsf(site->matrix[m][i]);
      float *channel = &peak[scale_fold_channel(site->fold, (int)(i % (size_t)cols))];
      if (size > *channel) *channel = size;
    }
}

static bool facts_make(const struct scale_site *site, struct channel_facts *facts) {
  size_t count = (size_t)site->fold->n_channel;
  facts->mean = calloc(count, sizeof *facts->mean);
  facts->peak = calloc(count, sizeof *facts->peak);
  facts->weight_peak = calloc(count, sizeof *facts->weight_peak);
  if (!facts->mean || !facts->peak || !facts->weight_peak) return false;
  for (int i = 0; i < site->record->cols; i++) {
    int c = scale_fold_channel(site->fold, i);
    facts->mean[c] += site->record->mean[i] / (float)site->fold->shared;
    facts->peak[c] = fmaxf(facts->peak[c], site->record->peak[i]);
  }
  weight_peaks(site, facts->weight_peak);
  return true;
}

static void facts_release(struct channel_facts *facts) {
  free(facts->mean);
  free(facts->peak);
  free(facts->weight_peak);
}

/* --- rounding as serving will ---------------------------------------------------------------------------------------
 */

/* What one candidate makes of a matrix and the sample. */
struct trial {
  const struct scale_site *site;
  int index; /* of the matrix */
  const float *column;
  float *matrix, *sample;                     /* scaled and rounded: [rows][cols], [n_sample][cols] */
  struct code_rows rows[LIMIT_BUILD_THREADS]; /* of a worker, one row */
  atomic_bool failed;
};

static void matrix_round(void *context, int worker, int item) {
  struct trial *trial = context;
  int cols = trial->site->record->cols;
  struct code_rows *rows = &trial->rows[worker];
  const float *from = trial->site->matrix[trial->index] + (size_t)item * (size_t)cols;
  float *to = trial->matrix + (size_t)item * (size_t)cols;
  for (int i = 0; i < cols; i++) to[i] = from[i] * trial->column[i];
  if (quantize_row(to, NULL, rows, 0, NULL))
    code_rows_floats(rows, 0, to);
  else
    trial->failed = true;
}

static void sample_scale(struct trial *trial) {
  const struct input_record *record = trial->site->record;
  for (int r = 0; r < record->n_sample; r++) {
    const float *from = record->sample + (size_t)r * (size_t)record->cols;
    float *to = trial->sample + (size_t)r * (size_t)record->cols;
    for (int i = 0; i < record->cols; i++) to[i] = from[i] / trial->column[i];
    activation_round(&trial->site->weight[trial->index]->scheme, to, record->cols);
  }
}

/* --- losses ---------------------------------------------------------------------------------------------------------
 */

/* The sum of squares by which the product's rows differ from the true ones; INFINITY when rounding failed. */
static bool trial_loss(struct trial *trial, struct float_product *product, const float *truth, double *loss,
                       struct error *error) {
  const struct scale_site *site = trial->site;
  trial->failed = false;
  parallel_run(site->n_thread, site->weight[trial->index]->rows, matrix_round, trial);
  sample_scale(trial);
  if (!float_product_a(product, trial->sample, error) || !float_product_b(product, trial->matrix, error)) return false;
  const float *rows = float_product_rows(product, 0, site->record->n_sample, error);
  if (!rows) return false;
  double sum = 0;
  for (size_t i = 0; i < (size_t)product->rows_a * (size_t)product->rows_b; i++) {
    double difference = (double)rows[i] - (double)truth[i];
    sum += difference * difference;
  }
  *loss += trial->failed ? INFINITY : sum;
  return true;
}

static void column_fill(const struct scale_fold *fold, const float *channel, int cols, float *column) {
  for (int i = 0; i < cols; i++) column[i] = channel[scale_fold_channel(fold, i)];
}

/* Adds the losses of one matrix for all strengths. */
static bool trials_run(struct trial *trial, const struct channel_facts *facts, scale_rule rule, float *channel,
                       float *column, double *loss, struct error *error) {
  const struct scale_site *site = trial->site;
  const struct input_record *record = site->record;
  struct float_product product;
  int rows = site->weight[trial->index]->rows;
  size_t count = (size_t)record->n_sample * (size_t)rows;
  float *truth = malloc(count * sizeof *truth);
  bool done = truth || error_set(error, ERROR_MEMORY, "Out of memory for %zu products.", count);
  done = float_product_open(&product, site->device, record->n_sample, rows, record->cols, error) && done &&
         float_product_a(&product, record->sample, error) &&
         float_product_b(&product, site->matrix[trial->index], error);
  const float *result = done ? float_product_rows(&product, 0, record->n_sample, error) : NULL;
  if (result) memcpy(truth, result, count * sizeof *truth);
  done = result != NULL;
  for (int i = 0; i < STRENGTHS && done; i++) {
    rule(facts->mean, facts->peak, facts->weight_peak, site->fold->n_channel, strength_of(i), channel);
    column_fill(site->fold, channel, record->cols, column);
    done = trial_loss(trial, &product, truth, &loss[i], error);
  }
  float_product_close(&product);
  free(truth);
  return done;
}

static bool matrix_try(const struct scale_site *site, int index, const struct channel_facts *facts, scale_rule rule,
                       float *channel, float *column, double *loss, struct error *error) {
  size_t cols = (size_t)site->record->cols;
  struct trial trial = {.site = site, .index = index, .column = column};
  trial.matrix = malloc((size_t)site->weight[index]->rows * cols * sizeof *trial.matrix);
  trial.sample = malloc((size_t)site->record->n_sample * cols * sizeof *trial.sample);
  bool ready = (trial.matrix && trial.sample) ||
               error_set(error, ERROR_MEMORY, "Out of memory for a matrix of %d rows.", site->weight[index]->rows);
  for (int i = 0; i < site->n_thread && ready; i++)
    ready = code_rows_init(&trial.rows[i], &site->weight[index]->scheme, 1, (int)cols, error);
  bool done = ready && trials_run(&trial, facts, rule, channel, column, loss, error);
  for (int i = 0; i < site->n_thread; i++) code_rows_release(&trial.rows[i]);
  free(trial.matrix);
  free(trial.sample);
  return done;
}

bool channel_scale_search(const struct scale_site *site, scale_rule rule, float *channel, float *column,
                          struct error *error) {
  struct channel_facts facts = {0};
  double loss[STRENGTHS] = {0};
  int best = 0;
  bool done = facts_make(site, &facts) || error_set(error, ERROR_MEMORY, "Out of memory for channels' statistics.");
  for (int i = 0; i < site->n_matrix && done; i++)
    done = matrix_try(site, i, &facts, rule, channel, column, loss, error);
  for (int i = 1; i < STRENGTHS; i++)
    if (loss[i] < loss[best]) best = i;
  if (done) {
    rule(facts.mean, facts.peak, facts.weight_peak, site->fold->n_channel, strength_of(best), channel);
    column_fill(site->fold, channel, site->record->cols, column);
  }
  facts_release(&facts);
  return done;
}
