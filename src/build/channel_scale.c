/* The search: for each matrix, its true products with the sample, then those of each candidate. */
#include "build/channel_scale.h"

#include "base/limits.h"
#include "build/parallel.h"
#include "build/quantize.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

static float strength_of(int index) { return (float)index / (SCALE_STRENGTHS - 1); }

float channel_least(const float *numbers, int n_channel) {
  static const float part = 1e-4f;
  float most = 0;
  for (int i = 0; i < n_channel; i++) most = fmaxf(most, numbers[i]);
  return most > 0 ? most * part : 1;
}

/* --- statistics of channels -----------------------------------------------------------------------------------------
 */

static bool search_alloc(struct channel_search *search) {
  size_t count = (size_t)search->fold->n_channel;
  search->mean = calloc(count, sizeof *search->mean);
  search->peak = calloc(count, sizeof *search->peak);
  search->weight_peak = calloc(count, sizeof *search->weight_peak);
  search->channel = calloc(count, sizeof *search->channel);
  search->column = calloc((size_t)search->cols, sizeof *search->column);
  return search->mean && search->peak && search->weight_peak && search->channel && search->column;
}

bool channel_search_begin(struct channel_search *search, const struct scale_fold *fold, scale_rule rule,
                          const struct input_record *record, struct error *error) {
  *search = (struct channel_search){.fold = fold, .rule = rule, .cols = record->cols};
  if (!search_alloc(search)) return error_set(error, ERROR_MEMORY, "Out of memory for channels' statistics.");
  for (int i = 0; i < record->cols; i++) {
    int c = scale_fold_channel(fold, i);
    search->mean[c] += record->mean[i] / (float)fold->shared;
    search->peak[c] = fmaxf(search->peak[c], record->peak[i]);
  }
  return true;
}

void channel_search_look(struct channel_search *search, const float *matrix, size_t rows) {
  for (size_t i = 0; i < rows * (size_t)search->cols; i++) {
    float size = fabsf(matrix[i]);
    float *channel = &search->weight_peak[scale_fold_channel(search->fold, (int)(i % (size_t)search->cols))];
    if (size > *channel) *channel = size;
  }
}

void channel_search_release(struct channel_search *search) {
  free(search->mean);
  free(search->peak);
  free(search->weight_peak);
  free(search->channel);
  free(search->column);
  *search = (struct channel_search){0};
}

/* --- rounding as serving will ---------------------------------------------------------------------------------------
 */

/* What one candidate makes of a matrix and the sample. */
struct trial {
  const struct scale_site *site;
  int index; /* of the matrix */
  int n_row; /* that are tried of it */
  const float *column;
  float *matrix, *sample;                     /* scaled and rounded: [rows][cols], [n_sample][cols] */
  struct code_rows rows[LIMIT_BUILD_THREADS]; /* of a worker, one row */
  atomic_bool failed;
};

/* Row `item` of those that are tried. */
static const float *row_tried(const struct trial *trial, int item) {
  size_t row = (size_t)item * (size_t)trial->site->weight[trial->index]->rows / (size_t)trial->n_row;
  return trial->site->matrix[trial->index] + row * (size_t)trial->site->record->cols;
}

static void matrix_round(void *context, int worker, int item) {
  struct trial *trial = context;
  int cols = trial->site->record->cols;
  struct code_rows *rows = &trial->rows[worker];
  const float *from = row_tried(trial, item);
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
  parallel_run(site->n_thread, trial->n_row, matrix_round, trial);
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

/* The scales of a strength. */
static void scales_make(const struct channel_search *search, int index, float *channel, float *column) {
  const struct scale_fold *fold = search->fold;
  search->rule(search->mean, search->peak, search->weight_peak, fold->n_channel, strength_of(index), channel);
  for (int i = 0; i < fold->n_channel && fold->powers; i++) channel[i] = exp2f(rintf(log2f(channel[i])));
  for (int i = 0; i < fold->n_channel && search->least; i++)
    channel[i] = fminf(fmaxf(channel[i], search->least[i]), search->most[i]);
  for (int i = 0; i < search->cols; i++) column[i] = channel[scale_fold_channel(fold, i)];
}

/* Adds the losses of one matrix for all strengths. */
static bool trials_run(struct trial *trial, struct channel_search *search, double share, struct error *error) {
  const struct scale_site *site = trial->site;
  const struct input_record *record = site->record;
  struct float_product product;
  size_t count = (size_t)record->n_sample * (size_t)trial->n_row, bytes = (size_t)record->cols * sizeof(float);
  share *= (double)site->weight[trial->index]->rows / trial->n_row;
  for (int i = 0; i < trial->n_row; i++)
    memcpy(trial->matrix + (size_t)i * (size_t)record->cols, row_tried(trial, i), bytes);
  float *truth = malloc(count * sizeof *truth);
  bool done = truth || error_set(error, ERROR_MEMORY, "Out of memory for %zu products.", count);
  done = float_product_open(&product, site->device, record->n_sample, trial->n_row, record->cols, error) && done &&
         float_product_a(&product, record->sample, error) && float_product_b(&product, trial->matrix, error);
  const float *result = done ? float_product_rows(&product, 0, record->n_sample, error) : NULL;
  if (result) memcpy(truth, result, count * sizeof *truth);
  done = result != NULL;
  for (int i = 0; i < SCALE_STRENGTHS && done; i++) {
    double loss = 0;
    scales_make(search, i, search->channel, search->column);
    done = trial_loss(trial, &product, truth, &loss, error);
    search->loss[i] += loss * share;
  }
  float_product_close(&product);
  free(truth);
  return done;
}

static bool matrix_try(const struct scale_site *site, int index, struct channel_search *search, double share,
                       struct error *error) {
  size_t cols = (size_t)site->record->cols;
  int all = site->weight[index]->rows;
  struct trial trial = {.site = site, .index = index, .n_row = all, .column = search->column};
  if (site->most_rows > 0 && site->most_rows < all) trial.n_row = site->most_rows;
  trial.matrix = malloc((size_t)trial.n_row * cols * sizeof *trial.matrix);
  trial.sample = malloc((size_t)site->record->n_sample * cols * sizeof *trial.sample);
  bool ready = (trial.matrix && trial.sample) ||
               error_set(error, ERROR_MEMORY, "Out of memory for a matrix of %d rows.", site->weight[index]->rows);
  for (int i = 0; i < site->n_thread && ready; i++)
    ready = code_rows_init(&trial.rows[i], &site->weight[index]->scheme, 1, (int)cols, error);
  bool done = ready && trials_run(&trial, search, share, error);
  for (int i = 0; i < site->n_thread; i++) code_rows_release(&trial.rows[i]);
  free(trial.matrix);
  free(trial.sample);
  return done;
}

bool channel_search_try(struct channel_search *search, const struct scale_site *site, double share,
                        struct error *error) {
  for (int i = 0; i < site->n_matrix; i++)
    if (!matrix_try(site, i, search, share, error)) return false;
  return true;
}

void channel_search_end(const struct channel_search *search, float *channel, float *column) {
  int best = 0;
  for (int i = 1; i < SCALE_STRENGTHS; i++)
    if (search->loss[i] < search->loss[best]) best = i;
  scales_make(search, best, channel, column);
}

bool channel_scale_search(const struct scale_site *site, scale_rule rule, float *channel, float *column,
                          struct error *error) {
  struct channel_search search;
  bool done = channel_search_begin(&search, site->fold, rule, site->record, error);
  for (int i = 0; i < site->n_matrix && done; i++)
    channel_search_look(&search, site->matrix[i], (size_t)site->weight[i]->rows);
  done = done && channel_search_try(&search, site, 1, error);
  if (done) channel_search_end(&search, channel, column);
  channel_search_release(&search);
  return done;
}
