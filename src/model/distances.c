#include "model/distances.h"

#include "format/ggml_dequant.h"
#include "format/tensor.h"

#include <math.h>
#include <stdlib.h>

/* Buckets are as many whatever the config says, as transformers has it: half for each direction, of which half again
 * for a distance each. The others' logarithm needs those to end before BUCKET_DISTANCE. */
enum { NUMBERS_MAX = 1 << 24, BUCKETS = 32, HALF = BUCKETS / 2, EXACT = HALF / 2, BUCKET_DISTANCE = 128 };

_Static_assert(BUCKETS % 4 == 0 && EXACT >= 1 && EXACT < BUCKET_DISTANCE, "a bucket would lie outside the table");

static float *numbers_take(const struct decoder *d, struct error *error) {
  uint64_t count = (uint64_t)d->n_head * lean_numbers(d->max_position);
  float *numbers = count <= NUMBERS_MAX ? calloc((size_t)count, sizeof *numbers) : NULL;
  if (!numbers)
    error_set(error, count > NUMBERS_MAX ? ERROR_LIMIT : ERROR_MEMORY,
              "Scores by the distance of two tokens take %llu numbers (%d heads, %d positions), and Spate allows %d.",
              (unsigned long long)count, d->n_head, d->max_position, NUMBERS_MAX);
  return numbers;
}

float *distances_alibi(const struct decoder *d, double most, struct error *error) {
  float *numbers = numbers_take(d, error);
  for (int h = 0; numbers && h < d->n_head; h++) {
    float slope = decoder_slope(most, d->n_head, h), *of = numbers + (size_t)h * lean_numbers(d->max_position);
    for (int k = 1 - d->max_position; k < d->max_position; k++) of[d->max_position - 1 + k] = -slope * (float)abs(k);
  }
  return numbers;
}

/* Of a key `k` tokens behind the query. Floats, as the network was trained with. */
static int bucket_of(int k) {
  int first = k > 0 ? HALF : 0, n = abs(k);
  if (n < EXACT) return first + n;
  float far = logf((float)n / EXACT) / (float)log((double)BUCKET_DISTANCE / EXACT) * (HALF - EXACT);
  int bucket = EXACT + (int)far;
  return first + (bucket < HALF ? bucket : HALF - 1);
}

float *distances_buckets(const struct decoder *d, const struct tensor *table, struct error *error) {
  bool fits = table && table->n_dim == 2 && table->dim[0] == BUCKETS && table->dim[1] == d->n_head && !table->packed &&
              (table->type == TENSOR_F32 || table->type == TENSOR_F16 || table->type == TENSOR_BF16);
  float *numbers = NULL, *values = NULL;
  if (!fits) {
    error_set(error, ERROR_FORMAT, "Tensor %s is no matrix of %d rows for %d heads, in F32, F16 or BF16.",
              table ? table->name : "relative_attention_bias.weight, which is missing,", BUCKETS, d->n_head);
    return NULL;
  }
  values = malloc(table->count * sizeof *values);
  numbers = values ? numbers_take(d, error) : NULL;
  if (!values) error_set(error, ERROR_MEMORY, "Out of memory for %s.", table->name);
  if (numbers) tensor_dequantize(table->type, table->data.data, table->count, values);
  for (int h = 0; numbers && h < d->n_head; h++)
    for (int k = 1 - d->max_position; k < d->max_position; k++) {
      int bucket = bucket_of(k);
      numbers[(size_t)h * lean_numbers(d->max_position) + (size_t)(d->max_position - 1 + k)] =
          values[(size_t)bucket * (size_t)d->n_head + (size_t)h];
    }
  free(values);
  return numbers;
}
