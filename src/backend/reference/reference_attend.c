/* Attention of the reference: keys and values of the batch go to the paged cache, or to a place of the op's own, then
 * each query takes a softmax over what it sees. Scores and sums are double; what the cache holds is rounded to its
 * type. */
#include "backend/reference/reference_program.h"

#include "base/half.h"

#include <math.h>

/* What stays the same over an op. */
struct attend {
  struct program *program;
  const struct op *op;
  const struct attend_args *args;
  const struct kv_group *group; /* NULL: none */
};

/* Where the value of a token begins among its numbers in the cache: behind its key, or within. */
static int value_at(const struct attend_args *args) { return args->dim_k - (args->value_in_key ? args->dim_v : 0); }

/* The numbers of one token in the cache: dim_k of its key, then dim_v of its value, unless that is in the key. */
static float *cache_at(const struct attend *a, const struct row *row, int token, int head) {
  const struct limits *limits = &a->program->limits;
  size_t numbers = (size_t)(value_at(a->args) + a->args->dim_v);
  if (!a->group) {
    size_t at = (size_t)(row->first + token) * (size_t)a->args->n_kv_head + (size_t)head;
    return a->program->own + at * numbers;
  }
  size_t block = row->block[a->args->group][token / limits->block_size];
  size_t index = (block * (size_t)a->group->n_layer + (size_t)a->args->layer) * (size_t)a->group->n_head + (size_t)head;
  index = index * (size_t)limits->block_size + (size_t)(token % limits->block_size);
  return a->program->kv[a->args->group] + index * numbers;
}

/* n numbers as codes times their scale. */
static void codes_round(const double *from, int n, bool e4m3, float *to) {
  float most = e4m3 ? E4M3_MAX : 127, peak = 0;
  for (int i = 0; i < n; i++) peak = fmaxf(peak, fabsf((float)from[i]));
  bool nothing = peak <= KV_PEAK_LEAST;
  for (int i = 0; i < n; i++) {
    float scaled = nothing ? 0 : (float)from[i] * (most / peak);
    to[i] = (e4m3 ? e4m3_to_float(e4m3_from_float(scaled)) : rintf(scaled)) * (nothing ? 0 : peak / most);
  }
}

static void cache_round(const struct attend *a, const double *from, int n, float *to) {
  uint8_t dtype = a->program->limits.kv_dtype;
  if (dtype == KV_E4M3 || dtype == KV_INT8) {
    codes_round(from, n, dtype == KV_E4M3, to);
    return;
  }
  for (int i = 0; i < n; i++) {
    float value = (float)from[i];
    to[i] = dtype == KV_F16    ? half_to_float(half_from_float(value))
            : dtype == KV_BF16 ? bfloat_to_float(bfloat_from_float(value))
                               : value;
  }
}

/* Of each axis; the same three where the rotation has one. */
struct places {
  int at[3];
};

static struct places places_of(const struct attend *a, const struct row *row, int token) {
  const struct batch *batch = a->program->batch;
  int index = row->length + token - row->first;
  if (!attend_has_axes(a->args) || !batch->position) return (struct places){{index, index, index}};
  const int32_t *own = batch->position[token];
  return (struct places){{row->length + own[0], row->length + own[1], row->length + own[2]}};
}

/* The axis that frequency i turns by. */
static int axis_of(const struct attend_args *args, int i) {
  if (!attend_has_axes(args) || i < args->rope_axis[0]) return 0;
  return i < args->rope_axis[0] + args->rope_axis[1] ? 1 : 2;
}

static void rope_rotate(const struct attend *a, const struct places *places, double *head) {
  const float *frequency = plan_floats(a->program->plan) + a->args->rope_freq;
  int half = a->args->rope_dim / 2;
  for (int i = 0; i < half; i++) {
    double angle = (double)places->at[axis_of(a->args, i)] * frequency[i];
    double cosine = cos(angle) * a->args->rope_scale, sine = sin(angle) * a->args->rope_scale;
    bool pairs = a->args->rope_style == ROPE_PAIRS;
    double *low = head + (pairs ? 2 * i : i), *high = pairs ? low + 1 : low + half;
    double x = *low, y = *high;
    *low = x * cosine - y * sine;
    *high = x * sine + y * cosine;
  }
}

static void head_clip(double *head, int dim, double most) {
  for (int i = 0; i < dim && most > 0; i++)
    if (fabs(head[i]) > most) head[i] = copysign(most, head[i]);
}

static void head_center(double *head, int dim) {
  double mean = 0;
  for (int i = 0; i < dim; i++) mean += head[i] / dim;
  for (int i = 0; i < dim; i++) head[i] -= mean;
}

/* Head `index` of q, in program->line. */
static void query_take(const struct attend *a, const double *in, int index) {
  const struct attend_args *args = a->args;
  int first = args->value_in_key ? args->dim_k - args->dim_v : args->dim_k, rest = args->dim_k - first;
  const double *behind = in + args->n_head * first + index * rest;
  memcpy(a->program->line, in + index * first, (size_t)first * sizeof *in);
  memcpy(a->program->line + first, behind, (size_t)rest * sizeof *in);
}

/* Head `index` of q or k, which is in program->line: normed if there is such a weight, rotated. Valid until the next.
 */
static const double *head_prepare(const struct attend *a, int norm, int index, const struct places *places) {
  const float *weight = vector_get(a->program, a->op->weight[norm]);
  double *prepared = a->program->line;
  head_clip(prepared, a->args->dim_k, (double)a->args->clip);
  if (weight && a->args->head_norms) {
    head_center(prepared, a->args->dim_k);
    weight += index * a->args->dim_k;
  }
  if (weight) reference_rms_norm(prepared, weight, a->args->dim_k, a->args->eps, prepared);
  if (a->args->rope_style != ROPE_NONE) rope_rotate(a, places, prepared);
  return prepared;
}

static void token_store(const struct attend *a, const struct row *row, int token) {
  const struct attend_args *args = a->args;
  int position = row->length + token - row->first;
  struct places places = places_of(a, row, token);
  const double *key = value_row(a->program, a->op->in[0], token) + args->n_head * args->dim_k;
  const double *value = key + args->n_kv_head * args->dim_k;
  for (int h = 0; h < args->n_kv_head; h++, key += args->dim_k, value += args->dim_v) {
    float *cached = cache_at(a, row, position, h);
    memcpy(a->program->line, key, (size_t)args->dim_k * sizeof *key);
    cache_round(a, head_prepare(a, 1, h, &places), args->dim_k, cached);
    if (args->value_in_key) continue;
    memcpy(a->program->line, value, (size_t)args->dim_v * sizeof *value);
    head_clip(a->program->line, args->dim_v, (double)args->clip);
    cache_round(a, a->program->line, args->dim_v, cached + args->dim_k);
  }
}

static double score_of(const struct attend *a, const double *query, const float *key, int position) {
  double sum = 0;
  for (int i = 0; i < a->args->dim_k; i++) sum += query[i] * key[i];
  sum *= a->args->scale;
  if (a->args->grow > 0) sum *= 1 + (double)a->args->grow * log(1 + position / a->args->grow_from);
  return a->args->softcap > 0 ? a->args->softcap * tanh(sum / a->args->softcap) : sum;
}

/* Tokens [first, last] of the row to one query head of the one at `position`. */
static void head_attend(const struct attend *a, const struct row *row, int head, int position, int first, int last,
                        const double *query, double *out) {
  const struct attend_args *args = a->args;
  const float *sink = vector_get(a->program, a->op->weight[2]);
  int kv_head = head / (args->n_head / args->n_kv_head);
  const struct plan *plan = a->program->plan;
  bool apart = args->alibi == LEAN_DISTANCES;
  double slope = args->alibi == LEAN_SLOPES ? plan_floats(plan)[args->alibi_slope + (uint32_t)head] : 0;
  const float *gain = plan_floats(plan) + args->alibi_slope + (size_t)head * lean_numbers(plan->max_position) +
                      (plan->max_position - 1 - position);
  double *scores = a->program->scores, highest = sink ? sink[head] : -INFINITY;
  for (int t = first; t <= last; t++) {
    scores[t] = score_of(a, query, cache_at(a, row, t, kv_head), position) - slope * (position - t);
    if (apart) scores[t] += gain[t];
    highest = fmax(highest, scores[t]);
  }
  double total = sink ? exp(sink[head] - highest) : 0;
  for (int i = 0; i < args->dim_v; i++) out[i] = 0;
  for (int t = first; t <= last; t++) {
    const float *value = cache_at(a, row, t, kv_head) + value_at(args);
    double share = exp(scores[t] - highest);
    total += share;
    for (int i = 0; i < args->dim_v; i++) out[i] += share * value[i];
  }
  for (int i = 0; i < args->dim_v; i++) out[i] = total == 0 ? 0 : out[i] / total; /* 0: it sees nothing */
}

static void token_attend(const struct attend *a, const struct row *row, int token) {
  const struct attend_args *args = a->args;
  const struct batch *batch = a->program->batch;
  int position = row->length + token - row->first;
  int last = !a->group    ? (args->causal ? position : row->count - 1)
             : batch->see ? row->length + batch->see[token]
                          : position;
  int window = a->group ? a->group->window : 0, first = window && position >= window ? position - window + 1 : 0;
  if (args->near > 0 && position > args->near) first = position - args->near;
  if (args->near > 0 && position + args->near < last) last = position + args->near;
  if (args->local) first = batch->span[token][0], last = batch->span[token][1];
  struct places places = places_of(a, row, token);
  for (int h = 0; h < args->n_head; h++) {
    query_take(a, value_row(a->program, a->op->in[0], token), h);
    const double *query = head_prepare(a, 0, h, &places);
    head_attend(a, row, h, position, first, last, query, value_row(a->program, a->op->out, token) + h * args->dim_v);
  }
}

void reference_attend(struct program *program, const struct op *op) {
  const struct attend_args *args = &op->args.attend;
  struct attend a = {program, op, args, args->group < 0 ? NULL : plan_groups(program->plan) + args->group};
  for (int r = 0; r < program->batch->n_row; r++) {
    const struct row *row = program->batch->row + r;
    for (int t = row->first; t < row->first + row->count; t++) token_store(&a, row, t);
    for (int t = row->first; t < row->first + row->count; t++) token_attend(&a, row, t);
  }
}
