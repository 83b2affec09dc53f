#!/usr/bin/env python3
"""GGUF pairs of the tiny checkpoints that see images, named and laid out as llama.cpp's convert_hf_to_gguf.py does: the
decoder's file and the encoder's (mmproj). The package gguf gives the names of tensors and keys. LLaVA's encoders are laid
out as its convert_image_encoder_to_gguf.py does, whose names and keys are its own; the decoder of LLaVA 1.5 has no token
for images, and Mistral Small's is of the architecture mistral3.

    make_mmproj_fixtures.py --out tests/fixtures/vision      needs numpy, torch, safetensors, gguf; no network

Written to DIR/NAME/gguf/: model.gguf, mmproj-model.gguf. What is expected of them is DIR/NAME/expected.vision, and of
requests DIR/NAME/serve/answers.json (make_image_answers.py), whose vocabulary, template and context they have.
"""
import argparse
import json
import os

import gguf
import numpy as np
import torch
from safetensors import safe_open

from make_model_fixtures import permute

KINDS = ("gemma3", "idefics3", "pixtral", "mistral3", "qwen2_vl", "qwen2_5_vl", "llava", "llava_next")
NORMAL, UNKNOWN, CONTROL, UNUSED = 1, 2, 3, 5


def read(folder):
    own = os.path.join(folder, "serve", "config.json")
    with open(own if os.path.exists(own) else os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as file:
        return config, {name: file.get_tensor(name).float() for name in file.keys()}


def add(writer, name, data):
    if not name:
        raise SystemExit("a tensor has no name in GGUF files")
    data = np.ascontiguousarray(data.numpy())
    if data.ndim == 1 or "position_embd" in name:
        writer.add_tensor(name, data.astype(np.float32))
    else:
        writer.add_tensor(name, data.astype(np.float16), raw_dtype=gguf.GGMLQuantizationType.F16)


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- the decoder --------------------------------------------------------------------------------------------------------

def vocabulary(writer, folder, vocab, without_image):
    """Of tokenizer.json, and what the network has beside it."""
    with open(os.path.join(folder, "serve", "tokenizer.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    tokens, types = [f"<extra_{i}>" for i in range(vocab)], [UNUSED] * vocab
    for text, i in tokenizer["model"]["vocab"].items():
        tokens[i], types[i] = text, NORMAL
    for token in tokenizer["added_tokens"]:
        tokens[token["id"]], types[token["id"]] = token["content"], UNKNOWN if token["content"] == "<unk>" else CONTROL
    if without_image:  # which is lent the unknown token: in its place, so that what is expected stays
        image, unknown = tokens.index("<image>"), tokens.index("<unk>")
        tokens[image], types[image] = "<unk>", UNKNOWN
        tokens[unknown], types[unknown] = f"<extra_{unknown}>", UNUSED
    merges = [" ".join(merge) for merge in tokenizer["model"]["merges"]]
    if not merges:  # which such a vocabulary has
        unused = types.index(UNUSED)
        tokens[unused], types[unused], merges = "!!", NORMAL, ["! !"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    with open(os.path.join(folder, "serve", "chat_template.jinja"), encoding="utf-8") as file:
        writer.add_chat_template(file.read())


def text_settings(writer, kind, text):
    writer.add_name(f"tiny {kind}")
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    if "head_dim" in text:
        writer.add_key_length(text["head_dim"])
        writer.add_value_length(text["head_dim"])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_rope_freq_base(text["rope_theta"] if "rope_theta" in text else text["rope_parameters"]["rope_theta"])
    if kind == "gemma3":
        writer.add_sliding_window(text["sliding_window"])
        writer.add_uint32("gemma3.attention.sliding_window_pattern", 2)
        writer.add_float32("gemma3.rope.freq_base_swa", text["rope_local_base_freq"])
    if kind == "mistral3":  # which Ministral 3 has otherwise: a place for tests to change
        writer.add_float32("mistral3.attention.temperature_scale", 0.0)
    if kind.startswith("qwen2"):
        scaling = text.get("rope_scaling") or text["rope_parameters"]
        writer.add_rope_dimension_sections(scaling["mrope_section"] + [0])


def text_names(kind, layers):
    arch = {"gemma3": gguf.MODEL_ARCH.GEMMA3, "qwen2_vl": gguf.MODEL_ARCH.QWEN2VL,
            "qwen2_5_vl": gguf.MODEL_ARCH.QWEN2VL, "mistral3": gguf.MODEL_ARCH.MISTRAL3}.get(kind, gguf.MODEL_ARCH.LLAMA)
    return gguf.MODEL_ARCH_NAMES[arch], gguf.get_tensor_name_map(arch, layers)


def write_model(folder, kind, config, tensors):
    text = {**config, **config.get("text_config", {})}
    arch, names = text_names(kind, text["num_hidden_layers"])
    writer = gguf.GGUFWriter(os.path.join(folder, "gguf", "model.gguf"), arch)
    text_settings(writer, kind, text)
    vocabulary(writer, folder, text["vocab_size"], kind == "llava")
    for name, data in tensors.items():
        if "vision" in name or "visual" in name or "projector" in name or "connector" in name or "image_newline" in name:
            continue
        name = name.replace("language_model.", "").replace("text_model.", "")
        if kind == "gemma3" and name.endswith("norm.weight"):
            data = data + 1
        if arch in ("llama", "mistral3") and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = text["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
            data = torch.tensor(permute(data.numpy(), heads))
        add(writer, names.get_name(name, try_suffixes=(".weight", ".bias")), data)
    close(writer)


# --- the encoder --------------------------------------------------------------------------------------------------------

def clip_settings(writer, kind, v, config):
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_clip_has_vision_encoder(True)
    writer.add_vision_projection_dim(config.get("text_config", config)["hidden_size"])
    writer.add_vision_image_size(v.get("image_size", 560))
    writer.add_vision_patch_size(v["patch_size"])
    writer.add_vision_embedding_length(v["hidden_size"])
    writer.add_vision_feed_forward_length(v["intermediate_size"])
    writer.add_vision_block_count(v["num_hidden_layers"])
    writer.add_vision_head_count(v["num_attention_heads"])
    writer.add_vision_image_mean([0.5] * 3)
    writer.add_vision_image_std([0.5] * 3)


def siglip_settings(writer, kind, v, config):
    projector = {"gemma3": gguf.VisionProjectorType.GEMMA3, "idefics3": gguf.VisionProjectorType.IDEFICS3}[kind]
    writer.add_clip_projector_type(projector)
    writer.add_vision_attention_layernorm_eps(v["layer_norm_eps"])
    writer.add_vision_use_gelu(True)
    side = int(config.get("mm_tokens_per_image", 0) ** 0.5)
    scale = config.get("scale_factor") or v["image_size"] // v["patch_size"] // side
    writer.add_vision_projector_scale_factor(scale)


def siglip_tensors(kind, tensors):
    for name, data in tensors.items():
        if not any(part in name for part in ("vision", "projector", "connector")):
            continue
        if kind == "gemma3":
            name = name.replace("_weight", ".weight").replace("vision_tower.", "vision_tower.vision_model.")
            data = data + 1 if "soft_emb_norm" in name else data
        yield name, data


def rotary_settings(writer, kind, v, config):
    if kind in ("pixtral", "mistral3"):
        writer.add_clip_projector_type(gguf.VisionProjectorType.PIXTRAL)
        writer.add_vision_attention_layernorm_eps(1e-5)
        writer.add_vision_use_silu(True)
        if "spatial_merge_size" in config:
            writer.add_vision_spatial_merge_size(config["spatial_merge_size"])
        return
    newer = kind == "qwen2_5_vl"
    writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN25VL if newer else gguf.VisionProjectorType.QWEN2VL)
    writer.add_vision_attention_layernorm_eps(1e-6)
    if newer:
        writer.add_vision_use_silu(True)
        writer.add_vision_n_wa_pattern(v["fullatt_block_indexes"][0] + 1)
        writer.add_uint32("clip.vision.window_size", v["window_size"])


def pixtral_tensors(kind, config, tensors):
    heads = config["vision_config"]["num_attention_heads"]
    for name, data in tensors.items():
        if "vision_tower" in name or "projector" in name:
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                data = torch.tensor(permute(data.numpy(), heads))
            yield name, data
        elif "embed_tokens" in name:
            yield "v.token_embd.img_break", data[7]


def qwen_tensors(kind, config, tensors):
    for name, data in tensors.items():
        if not name.startswith("visual."):
            continue
        if ".qkv." in name:
            for part, rows in zip("qkv", data.chunk(3)):
                yield name.replace("qkv", part), rows
        elif "patch_embed.proj.weight" in name:
            yield "v.patch_embd.weight", data[:, :, 0]
            yield "v.patch_embd.weight.1", data[:, :, 1]
        else:
            yield name, data


# --- LLaVA's encoder, by the older script -------------------------------------------------------------------------------

OLDER_NAMES = (("multi_modal_projector.linear_1", "mm.0"), ("multi_modal_projector.linear_2", "mm.2"),
               ("vision_tower.vision_model.", "v."), ("vision_tower.", "v."), ("encoder.layers", "blk"), ("embeddings.", ""), ("_proj", ""),
               ("self_attn.", "attn_"), ("layer_norm", "ln"), ("mlp.fc1", "ffn_down"), ("mlp.fc2", "ffn_up"),
               ("embedding", "embd"), ("layrnorm", "ln"))


def older_settings(writer, kind, v, config):
    writer.add_bool("clip.has_text_encoder", False)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_file_type(1)
    writer.add_description("image encoder for LLaVA")
    writer.add_string("clip.projector_type", "mlp")
    writer.add_vision_image_size(v["image_size"])
    writer.add_vision_patch_size(v["patch_size"])
    writer.add_vision_embedding_length(v["hidden_size"])
    writer.add_vision_feed_forward_length(v["intermediate_size"])
    writer.add_vision_projection_dim(v["projection_dim"])
    writer.add_vision_head_count(v["num_attention_heads"])
    writer.add_vision_attention_layernorm_eps(v["layer_norm_eps"])
    layers = v["num_hidden_layers"] + 1 + config["vision_feature_layer"]
    writer.add_vision_block_count(layers)
    if kind == "llava_next":
        writer.add_array("clip.vision.image_grid_pinpoints", [side for pair in config["image_grid_pinpoints"] for side in pair])
        writer.add_uint32("clip.vision.image_crop_resolution", 224)
        writer.add_string("clip.vision.image_aspect_ratio", "anyres")
        writer.add_string("clip.vision.mm_patch_merge_type", "spatial_unpad")
        writer.add_string("clip.vision.mm_projector_type", "mlp2x_gelu")
        writer.add_array("clip.vision.feature_layer", [layers])
    writer.add_vision_image_mean([0.48145466, 0.4578275, 0.40821073])
    writer.add_vision_image_std([0.26862954, 0.26130258, 0.27577711])
    writer.add_vision_use_gelu(v["hidden_act"] == "gelu")
    return layers


def write_older(path, kind, config, tensors):
    writer = gguf.GGUFWriter(path, "clip")
    layers = older_settings(writer, kind, config["vision_config"], config)
    for name, data in tensors.items():
        if "image_newline" in name:
            writer.add_tensor("model.image_newline", data.numpy())
        if not any(part in name for part in ("vision_tower", "projector")) or "post_layernorm" in name:
            continue
        if "encoder.layers." in name and int(name.split("encoder.layers.")[1].split(".")[0]) >= layers:
            continue
        for old, new in OLDER_NAMES:
            name = name.replace(old, new)
        if kind == "llava_next":  # as newer files have it; readers take both
            name = name.replace("ffn_down", "ffn_").replace("ffn_up", "ffn_down").replace("ffn_.", "ffn_up.")
        data = np.ascontiguousarray(data.numpy())
        writer.add_tensor(name, data.astype(np.float16 if data.ndim > 1 else np.float32))
    close(writer)


# --- all ----------------------------------------------------------------------------------------------------------------

def write_mmproj(path, kind, config, tensors):
    v = dict(config["vision_config"])
    if kind.startswith("qwen"):
        v.update(num_attention_heads=v["num_heads"], num_hidden_layers=v["depth"])
        if "embed_dim" in v:
            v.update(intermediate_size=v["hidden_size"], hidden_size=v["embed_dim"])
    writer = gguf.GGUFWriter(path, "clip")
    clip_settings(writer, kind, v, config)
    siglip = kind in ("gemma3", "idefics3")
    (siglip_settings if siglip else rotary_settings)(writer, kind, v, config)
    found = (siglip_tensors(kind, tensors) if siglip else
             (qwen_tensors if kind.startswith("qwen") else pixtral_tensors)(kind, config, tensors))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, max(3, v["num_hidden_layers"]))
    for name, data in found:
        add(writer, name if name.startswith("v.") else names.get_name(name, try_suffixes=(".weight", ".bias")), data)
    close(writer)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    for kind in KINDS:
        folder = os.path.join(args.out, kind)
        config, tensors = read(folder)
        os.makedirs(os.path.join(folder, "gguf"), exist_ok=True)
        write_model(folder, kind, config, tensors)
        (write_older if kind.startswith("llava") else write_mmproj)(os.path.join(folder, "gguf", "mmproj-model.gguf"), kind, config, tensors)


if __name__ == "__main__":
    main()
