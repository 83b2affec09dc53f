#!/usr/bin/env python3
"""Runs spate bench and llama-bench in turn over the same files; prints medians and the median of the ratios of
neighbouring runs (the machine's speed drifts; a ratio of neighbours drifts less)."""
import argparse
import json
import os
import statistics
import subprocess

PREFILL, DECODE = 512, 128
FILES = ("Q4_1", "Q4_0", "Q5_0", "Q8_0", "BF16", "1B-Q4_K_M", "1B-Q5_K_M", "1B-Q6_K")


def run(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


def spate(args, engine, phase):
    prompt, decode = (PREFILL, 0) if phase == "prefill" else (1, DECODE)
    result = run([args.spate, "bench", engine, "--json", "--repeat", "1", "--threads", str(args.threads),
                  "--prompt-tokens", str(prompt), "--decode-tokens", str(decode)])
    return result[phase]["tokens_per_second"], result[phase]["fraction_of_floor"]


def peer(args, model, phase):
    sizes = ["-p", str(PREFILL), "-n", "0"] if phase == "prefill" else ["-p", "0", "-n", str(DECODE)]
    return run([args.peer, "-m", model, "-t", str(args.threads), "-r", "1", "-o", "json", *sizes])[0]["avg_ts"]


def engine_of(args, kind):
    engine = os.path.join(args.models, kind + ".spate")
    subprocess.run([args.spate, "build", os.path.join(args.models, kind + ".gguf"), "-o", engine], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return engine


def compare(args, phase, kind, engine):
    ours, theirs, ratios, floors = [], [], [], []
    for _ in range(args.rounds):
        rate, floor = spate(args, engine, phase)
        other = peer(args, os.path.join(args.models, kind + ".gguf"), phase)
        ours.append(rate), theirs.append(other), ratios.append(rate / other), floors.append(floor)
    middle = statistics.median
    print(f"| {kind} | {phase} | {middle(ours):.0f} | {middle(theirs):.0f} | {middle(ratios):.2f} "
          f"| {min(ratios):.2f}–{max(ratios):.2f} | {100 * middle(floors):.0f} % |", flush=True)



def batch_rows(args, engine):
    """Decode of 32 sequences against a 32-token prefill with all 32 outputs: the same arithmetic, so the same rate."""
    common = [args.spate, "bench", engine, "--json", "--repeat", str(args.rounds), "--threads", str(args.threads)]
    decode = run([*common, "--batch", "32", "--prompt-tokens", "1", "--decode-tokens", "32"])["decode"]
    prefill = run([*common, "--batch", "1", "--prompt-tokens", "32", "--decode-tokens", "0", "--all-outputs"])["prefill"]
    ours, other = decode["tokens_per_second"], prefill["tokens_per_second"]
    print(f"| Q4_1 | decode of 32 against prefill of 32 | {ours:.0f} | {other:.0f} | {ours / other:.2f} | | |")


def main():
    parser = argparse.ArgumentParser()
    for name in ("spate", "peer", "models"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", nargs="+", default=FILES)
    args = parser.parse_args()
    print(f"{args.threads} threads, {args.rounds} rounds, prefill {PREFILL} tokens, decode {DECODE} from empty\n")
    print("| file | phase | Spate tok/s | llama.cpp tok/s | ratio | range | of our floor |\n|---|---|---|---|---|---|---|")
    engines = {kind: engine_of(args, kind) for kind in args.files}
    for phase in ("prefill", "decode"):
        for kind, engine in engines.items():
            compare(args, phase, kind, engine)
    if "Q4_1" in engines:
        batch_rows(args, engines["Q4_1"])


if __name__ == "__main__":
    main()
