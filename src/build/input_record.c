/* Statistics of inputs. */
#include "build/input_record.h"

#include "build/parallel.h"

#include <math.h>
#include <stdlib.h>

struct recording {
  struct input_record *record;
  const float *rows; /* of a window */
  int n_row;
};

/* One group's part of the metric, for a window. */
static void metric_add(void *context, int worker, int item) {
  const struct recording *recording = context;
  struct input_record *record = recording->record;
  (void)worker;
  int first = item * record->group, rest = record->cols - first, count = rest < record->group ? rest : record->group;
  for (int r = 0; r < recording->n_row; r++) {
    const float *x = recording->rows + (size_t)r * (size_t)record->cols + first;
    float *metric = record->metric + (size_t)first * (size_t)record->group;
    for (int i = 0; i < count; i++, metric += record->group)
      for (int k = 0; k < count; k++) metric[k] += x[i] * x[k];
  }
}

static void row_add(struct input_record *record, const float *row, float share) {
  for (int i = 0; i < record->cols; i++) {
    float size = fabsf(row[i]);
    record->mean[i] += size * share;
    if (size > record->peak[i]) record->peak[i] = size;
  }
}

static void window_add(struct recording *recording, int window, int n_window, int n_thread) {
  struct input_record *record = recording->record;
  size_t total = (size_t)n_window * (size_t)recording->n_row;
  size_t stride = (total + RECORD_SAMPLE - 1) / RECORD_SAMPLE;
  for (int r = 0; r < recording->n_row; r++) {
    const float *row = recording->rows + (size_t)r * (size_t)record->cols;
    size_t token = (size_t)window * (size_t)recording->n_row + (size_t)r;
    row_add(record, row, 1 / (float)total);
    if (token % stride == 0)
      memcpy(record->sample + (size_t)record->n_sample++ * (size_t)record->cols, row,
             (size_t)record->cols * sizeof *row);
  }
  if (record->metric) parallel_run(n_thread, (record->cols + record->group - 1) / record->group, metric_add, recording);
}

bool input_record_make(struct input_record *record, const struct network_walk *walk, const struct walk_site *site,
                       int group, int n_thread, struct error *error) {
  size_t cols = (size_t)walk_site_cols(walk->plan, site);
  *record = (struct input_record){.cols = (int)cols, .group = group};
  float *rows = malloc((size_t)walk->data->length * cols * sizeof *rows);
  record->mean = calloc(cols, sizeof *record->mean);
  record->peak = calloc(cols, sizeof *record->peak);
  record->sample = malloc(RECORD_SAMPLE * cols * sizeof *record->sample);
  if (group) record->metric = calloc((cols + (size_t)group) * (size_t)group, sizeof *record->metric);
  bool done = (rows && record->mean && record->peak && record->sample && (record->metric || !group)) ||
              error_set(error, ERROR_MEMORY, "Out of memory for the inputs of %zu columns.", cols);
  struct recording recording = {.record = record, .rows = rows, .n_row = walk->data->length};
  for (int i = 0; i < walk->data->n_window && done; i++) {
    done = network_walk_inputs(walk, site, i, rows, error);
    if (done) window_add(&recording, i, walk->data->n_window, n_thread);
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

static void transpose(const float *from, int rows, int cols, float *to) {
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < cols; c++)
      to[(size_t)c * (size_t)rows + (size_t)r] = from[(size_t)r * (size_t)cols + (size_t)c];
}

static bool window_sums_add(struct float_product *product, const float *columns, float *sums, struct error *error) {
  if (!float_product_a(product, columns, error) || !float_product_b(product, columns, error)) return false;
  for (int first = 0; first < product->rows_a; first += product->step_rows) {
    int rest = product->rows_a - first, count = rest < product->step_rows ? rest : product->step_rows;
    const float *rows = float_product_rows(product, first, count, error);
    float *to = sums + (size_t)first * (size_t)product->rows_b;
    if (!rows) return false;
    for (size_t i = 0; i < (size_t)count * (size_t)product->rows_b; i++) to[i] += rows[i];
  }
  return true;
}

float *input_sums_make(const struct network_walk *walk, const struct walk_site *site, struct error *error) {
  int cols = walk_site_cols(walk->plan, site), length = walk->data->length;
  size_t count = (size_t)length * (size_t)cols;
  struct float_product product = {0};
  float *rows = malloc(count * sizeof *rows), *columns = malloc(count * sizeof *columns);
  float *sums = calloc((size_t)cols * (size_t)cols, sizeof *sums);
  bool done = (rows && columns && sums) ||
              error_set(error, ERROR_MEMORY, "Out of memory for the inputs' sums of %d columns.", cols);
  done = done && float_product_open(&product, walk->device, cols, cols, length, error);
  for (int i = 0; i < walk->data->n_window && done; i++) {
    done = network_walk_inputs(walk, site, i, rows, error);
    if (done) transpose(rows, length, cols, columns);
    done = done && window_sums_add(&product, columns, sums, error);
  }
  float_product_close(&product);
  free(rows);
  free(columns);
  if (done) return sums;
  free(sums);
  return NULL;
}
