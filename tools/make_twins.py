#!/usr/bin/env python3
"""Twins of tiny checkpoints that need not be stored, with other names and little else (tests/parity/test_twins.py).

    make_twins.py --out FOLDER    writes FOLDER/NAME.gguf, or FOLDER/NAME, for each (needs gguf, numpy)

GGUF files are as those of make_family_fixtures.py: tensors by llama.cpp's own names, and what its converter does to the
numbers and says about them. Directories are as a network's first files have it, from before transformers knew it, with a head beside a
config that says there is none, or with all experts in one tensor."""
import argparse
import os
import re
import shutil

import numpy as np

import family_specs
import make_family_fixtures
import make_model_fixtures as base
import numpy_forward

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "fixtures", "model")


def yarn(writer, config):
    import gguf
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(config["rope_scaling"]["factor"])
    writer.add_rope_scaling_orig_ctx_len(config["rope_scaling"]["original_max_position_embeddings"])


def olmo3(writer, config):
    yarn(writer, config)
    writer.add_rope_scaling_yarn_attn_factor(config["rope_scaling"]["attention_factor"])
    writer.add_sliding_window(config["sliding_window"])
    writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config["layer_types"]])


def phi4(writer, config):
    """By the converter a window of none, as 0."""
    family_specs.long_metadata(writer, config)
    writer.add_sliding_window(0)


def granite4(writer, config):
    """As Granite 4's dense networks, which have a number of heads for each layer."""
    family_specs.granite_metadata(writer, config)
    writer.add_head_count_kv([config["num_key_value_heads"]] * config["num_hidden_layers"])


def fused(tensors, config):
    """What the converter's --fuse-qkv makes of q, k and v."""
    out = {}
    for name, data in tensors.items():
        base, _, rest = name.partition(".self_attn.q_proj.")
        if rest:
            parts = [f"{base}.self_attn.{part}_proj.{rest}" for part in "qkv"]
            name = base.replace("model.layers", "blk") + ".attn_qkv." + rest
            data = np.concatenate([family_specs.permuted(part, tensors[part], config) for part in parts])
        elif ".self_attn.k_proj." in name or ".self_attn.v_proj." in name:
            continue
        out[name] = data
    return out


# Of numbers that F16 has not.
LLAMA = {"gguf": "llama", "wide": True, "gguf_tensor": family_specs.permuted}
TWINS = {
    "qwen2": {"gguf": "qwen2", "wide": True},
    "llama2": LLAMA,
    "smollm2": LLAMA,
    "llama_bias_yarn": {"gguf": "llama", "wide": True, "gguf_metadata": yarn, "gguf_tensors": fused,
                        "gguf_name": lambda name: name if ".attn_qkv." in name else None},
    "mistral": {**LLAMA, "gguf_metadata": lambda writer, config: writer.add_sliding_window(config["sliding_window"])},
    "glm": {"gguf": "chatglm"},
    "olmo3": {"gguf": "olmo2", "gguf_metadata": olmo3},
    "phi4_mini": {"gguf": "phi3", "gguf_metadata": phi4},
    "granite": {"gguf": "granite", "gguf_metadata": granite4, "gguf_tensor": family_specs.permuted},
    "gpt_neox_serial": {"gguf": "gptneox", "gguf_metadata": family_specs.neox_metadata, "gguf_tensor": family_specs.joined},
}


# glm-4-9b-chat, whose code is beside it on the hub.
CHATGLM_KEYS = {"hidden_size": "hidden_size", "num_attention_heads": "num_attention_heads", "num_hidden_layers": "num_layers",
                "intermediate_size": "ffn_hidden_size", "head_dim": "kv_channels", "num_key_value_heads": "multi_query_group_num",
                "vocab_size": "padded_vocab_size", "max_position_embeddings": "seq_length", "rms_norm_eps": "layernorm_epsilon",
                "attention_bias": "add_qkv_bias", "tie_word_embeddings": "tie_word_embeddings"}
CHATGLM_NAMES = {"model.embed_tokens": "transformer.embedding.word_embeddings", "model.norm": "transformer.encoder.final_layernorm",
                 "lm_head": "transformer.output_layer", "model.layers": "transformer.encoder.layers", "self_attn.o_proj": "self_attention.dense",
                 "mlp.gate_up_proj": "mlp.dense_h_to_4h", "mlp.down_proj": "mlp.dense_4h_to_h"}


def chatglm(config, tensors):
    said = {new: config[old] for old, new in CHATGLM_KEYS.items()}
    said |= {"architectures": ["ChatGLMModel"], "model_type": "chatglm", "multi_query_attention": True, "rmsnorm": True,
             "original_rope": True, "post_layer_norm": True, "add_bias_linear": False, "rope_ratio": config["rope_theta"] / 10000,
             "apply_residual_connection_post_layernorm": False, "torch_dtype": "float32"}
    out = {"transformer.rotary_pos_emb.inv_freq": np.ones(3, np.float32)}
    for name, data in tensors.items():
        base, _, rest = name.partition(".self_attn.q_proj.")
        if rest:
            name, data = f"{base}.self_attention.query_key_value.{rest}", np.concatenate(
                [tensors[f"{base}.self_attn.{part}_proj.{rest}"] for part in "qkv"])
        elif ".self_attn.k_proj." in name or ".self_attn.v_proj." in name:
            continue
        for old, new in CHATGLM_NAMES.items():
            name = name.replace(old, new)
        out[name] = data
    return said, out


def said_tied(config, tensors):
    """A head that was trained apart, and a config that does not know it."""
    return {**config, "tie_word_embeddings": True}, tensors


def stored_twice(config, tensors):
    return config, {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]}


def stacked(config, tensors):
    """Experts as transformers 5 has them in memory (save_pretrained with save_original_format=False)."""
    of, out = {}, {}
    for name, data in tensors.items():
        found = re.match(r"(model\.layers\.\d+)\.(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)\.weight$", name)
        if found:
            of.setdefault(found[1], {}).setdefault({"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}.get(found[3], found[3]), {})[
                int(found[2])] = data
        else:
            router = "mlp.router" if config["model_type"] == "phimoe" else "mlp.gate"
            out[name.replace("block_sparse_moe.gate", router)] = data
    for layer, parts in of.items():
        gate, up, down = (np.stack([part for _, part in sorted(parts[key].items())]) for key in ("gate_proj", "up_proj", "down_proj"))
        out[layer + ".mlp.experts.gate_up_proj"], out[layer + ".mlp.experts.down_proj"] = np.concatenate([gate, up], 1), down
    return config, out


FIRST = {"glm": chatglm, "qwen2": said_tied, "smollm2": stored_twice, "mixtral": stacked, "qwen3_moe_mixed": stacked,
         "deepseek_v3": stacked, "phimoe": stacked}


def directory_write(folder, source, change):
    config, tensors = change(*numpy_forward.read_directory(source))
    os.makedirs(folder)
    base.write_json(os.path.join(folder, "config.json"), config)
    base.write_safetensors(os.path.join(folder, "model.safetensors"), list(tensors.items()), "F32")
    shutil.copy(os.path.join(source, "tokenizer.json"), folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    for name, spec in TWINS.items():
        make_family_fixtures.write_gguf(os.path.join(FIXTURES, name), spec, os.path.join(args.out, name + ".gguf"))
    for name, change in FIRST.items():
        directory_write(os.path.join(args.out, name), os.path.join(FIXTURES, name), change)


if __name__ == "__main__":
    main()
