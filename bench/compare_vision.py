#!/usr/bin/env python3
"""Seconds from a picture to the first token, of spate serve and of llama-mtmd-cli by turns; medians, and the median of the ratios
of neighbouring runs. Spate's is what a client sees: decoding, preprocessing, the encoder, the prompt and the first token. The peer's
is what it says that the encoder and the decoder took for the tiles: decoding the file, preprocessing and the words beside it, a few
milliseconds, are left out in its favour, since its clock holds them together with loading."""
import argparse
import base64
import io
import json
import os
import random
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request

from PIL import Image

from server_process import Spate

QUESTION = "What is it?"


def picture(edge):
    small = Image.frombytes("RGB", (32, 32), random.randbytes(32 * 32 * 3)).resize((edge, edge), Image.BICUBIC)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=90)
    return out.getvalue()


def spate(port, data):
    body = json.dumps({"prompt": f"<image>{QUESTION}", "image_data": base64.b64encode(data).decode(), "max_tokens": 1,
                       "ignore_eos": True, "temperature": 0}).encode()
    begin = time.monotonic()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/generate", body, {"Content-Type": "application/json"})
    answer = json.load(urllib.request.urlopen(request))
    return time.monotonic() - begin, answer["usage"]["prompt_tokens"]


def peer(args, data):
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(data)
        file.flush()
        run = subprocess.run([args.peer, "-m", os.path.join(args.pair, "decoder.gguf"), "--mmproj",
                              os.path.join(args.pair, "mmproj-encoder.gguf"), "--image", file.name, "-p", QUESTION, "-n", "1", "-t",
                              str(args.threads), "-tb", str(args.threads), "-ngl", "0", "--temp", "0", "--jinja", "-lv", "4"],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, errors="replace")
    if args.show:
        print(run.stdout)
    encoded = [int(ms) for ms in re.findall(r"encod\w* done in (\d+) ms", run.stdout)]
    decoded = [int(ms) for ms in re.findall(r"decoded \(batch \d+/\d+\) in (\d+) ms", run.stdout)]
    tokens = re.search(r"prompt eval time.*?/ *(\d+) tokens", run.stdout)
    if not encoded or not decoded:
        raise SystemExit(run.stdout[-2000:])
    return sum(encoded) / 1000, sum(decoded) / 1000, int(tokens.group(1)) if tokens else 0


def main():
    parser = argparse.ArgumentParser()
    for name in ("spate", "peer", "pair"):
        parser.add_argument("--" + name, required=True)
    for name in ("threads", "rounds", "edge"):
        parser.add_argument("--" + name, type=int, required=True)
    parser.add_argument("--engine", help="serve this one, which was built from the pair")
    parser.add_argument("--show", action="store_true", help="what the peer says")
    args = parser.parse_args()
    os.environ["SPATE_THREADS"] = str(args.threads)
    ours, theirs, ratios = [], [], []
    with Spate(args.spate, args.engine or args.pair) as server:
        spate(server.port, picture(args.edge))
        for _ in range(args.rounds):
            data = picture(args.edge)
            seconds, tokens = spate(server.port, data)
            encoded, decoded, peer_tokens = peer(args, data)
            ours.append(seconds), theirs.append(encoded + decoded), ratios.append(theirs[-1] / ours[-1])
            print(f"  spate {seconds:.2f} s ({tokens} tokens); llama.cpp {encoded:.2f} + {decoded:.2f} s ({peer_tokens} tokens); "
                  f"ratio {ratios[-1]:.2f}", flush=True)
    print(f"{args.threads} threads, pictures of {args.edge}: spate {statistics.median(ours):.2f} s, llama.cpp {statistics.median(theirs):.2f} s, "
          f"median of ratios {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}; wanted 1.5)")


if __name__ == "__main__":
    main()
