#!/usr/bin/env python3
"""Seeds of the fuzz targets of engine files, plans and folds: tests/fuzz/corpus/{engine_file,plan,folds}/.

    python3 tools/make_engine_corpus.py build/release/spate

To be run again whenever the version of either format changes, or the seeds are refused at their first field.
"""
import pathlib
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests/fuzz/corpus"
PLANS = {"gemma3": (), "llama3": (), "llama_bias_yarn": (), "qwen3": (), "cohere": (), "falcon40b": (), "gpt2": (), "mpt": (),
         "qwen3_moe": (), "granite_moe": (), "deepseek_v3": (),
         "gemma3_int4": ("--quant-mode", "INT4_WEIGHT"), "llama3_int4": ("--quant-mode", "INT4_WEIGHT")}


def build(spate, model, *options):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "seed.spate"
        subprocess.run((spate, "build", model, "-o", path, *options), check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        return path.read_bytes()


def section(engine, index):
    """docs/engine-file.md: 32 bytes for each section from byte 40 on, offset and size first."""
    offset, size = struct.unpack_from("<QQ", engine, 40 + 32 * index)
    return engine[offset:offset + size]


def folds():
    """Of the fixture in tests/unit/engine/adapter_fixture.h: weights are an embedding, and 16 + 8 rows of 32 columns."""
    table = 2 * 32
    column, order, rows = table, table + 4 * 32, table + 8 * 32
    entries = bytes(32) + struct.pack("<8I", column, order, 0, rows, 0, 0, 0, 0)
    return (entries + struct.pack("<32f", *(0.5 + i for i in range(32))) +
            struct.pack("<32i", *((5 * i + 3) % 32 for i in range(32))) + struct.pack("<8f", *(1 / (1 + i) for i in range(8))))


def main(spate):
    for name, options in PLANS.items():
        model = ROOT / "tests/fixtures/model" / name.removesuffix("_int4")
        (CORPUS / "plan" / name).write_bytes(section(build(spate, model, *options), 1))
    for name in ("idefics3", "llava", "llava_next", "gemma3", "qwen2_vl", "qwen2_5_vl", "mistral3"):
        plans = section(build(spate, ROOT / "tests/fixtures/vision" / name), 1)
        first = struct.unpack_from("<Q", plans, 8)[0]  # bytes of the decoder's
        (CORPUS / "plan" / name).write_bytes(plans[-(-first // 8) * 8:])
    for name in ("bert-pairs", "modernbert", "qwen3", "bert-dense"):
        (CORPUS / "plan" / f"text_{name}").write_bytes(section(build(spate, ROOT / "tests/fixtures/encoder" / name), 1))
    engine = build(spate, ROOT / "tests/fixtures/build/tiny.gguf")
    weights = struct.unpack_from("<Q", engine, 40 + 32 * 5)[0]
    (CORPUS / "folds" / "qk").write_bytes(folds())
    (CORPUS / "engine_file" / "tiny").write_bytes(engine[:weights].rstrip(b"\0"))


if __name__ == "__main__":
    main(sys.argv[1])
