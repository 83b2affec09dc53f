#!/usr/bin/env python3
"""More tiny random checkpoints of networks that see images, as `transformers` makes and saves them, with what it makes
of images and a prompt: families whose processors cut images into patches or tiles themselves.

    make_vision_family_fixtures.py --out tests/fixtures/vision [NAME ...]      needs torch, transformers, numpy; no network

Written to DIR/NAME/: the files of make_vision_fixtures.py, expected.vision in its format.
"""
import argparse
import copy
import os
import shutil
import sys
import types
from unittest import mock

import numpy as np
import torch
import transformers

from make_model_fixtures import write_json, write_tokenizer
from make_vision_fixtures import TEXT, load, vision, write_expected

SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 36, "intermediate_size": 52, "num_hidden_layers": 3,
          "num_attention_heads": 4, "num_channels": 3, "image_size": 24, "patch_size": 4,
          "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "vision_use_head": False}
GEMMA_TEXT = {"model_type": "gemma3_text", "vocab_size": 268, "hidden_size": 44, "intermediate_size": 60,
              "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
              "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "query_pre_attn_scalar": 12,
              "sliding_window": 14, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
              "rope_theta": 2000.0, "rope_local_base_freq": 500.0, "max_position_embeddings": 256,
              "tie_word_embeddings": True}

QWEN_TEXT = {"vocab_size": 268, "hidden_size": 48, "intermediate_size": 60, "num_hidden_layers": 2,
             "num_attention_heads": 3, "num_key_value_heads": 1, "hidden_act": "silu", "rms_norm_eps": 1e-6,
             "max_position_embeddings": 256, "use_sliding_window": False, "bos_token_id": 1, "eos_token_id": 2}
QWEN2_VISION = {"model_type": "qwen2_vl", "depth": 2, "embed_dim": 32, "hidden_size": 48, "num_heads": 2, "mlp_ratio": 2,
                "in_chans": 3, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2,
                "hidden_act": "quick_gelu"}
QWEN25_VISION = {"model_type": "qwen2_5_vl_vision", "depth": 3, "hidden_size": 32, "intermediate_size": 44,
                 "num_heads": 2, "in_channels": 3, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2,
                 "window_size": 16, "fullatt_block_indexes": [1], "out_hidden_size": 48, "hidden_act": "silu"}


def sections(*numbers):
    return {"type": "mrope", "mrope_section": list(numbers)}


def parameters(*numbers, theta=1000.0):
    return {"rope_type": "default", "rope_theta": theta, "mrope_section": list(numbers)}


PIXTRAL = {"model_type": "pixtral", "hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 2,
           "num_attention_heads": 2, "num_channels": 3, "image_size": 48, "patch_size": 4, "hidden_act": "silu",
           "rope_theta": 10000.0}
MISTRAL_TEXT = {**TEXT, "model_type": "mistral", "vocab_size": 268, "hidden_size": 40, "intermediate_size": 60,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
                "sliding_window": None}
CLIP = {"model_type": "clip_vision_model", "hidden_size": 36, "intermediate_size": 60, "num_hidden_layers": 4,
        "num_attention_heads": 3, "num_channels": 3, "image_size": 20, "patch_size": 5, "projection_dim": 16,
        "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
PICTURE = (17, 9)  # of LLaVA-NeXT: height, width before it was resized


FAMILIES = {
    "llava_next": {
        "config": {"architectures": ["LlavaNextForConditionalGeneration"], "model_type": "llava_next",
                   "image_token_index": 265, "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
                   "projector_hidden_act": "gelu", "image_grid_pinpoints": [[20, 20]], "tie_word_embeddings": False,
                   "text_config": MISTRAL_TEXT, "vision_config": CLIP},
        "images": [(20, 20), (20, 20)],  # the whole, and its one tile
        "off": {"act": vision(CLIP, hidden_act="gelu"), "layer": {"vision_feature_layer": -1},
                "class token": {"vision_feature_select_strategy": "full"}, "mark": {"image_token_index": 266}},
    },
    "llava_full": {
        "config": {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "image_token_index": 265,
                   "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
                   "projector_hidden_act": "gelu", "multimodal_projector_bias": False, "tie_word_embeddings": False,
                   "text_config": MISTRAL_TEXT, "vision_config": {**CLIP, "num_hidden_layers": 2}},
        "images": [(20, 20), (20, 20)],
        "off": {"mark": {"image_token_index": 266}},
    },
    "pixtral": {
        "config": {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "image_token_index": 265,
                   "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
                   "projector_hidden_act": "gelu", "tie_word_embeddings": False,
                   "text_config": MISTRAL_TEXT, "vision_config": PIXTRAL},
        "images": [(24, 16), (20, 48)],
        "off": {"act": vision(PIXTRAL, hidden_act="gelu"), "heads": vision(PIXTRAL, num_attention_heads=4),
                "layers": vision(PIXTRAL, num_hidden_layers=1), "patch": vision(PIXTRAL, patch_size=2),
                "theta": vision(PIXTRAL, rope_theta=2000.0), "layer of features": {"vision_feature_layer": -2},
                "class token": {"vision_feature_select_strategy": "default"}, "mark": {"image_token_index": 266}},
    },
    "mistral3": {
        "config": {"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3",
                   "image_token_index": 265, "vision_feature_layer": -1, "spatial_merge_size": 2,
                   "projector_hidden_act": "gelu", "multimodal_projector_bias": False, "tie_word_embeddings": False,
                   "text_config": MISTRAL_TEXT, "vision_config": PIXTRAL},
        "images": [(24, 16), (16, 48)],
        "off": {"act": vision(PIXTRAL, hidden_act="gelu"), "heads": vision(PIXTRAL, num_attention_heads=4),
                "layers": vision(PIXTRAL, num_hidden_layers=1), "patch": vision(PIXTRAL, patch_size=2),
                "theta": vision(PIXTRAL, rope_theta=2000.0), "merge": {"spatial_merge_size": 1},
                "layer of features": {"vision_feature_layer": -2},
                "bias of the projector": {"multimodal_projector_bias": True}, "mark": {"image_token_index": 266}},
    },
    "qwen2_vl": {  # a config as older ones are: the decoder's settings beside "vision_config"
        "config": {"architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", **QWEN_TEXT,
                   "rope_theta": 1000.0, "rope_scaling": sections(2, 3, 3), "image_token_id": 265,
                   "video_token_id": 266, "vision_start_token_id": 263, "vision_end_token_id": 264,
                   "tie_word_embeddings": False, "vision_config": QWEN2_VISION},
        "images": [(24, 16), (16, 40)],
        "off": {"act of the encoder": vision(QWEN2_VISION, hidden_act="gelu"), "heads": vision(QWEN2_VISION, num_heads=4),
                "layers": vision(QWEN2_VISION, depth=1), "patch": vision(QWEN2_VISION, patch_size=8),
                "merge": vision(QWEN2_VISION, spatial_merge_size=4), "frames": vision(QWEN2_VISION, temporal_patch_size=1),
                "theta": {"rope_theta": 5000.0}, "sections": {"rope_scaling": sections(4, 2, 2)},
                "mark": {"image_token_id": 266}},
    },
    "qwen2_5_vl": {
        "config": {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
                   "text_config": {**QWEN_TEXT, "model_type": "qwen2_5_vl_text", "rope_parameters": parameters(2, 3, 3)},
                   "image_token_id": 265, "video_token_id": 266, "vision_start_token_id": 263,
                   "vision_end_token_id": 264, "tie_word_embeddings": False, "vision_config": QWEN25_VISION},
        "images": [(24, 40), (16, 16)],
        "off": {"act of the encoder": vision(QWEN25_VISION, hidden_act="gelu"),
                "heads": vision(QWEN25_VISION, num_heads=4),
                "layers": vision(QWEN25_VISION, depth=2), "patch": vision(QWEN25_VISION, patch_size=8),
                "windows": vision(QWEN25_VISION, window_size=24), "windows.none": vision(QWEN25_VISION, window_size=800),
                "layers without": vision(QWEN25_VISION, fullatt_block_indexes=[0, 1]),
                "theta": {"text_config": {**QWEN_TEXT, "model_type": "qwen2_5_vl_text",
                                          "rope_parameters": parameters(2, 3, 3, theta=5000.0)}},
                "sections": {"text_config": {**QWEN_TEXT, "model_type": "qwen2_5_vl_text",
                                             "rope_parameters": parameters(4, 2, 2)}}},
    },
    "gemma3": {
        "config": {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
                   "image_token_index": 265, "boi_token_index": 263, "eoi_token_index": 264, "mm_tokens_per_image": 9,
                   "tie_word_embeddings": True, "text_config": GEMMA_TEXT, "vision_config": SIGLIP},
        "images": [(24, 24), (24, 24)],
        "off": {"act": vision(SIGLIP, hidden_act="quick_gelu"), "heads": vision(SIGLIP, num_attention_heads=2),
                "eps": vision(SIGLIP, layer_norm_eps=0.3), "layers": vision(SIGLIP, num_hidden_layers=2),
                "patch": vision(SIGLIP, patch_size=8), "grid": vision(SIGLIP, image_size=36),
                "mark": {"image_token_index": 266}},
    },
}


def randomize(model, rng):
    """Numbers that make every part of the network show."""
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        gemma_norm = "gemma" in model.config.model_type and "norm" in name and "vision_tower" not in name
        if name.endswith("bias"):
            value = rng.standard_normal(shape) * 0.3
        elif len(shape) == 1 and ("norm" in name or "ln_" in name):
            value = rng.standard_normal(shape) * 0.3 + (0.0 if gemma_norm else 1.0)
        elif "embed_tokens" in name or "image_newline" in name or "class_embedding" in name:
            value = rng.standard_normal(shape)
        elif "position_embedding" in name:
            value = rng.standard_normal(shape) * 0.7
        elif "mm_input_projection_weight" in name:
            value = rng.standard_normal(shape) * shape[0] ** -0.5
        else:
            gain = 1.7 if any(part in name for part in ("q_proj", "k_proj", "qkv")) else 4.0 if "lm_head" in name else 1.2
            value = rng.standard_normal(shape) * gain * np.prod(shape[1:]) ** -0.5
        parameter.data = torch.tensor(value, dtype=torch.float32)


def write_checkpoint(folder, name, spec):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    config = transformers.AutoConfig.for_model(**copy.deepcopy(spec["config"]))
    model = transformers.AutoModelForImageTextToText.from_config(config)
    randomize(model, np.random.default_rng(sum(name.encode())))
    model.to(torch.bfloat16).save_pretrained(folder)
    for file in os.listdir(folder):
        if file != "model.safetensors":
            os.remove(os.path.join(folder, file))
    write_json(os.path.join(folder, "config.json"), spec["config"])
    write_json(os.path.join(folder, "off.json"), spec["off"])
    write_tokenizer(os.path.join(folder, "tokenizer.json"))


# --- what each family's model takes -----------------------------------------------------------------------------------------

def gemma3_inputs(config, images):
    return {"pixel_values": torch.tensor(np.stack(images))}


def gemma3_extra(config, ids):
    return {"token_type_ids": (torch.tensor(ids) == config["image_token_index"]).long()[None]}


def qwen_inputs(config, images):
    """Patches as its processor lays them: of squares of merged ones, [channel][frame][y][x]."""
    v = config["vision_config"]
    p, m, t = v["patch_size"], v["spatial_merge_size"], v["temporal_patch_size"]
    patches, grids = [], []
    for pixels in images:
        channels, height, width = pixels.shape
        cut = np.tile(pixels[None], (t, 1, 1, 1)).reshape(t, channels, height // p // m, m, p, width // p // m, m, p)
        patches.append(cut.transpose(2, 5, 3, 6, 1, 0, 4, 7).reshape(-1, channels * t * p * p))
        grids.append((1, height // p, width // p))
    return {"pixel_values": torch.tensor(np.concatenate(patches)), "image_grid_thw": torch.tensor(grids)}


def qwen_extra(config, ids):
    return {"mm_token_type_ids": (torch.tensor(ids) == config["image_token_id"]).int()[None]}


def llava_inputs(config, images):
    return {"pixel_values": torch.tensor(np.stack(images))}


def sized_inputs(config, images):
    """Padded to one size, as the processor does."""
    height, width = (max(pixels.shape[k] for pixels in images) for k in (1, 2))
    padded = [np.pad(p, ((0, 0), (0, height - p.shape[1]), (0, width - p.shape[2]))) for p in images]
    return {"pixel_values": torch.tensor(np.stack(padded)),
            "image_sizes": torch.tensor([pixels.shape[1:] for pixels in images])}


def next_inputs(config, images):
    return {"pixel_values": torch.tensor(np.stack(images))[None], "image_sizes": torch.tensor([PICTURE])}


def next_tile_rows(model, pixels):
    config = model.config
    states = model.model.vision_tower(torch.tensor(pixels[None]), output_hidden_states=True).hidden_states
    return model.model.multi_modal_projector(states[config.vision_feature_layer][:, 1:])[0]


def write_tiles(path, model, rng):
    """How pictures are packed: {"tiles": [rows, columns, side, width, height], "rows": [...]} of pack_image_features,
    whose features are their own numbers; -1: the row behind a line."""
    cases, side = [], model.config.vision_config.image_size // model.config.vision_config.patch_size
    edge = model.config.vision_config.image_size
    kept = model.model.config.image_grid_pinpoints
    for _ in range(40):
        height, width = (int(n) for n in rng.integers(1, 4, 2))
        model.model.config.image_grid_pinpoints = [[edge * height, edge * width]]
        size = [int(n) for n in rng.integers(5, 300, 2)]
        count = (1 + height * width) * side * side
        features = torch.arange(count, dtype=torch.float32).reshape(1 + height * width, side * side, 1)
        packed, _ = model.model.pack_image_features([features], torch.tensor([size]), "default", torch.tensor([-1.0]))
        cases.append({"tiles": [height, width, side, size[1], size[0]], "rows": packed[0][:, 0].int().tolist()})
    model.model.config.image_grid_pinpoints = kept
    write_json(path, cases)


def write_texts(path, rng):
    """What processors put in place of an image's token: {"text": enum image_text, "shape": [rows, columns, lines, across,
    width, height], "is": "..."}, with a short mark."""
    names = types.SimpleNamespace
    for module in ("torchvision", "torchvision.transforms", "torchvision.transforms.v2", "torchvision.transforms.v2.functional"):
        sys.modules.setdefault(module, mock.MagicMock())  # their modules import what their texts do not need
    from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
    from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
    from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor
    from transformers.models.pixtral.processing_pixtral import PixtralProcessor
    from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor
    cases = []

    def add(kind, shape, text):
        cases.append({"text": kind, "shape": [int(n) for n in shape], "is": text})

    for rows, columns, lines, across in rng.integers(1, 4, (6, 4)):
        grid = torch.tensor([[1, 2 * lines, 2 * across]])
        add(0, (0, 0, lines, across, 0, 0), Qwen2VLProcessor.replace_image_token(
            names(image_processor=names(merge_size=2), image_token="~"), {"image_grid_thw": grid}, 0))
        height, width = (int(n) for n in rng.integers(20, 300, 2))
        own = names(image_token="~", patch_size=7, num_additional_image_tokens=1, vision_feature_select_strategy="default",
                    image_processor=names(image_grid_pinpoints=[[7 * 3 * rows, 7 * 3 * columns]]))
        own._get_unpadded_features = lambda *a: LlavaNextProcessor._get_unpadded_features(own, *a)
        own._get_number_of_features = lambda *a: LlavaNextProcessor._get_number_of_features(own, *a)
        add(1, (rows, columns, 3, 3, width, height), LlavaNextProcessor.replace_image_token(
            own, {"image_sizes": [(height, width)], "pixel_values": np.zeros((1, 1, 3, 21, 21))}, 0))
        own = names(fake_image_token="<fake_token_around_image>", global_image_tag="<global-img>", image_token="~",
                    image_seq_len=int(lines * across))
        for r, c in ((rows, columns), (0, 0)):
            add(2, (r, c, lines, across, 0, 0), Idefics3Processor.replace_image_token(own, {"rows": [[r]], "cols": [[c]]}, 0))
        marks = "~" * int(lines * across)
        own = names(full_image_sequence=f"\n\n<start_of_image>{marks}<end_of_image>\n\n")
        for r, c in ((1, columns), (0, 0)):
            add(3, (r, c, lines, across, 0, 0), Gemma3Processor.replace_image_token(own, {"num_crops": [r * c]}, 0))
        own = names(image_token="~", image_break_token="[IMG_BREAK]", image_end_token="[IMG_END]", patch_size=4,
                    spatial_merge_size=2)
        add(4, (0, 0, lines, across, 0, 0), PixtralProcessor.replace_image_token(
            own, {"image_sizes": [(8 * lines, 8 * across)]}, 0))
    write_json(path, cases)


INPUTS = {"llava": llava_inputs, "pixtral": sized_inputs, "mistral3": sized_inputs, "llava_next": next_inputs,
          "gemma3": gemma3_inputs, "qwen2_vl": qwen_inputs, "qwen2_5_vl": qwen_inputs}
EXTRA = {"gemma3": gemma3_extra, "qwen2_vl": qwen_extra, "qwen2_5_vl": qwen_extra}


def write_positions(path, model, rng):
    """Of prompts of texts and images, where get_rope_index puts their tokens: {"images": [[first, lines, columns], ...],
    "places": [[...], [...], [...]], "next": of the token behind them}."""
    merge, mark, cases = model.config.vision_config.spatial_merge_size, model.config.image_token_id, []
    for _ in range(12):
        ids, images = [5] * int(rng.integers(0, 5)), []
        for _ in range(int(rng.integers(1, 4))):
            lines, columns = (int(n) for n in rng.integers(1, 8, 2))
            images.append([len(ids), lines, columns])
            ids += [mark] * (lines * columns) + [5] * int(rng.integers(1, 6))
        tokens = torch.tensor(ids)[None]
        places, delta = model.model.get_rope_index(
            tokens, mm_token_type_ids=(tokens == mark).int(),
            image_grid_thw=torch.tensor([[1, lines * merge, columns * merge] for _, lines, columns in images]))
        cases.append({"images": images, "places": places[:, 0].tolist(), "next": len(ids) + int(delta[0, 0])})
    write_json(path, cases)


def image_rows(model, inputs):
    inputs = dict(inputs)
    for key in ("vision_feature_layer", "vision_feature_select_strategy"):
        if hasattr(model.config, key):
            inputs[key] = getattr(model.config, key)
    rows = model.model.get_image_features(**inputs).pooler_output
    return torch.cat(list(rows)).reshape(-1, model.config.text_config.hidden_size)


def prompt(rng, config, rows):
    mark = config.get("image_token_id", config.get("image_token_index"))
    def text(n):
        return list(rng.integers(3, 250, n))
    ids = text(5)
    for r in rows:
        ids += [mark] * len(r) + text(4)
    return np.array(ids, dtype=np.int32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    write_texts(os.path.join(args.out, "texts.json"), np.random.default_rng(5))
    for name, spec in FAMILIES.items():
        if args.names and name not in args.names:
            continue
        folder, rng, config = os.path.join(args.out, name), np.random.default_rng(len(name)), spec["config"]
        write_checkpoint(folder, name, spec)
        model = load(folder)
        kind = config["vision_config"]["model_type"] if name == "pixtral" else config["model_type"]
        images = [rng.uniform(-1, 1, (3, *size)).astype(np.float32) for size in spec["images"]]
        if kind == "llava_next":
            rows = [next_tile_rows(model, pixels) for pixels in images]
            ids = prompt(rng, config, [image_rows(model, INPUTS[kind](config, images))])
            write_tiles(os.path.join(folder, "tiles.json"), model, rng)
        else:
            rows = [image_rows(model, INPUTS[kind](config, [pixels])) for pixels in images]
            ids = prompt(rng, config, rows)
        tokens = torch.tensor(ids[None].astype(np.int64))
        extra = EXTRA.get(kind, lambda config, ids: {})(config, ids)
        logits = model(input_ids=tokens, **INPUTS[kind](config, images), **extra, use_cache=False).logits[0]
        if kind == "qwen2_vl":
            write_positions(os.path.join(folder, "places.json"), model, rng)
        write_expected(os.path.join(folder, "expected.vision"), images, rows, ids, logits)
        print(f"{name:9} {[tuple(r.shape) for r in rows]} rows, range {rows[0].max() - rows[0].min():.2f}; {len(ids)} "
              f"tokens, range of logits {logits.max() - logits.min():.2f}")


if __name__ == "__main__":
    main()
