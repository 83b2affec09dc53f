/* Qwen2-VL and Qwen2.5-VL: an encoder that sees images of any size by rotations, whose squares of patches a small
 * network merges, before a decoder of Qwen 2 whose rotation has three axes. The newer one gates its feed-forward, norms
 * without a mean, and sees windows in most of its layers. */
#include "model/decoder_names.h"
#include "model/family.h"
#include "model/llama_text.h"
#include "model/rotary_tower.h"
#include "model/vision_tower.h"

#include <stdio.h>

static const struct architecture architectures[] = {{"Qwen2VLForConditionalGeneration", "qwen2vl"},
                                                    {"Qwen2_5_VLForConditionalGeneration", "qwen2vl"},
                                                    {"qwen2vl", "qwen2vl"},
                                                    {0}};

static const struct rotary_names names_2 = {.patch = "patch_embed.proj",
                                            .layers = "blocks",
                                            .attend_norm = "norm1",
                                            .qkv = {"attn.qkv"},
                                            .out = "attn.proj",
                                            .mlp_norm = "norm2",
                                            .up = "mlp.fc1",
                                            .down = "mlp.fc2"};
static const struct rotary_names names_25 = {.patch = "patch_embed.proj",
                                             .layers = "blocks",
                                             .attend_norm = "norm1",
                                             .qkv = {"attn.qkv"},
                                             .out = "attn.proj",
                                             .mlp_norm = "norm2",
                                             .gate = "mlp.gate_proj",
                                             .up = "mlp.up_proj",
                                             .down = "mlp.down_proj"};

/* Configs leave most of it out: the defaults of transformers' config classes. The largest image is not the config's
 * but its processor's. */
enum { WINDOW_PIXELS = 112 };
static const struct rotary_tower tower_defaults = {.hidden = 1280,
                                                   .feed_forward = 3420,
                                                   .n_layer = 32,
                                                   .n_head = 16,
                                                   .channels = 3,
                                                   .patch = 14,
                                                   .frames = 2,
                                                   .merge = 2,
                                                   .grid = PLAN_SIDE,
                                                   .area = ROTARY_AREA,
                                                   .bias = true,
                                                   .eps = 1e-6,
                                                   .theta = 10000,
                                                   .joined_eps = 1e-6,
                                                   .mark = 151655};

static bool newer(const struct checkpoint *c) {
  return strcmp(checkpoint_architecture(c), "Qwen2_5_VLForConditionalGeneration") == 0;
}

/* --- the decoder -------------------------------------------------------------------------------------------------- */

static bool gguf_axes_read(int32_t axis[3], const struct checkpoint *c, struct error *error) {
  const struct gguf_value *sections = gguf_find(checkpoint_gguf(c), "qwen2vl.rope.dimension_sections");
  for (size_t i = 0; i < 3; i++) {
    int64_t number = -1;
    if (!sections || i >= sections->count || !gguf_value_int(sections, i, &number) || number < 0 ||
        number > LIMIT_MODEL_WIDTH)
      return error_set(error, ERROR_INVALID, "qwen2vl.rope.dimension_sections is no array of at least 3 lengths.");
    axis[i] = (int32_t)number;
  }
  return true;
}

static bool axes_read(int32_t axis[3], const struct checkpoint *c, struct error *error) {
  static const struct config_key keys[] = {{"rope_parameters.mrope_section", NULL},
                                           {"rope_scaling.mrope_section", NULL}};
  static const int32_t usual[] = {16, 24, 24};
  for (int i = 0; i < 2; i++) {
    int n = -1;
    if (!config_list(c, keys[i], &n, error)) return false;
    if (n < 0) continue;
    if (n != 3)
      return error_set(error, ERROR_UNSUPPORTED, "config.json: %s has %d numbers, expected 3.", keys[i].hf, n);
    for (int k = 0; k < 3; k++)
      if (!config_list_int(c, keys[i], k, 0, LIMIT_MODEL_WIDTH, &axis[k], error)) return false;
    return true;
  }
  memcpy(axis, usual, sizeof usual);
  return true;
}

static bool qwen2_vl_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  static const char *const prefixes[] = {"model.language_model.", "model.", NULL};
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF;
  struct llama_text text = {.prefix = tensor_prefix_find(checkpoint, prefixes, "embed_tokens.weight"),
                            .head_prefix = gguf ? NULL : "",
                            .member = "qwen2",
                            .rope_base = 1e6,
                            .defaults = {.max_position = 32768, .eps = 1e-5}};
  return (gguf ? gguf_axes_read : axes_read)(text.defaults.rope_axis, checkpoint, error) &&
         llama_text_build(&text, checkpoint, builder, error);
}

/* --- the encoder -------------------------------------------------------------------------------------------------- */

static bool sizes_read(struct rotary_tower *t, const struct checkpoint *c, struct error *error) {
  const struct {
    const char *key;
    int max, *value;
  } sizes[] = {{newer(c) ? "hidden_size" : "embed_dim", LIMIT_MODEL_WIDTH, &t->hidden},
               {"depth", LIMIT_MODEL_LAYERS, &t->n_layer},
               {"num_heads", 1 << 12, &t->n_head},
               {"in_channels", PLAN_CHANNELS, &t->channels},
               {"in_chans", PLAN_CHANNELS, &t->channels},
               {"patch_size", PLAN_PATCH, &t->patch},
               {"spatial_merge_size", PLAN_MERGE, &t->merge},
               {"temporal_patch_size", PLAN_FRAMES, &t->frames}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (!rotary_tower_size(c, sizes[i].key, sizes[i].max, sizes[i].value, error)) return false;
  return config_float(c, (struct config_key){"vision_config.rope_parameters.rope_theta", NULL}, CONFIG_OPTIONAL, 1.5,
                      1e12, &t->theta, error) &&
         config_int(c, (struct config_key){"image_token_id", NULL}, CONFIG_OPTIONAL, 0, LIMIT_VOCAB - 1, &t->mark,
                    error);
}

static bool older_read(struct rotary_tower *t, const struct checkpoint *c, struct error *error) {
  static const char *const acts[] = {"quick_gelu", NULL};
  int ratio = 4;
  t->names = &names_2;
  t->norm = t->joined_norm = NORM_LAYER;
  t->act = ACT_GELU_QUICK;
  if (!decoder_expect_act(c, (struct config_key){"vision_config.hidden_act", NULL}, acts, error) ||
      !rotary_tower_size(c, "mlp_ratio", 64, &ratio, error))
    return false;
  t->feed_forward = ratio * t->hidden;
  return true;
}

/* Layers see windows but for those that the list names. */
static bool windows_read(struct rotary_tower *t, const struct checkpoint *c, struct error *error) {
  static const struct config_key key = {"vision_config.fullatt_block_indexes", NULL};
  int pixels = WINDOW_PIXELS, n = -1;
  if (!config_list(c, key, &n, error) || !rotary_tower_size(c, "window_size", PLAN_PATCH * PLAN_SIDE, &pixels, error))
    return false;
  t->window = pixels / t->merge / t->patch * t->merge;
  if (t->window == 0)
    return error_set(error, ERROR_INVALID,
                     "config.json: vision_config.window_size is %d, expected at least the %d pixels of merged patches.",
                     pixels, t->merge * t->patch);
  memset(t->local, 1, sizeof t->local);
  for (int i = 7; n < 0 && i < t->n_layer; i += 8) t->local[i] = 0;
  for (int i = 0, layer; i < n; i++) {
    if (!config_list_int(c, key, i, 0, LIMIT_MODEL_LAYERS - 1, &layer, error)) return false;
    t->local[layer] = 0;
  }
  return true;
}

static bool newer_read(struct rotary_tower *t, const struct checkpoint *c, struct error *error) {
  static const char *const acts[] = {"silu", NULL};
  t->names = &names_25;
  t->norm = t->joined_norm = NORM_RMS;
  t->act = ACT_SILU;
  return decoder_expect_act(c, (struct config_key){"vision_config.hidden_act", NULL}, acts, error) &&
         rotary_tower_size(c, "intermediate_size", LIMIT_MODEL_WIDTH, &t->feed_forward, error) &&
         windows_read(t, c, error);
}

static bool vision_build(const struct checkpoint *checkpoint, const struct plan *decoder, struct plan_builder *builder,
                         struct error *error) {
  static const char *const prefixes[] = {"visual.", "model.visual.", NULL};
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF) return true; /* the encoder is a file of its own */
  struct rotary_tower tower = tower_defaults;
  char joined[TENSOR_NAME_BYTES], name[TENSOR_NAME_BYTES];
  tower.prefix = tensor_prefix_find(checkpoint, prefixes, "patch_embed.proj.weight");
  snprintf(joined, sizeof joined, "%smerger.ln_q", tower.prefix);
  tower.joined_name = joined;
  if (!sizes_read(&tower, checkpoint, error) ||
      !(newer(checkpoint) ? newer_read : older_read)(&tower, checkpoint, error) || !rotary_tower_check(&tower, error))
    return false;
  int width = tower.merge * tower.merge * tower.hidden, value = rotary_tower_build(&tower, builder);
  snprintf(name, sizeof name, "%smerger.mlp.0", tower.prefix);
  value = vision_project(builder, "vision_merger_0", name, value, width, width, true, ACT_GELU);
  snprintf(name, sizeof name, "%smerger.mlp.2", tower.prefix);
  vision_project(builder, "vision_merger_2", name, value, width, decoder->hidden, true, ACT_NONE);
  builder->head.vision.axes = 1;
  return true;
}

const struct family qwen2_vl_family = {.title = "Qwen 2 and 2.5 VL",
                                       .architectures = architectures,
                                       .build = qwen2_vl_build,
                                       .build_vision = vision_build};
