"""Twins that tools/make_twins.py writes of fixtures, GGUF files by the package gguf of llama.cpp: parity/test_families
compares their logits with transformers'."""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    clients = os.environ.get("SPATE_TEST_CLIENTS")
    if not clients:
        print("SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
        return 77
    with tempfile.TemporaryDirectory(prefix="spate-twins-") as folder:
        made = subprocess.run([clients, ROOT / "tools/make_twins.py", "--out", folder])
        if made.returncode:
            return made.returncode
        return subprocess.run([os.environ["TEST_FAMILIES"]], env={**os.environ, "SPATE_TEST_TWINS": folder}).returncode


if __name__ == "__main__":
    sys.exit(main())
