#!/usr/bin/env python3
"""Greedy texts and logits of SmolLM2 by the numpy forward over its dequantized weights.

    greedy_oracle.py MODEL.gguf --out tests/fixtures/model

writes smollm2_greedy.json (20 prompts: their tokens, the tokens that follow, and where the two highest logits are so near
each other that another order of additions may choose the other) and smollm2.logits (a 64-token prompt, three positions;
the layout of make_model_fixtures.py with the positions in front: int32 count, int32 position[count] after the tokens).
"""
import argparse
import json
import os
import struct

import numpy as np

import numpy_forward
from make_model_fixtures import logits_codes

NEAR = 1e-3  # of the range of the logits
STEPS = 32
POSITIONS = (0, 31, 63)
PROMPTS = [
    "The capital of France is", "Once upon a time, in a small village by the sea,", "def fibonacci(n):\n",
    "Water boils at", "The three primary colours are", "In 1969, astronauts", "A recipe for pancakes:\n1.",
    "Dear Sir or Madam,\n\n", "The quick brown fox", "To be, or not to be,", "Photosynthesis is the process by which",
    "import numpy as np\n\n", "The largest planet in our solar system", "Q: What is 7 + 5?\nA:",
    "Der schnelle braune Fuchs", "She opened the door and saw", "The stock market fell today after",
    "Mount Everest, the highest mountain", "\"I don't know,\" he said,", "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n",
]
PASSAGE = ("A river begins where rain and melting snow gather on high ground. At first it is only a thread of water between "
           "stones, but every brook that joins it makes it wider and slower, until it carries boats, turns mills and "
           "feeds the fields of the plain before it meets the sea and loses its name in salt water.")


def tokenizer_of(path):
    """Byte-level BPE from the file's own vocabulary, by the package `tokenizers`."""
    from gguf import GGUFReader
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    reader = GGUFReader(path)
    tokens, merges, types = (reader.get_field("tokenizer.ggml." + key).contents()
                             for key in ("tokens", "merges", "token_type"))
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([t for t, kind in zip(tokens, types) if kind == 3])
    return tokenizer


def generate(model, tokens):
    """(tokens that follow, positions among them where the choice is a near tie)."""
    cache, follow, near = {}, [], []
    step = tokens
    for i in range(STEPS):
        logits = model.forward(step, cache, last_only=True)[-1]
        best = np.argpartition(-logits, 2)[:2]
        first, second = sorted(best, key=lambda t: -logits[t])
        margin = float((logits[first] - logits[second]) / (logits.max() - logits.min()))
        if margin < NEAR:
            near.append({"step": i, "other": int(second), "margin": round(margin, 7)})
        follow.append(int(first))
        step = [int(first)]
    return follow, near


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    tokenizer, model = tokenizer_of(args.model), numpy_forward.Model(args.model)
    cases = []
    for prompt in PROMPTS:
        tokens = tokenizer.encode(prompt).ids
        follow, near = generate(model, tokens)
        cases.append({"prompt": prompt, "tokens": tokens, "greedy": follow, "near": near,
                      "text": tokenizer.decode(follow, skip_special_tokens=False)})
        print(repr(prompt), "->", repr(cases[-1]["text"]), near)
    with open(os.path.join(args.out, "smollm2_greedy.json"), "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")
    tokens = tokenizer.encode(PASSAGE).ids[:64]
    logits = model.forward(tokens)[list(POSITIONS)]
    with open(os.path.join(args.out, "smollm2.logits"), "wb") as file:
        file.write(b"SPLOGI16" + struct.pack("<ii", len(tokens), logits.shape[1]) + np.asarray(tokens, "<i4").tobytes())
        file.write(struct.pack("<i", len(POSITIONS)) + np.asarray(POSITIONS, "<i4").tobytes())
        file.write(logits_codes(logits.astype(np.float32)))


if __name__ == "__main__":
    main()
