/* Idefics 3 and SmolVLM: a SigLIP encoder whose patches are joined in squares (pixel shuffle) and projected by one
 * matrix, before a decoder of the Llama family. */
#include "model/family.h"
#include "model/llama_text.h"
#include "model/vision_tower.h"

static const struct architecture architectures[] = {
    {"Idefics3ForConditionalGeneration", NULL}, {"SmolVLMForConditionalGeneration", NULL}, {0}};

/* What configs may leave out: the defaults of transformers' config classes. */
static const struct vision_tower vision_defaults = {.prefix = "model.vision_model.",
                                                    .hidden = 1152,
                                                    .feed_forward = 3072,
                                                    .n_layer = 12,
                                                    .n_head = 16,
                                                    .channels = 3,
                                                    .image = 224,
                                                    .patch = 32,
                                                    .eps = 1e-6,
                                                    .act = ACT_GELU_TANH,
                                                    .patch_bias = true,
                                                    .post_norm = true,
                                                    .sizes = SIZES_SPREAD,
                                                    .merge = 2,
                                                    .mark = 128257};

static bool idefics3_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  static const struct llama_text text = {.prefix = "model.text_model.", .head_prefix = "", .defaults = {.eps = 1e-5}};
  return llama_text_build(&text, checkpoint, builder, error);
}

static bool vision_build(const struct checkpoint *checkpoint, const struct plan *decoder, struct plan_builder *builder,
                         struct error *error) {
  struct vision_tower tower = vision_defaults;
  if (!config_int(checkpoint, (struct config_key){"scale_factor", NULL}, CONFIG_OPTIONAL, 1, PLAN_MERGE, &tower.merge,
                  error) ||
      !config_int(checkpoint, (struct config_key){"image_token_id", NULL}, CONFIG_OPTIONAL, 0, LIMIT_VOCAB - 1,
                  &tower.mark, error) ||
      !vision_tower_read(&tower, checkpoint, error))
    return false;
  int joined = vision_tower_build(&tower, builder);
  vision_project(builder, "vision_connector", "model.connector.modality_projection.proj", joined,
                 tower.merge * tower.merge * tower.hidden, decoder->hidden, false, ACT_NONE);
  builder->head.vision.text = TEXT_SPLIT;
  return true;
}

const struct family idefics3_family = {.title = "Idefics 3, SmolVLM",
                                       .architectures = architectures,
                                       .build = idefics3_build,
                                       .build_vision = vision_build};
