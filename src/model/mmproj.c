/* The kind of projector tells the network; here SigLIP's encoder for Gemma 3, Idefics 3 and SmolVLM. Sizes are metadata
 * under "clip.vision."; the token that stands for an image is one of the decoder's vocabulary by its text. */
#include "model/mmproj.h"

#include "base/limits.h"
#include "model/mmproj_kinds.h"

#include <stdio.h>

/* --- metadata ----------------------------------------------------------------------------------------------------- */

bool mmproj_size(const struct mmproj *m, const char *key, enum gguf_need need, int max, int *value,
                 struct error *error) {
  uint32_t number = (uint32_t)*value;
  char path[80];
  snprintf(path, sizeof path, "clip.vision.%.60s", key);
  if (!gguf_get_u32(m->file, path, need, &number, error)) return false;
  if (number < 1 || number > (uint32_t)max)
    return error_set(error, ERROR_INVALID, "%s is %u, expected 1 to %d.", path, number, max);
  *value = (int)number;
  return true;
}

bool mmproj_eps(const struct mmproj *m, double *eps, struct error *error) {
  if (!gguf_get_float(m->file, "clip.vision.attention.layer_norm_epsilon", GGUF_OPTIONAL, eps, error)) return false;
  return (*eps >= 0 && *eps <= 1) ||
         error_set(error, ERROR_INVALID, "clip.vision.attention.layer_norm_epsilon is %g, expected 0 to 1.", *eps);
}

bool mmproj_sizes(const struct mmproj *m, struct vision_tower *t, struct error *error) {
  const struct {
    const char *key;
    int max, *value;
  } sizes[] = {
      {"embedding_length", LIMIT_MODEL_WIDTH, &t->hidden}, {"feed_forward_length", LIMIT_MODEL_WIDTH, &t->feed_forward},
      {"block_count", LIMIT_MODEL_LAYERS, &t->n_layer},    {"attention.head_count", 1 << 12, &t->n_head},
      {"image_size", PLAN_GRID * PLAN_PATCH, &t->image},   {"patch_size", PLAN_PATCH, &t->patch}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (!mmproj_size(m, sizes[i].key, GGUF_REQUIRED, sizes[i].max, sizes[i].value, error)) return false;
  return mmproj_eps(m, &t->eps, error);
}

bool mmproj_mark(const struct mmproj *m, const char *text, int *mark, struct error *error) {
  const struct gguf_value *tokens = NULL;
  if (!gguf_get_array(checkpoint_gguf(m->checkpoint), "tokenizer.ggml.tokens", GGUF_REQUIRED, GGUF_STRING, &tokens,
                      error))
    return false;
  for (size_t i = 0; i < tokens->count && i < LIMIT_VOCAB; i++)
    if (slice_is(tokens->strings[i], text)) {
      *mark = (int)i;
      return true;
    }
  return error_set(error, ERROR_INVALID, "The vocabulary has no token %s, which stands for images.", text);
}

/* --- SigLIP ------------------------------------------------------------------------------------------------------- */

static const struct vision_tower siglip = {.names = &vision_names_gguf,
                                           .prefix = "v.",
                                           .channels = 3,
                                           .eps = 1e-6,
                                           .act = ACT_GELU_TANH,
                                           .patch_bias = true,
                                           .post_norm = true};

static bool act_check(const struct mmproj *m, struct error *error) {
  bool gelu = false;
  if (!gguf_get_bool(m->file, "clip.use_gelu", GGUF_OPTIONAL, &gelu, error)) return false;
  return gelu || error_set(error, ERROR_UNSUPPORTED, "clip.use_gelu is not true, as of a SigLIP it is.");
}

static bool siglip_read(const struct mmproj *m, struct vision_tower *t, const char *mark, struct error *error) {
  return mmproj_sizes(m, t, error) &&
         mmproj_size(m, "projector.scale_factor", GGUF_OPTIONAL, PLAN_MERGE, &t->merge, error) && act_check(m, error) &&
         mmproj_mark(m, mark, &t->mark, error) && vision_tower_check(t, error);
}

static bool gemma3_build(const struct mmproj *m, struct plan_builder *builder, struct error *error) {
  struct vision_tower tower = siglip;
  tower.mean = true;
  tower.merge = 4;
  if (!siglip_read(m, &tower, "<image_soft_token>", error)) return false;
  struct op op = op_make(OP_LINEAR, -1);
  op.in[0] = vision_tower_build(&tower, builder);
  op.out = plan_add_value(builder, m->decoder->hidden, ROWS_OUTPUTS);
  op.weight[0] = plan_add_ordered(builder, "vision_projector", "mm.input_projection.weight", m->decoder->hidden,
                                  tower.hidden, ORDER_TRANSPOSED);
  op.args.linear.norm = NORM_RMS;
  op.args.linear.eps = (float)tower.eps;
  op.weight[2] = plan_add_vector(builder, "mm.soft_emb_norm.weight", tower.hidden, 0); /* one is added already */
  plan_add_op(builder, &op);
  builder->head.vision.mutual = 1;
  builder->head.vision.text = TEXT_PAN;
  return true;
}

static bool idefics3_build(const struct mmproj *m, struct plan_builder *builder, struct error *error) {
  struct vision_tower tower = siglip;
  tower.sizes = SIZES_SPREAD;
  tower.merge = 2;
  if (!siglip_read(m, &tower, "<image>", error)) return false;
  vision_project(builder, "vision_connector", "mm.model.fc", vision_tower_build(&tower, builder),
                 tower.merge * tower.merge * tower.hidden, m->decoder->hidden, false, ACT_NONE);
  builder->head.vision.text = TEXT_SPLIT;
  return true;
}

/* --- kinds -------------------------------------------------------------------------------------------------------- */

/* Newer files, which may hear too, have another key for it; the first ones of LLaVA had none. */
static bool kind_read(const struct gguf *file, struct slice *kind, struct error *error) {
  *kind = (struct slice){0};
  if (!gguf_get_string(file, "clip.vision.projector_type", GGUF_OPTIONAL, kind, error)) return false;
  if (kind->size > 0) return true;
  bool llava = false;
  if (!gguf_get_bool(file, "clip.has_llava_projector", GGUF_OPTIONAL, &llava, error)) return false;
  if (llava) *kind = slice_text("mlp");
  return gguf_get_string(file, "clip.projector_type", llava ? GGUF_OPTIONAL : GGUF_REQUIRED, kind, error);
}

bool mmproj_build(const struct checkpoint *checkpoint, const struct plan *decoder, struct plan_builder *builder,
                  struct error *error) {
  static const struct {
    const char *kind;
    bool (*build)(const struct mmproj *m, struct plan_builder *builder, struct error *error);
  } kinds[] = {{"gemma3", gemma3_build},    {"idefics3", idefics3_build},     {"mlp", mmproj_clip},
               {"pixtral", mmproj_pixtral}, {"qwen2vl_merger", mmproj_qwen2}, {"qwen2.5vl_merger", mmproj_qwen25}};
  const struct mmproj m = {checkpoint_projector(checkpoint), checkpoint, decoder};
  struct slice kind;
  if (!kind_read(m.file, &kind, error)) return error_prefix(error, "The encoder's file: ");
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (slice_is(kind, kinds[i].kind))
      return kinds[i].build(&m, builder, error) || error_prefix(error, "The encoder's file: ");
  return error_set(error, ERROR_UNSUPPORTED,
                   "The encoder's file has a projector of the kind \"%.*s\", expected \"gemma3\", \"idefics3\", "
                   "\"mlp\", \"pixtral\", \"qwen2vl_merger\" or \"qwen2.5vl_merger\".",
                   SLICE_ARGS(kind));
}
