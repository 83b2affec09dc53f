#!/usr/bin/env python3
"""Matrices as other programs quantize and store them, and the floats that those programs make of them again.

    python3 tools/make_checkpoint_fixtures.py --out tests/fixtures/checkpoint

needs numpy, torch (a CPU is enough), safetensors, transformers, compressed-tensors, autoawq and auto-gptq; the last two
are installed with `pip install --no-deps`, as only their modules of packed layers are imported. Each folder has config.json
with the quantization_config, model.safetensors with one packed matrix `proj`, and expected.f32 with every
third of its rows as floats, which meets each place of a row in a packed word.
GPTQ's second version comes from the first by adding back the one that it had subtracted from its zero points, which is
all that gptqmodel, whose own modules want a GPU's toolchain to be installed, does to convert one into the other."""
import argparse
import importlib
import json
import pathlib
import sys
import types

import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors


def module_alone(package, name):
    """A module of a package without running the __init__.py of the folders above, which import kernels for GPUs."""
    root = pathlib.Path(next(p for p in sys.path if (pathlib.Path(p) / package).is_dir())) / package
    above = package
    sys.modules[package] = types.ModuleType(package)
    sys.modules[package].__path__ = [str(root)]
    for part in name.split(".")[:-1]:
        above, root = f"{above}.{part}", root / part
        sys.modules[above] = types.ModuleType(above)
        sys.modules[above].__path__ = [str(root)]
    return importlib.import_module(f"{package}.{name}")


def weight_random(rows, cols):
    return torch.randn(rows, cols) * torch.exp2(torch.randint(-3, 3, (rows, 1)))


def linear_of(weight):
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight.data = weight.clone()
    return linear


def minmax(weight, bits, group_of):
    """Scales (fp16) and zero points, [rows, groups], of each group's range with zero in it."""
    n_group, top = int(group_of.max()) + 1, 2**bits - 1
    scale, zero = torch.empty(len(weight), n_group), torch.empty(len(weight), n_group)
    for g in range(n_group):
        low, high = weight[:, group_of == g].amin(1).clamp(max=0), weight[:, group_of == g].amax(1).clamp(min=0)
        scale[:, g] = ((high - low) / top).half().float()
        zero[:, g] = (-low / scale[:, g]).round().clamp(1, top)
    return scale, zero


def awq(group):
    gemm = module_alone("awq", "modules.linear.gemm")
    packing = importlib.import_module("awq.utils.packing_utils")
    weight = weight_random(32, 128)
    group = group if group > 0 else 128
    scale, zero = minmax(weight, 4, torch.arange(128) // group)
    m = gemm.WQLinear_GEMM.from_linear(linear_of(weight.clamp(-8, 8)), 4, group, scales=scale.t().contiguous(),
                                       zeros=zero.t().contiguous())
    expected = packing.dequantize_gemm(m.qweight, m.qzeros, m.scales.float(), 4, group).t()
    return {"qweight": m.qweight, "qzeros": m.qzeros, "scales": m.scales}, expected


def gptq(bits, group, version=1, act_order=False):
    layer = module_alone("auto_gptq", "nn_modules.qlinear.qlinear_cuda")
    weight, cols = weight_random(32, 128), 128
    group_of = torch.arange(cols) // (group if group > 0 else cols)
    if act_order:
        group_of = group_of[torch.randperm(cols)]
    scale, zero = minmax(weight, bits, group_of)
    m = layer.QuantLinear(bits, group, cols, 32, False)
    m.pack(linear_of(weight), scale, zero, group_of.to(torch.int32))
    stored = {"qweight": m.qweight, "qzeros": m.qzeros, "scales": m.scales, "g_idx": m.g_idx}
    stored = {key: tensor.clone() for key, tensor in stored.items()} | {"scales": m.scales.half()}
    m.scales = m.scales.float()
    m.autogptq_cuda_available = False
    expected = m.forward(torch.eye(cols)).t()  # the layer's own arithmetic on each column, in single precision
    if version == 2:
        one = sum(1 << (bits * i) for i in range(32 // bits))
        stored["qzeros"] = torch.from_numpy((m.qzeros.numpy().view(np.uint32) + np.uint32(one)).view(np.int32))
    return stored, expected


def compressed(name, rows=32, cols=128, scale_type=torch.bfloat16, **weights):
    args = QuantizationArgs(**weights)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    weight = weight_random(rows, cols)
    if args.strategy == "block":
        r, c = args.block_structure
        view = weight.reshape(rows // r, r, cols // c, c).transpose(1, 2).flatten(2)
    elif args.strategy == "group":
        view = weight.reshape(rows, -1, args.group_size)
    else:
        view = weight.reshape(1, 1, -1) if args.strategy == "tensor" else weight.reshape(rows, 1, cols)
    scale, zero = calculate_qparams(view.amin(-1), view.amax(-1), args)
    scale = scale.to(scale_type)
    if args.strategy == "tensor":
        scale, zero = scale.reshape(1), zero.reshape(1)
    compressor = BaseCompressor.get_value_from_registry(name)
    state = {"weight": weight, "weight_scale": scale.float(), "weight_zero_point": zero}
    stored = compressor.compress(state, scheme)
    expected = compressor.decompress(stored, scheme)["weight"]
    stored["weight_scale"] = scale
    return stored, expected.float()


def compressed_config(form, activations=None, **weights):
    group = {"targets": ["Linear"], "weights": QuantizationArgs(**weights).model_dump(mode="json"),
             "input_activations": activations, "output_activations": None}
    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
            "config_groups": {"group_0": group}, "ignore": ["lm_head"]}


def fp8_block():
    config = types.SimpleNamespace(weight_block_size=(128, 128), scale_fmt="float")
    quantizer = types.SimpleNamespace(quantization_config=config)
    stored = Fp8Quantize(quantizer)._quantize_one("proj.weight", weight_random(128, 256))
    expected = stored["proj.weight"].float().reshape(1, 128, 2, 128)
    expected = (expected * stored["proj.weight_scale_inv"].reshape(1, 1, 2, 1)).reshape(128, 256)
    dequantized = Fp8Dequantize(quantizer)._dequantize_one(stored["proj.weight"], stored["proj.weight_scale_inv"])
    assert torch.equal(dequantized.float(), expected.to(dequantized.dtype).float())  # theirs, before it is rounded
    return {key.removeprefix("proj."): tensor for key, tensor in stored.items()}, expected


def mxfp4():
    """Two matrices in one tensor; every scale but those whose numbers a float does not hold."""
    blocks = torch.randint(0, 256, (2, 32, 4, 16), dtype=torch.uint8)
    scales = torch.arange(2 * 32 * 4).clamp(max=251).to(torch.uint8).reshape(2, 32, 4)
    expected = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)  # [matrix][column][row]
    return {"_blocks": blocks, "_scales": scales}, expected.transpose(1, 2).reshape(64, 128)


def cases():
    awq_config = {"quant_method": "awq", "bits": 4, "zero_point": True, "version": "gemm"}
    yield "awq_g32", awq_config | {"group_size": 32}, awq(32)
    yield "awq_row", awq_config | {"group_size": -1}, awq(-1)
    gptq_config = {"quant_method": "gptq", "sym": False, "desc_act": False, "checkpoint_format": "gptq"}
    yield "gptq_int4", gptq_config | {"bits": 4, "group_size": 32}, gptq(4, 32)
    yield "gptq_int8", gptq_config | {"bits": 8, "group_size": -1}, gptq(8, -1)
    second = gptq_config | {"checkpoint_format": "gptq_v2"}
    yield "gptq_v2_int2", second | {"bits": 2, "group_size": 32}, gptq(2, 32, version=2)
    yield "gptq_act_order", gptq_config | {"bits": 4, "group_size": 32, "desc_act": True}, gptq(4, 32, act_order=True)
    w4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}
    for name, symmetric in (("w4a16", True), ("w4a16_zero", False)):
        weights = w4 | {"symmetric": symmetric}
        yield name, compressed_config("pack-quantized", **weights), compressed("pack-quantized", **weights)
    w8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
    token = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True, "symmetric": True}
    yield "w8a8", compressed_config("int-quantized", token, **w8), compressed("int-quantized", **w8)
    f8 = {"num_bits": 8, "type": "float"}
    token |= {"type": "float"}
    for name, weights in (("fp8_row", f8 | {"strategy": "channel"}), ("fp8_tensor", f8 | {"strategy": "tensor"})):
        yield name, compressed_config("float-quantized", token, **weights), compressed("float-quantized", **weights)
    block = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    yield "fp8_block", block, fp8_block()
    yield "mxfp4", {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}, mxfp4()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    torch.manual_seed(20261126)
    for name, quantization, (stored, expected) in cases():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        config = {"architectures": ["LlamaForCausalLM"], "quantization_config": quantization}
        (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        named = {"proj" + (key if key[0] == "_" else "." + key): tensor for key, tensor in stored.items()}
        save_file({key: tensor.detach().contiguous() for key, tensor in named.items()}, folder / "model.safetensors")
        expected.detach().float()[::3].contiguous().numpy().astype("<f4").tofile(folder / "expected.f32")
        print(name, {key: (str(t.dtype), list(t.shape)) for key, t in stored.items()}, list(expected.shape))


main()
