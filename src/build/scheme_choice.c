/* Candidates per weight, the first that the backend supports. */
#include "build/scheme_choice.h"

#include "build/auto_choice.h"
#include "build/exact_codes.h"
#include "build/quant_override.h"
#include "build/quantize.h"
#include "build/weight_source.h"

enum { CANDIDATES = 3 };

struct candidate {
  struct scheme scheme;
  const char *note;
};

/* As the file is: every candidate holds the file's numbers exactly, the smallest first. */
static int candidates_exact(const struct weight_source *source, struct candidate *out) {
  const struct packed_matrix *packed = source->part[0]->packed;
  enum tensor_type type = source->part[0]->type; /* families join tensors of one type only */
  int count = 0;
  if (source->weight->order != ORDER_AS_IS && !tensor_is_single(source->part[0])) {
    out[count++] = (struct candidate){{.kind = SCHEME_F32}, "its codes go along the other side: multiplied out to F32"};
    return count;
  }
  if (packed) {
    out[count].scheme = packed_scheme(packed, source->column_order, &out[count].note);
    count++;
    out[count++] =
        (struct candidate){{.kind = SCHEME_F32}, "the backend lacks the file's codes: multiplied out to F32"};
    return count;
  }
  out[count].scheme = exact_scheme(type);
  if (source->part[0]->factor) out[count].scheme.scale = SCALE_F32;
  out[count++].note = NULL;
  struct scheme wide;
  if (exact_scheme_wide(type, &wide))
    out[count++] = (struct candidate){wide, "the backend lacks the file's type: same numbers, wider scales"};
  out[count++] = (struct candidate){{.kind = SCHEME_F32}, "the backend lacks the file's type: dequantized to F32"};
  return count;
}

/* The embedding and the head: their rows are the vocabulary, and 4 bits hurt them most. */
static bool weight_is_vocabulary(const struct plan *plan, const struct weight *weight) {
  return weight->rows == plan->vocab;
}

static int candidates_of(const struct plan *plan, const struct weight_source *source, enum quant_mode mode,
                         struct candidate *out) {
  static const struct scheme bf16 = {.kind = SCHEME_BF16},
                             w8a8 = {.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN};
  struct scheme scheme = {.kind = SCHEME_F32};
  bool vocabulary = weight_is_vocabulary(plan, source->weight);
  switch (mode) {
  case QUANT_AS_FILE: return candidates_exact(source, out);
  case QUANT_FP32: break;
  case QUANT_FP16: scheme.kind = SCHEME_F16; break;
  case QUANT_BF16: scheme.kind = SCHEME_BF16; break;
  case QUANT_INT8_WEIGHT: scheme = quantize_scheme(8); break;
  case QUANT_INT4_WEIGHT: scheme = quantize_scheme(vocabulary ? 8 : 4); break;
  case QUANT_FP8:
    scheme = vocabulary ? bf16 : (struct scheme){.kind = SCHEME_F8, .activation = ACTIVATION_E4M3_TOKEN};
    break;
  case QUANT_W8A8: scheme = vocabulary ? bf16 : w8a8; break;
  case QUANT_AUTO: scheme = bf16; break; /* until all are weighed against each other */
  }
  out[0] = (struct candidate){.scheme = scheme};
  return 1;
}

/* Encoders of images keep what their files have, or 16 bits, whatever the mode makes of the decoder: they are a small
 * part of the bytes, and their activations have peaks that codes of 8 bits lose. So do the matrices that experts are
 * chosen by: an error there is another expert. An override still names them. */
static enum quant_mode mode_of(const struct plan *plan, const struct weight_source *source, enum quant_mode mode) {
  bool plain = mode == QUANT_AS_FILE || mode == QUANT_FP32 || mode == QUANT_FP16 || mode == QUANT_BF16;
  bool kept = plan->role == PLAN_VISION || plan_weight_routes(plan, (int)(source->weight - plan_weights(plan)));
  if (!kept || plain) return mode;
  if (plan->role == PLAN_DECODER) return QUANT_AS_FILE;
  return source->part[0]->type == TENSOR_F32 ? QUANT_BF16 : QUANT_AS_FILE;
}

static void candidates_prefer(struct candidate *candidate, int count, enum quant_mode mode,
                              const struct backend *backend) {
  for (int i = 0; backend->prefer && i < count; i++) backend->prefer(&candidate[i].scheme, mode == QUANT_AS_FILE);
}

/* Can op i run as its weight's scheme now is? The sentence names the layer and the weight. */
static bool op_supported(const struct plan *plan, int index, const struct backend *backend, struct error *error) {
  const struct op *op = &plan_ops(plan)[index];
  if (backend->supports(plan, index, error)) return true;
  if (op->weight[0] >= 0) error_prefix(error, "%s: ", plan_name(plan, plan_weights(plan)[op->weight[0]].name));
  return op->layer >= 0 ? error_prefix(error, "Layer %d, ", op->layer) : false;
}

bool scheme_supported(const struct plan *plan, int weight, const struct backend *backend, struct error *error) {
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].weight[0] == weight && !op_supported(plan, i, backend, error)) return false;
  return true;
}

/* FP8 was asked for, not found in a file, and the backend has no such arithmetic. */
static bool emulation_refuse(const struct plan *plan, const struct weight *weight, const struct backend *backend,
                             struct error *error) {
  return error_set(error, ERROR_UNSUPPORTED,
                   "%s: FP8 has no arithmetic of its own on %s and would run as floats, at their speed; choose "
                   "quant_mode W8A8 or INT8_WEIGHT, or allow it with emulate.",
                   plan_name(plan, weight->name), backend->name);
}

static bool weight_choose(struct plan *plan, int index, const struct checkpoint *checkpoint,
                          const struct scheme_wish *wish, const struct backend *backend, const char **note,
                          struct error *error) {
  struct weight_source source;
  if (!weight_source_init(&source, plan, index, checkpoint, error)) return false;
  if (source.weight->use == WEIGHT_VECTOR) return true;
  struct weight *weight = (struct weight *)((char *)plan + plan->weights) + index;
  struct candidate candidate[CANDIDATES];
  enum quant_mode mode = quant_override_find(wish->overrides, plan, weight, mode_of(plan, &source, wish->mode));
  int count = candidates_of(plan, &source, mode, candidate);
  candidates_prefer(candidate, count, mode, backend);
  if (mode == QUANT_FP8 && !wish->emulate && backend->emulates && backend->emulates(&candidate[0].scheme))
    return emulation_refuse(plan, weight, backend, error);
  struct error refusal = {0};
  for (int i = 0; i < count; i++) {
    weight->scheme = candidate[i].scheme;
    *note = candidate[i].note;
    if (scheme_supported(plan, index, backend, i == 0 ? &refusal : NULL)) return true;
  }
  if (mode == QUANT_AS_FILE) return error_set(error, refusal.code, "%s", refusal.text);
  return error_set(error, refusal.code, "%s Choose another quant_mode, or one for this weight with quant_override.",
                   refusal.text);
}

bool scheme_choose(struct plan *plan, const struct checkpoint *checkpoint, const struct scheme_wish *wish,
                   const struct backend *backend, const char **notes, struct error *error) {
  if (!auto_check(wish, error)) return false;
  for (int i = 0; i < plan->n_weight; i++) {
    notes[i] = NULL;
    if (!weight_choose(plan, i, checkpoint, wish, backend, &notes[i], error)) return false;
  }
  if (wish->mode == QUANT_AUTO && plan->role == PLAN_DECODER && !auto_choose(plan, checkpoint, wish, backend, error))
    return false;
  for (int i = 0; i < plan->n_op; i++)
    if (!op_supported(plan, i, backend, error)) return false;
  return true;
}
