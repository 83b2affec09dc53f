#!/usr/bin/env python3
"""Writes into adapters of peft for which base weights they are, as spate_base_digest in their adapter_config.json: Spate then
refuses them beside others (docs/lora.md). The engine is one that was built from the weights beside which they were trained, in
any quantization mode.

    adapter_base.py ENGINE ADAPTER... [--spate build/release/spate]
"""
import argparse
import json
import os
import pathlib
import subprocess


def digest_of(spate, engine):
    told = json.loads(subprocess.run([spate, "inspect", engine, "--json"], check=True, stdout=subprocess.PIPE).stdout)
    if told["manifest"].get("merge_lora"):
        raise SystemExit(f"{engine} has an adapter merged into it: its base is no checkpoint. Build one without.")
    return told["manifest"]["source"]["digest"]


def digest_write(adapter, digest):
    """The file is replaced, so that nobody reads half of it."""
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"spate_base_digest": digest}
    written = path.with_suffix(".new")
    written.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(written, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("engine")
    parser.add_argument("adapter", nargs="+", type=pathlib.Path)
    parser.add_argument("--spate", default="build/release/spate")
    args = parser.parse_args()
    digest = digest_of(args.spate, args.engine)
    for adapter in args.adapter:
        digest_write(adapter, digest)
        print(f"{adapter}: {digest}")


if __name__ == "__main__":
    main()
