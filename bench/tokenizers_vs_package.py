#!/usr/bin/env python3
"""Encoding here and by the PyPI package `tokenizers`, one thread each, for every family of tokenizers.

    python3 bench/tokenizers_vs_package.py build/release/bench/bench_tokenizer TEXT [--vocabularies FOLDER] [NAME...]

TEXT is prose. The pipelines are those of tests/fixtures/text/; with FOLDER (ggml-vocab-NAME.gguf of llama-bpe, gpt-2 and
llama-spm; needs the package gguf) they get a real vocabulary in place of their small one. By turns, three rounds: the
median MB/s of each, of processor time, and of their ratios; then the slowest of the hostile megabytes. The package is
asked without offsets (encode_batch_fast), as it is quicker so. Wanted: 20 MB/s and 5 times the package.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "text"
# Family: the vocabulary that it gets.
FAMILIES = {"gpt2": "gpt-2", "roberta": "gpt-2", "neox": "gpt-2", "falcon": "gpt-2", "smollm": "gpt-2", "deepseek_llm": "llama-bpe",
            "llama3": "llama-bpe", "qwen2": "llama-bpe", "gpt4o": "llama-bpe", "tekken": "llama-bpe", "deepseek3": "llama-bpe",
            "llama2": "llama-spm", "metaspace": "llama-spm", "phi3": "llama-spm", "gemma": "llama-spm", "gemma4": "llama-spm",
            "clip": None, "openai_gpt": None, "xlmr": None, "t5": None, "bert": None,
            "ctc": None, "inner_marks": None}
MARK = "\u2581"


def field(reader, name):
    part = reader.fields[name]
    return [bytes(part.parts[i]).decode() if part.types[-1].name == "STRING" else part.parts[i][0].item() for i in part.data]


def vocabulary(folder, name):
    """Its tokens, and its merges; those of SentencePiece from its scores."""
    from gguf import GGUFReader
    reader = GGUFReader(str(pathlib.Path(folder) / f"ggml-vocab-{name}.gguf"))
    tokens = field(reader, "tokenizer.ggml.tokens")
    vocab = {token: index for index, token in enumerate(tokens)}
    if name != "llama-spm":
        return vocab, [merge.split(" ") for merge in field(reader, "tokenizer.ggml.merges")]
    scores, merges = field(reader, "tokenizer.ggml.scores"), []
    for token, index in vocab.items():
        pairs = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in vocab and token[i:] in vocab]
        merges += [(-scores[index], vocab[left], vocab[right], [left, right]) for left, right in pairs]
    return vocab, [merge[3] for merge in sorted(merges, key=lambda merge: merge[:3])]


def with_vocabulary(family, folder):
    state = json.loads((FIXTURES / f"{family}.tokenizer.json").read_text(encoding="utf-8"))
    if not folder or not FAMILIES[family]:
        return state
    vocab, merges = vocabulary(folder, FAMILIES[family])
    renamed = {}
    for token in state["added_tokens"]:
        renamed[token["content"]] = token["id"] = vocab.setdefault(token["content"], len(vocab))
    state["model"]["vocab"], state["model"]["merges"] = vocab, merges
    template = state.get("post_processor") or {}
    for part in [template, *template.get("processors", [])]:
        for name, special in part.get("special_tokens", {}).items():
            special["ids"] = [renamed[name]]
        for key in ("sep", "cls"):
            if key in part:
                part[key] = [part[key][0], renamed[part[key][0]]]
    return state


def theirs(tokenizer, text):
    seconds = []
    for _ in range(3):
        start = time.process_time()
        tokenizer.encode_batch_fast([text])
        seconds.append(time.process_time() - start)
    return len(text.encode()) / 1e6 / statistics.median(seconds)


def ours(program, path, text):
    lines = subprocess.run([program, path, text], capture_output=True, text=True, check=True).stdout
    hostile = max(float(value) for value in re.findall(r": ([\d.]+) s \(", lines))
    return float(re.search(r"prose: ([\d.]+) MB/s", lines).group(1)), hostile


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("text")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--vocabularies")
    options = parser.parse_args()
    text = pathlib.Path(options.text).read_text(encoding="utf-8")
    print("| family | tokens | MB/s | package | ratio | 1 MB of one character, at most |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for family in options.names or FAMILIES:
            path = pathlib.Path(folder) / f"{family}.tokenizer.json"
            path.write_text(json.dumps(with_vocabulary(family, options.vocabularies)), encoding="utf-8")
            tokenizer = Tokenizer.from_file(str(path))
            rounds = [(ours(options.program, path, options.text), theirs(tokenizer, text)) for _ in range(3)]
            mine, other = (statistics.median(values) for values in zip(*((own[0], peer) for own, peer in rounds)))
            ratio = statistics.median(own[0] / peer for own, peer in rounds)
            hostile = statistics.median(own[1] for own, _ in rounds)
            print(f"| {family} | {tokenizer.get_vocab_size()} | {mine:.1f} | {other:.2f} | {ratio:.1f} × | {hostile:.2f} s |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
