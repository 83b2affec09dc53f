"""MXFP4 as gpt-oss's checkpoints and GGUF files hold it: blocks of 32 numbers, codes of E2M1 times a power of two (OCP
Microscaling Formats 1.0)."""
import numpy as np

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def encode(data):
    """Codes [..., cols / 32, 32] and scales of E8M0 [..., cols / 32] of the nearest numbers."""
    blocks = data.reshape(*data.shape[:-1], -1, 32)
    exponent = np.ceil(np.log2(np.abs(blocks).max(-1) / 6)).astype(int)
    scaled = blocks / np.exp2(exponent.astype(np.float32))[..., None]
    codes = np.abs(np.abs(scaled)[..., None] - E2M1).argmin(-1).astype(np.uint8)
    return codes | (scaled < 0).astype(np.uint8) << 3, (exponent + 127).astype(np.uint8)


def decode(codes, scales):
    """The numbers [..., cols]."""
    values = np.where(codes & 8, -1, 1) * E2M1[codes & 7] * np.exp2(scales.astype(np.float32) - 127)[..., None]
    return values.reshape(*values.shape[:-2], -1).astype(np.float32)


def hub_blocks(codes):
    """Bytes [..., 16] as the hub's checkpoints have them: neighbours, the first below."""
    return codes[..., ::2] | codes[..., 1::2] << 4


def gguf_rows(codes, scales):
    """Rows of GGUF's blocks: a scale, then bytes of columns i and i + 16, the first below."""
    blocks = np.concatenate([scales[..., None], codes[..., :16] | codes[..., 16:] << 4], -1)
    return blocks.reshape(*blocks.shape[:-2], -1)
