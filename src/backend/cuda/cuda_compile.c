/* From a plan to a program on a GPU: memory is taken, kernels are prepared, graphs made; weights come in. */
#include "backend/backends.h"
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

#include <stdlib.h>
#include <string.h>

static bool op_of_head(const struct plan *plan, const struct op *op) {
  return op->kind == OP_SAMPLE || plan_values(plan)[op->out].rows == ROWS_OUTPUTS;
}

/* All blocks of decode attention run at once. */
static bool shares_count(struct program *p, struct error *error) {
  struct cuda_attention *a = &p->attention;
  const struct cuda_path *path = p->device->path;
  a->n_angle = cuda_attend_most(path, p->plan, &p->limits).angle > 0 ? (int32_t)p->plan->n_float : 0;
  for (int g = 0; g < p->plan->n_group; g++) {
    a->fast[g] = cuda_attend_fast(path, p->plan, &p->limits, g, &a->heads[g]);
    if (!a->fast[g]) continue;
    a->n_part[g] = attend_parts_most(&a->heads[g], &p->limits);
    int32_t dim = plan_groups(p->plan)[g].dim_k;
    int shares = a->heads[g].latent ? LATENT_BLOCKS : path->attend_blocks(dim, p->limits.kv_dtype);
    shares *= p->device->multiprocessors;
    a->most_share[g] = shares < ATTEND_SHARES ? shares : ATTEND_SHARES;
    if (shares == 0 && !cuda_check(cudaGetLastError(), "preparing attention", error)) return false;
    if (shares == 0) return error_set(error, ERROR_DEVICE, "The GPU has too little shared memory for attention.");
  }
  return true;
}

static bool sampler_init(struct program *p, struct error *error) {
  const struct cuda_path *path = p->device->path;
  if (p->plan->role != PLAN_DECODER) return true; /* it draws nothing */
  p->chunks = path->sample_chunks(p->plan->vocab);
  p->rules = path->sample_rules(p->plan->vocab);
  return p->chunks == 0 || path->sample_prepare(p->plan->vocab) ||
         cuda_check(cudaGetLastError(), "preparing to draw tokens", error);
}

/* In the order of the stream that steps run in: a plain cudaMemcpy returns when pageable bytes are staged, before they
 * have arrived, and a stream of one's own does not wait for it. */
static bool device_copy(const struct program *p, void *to, const void *from, size_t bytes, const char *what,
                        struct error *error) {
  return cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, p->device->stream), what, error) &&
         cuda_check(cudaStreamSynchronize(p->device->stream), what, error);
}

static bool floats_copy(struct program *p, struct error *error) {
  size_t bytes = p->plan->n_float * sizeof(float);
  return bytes == 0 ||
         device_copy(p, p->frequency, plan_floats(p->plan), bytes, "copying the rope's frequencies", error);
}

/* What turns each of them. */
static bool axes_copy(struct program *p, struct error *error) {
  if (!p->images.axis) return true;
  uint8_t *axis = malloc(p->plan->n_float);
  if (!axis) return error_set(error, ERROR_MEMORY, "There is no memory for a program.");
  memset(axis, AXIS_INDEX, p->plan->n_float);
  for (int i = 0; i < p->plan->n_op; i++) {
    const struct op *op = plan_ops(p->plan) + i;
    uint32_t at = op->args.attend.rope_freq;
    if (op->kind != OP_ATTEND || !attend_has_axes(&op->args.attend)) continue;
    for (int k = 0; k < 3; at += (uint32_t)op->args.attend.rope_axis[k], k++)
      memset(axis + at, k, (size_t)op->args.attend.rope_axis[k]);
  }
  bool there = device_copy(p, p->images.axis, axis, p->plan->n_float, "copying the rope's axes", error);
  free(axis);
  return there;
}

struct program *cuda_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                             struct error *error) {
  if (!pool_limits_check(plan, limits, error)) return NULL;
  struct program *p = calloc(1, sizeof *p);
  if (!p) {
    error_set(error, ERROR_MEMORY, "There is no memory for a program.");
    return NULL;
  }
  *p = (struct program){.device = device, .plan = plan, .limits = *limits};
  p->images.packed = cuda_image_packed(plan, limits);
  while (p->n_body < plan->n_op && !op_of_head(plan, plan_ops(plan) + p->n_body)) p->n_body++;
  if (cuda_memory_take(p, error) && shares_count(p, error) && floats_copy(p, error) && axes_copy(p, error) &&
      sampler_init(p, error) && cuda_graphs_make(p, error) && cuda_turns_join(p, error))
    return p;
  cuda_release(p);
  return NULL;
}

/* Most of a model is in large matrices, which wait for the last weight: their bytes outlive the program. A weight that
 * is there already gets other numbers, as calibration does. */
static bool weight_copy(struct program *p, int weight, struct slice packed, struct error *error) {
  bool host = p->hosted.data[weight];
  uint8_t *to = host ? p->hosted.data[weight] : p->weight[weight];
  struct upload_job job = {.to = to, .host = host, .from = packed};
  if (packed.size <= UPLOAD_BYTES && !host)
    return device_copy(p, to, packed.data, packed.size, "copying weights to the GPU", error);
  if (!p->upload || p->loaded[weight]) return cuda_upload(p->device, &job, 1, error);
  p->upload[p->n_upload++] = job;
  return true;
}

/* What the path's linears want to know of a weight that is there. */
static bool exponents_find(struct program *p, int weight, struct error *error) {
  size_t count = cuda_exponents_of(plan_weights(p->plan) + weight);
  struct cuda_matrix matrix = cuda_matrix_of(p, weight);
  if (!p->device->path->exponents || count == 0) return true;
  p->device->path->exponents(&matrix, p->exponent[weight], p->device->stream);
  return cuda_check(cudaGetLastError(), "looking through weights", error);
}

bool cuda_load(struct program *p, int weight, struct slice packed, struct error *error) {
  const struct weight *w = plan_weights(p->plan) + weight;
  size_t expected = backend_packed_bytes(&backend_cuda, w);
  if (packed.size != expected)
    return error_set(error, ERROR_FORMAT, "Weight %s has %zu packed bytes, expected %zu: build the engine again.",
                     plan_name(p->plan, w->name), packed.size, expected);
  bool again = p->loaded[weight];
  return weight_copy(p, weight, packed, error) &&
         (again ? exponents_find(p, weight, error) : cuda_loaded(p, weight, error));
}

bool cuda_loaded(struct program *p, int weight, struct error *error) {
  if (p->loaded[weight]) return true;
  p->loaded[weight] = true;
  if (++p->n_loaded < p->plan->n_weight) return true;
  bool there = p->n_upload == 0 || cuda_upload(p->device, p->upload, p->n_upload, error);
  free(p->upload);
  p->upload = NULL;
  for (int i = 0; there && i < p->plan->n_weight; i++) there = exponents_find(p, i, error);
  return there;
}

/* Steps may still be out where the engine has stopped. */
void cuda_release(struct program *p) {
  if (!p) return;
  cudaStreamSynchronize(p->device->stream);
  cuda_turns_leave(p);
  cuda_graphs_release(p);
  cuda_memory_release(p);
  free(p);
}
