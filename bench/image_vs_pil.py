#!/usr/bin/env python3
"""One image's way to an encoder's numbers, on one core: Spate's (build/release/bench/bench_image) beside PIL's and numpy's, in turn.

    image_vs_pil.py [--runs N] [--bench PROGRAM]

Needs pillow and numpy; with transformers its processors (PIL backend) are timed too. Pictures are made here: smooth colours
with noise. Least and median of the runs are printed in milliseconds of the processor (in a helper the mean of all
processes together), the ratios are those of the medians. What numpy is given
is what the processors of transformers compute: float64 for rescaling, float32 for normalizing, channels first.
"""
import argparse
import io
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
CLIP = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
SIGLIP = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 384, "width": 384}, "resample": 3}
SMOLVLM = {"image_processor_type": "SmolVLMImageProcessor", "size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}
QWEN = {"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136, "max_pixels": 1003520}
CASES = [("JPEG", 1920, 1280, CLIP), ("JPEG", 640, 480, SIGLIP), ("PNG", 1024, 768, SIGLIP), ("WEBP", 1024, 768, CLIP),
         ("JPEG", 1920, 1280, SMOLVLM), ("JPEG", 1920, 1280, QWEN), ("JPEG", 4000, 3000, CLIP)]


def picture(width, height):
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (50 + 9 * c) + c) * np.cos(y / (70 - 9 * c)) * 90 + 128 for c in range(3)]
    noise = np.random.default_rng(1).normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8))


def timed(function, runs):
    times = []
    for _ in range(runs):
        start = time.process_time()
        result = function()
        times.append((time.process_time() - start) * 1e3)
    return result, min(times), statistics.median(times)


def numbers(image, size):
    pixels = np.asarray(image.resize(size, Image.BICUBIC)).transpose(2, 0, 1)
    scaled = (pixels.astype(np.float64) * (1 / 255)).astype(np.float32)
    mean, std = np.array([0.5, 0.5, 0.5], np.float32), np.array([0.25, 0.25, 0.25], np.float32)
    return np.ascontiguousarray(((scaled.T - mean) / std).T)


def processor_of(config):
    try:
        import importlib
        kind = config["image_processor_type"].replace("ImageProcessor", "")
        folder = {"Qwen2VL": "qwen2_vl"}.get(kind, kind.lower())
        module = importlib.import_module(f"transformers.models.{folder}.image_processing_pil_{folder}")
        return getattr(module, f"{kind}ImageProcessorPil")(**{k: v for k, v in config.items() if k != "image_processor_type"})
    except ImportError:
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--bench", default=ROOT / "build/release/bench/bench_image")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # children too
    print(f"{'image':22} {'for':8} {'what':17} {'spate':>16} {'PIL, numpy':>16} {'ratio':>6}")
    for kind, width, height, config in CASES:
        made = io.BytesIO()
        picture(width, height).save(made, kind, quality=85)
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "image").write_bytes(made.getvalue())
            (pathlib.Path(folder) / "config").write_text(json.dumps(config))
            output = subprocess.run([arguments.bench, f"{folder}/image", f"{folder}/config", str(arguments.runs)], check=True,
                                    capture_output=True, text=True).stdout
        spate = {line.split()[0]: tuple(map(float, line.split()[1:])) for line in output.splitlines()}
        image, *decode = timed(lambda: Image.open(io.BytesIO(made.getvalue())).convert("RGB"), arguments.runs)
        rows = [("decode", spate["decode"], decode), ("decode in helper", spate["decode_in_helper"], decode)]
        if config is SIGLIP:
            rows.append(("PIL and numpy", spate["preprocess"], timed(lambda: numbers(image, (384, 384)), arguments.runs)[1:]))
        processor = processor_of(config)
        if processor:
            rows.append(("transformers", spate["preprocess"], timed(lambda: processor.preprocess(image, return_tensors="np"), arguments.runs)[1:]))
        for what, ours, theirs in rows:
            print(f"{kind + ' ' + str(width) + 'x' + str(height):22} {config['image_processor_type'][:-14]:8} {what:17} "
                  f"{ours[0]:7.2f} {ours[1]:8.2f} {theirs[0]:7.2f} {theirs[1]:8.2f} {theirs[1] / ours[1]:6.2f}", flush=True)


if __name__ == "__main__":
    main()
