"""The guides: every command in a block of sh runs as it stands there, one page after the other, each page in a shell and a
tree of its own; tables that repeat the sources have their values.

A comment before a block says what it needs that not every machine has, `<!-- needs clients: why -->`; a block whose need is
not met is SKIPPED with that reason, never silently. A block of text after a block of sh is what the commands print with the
default model (SPATE_TEST_MODEL): each of its lines is in their output; without it a tiny one runs, and only has to run."""
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import spate_server
from spate_server import ROOT, SPATE, free_port

MODEL = os.environ.get("SPATE_TEST_MODEL")
CLIENTS = os.environ.get("SPATE_TEST_CLIENTS")
LIBRARY = os.environ.get("SPATE_LIBRARY", str(ROOT / "build/release/libspate.so"))
GUIDES = ("quickstart", "performance", "troubleshooting", "security", "comparison")
BLOCK = re.compile(r"(?:^<!-- needs (\w+): ([^\n]*) -->\n)?^```sh\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.M | re.S)
NEEDS = {
    "clients": lambda: CLIENTS and shutil.which("curl") and importlib.util.find_spec("pip"),
    "curl": lambda: shutil.which("curl"),
    "gpu": lambda: pathlib.Path("/proc/driver/nvidia/version").exists() and os.environ.get("SPATE_TEST_GPU"),
    "packages": lambda: False,  # what changes the machine
    "systemd": lambda: False,
    "containers": lambda: False,
}
# doctor finds what it finds on the machine of the test: 1 is as good as 0. A server is what the shell started.
SPATE_SHIM = """#!/bin/sh
[ "$1" = doctor ] || exec {spate} "$@"
{spate} "$@" || [ $? -eq 1 ]
"""
# The target has to be there; what it does is done with the program that is being tested.
MAKE_SHIM = """#!/bin/sh
set -e
{make} -n -s -C {root} "$@" >/dev/null
case "$1" in
  serve) exec build/release/spate serve "$(scripts/get_model.sh)" ;;
  build|"") ;;
  *) echo "make $*?"; exit 1 ;;
esac
"""

CMAKE_SHIM = """#!/bin/sh
[ "$*" = "--build build/release --target libspate" ] && [ -f build/release/libspate.so ]
"""


def guide(name):
    return (ROOT / f"docs/{name}.md").read_text()


def blocks(text):
    """(what it needs, why, commands, output) of each block of sh."""
    found = BLOCK.findall(text)
    assert len(found) == len(re.findall(r"^```sh$", text, re.M)), "a block of sh that is not read"
    return found


class Commands(unittest.TestCase):
    def setUp(self):
        """A tree like the project's, which the commands may write into."""
        self.tree = pathlib.Path(tempfile.mkdtemp(prefix="spate-guides-"))
        self.addCleanup(shutil.rmtree, self.tree)
        for entry in ROOT.iterdir():
            if entry.name not in (".git", "build", "scripts", "bindings"):
                (self.tree / entry.name).symlink_to(entry)
        shutil.copytree(ROOT / "bindings", self.tree / "bindings")
        (self.tree / "build/release").mkdir(parents=True)
        (self.tree / "build/release/libspate.so").symlink_to(LIBRARY)
        self.program("build/release/spate", SPATE_SHIM.format(spate=SPATE))
        model = MODEL or self.tree / "tiny"
        if not MODEL:
            shutil.copytree(ROOT / "tests/fixtures/model/smollm2", model)
            (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": spate_server.Engine.TEMPLATE}))
        self.program("scripts/get_model.sh", f"#!/bin/sh\necho {model}\n")
        self.program("bin/make", MAKE_SHIM.format(make=shutil.which("make"), root=ROOT))
        self.program("bin/cmake", CMAKE_SHIM)
        if shutil.which("curl"):  # Debian's does not end with AddressSanitizer in it
            self.program("bin/curl", f'#!/bin/sh\nunset LD_PRELOAD\nexec {shutil.which("curl")} -m 60 "$@"\n')
        if CLIENTS:  # pip itself, which finds there what it is asked for, and fetches nothing
            self.program("bin/pip", f'#!/bin/sh\nexec {sys.executable} -m pip --python {CLIENTS} --disable-pip-version-check "$@" --no-index\n')
        # Python itself has no AddressSanitizer, which the library may be built with.
        sanitized = b"__asan_init" in pathlib.Path(LIBRARY).read_bytes()
        preload = "export ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$(cc -print-file-name=libasan.so)\n" if sanitized else ""
        self.program("bin/python3", f'#!/bin/sh\n{preload}exec {CLIENTS or sys.executable} "$@"\n')

    def program(self, path, text):
        path = self.tree / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run_guide(self, name):
        port, parts, expected = str(free_port()), ["set -e", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"], []
        for number, (need, why, commands, output) in enumerate(blocks(guide(name)), 1):
            if need and not NEEDS[need]():
                print(f"SKIPPED: block {number} of docs/{name}.md needs {need}: {why}")
                continue
            parts += [f"printf '\\n--- block {number}\\n'", commands]
            expected += [(number, line) for line in output.splitlines() if line.strip()]
        parts.append("printf '\\n--- end\\n'")
        script = "\n".join(parts).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        environment = {key: value for key, value in os.environ.items() if key not in ("SPATE_LIBRARY", "PYTHONPATH")}
        environment |= {"PATH": f"{self.tree}/bin:{os.environ['PATH']}", "SPATE_PORT": port, "SPATE_CACHE_DIR": str(self.tree / "cache"),
                        "SPATE_KV_CACHE_MEMORY": "256M", "SPATE_LOG_LEVEL": "warning", "XDG_CACHE_HOME": str(self.tree / "cache")}
        with subprocess.Popen(["bash", "-c", script], cwd=self.tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, start_new_session=True) as shell:
            try:
                said, _ = shell.communicate(timeout=5 * spate_server.WAIT_SECONDS)
            finally:
                try:
                    os.killpg(shell.pid, signal.SIGKILL)  # a server that a block has left running
                except ProcessLookupError:
                    pass
        self.assertEqual(shell.returncode, 0, said)
        if MODEL:
            self.compare(said, expected)

    def compare(self, said, expected):
        pieces = dict(re.findall(r"^--- block (\d+)\n(.*?)(?=^--- )", said, re.M | re.S))
        for number, line in expected:
            self.assertIn(line, pieces[str(number)])


for one in GUIDES:
    setattr(Commands, f"test_{one}", lambda self, one=one: self.run_guide(one))


class Tables(unittest.TestCase):
    def test_every_need_is_known(self):
        for name in GUIDES:
            for need, why, _, _ in blocks(guide(name)):
                self.assertTrue(not need or (need in NEEDS and len(why) > 8), (name, need))

    def test_limits(self):
        """docs/security.md repeats values of limits.h."""
        header = (ROOT / "src/base/limits.h").read_text()
        limits = {name: eval(value) for name, value in re.findall(r"(LIMIT_\w+) = ([\d <]+)", header)}
        rows = re.findall(r"^\| `(LIMIT_\w+)` \| ([\d,]+) ?(KiB|MiB|GiB)? \|", guide("security"), re.M)
        self.assertGreater(len(rows), 20)
        for name, value, unit in rows:
            factor = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
            self.assertEqual(int(value.replace(",", "")) * factor, limits[name], name)

    def rules(self):
        """(fact, above or below, bound) of each rule, as the sources have it."""
        names = dict(re.findall(r"\[(FACT_\w+)\] = \{\s*\"(\w+)\"", (ROOT / "src/doctor/fact.c").read_text()))
        code = (ROOT / "src/doctor/doctor_rules.c").read_text()
        first = re.findall(r"^    \{\{(ABOVE|BELOW|IS)\((FACT_\w+)(?:, ([^)]*\)?))?\)", code, re.M)
        return [(names[fact], when, bound.strip()) for when, fact, bound in first]

    def test_rules(self):
        """docs/performance.md has each rule of spate doctor once, and no other."""
        rows = re.findall(r"^\| [^|]+ \| `(\w+)`(?: (above|below) ([\d.,]+ ?(?:%|s|ms|GiB|MiB|×)?))? \|", guide("performance"), re.M)
        self.assertEqual(sorted({fact for fact, _, _ in rows}), sorted({fact for fact, _, _ in self.rules()}))
        self.assertEqual(len(rows), len(self.rules()))
        shown = sorted((fact, when.upper() or "IS", self.number(bound)) for fact, when, bound in rows)
        self.assertEqual(shown, sorted((fact, when, self.value(bound)) for fact, when, bound in self.rules()))

    def number(self, text):
        unit = {"%": 0.01, "ms": 1e-3, "GiB": 1 << 30, "MiB": 1 << 20}
        match = re.match(r"([\d.,]+) ?(\S*)", text or "0")
        return round(float(match.group(1).replace(",", "")) * unit.get(match.group(2), 1), 9)

    def value(self, text):
        return round(float(eval(text.replace("GIBIBYTE", "(1 << 30)"))), 9) if text else 0

    def test_alerts(self):
        """Rules about a server that the alerts are about too have their bounds."""
        alerts = (ROOT / "deploy/prometheus/spate_rules.yml").read_text()
        bounds = {(fact, float(self.value(bound))) for fact, when, bound in self.rules() if bound and when == "ABOVE"}
        for fact, expression in (("queue_p99", r"queue_seconds:p99_5m > (\S+)"), ("first_token_p99", r"first_token_seconds:p99_5m > (\S+)"),
                                 ("gap_p99", r"between_tokens_seconds:p99_5m > (\S+)"), ("failed", r"failed:ratio_5m > (\S+)"),
                                 ("server_errors", r"errors:ratio_5m > (\S+)"), ("preemptions", r"> on \(job, instance\) (\S+) \*")):
            self.assertIn((fact, float(re.search(expression, alerts).group(1))), bounds)

    def test_sentences_lead_here(self):
        """docs/troubleshooting.md's sections are linked from its table."""
        page = guide("troubleshooting")
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.*)$", page, re.M)}
        self.assertEqual(set(re.findall(r"\]\(#([\w-]+)\)", page)) - anchors, set())

    def test_statuses(self):
        """docs/troubleshooting.md says of each status that the server may answer what to do."""
        answered = set(re.findall(r"^    \{(\d{3}), OF_", (ROOT / "src/server/answer_table.c").read_text(), re.M))
        rows = re.findall(r"^\| (\d{3}(?:, \d{3})*)(?:, and [^|]*)? \|", guide("troubleshooting"), re.M)
        self.assertGreater(len(answered), 15)
        self.assertEqual({status for row in rows for status in row.split(", ")}, answered)

    def test_sanitizers(self):
        """docs/security.md says what CI runs under ThreadSanitizer, and what the long run does."""
        script = (ROOT / "scripts/ci.sh").read_text()
        long, short = re.search(r'if \[ "\$long" = 1 \]; then\n  stage "build tsan".*?\n  (.*?)\nelse\n.*?\n  (.*?)\nfi', script, re.S).groups()
        self.assertEqual(long, 'stage "test tsan" tests_without_model tsan')  # all of them
        some = re.match(r'stage "test tsan \(([^)]*)\)"', short)[1]
        self.assertIn(f"threads ({some}) under ThreadSanitizer", " ".join(guide("security").split()))

    def test_linked(self):
        """The README leads to each guide."""
        readme = (ROOT / "README.md").read_text()
        for name in GUIDES:
            self.assertIn(f"(docs/{name}.md)", readme)


if __name__ == "__main__":
    spate_server.main(__name__)
