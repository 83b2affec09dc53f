#!/usr/bin/env python3
"""Tiny random checkpoints of the decoder families beyond Llama's and Gemma 3's, with the logits of `transformers`.

    make_family_fixtures.py --out tests/fixtures/model [NAME …]    all of them, or those named (needs torch, transformers,
                                                                   gguf, numpy; no network)

The folders are as those of make_model_fixtures.py. Tensors are named and shaped by transformers' own classes, and their
GGUF twins by llama.cpp's table of names in the package gguf; what its converter does to numbers (norms that it adds one
to, rows that it reorders) is done here again. "off" has changes to config.json each of which must be refused or show.
"""
import argparse
import os

import numpy as np

import family_specs
import make_model_fixtures as base
import numpy_forward

N_TOKEN = 40


def tensors_of(folder, name, spec):
    """(name, numbers) of every tensor that the checkpoint has, in the order of the model."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), torch_dtype=torch.float32)
    tied = set(model.all_tied_weights_keys) if model.config.tie_word_embeddings else set()
    rng = np.random.default_rng(sum(spec.get("seed", name).encode()))
    for tensor, data in model.state_dict().items():
        if tensor in tied:
            continue
        shape = tuple(data.shape)
        for new, old in spec.get("rename", {}).items():
            tensor = tensor.replace(new, old)  # as the hub's files have it
        data = numbers(rng, tensor, shape, spec).astype(np.float32)
        data = spec.get("tensor", lambda tensor, data: data)(tensor, data)
        yield from spec.get("hub", lambda *one: [one])(tensor, data)


def numbers(rng, tensor, shape, spec):
    noise = rng.standard_normal(shape)
    if tensor.endswith("bias"):
        return 0.4 * noise
    if is_norm(tensor):
        return 0.3 * noise + spec.get("norm_mean", 1.0)
    if any(word in tensor for word in ("embed", "wte", "wpe")) and "embed_out" not in tensor:
        return spec.get("embed", 1.0) * noise
    cols = shape[0] if spec.get("transposed") and ".h." in tensor else shape[-1]
    gain = 3.0 if tensor.startswith(("lm_head", "embed_out")) else spec.get("gain", 1.4)
    return gain * cols ** -0.5 * noise


def is_norm(tensor):
    return "norm" in tensor or any(f".{word}." in tensor for word in ("ln_1", "ln_2", "ln_f", "ln_attn", "ln_mlp", "q_ln", "k_ln"))


# --- GGUF twins -----------------------------------------------------------------------------------------------------------

def metadata_write(writer, config):
    get = lambda *keys: next((config[key] for key in keys if config.get(key) is not None), None)
    hidden, heads = get("hidden_size", "n_embd", "d_model"), get("num_attention_heads", "n_head", "n_heads")
    writer.add_context_length(get("max_position_embeddings", "n_positions", "max_seq_len") or 2048)
    writer.add_embedding_length(hidden)
    writer.add_block_count(get("num_hidden_layers", "n_layer", "n_layers"))
    writer.add_feed_forward_length(get("intermediate_size", "ffn_hidden_size", "n_inner") or 4 * hidden)
    writer.add_head_count(heads)
    kv = 1 if config.get("multi_query") and not config.get("new_decoder_architecture") else None
    writer.add_head_count_kv(kv or get("num_key_value_heads", "num_kv_heads") or heads)
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if "rms_norm_eps" in config:
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    else:
        writer.add_layer_norm_eps(get("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"))
    if get("rope_theta", "rotary_emb_base"):
        writer.add_rope_freq_base(get("rope_theta", "rotary_emb_base"))
    part = get("partial_rotary_factor", "rotary_pct")
    if part:
        writer.add_rope_dimension_count(int(part * (config.get("head_dim") or hidden // heads)))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    letters = base.letters_of(config["vocab_size"])
    writer.add_token_list(["<unk>", "<s>", "</s>"] + letters + ["!!"])
    writer.add_token_types([2, 3, 3] + [1] * (len(letters) + 1))
    writer.add_token_merges(["! !"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write_gguf(folder, spec, path=None):
    import gguf
    config, tensors = numpy_forward.read_directory(folder)
    writer = gguf.GGUFWriter(path or os.path.join(folder, "model.gguf"), spec["gguf"])
    arch = next(key for key, text in gguf.MODEL_ARCH_NAMES.items() if text == spec["gguf"])
    names = gguf.get_tensor_name_map(arch, 8)
    metadata_write(writer, config)
    spec.get("gguf_metadata", lambda *_: None)(writer, config)
    change = spec.get("gguf_tensor", lambda name, data, config: data)
    for name, data in spec.get("gguf_tensors", lambda tensors, config: tensors)(tensors, config).items():
        target = spec.get("gguf_name", lambda name: None)(name) or names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise SystemExit(f"{folder}: llama.cpp has no name for {name}")
        if data.dtype == np.uint8:
            writer.add_tensor(target, np.ascontiguousarray(data), raw_dtype=gguf.GGMLQuantizationType.MXFP4)
            continue
        data = np.ascontiguousarray(change(name, data.astype(np.float32), config))
        half = not spec.get("wide") and data.ndim >= 2 and not any(word in target for word in ("norm", "ffn_gate_inp", ".bias"))
        writer.add_tensor(target, data.astype(np.float16) if half else data,
                          raw_dtype=gguf.GGMLQuantizationType.F16 if half else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- all together ---------------------------------------------------------------------------------------------------------

def logits_of(folder, tokens, spec):
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_grad_enabled(False)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation=spec.get("attention", "eager")).eval()
    return model(torch.tensor(tokens[None].astype(np.int64)), use_cache=False).logits[0].float().numpy()


def checkpoint_write(folder, spec, config, tensors):
    base.write_json(os.path.join(folder, "config.json"), {**config, "torch_dtype": "float32"})
    base.write_safetensors(os.path.join(folder, "model.safetensors"), tensors, spec.get("dtype", "BF16"))


def write_fixture(folder, name, spec):
    os.makedirs(folder, exist_ok=True)
    spec.get("before", lambda: None)()
    base.write_json(os.path.join(folder, "off.json"), spec["off"])
    base.write_tokenizer(os.path.join(folder, "tokenizer.json"), spec["config"]["vocab_size"])
    plain = {key: value for key, value in spec["config"].items() if "oracle" not in spec or key != "quantization_config"}
    base.write_json(os.path.join(folder, "config.json"), plain)
    tensors = list(tensors_of(folder, name, spec))
    tokens = base.prompt(spec.get("seed", name), spec["config"]["vocab_size"])[:N_TOKEN]
    if "oracle" in spec:  # transformers cannot read the file without a GPU: the same numbers, multiplied out
        checkpoint_write(folder, spec, plain, spec["oracle"](tensors))
        logits = logits_of(folder, tokens, spec)
    checkpoint_write(folder, spec, spec["config"], spec.get("stored", list)(tensors))
    if "oracle" not in spec:
        logits = logits_of(folder, tokens, spec)
    base.write_codes(os.path.join(folder, "expected.logits"), tokens, logits)
    if "gguf" in spec:
        write_gguf(folder, spec)
    top = np.sort(logits, axis=-1)
    size = sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder))
    print(f"{name:20} {size // 1024:4} KiB, range {logits.max() - logits.min():.1f}, mean top-two margin "
          f"{np.mean(top[:, -1] - top[:, -2]):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    for name, spec in family_specs.FAMILIES.items():
        if not args.names or name in args.names:
            write_fixture(os.path.join(args.out, name), name, spec)


if __name__ == "__main__":
    main()
