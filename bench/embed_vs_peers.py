#!/usr/bin/env python3
"""Vectors of an encoder on a CPU: Spate against PyTorch and ONNX Runtime, each in a process of its own, in turn.

    bench/embed_vs_peers.py MODEL [--threads 2] [--rounds 5] [--lengths 32,256] [--batches 1,16]

MODEL is a folder of Hugging Face's; needs torch, transformers, onnxruntime, onnx and onnxscript (peers that cannot be
imported are left out) and build/release with libspate.so. Each gets the same token ids, all texts of a batch equally long,
which suits the peers: Spate pads nothing. Spate runs through spate_embed, queue and inbox included; the peers get tensors
and give the last hidden state, whose mean is not counted. A figure is the median over rounds of texts a second; a ratio is
the median of those of neighbouring turns, to the faster peer."""
import argparse
import ctypes
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODES = ("FP32", "BF16", "FP16", "INT8_WEIGHT")
TURN_SECONDS = 0.7


def batch_of(length, batch):
    rng = random.Random(length)
    return [[101] + [rng.randrange(1000, 30000) for _ in range(length - 2)] + [102] for _ in range(batch)]


def spate_runner(model, threads, mode):
    sys.path.insert(0, str(ROOT / "bindings/python"))
    os.environ.setdefault("SPATE_LIBRARY", str(ROOT / "build/release/libspate.so"))
    from spate import _library
    library = _library.libspate()
    folder = tempfile.TemporaryDirectory()
    path = f"{folder.name}/engine.spate"
    subprocess.run([ROOT / "build/release/spate", "build", model, "-o", path, "--quant-mode", mode], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    error = _library.Error()
    options = _library.OpenOptions(size=ctypes.sizeof(_library.OpenOptions), model=path.encode(), threads=threads,
                                   max_queue=4000)
    engine = library.spate_open(ctypes.byref(options), ctypes.byref(error))
    assert engine, error.text
    inbox = library.spate_inbox_new(engine, ctypes.byref(error))
    events = (_library.Event * 64)()

    def prepare(texts):
        arrays = [(ctypes.c_int32 * len(ids))(*ids) for ids in texts]
        return [_library.EmbedRequest(size=ctypes.sizeof(_library.EmbedRequest), tokens=array, n_token=len(array))
                for array in arrays]

    def run(requests):
        for request in requests:
            assert library.spate_embed(engine, inbox, ctypes.byref(request), ctypes.byref(error)), error.text
        left = len(requests)
        while left:
            left -= library.spate_inbox_take_sized(inbox, events, ctypes.sizeof(_library.Event), 64, -1)

    run.folder = folder
    return prepare, run


def torch_model(model):
    import torch
    import transformers
    return torch, transformers.AutoModel.from_pretrained(model, dtype=torch.float32).eval()


def torch_runner(model, threads, _mode):
    torch, network = torch_model(model)
    torch.set_num_threads(threads)

    def run(ids):
        with torch.inference_mode():
            network(input_ids=ids, attention_mask=torch.ones_like(ids))

    return torch.tensor, run


def onnx_runner(model, threads, mode):
    import numpy
    import onnxruntime
    torch, network = torch_model(model)
    folder = tempfile.TemporaryDirectory()
    path = f"{folder.name}/model.onnx"
    ids = torch.ones(2, 16, dtype=torch.int64)

    class Rows(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network.requires_grad_(False)

        def forward(self, input_ids, attention_mask):
            return self.network(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    axes = {"input_ids": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "length"}}
    torch.onnx.export(Rows(), (ids, ids), path, input_names=["input_ids", "attention_mask"], output_names=["rows"],
                      dynamic_axes=axes, dynamo=False, opset_version=17)
    if mode == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic
        quantize_dynamic(path, f"{folder.name}/int8.onnx", weight_type=QuantType.QInt8)
        path = f"{folder.name}/int8.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(ids):
        session.run(None, {"input_ids": ids, "attention_mask": numpy.ones_like(ids)})

    run.folder = folder
    return lambda texts: numpy.array(texts, dtype=numpy.int64), run


RUNNERS = {"torch": torch_runner, "onnx": onnx_runner, "spate": spate_runner}


def child(name, model, threads):
    kind, _, mode = name.partition(":")
    prepare, run = RUNNERS[kind](model, threads, mode)
    print("ready", file=sys.stderr, flush=True)
    for line in sys.stdin:
        texts = prepare(batch_of(*json.loads(line)))
        for _ in range(3):
            run(texts)
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < TURN_SECONDS:
            run(texts)
            count += len(texts)
        print(count / (time.perf_counter() - start), flush=True)


class Peer:
    def __init__(self, name, model, threads):
        self.name = name
        self.process = subprocess.Popen([sys.executable, __file__, model, "--child", name, "--threads", str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.missing = None
        said = []
        for line in self.process.stderr:
            if line.strip() == "ready":
                return
            said.append(line)
        self.missing = said[-1].strip() if said else "it ended"

    def turn(self, length, batch):
        self.process.stdin.write(json.dumps([length, batch]) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lengths", default="32,256")
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--child")
    options = parser.parse_args()
    if options.child:
        child(options.child, options.model, options.threads)
        return
    names = ["torch", "onnx", "onnx:int8", *(f"spate:{mode}" for mode in MODES)]
    peers = [Peer(name, options.model, options.threads) for name in names]
    for peer in [p for p in peers if p.missing]:
        print(f"{peer.name} is left out: {peer.missing}")
        peers.remove(peer)
    if not {"torch", "onnx"} & {peer.name for peer in peers}:
        sys.exit("There is no peer in FP32 to compare with: install torch or onnxruntime beside this Python.")
    print("| tokens | texts at once | " + " | ".join(p.name for p in peers) + " | " +
          " | ".join(f"{p.name} / fp32 peer" for p in peers if p.name.startswith("spate")) + " |")
    for length in map(int, options.lengths.split(",")):
        for batch in map(int, options.batches.split(",")):
            rates = {peer.name: [] for peer in peers}
            for _ in range(options.rounds):
                for peer in peers:
                    rates[peer.name].append(peer.turn(length, batch))
            fastest = max((n for n in ("torch", "onnx") if n in rates), key=lambda n: statistics.median(rates[n]))
            ratios = [statistics.median(a / b for a, b in zip(rates[p.name], rates[fastest])) for p in peers
                      if p.name.startswith("spate")]
            print(f"| {length} | {batch} | " + " | ".join(f"{statistics.median(rates[p.name]):.1f}" for p in peers) + " | " +
                  " | ".join(f"{r:.2f}" for r in ratios) + " |", flush=True)
    for peer in peers:
        peer.end()


if __name__ == "__main__":
    main()
