"""What the tests of the Python package share: the package on the path, the tiny engine of the end-to-end tests, open."""
import os
import pathlib
import re
import subprocess
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
    usual = {"model_dir": engine.path, "backend": spate_server.CPU, "threads": 1, "kv_cache_config": {"memory": 256 << 20}}
    return spate.LLM(**usual | options)


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

    def setUp(self):
        self.cancelled_before = cancelled(self.llm.metrics())

    def wait_running(self, count):
        spate_server.wait_for(lambda: sample(self.llm.metrics(), "llm_requests_running") == count, f"{count} run")

    def wait_cancelled(self, count):
        """So many requests were ended before they had all their tokens, in this test, and none runs."""
        wanted = self.cancelled_before + count
        spate_server.wait_for(lambda: cancelled(self.llm.metrics()) >= wanted, f"{count} are cancelled")
        self.wait_running(0)
        self.assertEqual(cancelled(self.llm.metrics()), wanted)


def sample(metrics, name):
    return float(re.search(rf"^{re.escape(name)} (\S+)$", metrics, re.M).group(1))


def cancelled(metrics):
    return sample(metrics, 'llm_requests_finished_total{reason="cancelled"}')


def main(module):
    if not LIBRARY.exists():
        print(f"SKIPPED: there is no {LIBRARY}")
        sys.exit(77)
    sanitizer_load(LIBRARY.read_bytes())
    spate_server.main(module)


def sanitizer_load(library):
    """A sanitizer must come before everything else: this program again, with it. Python itself keeps what it has at its
    end, so that leaks are not looked for."""
    if b"__tsan_init" in library:
        print("SKIPPED: the library is for ThreadSanitizer, which knows nothing of the locks in an interpreter without it")
        sys.exit(77)
    if b"__asan_init" not in library or "LD_PRELOAD" in os.environ:
        return
    found = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    if not os.path.isabs(found):
        print("SKIPPED: the library is for AddressSanitizer, and cc has no libasan.so")
        sys.exit(77)
    environment = os.environ | {"LD_PRELOAD": found, "ASAN_OPTIONS": "detect_leaks=0"}
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)
