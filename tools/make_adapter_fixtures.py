#!/usr/bin/env python3
"""LoRA adapters of each kind as the package `peft` writes them, for the checkpoints in tests/fixtures/model, and the logits
that it computes with them.

    make_adapter_fixtures.py --models tests/fixtures/model --out tests/fixtures/adapter    (needs torch, transformers, peft)

Written to OUT/NAME/:

    adapter_config.json, adapter_model.safetensors   by save_pretrained; numbers are random, none of them zero
    case.json                                        {"model": folder of the base, "scales": [1, …]}
    SCALE.logits                                     as expected.logits of make_model_fixtures.py, with alpha ÷ r times SCALE

and OUT/mixed.json with OUT/mixed.logits: two adapters of one base at once, each with its scale.
"""
import argparse
import json
import os

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

from make_model_fixtures import prompt, write_json, write_logits

N_TOKEN = 24
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SCALES = [1, -2]


def case(model, scales=SCALES, **config):
    return {"model": model, "scales": scales, "config": {"r": 4, "lora_alpha": 6, "target_modules": LINEARS, **config}}


CASES = {
    "all": case("llama3", [1, 0.5, -2]),
    "dora": case("llama3", [1, 0.5, -2], use_dora=True),
    "rslora": case("llama3", use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"]),
    "patterns": case("llama3", rank_pattern={"q_proj": 2, "layers.1.mlp.down_proj": 7, "^model.layers.2.mlp.gate_proj$": 3},
                     alpha_pattern={"v_proj": 20, "layers.0.self_attn.q_proj": 1}),
    "layers": case("llama3", layers_to_transform=[1], layers_pattern="layers", target_modules=["q_proj", "up_proj"]),
    "embeddings": case("llama2", target_modules=LINEARS + ["embed_tokens", "lm_head"]),
    "dora_embeddings": case("llama2", use_dora=True, target_modules=["q_proj", "embed_tokens", "lm_head"]),
    "bias": case("qwen2", bias="all", target_modules=["q_proj", "k_proj", "v_proj", "gate_proj"]),
    "lora_bias": case("qwen2", lora_bias=True, target_modules=["q_proj", "v_proj", "down_proj"]),
    "tied": case("smollm2", target_modules=["embed_tokens", "v_proj"]),
    "windows": case("gemma3"),
    **{f"parameters_{model}": case(model, r=2, target_modules=modules, target_parameters=parameters, **more)
       for model, modules, parameters, more in [
           ("qwen3_moe", ["q_proj"], ["experts.gate_up_proj", "experts.down_proj"],
            {"rank_pattern": {"layers.1.mlp.experts.down_proj": 3}, "alpha_pattern": {"experts.gate_up_proj": 4}}),
           ("mixtral", [], ["experts.down_proj"], {}),
           ("granite_moe", [], ["experts.gate_up_proj", "experts.down_proj"], {}),
           ("gpt_oss", [], ["layers.0.mlp.experts.gate_up_proj", "layers.1.mlp.experts.down_proj"], {}),
           ("deepseek_v2", ["kv_a_proj_with_mqa"], ["experts.gate_up_proj"], {})]},
}
MIXED = [("all", 0.75), ("patterns", -0.5)]


def base_load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def randomize(model, rng):
    """Trained numbers are not to be had: random ones show a mistake in any of them. Rounded to bf16, as files are small."""
    def draw(shape, std):
        numbers = torch.tensor(rng.standard_normal(tuple(shape)) * std, dtype=torch.float32)
        return numbers.to(torch.bfloat16).to(torch.float32)

    for name, value in model.named_parameters():
        if "lora_magnitude" in name:
            value.data *= 1 + draw(value.shape, 0.2)
        elif "lora_" in name:
            first = "lora_A" in name or "lora_embedding_A" in name
            value.data = draw(value.shape, 0.5 if name.endswith("bias") else (value.shape[-1] ** -0.5 if first else 0.4))
        elif name.endswith(".bias"):
            value.data += draw(value.shape, 0.3)


def adapter_make(base_folder, spec, folder, rng):
    model = get_peft_model(base_load(base_folder), LoraConfig(task_type="CAUSAL_LM", **spec["config"]))
    randomize(model, rng)
    model.save_pretrained(folder)
    readme = os.path.join(folder, "README.md")
    if os.path.exists(readme):
        os.remove(readme)
    path = os.path.join(folder, "adapter_config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config["base_model_name_or_path"] = spec["model"]
    write_json(path, config)


def scales_multiply(model, adapter, scale):
    for module in model.modules():
        if isinstance(module, LoraLayer) and adapter in module.scaling:
            module.scaling[adapter] *= scale


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor(tokens[None].astype(np.int64)), use_cache=False).logits[0].float().numpy()


def biases_of(model):
    return {name.replace("base_model.model.", "").replace(".base_layer", ""): value.detach().clone()
            for name, value in model.named_parameters() if name.endswith(".bias") and "lora_" not in name}


def biases_scale(model, base, scale):
    """A trained bias counts by its difference from the base's, which a request's scale multiplies as the rest."""
    for name, value in model.named_parameters():
        if name.endswith(".bias") and "lora_" not in name:
            plain = base[name.replace("base_model.model.", "").replace(".base_layer", "")]
            value.data = plain + scale * (value.data - plain)


def case_write(models, out, name, spec):
    base_folder, folder = os.path.join(models, spec["model"]), os.path.join(out, name)
    rng = np.random.default_rng(sum(name.encode()))
    adapter_make(base_folder, spec, folder, rng)
    write_json(os.path.join(folder, "case.json"), {"model": spec["model"], "scales": spec["scales"]})
    base = base_load(base_folder)
    tokens = prompt(spec["model"], base.config.vocab_size)[:N_TOKEN]
    plain, biases = logits_of(base, tokens), biases_of(base)
    for scale in spec["scales"]:
        model = PeftModel.from_pretrained(base_load(base_folder), folder).eval()
        scales_multiply(model, "default", scale)
        biases_scale(model, biases, scale)
        logits = logits_of(model, tokens)
        write_logits(os.path.join(folder, f"{scale:g}.logits"), tokens, logits)
        change = np.abs(logits - plain).max() / (plain.max() - plain.min())
        assert change > 1e-2, f"{name} at {scale} changes too little: {change}"
        print(f"{name} × {scale:g}: logits change by {change:.3f} of their range")


def mixed_write(models, out):
    folder = os.path.join(models, CASES[MIXED[0][0]]["model"])
    model = PeftModel.from_pretrained(base_load(folder), os.path.join(out, MIXED[0][0]), adapter_name=MIXED[0][0])
    model.load_adapter(os.path.join(out, MIXED[1][0]), adapter_name=MIXED[1][0])
    model.eval()
    model.base_model.set_adapter([name for name, _ in MIXED])
    for name, scale in MIXED:
        scales_multiply(model, name, scale)
    tokens = prompt(os.path.basename(folder), model.config.vocab_size)[:N_TOKEN]
    write_logits(os.path.join(out, "mixed.logits"), tokens, logits_of(model, tokens))
    write_json(os.path.join(out, "mixed.json"), {"model": os.path.basename(folder), "adapters": MIXED})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    for name, spec in CASES.items():
        case_write(options.models, options.out, name, spec)
    mixed_write(options.models, options.out)


if __name__ == "__main__":
    main()
