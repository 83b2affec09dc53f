/* Configs that must be refused: each change to a good model's config.json with the exact sentence. */
#include "model/family.h"
#include "model_variant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct refusal {
  const char *model, *change, *sentence;
};

static const struct refusal refusals[] = {
    {"llama2", "{\"hidden_size\": null}",
     "config.json: hidden_size is missing; the model cannot be loaded without it."},
    {"llama2", "{\"hidden_size\": \"40\"}", "config.json: hidden_size is a text, expected a whole number."},
    {"llama2", "{\"hidden_size\": 40.5}",
     "config.json: hidden_size is a number with a fraction, expected a whole number."},
    {"llama2", "{\"hidden_size\": -1}", "config.json: hidden_size is -1, expected 1 to 1048576."},
    {"llama2", "{\"hidden_size\": 9000000000000000000}",
     "config.json: hidden_size is 9000000000000000000, expected 1 to 1048576."},
    {"llama2", "{\"num_hidden_layers\": 1025}", "config.json: num_hidden_layers is 1025, expected 1 to 1024."},
    {"llama2", "{\"num_attention_heads\": 3}",
     "The config has 3 attention heads and 4 key/value heads; the first must be a multiple of the second."},
    {"llama2", "{\"num_attention_heads\": 3, \"num_key_value_heads\": 3}",
     "The config has hidden size 40 and 3 attention heads but no head size; the first must be a multiple of the "
     "second."},
    {"llama2", "{\"hidden_size\": 1048576, \"num_attention_heads\": 4}",
     "The config has hidden size 1048576 and 4 attention heads, which makes heads of 262144 dimensions; Spate allows "
     "1024."},
    {"llama2", "{\"head_dim\": 15}", "15 dimensions of a head rotate; the number must be even and at least 2."},
    {"llama2", "{\"num_attention_heads\": 4096, \"head_dim\": 1024}",
     "4096 heads of 1024 dimensions are wider than the 1048576 that Spate allows."},
    {"llama2", "{\"rms_norm_eps\": 2}", "config.json: rms_norm_eps is 2, expected 0 to 1."},
    {"llama2", "{\"hidden_act\": \"relu\"}", "config.json: hidden_act is \"relu\", expected \"silu\"."},
    {"llama2", "{\"attention_bias\": 1}", "config.json: attention_bias is a whole number, expected true or false."},
    {"llama2", "{\"attention_bias\": true}",
     "Tensor model.layers.0.self_attn.q_proj.bias is missing, but the config asks for it."},
    {"llama2", "{\"rope_theta\": 0}", "config.json: rope_theta is 0, expected 1.5 to 1e+12."},
    {"llama2", "{\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}}",
     "config.json: rope_scaling.rope_type is \"dynamic\", expected \"default\", \"linear\", \"llama3\" or \"yarn\"."},
    {"llama2", "{\"rope_scaling\": {\"type\": \"linear\"}}",
     "config.json: rope_scaling.factor is missing; the model cannot be loaded without it."},
    {"llama2", "{\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 0.5}}",
     "config.json: rope_parameters.factor is 0.5, expected 1 to 10000."},
    {"llama3",
     "{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4, "
     "\"original_max_position_embeddings\": 32}}",
     "config.json: rope_scaling.high_freq_factor is 4, expected more than low_freq_factor, which is 4."},
    {"llama2", "{\"intermediate_size\": 80}",
     "Tensor model.layers.0.mlp.gate_proj.weight has shape [72, 40], expected [80, 40] from the config."},
    {"llama2", "{\"vocab_size\": 271}",
     "Tensor model.embed_tokens.weight has shape [270, 40], expected [271, 40] from the config."},
    {"qwen3", "{\"head_dim\": 10}",
     "Tensor model.layers.0.self_attn.q_proj.weight has shape [80, 40], expected [40, 40] from the config."},
    {"llama2", "{\"num_hidden_layers\": 2}",
     "9 tensors of the checkpoint have no place in a network of architecture LlamaForCausalLM with its config: "
     "model.layers.2.input_layernorm.weight, model.layers.2.self_attn.q_proj.weight, "
     "model.layers.2.self_attn.k_proj.weight, …."},
    {"smollm2", "{\"tie_word_embeddings\": false}", "Tensor lm_head.weight is missing, but the config asks for it."},
    {"qwen2", "{\"use_sliding_window\": true, \"max_window_layers\": null}",
     "config.json: max_window_layers is missing; the model cannot be loaded without it."},
    {"gemma3", "{\"layer_types\": [\"full_attention\"]}",
     "config.json: layer_types has length 1, expected 4: one for each layer."},
    {"gemma3", "{\"layer_types\": [\"full_attention\", \"full_attention\", \"linear_attention\", \"full_attention\"]}",
     "config.json: layer_types[2] is \"linear_attention\", expected \"full_attention\" or \"sliding_attention\"."},
    {"gemma3", "{\"sliding_window\": 0}", "config.json: sliding_window is 0, expected 1 to 1073741824."},
    {"llama2", "{\"architectures\": [\"GPT2LMHeadModel\"]}",
     "The architecture \"GPT2LMHeadModel\" is not one that Spate loads; these are: LlamaForCausalLM, "
     "MistralForCausalLM, "
     "Qwen2ForCausalLM, Qwen3ForCausalLM, llama, mistral, qwen2, qwen3, Gemma3ForCausalLM, gemma3_text, gemma3, "
     "Gemma3ForConditionalGeneration, Idefics3ForConditionalGeneration, SmolVLMForConditionalGeneration, "
     "LlavaForConditionalGeneration, LlavaNextForConditionalGeneration, Mistral3ForConditionalGeneration, …."},
    {"llama2", "{\"architectures\": [1]}",
     "config.json names no architecture: \"architectures\" should be a list of one."},
    {"llama2", "{\"eos_token_id\": -3}", "config.json: eos_token_id is no token id or list of token ids."},
    {"llama2", "{\"eos_token_id\": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]}",
     "config.json: eos_token_id lists more than 16 ids."},
};

static bool model_plan(const char *path, struct error *error) {
  struct checkpoint *checkpoint = checkpoint_open(path, error);
  if (!checkpoint) return false;
  struct buffer block[PLAN_ROLES];
  for (int role = 0; role < PLAN_ROLES; role++) buffer_init(&block[role], 1 << 24);
  const struct family *family = family_find(checkpoint, error);
  bool ok = family && family_plan(family, checkpoint, 512, block, error);
  for (int role = 0; role < PLAN_ROLES; role++) buffer_release(&block[role]);
  checkpoint_close(checkpoint);
  return ok;
}

static void test_refusals(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    struct model_variant variant;
    struct error error = {0};
    json_t *change = json_loads(refusals[i].change, 0, NULL);
    assert_non_null(change);
    variant_make(&variant, refusals[i].model, change);
    bool ok = model_plan(variant.path, &error);
    variant_remove(&variant);
    json_decref(change);
    if (ok) fail_msg("%s with %s was accepted", refusals[i].model, refusals[i].change);
    assert_string_equal(error.text, refusals[i].sentence);
  }
}

/* Changes that are spellings of the same network, or leave out what has a default. */
static void test_accepted(void **state) {
  (void)state;
  static const struct {
    const char *model, *change;
  } accepted[] = {
      {"llama2", "{\"num_key_value_heads\": null}"},
      {"llama2", "{\"architectures\": null}"},
      {"llama2", "{\"rope_scaling\": null, \"sliding_window\": 5}"},
      {"llama3", "{\"rope_theta\": null, \"rope_scaling\": null, \"rope_parameters\": {\"rope_theta\": 500.0}}"},
      {"gemma3", "{\"layer_types\": null}"},
      {"gemma3",
       "{\"rope_scaling\": null, \"rope_parameters\": {\"full_attention\": {\"rope_type\": \"linear\", \"factor\": "
       "4.0, \"rope_theta\": 1000.0}, \"sliding_attention\": {\"rope_theta\": 50.0}}}"},
      {"qwen2", "{\"use_sliding_window\": true, \"sliding_window\": 9, \"max_window_layers\": 1}"},
  };
  for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
    struct model_variant variant;
    struct error error = {0};
    json_t *change = json_loads(accepted[i].change, 0, NULL);
    variant_make(&variant, accepted[i].model, change);
    if (!model_plan(variant.path, &error)) fail_msg("%s: %s", accepted[i].change, error.text);
    variant_remove(&variant);
    json_decref(change);
  }
}

/* GGUF metadata: a number of the twin of gemma3 replaced. */
static void test_gguf_refusals(void **state) {
  (void)state;
  static const struct {
    const char *key;
    uint32_t number;
    const char *sentence;
  } cases[] = {
      {"gemma3.block_count", 5000, "gemma3.block_count is 5000, expected 1 to 1024."},
      {"gemma3.embedding_length", 0, "gemma3.embedding_length is 0, expected 1 to 1048576."},
      {"gemma3.embedding_length", 45,
       "Tensor token_embd.weight has shape [276, 44], expected [276, 45] from the config."},
      {"gemma3.attention.head_count", 3,
       "The config has 3 attention heads and 2 key/value heads; the first must be a multiple of the second."},
      {"gemma3.attention.value_length", 8, "Heads have 14 dimensions for keys and 8 for values; they must agree."},
      {"gemma3.attention.sliding_window", UINT32_MAX,
       "gemma3.attention.sliding_window is 4294967295, expected 1 to 1073741824."},
      {"gemma3.rope.freq_base", 0x7fc00000, "gemma3.rope.freq_base is nan, expected 1.5 to 1e+12."},
      {"gemma3.block_count", 5, "Tensor blk.4.attn_q.weight is missing, but the config asks for it."},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct error error = {0};
    char path[] = "/tmp/spate-refusal-XXXXXX";
    gguf_variant_make(path, "gemma3", cases[i].key, 4, &cases[i].number, 4); /* behind the type */
    bool ok = model_plan(path, &error);
    unlink(path);
    if (ok) fail_msg("%s = %u was accepted", cases[i].key, cases[i].number);
    assert_string_equal(error.text, cases[i].sentence);
  }
}

/* The name of a scaling that only config.json has the settings of. */
static void test_gguf_scaling(void **state) {
  (void)state;
  struct error error = {0};
  char path[] = "/tmp/spate-refusal-XXXXXX";
  gguf_variant_make(path, "gemma3", "gemma3.rope.scaling.type", 12, "llama3", 6); /* behind type and length */
  assert_false(model_plan(path, &error));
  unlink(path);
  assert_string_equal(error.text, "gemma3.rope.scaling.type is \"llama3\", expected \"none\", \"linear\" or \"yarn\".");
}

static void test_paths(void **state) {
  (void)state;
  struct error error = {0};
  assert_false(model_plan("/nonexistent", &error));
  assert_string_equal(error.text, "/nonexistent cannot be opened: No such file or directory.");
  assert_false(model_plan("/usr", &error));
  assert_string_equal(error.text,
                      "/usr has no config.json; a model is a directory with config.json and safetensors, or a "
                      ".gguf file.");
  assert_false(model_plan(FIXTURES "/model/llama2/config.json", &error));
  assert_string_equal(error.text,
                      FIXTURES "/model/llama2/config.json is one file of a model; give the directory that holds it.");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_refusals),     cmocka_unit_test(test_accepted), cmocka_unit_test(test_gguf_refusals),
      cmocka_unit_test(test_gguf_scaling), cmocka_unit_test(test_paths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
