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
     "config.json: text_config.model_type is \"gpt2\", expected \"llama\", \"mistral\", \"qwen2\" or \"qwen3\"."},
    {"idefics3", "{\"text_config.hidden_size\": null}",
     "config.json: hidden_size is missing; the model cannot be loaded without it."},
    {"idefics3", "{\"vision_config.num_hidden_layers\": 4}",
     "Tensor model.vision_model.encoder.layers.3.self_attn.q_proj.weight is missing, but the config asks for it."},
    {"llava", "{\"vision_feature_layer\": [-2, -1]}",
     "config.json: vision_feature_layer is an array, expected a whole number."},
    {"llava", "{\"vision_feature_layer\": -5}", "config.json: vision_feature_layer is -5, expected -4 to 4."},
    {"llava", "{\"vision_feature_layer\": 0}", "config.json: vision_feature_layer is 0, expected that of a layer."},
    {"llava", "{\"vision_feature_select_strategy\": \"full\"}",
     "config.json: vision_feature_select_strategy is \"full\", expected \"default\"."},
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
};

static bool model_plan(const char *path, struct error *error) {
  struct checkpoint *checkpoint = checkpoint_open(path, error);
  if (!checkpoint) return false;
  struct buffer block[PLAN_ROLES];
  for (int role = 0; role < PLAN_ROLES; role++) buffer_init(&block[role], 1 << 24);
  const struct family *family = family_find(checkpoint, error);
  bool ok = family && family_plan(family, checkpoint, block, error) && block[PLAN_VISION].size > 0;
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
      {"llava", "{\"vision_feature_layer\": null, \"vision_feature_select_strategy\": null}"},
      {"llava", "{\"vision_feature_layer\": 3, \"projector_hidden_act\": null, \"multimodal_projector_bias\": null}"},
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
