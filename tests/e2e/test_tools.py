"""The examples say what spate generate says, the library shows what its header does, and the tools print what they
promise."""
import json
import os
import pathlib
import re
import shutil
import subprocess

import spate_server
from spate_server import ROOT, SPATE

EXAMPLES = pathlib.Path(os.environ.get("EXAMPLES", ROOT / "build/release"))
EMBED = EXAMPLES / "embed"


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=spate_server.WAIT_SECONDS)


class Tools(spate_server.EngineCase):
    def test_embed(self):
        ours = run(SPATE, "generate", self.engine.path, "-p", "Once", "-n", "32", "--temperature", "0")
        theirs = run(EMBED, self.engine.path, "Once")
        self.assertEqual((theirs.returncode, theirs.stdout), (0, ours.stdout))
        self.assertLessEqual(len((ROOT / "examples/embed.c").read_text().splitlines()), 60)

    def test_embed_fails_with_a_sentence(self):
        answer = run(EMBED, "/nowhere", "Once")
        self.assertEqual(answer.returncode, 1)
        self.assertRegex(answer.stderr, r"^embed: .*/nowhere.*\.\n$")

    def test_many_prompts(self):
        """Eight at once, each with the answer that it has alone."""
        prompts = [f"{word} upon a" for word in ("Once", "Twice", "", "a", "über", "1", "b b", "Once upon a time there")]
        answer = run(EXAMPLES / "many_prompts", self.engine.path, *prompts)
        alone = [f"{p}|" + run(SPATE, "generate", self.engine.path, "-p", p, "-n", "32", "--temperature", "0").stdout
                 for p in prompts]
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))
        self.assertEqual(len(answer.stdout), len("".join(alone)))
        for one in alone:
            self.assertIn(one, answer.stdout)
        self.assertEqual(run(EXAMPLES / "many_prompts", self.engine.path).returncode, 0)
        self.assertLessEqual(len((ROOT / "examples/many_prompts.c").read_text().splitlines()), 100)
        self.assertEqual(run(EXAMPLES / "many_prompts", "/nowhere").returncode, 1)

    def test_exported_symbols(self):
        """libspate.so shows the functions of the public headers, as include/spate.symbols lists them, and nothing else. A
        line that goes from the list breaks programs."""
        listed = (ROOT / "include/spate.symbols").read_text().split()
        self.assertEqual(listed, sorted(set(listed)))
        headers = "".join((ROOT / "include" / name).read_text() for name in ("spate.h", "spate_embed.h", "spate_image.h", "spate_lora.h", "spate_text.h",
                                                                             "spate_tools.h"))
        self.assertEqual(sorted(re.findall(r"^SPATE_API [^;]*?\b(spate_\w+)\(", headers, re.M)), listed)
        if not shutil.which("nm"):
            self.skipTest("SKIPPED: there is no nm to list the symbols of libspate.so with")
        lines = run("nm", "-D", "--defined-only", EXAMPLES / "libspate.so").stdout.splitlines()
        shown = {line.split()[-1] for line in lines}
        counters = {"mangle_path"}  # of a build that counts lines; with __ begin those of sanitizers, too
        self.assertEqual({name for name in shown if not name.startswith("__")} - counters, set(listed))

    def test_names_of_one_room(self):
        """No two archives define one name: the linker would take either, and say nothing."""
        if not shutil.which("nm"):
            self.skipTest("SKIPPED: there is no nm to list the symbols of the rooms with")
        archives = sorted(EXAMPLES.glob("**/libroom_*.a"))
        self.assertGreater(len(archives), 10)
        names = {}
        for archive in archives:
            for line in run("nm", "--defined-only", "--extern-only", archive).stdout.splitlines():
                kind, _, name = line.partition(" ")[2].partition(" ")
                if kind in ("T", "D", "B", "R") and not name.startswith("__"):  # __: a sanitizer's
                    names.setdefault(name, set()).add(archive.name)
        self.assertEqual({name: rooms for name, rooms in names.items() if len(rooms) > 1}, {})

    def test_tokenize(self):
        lines = run(SPATE, "tokenize", self.engine.path, "-p", "a b\n").stdout.splitlines()
        tokens = json.loads(run(SPATE, "tokenize", self.engine.path, "-p", "a b\n", "--json").stdout)["tokens"]
        self.assertEqual([int(line.split()[0]) for line in lines], [token["id"] for token in tokens])
        self.assertEqual("".join(token["text"] for token in tokens), "a b\n")

    def test_inspect(self):
        text = run(SPATE, "inspect", self.engine.path).stdout
        facts = json.loads(run(SPATE, "inspect", self.engine.path, "--json").stdout)
        self.assertEqual(facts["kind"], "engine")
        for name in facts:
            self.assertIn(name, text)
        for weight in facts["manifest"]["weights"]:
            self.assertIn(weight["name"], text)

    def test_bench(self):
        sizes = ("--prompt-tokens", "8", "--decode-tokens", "4", "--repeat", "1", "--backend", "null")
        report = json.loads(run(SPATE, "bench", self.engine.path, "--json", *sizes).stdout)
        self.assertGreater(report["prefill"]["tokens_per_second"], 0)
        text = run(SPATE, "bench", self.engine.path, *sizes).stdout
        self.assertRegex(text, r"prefill +[\d.]+ +[\d.]+ +\d+ %")
        self.assertRegex(text, r"decode +[\d.]+ +[\d.]+ +\d+ %")

    def test_zero_is_given(self):
        """An option that is 0 is not one that was left out."""
        for command, options, sentence in (
                ("generate", ("-p", "a", "-n", "0"), "max_tokens is 0, expected 1 to max_seq_len 65536."),
                ("generate", ("-p", "a", "--seed", "12K"), '--seed is "12K", expected a whole number from 0 to '
                                                          "9223372036854775807."),
                ("generate", ("-p", "a", "--seed", str(1 << 63)), f'--seed is "{1 << 63}", expected a whole number from 0 '
                                                                  f"to {(1 << 63) - 1}."),
                ("bench", ("--repeat", "0"), "A bench of batch 1, 512 prompt and 128 decode tokens, 0 runs; expected at "
                                             "least 1, 1, 0 and 1 to 100.")):
            answer = run(SPATE, command, self.engine.path, "--kv-cache-memory", "256M", *options)
            self.assertEqual((answer.returncode, answer.stderr), (1, f"spate: {sentence}\n"))

    def test_serve_refuses_options(self):
        for options, sentence in (
                (("--log-level", "loud"), 'spate: --log-level is "loud", expected error, warning, info or debug.\n'),
                (("--log-format", "xml"), 'spate: --log-format is "xml", expected text or json.\n'),
                (("--tensor-parallel-size", "2"), "spate: --tensor-parallel-size above 1 does not exist yet: "
                                                  "one device serves a model. Leave it out.\n"),
                (("--max-seq-len", "64"), f"spate: max_seq_len was given with {self.engine.path}, an engine file, whose "
                                          "build has decided it: leave it out, or give the model instead.\n"),
                (("--timeout-keep-alive", "-1"), 'spate: --timeout-keep-alive is "-1", expected a whole number from 0 to 86400.\n')):
            answer = run(SPATE, "serve", self.engine.path, "--port", "0", *options)
            self.assertEqual((answer.returncode, answer.stderr), (1, sentence))


if __name__ == "__main__":
    spate_server.main(__name__)
