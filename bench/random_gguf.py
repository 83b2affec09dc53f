#!/usr/bin/env python3
"""Writes a GGUF file of Llama-3.2-1B's shape in BF16 with normal random weights and the vocabulary of another file, padded:
for speed alone. Needs the packages gguf and numpy."""
import argparse

import gguf
import numpy

LAYERS, HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, HEAD, VOCABULARY = 16, 2048, 8192, 32, 8, 64, 128256
DEVIATION = 0.02


def tokenizer_copy(writer, path, size=VOCABULARY, named=()):
    """The tokenizer's fields, with named special tokens behind, and others that no text gives up to the size."""
    for name, field in gguf.GGUFReader(path).fields.items():
        if not name.startswith("tokenizer.") or name == "tokenizer.chat_template":
            continue
        value, kind = field.contents(), field.types[-1]
        if name == "tokenizer.ggml.tokens":
            value += named
            value += [f"<unused {i}>" for i in range(len(value), size)]
        if name == "tokenizer.ggml.token_type":
            value += [gguf.TokenType.CONTROL] * len(named)
            value += [gguf.TokenType.UNUSED] * (size - len(value))
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(name, value, gguf.GGUFValueType.ARRAY, sub_type=kind)
        else:
            writer.add_key_value(name, value, kind)


def shapes():
    yield "token_embd.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        for name, shape in (("attn_norm", (HIDDEN,)), ("attn_q", (HEADS * HEAD, HIDDEN)), ("attn_k", (KV_HEADS * HEAD, HIDDEN)),
                            ("attn_v", (KV_HEADS * HEAD, HIDDEN)), ("attn_output", (HIDDEN, HEADS * HEAD)),
                            ("ffn_norm", (HIDDEN,)), ("ffn_gate", (FEED_FORWARD, HIDDEN)), ("ffn_up", (FEED_FORWARD, HIDDEN)),
                            ("ffn_down", (HIDDEN, FEED_FORWARD))):
            yield f"blk.{layer}.{name}.weight", shape
    yield "output_norm.weight", (HIDDEN,)


def bfloat16(numbers):
    return (numbers.view(numpy.uint32) >> 16).astype(numpy.uint16)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("vocabulary", help="a GGUF file that has a tokenizer")
    parser.add_argument("output")
    args = parser.parse_args()
    random = numpy.random.default_rng(1)
    writer = gguf.GGUFWriter(args.output, "llama")
    writer.add_name("random-1b")
    writer.add_context_length(131072)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(500000)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    tokenizer_copy(writer, args.vocabulary)
    for name, shape in shapes():
        if len(shape) == 1:
            writer.add_tensor(name, numpy.ones(shape, numpy.float32))
            continue
        numbers = bfloat16(random.standard_normal(shape, numpy.float32) * numpy.float32(DEVIATION))
        writer.add_tensor(name, numbers.view(numpy.uint8).reshape(shape[0], -1), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
