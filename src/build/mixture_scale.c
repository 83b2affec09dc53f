/* Factors of experts: one set on what a layer's router, experts and linears beside them read, found as what is best for
 * all of them, each expert judged by rows that choose it; and one for each expert between its gates and the linear that
 * is added up. */
#include "build/mixture_site.h"

#include <math.h>
#include <stdlib.h>

/* --- on what all read --------------------------------------------------------------------------------------------- */

struct folding {
  struct mixture *m;
  struct scale_fold fold;
  struct input_record record; /* of all tokens */
  struct channel_search search;
  struct walk_site beside;
  struct site_matrices matrices; /* of the linears beside the experts */
  struct site_matrices router;
  float *least, *most; /* [n_channel] of the factors with which a router of halves keeps its bits; NULL: any do */
};

static bool scheme_codes(const struct scheme *s) { return s->kind == SCHEME_INT || s->kind == SCHEME_F8; }

/* Is the router rounded to codes? It has its say about the factors then, as all that reads with it. */
static bool router_rounds(const struct folding *f) { return scheme_codes(&f->router.weight[0]->scheme); }

static bool all_look(struct folding *f, struct error *error) {
  struct mixture *m = f->m;
  for (int i = 0; i < f->matrices.n; i++)
    channel_search_look(&f->search, f->matrices.matrix[i], (size_t)f->matrices.weight[i]->rows);
  if (router_rounds(f)) channel_search_look(&f->search, f->router.matrix[0], (size_t)f->router.weight[0]->rows);
  for (int e = 0; e < m->n_expert; e++)
    for (int i = 0; i < m->n_linear - 1; i++) {
      if (!expert_matrix_read(&m->linear[i], e, error)) return false;
      channel_search_look(&f->search, m->linear[i].matrix, (size_t)m->linear[i].weight->rows);
    }
  return true;
}

static bool integers_try(struct folding *f, const struct input_record *record, const struct weight *const *weight,
                         float *const *matrix, int count, struct error *error) {
  struct scale_site site = {
      .fold = &f->fold, .record = record, .device = &f->m->c->device, .n_thread = f->m->c->job->n_thread};
  double share = record->n_sample > 0 ? (double)record->total / record->n_sample : 0;
  for (int i = 0; i < count; i++) {
    if (!scheme_codes(&weight[i]->scheme)) continue;
    site.n_matrix = 1;
    site.most_rows = EXPERT_TRIED;
    site.weight = &weight[i];
    site.matrix = &matrix[i];
    if (!channel_search_try(&f->search, &site, share, error)) return false;
  }
  return true;
}

/* With the rows that chose it; one that none chose has no say. */
static bool expert_try(struct folding *f, int expert, struct error *error) {
  struct mixture *m = f->m;
  struct input_record record;
  const struct weight *weight[EXPERT_LINEARS];
  float *matrix[EXPERT_LINEARS];
  if (!mixture_rows_take(m, expert, 0, error)) return false;
  if (m->rows.n_row == 0) return true;
  for (int i = 0; i < m->n_linear - 1; i++) {
    if (!expert_matrix_read(&m->linear[i], expert, error)) return false;
    weight[i] = m->linear[i].weight;
    matrix[i] = m->linear[i].matrix;
  }
  bool done = input_record_begin(&record, m->hidden, 0, (size_t)m->rows.n_row, EXPERT_SAMPLE, error);
  if (done) input_record_add(&record, m->x, (size_t)m->rows.n_row, m->c->job->n_thread);
  done = done && integers_try(f, &record, weight, matrix, m->n_linear - 1, error);
  input_record_release(&record);
  return done;
}

static bool factors_find(struct folding *f, struct site_fit *fit, struct error *error) {
  struct mixture *m = f->m;
  float *column = calibrating_floats(m->c, (size_t)m->hidden);
  float *channel = calibrating_floats(m->c, (size_t)f->fold.n_channel);
  if (!column || !channel) return error_set(error, ERROR_MEMORY, "Out of memory for a site's factors.");
  bool done = channel_search_begin(&f->search, &f->fold, calibrating_rule(m->c), &f->record, error);
  f->search.least = f->least;
  f->search.most = f->most;
  done = done && all_look(f, error) &&
         integers_try(f, &f->record, f->matrices.weight, f->matrices.matrix, f->matrices.n, error) &&
         integers_try(f, &f->record, f->router.weight, f->router.matrix, 1, error);
  for (int e = 0; m->scales && e < m->n_expert && done; e++) done = expert_try(f, e, error);
  if (done) channel_search_end(&f->search, channel, column);
  channel_search_release(&f->search);
  for (int i = 0; done && i < f->fold.n_channel; i++) channel[i] = 1 / channel[i];
  fit->inverse = channel;
  fit->column = m->column = column;
  return done;
}

/* The powers of two that a column's numbers, from `least` to `most` in size, can be multiplied by as halves without
 * losing a bit: they stay at 2^-14 or above and below 2^16. One that has lost some already is left alone. */
static void half_range(float least, float most, float *low, float *high) {
  int down = 0, up = 0;
  *low = *high = 1;
  if (!(most > 0) || least < 0x1p-14f) return;
  frexpf(least, &down);
  frexpf(most, &up);
  *low = ldexpf(1, -13 - down < 0 ? -13 - down : 0);
  *high = ldexpf(1, 15 - up > 0 ? 15 - up : 0);
}

/* The router's columns are multiplied with the factors too. As these are powers of two, a router of F32 or BF16 stays
 * what it is to the bit; of halves, which lose bits of small numbers and have no large ones, only within a range. */
static bool router_limit(struct folding *f, struct error *error) {
  const struct weight *w = f->router.weight[0];
  if (w->scheme.kind != SCHEME_F16) return true;
  f->least = malloc((size_t)w->cols * sizeof *f->least);
  f->most = malloc((size_t)w->cols * sizeof *f->most);
  if (!f->least || !f->most) return error_set(error, ERROR_MEMORY, "Out of memory for a router's factors.");
  for (int c = 0; c < w->cols; c++) {
    float least = INFINITY, most = 0;
    for (int r = 0; r < w->rows; r++) {
      float size = fabsf(f->router.matrix[0][(size_t)r * (size_t)w->cols + (size_t)c]);
      if (size > 0) least = fminf(least, size);
      most = fmaxf(most, size);
    }
    half_range(least, most, &f->least[c], &f->most[c]);
  }
  return true;
}

static bool router_read(struct folding *f, struct error *error) {
  struct walk_site site = {.first = f->m->site->first, .count = 1, .n_owned = 1, .n_linear = 1};
  site.op[0] = f->m->site->op[0];
  return site_matrices_read(f->m->c, &site, &f->router, error) && router_limit(f, error);
}

/* A matrix that the calibration cannot round is left as it is, and with it what it reads. */
static bool experts_fold(const struct mixture *m, const struct folding *f) {
  bool folds = f->fold.n_target > 0 && scheme_rounds(&f->router.weight[0]->scheme) &&
               (m->scales || site_matrices_round(&f->matrices));
  for (int i = 0; i < m->n_linear - 1; i++) {
    const struct scheme *s = &m->linear[i].weight->scheme;
    folds = folds && (s->kind != SCHEME_INT || m->scales);
  }
  return folds;
}

static bool sites_fold(struct folding *f, struct error *error) {
  struct mixture *m = f->m;
  const struct plan *plan = m->c->job->plan;
  struct site_fit fit = {0};
  int group = m->c->job->method == QUANT_AWQ ? site_group(plan, m->site) : 0;
  scale_fold_find(&f->fold, plan, m->site);
  if (f->beside.count > 0 && !site_matrices_read(m->c, &f->beside, &f->matrices, error)) return false;
  if (!router_read(f, error)) return false;
  if (!input_record_make(&f->record, &m->c->walk, m->site, group, m->c->job->n_thread, error) ||
      (experts_fold(m, f) && !factors_find(f, &fit, error)))
    return false;
  if (f->record.metric) {
    float *metric = calibrating_floats(m->c, site_metric_count(m->hidden, group));
    if (!metric) return error_set(error, ERROR_MEMORY, "Out of memory for a site's metric.");
    metric_scale(&f->record, fit.column, metric);
    fit.metric = metric;
  }
  if (!fit.column) f->fold.n_target = 0;
  site_fit_set(m->c->result->transforms, plan, m->site, &f->fold, &fit);
  return true;
}

bool mixture_fold(struct mixture *m, struct error *error) {
  struct folding f = {.m = m, .beside = mixture_beside(m->c->job->plan, m->site)};
  bool done = sites_fold(&f, error);
  site_matrices_release(&f.matrices);
  site_matrices_release(&f.router);
  input_record_release(&f.record);
  free(f.least), free(f.most);
  return done;
}

/* --- within an expert --------------------------------------------------------------------------------------------- */

/* Multiplies columns, or the rows of one part, of a linear's matrix. */
static void columns_scale(struct expert_linear *l, const float *factor) {
  size_t cols = (size_t)l->weight->cols;
  for (size_t i = 0; factor && i < (size_t)l->weight->rows * cols; i++) l->matrix[i] *= factor[i % cols];
}

static void rows_divide(struct expert_linear *l, int of, const float *divisor) {
  size_t cols = (size_t)l->weight->cols;
  for (int i = 0; i < l->weight->rows; i++) {
    int part, row;
    if (!weight_row_source(l->weight, i, &part, &row) || part != of) continue;
    float factor = 1 / divisor[part_row_of(&l->weight->part[part], row)];
    for (size_t k = 0; k < cols; k++) l->matrix[(size_t)i * cols + k] *= factor;
  }
}

/* Rounds by what the linear's inputs are once their columns are scaled. */
static bool linear_write(struct mixture *m, struct expert_linear *l, const float *rows, const float *column,
                         struct error *error) {
  int group = m->c->job->method == QUANT_AWQ && l->weight->scheme.kind == SCHEME_INT ? l->weight->scheme.group : 0;
  struct input_record record = {0};
  if (group == 0) return stack_add(&l->stack, NULL, NULL, l->matrix, error);
  bool done = input_record_begin(&record, l->weight->cols, group, (size_t)m->rows.n_row, 1, error);
  if (done) {
    input_record_add(&record, rows, (size_t)m->rows.n_row, m->c->job->n_thread);
    metric_scale(&record, column, m->metric);
  }
  done = done && stack_add(&l->stack, NULL, m->metric, l->matrix, error);
  input_record_release(&record);
  return done;
}

/* Factors on the columns of the last linear, whose inverses go into the rows of the one before; column[width] is 1
 * where nothing can be folded there. */
static bool last_search(struct mixture *m, float *channel, float *column, struct error *error) {
  struct expert_linear *last = &m->linear[m->n_linear - 1], *up = last - 1;
  struct scale_fold fold = {.shared = 1, .dim = 1};
  struct input_record record;
  const struct weight *weight = last->weight;
  scale_fold_linear(&fold, m->c->job->plan, up->op);
  for (int i = 0; i < m->width; i++) column[i] = 1;
  if (fold.n_target != 1 || weight->scheme.kind != SCHEME_INT) return true;
  struct scale_site site = {.fold = &fold,
                            .record = &record,
                            .device = &m->c->device,
                            .n_matrix = 1,
                            .most_rows = EXPERT_TRIED,
                            .n_thread = m->c->job->n_thread,
                            .weight = &weight,
                            .matrix = &last->matrix};
  bool done = input_record_begin(&record, m->width, 0, (size_t)m->rows.n_row, EXPERT_SAMPLE, error);
  if (done) input_record_add(&record, m->h, (size_t)m->rows.n_row, m->c->job->n_thread);
  done = done && channel_scale_search(&site, calibrating_rule(m->c), channel, column, error);
  input_record_release(&record);
  if (done) rows_divide(up, fold.target[0].part, column);
  return done;
}

bool mixture_expert_scale(struct mixture *m, struct error *error) {
  struct expert_linear *last = &m->linear[m->n_linear - 1];
  float *factors = malloc(2 * (size_t)m->width * sizeof *factors), *column = factors ? factors + m->width : NULL;
  bool done = factors ? last_search(m, factors, column, error)
                      : error_set(error, ERROR_MEMORY, "Out of memory for an expert's factors.");
  for (int i = 0; i < m->n_linear - 1; i++) columns_scale(&m->linear[i], m->column);
  if (done) columns_scale(last, column);
  for (int i = 0; i < m->n_linear - 1 && done; i++) done = linear_write(m, &m->linear[i], m->x, m->column, error);
  done = done && linear_write(m, last, m->h, column, error);
  free(factors);
  return done;
}
