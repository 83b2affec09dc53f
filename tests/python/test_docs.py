"""docs/python.md: its commands work as they stand there, its programs print what they say they do."""
import contextlib
import importlib.util
import io
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import spate_python
import spate_server
import test_images

CLIENTS = os.environ.get("SPATE_TEST_CLIENTS")
MODEL = os.environ.get("SPATE_TEST_MODEL")
PAGE = (spate_python.ROOT / "docs/python.md").read_text()
# In a virtual environment of the test's own, with what the clients' has, where pip finds it; nothing is fetched.
PIP = """#!/bin/sh
case "$*" in
  wheel*) exec {python} -m pip --python {clients} "$@" --quiet --no-build-isolation ;;
  install*) exec {python} -m pip --python {venv}/bin/python "$@" --quiet --no-index ;;
  *) echo "pip $*?"; exit 1 ;;
esac
"""
CMAKE = """#!/bin/sh
[ "$*" = "--build build/release --target libspate" ] && [ -f build/release/libspate.so ]
"""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


class Programs(spate_python.LlmCase):
    def test_python(self):
        """One after the other in one interpreter; what they print is compared when the model is the default one."""
        folder = self.engine.folder
        model = pathlib.Path(MODEL) if MODEL else folder / "tiny"
        printed = io.StringIO()
        shutil.copytree(spate_python.ROOT / "tests/fixtures/adapter/tied", folder / "adapters/medical_advice")
        code = "\n".join(blocks("python")).replace('LLM("model.gguf", lora', f"LLM({str(folder / 'tiny')!r}, lora")
        code = code.replace('"model.gguf"', repr(str(model))).replace('"adapters"', repr(str(folder / "adapters")))
        code = code.replace('"model.spate"', repr(str(folder / "docs.spate"))).replace("max_seq_len=1024", "max_seq_len=512")
        code = code.replace("[{\"role\": \"user\", \"content\": \"Hi\"}]", "[{'role': 'user', 'content': 'Hi'}]")
        seeing = test_images.SeeingEngine("llava")
        self.addCleanup(seeing.remove)
        code = code.replace('"seeing"', repr(str(seeing.path)))
        code = code.replace('LLM("encoder")', f"LLM({str(spate_python.ROOT / 'tests/fixtures/encoder/bert')!r})")
        code = code.replace('"cat.png"', repr(str(test_images.FIXTURES / "image/decode/colour.png")))
        names = {}
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        names["llm"].shutdown()
        names["small"].shutdown()
        self.assertEqual(len(names["texts"]), 2)
        wanted = re.findall(r"^print\(.*\)  # (.*)$", code, re.M)
        self.assertEqual(len(wanted), 3)
        if MODEL:
            self.assertEqual([line for line in printed.getvalue().splitlines() if line in wanted], wanted)


class Commands(spate_python.LlmCase):
    @classmethod
    def setUpClass(cls):
        if not CLIENTS:
            raise unittest.SkipTest("SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
        if not importlib.util.find_spec("pip"):
            raise unittest.SkipTest(f"SKIPPED: {sys.executable} has no pip, which builds and installs the wheel")
        if not shutil.which("curl"):
            raise unittest.SkipTest("SKIPPED: there is no curl, with which the commands ask the server")
        super().setUpClass()

    def setUp(self):
        """A tree like the project's, which the commands may write into."""
        super().setUp()
        self.tree = pathlib.Path(tempfile.mkdtemp(prefix="spate-python-"))
        self.addCleanup(shutil.rmtree, self.tree)
        (self.tree / "build/release").mkdir(parents=True)
        (self.tree / "build/release/libspate.so").symlink_to(spate_python.LIBRARY)
        for name in ("bindings", "examples"):
            shutil.copytree(spate_python.ROOT / name, self.tree / name)
        venv = self.tree / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
        packages = subprocess.run([CLIENTS, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                                  capture_output=True, text=True, check=True).stdout
        next(venv.glob("lib/python*/site-packages")).joinpath("clients.pth").write_text(packages)
        self.place("pip", PIP.format(python=sys.executable, clients=CLIENTS, venv=venv))
        self.place("cmake", CMAKE)
        # Debian's curl does not end with AddressSanitizer in it.
        self.place("curl", f'#!/bin/sh\nunset LD_PRELOAD\nexec {shutil.which("curl")} -m 60 "$@"\n')
        self.place("uvicorn", f"#!/bin/sh\nexec {venv}/bin/python -m uvicorn \"$@\"\n")

    def place(self, name, text):
        path = self.tree / "venv/bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def test_sh(self):
        """Install, start the server in the background, ask it; then it is stopped."""
        install, server, ask = blocks("sh")
        with spate_server.socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        waits = (f"i=0; while ! curl -s -o /dev/null http://127.0.0.1:{port}/health; do i=$((i+1)); [ $i -lt 600 ]; sleep 0.1; done\n")
        script = "\n".join(("set -e", install, server, "trap 'kill $!' EXIT", waits,
                            ask.replace("curl ", "curl -sS --fail "))).replace("8001", port)
        environment = {name: value for name, value in os.environ.items() if name not in ("SPATE_LIBRARY", "PYTHONPATH")}
        environment |= {"MODEL": str(self.engine.path), "PATH": f"{self.tree}/venv/bin:{os.environ['PATH']}"}
        with subprocess.Popen(["sh", "-c", script], cwd=self.tree, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, start_new_session=True) as shell:
            try:
                said, _ = shell.communicate(timeout=2 * spate_server.WAIT_SECONDS)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGKILL)  # the server, if the script has not come to its end
        self.assertEqual(shell.returncode, 0, said)
        self.assertRegex(said, r'"usage":\{"prompt_tokens":\d+,"completion_tokens":4\}')
        self.assertIn("data: ", said)


if __name__ == "__main__":
    spate_python.main(__name__)
