#!/usr/bin/env python3
"""Writes tests/fixtures/format/split/: the tiny qwen3 of tests/fixtures/model as the package gguf splits it into files,
the first of which has the metadata alone. Needs gguf, numpy."""
import pathlib

import gguf

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "tests/fixtures/model/qwen3/model.gguf"
FOLDER = ROOT / "tests/fixtures/format/split"
TENSORS = 10  # of one file


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.gguf"):
        old.unlink()
    reader = gguf.GGUFReader(SOURCE)
    arch = reader.get_field("general.architecture").contents()
    writer = gguf.GGUFWriter(FOLDER / "qwen3.gguf", arch, split_max_tensors=TENSORS, small_first_shard=True)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind, element = field.types[0], field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=element)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for path in sorted(FOLDER.glob("*.gguf")):
        print(path.name, path.stat().st_size, len(gguf.GGUFReader(path).tensors))


if __name__ == "__main__":
    main()
