"""Checkpoints that torch.save has written, for src/format/torch_file.c: tensors of all kinds with what torch itself reads
back, what Spate refuses, and a model of the fixtures in shards, which must answer as its safetensors do. Seeds of
fuzz_torch_file too.

    python3 tools/make_torch_fixtures.py      # with torch and safetensors; torch 2.15's are committed
"""
import collections
import json
import pathlib

import zipfile

import torch
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).parent.parent
FOLDER = ROOT / "tests/fixtures/format/torch"
CORPUS = ROOT / "tests/fuzz/corpus/torch_file"
MODEL = ROOT / "tests/fixtures/model/mpt_clip/model.safetensors"
NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


def tensors():
    """Each type, views of a storage, one element, none, a parameter, two names of one tensor, dimensions of 1."""
    torch.manual_seed(5)
    base = torch.randn(6, 4)
    made = collections.OrderedDict((name.lower(), (10 * base).to(kind)) for kind, name in NAMES.items())
    made |= {"base": base, "rows": base[2:4], "tied": base, "scalar": torch.tensor(2.5), "none": torch.zeros(0, 3),
             "parameter": torch.nn.Parameter(torch.ones(3)), "row": base[1:2].t()[:, 0], "wide": torch.arange(5).expand(1, -1)}
    return made


def expected(made):
    """What torch has of each: its type, shape and bytes."""
    return {name: {"type": NAMES[t.dtype], "shape": list(t.shape),
                   "bytes": t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes().hex()}
            for name, t in made.items()}


def shards():
    """A model in two files, as transformers wrote them."""
    weights = load_file(MODEL)
    names = sorted(weights)
    halves, where = (names[:len(names) // 2], names[len(names) // 2:]), {}
    for i, half in enumerate(halves):
        file = f"pytorch_model-{i + 1:05}-of-00002.bin"
        torch.save(collections.OrderedDict((name, weights[name]) for name in half), FOLDER / file)
        where |= dict.fromkeys(half, file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in weights.values())}, "weight_map": where}
    (FOLDER / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")


def seeds():
    """Whole files, and their pickles alone."""
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name in ("module", "plain"):
        (CORPUS / name).write_bytes(b"\0" + (FOLDER / f"{name}.bin").read_bytes())
        pickle = zipfile.ZipFile(FOLDER / f"{name}.bin").read(f"{name}/data.pkl")
        (CORPUS / f"{name}_pickle").write_bytes(b"\1" + pickle)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = tensors()
    torch.save(made, FOLDER / "plain.bin")
    back = torch.load(FOLDER / "plain.bin", weights_only=True)
    (FOLDER / "plain.json").write_text(json.dumps(expected(back), indent=0) + "\n")
    linear = torch.nn.Linear(3, 2)  # whose state has attributes
    torch.save(linear.state_dict(), FOLDER / "module.bin")
    (FOLDER / "module.json").write_text(json.dumps(expected(linear.state_dict()), indent=0) + "\n")
    torch.save({"t": made["base"].t()}, FOLDER / "transposed.bin")
    torch.save({"t": made["base"]}, FOLDER / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"t": made["base"]}, FOLDER / "protocol4.bin", pickle_protocol=4)
    torch.save({"epoch": 3, "t": made["base"]}, FOLDER / "number.bin")
    torch.save(linear, FOLDER / "object.bin")
    shards()
    seeds()


if __name__ == "__main__":
    main()
