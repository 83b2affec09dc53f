/* Configs of networks that see images: each change to a good model's config.json that must be refused, with the exact
 * sentence; and spellings of the same network. */
#include "model/family.h"
#include "model_variant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct {
  const char *model, *change, *sentence;
} refusals[] = {
    {"idefics3", "{\"vision_config.hidden_size\": \"36\"}",
     "config.json: vision_config.hidden_size is a text, expected a whole number."},
    {"idefics3", "{\"vision_config.hidden_size\": 0}",
     "config.json: vision_config.hidden_size is 0, expected 1 to 1048576."},
    {"idefics3", "{\"vision_config.num_hidden_layers\": 2147483648}",
     "config.json: vision_config.num_hidden_layers is 2147483648, expected 1 to 1024."},
    {"idefics3", "{\"vision_config.num_attention_heads\": 5}",
     "The vision config has hidden size 36 and 5 attention heads; the first must be a multiple of the second, by "
     "1024 at most."},
    {"idefics3", "{\"vision_config.num_channels\": 5}",
     "config.json: vision_config.num_channels is 5, expected 1 to 4."},
    {"idefics3", "{\"vision_config.num_channels\": 1}",
     "Tensor model.vision_model.embeddings.patch_embedding.weight has shape [36, 3, 4, 4], expected [36, 16] from the "
     "config."},
    {"idefics3", "{\"vision_config.image_size\": [24, 24]}",
     "config.json: vision_config.image_size is an array, expected a whole number."},
    {"idefics3", "{\"vision_config.image_size\": 3}",
     "The vision config has images of 3 pixels in patches of 4, which makes 0 a side; expected 1 to 256, a multiple of "
     "2."},
    {"idefics3", "{\"vision_config.image_size\": 20}",
     "The vision config has images of 20 pixels in patches of 4, which makes 5 a side; expected 1 to 256, a multiple "
     "of "
     "2."},
    {"idefics3", "{\"vision_config.patch_size\": 65}",
     "config.json: vision_config.patch_size is 65, expected 1 to 64."},
    {"idefics3", "{\"vision_config.layer_norm_eps\": -1}",
     "config.json: vision_config.layer_norm_eps is -1, expected 0 to 1."},
    {"idefics3", "{\"vision_config.hidden_act\": \"relu\"}",
     "config.json: vision_config.hidden_act is \"relu\", expected \"gelu_pytorch_tanh\", \"gelu\" or \"quick_gelu\"."},
    {"idefics3", "{\"scale_factor\": 9}", "config.json: scale_factor is 9, expected 1 to 8."},
    {"idefics3", "{\"image_token_id\": null}",
     "The token that stands for images is 128257, expected one of the vocabulary's 270."},
    {"idefics3", "{\"image_token_id\": -1}", "config.json: image_token_id is -1, expected 0 to 1048575."},
    {"idefics3", "{\"text_config.model_type\": \"gpt2\"}",
     "config.json: text_config.model_type is \"gpt2\", expected \"llama\", \"mistral\", \"ministral3\", \"qwen2\" or "
     "\"qwen3\"."},
    {"idefics3", "{\"text_config.hidden_size\": null}",
     "config.json: hidden_size is missing; the model cannot be loaded without it."},
    {"idefics3", "{\"vision_config.num_hidden_layers\": 4}",
     "Tensor model.vision_model.encoder.layers.3.self_attn.q_proj.weight is missing, but the config asks for it."},
    {"llava", "{\"vision_feature_layer\": [-2, -1]}",
     "config.json: vision_feature_layer has 2 layers, expected one: their joined outputs are not computed."},
    {"llava", "{\"vision_feature_layer\": []}",
     "config.json: vision_feature_layer is an array, expected a whole number."},
    {"llava", "{\"vision_feature_layer\": [-5]}", "config.json: vision_feature_layer[0] is -5, expected -4 to 4."},
    {"llava", "{\"vision_feature_layer\": [0]}", "config.json: vision_feature_layer is 0, expected that of a layer."},
    {"llava", "{\"vision_feature_layer\": -5}", "config.json: vision_feature_layer is -5, expected -4 to 4."},
    {"llava", "{\"vision_feature_layer\": 0}", "config.json: vision_feature_layer is 0, expected that of a layer."},
    {"llava", "{\"vision_feature_select_strategy\": \"cls\"}",
     "config.json: vision_feature_select_strategy is \"cls\", expected \"default\" or \"full\"."},
    {"llava", "{\"projector_hidden_act\": \"silu\"}",
     "config.json: projector_hidden_act is \"silu\", expected \"gelu\"."},
    {"llava", "{\"image_token_index\": 268}",
     "The token that stands for images is 268, expected one of the vocabulary's 268."},
    {"llava", "{\"multimodal_projector_bias\": 1}",
     "config.json: multimodal_projector_bias is a whole number, expected true or false."},
    {"llava", "{\"text_config.hidden_size\": null}",
     "The config has hidden size 4096 and 2 attention heads, which makes heads of 2048 dimensions; Spate allows 1024."},
    {"llava",
     "{\"text_config.hidden_size\": null, \"text_config.num_attention_heads\": 32, "
     "\"text_config.num_key_value_heads\": 32}",
     "Tensor language_model.model.embed_tokens.weight has shape [268, 44], expected [268, 4096] from the config."},
    {"llava_next", "{\"vision_feature_select_strategy\": \"full\"}",
     "config.json: vision_feature_select_strategy is \"full\", expected \"default\"."},
    {"llava_next", "{\"text_config.hidden_size\": 36}",
     "Tensor language_model.model.embed_tokens.weight has shape [268, 40], expected [268, 36] from the config."},
    {"gemma3", "{\"mm_tokens_per_image\": 8}",
     "config.json: mm_tokens_per_image is 8, expected a square whose root divides the image's 6 patches a side into at "
     "most 8."},
    {"gemma3", "{\"mm_tokens_per_image\": 16}",
     "config.json: mm_tokens_per_image is 16, expected a square whose root divides the image's 6 patches a side into "
     "at "
     "most 8."},
    {"gemma3", "{\"mm_tokens_per_image\": 49}",
     "config.json: mm_tokens_per_image is 49, expected a square whose root divides the image's 6 patches a side into "
     "at "
     "most 8."},
    {"gemma3", "{\"mm_tokens_per_image\": 0}", "config.json: mm_tokens_per_image is 0, expected 1 to 65536."},
    {"gemma3", "{\"mm_tokens_per_image\": \"9\"}",
     "config.json: mm_tokens_per_image is a text, expected a whole number."},
    {"gemma3", "{\"text_config.sliding_window\": 8}",
     "config.json: sliding_window is 8, and an image has 9 tokens, which must see each other."},
    {"gemma3", "{\"vision_config.num_attention_heads\": 0}",
     "config.json: vision_config.num_attention_heads is 0, expected 1 to 4096."},
    {"gemma3", "{\"vision_config.patch_size\": 25}",
     "The vision config has images of 24 pixels in patches of 25, which makes 0 a side; expected 1 to 256, a multiple "
     "of "
     "1."},
    {"gemma3", "{\"image_token_index\": 268}",
     "The token that stands for images is 268, expected one of the vocabulary's 268."},
    {"qwen2_vl", "{\"vision_config.num_heads\": 0}", "config.json: vision_config.num_heads is 0, expected 1 to 4096."},
    {"qwen2_vl", "{\"vision_config.num_heads\": 3}",
     "The vision config has hidden size 32 and 3 attention heads; heads must have the same number of dimensions, a "
     "multiple of 4, by 1024 at most."},
    {"qwen2_vl", "{\"vision_config.num_heads\": 16}",
     "The vision config has hidden size 32 and 16 attention heads; heads must have the same number of dimensions, a "
     "multiple of 4, by 1024 at most."},
    {"qwen2_vl", "{\"vision_config.patch_size\": [4, 4]}",
     "config.json: vision_config.patch_size is an array, expected a whole number."},
    {"qwen2_vl", "{\"vision_config.spatial_merge_size\": 9}",
     "config.json: vision_config.spatial_merge_size is 9, expected 1 to 8."},
    {"qwen2_vl", "{\"vision_config.temporal_patch_size\": 9}",
     "config.json: vision_config.temporal_patch_size is 9, expected 1 to 8."},
    {"qwen2_vl", "{\"vision_config.embed_dim\": null}",
     "Tensor visual.patch_embed.proj.weight has shape [32, 3, 2, 4, 4], expected [1280, 96] from the config."},
    {"qwen2_vl", "{\"vision_config.mlp_ratio\": 65}", "config.json: vision_config.mlp_ratio is 65, expected 1 to 64."},
    {"qwen2_vl", "{\"rope_scaling.mrope_section\": [2, 3]}",
     "config.json: rope_scaling.mrope_section has 2 numbers, expected 3."},
    {"qwen2_vl", "{\"rope_scaling.mrope_section\": [2, 3, 4]}",
     "The config: the sections of mrope are 2, 3 and 4, expected 8 together."},
    {"qwen2_vl", "{\"rope_scaling.mrope_section\": [2, -1, 7]}",
     "config.json: rope_scaling.mrope_section[1] is -1, expected 0 to 1048576."},
    {"qwen2_vl", "{\"rope_scaling.mrope_section\": [2, \"3\", 3]}",
     "config.json: rope_scaling.mrope_section[1] is a text, expected a whole number."},
    {"qwen2_vl", "{\"rope_scaling.mrope_section\": null}",
     "The config: the sections of mrope are 16, 24 and 24, expected 8 together."},
    {"qwen2_5_vl", "{\"vision_config.window_size\": 7}",
     "config.json: vision_config.window_size is 7, expected at least the 8 pixels of merged patches."},
    {"qwen2_5_vl", "{\"vision_config.window_size\": \"16\"}",
     "config.json: vision_config.window_size is a text, expected a whole number."},
    {"qwen2_5_vl", "{\"vision_config.fullatt_block_indexes\": [1, 1024]}",
     "config.json: vision_config.fullatt_block_indexes[1] is 1024, expected 0 to 1023."},
    {"qwen2_5_vl", "{\"vision_config.fullatt_block_indexes\": [true]}",
     "config.json: vision_config.fullatt_block_indexes[0] is true or false, expected a whole number."},
    {"qwen2_5_vl", "{\"vision_config.intermediate_size\": null}",
     "Tensor visual.blocks.0.mlp.gate_proj.weight has shape [44, 32], expected [3420, 32] from the config."},
    {"qwen2_5_vl", "{\"vision_config.depth\": 2147483648}",
     "config.json: vision_config.depth is 2147483648, expected 1 to 1024."},
    {"pixtral", "{\"vision_config.head_dim\": 24}",
     "config.json: vision_config has 2 heads of 24 dimensions, expected 32 dimensions together."},
    {"pixtral", "{\"vision_config.image_size\": 3}",
     "The vision config has images of up to 0 patches a side, 1 of which become one."},
    {"pixtral", "{\"vision_config.rope_theta\": 0}",
     "config.json: vision_config.rope_theta is 0, expected 1.5 to 1e+12."},
    {"pixtral", "{\"vision_config.hidden_act\": \"relu\"}",
     "config.json: vision_config.hidden_act is \"relu\", expected \"gelu\" or \"silu\"."},
    {"pixtral", "{\"vision_feature_layer\": null}",
     "config.json: vision_feature_layer is -2, expected -1 of this encoder."},
    {"mistral3", "{\"spatial_merge_size\": 0}", "config.json: spatial_merge_size is 0, expected 1 to 8."},
    {"mistral3", "{\"spatial_merge_size\": 2.5}",
     "config.json: spatial_merge_size is a number with a fraction, expected a whole number."},
    {"mistral3", "{\"vision_config.hidden_size\": \"32\"}",
     "config.json: vision_config.hidden_size is a text, expected a whole number."},
    {"mistral3", "{\"projector_hidden_act\": \"silu\"}",
     "config.json: projector_hidden_act is \"silu\", expected \"gelu\"."},
};

static bool model_plan(const char *path, struct error *error) {
  struct checkpoint *checkpoint = checkpoint_open(path, error);
  if (!checkpoint) return false;
  struct buffer block[PLAN_ROLES];
  for (int role = 0; role < PLAN_ROLES; role++) buffer_init(&block[role], 1 << 24);
  const struct family *family = family_find(checkpoint, error);
  bool ok = family && family_plan(family, checkpoint, 512, block, error) && block[PLAN_VISION].size > 0;
  for (int role = 0; role < PLAN_ROLES; role++) buffer_release(&block[role]);
  checkpoint_close(checkpoint);
  return ok;
}

static bool variant_plan(const char *model, const char *change, struct error *error) {
  struct model_variant variant;
  json_t *object = json_loads(change, 0, NULL);
  assert_non_null(object);
  variant_make_in(&variant, "vision", model, object);
  bool ok = model_plan(variant.path, error);
  variant_remove(&variant);
  json_decref(object);
  return ok;
}

static void test_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    struct error error = {0};
    if (variant_plan(refusals[i].model, refusals[i].change, &error))
      fail_msg("%s with %s was accepted", refusals[i].model, refusals[i].change);
    assert_string_equal(error.text, refusals[i].sentence);
  }
}

static void test_accepted(void **state) {
  (void)state;
  static const struct {
    const char *model, *change;
  } accepted[] = {
      {"idefics3", "{\"architectures\": [\"SmolVLMForConditionalGeneration\"], \"model_type\": \"smolvlm\"}"},
      {"idefics3",
       "{\"scale_factor\": null, \"vision_config.hidden_act\": null, \"vision_config.layer_norm_eps\": null}"},
      {"idefics3",
       "{\"tie_word_embeddings\": true, \"text_config.tie_word_embeddings\": true}"}, /* the file has a head */
      {"llava", "{\"vision_feature_layer\": [-2]}"},
      {"llava", "{\"vision_feature_layer\": null, \"vision_feature_select_strategy\": null}"},
      {"llava", "{\"vision_feature_layer\": 3, \"projector_hidden_act\": null, \"multimodal_projector_bias\": null}"},
      {"gemma3", "{\"architectures\": [\"Gemma3ForConditionalGeneration\"], \"vision_config.layer_norm_eps\": null}"},
      {"qwen2_vl", "{\"vision_config.in_chans\": null, \"vision_config.hidden_act\": null}"},
      {"qwen2_5_vl", "{\"vision_config.fullatt_block_indexes\": []}"},
      {"pixtral", "{\"vision_feature_layer\": 2, \"vision_config.head_dim\": 16}"},
      {"mistral3", "{\"spatial_merge_size\": null, \"multimodal_projector_bias\": null}"},
      {"mistral3",
       "{\"text_config.model_type\": \"ministral3\", \"text_config.rope_parameters\": {\"rope_type\": \"yarn\", "
       "\"factor\": 4.0, \"original_max_position_embeddings\": 64, \"llama_4_scaling_beta\": 0.1}}"},
      {"llava", "{\"image_token_index\": null, \"image_token_id\": 264, \"text_config.model_type\": null}"},
  };
  for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
    struct error error = {0};
    if (!variant_plan(accepted[i].model, accepted[i].change, &error))
      fail_msg("%s: %s", accepted[i].change, error.text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused), cmocka_unit_test(test_accepted)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
