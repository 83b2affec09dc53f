#!/usr/bin/env python3
"""Writes a Hugging Face folder of a Llama's shape with random BF16 weights, for speed alone: numbers are normal, from a
pool that each tensor reads from another place on. Its tokenizer has as many tokens as the shape has: of bytes, of one to
three syllables after a space ("random_text" in serving_load.py writes such words), so that texts are as long as real ones.
Needs the package numpy. usage: random_model.py FOLDER [llama-3.1-8b|llama-2-7b|llama-3.2-1b|smollm2-135m|tiny]"""
import itertools
import json
import math
import pathlib
import sys

import numpy

POOL, DEVIATION, FILE_BYTES = (1 << 26) + 101, 0.02, 4 << 30
SHAPES = {  # layers, hidden, feed-forward, heads, KV heads, head, vocabulary, tied embeddings
    "llama-3.1-8b": (32, 4096, 14336, 32, 8, 128, 128256, False),
    "llama-2-7b": (32, 4096, 11008, 32, 32, 128, 32000, False),
    "llama-3.2-1b": (16, 2048, 8192, 32, 8, 64, 128256, True),
    "smollm2-135m": (30, 576, 1536, 9, 3, 64, 49152, True),
    "tiny": (2, 256, 512, 4, 2, 64, 32000, False),
}
CONSONANTS, VOWELS = "bcdfghjklmnpqrstvwxyz", "aeiou"


def config(shape):
    layers, hidden, feed_forward, heads, kv_heads, head, vocabulary, tied = shape
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu",
            "num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": feed_forward, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "head_dim": head, "vocab_size": vocabulary, "tie_word_embeddings": tied,
            "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "bos_token_id": 0, "eos_token_id": 1}


def byte_letters():
    """The letter that stands for each byte in byte-level BPE: itself if it is visible, else the next free from 256 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    free = itertools.count(256)
    return [chr(b) if b in visible else chr(next(free)) for b in range(256)]


def tokenizer(vocabulary):
    syllables = [c + v for c in CONSONANTS for v in VOWELS]
    space, words = byte_letters()[ord(" ")], []
    merges = [(s[0], s[1]) for s in syllables]
    for _ in range(3):  # a word of n syllables is one of n − 1 and a syllable
        words.append([(before, s) for before in (map("".join, words[-1]) if words else [space]) for s in syllables])
    left = vocabulary - 2 - 256 - len(merges)
    merges = (merges + list(itertools.chain(*words)))[: len(merges) + left]
    tokens = ["<s>", "</s>", *byte_letters(), *map("".join, merges)]
    special = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i in range(2)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "added_tokens": special, "normalizer": None, "pre_tokenizer": level, "post_processor": None,
            "decoder": level, "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)},
                                        "merges": [" ".join(m) for m in merges]}}


def tensor_shapes(layers, hidden, feed_forward, heads, kv_heads, head, vocabulary, tied):
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            yield f"{prefix}self_attn.{name}_proj.weight", (rows * head, hidden)
        yield f"{prefix}self_attn.o_proj.weight", (hidden, heads * head)
        for name in ("gate", "up"):
            yield f"{prefix}mlp.{name}_proj.weight", (feed_forward, hidden)
        yield f"{prefix}mlp.down_proj.weight", (hidden, feed_forward)
        for name in ("input", "post_attention"):
            yield f"{prefix}{name}_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    if not tied:
        yield "lm_head.weight", (vocabulary, hidden)


def bfloat16(numbers):
    return (numbers.view(numpy.uint32) >> 16).astype(numpy.uint16)


def file_write(path, sizes_of, random, pool):
    """One file of safetensors: a header that says where each tensor lies, then their bytes."""
    header, at = {}, 0
    for name, sizes in sizes_of.items():
        header[name] = {"dtype": "BF16", "shape": sizes, "data_offsets": [at, at := at + 2 * math.prod(sizes)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for sizes in sizes_of.values():
            if len(sizes) == 1:
                file.write(bfloat16(numpy.ones(sizes, numpy.float32)))
                continue
            left, at = math.prod(sizes), int(random.integers(len(pool)))
            while left:
                part = pool[at : at + left]
                file.write(part)
                left, at = left - len(part), 0


def files(shape):
    """Tensors of about FILE_BYTES together."""
    sizes_of = {}
    for name, sizes in tensor_shapes(*shape):
        sizes_of[name] = sizes
        if sum(map(math.prod, sizes_of.values())) * 2 >= FILE_BYTES:
            yield sizes_of
            sizes_of = {}
    if sizes_of:
        yield sizes_of


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    folder, shape = pathlib.Path(sys.argv[1]), SHAPES[sys.argv[2] if len(sys.argv) > 2 else "llama-3.1-8b"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(shape)))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(shape[6])))
    random = numpy.random.default_rng(1)
    pool = bfloat16(random.standard_normal(POOL, numpy.float32) * numpy.float32(DEVIATION))
    where = {}
    for i, sizes_of in enumerate(files(shape)):
        name = f"model-{i:05}.safetensors"
        file_write(folder / name, sizes_of, random, pool)
        where.update(dict.fromkeys(sizes_of, name))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


if __name__ == "__main__":
    main()
