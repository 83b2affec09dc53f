/* What a text has become, on its way to the inbox. */
#include "runtime/request.h"

#include <math.h>

/* To a length of 1; one of zeros stays. */
static void numbers_norm(float *numbers, int32_t count) {
  double squares = 0;
  for (int32_t i = 0; i < count; i++) squares += (double)numbers[i] * (double)numbers[i];
  double length = sqrt(squares);
  for (int32_t i = 0; length > 0 && i < count; i++) numbers[i] = (float)((double)numbers[i] / length);
}

static void numbers_softmax(float *numbers, int32_t count) {
  double highest = -INFINITY, total = 0;
  for (int32_t i = 0; i < count; i++) highest = fmax(highest, (double)numbers[i]);
  for (int32_t i = 0; i < count; i++) total += exp((double)numbers[i] - highest);
  for (int32_t i = 0; i < count; i++) numbers[i] = (float)(exp((double)numbers[i] - highest) / total);
}

static void numbers_sigmoid(float *numbers, int32_t count) {
  for (int32_t i = 0; i < count; i++) numbers[i] = (float)(1 / (1 + exp(-(double)numbers[i])));
}

void request_hear_vector(struct request *r, const struct engine_encoder *encoder, const float *vector) {
  memcpy(r->numbers, vector, (size_t)r->n_number * sizeof *vector);
  if (!r->plain && encoder->normalize) numbers_norm(r->numbers, r->n_number);
  if (!r->plain && encoder->label_act == LABELS_SIGMOID) numbers_sigmoid(r->numbers, r->n_number);
  if (!r->plain && encoder->label_act == LABELS_SOFTMAX) numbers_softmax(r->numbers, r->n_number);
  request_end(r, FINISH_STOP);
}
