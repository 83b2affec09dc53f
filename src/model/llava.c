/* LLaVA 1.5 and NeXT: a CLIP encoder, of which an earlier layer than the last is taken, as a rule without its class
 * token, and a projector of two linears before a decoder of the Llama family. NeXT sees a large picture in tiles and
 * has a learned row behind each line of them (engine/image_tiles.h). LLaVA's checkpoints may have Pixtral's encoder. */
#include "model/family.h"
#include "model/llama_text.h"
#include "model/pixtral.h"
#include "model/vision_tower.h"

#include <stdio.h>

static const struct architecture architectures[] = {
    {"LlavaForConditionalGeneration", NULL}, {"LlavaNextForConditionalGeneration", NULL}, {0}};

/* What configs leave out: the defaults of transformers' config classes. */
static const struct vision_tower vision_defaults = {.hidden = 1024,
                                                    .feed_forward = 4096,
                                                    .n_layer = 24,
                                                    .n_head = 16,
                                                    .channels = 3,
                                                    .image = 336,
                                                    .patch = 14,
                                                    .eps = 1e-5,
                                                    .act = ACT_GELU_QUICK,
                                                    .class_token = true,
                                                    .pre_norm = true,
                                                    .merge = 1,
                                                    .mark = 32000};
static const struct decoder text_defaults = {.hidden = 4096,
                                             .feed_forward = 11008,
                                             .n_layer = 32,
                                             .n_head = 32,
                                             .vocab = 32000,
                                             .max_position = 2048,
                                             .eps = 1e-6};

/* Names as older and newer checkpoints have them. */
static bool names_are_newer(const struct checkpoint *c) {
  return checkpoint_find(c, "model.language_model.embed_tokens.weight") != NULL;
}

static bool llava_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  bool newer = names_are_newer(checkpoint);
  struct llama_text text = {.prefix = newer ? "model.language_model." : "language_model.model.",
                            .head_prefix = newer ? "" : "language_model.",
                            .defaults = text_defaults};
  return llama_text_build(&text, checkpoint, builder, error);
}

/* --- the encoder -------------------------------------------------------------------------------------------------- */

/* The layer whose output is taken, as an index of the list of the embeddings and all layers' outputs. */
static bool layer_read(struct vision_tower *t, const struct checkpoint *c, struct error *error) {
  const struct config_key key = {"vision_feature_layer", NULL};
  int layer = -2, listed = 0;
  if (config_is_list(c, key) && !config_list(c, key, &listed, error)) return false;
  if (listed > 1)
    return error_set(error, ERROR_UNSUPPORTED,
                     "config.json: vision_feature_layer has %d layers, expected one: their joined outputs are not "
                     "computed.",
                     listed);
  if (listed == 1 ? !config_list_int(c, key, 0, -t->n_layer, t->n_layer, &layer, error)
                  : !config_int(c, key, CONFIG_OPTIONAL, -t->n_layer, t->n_layer, &layer, error))
    return false;
  t->used = layer < 0 ? t->n_layer + 1 + layer : layer;
  if (t->used >= 1) return true;
  return error_set(error, ERROR_UNSUPPORTED, "config.json: vision_feature_layer is %d, expected that of a layer.",
                   layer);
}

static bool is_next(const struct checkpoint *c) {
  return strcmp(checkpoint_architecture(c), "LlavaNextForConditionalGeneration") == 0;
}

/* "full" keeps the class token, for which NeXT's lines have no place. */
static bool strategy_read(struct vision_tower *t, const struct checkpoint *c, struct error *error) {
  struct slice strategy = {0};
  if (!config_text(c, (struct config_key){"vision_feature_select_strategy", NULL}, &strategy, error)) return false;
  t->keep = slice_is(strategy, "full");
  if (!strategy.data || slice_is(strategy, "default") || (t->keep && !is_next(c))) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: vision_feature_select_strategy is \"%.*s\", expected \"default\"%s.",
                   SLICE_ARGS(strategy), is_next(c) ? "" : " or \"full\"");
}

static bool tower_read(struct vision_tower *t, const struct checkpoint *c, struct error *error) {
  static const char *const prefixes[] = {"vision_tower.vision_model.", "model.vision_tower.vision_model.",
                                         "model.vision_tower.", "vision_tower.", NULL};
  *t = vision_defaults;
  t->prefix = tensor_prefix_find(c, prefixes, "embeddings.patch_embedding.weight");
  return config_int(c, (struct config_key){"image_token_index", NULL}, CONFIG_OPTIONAL, 0, LIMIT_VOCAB - 1, &t->mark,
                    error) &&
         config_int(c, (struct config_key){"image_token_id", NULL}, CONFIG_OPTIONAL, 0, LIMIT_VOCAB - 1, &t->mark,
                    error) &&
         vision_tower_read(t, c, error) && layer_read(t, c, error) && strategy_read(t, c, error);
}

/* What stands behind each line of a picture's rows. */
static int break_add(const struct checkpoint *checkpoint, const struct plan *decoder, struct plan_builder *builder) {
  bool newer = checkpoint_find(checkpoint, "model.image_newline") != NULL;
  return plan_add_vector(builder, newer ? "model.image_newline" : "image_newline", decoder->hidden, 0);
}

static bool vision_build(const struct checkpoint *checkpoint, const struct plan *decoder, struct plan_builder *builder,
                         struct error *error) {
  static const char *const gelu[] = {"gelu", NULL};
  static const char *const prefixes[] = {"multi_modal_projector.", "model.multi_modal_projector.", NULL};
  struct vision_tower tower;
  bool bias = true, pixtral;
  if (!pixtral_encodes(checkpoint, &pixtral, error)) return false;
  if (pixtral) return pixtral_llava_build(checkpoint, decoder, builder, error);
  if (!tower_read(&tower, checkpoint, error) ||
      !decoder_expect_act(checkpoint, (struct config_key){"projector_hidden_act", NULL}, gelu, error) ||
      !config_bool(checkpoint, (struct config_key){"multimodal_projector_bias", NULL}, &bias, error))
    return false;
  const char *prefix = tensor_prefix_find(checkpoint, prefixes, "linear_1.weight");
  char first[64], second[64];
  snprintf(first, sizeof first, "%slinear_1", prefix);
  snprintf(second, sizeof second, "%slinear_2", prefix);
  int value = vision_tower_build(&tower, builder);
  value = vision_project(builder, "vision_linear_1", first, value, tower.hidden, decoder->hidden, bias, ACT_GELU);
  vision_project(builder, "vision_linear_2", second, value, decoder->hidden, decoder->hidden, bias, ACT_NONE);
  if (!is_next(checkpoint)) return true;
  builder->head.vision.breaks = break_add(checkpoint, decoder, builder);
  builder->head.vision.text = TEXT_TILES;
  return true;
}

static bool tensor_unused(const struct checkpoint *checkpoint, const char *tensor) {
  struct vision_tower tower;
  struct error ignored;
  bool pixtral;
  return pixtral_encodes(checkpoint, &pixtral, &ignored) && !pixtral && tower_read(&tower, checkpoint, &ignored) &&
         vision_tower_unused(&tower, tensor);
}

const struct family llava_family = {.title = "LLaVA 1.5 and 1.6",
                                    .architectures = architectures,
                                    .build = llava_build,
                                    .build_vision = vision_build,
                                    .unused = tensor_unused};
