#!/usr/bin/env python3
"""Tiny random checkpoints of networks that see images, with what `transformers` makes of some images and a prompt.

    make_vision_fixtures.py --out tests/fixtures/vision      needs torch, transformers, numpy; no network

Written to DIR/NAME/: config.json, model.safetensors, tokenizer.json, off.json as make_model_fixtures.py has them, and

    expected.vision   little-endian: 8 bytes "SPVISION", int32 n_image; of each image int32 channels, height, width,
                      float32 pixels[channels][height][width], int32 n_row, int32 cols, float32 rows[n_row][cols]: its
                      rows of the decoder's embeddings; then int32 n_token, int32 vocab, int32 token[n_token] (the mark
                      of an image for each of its rows, image after image), float32 logits[n_token][vocab]
"""
import argparse
import json
import os
import struct

import numpy as np
import torch
import transformers

from make_model_fixtures import write_json, write_safetensors, write_tokenizer

TEXT = {"rms_norm_eps": 1e-5, "rope_theta": 1000.0, "hidden_act": "silu", "attention_bias": False,
        "max_position_embeddings": 256, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
        "initializer_range": 0.02}


def vision(base, **change):
    return {"vision_config": {**base, **change}}


IDEFICS_VISION = {"model_type": "idefics3_vision", "hidden_size": 36, "intermediate_size": 52, "num_hidden_layers": 3,
                  "num_attention_heads": 4, "num_channels": 3, "image_size": 24, "patch_size": 4,
                  "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
CLIP_VISION = {"model_type": "clip_vision_model", "hidden_size": 36, "intermediate_size": 60, "num_hidden_layers": 4,
               "num_attention_heads": 3, "num_channels": 3, "image_size": 20, "patch_size": 5, "projection_dim": 16,
               "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}

FAMILIES = {
    "idefics3": {
        "config": {"architectures": ["Idefics3ForConditionalGeneration"], "model_type": "idefics3", "scale_factor": 2,
                   "image_token_id": 262, "tie_word_embeddings": False, "pad_token_id": 0,
                   "text_config": {**TEXT, "model_type": "llama", "vocab_size": 270, "hidden_size": 40,
                                   "intermediate_size": 72, "num_hidden_layers": 2, "num_attention_heads": 4,
                                   "num_key_value_heads": 2, "head_dim": 10, "pad_token_id": 0},
                   "vision_config": IDEFICS_VISION},
        "dtype": "BF16", "images": [(24, 24), (16, 16)],
        "off": {"act": vision(IDEFICS_VISION, hidden_act="quick_gelu"), "heads": vision(IDEFICS_VISION, num_attention_heads=2),
                "eps": vision(IDEFICS_VISION, layer_norm_eps=0.3), "layers": vision(IDEFICS_VISION, num_hidden_layers=2),
                "patch": vision(IDEFICS_VISION, patch_size=8), "grid": vision(IDEFICS_VISION, image_size=32),
                "merge": {"scale_factor": 3}, "mark": {"image_token_id": 261}},
    },
    "llava": {
        "config": {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "image_token_index": 264,
                   "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
                   "projector_hidden_act": "gelu", "image_seq_length": 16, "tie_word_embeddings": False,
                   "text_config": {**TEXT, "model_type": "llama", "vocab_size": 268, "hidden_size": 44,
                                   "intermediate_size": 60, "num_hidden_layers": 2, "num_attention_heads": 2,
                                   "num_key_value_heads": 2},
                   "vision_config": CLIP_VISION},
        "dtype": "F16", "images": [(20, 20), (20, 20)],
        "off": {"act": vision(CLIP_VISION, hidden_act="gelu_pytorch_tanh"), "heads": vision(CLIP_VISION, num_attention_heads=4),
                "eps": vision(CLIP_VISION, layer_norm_eps=0.3), "layer": {"vision_feature_layer": -1},
                "layer.earlier": {"vision_feature_layer": -3}, "class token left out": {"vision_feature_select_strategy": "full"},
                "act of the projector": {"projector_hidden_act": "relu"}, "mark": {"image_token_index": 263}},
    },
}


# --- checkpoints --------------------------------------------------------------------------------------------------------

def matrix(name, rows, cols, gain=1.0, bias=True):
    yield name + ".weight", (rows, *cols) if isinstance(cols, tuple) else (rows, cols), gain * np.prod(cols) ** -0.5, 0.0
    if bias:
        yield name + ".bias", (rows,), 0.4, 0.0


def layer_norm(name, size):
    yield name + ".weight", (size,), 0.3, 1.0
    yield name + ".bias", (size,), 0.3, 0.0


def tower(prefix, v, clip):
    hidden, ff, patch = v["hidden_size"], v["intermediate_size"], v["patch_size"]
    positions = (v["image_size"] // patch) ** 2 + clip
    if clip:
        yield prefix + "embeddings.class_embedding", (hidden,), 1.0, 0.0
        yield from layer_norm(prefix + "pre_layrnorm", hidden)
    yield from matrix(prefix + "embeddings.patch_embedding", hidden, (v["num_channels"], patch, patch), 1.5, not clip)
    yield prefix + "embeddings.position_embedding.weight", (positions, hidden), 0.7, 0.0
    for i in range(v["num_hidden_layers"]):
        layer = f"{prefix}encoder.layers.{i}."
        yield from layer_norm(layer + "layer_norm1", hidden)
        for part, gain in (("q_proj", 1.7), ("k_proj", 1.7), ("v_proj", 1.2), ("out_proj", 1.2)):
            yield from matrix(layer + "self_attn." + part, hidden, hidden, gain)
        yield from layer_norm(layer + "layer_norm2", hidden)
        yield from matrix(layer + "mlp.fc1", ff, hidden, 1.5)
        yield from matrix(layer + "mlp.fc2", hidden, ff, 1.5)
    yield from layer_norm(prefix + "post_layernorm", hidden)


def decoder(prefix, head, t):
    hidden, ff, vocab, heads = t["hidden_size"], t["intermediate_size"], t["vocab_size"], t["num_attention_heads"]
    dim, kv = t.get("head_dim") or hidden // heads, t["num_key_value_heads"]
    yield prefix + "embed_tokens.weight", (vocab, hidden), 1.0, 0.0
    for i in range(t["num_hidden_layers"]):
        layer = f"{prefix}layers.{i}."
        yield layer + "input_layernorm.weight", (hidden,), 0.3, 1.0
        yield from matrix(layer + "self_attn.q_proj", heads * dim, hidden, 1.7, False)
        yield from matrix(layer + "self_attn.k_proj", kv * dim, hidden, 1.7, False)
        yield from matrix(layer + "self_attn.v_proj", kv * dim, hidden, 1.2, False)
        yield from matrix(layer + "self_attn.o_proj", hidden, heads * dim, 1.0, False)
        yield layer + "post_attention_layernorm.weight", (hidden,), 0.3, 1.0
        for part in ("gate_proj", "up_proj"):
            yield from matrix(layer + "mlp." + part, ff, hidden, 1.2, False)
        yield from matrix(layer + "mlp.down_proj", hidden, ff, 1.2, False)
    yield prefix + "norm.weight", (hidden,), 0.3, 1.0
    yield from matrix(head + "lm_head", vocab, hidden, 4.0, False)


def shapes(config):
    text, v = config["text_config"], config["vision_config"]
    if config["model_type"] == "idefics3":
        yield from tower("model.vision_model.", v, False)
        joined = v["hidden_size"] * config["scale_factor"] ** 2
        yield from matrix("model.connector.modality_projection.proj", text["hidden_size"], joined, 1.0, False)
        yield from decoder("model.text_model.", "", text)
    else:
        yield from tower("vision_tower.vision_model.", v, True)
        yield from matrix("multi_modal_projector.linear_1", text["hidden_size"], v["hidden_size"], 1.5)
        yield from matrix("multi_modal_projector.linear_2", text["hidden_size"], text["hidden_size"], 1.5)
        yield from decoder("language_model.model.", "language_model.", text)


def write_checkpoint(folder, name, spec):
    rng = np.random.default_rng(sum(name.encode()))
    os.makedirs(folder, exist_ok=True)
    tensors = [(tensor, (rng.standard_normal(shape) * std + mean).astype(np.float32))
               for tensor, shape, std, mean in shapes(spec["config"])]
    write_json(os.path.join(folder, "config.json"), spec["config"])
    write_json(os.path.join(folder, "off.json"), spec["off"])
    write_tokenizer(os.path.join(folder, "tokenizer.json"))
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors, spec["dtype"])


# --- what transformers makes of it ----------------------------------------------------------------------------------------

def load(folder):
    model, info = transformers.AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    wrong = [key for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in info[kind]
             if "position_ids" not in key]
    if wrong:
        raise SystemExit(f"{folder}: {wrong}")
    return model.eval()


def image_rows(model, pixels):
    batch = torch.tensor(pixels[None] if model.config.model_type == "llava" else pixels[None, None])
    extra = {} if model.config.model_type == "idefics3" else {
        "vision_feature_layer": model.config.vision_feature_layer,
        "vision_feature_select_strategy": model.config.vision_feature_select_strategy}
    rows = model.model.get_image_features(pixel_values=batch, **extra).pooler_output
    return torch.cat(list(rows)).reshape(-1, model.config.text_config.hidden_size)


def prompt(rng, config, rows):
    mark = config.get("image_token_id", config.get("image_token_index"))
    def text(n):
        ids = rng.integers(3, config["text_config"]["vocab_size"], n)
        return list(np.where((ids == mark) | (ids == mark - 1), 3, ids))
    ids = text(5)
    for r in rows:
        ids += [mark] * len(r) + text(4)
    return np.array(ids, dtype=np.int32), mark


def merged_logits(model, ids, mark, rows):
    tokens = torch.tensor(ids[None].astype(np.int64))
    embeds = model.get_input_embeddings()(tokens).clone()
    embeds[tokens == mark] = torch.cat(rows)
    return model(inputs_embeds=embeds, use_cache=False).logits[0]


def official_check(model, pixels, rows, ids, mark):
    """The model's own merging of one image gives the same."""
    short = ids[:5 + len(rows) + 4]
    batch = torch.tensor(pixels[None] if model.config.model_type == "llava" else pixels[None, None])
    own = model(input_ids=torch.tensor(short[None].astype(np.int64)), pixel_values=batch, use_cache=False).logits[0]
    difference = (own - merged_logits(model, short, mark, [rows])).abs().max().item()
    if difference > 1e-4:
        raise SystemExit(f"merging by hand differs by {difference}")


def write_expected(path, images, rows, ids, logits):
    with open(path, "wb") as file:
        file.write(b"SPVISION" + struct.pack("<i", len(images)))
        for pixels, r in zip(images, rows):
            file.write(struct.pack("<iii", *pixels.shape) + pixels.astype("<f4").tobytes())
            file.write(struct.pack("<ii", *r.shape) + r.numpy().astype("<f4").tobytes())
        file.write(struct.pack("<ii", *logits.shape) + ids.astype("<i4").tobytes())
        file.write(logits.numpy().astype("<f4").tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    for name, spec in FAMILIES.items():
        folder, rng = os.path.join(args.out, name), np.random.default_rng(len(name))
        write_checkpoint(folder, name, spec)
        model = load(folder)
        channels = spec["config"]["vision_config"]["num_channels"]
        images = [rng.uniform(-1, 1, (channels, *size)).astype(np.float32) for size in spec["images"]]
        rows = [image_rows(model, pixels) for pixels in images]
        ids, mark = prompt(rng, spec["config"], rows)
        logits = merged_logits(model, ids, mark, rows)
        official_check(model, images[0], rows[0], ids, mark)
        write_expected(os.path.join(folder, "expected.vision"), images, rows, ids, logits)
        blank = merged_logits(model, ids, mark, [r * 0 for r in rows])
        print(f"{name:9} {[tuple(r.shape) for r in rows]} rows, range {rows[0].max() - rows[0].min():.2f}; {len(ids)} "
              f"tokens, range of logits {logits.max() - logits.min():.2f}, without images off by "
              f"{(logits - blank).abs().max() / (logits.max() - logits.min()):.1e}")


if __name__ == "__main__":
    main()
