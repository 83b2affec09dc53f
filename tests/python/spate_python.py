"""What the tests of the Python package share: the package on the path, the tiny engine of the end-to-end tests, open."""
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "bindings/python"
sys.path[:0] = [str(PACKAGE), str(ROOT / "tests/e2e")]
LIBRARY = pathlib.Path(os.environ.setdefault("SPATE_LIBRARY", str(ROOT / "build/release/libspate.so")))

import spate_server  # noqa: E402

ENVIRONMENT = os.environ | {"PYTHONPATH": str(PACKAGE), "SPATE_LIBRARY": str(LIBRARY)}


def engine_open(engine, **options):
    """As spate_server.Server opens it."""
    import spate
    return spate.LLM(engine.path, **{"backend": spate_server.CPU, "threads": 1, "kv_cache_config": {"memory": 256 << 20}} | options)


class LlmCase(spate_server.EngineCase):
    """Tests over one open engine, which is the tiny one of the end-to-end tests."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.llm = engine_open(cls.engine)

    @classmethod
    def tearDownClass(cls):
        cls.llm.shutdown()
        super().tearDownClass()


def main(module):
    if not LIBRARY.exists():
        print(f"SKIPPED: there is no {LIBRARY}")
        sys.exit(77)
    if re.search(rb"__[at]san_init", LIBRARY.read_bytes()):
        print("SKIPPED: the library has a sanitizer in it, which must be in the whole program, and Python's is not ours")
        sys.exit(77)
    spate_server.main(module)
