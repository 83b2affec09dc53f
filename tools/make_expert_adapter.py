#!/usr/bin/env python3
"""tests/fixtures/adapter/experts and experts_mixtral: LoRA adapters for modules of experts, as the package `peft` saved them
of networks in which each expert has linears of its own, and the logits of both together.

    make_expert_adapter.py --models tests/fixtures/model --out tests/fixtures/adapter    (needs torch, transformers)

transformers keeps a layer's experts in one parameter now, so that peft finds no such modules in it: the matrices are merged
here, W + scale × (α ÷ r) × B·A, and transformers computes with what comes of it. The folders are as those of
make_adapter_fixtures.py."""
import argparse
import os

import numpy as np
import torch
from transformers import AutoModelForCausalLM

import make_adapter_fixtures as adapters
from make_model_fixtures import prompt, write_json, write_logits, write_safetensors

SCALES = [1, -2]
CASES = {  # base, the block's name on the hub, words for gate, up and down, experts that are trained of each layer
    "experts": ("qwen3_moe", "mlp", ("gate_proj", "up_proj", "down_proj"), {0: [0, 1, 2, 3, 4, 5, 6], 2: [5, 1]}),
    "experts_mixtral": ("mixtral", "block_sparse_moe", ("w1", "w3", "w2"), {1: [0, 3, 4]}),
}


def factors_make(model, block, words, trained, rank_of, rng):
    """{module: (A, B)} of some modules: not all experts have all three."""
    config, out = model.config, {}
    width = getattr(config, "moe_intermediate_size", None) or config.intermediate_size
    for layer, experts in trained.items():
        for e in experts:
            for i, word in enumerate(words):
                if e == experts[-1] and i == 1:
                    continue
                rows, cols = (config.hidden_size, width) if i == 2 else (width, config.hidden_size)
                name = f"model.layers.{layer}.{block}.experts.{e}.{word}"
                r = rank_of(name)
                out[name] = (rng.standard_normal((r, cols)) * cols ** -0.5, 0.4 * rng.standard_normal((rows, r)))
    q = "model.layers.1.self_attn.q_proj"
    rows, cols = model.get_submodule(q).weight.shape
    out[q] = (rng.standard_normal((rank_of(q), cols)) * cols ** -0.5, 0.4 * rng.standard_normal((rows, rank_of(q))))
    return {name: tuple(m.astype(np.float32) for m in pair) for name, pair in out.items()}


def merge(model, words, factors, factor_of):
    for name, (a, b) in factors.items():
        delta = torch.tensor(factor_of(name) * (b.astype(np.float64) @ a), dtype=torch.float32)
        if ".experts." not in name:
            model.get_submodule(name).weight.data += delta
            continue
        layer, e, word = int(name.split(".")[2]), int(name.split(".")[-2]), words.index(name.split(".")[-1])
        experts = model.model.layers[layer].mlp.experts
        half = experts.gate_up_proj.shape[1] // 2
        if word == 2:
            experts.down_proj.data[e] += delta
        else:
            experts.gate_up_proj.data[e, word * half:(word + 1) * half] += delta


def case_write(models, out, name):
    base, block, words, trained = CASES[name]
    folder, base_folder = os.path.join(out, name), os.path.join(models, base)
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(sum(name.encode()))
    plain = adapters.base_load(base_folder)
    rank_of = lambda module: 3 if module.endswith(words[0]) else 2
    factors = factors_make(plain, block, words, trained, rank_of, rng)
    write_json(os.path.join(folder, "adapter_config.json"),
               {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": 2, "lora_alpha": 5,
                "bias": "none", "target_modules": ["q_proj", *words], "rank_pattern": {words[0]: 3}})
    write_safetensors(os.path.join(folder, "adapter_model.safetensors"),
                      [(f"base_model.model.{module}.lora_{letter}.weight", data) for module, pair in factors.items()
                       for letter, data in zip("AB", pair)], "F32")
    write_json(os.path.join(folder, "case.json"), {"model": base, "scales": SCALES})
    tokens = prompt(base, plain.config.vocab_size)[:adapters.N_TOKEN]
    before = adapters.logits_of(plain, tokens)
    for scale in SCALES:
        model = adapters.base_load(base_folder)
        merge(model, words, factors, lambda module: scale * 5 / rank_of(module))
        logits = adapters.logits_of(model, tokens)
        write_logits(os.path.join(folder, f"{scale:g}.logits"), tokens, logits)
        print(name, scale, "logits change by", np.abs(logits - before).max() / (before.max() - before.min()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    for name in CASES:
        case_write(options.models, options.out, name)


if __name__ == "__main__":
    main()
