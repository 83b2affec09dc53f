"""The tiny checkpoints of make_family_fixtures.py: config.json as the hub has it for the family, which changes to it must
show, and what llama.cpp's converter writes besides tensors under other names."""
import re

import numpy as np

import mxfp4

COMMON = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.02}
WHOLE = 264  # what a tokenizer of all bytes needs; the others' has those of ASCII
LLAMA = {**COMMON, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
         "attention_bias": False, "max_position_embeddings": 512, "hidden_size": 36, "intermediate_size": 40,
         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 103}


def family(architecture, model_type, off, config, **more):
    return {"config": {"architectures": [architecture], "model_type": model_type, **config}, "off": off, **more}


def plus_one(name, data, config):
    return data + np.float32(1) if "norm" in name else data


def gemma2_tensor(name, data, config):
    """GGUF cannot state the scale of attention: q carries what differs from the head's size."""
    ratio = (config["head_dim"] / config["query_pre_attn_scalar"]) ** 0.5
    return data * np.float32(ratio) if ".q_proj." in name else plus_one(name, data, config)


def permuted(name, data, config):
    """Rows of q's and k's heads from halves to neighbours, as for Llama."""
    if not any(f".{word}_proj." in name for word in "qk"):
        return data
    heads = config["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"]
    rows = data.shape[0] // heads
    return data.reshape(heads, 2, rows // 2, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)


def gemma2_metadata(writer, config):
    writer.add_sliding_window(config["sliding_window"])
    writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    writer.add_final_logit_softcapping(config["final_logit_softcapping"])


def long_metadata(writer, config):
    scaling, half = config["rope_scaling"], len(config["rope_scaling"]["long_factor"])
    factor = config["max_position_embeddings"] / config["original_max_position_embeddings"]
    writer.add_rope_scaling_attn_factors(
        (1 + np.log(factor) / np.log(config["original_max_position_embeddings"])) ** 0.5)
    writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
    for kind in ("long", "short"):
        writer.add_tensor(f"rope_factors_{kind}.weight", np.array(scaling[kind + "_factor"], np.float32))
    writer.add_rope_dimension_count(2 * half)
    if config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])


def granite_metadata(writer, config):
    writer.add_attention_scale(config["attention_multiplier"])
    writer.add_embedding_scale(config["embedding_multiplier"])
    writer.add_residual_scale(config["residual_multiplier"])
    writer.add_logit_scale(config["logits_scaling"])


def cohere_metadata(writer, config):
    writer.add_logit_scale(config["logit_scale"])
    if config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])


def ministral3_metadata(writer, config):
    import gguf
    rope = config["rope_parameters"]
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    writer.add_rope_scaling_yarn_log_mul(rope["mscale_all_dim"])
    writer.add_attn_temperature_scale(rope["llama_4_scaling_beta"])


def long_factors(count, first, last):
    return [round(float(x), 3) for x in np.linspace(first, last, count)]


GEMMA = {**LLAMA, "head_dim": 14, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
         "rms_norm_eps": 1e-6, "tie_word_embeddings": True}
PHI = {**LLAMA, "hidden_size": 40, "original_max_position_embeddings": 32, "sliding_window": None}
COHERE = {key: value for key, value in LLAMA.items() if key != "rms_norm_eps"} | {
    "layer_norm_eps": 1e-5, "logit_scale": 0.4, "tie_word_embeddings": True, "hidden_size": 40}

FAMILIES = {
    "gemma": family("GemmaForCausalLM", "gemma", {
        "rope": {"rope_theta": 100.0}, "heads": {"num_key_value_heads": 4},
        "norms": {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2"},
        "embed_scale": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu"}},
        GEMMA, norm_mean=0, embed=0.4, gguf="gemma", gguf_tensor=plus_one),
    "gemma2": family("Gemma2ForCausalLM", "gemma2", {
        "window": {"sliding_window": 400}, "window.size": {"sliding_window": 13},
        "layer_types": {"layer_types": ["full_attention", "sliding_attention"] * 2},
        "attend_scalar": {"query_pre_attn_scalar": 10}, "attend_softcap": {"attn_logit_softcapping": None},
        "final_softcap": {"final_logit_softcapping": None}, "rope": {"rope_theta": 100.0}},
        {**GEMMA, "num_hidden_layers": 4, "head_dim": 10, "sliding_window": 12, "query_pre_attn_scalar": 40,
         "attn_logit_softcapping": 1.5, "final_logit_softcapping": 9.0}, norm_mean=0, embed=0.4, gguf="gemma2",
        gguf_metadata=gemma2_metadata, gguf_tensor=gemma2_tensor),
    "phi3": family("Phi3ForCausalLM", "phi3", {
        "long": {"original_max_position_embeddings": 512}, "rope_scaling": {"rope_scaling": None},
        "rope": {"rope_theta": 100.0}, "window": {"sliding_window": None}, "window.size": {"sliding_window": 19}},
        {**PHI, "rope_scaling": {"type": "longrope", "long_factor": long_factors(5, 1.5, 12),
                                 "short_factor": long_factors(5, 1, 3)}, "sliding_window": 18},
        gguf="phi3", gguf_metadata=long_metadata),
    "phi4_mini": family("Phi3ForCausalLM", "phi3", {
        "short": {"original_max_position_embeddings": 64}, "rope_scaling": {"rope_scaling": None},
        "partial": {"partial_rotary_factor": 1.0}},
        {**PHI, "max_position_embeddings": 4096, "original_max_position_embeddings": 512, "head_dim": 16,
         "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 40, "partial_rotary_factor": 0.75,
         "tie_word_embeddings": True,
         "rope_scaling": {"type": "longrope", "long_factor": long_factors(6, 2, 30),
                          "short_factor": long_factors(6, 1, 6)}}, gguf="phi3", gguf_metadata=long_metadata),
    "granite": family("GraniteForCausalLM", "granite", {
        "embedding": {"embedding_multiplier": 1.0}, "attention": {"attention_multiplier": 0.33},
        "residual": {"residual_multiplier": 1.0}, "logits": {"logits_scaling": 1.0}, "rope": {"rope_theta": 100.0}},
        {**LLAMA, "hidden_size": 40, "tie_word_embeddings": True, "embedding_multiplier": 1.6,
         "attention_multiplier": 0.22, "residual_multiplier": 0.55, "logits_scaling": 2.5}, gguf="granite",
        gguf_metadata=granite_metadata, gguf_tensor=permuted),
    "granite4": family("GraniteMoeHybridForCausalLM", "granitemoehybrid", {
        "rotation": {"position_embedding_type": "nope"}, "layers": {"layer_types": ["attention", "mamba"]},
        "experts": {"num_local_experts": 4}, "width": {"shared_intermediate_size": 40}, "logits": {"logits_scaling": 1.0},
        "rope": {"rope_theta": 100.0}},
        {**LLAMA, "hidden_size": 40, "tie_word_embeddings": True, "embedding_multiplier": 1.6,
         "attention_multiplier": 0.22, "residual_multiplier": 0.55, "logits_scaling": 2.5, "num_local_experts": 0,
         "num_experts_per_tok": 0, "shared_intermediate_size": 36, "layer_types": ["attention"] * 2,
         "position_embedding_type": "rope", "mamba_n_heads": 4, "mamba_d_head": 20, "mamba_d_state": 16,
         "mamba_expand": 2}),
    "olmo2": family("Olmo2ForCausalLM", "olmo2", {
        "norms": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "rope": {"rope_theta": 100.0},
        "eps": {"rms_norm_eps": 0.5}},
        {**LLAMA, "head_dim": 10, "hidden_size": 40}, gguf="olmo2"),
    "olmo3": family("Olmo3ForCausalLM", "olmo3", {
        "window": {"sliding_window": 400}, "layer_types": {"layer_types": ["full_attention"] * 4},
        "rope_scaling": {"rope_scaling": None}, "local_rope": {"layer_types": ["sliding_attention"] * 4}},
        {**LLAMA, "head_dim": 10, "hidden_size": 40, "num_hidden_layers": 4, "sliding_window": 12, "rope_theta": 500000.0,
         "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
         "rope_scaling": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64,
                          "beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": 1.2}}),
    "smollm3": family("SmolLM3ForCausalLM", "smollm3", {
        "still": {"no_rope_layers": [1] * 4}, "still.which": {"no_rope_layers": [1, 0, 1, 0]},
        "rope": {"rope_theta": 100.0}, "tied": {"tie_word_embeddings": False}},
        {**LLAMA, "hidden_size": 40, "num_hidden_layers": 4, "no_rope_layers": [1, 1, 1, 0],
         "no_rope_layer_interval": 4, "use_sliding_window": False, "sliding_window": None, "rope_theta": 5000.0,
         "tie_word_embeddings": True}, gguf="smollm3", gguf_tensor=permuted),
    "glm": family("GlmForCausalLM", "glm", {
        "partial": {"partial_rotary_factor": 1.0}, "bias": {"attention_bias": False}, "rope": {"rope_theta": 100.0}},
        {**LLAMA, "hidden_size": 40, "head_dim": 12, "attention_bias": True, "partial_rotary_factor": 0.5}),
    "glm4": family("Glm4ForCausalLM", "glm4", {
        "partial": {"partial_rotary_factor": 1.0}, "bias": {"attention_bias": False}, "rope": {"rope_theta": 100.0},
        "norms": {"architectures": ["GlmForCausalLM"], "model_type": "glm"}},
        {**LLAMA, "hidden_size": 40, "head_dim": 12, "attention_bias": True, "partial_rotary_factor": 0.5}, gguf="glm4"),
    "cohere": family("CohereForCausalLM", "cohere", {
        "norms": {"use_qk_norm": False}, "logits": {"logit_scale": 1.0}, "rope": {"rope_theta": 100.0},
        "eps": {"layer_norm_eps": 0.5}},
        {**COHERE, "use_qk_norm": True}, gguf="command-r", gguf_metadata=cohere_metadata),
    "cohere2": family("Cohere2ForCausalLM", "cohere2", {
        "window": {"sliding_window": 400}, "still": {"layer_types": ["sliding_attention"] * 4},
        "logits": {"logit_scale": 1.0}, "rope": {"rope_theta": 100.0},
        "layer_types": {"layer_types": ["sliding_attention", "full_attention"] * 2}},
        {**COHERE, "num_hidden_layers": 4, "head_dim": 12, "sliding_window": 12, "sliding_window_pattern": 4}, gguf="cohere2", gguf_metadata=cohere_metadata),
    "ministral3": family("Ministral3ForCausalLM", "ministral3", {
        "growth": {"rope_parameters.llama_4_scaling_beta": 0.0}, "growth.less": {"rope_parameters.llama_4_scaling_beta": 0.3},
        "original": {"rope_parameters.original_max_position_embeddings": 16}, "factor": {"rope_parameters.factor": 4.0},
        "attention": {"rope_parameters.mscale_all_dim": 0.5}},
        {**{key: value for key, value in LLAMA.items() if key != "rope_theta"}, "hidden_size": 40, "head_dim": 12,
         "num_hidden_layers": 2, "sliding_window": None,
         "rope_parameters": {"rope_type": "yarn", "type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "beta_fast": 32.0,
                             "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.6,
                             "original_max_position_embeddings": 8}},
        gguf="mistral3", gguf_metadata=ministral3_metadata, gguf_tensor=permuted),
    "ministral": family("MinistralForCausalLM", "ministral", {
        "window": {"sliding_window": 400}, "layer_types": {"layer_types": ["full_attention"] * 2}},
        {**LLAMA, "hidden_size": 40, "head_dim": 12, "sliding_window": 12,
         "layer_types": ["full_attention", "sliding_attention"]}),
}


# --- before Llama ---------------------------------------------------------------------------------------------------------

def joined(name, data, config):
    """Groups of a KV head's queries, key and value become all of q, of k, of v."""
    if "query_key_value" not in name:
        return data
    heads = config["num_attention_heads"]
    kv = config.get("num_kv_heads", heads)
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        kv = 1
    dim, rest = config["hidden_size"] // heads, data.shape[1:]
    groups = data.reshape(kv, heads // kv + 2, dim, *rest)
    return np.concatenate([groups[:, :-2].reshape(-1, *rest), groups[:, -2].reshape(-1, *rest),
                           groups[:, -1].reshape(-1, *rest)])


def neox_metadata(writer, config):
    writer.add_parallel_residual(config["use_parallel_residual"])


def gpt2_tensor(name, data, config):
    return data.T if ".h." in name and data.ndim == 2 else data


def mpt_metadata(writer, config):
    writer.add_max_alibi_bias(config["attn_config"]["alibi_bias_max"])
    if config["attn_config"]["clip_qkv"]:
        writer.add_clamp_kqv(config["attn_config"]["clip_qkv"])


NEOX = {**COMMON, "hidden_act": "gelu", "layer_norm_eps": 1e-5, "rotary_emb_base": 10000, "rotary_pct": 0.5,
        "tie_word_embeddings": False, "use_parallel_residual": True, "max_position_embeddings": 512, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 103,
        "attention_bias": True}
FALCON = {**COMMON, "activation": "gelu", "layer_norm_epsilon": 1e-5, "hidden_size": 32, "ffn_hidden_size": 48,
          "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 103, "alibi": False, "bias": False,
          "multi_query": True, "new_decoder_architecture": False, "parallel_attn": True, "rope_theta": 10000.0,
          "tie_word_embeddings": True, "hidden_dropout": 0.0, "attention_dropout": 0.0}

FAMILIES |= {
    "gpt2": family("GPT2LMHeadModel", "gpt2", {
        "act": {"activation_function": "silu"}, "heads": {"n_head": 2}, "scale": {"scale_attn_weights": False},
        "eps": {"layer_norm_epsilon": 0.5}, "by_layer": {"scale_attn_by_inverse_layer_idx": True}},
        {**COMMON, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "n_embd": 24, "n_head": 4, "n_layer": 2,
         "n_positions": 512, "n_inner": None, "vocab_size": 103, "tie_word_embeddings": True, "scale_attn_weights": True,
         "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}, transposed=True, gguf="gpt2",
        gguf_tensor=gpt2_tensor),
    "gpt_neox": family("GPTNeoXForCausalLM", "gpt_neox", {
        "parallel": {"use_parallel_residual": False}, "partial": {"rotary_pct": 1.0},
        "act": {"hidden_act": "silu"}, "rope": {"rotary_emb_base": 100}, "bias": {"attention_bias": False}},
        NEOX, rename={"lm_head": "embed_out"}, gguf="gptneox", gguf_metadata=neox_metadata, gguf_tensor=joined),
    "gpt_neox_serial": family("GPTNeoXForCausalLM", "gpt_neox", {"parallel": {"use_parallel_residual": True}},
        {**NEOX, "use_parallel_residual": False}, rename={"lm_head": "embed_out"}),
    "starcoder2": family("Starcoder2ForCausalLM", "starcoder2", {
        "window": {"sliding_window": None}, "window.size": {"sliding_window": 13}, "bias": {"use_bias": False},
        "act": {"hidden_act": "silu"}, "rope": {"rope_theta": 100.0}, "eps": {"norm_epsilon": 0.5}},
        {**COMMON, "hidden_act": "gelu_pytorch_tanh", "norm_epsilon": 1e-5, "rope_theta": 10000.0, "use_bias": True,
         "sliding_window": 12, "max_position_embeddings": 512, "hidden_size": 32, "intermediate_size": 48,
         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 103,
         "tie_word_embeddings": True, "residual_dropout": 0.0, "embedding_dropout": 0.0, "attention_dropout": 0.0},
        gguf="starcoder2", gguf_metadata=lambda writer, config: writer.add_sliding_window(config["sliding_window"])),
    "falcon7b": family("FalconForCausalLM", "falcon", {
        "single": {"multi_query": False}, "rope": {"rope_theta": 100.0}, "act": {"activation": "silu"},
        "alibi": {"alibi": True}, "parallel": {"parallel_attn": False}},
        FALCON, gguf="falcon", gguf_tensor=joined),
    "falcon40b": family("FalconForCausalLM", "falcon", {
        "norms": {"num_ln_in_parallel_attn": 1}, "groups": {"num_kv_heads": 4},
        "decoder": {"new_decoder_architecture": False}},
        {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 2}, gguf="falcon",
        gguf_tensor=joined),
    "falcon_rw": family("FalconForCausalLM", "falcon", {
        "alibi": {"alibi": False}, "bias": {"bias": False}, "parallel": {"parallel_attn": True}},
        {**FALCON, "alibi": True, "bias": True, "multi_query": False, "parallel_attn": False},
        attention="sdpa"),  # the eager way of transformers 5.24 adds the slopes twice
    "mpt_clip": family("MptForCausalLM", "mpt", {"clamp": {"attn_config.clip_qkv": None}, "less": {"attn_config.clip_qkv": 1.0}},
        {**COMMON, "d_model": 24, "n_heads": 6, "n_layers": 2, "max_seq_len": 512, "expansion_ratio": 4, "vocab_size": 103,
         "no_bias": True, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
         "attn_config": {"attn_type": "multihead_attention", "alibi": True, "alibi_bias_max": 8, "clip_qkv": 0.7,
                         "qk_ln": False, "softmax_scale": None, "attn_pdrop": 0}}, gguf="mpt", gguf_metadata=mpt_metadata),
    "mpt": family("MptForCausalLM", "mpt", {
        "alibi": {"attn_config.alibi": False}, "slopes": {"attn_config.alibi_bias_max": 4},
        "clamp": {"attn_config.clip_qkv": 1}, "scale": {"attn_config.softmax_scale": 0.9},
        "eps": {"layer_norm_epsilon": 0.5}},
        {**COMMON, "d_model": 24, "n_heads": 6, "n_layers": 2, "max_seq_len": 512, "expansion_ratio": 4, "vocab_size": 103,
         "no_bias": True, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
         "attn_config": {"attn_type": "multihead_attention", "alibi": True, "alibi_bias_max": 8, "clip_qkv": None,
                         "qk_ln": False, "softmax_scale": None, "attn_pdrop": 0}}, gguf="mpt", gguf_metadata=mpt_metadata),
}


def mpt_norms():
    """transformers leaves qk_ln out: torch's layer norms of all of q and all of k follow the projection, as in the
    network's own code."""
    import torch
    from transformers.models.mpt import modeling_mpt

    class NormedAttention(modeling_mpt.MptAttention):
        def __init__(self, config, *args, **options):
            super().__init__(config, *args, **options)
            if config.attn_config.qk_ln:
                self.q_ln, self.k_ln = (torch.nn.LayerNorm(config.d_model, config.layer_norm_epsilon, bias=False)
                                        for _ in range(2))
                self.Wqkv.register_forward_hook(self.normed)

        def normed(self, _module, _inputs, joined):
            q, k, v = joined.chunk(3, dim=-1)
            return torch.cat((self.q_ln(q), self.k_ln(k), v), dim=-1)

    modeling_mpt.MptAttention = NormedAttention


MPT = {key: value for key, value in FAMILIES["mpt_clip"]["config"].items() if key not in ("architectures", "model_type")}
FAMILIES["mpt_norms"] = family(
    "MptForCausalLM", "mpt",
    {"norms": {"attn_config.qk_ln": False}, "eps": {"layer_norm_epsilon": 0.5}, "clamp": {"attn_config.clip_qkv": 1.0}},
    {**MPT, "attn_config": {**MPT["attn_config"], "clip_qkv": None, "qk_ln": True}},
    before=mpt_norms, gguf="mpt", gguf_metadata=mpt_metadata)


# --- gpt-oss ---------------------------------------------------------------------------------------------------------------

def is_expert(name):
    return ".mlp.experts." in name and not name.endswith("_bias")


def gpt_oss_tensor(name, data):
    """Experts' matrices, which are stored transposed, hold what MXFP4 holds: so both checkpoints have the same numbers.
    GGUF cannot state the limit of gates: they are so large that the published one shows."""
    if not is_expert(name):
        return data
    size = 4 if "gate_up" in name else 0.1
    data = data.swapaxes(1, 2) * np.float32(size * (data.shape[2] / data.shape[1]) ** 0.5)
    return np.ascontiguousarray(mxfp4.decode(*mxfp4.encode(data)).swapaxes(1, 2))


def gpt_oss_stored(tensors):
    for name, data in tensors:
        if not is_expert(name):
            yield name, data
            continue
        codes, scales = mxfp4.encode(data.swapaxes(1, 2))
        yield name + "_blocks", mxfp4.hub_blocks(codes)
        yield name + "_scales", scales


def gpt_oss_gguf(tensors, _):
    """What llama.cpp's converter makes of them: gate and up apart, blocks with their scales, names of modules."""
    out = {}
    for name, data in tensors.items():
        if name.endswith("_scales"):
            continue
        if name.endswith("_blocks"):
            codes = np.stack([data & 15, data >> 4], -1).reshape(*data.shape[:-1], 32)
            data = mxfp4.gguf_rows(codes, tensors[name.replace("_blocks", "_scales")])
            name = name.replace("_blocks", ".weight")
        name = name.replace("sinks", "sinks.weight").replace("_proj_bias", "_proj.bias")
        if "gate_up_proj" in name:
            out[name.replace("gate_up", "gate")], out[name.replace("gate_up", "up")] = data[:, ::2], data[:, 1::2]
        else:
            out[name] = data
    return out


def gpt_oss_metadata(writer, config):
    import gguf
    scaling = config["rope_scaling"]
    writer.add_sliding_window(config["sliding_window"])
    writer.add_expert_feed_forward_length(config["intermediate_size"])
    writer.add_expert_count(config["num_local_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(scaling["factor"])
    writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])


GPT_OSS = {
    "attention_bias": True, "attention_dropout": 0.0, "eos_token_id": 2, "experts_per_token": 2, "head_dim": 16,
    "hidden_act": "silu", "hidden_size": 64, "initial_context_length": 64, "initializer_range": 0.02,
    "intermediate_size": 32, "layer_types": ["sliding_attention", "full_attention"],
    "max_position_embeddings": 512, "num_attention_heads": 4, "num_experts_per_tok": 2, "num_hidden_layers": 2,
    "num_key_value_heads": 2, "num_local_experts": 5, "output_router_logits": False, "pad_token_id": 0,
    "rms_norm_eps": 1e-5, "rope_theta": 150000,
    "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 8.0, "original_max_position_embeddings": 64,
                     "rope_type": "yarn", "truncate": False},
    "router_aux_loss_coef": 0.9, "sliding_window": 12, "swiglu_limit": 7.0, "tie_word_embeddings": False,
    "use_cache": True, "vocab_size": 103}

FAMILIES |= {
    "gpt_oss": family("GptOssForCausalLM", "gpt_oss", {
        "window": {"sliding_window": 400}, "window.size": {"sliding_window": 13},
        "layer_types": {"layer_types": ["full_attention"] * 2}, "layer_types.usual": {
            "layer_types": ["full_attention", "sliding_attention"]},
        "limit": {"swiglu_limit": 1000.0}, "alpha": {"swiglu_alpha": 1.0}, "experts": {"num_experts_per_tok": 3},
        "bias": {"attention_bias": False}, "rope_scaling": {"rope_scaling": None},
        "truncate": {"rope_scaling.truncate": True}, "rope": {"rope_theta": 100.0}}, GPT_OSS, tensor=gpt_oss_tensor),
    "gpt_oss_mxfp4": family("GptOssForCausalLM", "gpt_oss", {
        "unquantized": {"quantization_config": None}, "limit": {"swiglu_limit": 1000.0}},
        {**GPT_OSS, "quantization_config": {
            "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
                                       "lm_head"], "quant_method": "mxfp4"}},
        seed="gpt_oss", tensor=gpt_oss_tensor, stored=gpt_oss_stored, gguf="gpt-oss", gguf_metadata=gpt_oss_metadata,
        gguf_tensors=gpt_oss_gguf),
}


# --- mixtures of experts --------------------------------------------------------------------------------------------------

def experts_apart(*words):
    """The hub's files have a tensor for each expert: words for gate, up and down."""
    def hub(name, data):
        base, _, last = name.rpartition(".")
        if not base.endswith(".experts"):
            return [(name, data)]
        half = data.shape[1] // 2
        parts = [(words[0], data[:, :half]), (words[1], data[:, half:])] if last == "gate_up_proj" else [(words[2], data)]
        return [(f"{base}.{e}.{word}.weight", part[e]) for word, part in parts for e in range(len(data))]
    return hub


def mixtral_hub(name, data):
    return experts_apart("w1", "w3", "w2")(name.replace(".mlp.", ".block_sparse_moe."), data)


def phimoe_hub(name, data):
    return mixtral_hub(name.replace(".router.", ".gate."), data)


def granite_moe_hub(name, data):
    for new, old in {"router.weight": "router.layer.weight", "experts.gate_up_proj": "input_linear.weight",
                     "experts.down_proj": "output_linear.weight"}.items():
        name = name.replace(new, old)
    return [(name, data)]


def experts_stacked(tensors, _):
    """As llama.cpp's converter has them: one tensor of all experts."""
    stacks = {}
    for name, data in tensors.items():
        base, number, rest = name.partition(".experts.")[0], name.partition(".experts.")[2].partition(".")[0], None
        if number.isdigit():
            rest = name.partition(".experts.")[2].partition(".")[2]
            stacks.setdefault(f"{base}.experts.{rest}", []).append(data)
        else:
            stacks[name] = data
    return {name: np.stack(data) if isinstance(data, list) else data for name, data in stacks.items()}


def granite_moe_stacked(tensors, _):
    out = {}
    for name, data in tensors.items():
        if ".block_sparse_moe.input_linear." in name:
            half, base = data.shape[1] // 2, name.partition(".block_sparse_moe.")[0]
            out[f"{base}.block_sparse_moe.experts.w1.weight"] = data[:, :half]
            out[f"{base}.block_sparse_moe.experts.w3.weight"] = data[:, half:]
        elif ".shared_mlp.input_linear." in name:
            half, base = data.shape[0] // 2, name.partition(".shared_mlp.")[0]
            out[f"{base}.mlp.shared_mlp.gate_proj.weight"] = data[:half]
            out[f"{base}.mlp.shared_mlp.up_proj.weight"] = data[half:]
        else:
            out[name] = data
    return out


def experts_apart_name(name):
    """As llama.cpp's converter had them before experts were stacked: a tensor for each."""
    found = re.fullmatch(r"model\.layers\.(\d+)\.block_sparse_moe\.experts\.(\d+)\.(w[123])\.weight", name)
    words = {"w1": "gate", "w2": "down", "w3": "up"}
    return found and f"blk.{found[1]}.ffn_{words[found[3]]}.{found[2]}.weight"


def experts_metadata(writer, config):
    writer.add_expert_count(config.get("num_local_experts") or config["num_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    if "moe_intermediate_size" in config:
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])


MOE = {**LLAMA, "hidden_size": 32, "router_aux_loss_coef": 0.001, "output_router_logits": False}
QWEN_MOE = {**MOE, "num_hidden_layers": 3, "head_dim": 10, "num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 20,
            "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [], "use_sliding_window": False,
            "sliding_window": None, "max_window_layers": 3}

PHIMOE = {**MOE, "num_experts_per_tok": 2, "intermediate_size": 16, "num_hidden_layers": 1, "attention_bias": True,
          "lm_head_bias": True, "sliding_window": None, "input_jitter_noise": 0.0, "attention_dropout": 0.0}
# Of heads of 8: four frequencies.
LONG = {"short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.0, 2.0, 3.0, 4.0]}

FAMILIES |= {
    "mixtral": family("MixtralForCausalLM", "mixtral", {
        "k": {"num_experts_per_tok": 3}, "experts": {"num_local_experts": 4}, "window": {"sliding_window": None},
        "rope": {"rope_theta": 100.0}, "norms": {"rms_norm_eps": 0.5}},
        {**MOE, "num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 12, "num_hidden_layers": 3,
         "vocab_size": WHOLE}, hub=mixtral_hub),
    "mixtral_full": family("MixtralForCausalLM", "mixtral", {"k": {"num_experts_per_tok": 1}},
        {**MOE, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
        hub=mixtral_hub, gguf="llama", gguf_metadata=experts_metadata, gguf_tensor=permuted, gguf_tensors=experts_stacked),
    "mixtral_apart": family("MixtralForCausalLM", "mixtral", {"k": {"num_experts_per_tok": 1}},
        {**MOE, "num_local_experts": 3, "num_experts_per_tok": 2, "num_hidden_layers": 1, "sliding_window": None},
        hub=mixtral_hub, gguf="llama", gguf_metadata=experts_metadata, gguf_tensor=permuted, gguf_name=experts_apart_name),
    "phimoe": family("PhimoeForCausalLM", "phimoe", {
        "near": {"router_jitter_noise": 0.05}, "k": {"num_experts_per_tok": 1}, "head": {"lm_head_bias": False},
        "attention": {"attention_bias": False}, "scale": {"rope_scaling": {"type": "longrope", "short_mscale": 1.0, "long_mscale": 1.0,
        "short_factor": LONG["short_factor"], "long_factor": LONG["long_factor"], "original_max_position_embeddings": 512}},
        "window": {"sliding_window": None}, "norms": {"rms_norm_eps": 0.5}},
        {**PHIMOE, "num_local_experts": 5, "router_jitter_noise": 0.25, "sliding_window": 12, "rope_scaling": {
            "type": "longrope", "short_mscale": 1.243163121016122, "long_mscale": 1.1, "original_max_position_embeddings": 512,
            **LONG}},
        hub=phimoe_hub, seed="phimoed"),
    "phimoe_plain": family("PhimoeForCausalLM", "phimoe", {"near": {"router_jitter_noise": 0.4}},
        {**PHIMOE, "num_local_experts": 3, "router_jitter_noise": 0.01},
        hub=phimoe_hub, gguf="phimoe", gguf_metadata=experts_metadata, gguf_tensors=experts_stacked),
    "qwen3_moe": family("Qwen3MoeForCausalLM", "qwen3_moe", {
        "normalize": {"norm_topk_prob": False}, "k": {"num_experts_per_tok": 2}, "rope": {"rope_theta": 100.0},
        "dense": {"mlp_only_layers": [1]}, "step": {"decoder_sparse_step": 2}, "width": {"moe_intermediate_size": 19}},
        {**QWEN_MOE, "vocab_size": WHOLE}, hub=experts_apart("gate_proj", "up_proj", "down_proj"), gguf="qwen3moe",
        gguf_metadata=experts_metadata, gguf_tensors=experts_stacked),
    "qwen3_moe_mixed": family("Qwen3MoeForCausalLM", "qwen3_moe", {
        "normalize": {"norm_topk_prob": True}, "dense": {"mlp_only_layers": []}, "step": {"decoder_sparse_step": 1},
        "tied": {"tie_word_embeddings": False}},
        {**QWEN_MOE, "num_hidden_layers": 4, "mlp_only_layers": [3], "decoder_sparse_step": 2, "norm_topk_prob": False,
         "num_experts_per_tok": 1, "tie_word_embeddings": True}, hub=experts_apart("gate_proj", "up_proj", "down_proj")),
    "olmoe": family("OlmoeForCausalLM", "olmoe", {
        "normalize": {"norm_topk_prob": True}, "clamp": {"clip_qkv": 0.4}, "k": {"num_experts_per_tok": 2}},
        {**MOE, "num_experts": 6, "num_experts_per_tok": 3, "norm_topk_prob": False, "clip_qkv": None,
         "num_hidden_layers": 2}, hub=experts_apart("gate_proj", "up_proj", "down_proj"), gguf="olmoe",
        gguf_metadata=experts_metadata, gguf_tensors=experts_stacked),
    "olmoe_clip": family("OlmoeForCausalLM", "olmoe", {"clamp": {"clip_qkv": None}, "less": {"clip_qkv": 1.2}},
        {**MOE, "num_experts": 3, "num_experts_per_tok": 2, "norm_topk_prob": False, "clip_qkv": 0.8,
         "num_hidden_layers": 2}, hub=experts_apart("gate_proj", "up_proj", "down_proj")),
    "granite_moe": family("GraniteMoeForCausalLM", "granitemoe", {
        "k": {"num_experts_per_tok": 3}, "residual": {"residual_multiplier": 1.0}, "logits": {"logits_scaling": 1.0}},
        {**MOE, "num_local_experts": 5, "num_experts_per_tok": 2, "tie_word_embeddings": True, "num_hidden_layers": 2,
         "embedding_multiplier": 1.6, "attention_multiplier": 0.22, "residual_multiplier": 0.55, "logits_scaling": 2.5},
        hub=granite_moe_hub, gguf="granitemoe", gguf_tensor=permuted, gguf_tensors=granite_moe_stacked,
        gguf_metadata=lambda writer, config: (granite_metadata(writer, config), experts_metadata(writer, config))),
    "granite_moe_shared": family("GraniteMoeSharedForCausalLM", "granitemoeshared", {
        "k": {"num_experts_per_tok": 3}, "shared": {"shared_intermediate_size": 0}},
        {**MOE, "num_local_experts": 3, "num_experts_per_tok": 2, "tie_word_embeddings": True, "num_hidden_layers": 2,
         "embedding_multiplier": 1.6, "attention_multiplier": 0.22, "residual_multiplier": 0.55, "logits_scaling": 2.5,
         "shared_intermediate_size": 28},
        hub=granite_moe_hub, gguf="granitemoe", gguf_tensor=permuted, gguf_tensors=granite_moe_stacked,
        gguf_metadata=lambda writer, config: (granite_metadata(writer, config), experts_metadata(writer, config),
                                              writer.add_expert_shared_feed_forward_length(config["shared_intermediate_size"]))),
}


# --- DeepSeek ---------------------------------------------------------------------------------------------------------------

HUB_EXPERTS = experts_apart("gate_proj", "up_proj", "down_proj")


def deepseek_v3_stored(tensors):
    """And those of a layer that is not loaded."""
    yield from tensors
    yield "model.layers.3.enorm.weight", np.ones(40, np.float32)
    yield "model.layers.3.eh_proj.weight", np.ones((4, 80), np.float32)


def fp8_blocks(data, size=16):
    """Codes, and a scale for each block of so many rows and columns, as DeepSeek's own files have them (there: 128)."""
    import torch
    scale = np.zeros((-(-data.shape[0] // size), -(-data.shape[1] // size)), np.float32)
    for row, col in np.ndindex(scale.shape):
        block = data[row * size:(row + 1) * size, col * size:(col + 1) * size]
        scale[row, col] = np.abs(block).max() / 448
    wide = np.kron(scale, np.ones((size, size), np.float32))[:data.shape[0], :data.shape[1]]
    codes = torch.from_numpy(data / wide).to(torch.float8_e4m3fn)
    return codes.view(torch.int8).numpy(), scale, codes.float().numpy() * wide


def is_fp8(name):
    return name.endswith("_proj.weight") or name.endswith("_with_mqa.weight")


def fp8_stored(tensors):
    for name, data in tensors:
        codes, scale, _ = fp8_blocks(data) if is_fp8(name) else (data, None, None)
        yield name, codes
        if scale is not None:
            yield name + "_scale_inv", scale


def fp8_oracle(tensors):
    return [(name, fp8_blocks(data)[2] if is_fp8(name) else data) for name, data in tensors]


def deepseek_metadata(writer, config):
    import gguf
    rope, latent = config["qk_rope_head_dim"], config["kv_lora_rank"]
    v3 = config["model_type"] == "deepseek_v3"
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    writer.add_expert_weights_norm(config["norm_topk_prob"])
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID if v3 else gguf.ExpertGatingFuncType.SOFTMAX)
    if v3:
        writer.add_expert_group_count(config["n_group"])
        writer.add_expert_group_used_count(config["topk_group"])
    if config.get("q_lora_rank"):
        writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_kv_lora_rank(latent)
    writer.add_rope_dimension_count(rope)
    head = (config["qk_nope_head_dim"] + rope, config["v_head_dim"])
    writer.add_key_length(latent + rope if v3 else head[0])
    writer.add_value_length(latent if v3 else head[1])
    if v3:
        writer.add_key_length_mla(head[0])
        writer.add_value_length_mla(head[1])
    scaling = config["rope_scaling"]
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(scaling["factor"])
    writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    writer.add_rope_scaling_yarn_log_mul(0.1 * scaling["mscale_all_dim"])


def deepseek_gguf(tensors, config):
    """In files of the newer kind what kv_b has of keys and of values are apart, a matrix a head, those of keys transposed."""
    parts = {}
    for name, data in experts_stacked(tensors, config).items():
        if name.startswith(f"model.layers.{config['num_hidden_layers']}."):
            continue
        if ".kv_b_proj." in name and config["model_type"] == "deepseek_v3":
            each = data.reshape(config["num_attention_heads"], -1, config["kv_lora_rank"])
            keys, values = np.split(each, [config["qk_nope_head_dim"]], axis=1)
            parts[name.replace("kv_b", "k_b")] = keys.swapaxes(1, 2)
            parts[name.replace("kv_b", "v_b")] = values
        else:
            parts[name.replace("e_score_correction_bias", "e_score_correction.bias")] = data
    return parts


DEEPSEEK = {**LLAMA, "vocab_size": WHOLE, "num_hidden_layers": 3, "hidden_size": 40, "intermediate_size": 44, "num_key_value_heads": 4, "rms_norm_eps": 1e-6,
            "kv_lora_rank": 20, "q_lora_rank": None, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 10,
            "first_k_dense_replace": 1, "moe_intermediate_size": 12, "n_routed_experts": 8, "n_shared_experts": 2,
            "num_experts_per_tok": 3, "n_group": 1, "topk_group": 1, "topk_method": "greedy",
            "scoring_func": "softmax", "norm_topk_prob": False, "routed_scaling_factor": 1.0, "moe_layer_freq": 1,
            "aux_loss_alpha": 0.001, "seq_aux": True}
DEEPSEEK_V3 = {**DEEPSEEK, "q_lora_rank": 28, "rope_interleave": True, "num_nextn_predict_layers": 1, "n_group": 4,
               "topk_group": 2, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True,
               "routed_scaling_factor": 2.5}


def deepseek_yarn(mscale, mscale_all_dim):
    return {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1,
            "mscale": mscale, "mscale_all_dim": mscale_all_dim}


FAMILIES |= {
    "deepseek_v2": family("DeepseekV2ForCausalLM", "deepseek_v2", {
        "rope_scaling": {"rope_scaling": None}, "mscale": {"rope_scaling": deepseek_yarn(0.6, 0.6)},
        "scale": {"rope_scaling": deepseek_yarn(1.0, 0)}, "rope": {"rope_theta": 100.0},
        "query_latent": {"q_lora_rank": None}, "latent": {"kv_lora_rank": 16},
        "heads": {"qk_nope_head_dim": 8, "qk_rope_head_dim": 12}, "values": {"v_head_dim": 12},
        "groups": {"topk_group": 4}, "method": {"topk_method": "greedy"}, "routed_scale": {"routed_scaling_factor": 1.0},
        "normalized": {"norm_topk_prob": True}, "chosen": {"num_experts_per_tok": 2},
        "shared": {"n_shared_experts": None}, "dense": {"first_k_dense_replace": 2}},
        {**DEEPSEEK, "q_lora_rank": 28, "rope_scaling": deepseek_yarn(1.0, 0.6), "n_group": 4, "topk_group": 2,
         "topk_method": "group_limited_greedy", "routed_scaling_factor": 4.0}, hub=HUB_EXPERTS),
    "deepseek_lite": family("DeepseekV2ForCausalLM", "deepseek_v2", {
        "rope_scaling": {"rope_scaling": None}, "scale": {"rope_scaling": deepseek_yarn(0.707, 0)},
        "rope": {"rope_theta": 100.0}, "query_latent": {"q_lora_rank": 28}, "scores": {"scoring_func": "sigmoid"}},
        {**DEEPSEEK, "rope_scaling": deepseek_yarn(0.707, 0.707)}, hub=HUB_EXPERTS, gguf="deepseek2",
        gguf_metadata=deepseek_metadata, gguf_tensors=deepseek_gguf),
    "deepseek_v3": family("DeepseekV3ForCausalLM", "deepseek_v3", {
        "rope_scaling": {"rope_scaling": None}, "interleave": {"rope_interleave": False},
        "rope": {"rope_theta": 100.0}, "groups": {"topk_group": 4}, "normalized": {"norm_topk_prob": False},
        "routed_scale": {"routed_scaling_factor": 1.0}, "chosen": {"num_experts_per_tok": 2},
        "further_layer": {"num_nextn_predict_layers": 0}},
        {**DEEPSEEK_V3, "rope_scaling": deepseek_yarn(1.0, 1.0)}, hub=HUB_EXPERTS, stored=deepseek_v3_stored, gguf="deepseek2",
        gguf_metadata=deepseek_metadata, gguf_tensors=deepseek_gguf),
    "deepseek_fp8": family("DeepseekV3ForCausalLM", "deepseek_v3", {"codes": {"quantization_config": None}},
        {**DEEPSEEK_V3, "num_hidden_layers": 2, "num_nextn_predict_layers": 0, "quantization_config": {
            "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [16, 16]}},
        hub=HUB_EXPERTS, stored=fp8_stored, oracle=fp8_oracle, dtype="F32"),
    "deepseek_dense": family("DeepseekV3ForCausalLM", "deepseek_v3", {
        "interleave": {"rope_interleave": True}, "bias": {"attention_bias": False}},
        {**DEEPSEEK_V3, "rope_interleave": False, "attention_bias": True, "num_hidden_layers": 2,
         "first_k_dense_replace": 2}),
}
