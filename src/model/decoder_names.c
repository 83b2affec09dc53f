/* Hugging Face's names and GGUF's. */
#include "model/decoder_names.h"

#include <stdio.h>

static const struct decoder_names llama_names = {
    .layers = "layers",
    .hf = {[ROLE_EMBED] = "embed_tokens",
           [ROLE_POSITIONS] = "embed_positions",
           [ROLE_HEAD] = "lm_head",
           [ROLE_FINAL_NORM] = "norm",
           [ROLE_ATTEND_NORM] = "input_layernorm",
           [ROLE_Q] = "self_attn.q_proj",
           [ROLE_K] = "self_attn.k_proj",
           [ROLE_V] = "self_attn.v_proj",
           [ROLE_QKV] = "self_attn.qkv_proj",
           [ROLE_Q_NORM] = "self_attn.q_norm",
           [ROLE_K_NORM] = "self_attn.k_norm",
           [ROLE_OUT] = "self_attn.o_proj",
           [ROLE_MLP_NORM] = "post_attention_layernorm",
           [ROLE_GATE] = "mlp.gate_proj",
           [ROLE_UP] = "mlp.up_proj",
           [ROLE_GATE_UP] = "mlp.gate_up_proj",
           [ROLE_DOWN] = "mlp.down_proj",
           [ROLE_SANDWICH_ATTEND_POST] = "post_attention_layernorm",
           [ROLE_SANDWICH_MLP_NORM] = "pre_feedforward_layernorm",
           [ROLE_SANDWICH_MLP_POST] = "post_feedforward_layernorm"},
    .gguf = {[ROLE_EMBED] = "token_embd",
             [ROLE_POSITIONS] = "position_embd",
             [ROLE_TYPES] = "token_types",
             [ROLE_EMBED_NORM] = "token_embd_norm",
             [ROLE_HEAD] = "output",
             [ROLE_FINAL_NORM] = "output_norm",
             [ROLE_ATTEND_NORM] = "attn_norm",
             [ROLE_Q] = "attn_q",
             [ROLE_K] = "attn_k",
             [ROLE_V] = "attn_v",
             [ROLE_QKV] = "attn_qkv",
             [ROLE_Q_NORM] = "attn_q_norm",
             [ROLE_K_NORM] = "attn_k_norm",
             [ROLE_OUT] = "attn_output",
             [ROLE_MLP_NORM] = "ffn_norm",
             [ROLE_GATE] = "ffn_gate",
             [ROLE_UP] = "ffn_up",
             [ROLE_GATE_UP] = "ffn_up",
             [ROLE_DOWN] = "ffn_down",
             [ROLE_SANDWICH_ATTEND_POST] = "post_attention_norm",
             [ROLE_SANDWICH_MLP_NORM] = "ffn_norm",
             [ROLE_SANDWICH_MLP_POST] = "post_ffw_norm"},
};

static const char *role_name(const struct decoder_names *names, bool hf, enum tensor_role role) {
  const char *name = hf ? names->hf[role] : names->gguf[role];
  return name || names == &llama_names ? name : role_name(&llama_names, hf, role);
}

void decoder_tensor_name(enum checkpoint_kind kind, const struct decoder_names *names, const char *prefix, int layer,
                         enum tensor_role role, const char *suffix, char out[TENSOR_NAME_BYTES]) {
  bool hf = kind == CHECKPOINT_HF;
  if (!names) names = &llama_names;
  const char *base = role_name(names, hf, role), *layers = names->layers ? names->layers : llama_names.layers;
  if (!hf || !prefix) prefix = "";
  if (layer < 0)
    snprintf(out, TENSOR_NAME_BYTES, "%s%s.%s", prefix, base, suffix);
  else
    snprintf(out, TENSOR_NAME_BYTES, "%s%s.%d.%s.%s", prefix, hf ? layers : "blk", layer, base, suffix);
}
