/* Hugging Face's names and GGUF's. */
#include "model/decoder_names.h"

#include <stdio.h>

/* Names without "model." and "layers.3." or "blk.3.", and without ".weight". */
static const struct {
  const char *hf, *gguf;
} tensor_names[] = {
    [ROLE_EMBED] = {"embed_tokens", "token_embd"},
    [ROLE_HEAD] = {"lm_head", "output"},
    [ROLE_FINAL_NORM] = {"norm", "output_norm"},
    [ROLE_ATTEND_NORM] = {"input_layernorm", "attn_norm"},
    [ROLE_Q] = {"self_attn.q_proj", "attn_q"},
    [ROLE_K] = {"self_attn.k_proj", "attn_k"},
    [ROLE_V] = {"self_attn.v_proj", "attn_v"},
    [ROLE_Q_NORM] = {"self_attn.q_norm", "attn_q_norm"},
    [ROLE_K_NORM] = {"self_attn.k_norm", "attn_k_norm"},
    [ROLE_OUT] = {"self_attn.o_proj", "attn_output"},
    [ROLE_MLP_NORM] = {"post_attention_layernorm", "ffn_norm"},
    [ROLE_GATE] = {"mlp.gate_proj", "ffn_gate"},
    [ROLE_UP] = {"mlp.up_proj", "ffn_up"},
    [ROLE_DOWN] = {"mlp.down_proj", "ffn_down"},
    [ROLE_SANDWICH_ATTEND_POST] = {"post_attention_layernorm", "post_attention_norm"},
    [ROLE_SANDWICH_MLP_NORM] = {"pre_feedforward_layernorm", "ffn_norm"},
    [ROLE_SANDWICH_MLP_POST] = {"post_feedforward_layernorm", "post_ffw_norm"},
};

void decoder_tensor_name(enum checkpoint_kind kind, const char *prefix, int layer, enum tensor_role role,
                         const char *suffix, char out[TENSOR_NAME_BYTES]) {
  bool hf = kind == CHECKPOINT_HF;
  const char *base = hf ? tensor_names[role].hf : tensor_names[role].gguf;
  if (!hf || !prefix) prefix = "";
  if (layer < 0)
    snprintf(out, TENSOR_NAME_BYTES, "%s%s.%s", prefix, base, suffix);
  else
    snprintf(out, TENSOR_NAME_BYTES, "%s%s.%d.%s.%s", prefix, hf ? "layers" : "blk", layer, base, suffix);
}
