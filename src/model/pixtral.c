/* Pixtral and Mistral Small 3: an encoder that sees images of any size up to one by rotations, each image by itself,
 * and a projector of two linears before a decoder of the Llama family. Mistral Small merges squares of patches by a
 * norm and one matrix in between, whose columns go by channel first. */
#include "model/pixtral.h"

#include "model/decoder_names.h"
#include "model/family.h"
#include "model/llama_text.h"
#include "model/rotary_tower.h"
#include "model/vision_tower.h"

#include <stdio.h>

static const struct architecture architectures[] = {{"Mistral3ForConditionalGeneration", NULL}, {0}};

static const struct rotary_names names = {.patch = "patch_conv",
                                          .first_norm = "ln_pre",
                                          .layers = "transformer.layers",
                                          .attend_norm = "attention_norm",
                                          .qkv = {"attention.q_proj", "attention.k_proj", "attention.v_proj"},
                                          .out = "attention.o_proj",
                                          .mlp_norm = "ffn_norm",
                                          .gate = "feed_forward.gate_proj",
                                          .up = "feed_forward.up_proj",
                                          .down = "feed_forward.down_proj"};

/* What configs leave out: the defaults of transformers' config classes. */
static const struct rotary_tower tower_defaults = {.names = &names,
                                                   .hidden = 1024,
                                                   .feed_forward = 4096,
                                                   .n_layer = 24,
                                                   .n_head = 16,
                                                   .channels = 3,
                                                   .patch = 16,
                                                   .frames = 1,
                                                   .merge = 1,
                                                   .norm = NORM_RMS,
                                                   .act = ACT_GELU,
                                                   .eps = 1e-5,
                                                   .theta = 10000,
                                                   .interleaved = true};
static const struct decoder text_defaults = {.n_kv_head = 8, .max_position = 131072, .eps = 1e-5};

bool pixtral_encodes(const struct checkpoint *checkpoint, bool *encodes, struct error *error) {
  struct slice type = {0};
  bool ok = config_text(checkpoint, (struct config_key){"vision_config.model_type", NULL}, &type, error);
  *encodes = ok && slice_is(type, "pixtral");
  return ok;
}

/* --- the encoder -------------------------------------------------------------------------------------------------- */

static bool act_read(struct rotary_tower *t, const struct checkpoint *c, struct error *error) {
  struct slice act = slice_text("gelu");
  if (!config_text(c, (struct config_key){"vision_config.hidden_act", NULL}, &act, error)) return false;
  t->act = slice_is(act, "silu") ? ACT_SILU : ACT_GELU;
  if (slice_is(act, "silu") || slice_is(act, "gelu")) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: vision_config.hidden_act is \"%.*s\", expected \"gelu\" or \"silu\".",
                   SLICE_ARGS(act));
}

/* The last layer's output is taken, and nothing is left out of it. */
static bool features_check(const struct rotary_tower *t, const struct checkpoint *c, int layer, const char *strategy,
                           struct error *error) {
  struct slice taken = slice_text(strategy);
  if (!config_int(c, (struct config_key){"vision_feature_layer", NULL}, CONFIG_OPTIONAL, -LIMIT_MODEL_LAYERS,
                  LIMIT_MODEL_LAYERS, &layer, error) ||
      !config_text(c, (struct config_key){"vision_feature_select_strategy", NULL}, &taken, error))
    return false;
  if (layer != -1 && layer != t->n_layer)
    return error_set(error, ERROR_UNSUPPORTED, "config.json: vision_feature_layer is %d, expected -1 of this encoder.",
                     layer);
  if (slice_is(taken, "full")) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: vision_feature_select_strategy is \"%.*s\", expected \"full\" of this encoder.",
                   SLICE_ARGS(taken));
}

static bool head_check(const struct rotary_tower *t, const struct checkpoint *c, struct error *error) {
  int dim = t->hidden / t->n_head;
  if (!rotary_tower_size(c, "head_dim", 1 << 10, &dim, error)) return false;
  if (t->n_head * dim == t->hidden) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: vision_config has %d heads of %d dimensions, expected %d dimensions together.",
                   t->n_head, dim, t->hidden);
}

static bool tower_read(struct rotary_tower *t, const struct checkpoint *c, struct error *error) {
  static const char *const prefixes[] = {"vision_tower.", "model.vision_tower.", NULL};
  int image = 1024;
  t->prefix = tensor_prefix_find(c, prefixes, "patch_conv.weight");
  const struct {
    const char *key;
    int max, *value;
  } sizes[] = {{"hidden_size", LIMIT_MODEL_WIDTH, &t->hidden},
               {"intermediate_size", LIMIT_MODEL_WIDTH, &t->feed_forward},
               {"num_hidden_layers", LIMIT_MODEL_LAYERS, &t->n_layer},
               {"num_attention_heads", 1 << 12, &t->n_head},
               {"num_channels", PLAN_CHANNELS, &t->channels},
               {"patch_size", PLAN_PATCH, &t->patch},
               {"image_size", PLAN_PATCH * PLAN_GRID, &image}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (!rotary_tower_size(c, sizes[i].key, sizes[i].max, sizes[i].value, error)) return false;
  static const struct config_key thetas[] = {{"vision_config.rope_theta", NULL},
                                             {"vision_config.rope_parameters.rope_theta", NULL}};
  for (int i = 0; i < 2; i++)
    if (!config_float(c, thetas[i], CONFIG_OPTIONAL, 1.5, 1e12, &t->theta, error)) return false;
  t->grid = image / t->patch;
  t->area = t->grid * t->grid < PLAN_AREA ? t->grid * t->grid : PLAN_AREA;
  static const struct config_key marks[] = {{"image_token_index", NULL}, {"image_token_id", NULL}};
  for (int i = 0; i < 2; i++)
    if (!config_int(c, marks[i], CONFIG_OPTIONAL, 0, LIMIT_VOCAB - 1, &t->mark, error)) return false;
  return act_read(t, c, error) && head_check(t, c, error) && rotary_tower_check(t, error);
}

/* --- the projector ------------------------------------------------------------------------------------------------ */

static const char *projector_prefix(const struct checkpoint *c) {
  static const char *const prefixes[] = {"multi_modal_projector.", "model.multi_modal_projector.", NULL};
  return tensor_prefix_find(c, prefixes, "linear_1.weight");
}

/* Value `in`, `cols` wide, through the two linears. */
static bool linears_add(const struct checkpoint *c, const struct plan *decoder, int in, int cols, bool bias,
                        struct plan_builder *builder, struct error *error) {
  static const char *const gelu[] = {"gelu", NULL};
  char name[TENSOR_NAME_BYTES];
  if (!decoder_expect_act(c, (struct config_key){"projector_hidden_act", NULL}, gelu, error) ||
      !config_bool(c, (struct config_key){"multimodal_projector_bias", NULL}, &bias, error))
    return false;
  snprintf(name, sizeof name, "%slinear_1", projector_prefix(c));
  int value = vision_project(builder, "vision_linear_1", name, in, cols, decoder->hidden, bias, ACT_GELU);
  snprintf(name, sizeof name, "%slinear_2", projector_prefix(c));
  vision_project(builder, "vision_linear_2", name, value, decoder->hidden, decoder->hidden, bias, ACT_NONE);
  builder->head.vision.text = TEXT_LINES;
  return true;
}

bool pixtral_llava_build(const struct checkpoint *checkpoint, const struct plan *decoder, struct plan_builder *builder,
                         struct error *error) {
  struct rotary_tower tower = tower_defaults;
  tower.mark = 32000;
  if (!tower_read(&tower, checkpoint, error) || !features_check(&tower, checkpoint, -2, "default", error)) return false;
  return linears_add(checkpoint, decoder, rotary_tower_build(&tower, builder), tower.hidden, true, builder, error);
}

/* --- Mistral Small ------------------------------------------------------------------------------------------------ */

static bool mistral3_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  static const char *const prefixes[] = {"language_model.model.", "model.language_model.", NULL};
  const char *prefix = tensor_prefix_find(checkpoint, prefixes, "embed_tokens.weight");
  struct llama_text text = {
      .prefix = prefix, .head_prefix = prefix == prefixes[0] ? "language_model." : "", .defaults = text_defaults};
  return llama_text_build(&text, checkpoint, builder, error);
}

static int merger_add(const struct rotary_tower *t, const struct checkpoint *c, int in, struct plan_builder *builder) {
  char name[TENSOR_NAME_BYTES];
  int joined = t->merge * t->merge;
  struct op op = op_make(OP_LINEAR, -1);
  op.in[0] = in;
  op.out = plan_add_value(builder, t->hidden, ROWS_OUTPUTS);
  snprintf(name, sizeof name, "%spatch_merger.merging_layer.weight", projector_prefix(c));
  op.weight[0] = plan_add_ordered(builder, "vision_merger", name, t->hidden, joined * t->hidden,
                                  joined > 1 ? (uint8_t)joined : ORDER_AS_IS);
  plan_add_op(builder, &op);
  return op.out;
}

static bool vision_build(const struct checkpoint *checkpoint, const struct plan *decoder, struct plan_builder *builder,
                         struct error *error) {
  struct rotary_tower tower = tower_defaults;
  char norm[TENSOR_NAME_BYTES];
  tower.mark = 10;
  tower.merge = 2;
  tower.joined_norm = NORM_RMS;
  tower.joined_eps = text_defaults.eps;
  snprintf(norm, sizeof norm, "%snorm", projector_prefix(checkpoint));
  tower.joined_name = norm;
  if (!config_int(checkpoint, (struct config_key){"spatial_merge_size", NULL}, CONFIG_OPTIONAL, 1, PLAN_MERGE,
                  &tower.merge, error) ||
      !config_float(checkpoint, (struct config_key){"rms_norm_eps", NULL}, CONFIG_OPTIONAL, 0, 1, &tower.joined_eps,
                    error) ||
      !tower_read(&tower, checkpoint, error) || !features_check(&tower, checkpoint, -1, "full", error))
    return false;
  int value = merger_add(&tower, checkpoint, rotary_tower_build(&tower, builder), builder);
  return linears_add(checkpoint, decoder, value, tower.hidden, false, builder, error);
}

const struct family mistral3_family = {.title = "Mistral 3 (Pixtral encoder)",
                                       .architectures = architectures,
                                       .build = mistral3_build,
                                       .build_vision = vision_build};
