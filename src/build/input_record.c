/* Statistics of inputs. */
#include "build/input_record.h"

#include "build/parallel.h"

#include <math.h>
#include <stdlib.h>

struct recording {
  struct input_record *record;
  const float *rows;
  size_t n_row;
};

/* Adds the products of four rows, one row after the other, to the lower half of a group's metric, [count][group]. What
 * it costs are passes over the metric: four rows share one. */
static void four_products_add(float *metric, const float *x, size_t cols, int count, int group) {
  const float *x1 = x + cols, *x2 = x1 + cols, *x3 = x2 + cols;
  for (int i = 0; i < count; i++, metric += group)
    for (int k = 0; k <= i; k++)
      metric[k] = (((metric[k] + x[i] * x[k]) + x1[i] * x1[k]) + x2[i] * x2[k]) + x3[i] * x3[k];
}

static void product_add(float *metric, const float *x, int count, int group) {
  for (int i = 0; i < count; i++, metric += group)
    for (int k = 0; k <= i; k++) metric[k] += x[i] * x[k];
}

/* One group's part of the metric, whose other half is the same. */
static void metric_add(void *context, int worker, int item) {
  const struct recording *recording = context;
  struct input_record *record = recording->record;
  (void)worker;
  int first = item * record->group, rest = record->cols - first, count = rest < record->group ? rest : record->group;
  float *metric = record->metric + (size_t)first * (size_t)record->group;
  const float *x = recording->rows + first;
  size_t cols = (size_t)record->cols, r = 0;
  for (; r + 4 <= recording->n_row; r += 4) four_products_add(metric, x + r * cols, cols, count, record->group);
  for (; r < recording->n_row; r++) product_add(metric, x + r * cols, count, record->group);
  for (int i = 0; i < count; i++)
    for (int k = 0; k < i; k++) metric[(size_t)k * (size_t)record->group + i] = metric[(size_t)i * record->group + k];
}

static void row_add(struct input_record *record, const float *row, float share) {
  for (int i = 0; i < record->cols; i++) {
    float size = fabsf(row[i]);
    record->mean[i] += size * share;
    if (size > record->peak[i]) record->peak[i] = size;
  }
}

bool input_record_begin(struct input_record *record, int cols, int group, size_t total, int most, struct error *error) {
  size_t width = (size_t)cols;
  *record = (struct input_record){.cols = cols,
                                  .group = group,
                                  .total = total,
                                  .stride = total > 0 ? (total + (size_t)most - 1) / (size_t)most : 1};
  record->mean = calloc(width, sizeof *record->mean);
  record->peak = calloc(width, sizeof *record->peak);
  record->sample = malloc((size_t)most * width * sizeof *record->sample);
  if (group) record->metric = calloc((width + (size_t)group) * (size_t)group, sizeof *record->metric);
  return (record->mean && record->peak && record->sample && (record->metric || !group)) ||
         error_set(error, ERROR_MEMORY, "Out of memory for the inputs of %d columns.", cols);
}

void input_record_add(struct input_record *record, const float *rows, size_t count, int n_thread) {
  size_t cols = (size_t)record->cols;
  struct recording recording = {.record = record, .rows = rows, .n_row = count};
  for (size_t r = 0; r < count; r++, record->seen++) {
    row_add(record, rows + r * cols, 1 / (float)record->total);
    if (record->seen % record->stride == 0)
      memcpy(record->sample + (size_t)record->n_sample++ * cols, rows + r * cols, cols * sizeof *rows);
  }
  if (record->metric)
    parallel_run(n_thread, (record->cols + record->group - 1) / record->group, metric_add, &recording);
}

bool input_record_make(struct input_record *record, const struct network_walk *walk, const struct walk_site *site,
                       int group, int n_thread, struct error *error) {
  int cols = walk_site_cols(walk->plan, site);
  size_t length = (size_t)walk->data->length;
  float *rows = malloc(length * (size_t)cols * sizeof *rows);
  bool done = input_record_begin(record, cols, group, network_walk_tokens(walk), RECORD_SAMPLE, error);
  if (!rows) done = error_set(error, ERROR_MEMORY, "Out of memory for the inputs of %d columns.", cols);
  for (int i = 0; i < walk->data->n_window && done; i++) {
    done = network_walk_inputs(walk, site, i, rows, error);
    if (done) input_record_add(record, rows, length, n_thread);
  }
  free(rows);
  return done;
}

void input_record_release(struct input_record *record) {
  free(record->mean);
  free(record->peak);
  free(record->sample);
  free(record->metric);
  *record = (struct input_record){0};
}

/* --- sums of products ----------------------------------------------------------------------------------------------
 */

/* Of `rows` rows, zeros behind the first `count`. */
static void transpose(const float *from, int count, int rows, int cols, float *to) {
  for (int c = 0; c < cols; c++)
    for (int r = count; r < rows; r++) to[(size_t)c * (size_t)rows + (size_t)r] = 0;
  for (int r = 0; r < count; r++)
    for (int c = 0; c < cols; c++)
      to[(size_t)c * (size_t)rows + (size_t)r] = from[(size_t)r * (size_t)cols + (size_t)c];
}

static bool step_sums_add(struct input_sums *of, struct error *error) {
  struct float_product *product = &of->product;
  if (!float_product_a(product, of->columns, error) || !float_product_b(product, of->columns, error)) return false;
  for (int first = 0; first < product->rows_a; first += product->step_rows) {
    int rest = product->rows_a - first, count = rest < product->step_rows ? rest : product->step_rows;
    const float *rows = float_product_rows(product, first, count, error);
    float *to = of->sums + (size_t)first * (size_t)product->rows_b;
    if (!rows) return false;
    for (size_t i = 0; i < (size_t)count * (size_t)product->rows_b; i++) to[i] += rows[i];
  }
  return true;
}

bool input_sums_begin(struct input_sums *sums, const struct float_device *device, int cols, int step,
                      struct error *error) {
  *sums = (struct input_sums){.cols = cols, .step = step};
  sums->columns = malloc((size_t)step * (size_t)cols * sizeof *sums->columns);
  sums->sums = calloc((size_t)cols * (size_t)cols, sizeof *sums->sums);
  if (!sums->columns || !sums->sums)
    return error_set(error, ERROR_MEMORY, "Out of memory for the inputs' sums of %d columns.", cols);
  return float_product_open(&sums->product, device, cols, cols, step, error);
}

bool input_sums_add(struct input_sums *sums, const float *rows, size_t count, struct error *error) {
  for (size_t first = 0; first < count; first += (size_t)sums->step) {
    size_t rest = count - first;
    int step = rest < (size_t)sums->step ? (int)rest : sums->step;
    transpose(rows + first * (size_t)sums->cols, step, sums->step, sums->cols, sums->columns);
    if (!step_sums_add(sums, error)) return false;
  }
  return true;
}

void input_sums_release(struct input_sums *sums) {
  if (sums->columns) float_product_close(&sums->product);
  free(sums->columns);
  free(sums->sums);
  *sums = (struct input_sums){0};
}

float *input_sums_make(const struct network_walk *walk, const struct walk_site *site, struct error *error) {
  int cols = walk_site_cols(walk->plan, site), length = walk->data->length;
  struct input_sums of = {0};
  float *rows = malloc((size_t)length * (size_t)cols * sizeof *rows);
  bool done = rows ? input_sums_begin(&of, walk->device, cols, length, error)
                   : error_set(error, ERROR_MEMORY, "Out of memory for the inputs' sums of %d columns.", cols);
  for (int i = 0; i < walk->data->n_window && done; i++)
    done = network_walk_inputs(walk, site, i, rows, error) && input_sums_add(&of, rows, (size_t)length, error);
  free(rows);
  float *sums = done ? of.sums : NULL;
  if (done) of.sums = NULL;
  input_sums_release(&of);
  return sums;
}
