#!/usr/bin/env python3
"""Makes a GGUF file of F32 tensors that computes the same function as a quantized one, with its residual and feed-forward
channels in another order. The groups of the file's own quantization are broken up that way: otherwise a quantizer that
uses groups of the same size would only find the file's numbers again, and its loss could not be seen.

Needs: pip install gguf numpy. Usage: tools/permute_model.py MODEL.gguf OUT.gguf [--seed N]
"""

import argparse

import gguf
import numpy as np


def copy_metadata(reader, writer):
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        value = field.contents()
        if kind == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(field.name, value, kind, sub_type=field.types[-1])
        else:
            writer.add_key_value(field.name, value, kind)


def permuted(name, data, residual, inner):
    """Rows are outputs, columns inputs."""
    if name in ("token_embd.weight", "output.weight"):
        return data[:, residual]
    if name == "output_norm.weight" or name.endswith(("attn_norm.weight", "ffn_norm.weight")):
        return data[residual]
    part = name.split(".")[2]
    if part in ("attn_q", "attn_k", "attn_v"):
        return data[:, residual] if data.ndim == 2 else data
    if part == "attn_output":
        return data[residual]
    order = inner[int(name.split(".")[1])]
    if part in ("ffn_gate", "ffn_up"):
        return data[order][:, residual] if data.ndim == 2 else data[order]
    if part == "ffn_down":
        return data[residual][:, order] if data.ndim == 2 else data[residual]
    raise SystemExit(f"{name}: no rule for this tensor")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    reader = gguf.GGUFReader(args.model)
    architecture = reader.get_field("general.architecture").contents()
    config = {key: reader.get_field(f"{architecture}.{key}").contents()
              for key in ("embedding_length", "feed_forward_length", "block_count")}
    rng = np.random.default_rng(args.seed)
    residual = rng.permutation(config["embedding_length"])
    inner = [rng.permutation(config["feed_forward_length"]) for _ in range(config["block_count"])]
    writer = gguf.GGUFWriter(args.out, architecture)
    copy_metadata(reader, writer)
    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        data = permuted(tensor.name, data, residual, inner)
        writer.add_tensor(tensor.name, np.ascontiguousarray(data, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
