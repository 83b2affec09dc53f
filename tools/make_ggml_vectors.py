#!/usr/bin/env python3
"""Vectors for GGML's block types: random blocks and the floats that the PyPI package `gguf` makes of them.

    python3 tools/make_ggml_vectors.py tests/fixtures/format/ggml_vectors.bin

needs numpy and gguf. The file is a run of records, little-endian:
    uint32 GGML type number, uint32 elements, uint32 bytes, the bytes, the elements as float32 bits
"""

import struct
import sys

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize

ELEMENTS = 768  # three super blocks, 24 blocks of 32

# Byte positions of the fp16 scales of a block, which random bytes would make NaN or huge.
HALF_SCALES = {
    Type.F32: [], Type.F16: [], Type.BF16: [], Type.MXFP4: [],
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
    Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.TQ1_0: [52], Type.TQ2_0: [64], Type.NVFP4: [],
    Type.IQ1_S: [0], Type.IQ1_M: [], Type.IQ2_XXS: [0], Type.IQ2_XS: [0], Type.IQ2_S: [0], Type.IQ3_XXS: [0],
    Type.IQ3_S: [0],
}


def random_blocks(rng, kind):
    """Blocks of every code and sub scale; fp16 scales of either sign over many magnitudes, one zero, one subnormal."""
    if kind in (Type.F32, Type.F16, Type.BF16):
        floats = (rng.standard_normal(ELEMENTS) * np.exp2(rng.integers(-20, 12, ELEMENTS))).astype(np.float32)
        if kind == Type.BF16:
            return (floats.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        return floats.astype(np.float16 if kind == Type.F16 else np.float32).view(np.uint8)
    block, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (ELEMENTS // block, size), dtype=np.uint8)
    for at in HALF_SCALES[kind]:
        scales = (rng.standard_normal(len(blocks)) * np.exp2(rng.integers(-12, 4, len(blocks)))).astype(np.float16)
        scales[0], scales[1] = 0, np.float16(-3e-7)
        if kind == Type.TQ2_0:  # positive as in any file: otherwise gguf's zeros have a sign
            scales = np.maximum(np.abs(scales), np.float16(3e-7))
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    if kind == Type.MXFP4:
        blocks[:, 0] = np.resize(np.array([0, 1, 2, 3, 100, 126, 127, 128, 129, 140, 250], dtype=np.uint8), len(blocks))
    if kind == Type.IQ1_M:  # the fp16 scale lies in the top bits of four words: exponents that are finite
        blocks[:, 55] &= 0xBF
    if kind == Type.NVFP4:  # every scale: 128 bytes in 12 blocks of four do not hold all, so the low ones and some
        blocks[:, :4] = np.resize(np.concatenate([np.arange(24), np.arange(24, 127, 5), [127]]).astype(np.uint8), (12, 4))
    return blocks.reshape(-1)


def main():
    rng = np.random.default_rng(20240229)
    with open(sys.argv[1], "wb") as out:
        for kind in HALF_SCALES:
            source = random_blocks(rng, kind)
            expected = dequantize(source.reshape(1, -1), kind).astype(np.float32).reshape(-1)
            assert expected.size == ELEMENTS and np.isfinite(expected).all(), kind
            out.write(struct.pack("<III", kind.value, ELEMENTS, source.size))
            out.write(source.tobytes())
            out.write(expected.tobytes())


main()
