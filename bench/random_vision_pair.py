#!/usr/bin/env python3
"""Writes a folder with a GGUF pair of SmolVLM-256M's shape and random weights, for speed alone: decoder.gguf (Q8_0) and
mmproj-encoder.gguf (F16), as convert_hf_to_gguf.py names them, with the vocabulary of another file and SmolVLM's marks behind
it, and the preprocessor_config.json that spate build reads. Pictures are made as large as EDGE on their longer side, and cut
into tiles of 512; a square one of 1024 becomes 5 tiles, of 2048 (as published) 17. Needs the packages gguf and numpy.

usage: random_vision_pair.py VOCABULARY.gguf FOLDER [EDGE]"""
import json
import pathlib
import sys

import gguf
import numpy

from random_gguf import DEVIATION, tokenizer_copy

LAYERS, HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, HEAD, VOCABULARY = 30, 576, 1536, 9, 3, 64, 49280
TILE, PATCH, SCALE, V_LAYERS, V_HIDDEN, V_FEED_FORWARD, V_HEADS = 512, 16, 4, 12, 768, 3072, 12
AROUND = "<fake_token_around_image>"
MARKS = ["<image>", AROUND, "<global-img>", *(f"<row_{y}_col_{x}>" for y in range(1, 7) for x in range(1, 7))]
TEMPLATE = ("{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
            "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}")
random = numpy.random.default_rng(1)


def normal(shape):
    return random.standard_normal(shape, numpy.float32) * numpy.float32(DEVIATION)


def add(writer, name, shape, kind):
    """A matrix of the kind; vectors and positions in full, those of norms around one."""
    if len(shape) == 1:
        writer.add_tensor(name, normal(shape) + (1 if "norm" in name or "ln" in name and name.endswith("weight") else 0))
    elif kind == gguf.GGMLQuantizationType.F32:
        writer.add_tensor(name, normal(shape))
    else:
        writer.add_tensor(name, gguf.quants.quantize(normal(shape), kind), raw_dtype=kind)


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def decoder(path, vocabulary):
    writer, kind = gguf.GGUFWriter(path, "llama"), gguf.GGMLQuantizationType.Q8_0
    writer.add_name("random-vision-256m")
    writer.add_context_length(8192)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(100000)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_chat_template(TEMPLATE)
    tokenizer_copy(writer, vocabulary, VOCABULARY, MARKS)
    add(writer, "token_embd.weight", (VOCABULARY, HIDDEN), kind)
    for layer in range(LAYERS):
        for name, shape in (("attn_norm", (HIDDEN,)), ("attn_q", (HEADS * HEAD, HIDDEN)), ("attn_k", (KV_HEADS * HEAD, HIDDEN)),
                            ("attn_v", (KV_HEADS * HEAD, HIDDEN)), ("attn_output", (HIDDEN, HEADS * HEAD)),
                            ("ffn_norm", (HIDDEN,)), ("ffn_gate", (FEED_FORWARD, HIDDEN)), ("ffn_up", (FEED_FORWARD, HIDDEN)),
                            ("ffn_down", (HIDDEN, FEED_FORWARD))):
            add(writer, f"blk.{layer}.{name}.weight", shape, kind)
    add(writer, "output_norm.weight", (HIDDEN,), kind)
    close(writer)


def encoder(path, edge):
    writer, kind, full = gguf.GGUFWriter(path, "clip"), gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.F32
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(gguf.VisionProjectorType.IDEFICS3)
    writer.add_vision_projection_dim(HIDDEN)
    writer.add_vision_image_size(TILE)
    writer.add_vision_preproc_image_size(edge)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(V_HIDDEN)
    writer.add_vision_feed_forward_length(V_FEED_FORWARD)
    writer.add_vision_block_count(V_LAYERS)
    writer.add_vision_head_count(V_HEADS)
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_use_gelu(True)
    writer.add_vision_projector_scale_factor(SCALE)
    writer.add_vision_image_mean([0.5] * 3)
    writer.add_vision_image_std([0.5] * 3)
    add(writer, "v.patch_embd.weight", (V_HIDDEN, 3, PATCH, PATCH), kind)
    add(writer, "v.patch_embd.bias", (V_HIDDEN,), kind)
    add(writer, "v.position_embd.weight", ((TILE // PATCH) ** 2, V_HIDDEN), full)
    for layer in range(V_LAYERS):
        for name, shape in (("attn_q", (V_HIDDEN, V_HIDDEN)), ("attn_k", (V_HIDDEN, V_HIDDEN)), ("attn_v", (V_HIDDEN, V_HIDDEN)),
                            ("attn_out", (V_HIDDEN, V_HIDDEN)), ("ffn_up", (V_FEED_FORWARD, V_HIDDEN)),
                            ("ffn_down", (V_HIDDEN, V_FEED_FORWARD)), ("ln1", (V_HIDDEN,)), ("ln2", (V_HIDDEN,))):
            add(writer, f"v.blk.{layer}.{name}.weight", shape, kind)
            add(writer, f"v.blk.{layer}.{name}.bias", shape[:1], kind)
    add(writer, "v.post_ln.weight", (V_HIDDEN,), kind)
    add(writer, "v.post_ln.bias", (V_HIDDEN,), kind)
    add(writer, "mm.model.fc.weight", (HIDDEN, V_HIDDEN * SCALE * SCALE), kind)
    close(writer)


def preprocessor(path, edge):
    path.write_text(json.dumps({
        "image_processor_type": "Idefics3ImageProcessor", "do_convert_rgb": True, "do_image_splitting": True, "do_resize": True,
        "size": {"longest_edge": edge}, "max_image_size": {"longest_edge": TILE}, "resample": 1, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_pad": True}))


def main():
    vocabulary, folder, edge = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1024
    folder.mkdir(parents=True, exist_ok=True)
    decoder(folder / "decoder.gguf", vocabulary)
    encoder(folder / "mmproj-encoder.gguf", edge)
    preprocessor(folder / "preprocessor_config.json", edge)


if __name__ == "__main__":
    main()
