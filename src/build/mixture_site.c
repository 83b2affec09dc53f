/* Expert by expert: its rows are gathered, its matrices read, rounded and written, and what they make of the rows is
 * added to the tokens. */
#include "build/mixture_site.h"

#include <stdlib.h>

/* --- parts of the site -------------------------------------------------------------------------------------------- */

struct walk_site mixture_beside(const struct plan *plan, const struct walk_site *site) {
  struct walk_site beside = {0};
  for (int i = 1; i < site->count; i++) {
    if (linear_is_routed(&walk_site_op(plan, site, i)->args.linear)) continue;
    if (beside.count == 0) beside.first = site->op[i];
    beside.op[beside.count++] = site->op[i];
    beside.n_owned = beside.n_linear = beside.n_op = beside.count;
  }
  return beside;
}

static bool linear_open(struct mixture *m, int op, struct error *error) {
  const struct plan *plan = m->c->job->plan;
  struct expert_linear *l = &m->linear[m->n_linear++];
  struct weight_source source;
  l->op = plan_ops(plan) + op;
  l->index = l->op->weight[0];
  l->weight = plan_weights(plan) + l->index;
  if (!weight_source_init(&source, plan, l->index, m->c->job->checkpoint, error)) return false;
  l->floats = *l->weight;
  l->floats.scheme = (struct scheme){.kind = SCHEME_F32};
  source.weight = &l->floats;
  if (m->c->job->merged) source.transform = &m->c->job->merged[l->index];
  l->matrix = malloc((size_t)l->weight->rows * (size_t)l->weight->cols * sizeof *l->matrix);
  if (!l->matrix) return error_set(error, ERROR_MEMORY, "Out of memory for a matrix of %d rows.", l->weight->rows);
  return weight_reader_init(&l->reader, &source, m->c->job->writer->backend->pack_rows, error);
}

bool expert_matrix_read(struct expert_linear *l, int expert, struct error *error) {
  return weight_reader_matrix(&l->reader, expert, l->matrix, error);
}

static bool linears_open(struct mixture *m, struct error *error) {
  const struct walk_site *site = m->site;
  const struct plan *plan = m->c->job->plan;
  int first = -1;
  for (int i = 1; i < site->n_linear; i++) {
    if (!linear_is_routed(&walk_site_op(plan, site, i)->args.linear)) continue;
    if (first < 0) first = site->op[i];
    if (!linear_open(m, site->op[i], error)) return false;
  }
  const struct network_walk *walk = &m->c->walk;
  m->hidden = m->linear[0].weight->cols;
  m->width = m->linear[m->n_linear - 1].weight->cols;
  return expert_program_open(&m->gate, walk, first, m->n_linear - 1, m->k, error) &&
         expert_program_open(&m->down, walk, site->op[site->count], 1, m->k, error);
}

/* --- what is known before the experts ----------------------------------------------------------------------------- */

/* The inputs of all tokens, normed, and the experts that they choose. */
static bool choices_make(struct mixture *m, struct error *error) {
  struct network_walk *walk = &m->c->walk;
  const struct walk_site router = {
      .first = m->site->first, .n_op = 2, .count = 1, .n_owned = 1, .n_linear = 1, .op = {m->site->first}};
  size_t tokens = network_walk_tokens(walk), window = (size_t)walk->data->length * (size_t)m->hidden;
  struct site_matrices matrices = {0};
  m->inputs = malloc(tokens * (size_t)m->hidden * sizeof *m->inputs);
  m->choice = malloc(tokens * 2 * (size_t)m->k * sizeof *m->choice);
  bool done =
      (m->inputs && m->choice) || error_set(error, ERROR_MEMORY, "Out of memory for the inputs of %zu tokens.", tokens);
  for (int i = 0; i < walk->data->n_window && done; i++)
    done = network_walk_inputs(walk, m->site, i, m->inputs + (size_t)i * window, error);
  done = done && site_matrices_read(m->c, &router, &matrices, error) &&
         network_walk_result(walk, &router, matrices.matrix, m->choice, error) &&
         expert_rows_init(&m->rows, m->choice, (int)tokens, m->k, error);
  site_matrices_release(&matrices);
  return done;
}

/* Runs the linears that all tokens have, by GPTQ rounded before. */
static bool beside_run(struct mixture *m, struct error *error) {
  struct walk_site beside = mixture_beside(m->c->job->plan, m->site);
  struct site_matrices matrices;
  if (beside.count == 0) return true;
  bool done = site_matrices_read(m->c, &beside, &matrices, error);
  if (done && m->c->job->method == QUANT_GPTQ) done = site_round(m->c, &beside, &matrices, error);
  done = done && network_walk_run(&m->c->walk, &beside, matrices.matrix, error);
  site_matrices_release(&matrices);
  return done;
}

/* What the sum is added to. */
static bool result_begin(struct mixture *m, struct error *error) {
  struct network_walk *walk = &m->c->walk;
  int from = m->gather->in[1], to = m->gather->out;
  size_t bytes = network_walk_numbers(walk, to) * sizeof(float);
  if (from < 0)
    memset(walk->value[to], 0, bytes);
  else if (from != to && walk->value[from])
    memcpy(walk->value[to], walk->value[from], bytes);
  else if (from != to)
    return error_set(error, ERROR_UNSUPPORTED,
                     "Experts are added to a value that lives within their layer, which calibration does not hold.");
  return true;
}

static void schemes_see(struct mixture *m) {
  bool integers = false, all = true;
  for (int i = 0; i < m->n_linear; i++) {
    integers = integers || m->linear[i].weight->scheme.kind == SCHEME_INT;
    all = all && scheme_rounds(&m->linear[i].weight->scheme);
  }
  m->scales = m->c->job->method != QUANT_GPTQ && integers && all;
  for (int i = 0; i < m->n_linear; i++)
    m->linear[i].writes = m->scales || (m->c->job->method == QUANT_GPTQ && gptq_takes(&m->linear[i].weight->scheme));
}

static bool writers_open(struct mixture *m, struct error *error) {
  const struct calibration_job *job = m->c->job;
  size_t metric = 1;
  for (int i = 0; i < m->n_linear; i++) {
    struct expert_linear *l = &m->linear[i];
    size_t own = site_metric_count(l->weight->cols, l->weight->scheme.group);
    if (own > metric) metric = own;
    if (l->writes && !stack_begin(&l->stack, job->plan, l->index, job->writer, job->n_thread, error)) return false;
    int place = i == m->n_linear - 1;
    if (l->writes && job->method == QUANT_GPTQ && !m->sums[place].sums &&
        !input_sums_begin(&m->sums[place], &m->c->device, l->weight->cols, m->c->walk.data->length, error))
      return false;
  }
  m->metric = malloc(metric * sizeof *m->metric);
  return m->metric || error_set(error, ERROR_MEMORY, "Out of memory for a metric of %zu numbers.", metric);
}

/* --- an expert ---------------------------------------------------------------------------------------------------- */

bool mixture_rows_take(struct mixture *m, int expert, int least, struct error *error) {
  expert_rows_find(&m->rows, expert, least);
  int n = m->rows.n_row;
  if (n > m->room) {
    free(m->x), free(m->h), free(m->y);
    m->x = malloc((size_t)n * (size_t)m->hidden * sizeof *m->x);
    m->h = malloc((size_t)n * (size_t)m->width * sizeof *m->h);
    m->y = malloc((size_t)n * (size_t)m->hidden * sizeof *m->y);
    m->room = n;
    if (!m->x || !m->h || !m->y) return error_set(error, ERROR_MEMORY, "Out of memory for %d rows of an expert.", n);
  }
  expert_rows_take(&m->rows, m->inputs, m->hidden, m->x);
  return true;
}

/* By GPTQ: the linear's matrix becomes what its codes stand for. */
static bool expert_round(struct mixture *m, struct expert_linear *l, const float *rows, struct input_sums *sums,
                         struct error *error) {
  int cols = l->weight->cols;
  struct gptq gptq;
  if (!l->writes || m->scales) return true;
  memset(sums->sums, 0, (size_t)cols * (size_t)cols * sizeof *sums->sums);
  if (!input_sums_add(sums, rows, (size_t)m->rows.n_row, error)) return false;
  bool done = gptq_init(&gptq, sums->sums, cols, l->weight->scheme.group, m->c->job->n_thread, error) &&
              stack_add(&l->stack, &gptq, NULL, l->matrix, error);
  gptq_release(&gptq);
  return done;
}

static bool program_set(struct mixture *m, struct expert_program *program, int expert, int first, int count,
                        struct error *error) {
  int weight[EXPERT_LINEARS];
  float *matrix[EXPERT_LINEARS];
  for (int i = 0; i < count; i++) {
    weight[i] = m->linear[first + i].index;
    matrix[i] = m->linear[first + i].matrix;
  }
  return expert_program_set(program, expert, weight, matrix, count, error);
}

static bool expert_run(struct mixture *m, int expert, struct error *error) {
  int last = m->n_linear - 1;
  bool writes = false;
  for (int i = 0; i < m->n_linear; i++) writes = writes || m->linear[i].writes;
  if (!mixture_rows_take(m, expert, writes ? EXPERT_ROWS_LEAST : 0, error)) return false;
  for (int i = 0; i < m->n_linear; i++)
    if (!expert_matrix_read(&m->linear[i], expert, error)) return false;
  for (int i = 0; i < last; i++)
    if (!expert_round(m, &m->linear[i], m->x, &m->sums[0], error)) return false;
  if (!program_set(m, &m->gate, expert, 0, last, error) ||
      !expert_program_run(&m->gate, m->x, m->rows.n_row, m->h, error) ||
      !expert_round(m, &m->linear[last], m->h, &m->sums[1], error) ||
      !program_set(m, &m->down, expert, last, 1, error) ||
      !expert_program_run(&m->down, m->h, m->rows.n_chosen, m->y, error))
    return false;
  expert_rows_give(&m->rows, m->y, m->gather->args.linear.scale, m->hidden, m->c->walk.value[m->gather->out]);
  m->n_few += writes && m->rows.n_chosen < EXPERT_ROWS_LEAST;
  return !m->scales || mixture_expert_scale(m, error);
}

static bool experts_run(struct mixture *m, struct error *error) {
  struct calibrating *c = m->c;
  uint64_t before = c->device.done, bytes = 0;
  bool writes = false;
  for (int i = 0; i < m->n_linear; i++) bytes += c->job->writer->weights[m->linear[i].index].bytes;
  for (int e = 0; e < m->n_expert; e++) {
    c->device.done = before + bytes * (uint64_t)e / (uint64_t)m->n_expert;
    if (!checkpoint_intact(c->job->checkpoint, error) || !expert_run(m, e, error)) return false;
  }
  c->device.done = before;
  for (int i = 0; i < m->n_linear; i++) {
    if (!m->linear[i].writes) continue;
    stack_end(&m->linear[i].stack);
    c->result->written[m->linear[i].index] = writes = true;
  }
  if (writes) c->result->few[m->gather->weight[0]] = 1 + m->n_few;
  return true;
}

/* --- the site ----------------------------------------------------------------------------------------------------- */

static void mixture_release(struct mixture *m) {
  for (int i = 0; i < m->n_linear; i++) {
    weight_reader_release(&m->linear[i].reader);
    stack_release(&m->linear[i].stack);
    free(m->linear[i].matrix);
  }
  expert_program_close(&m->gate);
  expert_program_close(&m->down);
  input_sums_release(&m->sums[0]);
  input_sums_release(&m->sums[1]);
  expert_rows_release(&m->rows);
  free(m->inputs), free(m->choice), free(m->metric);
  free(m->x), free(m->h), free(m->y);
}

bool mixture_run(struct calibrating *c, const struct walk_site *site, struct error *error) {
  const struct plan *plan = c->job->plan;
  const struct op *gather = walk_site_op(plan, site, site->count);
  struct mixture m = {.c = c, .site = site, .gather = gather, .k = plan_values(plan)[gather->in[2]].cols / 2};
  m.n_expert = plan_weights(plan)[gather->weight[0]].n_expert;
  bool done = linears_open(&m, error) && choices_make(&m, error);
  if (done) schemes_see(&m);
  done = done && (c->job->method == QUANT_GPTQ || mixture_fold(&m, error)) && beside_run(&m, error) &&
         writers_open(&m, error) && result_begin(&m, error) && experts_run(&m, error);
  mixture_release(&m);
  return done;
}

uint64_t mixture_numbers(const struct calibration_job *job, const struct walk_site *site) {
  enum { ROWS_COPIES = 2, MATRIX_COPIES = 5 }; /* inputs and an expert's; of a matrix */
  const struct op *gather = walk_site_op(job->plan, site, site->count);
  const struct weight *down = &plan_weights(job->plan)[gather->weight[0]];
  uint64_t tokens = (uint64_t)job->data->n_window * (uint64_t)job->data->length + EXPERT_OTHERS;
  uint64_t hidden = (uint64_t)down->rows, width = (uint64_t)down->cols;
  uint64_t choice = (uint64_t)plan_values(job->plan)[gather->in[2]].cols + 2;
  uint64_t squares = job->method == QUANT_GPTQ ? 4 * width * width : (width + hidden) * down->scheme.group;
  return tokens * (ROWS_COPIES * hidden + hidden + width + choice) + MATRIX_COPIES * hidden * width + squares;
}
