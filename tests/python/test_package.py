"""The package as others get it: typed, and a wheel that works away from this tree."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

import spate_python
import spate_server

CLIENTS = os.environ.get("SPATE_TEST_CLIENTS")


def run(*command, **options):
    answer = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


class Package(spate_python.LlmCase):
    @classmethod
    def setUpClass(cls):
        if not CLIENTS:
            raise unittest.SkipTest("SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
        super().setUpClass()
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="spate-python-"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.work)
        super().tearDownClass()

    def test_types(self):
        """Strictly, with a program that uses them, which also has mistakes that must be found."""
        program = spate_python.ROOT / "tests/python/typed_program.py"
        run(CLIENTS, "-m", "mypy", "--strict", "--warn-unused-ignores", "--cache-dir", self.work / "mypy", "-p", "spate",
            cwd=spate_python.PACKAGE)
        run(CLIENTS, "-m", "mypy", "--strict", "--warn-unused-ignores", "--cache-dir", self.work / "mypy", program,
            env=os.environ | {"MYPYPATH": str(spate_python.PACKAGE)})

    def test_wheel(self):
        source = self.work / "source"
        shutil.copytree(spate_python.PACKAGE, source)
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", CLIENTS)
        run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", self.work, source)
        wheel, = self.work.glob("spate-*-py3-none-any.whl")
        listed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
        files = {str(path.relative_to(spate_python.PACKAGE)) for path in (spate_python.PACKAGE / "spate").rglob("*")
                 if path.is_file() and path.suffix != ".pyc"}
        self.assertEqual(listed, files)
        run(*pip, "install", "--quiet", "--no-deps", "--target", self.work / "site", wheel)
        program = ("import spate, sys; llm = spate.LLM(sys.argv[1], threads=1); print(spate.__file__)\n"
                   "print(llm.generate('Once', spate.SamplingParams(max_tokens=5, temperature=0)).output_token_ids)")
        place, ids = run(CLIENTS, "-c", program, self.engine.path, cwd=self.work,
                         env=os.environ | {"PYTHONPATH": str(self.work / "site")}).splitlines()
        self.assertTrue(place.startswith(str(self.work / "site")))
        import spate
        wanted = self.llm.generate("Once", spate.SamplingParams(max_tokens=5, temperature=0)).output_token_ids
        self.assertEqual(ids, str(wanted))

    def test_versions_agree(self):
        import spate
        printed = run(spate_server.SPATE, "--version").split()
        self.assertIn(spate.__version__, printed)
        self.assertIn(f'version = "{spate.__version__}"', (spate_python.PACKAGE / "pyproject.toml").read_text())

    def test_without_the_library(self):
        program = "import spate\ntry:\n    spate.LLM('x')\nexcept ImportError as error:\n    print(error)"
        said = run(CLIENTS, "-c", program, env=os.environ | {"PYTHONPATH": str(spate_python.PACKAGE),
                                                             "SPATE_LIBRARY": "/nowhere/libspate.so"})
        self.assertRegex(said, r"^The Spate library does not load: .*/nowhere/libspate\.so.*\. Build it \(cmake .*\n$")


if __name__ == "__main__":
    spate_python.main(__name__)
