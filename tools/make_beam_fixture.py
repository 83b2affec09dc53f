#!/usr/bin/env python3
"""What `transformers` finds by beam search, and how likely it holds each token of a prompt.

    make_beam_fixture.py --models tests/fixtures/model --out tests/fixtures/model/beams.json

Needs torch and transformers; no network. The checkpoints are the tiny random ones of make_model_fixtures.py, in FP32 with
eager attention. Random networks seldom end by themselves: some cases take tokens as ends that the search without ends
finds in the middle of its texts, so that beams finish at different lengths.
"""
import argparse
import itertools
import json
import os

import torch
from transformers import AutoModelForCausalLM

SEED, TOP = 20, 5


def model_load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    model.generation_config.pad_token_id = 0
    return model


def search(model, prompt, ends, **options):
    options = {**options, "early_stopping": options["early_stopping"], "do_sample": False}
    ids = torch.tensor([prompt])
    with torch.no_grad():
        found = model.generate(ids, attention_mask=torch.ones_like(ids), eos_token_id=ends or None, output_scores=True,
                               return_dict_in_generate=True, **options)
    texts = []
    for row in found.sequences.tolist():
        text = row[len(prompt):]
        ended = [i for i, token in enumerate(text) if token in ends]
        texts.append(text[: ended[0] + 1] if ended else text[: options["max_new_tokens"]])
    return texts, [round(score, 6) for score in found.sequences_scores.tolist()]


def cases_make(name, model, generator):
    cases = []
    settings = itertools.product((2, 3, 5), (1.0, 0.0, 2.0, -1.0), (False, True, "never"), (False, True))
    for n_beam, length_penalty, early_stopping, with_ends in settings:
        prompt = torch.randint(3, model.config.vocab_size, (int(torch.randint(1, 40, (1,), generator=generator)),),
                               generator=generator).tolist()
        options = {"num_beams": n_beam, "num_return_sequences": n_beam, "length_penalty": length_penalty,
                   "early_stopping": early_stopping, "max_new_tokens": 12}
        ends = []
        if with_ends:
            texts, _ = search(model, prompt, [], **options)
            ends = sorted({texts[0][4], texts[-1][7]})
        texts, scores = search(model, prompt, ends, **options)
        cases.append({"model": name, "prompt": prompt, "ends": ends, "beams": n_beam, "length_penalty": length_penalty,
                      "early_stopping": str(early_stopping).lower(), "max_tokens": 12, "texts": texts, "scores": scores})
    return cases


def prompt_make(name, model, generator):
    prompt = torch.randint(3, model.config.vocab_size, (50,), generator=generator)
    with torch.no_grad():
        logprobs = torch.log_softmax(model(prompt[None]).logits[0], dim=-1)
    own = logprobs[:-1].gather(1, prompt[1:, None])[:, 0]
    top = logprobs[:-1].topk(TOP)
    return {"model": name, "prompt": prompt.tolist(), "logprobs": [round(x, 6) for x in own.tolist()],
            "top_tokens": top.indices.tolist(), "top_logprobs": [[round(x, 6) for x in row] for row in top.values.tolist()]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(SEED)
    fixture = {"cases": [], "prompts": []}
    for name in ("llama3", "qwen3"):
        model = model_load(os.path.join(arguments.models, name))
        fixture["cases"] += cases_make(name, model, generator)
        fixture["prompts"].append(prompt_make(name, model, generator))
    with open(arguments.out, "w") as out:
        out.write("{\n \"cases\": [\n  " + ",\n  ".join(json.dumps(case) for case in fixture["cases"]))
        out.write("\n ],\n \"prompts\": [\n  " + ",\n  ".join(json.dumps(prompt) for prompt in fixture["prompts"]) + "\n ]\n}\n")


main()
