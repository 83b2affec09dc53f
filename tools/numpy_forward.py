#!/usr/bin/env python3
"""An independent forward pass in numpy: the oracle for plans and kernels.

Reads a Hugging Face directory (config.json, safetensors) or a GGUF file (dequantized with the package `gguf`), and
computes logits the way the model's own description says, feature by feature, sharing nothing with the C code.

    numpy_forward.py MODEL --tokens 1,2,3 [--off rope_scaling,window] [--double]

prints the highest logits after each token. `--off` switches features off (FEATURES), to show that a test would notice.
"""
import argparse
import json
import math
import os

import numpy as np

FEATURES = ("window", "rope_scaling", "qkv_bias", "out_bias", "mlp_bias", "qk_norm", "sandwich", "norm_offset",
            "embed_scale", "attend_scalar", "final_softcap", "local_rope", "rope")


# --- files ------------------------------------------------------------------------------------------------------------

def bf16_to_f32(raw):
    return (raw.astype(np.uint32) << 16).view(np.float32)


def read_safetensors(path):
    """All tensors of one file by name, as float32 or, where the file has them, as bytes."""
    blob = np.memmap(path, dtype=np.uint8, mode="r")
    size = int(blob[:8].view(np.uint64)[0])
    header = json.loads(bytes(blob[8:8 + size]))
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = np.array(blob[8 + size + begin:8 + size + end])
        if entry["dtype"] == "BF16":
            data = bf16_to_f32(raw.view(np.uint16))
        elif entry["dtype"] == "U8":
            data = raw
        else:
            data = raw.view({"F32": np.float32, "F16": np.float16}[entry["dtype"]]).astype(np.float32)
        tensors[name] = data.reshape(entry["shape"])
    return tensors


def read_directory(path):
    with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    index = os.path.join(path, "model.safetensors.index.json")
    shards = ["model.safetensors"]
    if os.path.exists(index):
        with open(index, encoding="utf-8") as file:
            shards = sorted(set(json.load(file)["weight_map"].values()))
    tensors = {}
    for shard in shards:
        tensors.update(read_safetensors(os.path.join(path, shard)))
    return config, tensors


GGUF_NAMES = {
    "token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm", "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def hf_name(name, arch):
    parts = name.split(".")
    if parts[0] != "blk":
        return GGUF_NAMES[parts[0]] + "." + parts[1]
    base = GGUF_NAMES[parts[2]]
    if arch == "gemma3" and parts[2] == "ffn_norm":
        base = "pre_feedforward_layernorm"
    return f"model.layers.{parts[1]}.{base}.{parts[3]}"


def unpermute(weight, n_head):
    """From neighbours as rotation partners (GGUF's llama) back to halves."""
    rows = weight.shape[0] // n_head
    return weight.reshape(n_head, rows // 2, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def gguf_config(field, arch):
    """The config.json that would describe the same network."""
    architecture = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
                    "gemma3": "Gemma3ForCausalLM"}[arch]
    hidden, heads = field("embedding_length"), field("attention.head_count")
    config = {
        "architectures": [architecture], "hidden_size": hidden, "num_hidden_layers": field("block_count"),
        "intermediate_size": field("feed_forward_length"), "num_attention_heads": heads,
        "num_key_value_heads": field("attention.head_count_kv", heads),
        "head_dim": field("attention.key_length", hidden // heads), "max_position_embeddings": field("context_length"),
        "rms_norm_eps": field("attention.layer_norm_rms_epsilon"), "rope_theta": field("rope.freq_base", 10000.0),
        "sliding_window": field("attention.sliding_window"),
    }
    if field("rope.scaling.type", "none") != "none":
        config["rope_scaling"] = {"rope_type": field("rope.scaling.type"), "factor": field("rope.scaling.factor"),
                                  "original_max_position_embeddings": field("rope.scaling.original_context_length")}
    if arch == "gemma3":
        config["query_pre_attn_scalar"] = hidden / heads if config["num_hidden_layers"] == 62 else config["head_dim"]
        config["sliding_window_pattern"] = field("attention.sliding_window_pattern", 6)
        config["rope_local_base_freq"] = field("rope.freq_base_swa", 10000.0)
        config["final_logit_softcapping"] = field("final_logit_softcapping")
    return config


def read_gguf(path):
    from gguf import GGUFReader, dequantize
    reader = GGUFReader(path)

    def raw_field(key, default=None):
        entry = reader.get_field(key)
        return default if entry is None else entry.contents()

    arch = raw_field("general.architecture")
    config = gguf_config(lambda key, default=None: raw_field(f"{arch}.{key}", default), arch)
    tensors = {}
    for tensor in reader.tensors:
        data = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        data = data.reshape([int(n) for n in tensor.shape[::-1]])
        if tensor.name == "rope_freqs.weight":
            tensors[tensor.name] = data
            continue
        name = hf_name(tensor.name, arch)
        if arch == "llama" and ".q_proj." in name:
            data = unpermute(data, config["num_attention_heads"])
        if arch == "llama" and ".k_proj." in name:
            data = unpermute(data, config["num_key_value_heads"])
        if arch == "gemma3" and name.endswith("norm.weight"):
            data = data - 1  # stored with the one added
        tensors[name] = data
    config["tie_word_embeddings"] = "lm_head.weight" not in tensors
    config["attention_bias"] = "model.layers.0.self_attn.o_proj.bias" in tensors
    config["mlp_bias"] = "model.layers.0.mlp.gate_proj.bias" in tensors
    return config, tensors


# --- the network ------------------------------------------------------------------------------------------------------

def inverse_frequencies(theta, scaling, dim, max_position):
    """(inverse frequencies, factor on cos and sin), all in double."""
    i = np.arange(0, dim, 2, dtype=np.float64)
    freq = theta ** (-i / dim)
    kind = (scaling or {}).get("rope_type") or (scaling or {}).get("type") or "default"
    if kind == "default":
        return freq, 1.0
    factor = scaling["factor"]
    if kind == "linear":
        return freq / factor, 1.0
    original = scaling.get("original_max_position_embeddings") or max_position
    if kind == "llama3":
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        wavelength = 2 * math.pi / freq
        smooth = (original / wavelength - low) / (high - low)
        blend = (1 - smooth) * freq / factor + smooth * freq
        scaled = np.where(wavelength > original / low, freq / factor, blend)
        return np.where(wavelength < original / high, freq, scaled), 1.0
    if kind == "yarn":
        def dimension(rotations):
            return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))
        low = dimension(scaling.get("beta_fast") or 32)
        high = dimension(scaling.get("beta_slow") or 1)
        if scaling.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        high += 0.001 if low == high else 0
        ramp = np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1)
        attention = scaling.get("attention_factor") or 0.1 * math.log(factor) + 1
        return freq / factor * ramp + freq * (1 - ramp), attention
    raise ValueError(f"rope scaling {kind}")


class Model:
    """Weights and settings of one network; forward() with a cache object continues a sequence."""

    def __init__(self, path, off=(), dtype=np.float32):
        unknown = set(off) - set(FEATURES)
        if unknown:
            raise ValueError(f"no such features: {sorted(unknown)}")
        config, tensors = read_gguf(path) if str(path).endswith(".gguf") else read_directory(path)
        self.off, self.dtype = set(off), dtype
        self.config = config
        self.weights = {name: data.astype(dtype) for name, data in tensors.items()}
        self.family = config["architectures"][0]
        self.gemma = self.family.startswith("Gemma3")
        self.n_layer = config["num_hidden_layers"]
        self.n_head = config["num_attention_heads"]
        self.n_kv = config.get("num_key_value_heads") or self.n_head
        self.dim = config.get("head_dim") or config["hidden_size"] // self.n_head
        self.vocab = self.weights["model.embed_tokens.weight"].shape[0]
        self.windows = [self._window(i) for i in range(self.n_layer)]
        self._ropes()

    def on(self, feature):
        return feature not in self.off

    def _window(self, layer):
        """0: the layer sees everything."""
        c = self.config
        window = c.get("sliding_window") or 0
        if self.family.startswith("Qwen") and not c.get("use_sliding_window", False):
            window = 0
        if self.family.startswith("Llama") or not self.on("window"):
            window = 0
        if c.get("layer_types"):
            local = c["layer_types"][layer] == "sliding_attention"
        elif self.gemma:
            local = (layer + 1) % (c.get("sliding_window_pattern") or 6) != 0
        elif self.family.startswith("Qwen"):
            local = layer >= c.get("max_window_layers", 28)
        else:
            local = True
        self.is_local = getattr(self, "is_local", []) + [local]
        return window if local else 0

    def _ropes(self):
        c = self.config
        scaling = c.get("rope_scaling") if self.on("rope_scaling") else None
        theta = c.get("rope_theta") or (1e6 if self.gemma else 1e4)
        self.rope_global = inverse_frequencies(theta, scaling, self.dim, c["max_position_embeddings"])
        factors = self.weights.get("rope_freqs.weight")
        if factors is not None and self.on("rope_scaling"):
            self.rope_global = (self.rope_global[0] / factors.astype(np.float64), 1.0)
        self.rope_local = self.rope_global
        if self.gemma and self.on("local_rope"):
            local = c.get("rope_local_base_freq") or 1e4
            self.rope_local = inverse_frequencies(local, None, self.dim, c["max_position_embeddings"])

    def norm(self, x, name):
        weight = self.weights[name + ".weight"]
        if self.gemma and self.on("norm_offset"):
            weight = weight + self.dtype(1)
        mean = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean + self.dtype(self.config["rms_norm_eps"])) * weight

    def linear(self, x, name, feature=None):
        y = x @ self.weights[name + ".weight"].T
        bias = self.weights.get(name + ".bias")
        return y + bias if bias is not None and self.on(feature) else y

    def rotate(self, x, layer, start):
        """x: [tokens, heads, dim]"""
        if not self.on("rope"):
            return x
        freq, factor = self.rope_local if self.gemma and self.is_local[layer] else self.rope_global
        angle = (start + np.arange(x.shape[0]))[:, None] * freq[None, :].astype(np.float32).astype(np.float64)
        cos = (np.cos(angle) * factor).astype(self.dtype)[:, None, :]
        sin = (np.sin(angle) * factor).astype(self.dtype)[:, None, :]
        half = x.shape[-1] // 2
        first, second = x[..., :half], x[..., half:]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def attention(self, x, layer, cache, start):
        name, count = f"model.layers.{layer}.self_attn.", x.shape[0]
        q = self.linear(x, name + "q_proj", "qkv_bias").reshape(count, self.n_head, self.dim)
        k = self.linear(x, name + "k_proj", "qkv_bias").reshape(count, self.n_kv, self.dim)
        v = self.linear(x, name + "v_proj", "qkv_bias").reshape(count, self.n_kv, self.dim)
        if name + "q_norm.weight" in self.weights and self.on("qk_norm"):
            q, k = self.norm(q, name + "q_norm"), self.norm(k, name + "k_norm")
        q, k = self.rotate(q, layer, start), self.rotate(k, layer, start)
        if cache is not None:
            if layer in cache:
                k, v = np.concatenate([cache[layer][0], k]), np.concatenate([cache[layer][1], v])
            cache[layer] = (k, v)
        scalar = self.dim
        if self.gemma and self.on("attend_scalar"):
            scalar = self.config.get("query_pre_attn_scalar", 256)
        group = self.n_head // self.n_kv
        keys, values = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
        scores = np.einsum("thd,shd->hts", q, keys) * self.dtype(scalar ** -0.5)
        ahead = np.arange(k.shape[0])[None, :] - (start + np.arange(count))[:, None]  # key position − query position
        hidden = ahead > 0
        if self.windows[layer]:
            hidden |= ahead <= -self.windows[layer]
        scores = np.where(hidden[None], -np.inf, scores)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        out = np.einsum("hts,shd->thd", scores, values).reshape(count, -1)
        return self.linear(out, name + "o_proj", "out_bias")

    def feed_forward(self, x, layer):
        name = f"model.layers.{layer}.mlp."
        gate = self.linear(x, name + "gate_proj", "mlp_bias")
        if self.gemma:
            inner = self.dtype(math.sqrt(2 / math.pi)) * (gate + self.dtype(0.044715) * gate ** 3)
            gate = self.dtype(0.5) * gate * (1 + np.tanh(inner))
        else:
            gate = gate / (1 + np.exp(-gate))
        return self.linear(gate * self.linear(x, name + "up_proj", "mlp_bias"), name + "down_proj", "mlp_bias")

    def layer(self, x, layer, cache, start):
        name = f"model.layers.{layer}."
        sandwich = self.gemma and self.on("sandwich")
        after = self.attention(self.norm(x, name + "input_layernorm"), layer, cache, start)
        x = x + (self.norm(after, name + "post_attention_layernorm") if sandwich else after)
        before = "pre_feedforward_layernorm" if self.gemma else "post_attention_layernorm"
        after = self.feed_forward(self.norm(x, name + before), layer)
        return x + (self.norm(after, name + "post_feedforward_layernorm") if sandwich else after)

    def forward(self, tokens, cache=None, last_only=False):
        """Logits [tokens, vocab]. A dict as cache carries keys and values from call to call."""
        start = cache[0][0].shape[0] if cache else 0
        x = self.weights["model.embed_tokens.weight"][np.asarray(tokens)]
        if self.gemma and self.on("embed_scale"):
            x = x * self.dtype(math.sqrt(self.config["hidden_size"]))
        for layer in range(self.n_layer):
            x = self.layer(x, layer, cache, start)
        x = self.norm(x[-1:] if last_only else x, "model.norm")
        tied = self.config.get("tie_word_embeddings", self.gemma)
        logits = x @ self.weights["model.embed_tokens.weight" if tied else "lm_head.weight"].T
        cap = self.config.get("final_logit_softcapping") if self.gemma else None
        return np.tanh(logits / cap) * cap if cap and self.on("final_softcap") else logits


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", required=True, help="ids, joined by commas")
    parser.add_argument("--off", default="", help="features to switch off: " + ", ".join(FEATURES))
    parser.add_argument("--double", action="store_true")
    args = parser.parse_args()
    model = Model(args.model, [f for f in args.off.split(",") if f], np.float64 if args.double else np.float32)
    tokens = [int(t) for t in args.tokens.split(",")]
    for token, logits in zip(tokens, model.forward(tokens)):
        best = np.argsort(-logits)[:5]
        print(token, "->", ", ".join(f"{i} {logits[i]:.4f}" for i in best))


if __name__ == "__main__":
    main()
