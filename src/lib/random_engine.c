/* Random engines. Matrices are normal numbers, different in each layer, in BF16 or, where the backend makes them, in
 * the bytes of FP8 and W8A8; norms are near 1. */
#include "lib/random_engine.h"

#include "backend/random_number.h"
#include "base/half.h"
#include "model/family.h"
#include "model/known_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PLAN_BYTES_MAX = 256 << 20, WEIGHT_ALIGN = 4096 };

static bool scheme_of(const struct plan *plan, const struct weight *weight, enum quant_mode mode, struct scheme *scheme,
                      struct error *error) {
  *scheme = (struct scheme){.kind = SCHEME_BF16};
  if (mode == QUANT_AS_FILE || mode == QUANT_BF16) return true;
  bool vocabulary = weight->rows == plan->vocab;
  if (plan_weight_routes(plan, (int)(weight - plan_weights(plan)))) return true;
  if (mode == QUANT_INT8_WEIGHT || mode == QUANT_INT4_WEIGHT) {
    *scheme = (struct scheme){.kind = SCHEME_INT, .scale = SCALE_F16, .has_min = 1, .group = 128};
    scheme->bits = mode == QUANT_INT8_WEIGHT || vocabulary ? 8 : 4;
    return true;
  }
  if (mode != QUANT_FP8 && mode != QUANT_W8A8)
    return error_set(error, ERROR_UNSUPPORTED,
                     "A network with random weights runs in BF16, INT8_WEIGHT, INT4_WEIGHT, FP8 or W8A8, not in %s.",
                     quant_mode_name(mode));
  if (vocabulary) return true;
  *scheme = mode == QUANT_FP8 ? (struct scheme){.kind = SCHEME_F8, .activation = ACTIVATION_E4M3_TOKEN}
                              : (struct scheme){.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN};
  return true;
}

static bool plan_make(struct random_engine *engine, const char *model, const struct engine_config *config,
                      struct error *error) {
  struct checkpoint *checkpoint = known_model_open(model, error);
  const struct family *family = checkpoint ? family_find(checkpoint, error) : NULL;
  bool done = family && family_outline(family, checkpoint, 0, &engine->plan, error);
  if (done) {
    snprintf(engine->facts.name, sizeof engine->facts.name, "%s", model);
    snprintf(engine->facts.architecture, sizeof engine->facts.architecture, "%s", checkpoint_architecture(checkpoint));
  }
  checkpoint_close(checkpoint);
  if (!done) return false;
  struct plan *plan = (struct plan *)(void *)engine->plan.data;
  struct weight *weights = (struct weight *)(void *)((char *)plan + plan->weights);
  engine->facts.created = (int64_t)time(NULL);
  engine->facts.config = *config;
  done = engine_config_complete(&engine->facts.config, plan->max_position, error);
  for (int i = 0; done && i < plan->n_weight; i++)
    if (weights[i].use == WEIGHT_MATRIX)
      done = scheme_of(plan, weights + i, engine->facts.config.quant_mode, &weights[i].scheme, error);
  return done;
}

/* --- weights that the host makes ---------------------------------------------------------------------------------- */

static void vector_make(const struct plan *plan, int index, float *out) {
  const struct weight *weight = plan_weights(plan) + index;
  bool norm = strstr(plan_name(plan, weight->name), "norm") != NULL;
  for (int i = 0; i < weight_experts(weight) * weight->cols; i++) {
    float x = random_normal((uint64_t)index, (uint64_t)i);
    out[i] = norm ? 1 + 0.1f * x : RANDOM_WEIGHT_SPREAD * x;
  }
}

static bool matrix_make(const struct backend *backend, const struct weight *weight, int index, uint8_t *out) {
  size_t cols = (size_t)weight->cols, strip = backend->strip_bytes(weight);
  uint16_t *dense = malloc((size_t)backend->pack_rows * cols * sizeof *dense);
  if (!dense) return false;
  for (int row = 0, rows; row < weight_rows(weight); row += rows, out += strip) {
    int left = weight->rows - row % weight->rows;
    rows = left < backend->pack_rows ? left : backend->pack_rows;
    for (size_t i = 0; i < (size_t)rows * cols; i++)
      dense[i] = bfloat_from_float(random_normal((uint64_t)index, (uint64_t)row * cols + i) * RANDOM_WEIGHT_SPREAD);
    struct codes codes = {.scheme = weight->scheme, .rows = rows, .cols = weight->cols, .dense = dense};
    backend->pack(weight, &codes, out);
  }
  free(dense);
  return true;
}

static bool host_load(struct random_engine *engine, int index, struct error *error) {
  const struct loaded_engine *loaded = engine->loaded;
  const struct weight *weight = plan_weights(loaded->plan) + index;
  size_t bytes = backend_packed_bytes(loaded->backend, weight);
  uint8_t *packed = aligned_alloc(WEIGHT_ALIGN, (bytes + WEIGHT_ALIGN - 1) / WEIGHT_ALIGN * WEIGHT_ALIGN);
  engine->packed[index] = packed;
  bool made = packed != NULL;
  if (made && weight->use == WEIGHT_VECTOR)
    vector_make(loaded->plan, index, (float *)(void *)packed);
  else
    made = made && matrix_make(loaded->backend, weight, index, packed);
  if (!made) return error_set(error, ERROR_MEMORY, "Out of memory for a weight of %zu bytes.", bytes);
  return loaded->backend->load(loaded->program, index, slice_make(packed, bytes), error);
}

static bool weights_make(struct random_engine *engine, struct error *error) {
  const struct loaded_engine *loaded = engine->loaded;
  engine->packed = calloc((size_t)loaded->plan->n_weight + 1, sizeof *engine->packed);
  if (!engine->packed) return error_set(error, ERROR_MEMORY, "Out of memory for a table of weights.");
  for (int i = 0; i < loaded->plan->n_weight; i++) {
    bool floats = scheme_is_plain(&plan_weights(loaded->plan)[i].scheme);
    if (!floats && !loaded->backend->load_random)
      return error_set(error, ERROR_UNSUPPORTED,
                       "Random weights of this quant_mode are made on a GPU: use --device cuda.");
    bool device = loaded->backend->load_random && plan_weights(loaded->plan)[i].use == WEIGHT_MATRIX;
    if (!(device ? loaded->backend->load_random(loaded->program, i, error) : host_load(engine, i, error))) return false;
  }
  return true;
}

bool random_engine_open(struct random_engine *engine, const char *model, const struct engine_config *config,
                        const struct engine_options *options, struct error *error) {
  *engine = (struct random_engine){0};
  buffer_init(&engine->plan, PLAN_BYTES_MAX);
  if (!plan_make(engine, model, config, error)) return false;
  engine->loaded =
      engine_open_made(&engine->facts, (const struct plan *)(const void *)engine->plan.data, options, error);
  return engine->loaded && weights_make(engine, error);
}

void random_engine_release(struct random_engine *engine) {
  int count = engine->loaded ? engine->loaded->plan->n_weight : 0;
  engine_close(engine->loaded);
  for (int i = 0; engine->packed && i < count; i++) free(engine->packed[i]);
  free(engine->packed);
  buffer_release(&engine->plan);
}
