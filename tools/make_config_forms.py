#!/usr/bin/env python3
"""config.json of each fixture as transformers 5 writes it when it saves the network again.

    make_config_forms.py --out tests/fixtures/model/resaved.json    (needs transformers; no network)

Newer classes move the rotation into "rope_parameters", and call some keys by the other name of their attribute_map
("num_local_experts" for "num_experts"). tests/unit/model/test_config_forms.c wants the plans of the old form."""
import argparse
import json
import os

import transformers

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "fixtures")
# Its class does not read the files of the code that came before it: the same network in its own words.
NOMIC = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads", "n_inner": "intermediate_size",
         "n_positions": "max_position_embeddings", "layer_norm_epsilon": "layer_norm_eps"}
OTHERS = ("nomic-moe",)  # which no class of transformers knows


def resaved(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    if config["model_type"] == "nomic_bert":
        own = {new: config[old] for old, new in NOMIC.items()}
        made = transformers.NomicBertConfig(
            **own, vocab_size=config["vocab_size"], type_vocab_size=config["type_vocab_size"],
            rope_parameters={"rope_type": "default", "rope_theta": float(config["rotary_emb_base"])},
            architectures=config["architectures"])
    else:
        made = transformers.AutoConfig.from_pretrained(folder)
    said = json.loads(made.to_json_string(use_diff=True))
    said.pop("quantization_config", None)
    if "quantization_config" in config:  # which stays as it is; its class would want a GPU's package
        said["quantization_config"] = config["quantization_config"]
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    lines = []
    for kind in ("model", "encoder", "vision"):
        for name in sorted(os.listdir(os.path.join(FIXTURES, kind))):
            folder = os.path.join(FIXTURES, kind, name)
            if os.path.exists(os.path.join(folder, "config.json")) and name not in OTHERS:
                lines.append(f'"{kind}/{name}": {json.dumps(resaved(folder), separators=(",", ":"), sort_keys=True)}')
    with open(args.out, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(lines)} configs, {os.path.getsize(args.out) // 1024} KiB, transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
