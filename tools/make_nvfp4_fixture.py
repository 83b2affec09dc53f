"""Makes tests/fixtures/build/nvfp4.gguf, a layer of a Llama in NVFP4 with a scale for each whole matrix beside its blocks
(X.scale, and X.input_scale for activations, as llama.cpp's converter writes them), and nvfp4_f32.gguf: the numbers that
the package gguf makes of the blocks, times the scales, in F32.

Needs: pip install gguf numpy. Usage: tools/make_nvfp4_fixture.py tests/fixtures/build
"""

import sys
from pathlib import Path

import gguf
import numpy as np

from make_build_fixtures import header_write

HIDDEN, HEADS, KV_HEADS, DIM, FFN = 64, 2, 1, 32, 128
NVFP4 = gguf.GGMLQuantizationType.NVFP4
MATRICES = {"attn_q": (HEADS * DIM, HIDDEN), "attn_k": (KV_HEADS * DIM, HIDDEN), "attn_v": (KV_HEADS * DIM, HIDDEN),
            "attn_output": (HIDDEN, HEADS * DIM), "ffn_gate": (FFN, HIDDEN), "ffn_up": (FFN, HIDDEN),
            "ffn_down": (HIDDEN, FFN)}
UNSCALED = "attn_output"  # converters leave out scales of 1


def random_blocks(rng, rows, cols):
    """Blocks of 64: four scales (unsigned E4M3, here from 2 to 15) and 32 bytes of codes."""
    block, size = gguf.GGML_QUANT_SIZES[NVFP4]
    data = rng.integers(0, 256, (rows, cols // block, size), dtype=np.uint8)
    data[:, :, :4] = rng.integers(0x40, 0x58, (rows, cols // block, 4))
    return data.reshape(rows, -1)


def matrix_write(writer, rng, name, shape, twin):
    blocks, scale = random_blocks(rng, *shape), np.float32(rng.uniform(0.001, 0.003))
    if name == UNSCALED:
        blocks, scale = blocks & 0x87, np.float32(1)  # small scales and codes in its place
    if twin:
        writer.add_tensor(f"blk.0.{name}.weight", gguf.quants.dequantize(blocks, NVFP4).astype(np.float32) * scale)
        return
    writer.add_tensor(f"blk.0.{name}.weight", blocks, raw_dtype=NVFP4)
    if name != UNSCALED:
        writer.add_tensor(f"blk.0.{name}.scale", np.array([scale]))
        writer.add_tensor(f"blk.0.{name}.input_scale", np.array([0.01], np.float32))


def main(folder):
    for file, twin in (("nvfp4.gguf", False), ("nvfp4_f32.gguf", True)):
        rng = np.random.default_rng(1)
        writer = gguf.GGUFWriter(folder / file, "llama")
        vocabulary = header_write(writer, 1, HIDDEN, FFN, HEADS, KV_HEADS, DIM)
        for name, shape in (("token_embd", (vocabulary, HIDDEN)), ("output", (vocabulary, HIDDEN))):
            writer.add_tensor(f"{name}.weight", rng.normal(0, 0.5, shape).astype(np.float16))
        for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
            writer.add_tensor(f"{name}.weight", rng.normal(1, 0.1, HIDDEN).astype(np.float32))
        for name, shape in MATRICES.items():
            matrix_write(writer, rng, name, shape, twin)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
