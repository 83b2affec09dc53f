/* A head at a time: its matrix alone reads its part of the row, so what it is judged by are that part's sums. */
#include "build/calibrating.h"
#include "build/gptq_site.h"

#include <stdlib.h>

struct heads {
  struct calibrating *c;
  const struct weight *weight;
  int index;              /* of the weight */
  float *all;             /* [n_expert][cols][cols] sums of inputs' products */
  float *rows;            /* [length][cols] of one head, of a window */
  float *metric;          /* of one head */
  struct input_sums sums; /* its sums are those of one head of `all` */
  struct stack_writer stack;
};

static bool heads_take(const struct calibrating *c, const struct scheme *scheme) {
  if (!gptq_takes(scheme)) return false;
  return c->job->method == QUANT_GPTQ || (c->job->method == QUANT_AWQ && scheme->group > 0);
}

static bool heads_open(struct heads *h, struct error *error) {
  const struct calibration_job *job = h->c->job;
  size_t cols = (size_t)h->weight->cols, length = (size_t)job->data->length;
  h->all = calloc((size_t)h->weight->n_expert * cols, cols * sizeof *h->all);
  h->rows = malloc(length * cols * sizeof *h->rows);
  h->metric = calloc(site_metric_count(h->weight->cols, h->weight->scheme.group) + 1, sizeof *h->metric);
  if (!h->all || !h->rows || !h->metric)
    return error_set(error, ERROR_MEMORY, "Out of memory for the inputs of %d heads.", h->weight->n_expert);
  return input_sums_begin(&h->sums, &h->c->device, h->weight->cols, (int)length, error) &&
         stack_begin(&h->stack, job->plan, h->index, job->writer, job->n_thread, error);
}

static void heads_close(struct heads *h) {
  input_sums_release(&h->sums);
  stack_release(&h->stack);
  free(h->all), free(h->rows), free(h->metric);
}

/* A window of what all heads read. */
static bool window_add(void *context, const float *rows, int window, struct error *error) {
  struct heads *h = context;
  size_t cols = (size_t)h->weight->cols, n = (size_t)h->weight->n_expert, length = (size_t)h->sums.step;
  float *own = h->sums.sums;
  bool done = true;
  (void)window;
  for (size_t e = 0; e < n && done; e++) {
    for (size_t t = 0; t < length; t++) memcpy(h->rows + t * cols, rows + (t * n + e) * cols, cols * sizeof *rows);
    h->sums.sums = h->all + e * cols * cols;
    done = input_sums_add(&h->sums, h->rows, length, error);
  }
  h->sums.sums = own;
  return done;
}

static bool head_write(struct heads *h, const float *sums, float *matrix, struct error *error) {
  const struct scheme *scheme = &h->weight->scheme;
  struct gptq gptq;
  if (h->c->job->method == QUANT_AWQ) {
    gptq_metric(sums, h->weight->cols, scheme->group, h->metric);
    return stack_add(&h->stack, NULL, h->metric, matrix, error);
  }
  bool done = gptq_init(&gptq, sums, h->weight->cols, scheme->group, h->c->job->n_thread, error) &&
              stack_add(&h->stack, &gptq, NULL, matrix, error);
  gptq_release(&gptq);
  return done;
}

static bool heads_write(struct heads *h, float *matrix, struct error *error) {
  size_t cols = (size_t)h->weight->cols, count = (size_t)h->weight->rows * cols;
  for (int e = 0; e < h->weight->n_expert; e++)
    if (!head_write(h, h->all + (size_t)e * cols * cols, matrix + (size_t)e * count, error)) return false;
  stack_end(&h->stack);
  return h->c->result->written[h->index] = true;
}

/* The ops up to the one that makes what the linear reads. */
static struct walk_site site_before(const struct plan *plan, const struct walk_site *site, int op) {
  struct walk_site before = *site;
  int makes = op - 1;
  while (plan_ops(plan)[makes].out != plan_ops(plan)[op].in[0]) makes--;
  before.n_op = makes + 1 - site->first;
  return before;
}

static bool linear_round(struct calibrating *c, const struct walk_site *site, struct site_matrices *m, int at,
                         struct error *error) {
  struct heads h = {.c = c, .weight = m->weight[at], .index = m->index[at]};
  struct walk_site before = site_before(c->job->plan, site, site->op[at]);
  bool done = heads_open(&h, error) && network_walk_each(&c->walk, &before, m->matrix, window_add, &h, error) &&
              heads_write(&h, m->matrix[at], error);
  heads_close(&h);
  return done;
}

bool heads_round(struct calibrating *c, const struct walk_site *site, struct site_matrices *m, struct error *error) {
  for (int i = site->count; i < site->n_owned; i++)
    if (heads_take(c, &m->weight[i]->scheme) && !linear_round(c, site, m, i, error)) return false;
  return true;
}
