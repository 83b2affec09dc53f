#!/usr/bin/env python3
"""tests/fixtures/backend/sampling.json: what a row's distribution is under each logits processor and under many together.
An independent numpy implementation, in double, of transformers' processors (src/transformers/generation/logits_process.py:
RepetitionPenalty, SequenceBias, NoBadWords, MinNewTokensLength, Temperature, TopK, TopP, MinP, Typical) and of the
frequency and presence penalties as OpenAI and vLLM define them, in the order that src/backend/sampler.h states."""
import argparse
import json
import pathlib

import numpy as np

VOCAB = 75  # no multiple of a power of two
ROWS = 3


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def allowed_tokens(x, ids):
    kept = np.full_like(x, -np.inf)
    kept[ids] = x[ids]
    return kept


def bad_words(x, history, words):
    for word in words:
        before = word[:-1]
        if not before or history[-len(before):] == before:
            x[word[-1]] = -np.inf
    return x


def repetition_penalty(x, history, penalty):
    seen = np.unique(history)
    x[seen] = np.where(x[seen] < 0, x[seen] * penalty, x[seen] / penalty)
    return x


def count_penalties(x, output, frequency, presence):
    counts = np.bincount(np.array(output, dtype=int), minlength=len(x))
    return x - frequency * counts - presence * (counts > 0)


def top_k(x, k):
    return np.where(x < np.sort(x)[-k], -np.inf, x)


class TooNear(Exception):
    """Single precision may decide otherwise."""


def margin(sums, threshold):
    if np.abs(sums - threshold).min() < 2e-5:
        raise TooNear


def top_p(x, p):
    order = np.argsort(x)  # ascending, as in the original
    sums = softmax(x)[order].cumsum()
    margin(sums, 1 - p)
    removed = sums <= 1 - p
    removed[-1] = False
    x[order[removed]] = -np.inf
    return x


def min_p(x, p):
    probabilities = softmax(x)
    margin(probabilities / probabilities.max(), p)
    return np.where(probabilities < p * probabilities.max(), -np.inf, x)


def typical(x, mass):
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(softmax(x))
        entropy = -np.nansum(np.exp(logs) * logs)
        shifted = np.abs(-logs - entropy)
    order = np.argsort(shifted)
    sums = softmax(x)[order].cumsum()
    margin(sums, mass)
    last = min((sums < mass).sum(), len(x) - 1)
    return np.where(shifted > shifted[order[last]], -np.inf, x)


def distribution(logits, case):
    x = np.array(logits, dtype=np.float64)
    history, output = case["history"], case["history"][case["n_prompt"]:]
    if "allowed" in case:
        x = allowed_tokens(x, case["allowed"])
    x = bad_words(x, history, case.get("bad_words", []))
    if len(output) < case.get("min_tokens", 0):
        x[case["ends"]] = -np.inf
    for token, bias in case.get("bias", []):
        x[token] += bias
    x = repetition_penalty(x, history, case.get("repetition_penalty", 1))
    x = count_penalties(x, output, case.get("frequency_penalty", 0), case.get("presence_penalty", 0))
    x = x / case.get("temperature", 1)
    for name, warper in (("top_k", top_k), ("top_p", top_p), ("min_p", min_p), ("typical_p", typical)):
        if name in case:
            x = warper(x, case[name])
    return softmax(x)


def cases(random):
    history = [int(t) for t in random.integers(0, VOCAB, 40)] + [5, 5, 5, 7, 9, 11]
    single = [
        {}, {"temperature": 0.6}, {"temperature": 1.8}, {"top_k": 7}, {"top_p": 0.8}, {"min_p": 0.07}, {"typical_p": 0.6},
        {"typical_p": 0.2}, {"repetition_penalty": 1.4}, {"repetition_penalty": 0.7}, {"frequency_penalty": 0.9},
        {"presence_penalty": 1.5}, {"frequency_penalty": -0.4, "presence_penalty": -0.3},
        {"bias": [[3, 4.5], [20, -100.0], [5, 2.0]]}, {"allowed": [1, 4, 9, 40, 74]}, {"allowed": [74]},
        {"bad_words": [[3]]}, {"bad_words": [[9, 11, 3], [11, 4], [8, 11, 6], [74]]},
        {"min_tokens": 7, "ends": [2, 0, 30]}, {"min_tokens": 6, "ends": [2, 0, 30]},
    ]
    for options in single:
        yield options | {"history": history, "n_prompt": 40}
    yield {"repetition_penalty": 1.3, "frequency_penalty": 1, "history": [1], "n_prompt": 1}
    ranges = {"temperature": (0.5, 1.6), "top_p": (0.5, 0.98), "min_p": (0.01, 0.2), "typical_p": (0.3, 0.95),
              "repetition_penalty": (0.8, 1.5), "frequency_penalty": (-0.5, 1), "presence_penalty": (-0.5, 1)}
    for _ in range(24):
        case = {name: round(float(random.uniform(*span)), 3) for name, span in ranges.items() if random.random() < 0.6}
        if random.random() < 0.5:
            case["top_k"] = int(random.integers(5, 70))
        if random.random() < 0.3:
            case["bias"] = [[int(t), round(float(random.uniform(-3, 5)), 2)] for t in random.choice(VOCAB, 4, False)]
        if random.random() < 0.3:
            case["allowed"] = sorted(int(t) for t in random.choice(VOCAB, 40, False))
        if random.random() < 0.4:
            case["bad_words"] = [[11, int(t)] for t in random.choice(VOCAB, 5, False)] + [[int(random.integers(VOCAB))]]
        yield case | {"history": history, "n_prompt": int(random.integers(10, 44))}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("tests/fixtures/backend/sampling.json"))
    random = np.random.default_rng(4)
    rows = [[round(float(v), 3) for v in random.normal(0, spread, VOCAB)] for spread in (1, 2.5, 4)]
    lines = []
    for i, case in enumerate(cases(random)):
        row = i % ROWS
        try:
            p = distribution(rows[row], case)
        except TooNear:
            continue
        lines.append(json.dumps(case | {"row": row, "p": [float(f"{v:.6g}") for v in p]}))
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text('{"rows": %s,\n"cases": [\n%s\n]}\n' % (json.dumps(rows), ",\n".join(lines)))
    print(f"{out}: {len(lines)} cases, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
