"""Makes tests/fixtures/build/tiny.gguf: two layers of a Llama with every kind of storage that a build must handle: joined
tensors of one type and of different types, two-level and one-level scales, a codebook, halves and floats. The numbers are
random; only that they survive a build is tested.

Needs: pip install gguf numpy. Usage: tools/make_build_fixtures.py tests/fixtures/build
"""

import sys
from pathlib import Path

import gguf
import numpy as np

HIDDEN, HEADS, KV_HEADS, DIM, FFN = 256, 2, 1, 32, 40
TYPE = gguf.GGMLQuantizationType
# Byte positions of the fp16 scales in a block, so that random blocks hold moderate numbers.
SCALES = {TYPE.Q4_K: (0, 2), TYPE.Q6_K: (208,), TYPE.IQ4_XS: (0,), TYPE.Q5_0: (0,), TYPE.Q4_1: (0, 2), TYPE.Q8_0: (0,)}


def random_blocks(rng, rows, cols, kind):
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (rows, cols // block, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = rng.uniform(0.001, 0.01, (rows, cols // block, 1)).astype(np.float16)
        data[:, :, at : at + 2] = scale.view(np.uint8).reshape(rows, cols // block, 2)
    return data.reshape(rows, -1)


def byte_alphabet():
    """The printable characters that byte-level vocabularies write for the 256 bytes, in byte order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = {b: chr(b) for b in plain}
    rest = [b for b in range(256) if b not in names]
    return [names.get(b) or chr(256 + rest.index(b)) for b in range(256)]


def header_write(writer, layers, hidden, ffn, heads, kv_heads, dim):
    """What a tiny Llama says of itself, with a vocabulary of bytes and two merges; returns how many tokens."""
    tokens = byte_alphabet() + ["th", "the", "<|begin|>", "<|end|>"]
    types = [gguf.TokenType.NORMAL] * 258 + [gguf.TokenType.CONTROL] * 2
    writer.add_name("Tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    writer.add_rope_dimension_count(dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(258)
    writer.add_eos_token_id(259)
    return len(tokens)


def main(folder):
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    vocabulary = header_write(writer, 2, HIDDEN, FFN, HEADS, KV_HEADS, DIM)
    writer.add_chat_template("{{ messages[0].content }}")

    def matrix(name, rows, cols, kind):
        writer.add_tensor(name, random_blocks(rng, rows, cols, kind), raw_dtype=kind)

    def plain(name, *shape, dtype=np.float32):
        writer.add_tensor(name, rng.normal(0, 0.05, shape).astype(dtype))

    matrix("token_embd.weight", vocabulary, HIDDEN, TYPE.Q8_0)
    plain("output.weight", vocabulary, HIDDEN, dtype=np.float16)
    plain("output_norm.weight", HIDDEN)
    def layer(index, v, up, down):
        prefix = f"blk.{index}."
        plain(prefix + "attn_norm.weight", HIDDEN)
        matrix(prefix + "attn_q.weight", HEADS * DIM, HIDDEN, TYPE.Q4_K)
        matrix(prefix + "attn_k.weight", KV_HEADS * DIM, HIDDEN, TYPE.Q4_K)
        matrix(prefix + "attn_v.weight", KV_HEADS * DIM, HIDDEN, v)
        matrix(prefix + "attn_output.weight", HIDDEN, HEADS * DIM, TYPE.Q4_1)
        plain(prefix + "ffn_norm.weight", HIDDEN)
        matrix(prefix + "ffn_gate.weight", FFN, HIDDEN, TYPE.IQ4_XS)
        matrix(prefix + "ffn_up.weight", FFN, HIDDEN, up)
        plain(prefix + "ffn_down.weight", HIDDEN, FFN, dtype=down)

    layer(0, TYPE.Q5_0, TYPE.Q6_K, np.float32)  # types differ: weights of their own
    layer(1, TYPE.Q4_K, TYPE.IQ4_XS, np.float16)  # one type: joined
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
