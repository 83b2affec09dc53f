#!/usr/bin/env python3
"""Seeds for the fuzz targets of the model file readers and of config.json.

    python3 tools/make_format_corpus.py tests/fuzz/corpus

needs numpy, gguf and safetensors: the seeds are what other people's writers write.
"""

import json
import pathlib
import re
import sys

import numpy as np
import safetensors.numpy
from gguf import GGUFWriter
from gguf.constants import GGMLQuantizationType as Type
from gguf.quants import quantize

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "tests/fixtures/model"
ROW = np.linspace(-1, 1, 512, dtype=np.float32).reshape(2, 256)


def write_gguf(path, fill):
    writer = GGUFWriter(path, "llama")
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def every_value(writer):
    for add in (writer.add_uint8, writer.add_uint16, writer.add_uint32, writer.add_uint64, writer.add_int8,
                writer.add_int16, writer.add_int32, writer.add_int64, writer.add_float32, writer.add_float64):
        add("test." + add.__name__, 1)
    writer.add_bool("test.bool", True)
    writer.add_string("test.string", "text")
    writer.add_array("test.strings", ["a", "bc", "é"])
    writer.add_array("test.ints", [1, -2, 3])
    writer.add_array("test.floats", [0.5, 1.5])


def few_tensors(writer):
    writer.add_block_count(1)
    writer.add_tensor("output_norm.weight", ROW[0])
    writer.add_tensor("half", ROW.astype(np.float16))
    for kind in (Type.Q4_0, Type.Q5_1, Type.Q8_0, Type.BF16, Type.MXFP4):
        writer.add_tensor(f"blk.0.{kind.name}", quantize(ROW[:, :32].copy(), kind), raw_dtype=kind)


def super_blocks(writer):
    writer.add_custom_alignment(64)
    for kind, size in ((Type.Q4_K, 144), (Type.Q6_K, 210), (Type.IQ4_XS, 136), (Type.IQ2_XS, 74)):
        writer.add_tensor(kind.name, np.arange(size, dtype=np.uint8).reshape(1, size), raw_dtype=kind)


def pictures(writer):
    """What the file of an encoder of LLaVA's says of them."""
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_uint32("clip.vision.image_size", 336)
    writer.add_string("clip.vision.mm_patch_merge_type", "spatial_unpad")
    writer.add_array("clip.vision.image_grid_pinpoints", [336, 672, 672, 336])
    writer.add_array("clip.vision.image_mean", [0.5, 0.25, 0.125])
    writer.add_array("clip.vision.image_std", [0.5, 0.25, 0.125])


def config_seeds(folder):
    """Each family's config, after the byte that makes fuzz_config.c choose its tensors, and generation defaults."""
    listed = re.findall(r'"(model|vision)/(\w+)"', (FIXTURES.parents[1] / "fuzz/fuzz_config.c").read_text())
    families = [family if kind == "model" else None for kind, family in listed]
    generation = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "eos_token_id": [2, 7]}
    for index, family in enumerate(families):
        if not family:
            continue
        config = json.loads((FIXTURES / family / "config.json").read_text())
        texts = [json.dumps(config, separators=(",", ":"))] + [json.dumps(generation)] * (index % 2)
        (folder / family).write_bytes(bytes([index]) + b"\0".join(text.encode() for text in texts))


def packed_seeds(folder):
    """The settings and, after a NUL byte, the tensors of each matrix that was quantized elsewhere; fp8_block is large."""
    for model in sorted((FIXTURES.parent / "checkpoint").iterdir()):
        if model.name != "fp8_block":
            config = json.dumps(json.loads((model / "config.json").read_text()), separators=(",", ":")).encode()
            (folder / model.name).write_bytes(config + b"\0" + (model / "model.safetensors").read_bytes())
    config = json.dumps({"architectures": ["GptOssForCausalLM"], "quantization_config": {"quant_method": "mxfp4"}}).encode()
    bytes_of = lambda *shape: np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    tensors = {"x_blocks": bytes_of(2, 3, 2, 16), "x_scales": bytes_of(2, 3, 2), "x_bias": np.ones((2, 3), np.float16)}
    (folder / "mxfp4").write_bytes(config + b"\0" + safetensors.numpy.save(tensors))


def main():
    root = pathlib.Path(sys.argv[1])
    for name in ("gguf", "safetensors", "config", "packed"):
        (root / name).mkdir(parents=True, exist_ok=True)
    config_seeds(root / "config")
    packed_seeds(root / "packed")
    for fill in (every_value, few_tensors, super_blocks, pictures):
        write_gguf(root / "gguf" / fill.__name__, fill)
    safetensors.numpy.save_file({}, root / "safetensors" / "empty")
    safetensors.numpy.save_file({"a": ROW[:1, :3], "b": np.array(7), "c": np.zeros((2, 0), np.uint8)},
                                root / "safetensors" / "mixed", metadata={"format": "pt"})
    safetensors.numpy.save_file({f"layer.{i}": np.ones((2, 2), np.float16) for i in range(8)},
                                root / "safetensors" / "layers")


main()
