/* A cut of the plan, whose one table has the rows of a step. */
#include "build/expert_program.h"

#include <stdlib.h>

static bool vectors_read(struct expert_program *p, struct error *error) {
  const struct plan *cut = plan_cut_plan(&p->cut);
  p->vector = calloc((size_t)cut->n_weight + 1, sizeof *p->vector);
  if (!p->vector) return error_set(error, ERROR_MEMORY, "Out of memory for the biases of experts.");
  for (int i = 0; i < cut->n_weight; i++) {
    if (plan_weights(cut)[i].use != WEIGHT_VECTOR) continue;
    p->vector[i] = network_walk_vector(p->walk, p->cut.origin[i], error);
    if (!p->vector[i]) return false;
  }
  return true;
}

bool expert_program_open(struct expert_program *p, const struct network_walk *walk, int first, int count, int k,
                         struct error *error) {
  *p = (struct expert_program){.walk = walk, .rows = walk->data->length};
  if (!plan_cut_make(&p->cut, walk->plan, first, count, p->rows, k, error)) return false;
  const struct plan *cut = plan_cut_plan(&p->cut);
  p->cols_in = plan_weights(cut)[0].cols;
  p->cols_out = plan_values(cut)[plan_result(cut)].cols;
  p->step = calloc((size_t)p->rows * (size_t)p->cols_in, sizeof *p->step);
  if (!p->step) return error_set(error, ERROR_MEMORY, "Out of memory for %d rows of an expert.", p->rows);
  return vectors_read(p, error) && float_program_open(&p->program, walk->device, cut, p->rows, error);
}

void expert_program_close(struct expert_program *p) {
  if (p->program.plan) float_program_close(&p->program);
  for (int i = 0; p->vector && i < plan_cut_plan(&p->cut)->n_weight; i++) free(p->vector[i]);
  free(p->vector);
  free(p->step);
  plan_cut_release(&p->cut);
  *p = (struct expert_program){0};
}

bool expert_program_set(struct expert_program *p, int expert, const int *weight, float *const *matrix, int count,
                        struct error *error) {
  const struct plan *cut = plan_cut_plan(&p->cut);
  for (int i = 1; i < cut->n_weight; i++) { /* behind the table */
    const float *values = p->vector[i] ? p->vector[i] + (size_t)expert * (size_t)plan_weights(cut)[i].cols : NULL;
    for (int k = 0; k < count; k++)
      if (weight[k] == p->cut.origin[i]) values = matrix[k];
    if (!float_program_store(&p->program, i, values, error)) return false;
  }
  return true;
}

bool expert_program_run(struct expert_program *p, const float *in, int n, float *out, struct error *error) {
  for (int first = 0; first < n; first += p->rows) {
    int count = n - first < p->rows ? n - first : p->rows;
    memcpy(p->step, in + (size_t)first * (size_t)p->cols_in, (size_t)count * (size_t)p->cols_in * sizeof *in);
    if (!float_program_store(&p->program, 0, p->step, error)) return false;
    const float *result = float_program_run(&p->program, 0, count, error);
    if (!result) return false;
    memcpy(out + (size_t)first * (size_t)p->cols_out, result, (size_t)count * (size_t)p->cols_out * sizeof *out);
  }
  return true;
}
