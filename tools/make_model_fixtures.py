#!/usr/bin/env python3
"""Tiny random checkpoints of each family and the logits that `transformers` computes for them.

    make_model_fixtures.py --out tests/fixtures/model                  checkpoints, and logits by transformers (needs
                                                                       torch, transformers, numpy; no network)
    make_model_fixtures.py --out DIR --oracle numpy                    logits by numpy_forward.py instead
    make_model_fixtures.py --out tests/fixtures/model --check          only compares the logits there with numpy_forward.py
    make_model_fixtures.py --out tests/fixtures/model --gguf           only writes the GGUF twins (needs the package gguf)

Each checkpoint is made so that a mistake shows: windows are shorter than the prompt, the prompt fills several KV blocks,
weights are scaled so that logits are far from uniform, sizes are no multiples of 16. Written to DIR/NAME/:

    config.json, model.safetensors (or two shards and an index), tokenizer.json
    expected.logits   little-endian: 8 bytes "SPLOGI16", int32 n_token, int32 vocab, int32 token[n_token],
                      float32 low, float32 step, uint16 code[n_token][vocab]: a logit is low + step × its code, which is
                      within 1/131,070 of their range
    off.json          {"feature": change to config.json}: each change must be refused or alter the logits
"""
import argparse
import json
import os
import struct

import numpy as np

import numpy_forward

N_TOKEN = 72
BASE = {"bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "attention_bias": False, "max_position_embeddings": 512, "initializer_range": 0.02}


def family(architecture, model_type, dtype, off, shards=1, **config):
    return {"config": {"architectures": [architecture], "model_type": model_type, **BASE, **config}, "dtype": dtype,
            "off": off, "shards": shards}


LLAMA3_SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                  "original_max_position_embeddings": 32}
YARN_SCALING = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}

FAMILIES = {
    "llama2": family(
        "LlamaForCausalLM", "llama", "F32", {"rope": {"rope_theta": 100.0}, "heads": {"num_attention_heads": 2}},
        shards=2, hidden_size=40, intermediate_size=72, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, vocab_size=270),
    "llama3": family(
        "LlamaForCausalLM", "llama", "BF16",
        {"rope_scaling": {"rope_scaling": None}, "rope_scaling.factor": {"rope_scaling": {**LLAMA3_SCALING, "factor": 4.0}},
         "rope": {"rope_theta": 10000.0}},
        hidden_size=60, intermediate_size=88, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
        head_dim=16, vocab_size=283, rope_theta=500.0, rope_scaling=LLAMA3_SCALING),
    "llama_bias_yarn": family(
        "LlamaForCausalLM", "llama", "F16",
        {"rope_scaling": {"rope_scaling": None}, "attention_bias": {"attention_bias": False},
         "mlp_bias": {"mlp_bias": False}},
        hidden_size=48, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=20, vocab_size=264, attention_bias=True, mlp_bias=True, rope_theta=200.0, rope_scaling=YARN_SCALING),
    "mistral": family(
        "MistralForCausalLM", "mistral", "F16",
        {"window": {"sliding_window": None}, "window.size": {"sliding_window": 21}},
        hidden_size=40, intermediate_size=72, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=12, vocab_size=265, sliding_window=20),
    "smollm2": family(
        "LlamaForCausalLM", "llama", "BF16", {"tied": {"tie_word_embeddings": False}, "rope": {"rope_theta": 100.0}},
        hidden_size=54, intermediate_size=100, num_hidden_layers=4, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=272, rope_theta=100000.0, tie_word_embeddings=True),
    "qwen2": family(
        "Qwen2ForCausalLM", "qwen2", "BF16",
        {"qkv_bias": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
         "window": {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}},
        hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=290, rope_theta=1000000.0, use_sliding_window=False, sliding_window=32768, max_window_layers=3),
    "qwen3": family(
        "Qwen3ForCausalLM", "qwen3", "BF16",
        {"qk_norm": {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}, "head_dim": {"head_dim": 10}},
        hidden_size=40, intermediate_size=88, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1,
        head_dim=20, vocab_size=261, rope_theta=1000000.0, tie_word_embeddings=True, use_sliding_window=False),
    "gemma3": family(
        "Gemma3ForCausalLM", "gemma3_text", "BF16",
        {"window": {"sliding_window": 400}, "window.size": {"sliding_window": 13},
         "layer_types": {"layer_types": ["full_attention"] * 4}, "rope_scaling": {"rope_scaling": None},
         "local_rope": {"rope_local_base_freq": 1000.0}, "rope": {"rope_theta": 50.0},
         "attend_scalar": {"query_pre_attn_scalar": 14}, "final_softcap": {"final_logit_softcapping": None}},
        hidden_size=44, intermediate_size=76, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        head_dim=14, vocab_size=276, rope_theta=1000.0, rope_local_base_freq=50.0,
        rope_scaling={"rope_type": "linear", "factor": 4.0}, sliding_window=12, sliding_window_pattern=3,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        query_pre_attn_scalar=24, final_logit_softcapping=12.0, attn_logit_softcapping=None,
        hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True),
}
for entry in FAMILIES.values():
    entry["config"]["torch_dtype"] = "float32"


# --- checkpoints --------------------------------------------------------------------------------------------------------

def shapes(config):
    """(name, shape, standard deviation, mean) of every tensor."""
    gemma = config["model_type"].startswith("gemma3")
    hidden, ff, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim") or hidden // heads
    norm_mean = 0.0 if gemma else 1.0
    attention_bias = config["attention_bias"] or config["model_type"] == "qwen2"

    def matrix(name, rows, cols, gain, bias):
        yield name + ".weight", (rows, cols), gain * cols ** -0.5, 0.0
        if bias:
            yield name + ".bias", (rows,), 0.5, 0.0

    def norm(name, size):
        yield name + ".weight", (size,), 0.3, norm_mean

    yield "model.embed_tokens.weight", (vocab, hidden), 0.5 if gemma else 1.0, 0.0
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        yield from norm(layer + "input_layernorm", hidden)
        yield from matrix(layer + "self_attn.q_proj", heads * dim, hidden, 1.7, attention_bias)
        yield from matrix(layer + "self_attn.k_proj", kv * dim, hidden, 1.7, attention_bias)
        yield from matrix(layer + "self_attn.v_proj", kv * dim, hidden, 1.2, attention_bias)
        out_bias = attention_bias and config["model_type"] != "qwen2"
        yield from matrix(layer + "self_attn.o_proj", hidden, heads * dim, 1.0, out_bias)
        if config["model_type"] == "qwen3" or gemma:
            yield from norm(layer + "self_attn.q_norm", dim)
            yield from norm(layer + "self_attn.k_norm", dim)
        yield from norm(layer + "post_attention_layernorm", hidden)
        if gemma:
            yield from norm(layer + "pre_feedforward_layernorm", hidden)
            yield from norm(layer + "post_feedforward_layernorm", hidden)
        bias = config.get("mlp_bias", False)
        yield from matrix(layer + "mlp.gate_proj", ff, hidden, 1.2, bias)
        yield from matrix(layer + "mlp.up_proj", ff, hidden, 1.2, bias)
        yield from matrix(layer + "mlp.down_proj", hidden, ff, 1.2, bias)
    yield from norm("model.norm", hidden)
    if not config["tie_word_embeddings"]:
        yield from matrix("lm_head", vocab, hidden, 4.0, False)


def encode(data, dtype):
    """The bytes of float32 numbers in a narrower type, and the numbers that remain."""
    if dtype == "BF16":
        bits = data.view(np.uint32)
        bits = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        return bits.tobytes()
    return data.astype({"F32": np.float32, "F16": np.float16}[dtype]).tobytes()


def write_safetensors(path, tensors, dtype):
    header, blob = {"__metadata__": {"format": "pt"}}, b""
    for name, data in tensors:
        kind = {"uint8": "U8", "int8": "F8_E4M3"}.get(data.dtype.name, dtype)  # numpy has no name for the latter
        raw = encode(data, dtype) if kind == dtype else data.tobytes()
        header[name] = {"dtype": kind, "shape": list(data.shape), "data_offsets": [len(blob), len(blob) + len(raw)]}
        blob += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + blob)


def byte_letters():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(extra)) for b in range(256)]


def letters_of(vocab):
    """Of every byte, or, where so many are more than the vocabulary has, of a line's end and what is printed of ASCII."""
    letters = byte_letters()
    return letters if vocab >= 3 + len(letters) else [letters[b] for b in (10, *range(32, 127))]


def write_tokenizer(path, vocab=264):
    """Three special tokens, then bytes: no merges."""
    special = ["<unk>", "<s>", "</s>"]
    added = [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, text in enumerate(special)]
    vocab = {text: i for i, text in enumerate(special + letters_of(vocab))}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
                 "pre_tokenizer": level, "post_processor": None, "decoder": level,
                 "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                           "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab,
                           "merges": []}}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False, separators=(",", ":"))


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def write_checkpoint(folder, name, spec):
    rng = np.random.default_rng(sum(name.encode()))
    os.makedirs(folder, exist_ok=True)
    tensors = [(tensor, (rng.standard_normal(shape) * std + mean).astype(np.float32))
               for tensor, shape, std, mean in shapes(spec["config"])]
    write_json(os.path.join(folder, "config.json"), spec["config"])
    write_json(os.path.join(folder, "off.json"), spec["off"])
    write_tokenizer(os.path.join(folder, "tokenizer.json"), spec["config"]["vocab_size"])
    if spec["shards"] == 1:
        write_safetensors(os.path.join(folder, "model.safetensors"), tensors, spec["dtype"])
        return
    index, size = {}, -(-len(tensors) // spec["shards"])
    for i in range(spec["shards"]):
        shard = f"model-{i + 1:05}-of-{spec['shards']:05}.safetensors"
        part = tensors[i * size:(i + 1) * size]
        write_safetensors(os.path.join(folder, shard), part, spec["dtype"])
        index.update({tensor: shard for tensor, _ in part})
    total = sum(data.nbytes for _, data in tensors)
    write_json(os.path.join(folder, "model.safetensors.index.json"),
               {"metadata": {"total_size": total}, "weight_map": index})


# --- GGUF twins -----------------------------------------------------------------------------------------------------------

GGUF_TWINS = {"llama3": "llama", "qwen3": "qwen3", "gemma3": "gemma3"}


def permute(weight, n_head):
    """Rows of each head from halves to neighbours, as GGUF's llama stores q and k."""
    rows = weight.shape[0] // n_head
    return weight.reshape(n_head, 2, rows // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def gguf_metadata(writer, config, arch):
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["<unk>", "<s>", "</s>"] + byte_letters() + ["!!"])
    writer.add_token_types([2, 3, 3] + [1] * 257)
    writer.add_token_merges(["! !"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if arch == "gemma3":
        writer.add_sliding_window(config["sliding_window"])
        writer.add_uint32("gemma3.attention.sliding_window_pattern", config["sliding_window_pattern"])
        writer.add_float32("gemma3.rope.freq_base_swa", config["rope_local_base_freq"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
        writer.add_string("gemma3.rope.scaling.type", "linear")
        writer.add_float32("gemma3.rope.scaling.factor", config["rope_scaling"]["factor"])


def write_gguf(folder, path, arch):
    import gguf
    config, tensors = numpy_forward.read_directory(folder)
    if arch == "gemma3":  # GGUF cannot state this scale; q carries what differs from the head's size
        ratio = (config["head_dim"] / config["query_pre_attn_scalar"]) ** 0.5
    writer = gguf.GGUFWriter(path, arch)
    gguf_metadata(writer, config, arch)
    names = {hf: short for short, hf in numpy_forward.GGUF_NAMES.items()}
    if arch == "gemma3":
        names.update({"pre_feedforward_layernorm": "ffn_norm", "post_attention_layernorm": "post_attention_norm"})
    else:
        names["post_attention_layernorm"] = "ffn_norm"
    if arch == "llama":
        plain, _ = numpy_forward.inverse_frequencies(config["rope_theta"], None, config["head_dim"], 0)
        scaled, _ = numpy_forward.inverse_frequencies(config["rope_theta"], config["rope_scaling"], config["head_dim"], 0)
        writer.add_tensor("rope_freqs.weight", (plain / scaled).astype(np.float32))
    for name, data in tensors.items():
        base, kind = name.rsplit(".", 1)
        prefix = ""
        if base.startswith("model.layers."):
            _, _, index, base = base.split(".", 3)
            prefix = f"blk.{index}."
        if arch == "llama" and base.endswith(("q_proj", "k_proj")):
            data = permute(data, config["num_attention_heads" if "q_proj" in base else "num_key_value_heads"])
        if arch == "gemma3" and base.endswith("norm"):
            data = data + np.float32(1)
        if arch == "gemma3" and base.endswith("q_norm"):
            data = data * np.float32(ratio)
        target = prefix + names[base] + "." + kind
        mixed = arch == "qwen3" and target == "blk.1.ffn_up.weight"  # one layer's gate and up differ in type
        if data.ndim == 1 or mixed:
            writer.add_tensor(target, (data.astype(np.float16) if mixed else data).astype(np.float32))
        else:
            writer.add_tensor(target, data.astype(np.float16), raw_dtype=gguf.GGMLQuantizationType.F16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- logits ---------------------------------------------------------------------------------------------------------------

def prompt(name, vocab):
    return np.random.default_rng(sum(name.encode()) + 1).integers(0, vocab, N_TOKEN).astype(np.int32)


def transformers_logits(folder, tokens):
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_grad_enabled(False)
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()
    return model(torch.tensor(tokens[None].astype(np.int64)), use_cache=False).logits[0].float().numpy()


def numpy_logits(folder, tokens, off=()):
    return numpy_forward.Model(folder, off, np.float64).forward(tokens).astype(np.float32)


def logits_codes(logits):
    low, high = np.float32(logits.min()), np.float32(logits.max())
    step = np.float32((high - low) / np.float32(65535))
    codes = np.clip(np.rint((logits.astype(np.float64) - low) / step), 0, 65535).astype("<u2")
    return struct.pack("<ff", low, step) + codes.tobytes()


def write_codes(path, tokens, logits):
    with open(path, "wb") as file:
        file.write(b"SPLOGI16" + struct.pack("<ii", *logits.shape) + tokens.astype("<i4").tobytes() + logits_codes(logits))


def write_logits(path, tokens, logits):
    """The same with 8 bytes "SPLOGITS", and the numbers themselves: of adapters, which change them little."""
    with open(path, "wb") as file:
        file.write(b"SPLOGITS" + struct.pack("<ii", *logits.shape) + tokens.astype("<i4").tobytes())
        file.write(np.ascontiguousarray(logits, dtype="<f4").tobytes())


def read_logits(path):
    with open(path, "rb") as file:
        blob = file.read()
    count, vocab = struct.unpack("<ii", blob[8:16])
    tokens = np.frombuffer(blob, "<i4", count, 16)
    low, step = struct.unpack_from("<ff", blob, 16 + 4 * count)
    codes = np.frombuffer(blob, "<u2", count * vocab, 24 + 4 * count).reshape(count, vocab)
    return tokens, (low + step * codes.astype(np.float64)).astype(np.float32)


def difference(a, b):
    """Largest difference as a part of the range of a."""
    return float(np.abs(a - b).max() / (a.max() - a.min()))


def matters(folder, feature):
    """Is the feature there to be switched off?"""
    model = numpy_forward.Model(folder)
    has = {"window": any(model.windows), "rope_scaling": model.config.get("rope_scaling"), "rope": True,
           "qkv_bias": "model.layers.0.self_attn.q_proj.bias" in model.weights,
           "out_bias": "model.layers.0.self_attn.o_proj.bias" in model.weights,
           "mlp_bias": "model.layers.0.mlp.up_proj.bias" in model.weights,
           "qk_norm": "model.layers.0.self_attn.q_norm.weight" in model.weights}
    return has[feature] if feature in has else model.gemma


def check(folder, name):
    tokens, logits = read_logits(os.path.join(folder, "expected.logits"))
    off = {feature: difference(logits, numpy_logits(folder, tokens, [feature]))
           for feature in numpy_forward.FEATURES if matters(folder, feature)}
    top = np.sort(logits, axis=-1)
    print(f"{name:16} numpy differs by {difference(logits, numpy_logits(folder, tokens)):.1e} of the range "
          f"{logits.max() - logits.min():.1f}; mean top-two margin {np.mean(top[:, -1] - top[:, -2]):.2f}; switched off: "
          + ", ".join(f"{feature} {d:.0e}" for feature, d in off.items()))
    weak = [feature for feature, d in off.items() if d < 1e-2]
    if weak:
        raise SystemExit(f"{name}: {weak} hardly matter; change the checkpoint")
    twin = os.path.join(folder, "model.gguf")
    if os.path.exists(twin):
        print(f"{name:16} GGUF twin differs by {difference(logits, numpy_logits(twin, tokens)):.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--oracle", choices=("transformers", "numpy"), default="transformers")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--gguf", action="store_true")
    args = parser.parse_args()
    for name, spec in FAMILIES.items():
        folder = os.path.join(args.out, name)
        if args.gguf:
            if name in GGUF_TWINS:
                write_gguf(folder, os.path.join(folder, "model.gguf"), GGUF_TWINS[name])
            continue
        if not args.check:
            write_checkpoint(folder, name, spec)
            tokens = prompt(name, spec["config"]["vocab_size"])
            logits = transformers_logits if args.oracle == "transformers" else numpy_logits
            write_codes(os.path.join(folder, "expected.logits"), tokens, logits(folder, tokens))
        check(folder, name)


if __name__ == "__main__":
    main()
