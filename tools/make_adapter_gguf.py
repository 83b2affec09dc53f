#!/usr/bin/env python3
"""Adapters of tests/fixtures/adapter once more as GGUF files, with the names, shapes and order of rows that llama.cpp's
convert_lora_to_gguf.py gives them.

    make_adapter_gguf.py --models tests/fixtures/model --adapters tests/fixtures/adapter    (needs numpy and gguf)

Written to ADAPTERS/NAME/adapter.gguf. Rows of q and k of llama are put in turn: the second half of a head's between those of
the first. The factors of the embedding stand as they are looked up: A is [token][rank].
"""
import argparse
import json
import os
import struct

import gguf
import numpy as np

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
ARCHITECTURES = {"LlamaForCausalLM": "llama", "Gemma3ForCausalLM": "gemma3"}
CASES = ["all", "embeddings", "windows"]
PREFIX = "base_model.model."


def safetensors_read(path):
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] in ("F32", "BF16"), entry["dtype"]
        first, end = (8 + size + at for at in entry["data_offsets"])
        if entry["dtype"] == "F32":
            numbers = np.frombuffer(data[first:end], "<f4")
        else:
            numbers = (np.frombuffer(data[first:end], "<u2").astype(np.uint32) << 16).view(np.float32)
        tensors[name] = numbers.reshape(entry["shape"])
    return tensors


def name_of(module):
    if module == "model.embed_tokens":
        return "token_embd"
    if module == "lm_head":
        return "output"
    layer, rest = module.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[rest]}"


def rows_in_turn(b, heads):
    return b.reshape(heads, 2, b.shape[0] // heads // 2, b.shape[1]).swapaxes(1, 2).reshape(b.shape)


def b_of(module, b, config, architecture):
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    last = module.rsplit(".", 1)[-1]
    return rows_in_turn(b, heads[last]) if architecture == "llama" and last in heads else b


def case_write(models, folder):
    with open(os.path.join(folder, "case.json"), encoding="utf-8") as file:
        model = json.load(file)["model"]
    with open(os.path.join(models, model, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    with open(os.path.join(folder, "adapter_config.json"), encoding="utf-8") as file:
        settings = json.load(file)
    architecture = ARCHITECTURES[config["architectures"][0]]
    writer = gguf.GGUFWriter(os.path.join(folder, "adapter.gguf"), architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(settings["lora_alpha"]))
    for name, tensor in sorted(safetensors_read(os.path.join(folder, "adapter_model.safetensors")).items()):
        module, _, kind = name.removeprefix(PREFIX).partition(".lora_")
        if kind in ("A.weight", "embedding_A"):
            a = tensor.T if kind == "embedding_A" else tensor
            writer.add_tensor(name_of(module) + ".weight.lora_a", np.ascontiguousarray(a, np.float32))
        elif kind in ("B.weight", "embedding_B"):
            b = b_of(module, tensor, config, architecture)
            writer.add_tensor(name_of(module) + ".weight.lora_b", np.ascontiguousarray(b, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", required=True)
    parser.add_argument("--adapters", required=True)
    options = parser.parse_args()
    for name in CASES:
        case_write(options.models, os.path.join(options.adapters, name))


if __name__ == "__main__":
    main()
