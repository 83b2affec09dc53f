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
    {"llama2", "{\"rope_scaling\": {\"type\": \"proportional\", \"factor\": 2}}",
     "config.json: rope_scaling.rope_type is \"proportional\", expected \"default\", \"linear\", \"dynamic\", "
     "\"llama3\", \"yarn\" or \"longrope\"."},
    {"llama2", "{\"rope_scaling\": {\"type\": \"dynamic\"}}",
     "config.json: rope_scaling.factor is missing; the model cannot be loaded without it."},
    {"llama2", "{\"rope_scaling\": \"llama3\"}", "config.json: rope_scaling is a text, expected an object."},
    {"llama2", "{\"architectures\": \"LlamaForCausalLM\"}",
     "config.json: architectures is no array, expected a list of one text."},
    {"llama2", "{\"hidden_act\": \"\"}", "config.json: hidden_act is \"\", expected \"silu\"."},
    {"qwen3_moe", "{\"mlp_only_layers\": 2147483648}",
     "config.json: mlp_only_layers is a whole number, expected an array."},
    {"qwen3_moe", "{\"num_experts\": null, \"num_local_experts\": 5000}",
     "config.json: num_local_experts is 5000, expected 1 to 4096."},
    {"deepseek_v3", "{\"num_attention_heads\": 7}",
     "config.json: num_attention_heads is 7 and qk_nope_head_dim and qk_rope_head_dim are 12 and 8, but tensor "
     "model.layers.0.self_attn.q_b_proj.weight has 80 rows, which should be their product."},
    {"glm", "{\"architectures\": [\"ChatGLMModel\"], \"rmsnorm\": false}",
     "config.json: rmsnorm is false, expected true."},
    {"ministral3", "{\"rope_parameters.llama_4_scaling_beta\": null}",
     "config.json: rope_parameters.llama_4_scaling_beta is missing; the model cannot be loaded without it."},
    {"granite4", "{\"layer_types\": null}", "config.json: layer_types has length 0, expected 2: one for each layer."},
    {"granite4", "{\"layer_types\": [\"attention\", \"mamba\"]}",
     "config.json: layer_types[1] is \"mamba\", expected \"attention\"; of Granite 4's networks those without Mamba "
     "layers load."},
    {"granite4", "{\"num_local_experts\": null}",
     "config.json: num_local_experts is 8, expected 0; of Granite 4's networks those without experts load."},
    {"granite_moe_shared", "{\"shared_intermediate_size\": -1}",
     "config.json: shared_intermediate_size is -1, expected 0 to 1048576."},
    {"mpt", "{\"attn_config\": 7}", "config.json: attn_config is a whole number, expected an object."},
    {"mistral", "{\"layer_types\": {}}", "config.json: layer_types is an object, expected an array."},
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
    {"llama2", "{\"architectures\": [\"BloomForCausalLM\"]}",
     "The architecture \"BloomForCausalLM\" is not one that Spate loads; it loads those of Llama 2 and 3, Mistral, "
     "Ministral, Qwen 2, "
     "2.5 and 3, SmolLM 2; Gemma 1 and 2; Gemma 3; Phi-3, 3.5, 4; Granite 3 and its MoE, dense 4; OLMo 2 and 3; "
     "SmolLM3; GLM-4; "
     "Command R, "
     "R7B; "
     "GPT-2; GPT-NeoX, Pythia; StarCoder 2; Falcon; MPT; Mixtral, Qwen 3 MoE, OLMoE; Phi-3.5-MoE; gpt-oss; "
     "DeepSeek V2 and V3; Gemma 3 with images; and more in docs/models.md."},
    /* the families one by one */
    {"gemma2", "{\"attn_logit_softcapping\": -1}", "config.json: attn_logit_softcapping is -1, expected 0 to 1e+06."},
    {"gemma2", "{\"query_pre_attn_scalar\": 0}", "config.json: query_pre_attn_scalar is 0, expected 0.001 to 1e+06."},
    {"gemma", "{\"hidden_activation\": \"relu\"}",
     "config.json: hidden_activation is \"relu\", expected \"gelu_pytorch_tanh\"."},
    {"phi3", "{\"hidden_act\": \"relu2\"}",
     "config.json: hidden_act is \"relu2\", expected \"silu\", \"gelu\", \"gelu_new\", \"gelu_pytorch_tanh\" or "
     "\"relu\"."},
    {"phi3", "{\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1, 2], \"long_factor\": [1]}}",
     "config.json: rope_scaling.long_factor has 1 factors, expected one for each frequency, as many short as long "
     "ones."},
    {"phi3", "{\"rope_scaling\": {\"type\": \"longrope\", \"long_factor\": [1]}}",
     "config.json: rope_scaling.short_factor has 0 factors, expected one for each frequency, as many short as long "
     "ones."},
    {"phi3", "{\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1, 2], \"long_factor\": [1, 0]}}",
     "config.json: rope_scaling.long_factor[1] is 0, expected 0.001 to 1e+06."},
    {"phi3", "{\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1, 2], \"long_factor\": [1, \"2\"]}}",
     "config.json: rope_scaling.long_factor[1] is a text, expected a number."},
    {"phi3", "{\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1, 2], \"long_factor\": [1, 2]}}",
     "The config has 2 factors for a rotation of 5 frequencies."},
    {"phi3", "{\"original_max_position_embeddings\": 1}",
     "config.json: original_max_position_embeddings is 1, expected 2 to 1e+09."},
    {"phi3", "{\"num_key_value_heads\": 4}",
     "Tensor model.layers.0.self_attn.qkv_proj.weight has shape [80, 40], expected [120, 40] from the config."},
    {"phi3", "{\"intermediate_size\": 20}",
     "Tensor model.layers.0.mlp.gate_up_proj.weight has shape [80, 40], expected [40, 40] from the config."},
    {"granite", "{\"logits_scaling\": 0}", "config.json: logits_scaling is 0, expected 1e-06 to 1e+06."},
    {"granite", "{\"residual_multiplier\": \"1\"}", "config.json: residual_multiplier is a text, expected a number."},
    {"olmo2", "{\"head_dim\": 20}",
     "Tensor model.layers.0.self_attn.q_proj.weight has shape [40, 40], expected [80, 40] from the config."},
    {"olmo3", "{\"layer_types\": [\"full_attention\"]}",
     "config.json: layer_types has length 1, expected 4: one for each layer."},
    {"smollm3", "{\"no_rope_layers\": [1]}",
     "config.json: no_rope_layers has length 1, expected 4: one for each layer."},
    {"smollm3", "{\"no_rope_layers\": [1, 2, 1, 0]}", "config.json: no_rope_layers[1] is 2, expected 0 to 1."},
    {"smollm3", "{\"no_rope_layer_interval\": 0}", "config.json: no_rope_layer_interval is 0, expected 1 to 1024."},
    {"smollm3", "{\"use_sliding_window\": true}",
     "config.json: use_sliding_window is true, but sliding_window or layer_types is missing."},
    {"glm4", "{\"partial_rotary_factor\": 0.1}",
     "1 dimensions of a head rotate; the number must be even and at least 2."},
    {"cohere", "{\"logit_scale\": 0}", "config.json: logit_scale is 0, expected 1e-06 to 1e+06."},
    {"cohere", "{\"layer_norm_eps\": 2}", "config.json: layer_norm_eps is 2, expected 1e-12 to 1."},
    {"cohere2", "{\"sliding_window_pattern\": 0}", "config.json: sliding_window_pattern is 0, expected 1 to 1024."},
    {"gpt_oss", "{\"num_local_experts\": 0}", "config.json: num_local_experts is 0, expected 1 to 4096."},
    {"gpt_oss", "{\"num_local_experts\": 4}",
     "Tensor model.layers.0.mlp.router.weight has shape [5, 64], expected [4, 64] from the config."},
    {"gpt_oss", "{\"num_experts_per_tok\": 6}", "config.json: num_experts_per_tok is 6, expected 1 to 5."},
    {"gpt_oss", "{\"num_local_experts\": 100, \"num_experts_per_tok\": 65}",
     "config.json: num_experts_per_tok is 65, expected 1 to 64."},
    {"gpt_oss", "{\"intermediate_size\": 900000}",
     "2 experts of width 900000 for each token are wider than the 1048576 that Spate allows."},
    {"gpt_oss", "{\"intermediate_size\": 64}",
     "Tensor model.layers.0.mlp.experts.gate_up_proj has shape [5, 64, 64], expected 5 experts of 64 × 128 from the "
     "config."},
    {"gpt_oss_mxfp4", "{\"intermediate_size\": 64}",
     "Tensor model.layers.0.mlp.experts.gate_up_proj has shape [5, 64, 64], expected 5 experts of 128 × 64 from the "
     "config."},
    {"gpt_oss_mxfp4", "{\"num_local_experts\": 6}",
     "Tensor model.layers.0.mlp.router.weight has shape [5, 64], expected [6, 64] from the config."},
    {"gpt_oss_mxfp4", "{\"quantization_config\": null}",
     "Tensor model.layers.0.mlp.experts.gate_up_proj is missing, but the config asks for it."},
    {"gpt_oss", "{\"swiglu_limit\": 0}", "config.json: swiglu_limit is 0, expected 0.001 to 1e+06."},
    {"gpt_oss", "{\"swiglu_alpha\": 1}", "config.json: swiglu_alpha is 1, expected 1.702."},
    {"gpt_oss", "{\"hidden_act\": \"relu\"}", "config.json: hidden_act is \"relu\", expected \"silu\"."},
    {"gpt_oss", "{\"layer_types\": [\"full_attention\"]}",
     "config.json: layer_types has length 1, expected 2: one for each layer."},
    {"gpt2", "{\"n_head\": null}", "config.json: n_head is missing; the model cannot be loaded without it."},
    {"gpt2", "{\"n_layer\": -1}", "config.json: n_layer is -1, expected 1 to 1024."},
    {"gpt2", "{\"n_positions\": 100}",
     "Tensor transformer.wpe.weight has shape [512, 24], expected [100, 24] from the config."},
    {"gpt2", "{\"n_inner\": 95}",
     "Tensor transformer.h.0.mlp.c_fc.weight has shape [24, 96], expected [95, 24] from the config."},
    {"gpt_neox", "{\"rotary_pct\": 2}", "config.json: rotary_pct is 2, expected 0.001 to 1."},
    {"gpt_neox", "{\"num_attention_heads\": 0}", "config.json: num_attention_heads is 0, expected 1 to 4096."},
    {"starcoder2", "{\"norm_epsilon\": 0}", "config.json: norm_epsilon is 0, expected 1e-12 to 1."},
    {"starcoder2", "{\"sliding_window\": 2147483648}",
     "config.json: sliding_window is 2147483648, expected 1 to 1073741824."},
    {"falcon40b", "{\"num_kv_heads\": null}",
     "config.json: num_kv_heads is missing; the model cannot be loaded without it."},
    {"falcon40b", "{\"num_kv_heads\": 3}",
     "The config has 4 attention heads and 3 key/value heads; the first must be a multiple of the second."},
    {"falcon40b", "{\"num_ln_in_parallel_attn\": 3}", "config.json: num_ln_in_parallel_attn is 3, expected 1 to 2."},
    {"mpt", "{\"expansion_ratio\": 0}", "config.json: expansion_ratio is 0, expected 1 to 64."},
    {"mpt", "{\"attn_config.alibi_bias_max\": 0}",
     "config.json: attn_config.alibi_bias_max is 0, expected 0.001 to 1000."},
    {"mpt", "{\"attn_config.alibi\": false}", "The config has alibi false; Spate loads MPT with alibi."},
    {"mpt", "{\"norm_type\": \"rmsnorm\"}",
     "config.json: norm_type is \"rmsnorm\", expected \"low_precision_layernorm\"."},
    {"mpt_clip", "{\"attn_config.qk_ln\": true}",
     "The config has qk_ln true and clip_qkv 0.7; Spate loads MPT with one of them alone."},
    {"mixtral", "{\"num_local_experts\": null}",
     "config.json: num_local_experts is missing; the model cannot be loaded without it."},
    {"mixtral", "{\"num_local_experts\": 4097}", "config.json: num_local_experts is 4097, expected 1 to 4096."},
    {"mixtral", "{\"num_local_experts\": 6}",
     "Tensor model.layers.0.block_sparse_moe.gate.weight has shape [5, 32], expected [6, 32] from the config."},
    {"mixtral", "{\"num_experts_per_tok\": 6}", "config.json: num_experts_per_tok is 6, expected 1 to 5."},
    {"phimoe", "{\"num_experts_per_tok\": 3}", "The config: a token has 3 experts, expected 2 of SparseMixer."},
    {"phimoe", "{\"router_jitter_noise\": 0.6}", "config.json: router_jitter_noise is 0.6, expected 0 to 0.5."},
    {"phimoe", "{\"router_jitter_noise\": \"x\"}", "config.json: router_jitter_noise is a text, expected a number."},
    {"mixtral", "{\"num_experts_per_tok\": 0}", "config.json: num_experts_per_tok is 0, expected 1 to 5."},
    {"mixtral", "{\"intermediate_size\": 900000}",
     "2 experts of width 900000 for each token are wider than the 1048576 that Spate allows."},
    {"mixtral", "{\"intermediate_size\": 41}",
     "Tensor model.layers.0.block_sparse_moe.experts.0.w1.weight has shape [40, 32], expected [41, 32] from the "
     "config."},
    {"qwen3_moe", "{\"moe_intermediate_size\": 0}", "config.json: moe_intermediate_size is 0, expected 1 to 1048576."},
    {"qwen3_moe", "{\"norm_topk_prob\": 1}", "config.json: norm_topk_prob is a whole number, expected true or false."},
    {"qwen3_moe", "{\"decoder_sparse_step\": 0}", "config.json: decoder_sparse_step is 0, expected 1 to 1024."},
    {"qwen3_moe", "{\"mlp_only_layers\": [-1]}", "config.json: mlp_only_layers[0] is -1, expected 0 to 1024."},
    {"qwen3_moe", "{\"num_experts\": 6, \"num_experts_per_tok\": 6}",
     "Tensor model.layers.0.mlp.gate.weight has shape [7, 32], expected [6, 32] from the config."},
    {"olmoe", "{\"clip_qkv\": -1}", "config.json: clip_qkv is -1, expected 0 to 1e+06."},
    {"granite_moe", "{\"intermediate_size\": 39}",
     "Tensor model.layers.0.block_sparse_moe.input_linear.weight has shape [5, 80, 32], expected 5 experts of 78 × 32 "
     "from the config."},
    {"granite_moe", "{\"num_experts_per_tok\": \"2\"}",
     "config.json: num_experts_per_tok is a text, expected a whole number."},
    {"deepseek_v2", "{\"qk_rope_head_dim\": 10}",
     "10 dimensions of a head rotate and 12 do not; the first must be a multiple of 4, the second at least 1."},
    {"deepseek_v2", "{\"kv_lora_rank\": 2000}", "config.json: kv_lora_rank is 2000, expected 1 to 1024."},
    {"deepseek_v2", "{\"kv_lora_rank\": 1020}",
     "A latent of 1020 and 8 rotated dimensions are more than the 1024 that Spate allows."},
    {"deepseek_v2", "{\"kv_lora_rank\": null}",
     "config.json: kv_lora_rank is missing; the model cannot be loaded without it."},
    {"deepseek_v2", "{\"num_attention_heads\": 4000, \"kv_lora_rank\": 500}",
     "4000 heads over a latent of 500 are wider than the 1048576 that Spate allows."},
    {"deepseek_v2", "{\"norm_topk_prob\": true}",
     "config.json: norm_topk_prob is true, expected false: DeepSeek V2's weights of experts are not normalized."},
    {"deepseek_v2", "{\"topk_method\": \"noaux_tc\"}",
     "config.json: topk_method is \"noaux_tc\", expected \"greedy\"."},
    {"deepseek_v2", "{\"moe_layer_freq\": 2}", "config.json: moe_layer_freq is 2, expected 1 to 1."},
    {"deepseek_v2", "{\"n_group\": 3}",
     "The config has 8 experts in 3 groups, of which 2 are chosen for 3 experts: the groups must be equal, and hold as "
     "many."},
    {"deepseek_v3", "{\"topk_group\": 1}",
     "The config has 8 experts in 4 groups, of which 1 are chosen for 3 experts: the groups must be equal, and hold as "
     "many."},
    {"deepseek_v3", "{\"scoring_func\": \"softmax\"}",
     "config.json: scoring_func is \"softmax\", expected \"sigmoid\"."},
    {"deepseek_v3", "{\"n_shared_experts\": 60, \"moe_intermediate_size\": 20000}",
     "60 shared experts of width 20000 are wider than the 1048576 that Spate allows."},
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
      {"gpt2", "{\"activation_function\": \"quick_gelu\"}"},
      {"gpt2", "{\"n_inner\": 96, \"tie_word_embeddings\": null}"},
      {"falcon7b", "{\"num_kv_heads\": 71, \"ffn_hidden_size\": 48}"},
      {"cohere2", "{\"layer_types\": null}"},
      {"smollm3", "{\"no_rope_layers\": null}"},
      {"phi3", "{\"rope_scaling.type\": \"su\"}"},
      {"gpt_neox", "{\"rotary_pct\": null, \"rotary_emb_base\": null, \"rope_parameters\": {\"rope_theta\": 10000, "
                   "\"partial_rotary_factor\": 0.5}}"},
      {"qwen2", "{\"use_sliding_window\": true, \"sliding_window\": 9, \"max_window_layers\": 1}"},
      {"mixtral", "{\"clip_qkv\": -1}"}, /* that OLMoE alone has */
      {"qwen3_moe", "{\"clip_qkv\": -1}"},
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

/* The table of distances of MPNet's fixture (32 rows of 3 heads), of another shape. */
static void test_table_refusals(void **state) {
  (void)state;
  static const struct { int rows, heads; } cases[] = {{512, 3}, {64, 3}, {34, 3}, {3, 3}, {0, 3}, {32, 2}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct model_variant variant;
    struct error error = {0};
    json_t *none = json_object();
    variant_make_in(&variant, "encoder", "mpnet", none);
    variant_reshape(&variant, "encoder.relative_attention_bias.weight", cases[i].rows, cases[i].heads);
    bool ok = model_plan(variant.path, &error);
    variant_remove(&variant);
    json_decref(none);
    if (ok) fail_msg("%d rows for %d heads were accepted", cases[i].rows, cases[i].heads);
    assert_string_equal(error.text,
                        "Tensor encoder.relative_attention_bias.weight is no matrix of 32 rows for 3 heads, "
                        "in F32, F16 or BF16.");
  }
}

/* A feed-forward of one row, whose tensor has one for each of the vocabulary: that is for a head's tokens alone. */
static void test_row_refusal(void **state) {
  (void)state;
  struct model_variant variant;
  struct error error = {0};
  json_t *change = json_pack("{s:i}", "intermediate_size", 1);
  variant_make_in(&variant, "encoder", "mpnet", change);
  for (int i = 0; i < 2; i++) {
    char name[80];
    snprintf(name, sizeof name, "encoder.layer.%d.intermediate.dense.weight", i);
    variant_reshape(&variant, name, 160, 36);
    snprintf(name, sizeof name, "encoder.layer.%d.intermediate.dense.bias", i);
    variant_reshape(&variant, name, 1, 1);
    snprintf(name, sizeof name, "encoder.layer.%d.output.dense.weight", i);
    variant_reshape(&variant, name, 36, 1);
  }
  bool ok = model_plan(variant.path, &error);
  variant_remove(&variant);
  json_decref(change);
  assert_false(ok);
  assert_string_equal(error.text, "Tensor encoder.layer.0.intermediate.dense.weight has shape [160, 36], expected "
                                  "[1, 36] from the config.");
}

/* Ministral 3 with the files of an encoder of texts. */
static void test_growth_refusal(void **state) {
  (void)state;
  struct model_variant variant;
  struct error error = {0};
  char path[PATH_MAX + 16];
  variant_make(&variant, "ministral3", NULL);
  snprintf(path, sizeof path, "%s/modules.json", variant.path);
  FILE *file = fopen(path, "w");
  assert_true(file && fputs("[]", file) >= 0 && fclose(file) == 0);
  bool ok = model_plan(variant.path, &error);
  variant_remove(&variant);
  assert_false(ok);
  assert_string_equal(error.text, "The config has scores that grow with the position "
                                  "(config.json: rope_parameters.llama_4_scaling_beta), which Spate does of networks "
                                  "that generate; this one encodes texts.");
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
       "gemma3.attention.sliding_window is 4294967295, expected 0 to 1073741824."},
      {"gemma3.rope.freq_base", 0x7fc00000, "gemma3.rope.freq_base is nan, expected 1.5 to 1e+12."},
      {"gemma3.block_count", 5, "Tensor blk.4.attn_norm.weight is missing, but the config asks for it."},
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

/* Lists where most files have a number, or none. */
static void test_gguf_lists(void **state) {
  (void)state;
  static const uint8_t flags[] = {1, 1, 0, 1};
  static const uint32_t same[] = {400, 400}, other[] = {400, 401};
  static const float fractions[] = {1, 1, 1, 1};
  static const struct {
    const char *model, *key, *sentence; /* NULL: accepted */
    enum gguf_type type;
    size_t count, size;
    const void *elements;
  } cases[] = {
      {"gemma2", "gemma2.attention.sliding_window_pattern", NULL, GGUF_BOOL, 4, 1, flags},
      {"gemma2", "gemma2.attention.sliding_window_pattern",
       "gemma2.attention.sliding_window_pattern has length 3, expected 4: one for each layer.", GGUF_BOOL, 3, 1, flags},
      {"gemma2", "gemma2.attention.sliding_window_pattern",
       "gemma2.attention.sliding_window_pattern has elements that are no flags.", GGUF_FLOAT32, 4, 4, fractions},
      {"phi4_mini", "phi3.attention.sliding_window", NULL, GGUF_UINT32, 2, 4, same},
      {"phi4_mini", "phi3.attention.sliding_window",
       "Key \"phi3.attention.sliding_window\" is a list whose elements differ; expected one number for all layers.",
       GGUF_UINT32, 2, 4, other},
      {"phi4_mini", "phi3.attention.sliding_window",
       "Key \"phi3.attention.sliding_window\" is of type array of uint32; expected an integer.", GGUF_UINT32, 0, 4,
       other},
      {"phi4_mini", "phi3.attention.sliding_window",
       "Key \"phi3.attention.sliding_window\" is of type array of float32; expected an integer.", GGUF_FLOAT32, 4, 4,
       fractions},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct error error = {0};
    char path[] = "/tmp/spate-refusal-XXXXXX";
    gguf_variant_list(path, cases[i].model, cases[i].key, cases[i].type, cases[i].count, cases[i].elements,
                      cases[i].size);
    bool ok = model_plan(path, &error);
    unlink(path);
    if (ok != !cases[i].sentence) fail_msg("%zu: %s", i, ok ? "was accepted" : error.text);
    if (!ok) assert_string_equal(error.text, cases[i].sentence);
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
  assert_string_equal(
      error.text, "gemma3.rope.scaling.type is \"llama3\", expected \"none\", \"linear\", \"yarn\" or \"longrope\".");
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
      cmocka_unit_test(test_refusals),     cmocka_unit_test(test_accepted),       cmocka_unit_test(test_gguf_refusals),
      cmocka_unit_test(test_gguf_scaling), cmocka_unit_test(test_paths),          cmocka_unit_test(test_table_refusals),
      cmocka_unit_test(test_row_refusal),  cmocka_unit_test(test_growth_refusal), cmocka_unit_test(test_gguf_lists),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
