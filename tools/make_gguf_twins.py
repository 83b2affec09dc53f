#!/usr/bin/env python3
"""GGUF twins of tiny checkpoints that need not be stored: other names and little else (tests/parity/test_gguf_twins.py).

    make_gguf_twins.py --out FOLDER    writes FOLDER/NAME.gguf for each (needs gguf, numpy)

As make_family_fixtures.py, whose names are llama.cpp's own: what its converter does to the numbers and says about them."""
import argparse
import os

import family_specs
import make_family_fixtures

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "fixtures", "model")


def yarn(writer, config):
    import gguf
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(config["rope_scaling"]["factor"])
    writer.add_rope_scaling_orig_ctx_len(config["rope_scaling"]["original_max_position_embeddings"])


# Of numbers that F16 has not.
LLAMA = {"gguf": "llama", "wide": True, "gguf_tensor": family_specs.permuted}
TWINS = {
    "qwen2": {"gguf": "qwen2", "wide": True},
    "llama2": LLAMA,
    "smollm2": LLAMA,
    "llama_bias_yarn": {**LLAMA, "gguf_metadata": yarn},
    "mistral": {**LLAMA, "gguf_metadata": lambda writer, config: writer.add_sliding_window(config["sliding_window"])},
    "glm": {"gguf": "chatglm"},
    "gpt_neox_serial": {"gguf": "gptneox", "gguf_metadata": family_specs.neox_metadata, "gguf_tensor": family_specs.joined},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    for name, spec in TWINS.items():
        make_family_fixtures.write_gguf(os.path.join(FIXTURES, name), spec, os.path.join(args.out, name + ".gguf"))


if __name__ == "__main__":
    main()
