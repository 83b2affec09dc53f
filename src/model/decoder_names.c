/* Hugging Face's names and GGUF's, and whether what the head is called is the table of tokens again. */
#include "format/tensor.h"
#include "model/decoder_maker.h"

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
           [ROLE_SINKS] = "=self_attn.sinks",
           [ROLE_OUT] = "self_attn.o_proj",
           [ROLE_MLP_NORM] = "post_attention_layernorm",
           [ROLE_GATE] = "mlp.gate_proj",
           [ROLE_UP] = "mlp.up_proj",
           [ROLE_GATE_UP] = "mlp.gate_up_proj",
           [ROLE_DOWN] = "mlp.down_proj",
           [ROLE_ROUTER] = "mlp.gate",
           [ROLE_EXPERT_GATE] = "mlp.experts." EXPERT_MARK ".gate_proj",
           [ROLE_EXPERT_UP] = "mlp.experts." EXPERT_MARK ".up_proj",
           [ROLE_EXPERT_GATE_UP] = "=mlp.experts.gate_up_proj",
           [ROLE_EXPERT_DOWN] = "mlp.experts." EXPERT_MARK ".down_proj",
           [ROLE_CHOICE_BIAS] = "=mlp.gate.e_score_correction_bias",
           [ROLE_SHARED_GATE] = "mlp.shared_experts.gate_proj",
           [ROLE_SHARED_UP] = "mlp.shared_experts.up_proj",
           [ROLE_SHARED_DOWN] = "mlp.shared_experts.down_proj",
           [ROLE_SANDWICH_ATTEND_POST] = "post_attention_layernorm",
           [ROLE_SANDWICH_MLP_NORM] = "pre_feedforward_layernorm",
           [ROLE_SANDWICH_MLP_POST] = "post_feedforward_layernorm",
           [ROLE_Q_A] = "self_attn.q_a_proj",
           [ROLE_Q_A_NORM] = "self_attn.q_a_layernorm",
           [ROLE_Q_B] = "self_attn.q_b_proj",
           [ROLE_KV_A] = "self_attn.kv_a_proj_with_mqa",
           [ROLE_KV_A_NORM] = "self_attn.kv_a_layernorm",
           [ROLE_KV_B] = "self_attn.kv_b_proj"},
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
             [ROLE_SINKS] = "attn_sinks",
             [ROLE_OUT] = "attn_output",
             [ROLE_MLP_NORM] = "ffn_norm",
             [ROLE_GATE] = "ffn_gate",
             [ROLE_UP] = "ffn_up",
             [ROLE_GATE_UP] = "ffn_up",
             [ROLE_DOWN] = "ffn_down",
             [ROLE_ROUTER] = "ffn_gate_inp",
             [ROLE_EXPERT_GATE] = "ffn_gate_exps",
             [ROLE_EXPERT_UP] = "ffn_up_exps",
             [ROLE_EXPERT_GATE_UP] = "ffn_gate_up_exps",
             [ROLE_EXPERT_DOWN] = "ffn_down_exps",
             [ROLE_CHOICE_BIAS] = "=exp_probs_b.bias",
             [ROLE_SHARED_GATE] = "ffn_gate_shexp",
             [ROLE_SHARED_UP] = "ffn_up_shexp",
             [ROLE_SHARED_DOWN] = "ffn_down_shexp",
             [ROLE_SANDWICH_ATTEND_POST] = "post_attention_norm",
             [ROLE_SANDWICH_MLP_NORM] = "ffn_norm",
             [ROLE_SANDWICH_MLP_POST] = "post_ffw_norm",
             [ROLE_Q_A] = "attn_q_a",
             [ROLE_Q_A_NORM] = "attn_q_a_norm",
             [ROLE_Q_B] = "attn_q_b",
             [ROLE_KV_A] = "attn_kv_a_mqa",
             [ROLE_KV_A_NORM] = "attn_kv_a_norm",
             [ROLE_KV_B] = "attn_kv_b",
             [ROLE_K_B] = "attn_k_b",
             [ROLE_V_B] = "attn_v_b"},
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
  bool alone = *base == '=', weight = strcmp(suffix, "weight") == 0;
  const char *joint = !alone ? "." : weight ? "" : "_";
  if (alone) base++;
  if (alone && weight) suffix = "";
  if (layer < 0)
    snprintf(out, TENSOR_NAME_BYTES, "%s%s%s%s", prefix, base, joint, suffix);
  else
    snprintf(out, TENSOR_NAME_BYTES, "%s%s.%d.%s%s%s", prefix, hf ? layers : "blk", layer, base, joint, suffix);
}

bool decoder_head_is_table(const struct decoder *d, const struct checkpoint *checkpoint) {
  char table[TENSOR_NAME_BYTES], name[TENSOR_NAME_BYTES];
  decoder_tensor_name(checkpoint_kind(checkpoint), d->names, d->prefix, -1, ROLE_EMBED, "weight", table);
  decoder_tensor_name(checkpoint_kind(checkpoint), d->names, d->head_prefix, -1, ROLE_HEAD, "weight", name);
  const struct tensor *head = checkpoint_find(checkpoint, name), *embed = checkpoint_find(checkpoint, table);
  return d->tied && (!head || !embed || tensor_same(head, embed));
}
