"""spate eval and spate quantize-table on the terminal: their figures, their files, their refusals."""
import json
import os
import subprocess
import xml.etree.ElementTree

import spate_server
from spate_server import ROOT, SPATE

FILES = ROOT / "tests/fixtures/eval"
TEXT = str(FILES / "text.txt")


def run(*command, env=()):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, env=os.environ | dict(env),
                          timeout=10 * spate_server.WAIT_SECONDS)


class Eval(spate_server.EngineCase):
    OPTIONS = ("--threads", "1", "--kv-cache-memory", "256M")

    def evaluate(self, *options):
        path = self.engine.folder / "results.json"
        answer = run(SPATE, "eval", self.engine.path, *self.OPTIONS, "--json", path, *options)
        self.assertEqual((answer.returncode, answer.stderr.count("spate:")), (0, 0), answer.stderr)
        return answer.stdout, json.loads(path.read_text())

    def test_text(self):
        """Against itself nothing is lost; what is printed is what the file has."""
        text, result = self.evaluate("--text", TEXT, "--window", "64", "--tokens", "100", "--against", self.engine.path)
        self.assertEqual((result["text"]["tokens"], result["text"]["window"]), (100, 64))
        self.assertEqual((result["against"]["mean_kl"], result["against"]["same_top"]), (0, 1))
        self.assertIn(f"{result['text']['perplexity']:.4f}", text)
        self.assertRegex(text, r"tokens/s +[\d.]+\n")

    def test_model(self):
        """A model to compare with is built in FP32."""
        _, result = self.evaluate("--text", TEXT, "--tokens", "20", "--against", self.engine.folder / "tiny",
                                  "--cache-dir", self.engine.folder / "cache")
        self.assertEqual(result["against"]["quant_mode"], "FP32")
        self.assertLess(result["against"]["mean_kl"], 1e-2)

    def test_choices(self):
        text, result = self.evaluate("--task", FILES / "mmlu.jsonl", "--shots", FILES / "mmlu.jsonl", "--limit", "3")
        task = result["task"]
        self.assertEqual((task["layout"], task["items"], len(task["samples"])), ("mmlu", 3, 3))
        self.assertRegex(text, rf"acc_norm +{task['acc_norm']:.4f} ")

    def test_answers(self):
        """Each answer is what spate generate says; what it says is compared with the file."""
        text, result = self.evaluate("--task", FILES / "gsm8k.jsonl")
        for line, sample in zip((FILES / "gsm8k.jsonl").read_text().splitlines(), result["task"]["samples"]):
            prompt = f"Question: {json.loads(line)['question']}\nAnswer:"
            alone = run(SPATE, "generate", self.engine.path, *self.OPTIONS, "-p", prompt, "--temperature", "0",
                        "--repetition-penalty", "1", "--stop", "Question:").stdout
            self.assertEqual(sample["text"], alone[:-1])
        self.assertRegex(text, r"exact_match_strict +0\.0000 ")

    def test_build(self):
        """What a build writes of its engine is what spate eval measures of it, and inspect shows it."""
        path = self.engine.folder / "measured.spate"
        command = (SPATE, "build", self.engine.folder / "tiny", "-o", path, "--quant-mode", "INT8_WEIGHT")
        answer = run(*command, "--eval", TEXT, "--eval-against", self.engine.path)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        manifest = json.loads(run(SPATE, "inspect", path, "--json").stdout)["manifest"]
        result = self.engine.folder / "again.json"
        again = run(SPATE, "eval", path, *self.OPTIONS, "--text", TEXT, "--against", self.engine.path, "--json", result)
        self.assertEqual(again.returncode, 0, again.stderr)
        for part, figure in (("text", "perplexity"), ("text", "tokens"), ("against", "mean_kl"), ("against", "same_top")):
            self.assertEqual(manifest["evaluation"][part][figure], json.loads(result.read_text())[part][figure])
        self.assertRegex(run(SPATE, "inspect", path).stdout, r"(?m)^ *mean_kl +[\d.]+$")
        self.assertEqual(run(SPATE, "generate", path, *self.OPTIONS, "-p", "a", "-n", "4").returncode, 0)
        foreign = self.engine.folder / "foreign.spate"
        self.assertEqual(run(SPATE, "build", ROOT / "tests/fixtures/model/qwen2", "-o", foreign).returncode, 0)
        late = run(*command[:4], self.engine.folder / "never.spate", "--eval", TEXT, "--eval-against", foreign)
        self.assertEqual(late.returncode, 1)
        self.assertIn("The engine cannot be evaluated: ", late.stderr)
        self.assertFalse((self.engine.folder / "never.spate").exists())
        for options, sentence in (
                (("--eval", "/nowhere"), "/nowhere cannot be opened: No such file or directory."),
                (("--eval", TEXT, "--eval-against", "/nowhere"), "/nowhere cannot be opened: No such file or directory."),
                (("--eval-against", self.engine.path),
                 "Two engines are compared on a text: name one for eval, or leave eval_against out.")):
            answer = run(*command, *options)
            self.assertEqual((answer.returncode, answer.stderr.splitlines()[-1]), (1, f"spate: {sentence}"))

    def test_plot(self):
        """A picture of this result and of another's, which an XML parser reads; or of files alone."""
        first, plot = self.engine.folder / "first.json", self.engine.folder / "plot.svg"
        self.evaluate("--text", TEXT, "--tokens", "30", "--against", self.engine.path)
        (self.engine.folder / "results.json").rename(first)
        self.evaluate("--text", TEXT, "--tokens", "30", "--plot", plot, "--result", first)
        svg = xml.etree.ElementTree.parse(plot).getroot()
        self.assertEqual(len(svg.findall("{http://www.w3.org/2000/svg}circle")), 4)
        alone = run(SPATE, "eval", "--plot", plot, "--result", first)
        self.assertEqual((alone.returncode, alone.stderr), (0, ""))
        svg = xml.etree.ElementTree.parse(plot).getroot()
        self.assertEqual(len(svg.findall("{http://www.w3.org/2000/svg}circle")), 2)

    def test_table(self):
        """Every mode is measured or says why not; the engines are gone afterwards."""
        table, plot = self.engine.folder / "table.json", self.engine.folder / "table.svg"
        place = self.engine.folder / "engines"
        place.mkdir()
        answer = run(SPATE, "quantize-table", self.engine.folder / "tiny", "--text", TEXT, "--tokens", "40", "--window",
                     "32", "--threads", "1", "--device", "cpu", "--repeat", "1", "--prompt-tokens", "16", "--decode-tokens",
                     "4", "--json", table, "--plot", plot, env={"TMPDIR": str(place)})
        self.assertEqual([json.loads(table.read_text())[name] for name in ("prompt_tokens", "decode_tokens")], [16, 4])
        self.assertEqual(answer.returncode, 0, answer.stderr)
        modes = {mode["name"]: mode for mode in json.loads(table.read_text())["modes"]}
        for name in ("FP32", "FP16", "BF16", "INT8_WEIGHT", "INT4_WEIGHT"):
            self.assertNotIn("problem", modes[name])
            self.assertEqual([one["batch"] for one in modes[name]["decode"]], [1, 16])
            self.assertRegex(answer.stdout, rf"(?m)^\| {name} \| .*\d % \|$" if name != "FP32" else r"(?m)^\| FP32 \| 1 ")
        self.assertNotIn("against", modes["FP32"]["evaluation"])
        self.assertLess(modes["FP16"]["evaluation"]["against"]["mean_kl"],
                        modes["INT4_WEIGHT"]["evaluation"]["against"]["mean_kl"])
        xml.etree.ElementTree.parse(plot)
        self.assertEqual(list(place.iterdir()), [])

    def test_refused_tables(self):
        tiny = self.engine.folder / "tiny"
        for options, sentence in (
                ((tiny,), "spate quantize-table needs --text FILE: what losses are measured on."),
                ((tiny, "--text", "/nowhere"), "/nowhere cannot be opened: No such file or directory."),
                ((self.engine.path, "--text", TEXT),
                 f"{self.engine.path} is an engine file, whose mode is decided; name the model.")):
            answer = run(SPATE, "quantize-table", *options)
            self.assertEqual((answer.returncode, answer.stderr.splitlines()[-1]), (1, f"spate: {sentence}"))
        answer = run(SPATE, "eval")
        self.assertEqual(answer.stderr, "spate: spate eval needs MODEL or ENGINE, or --plot FILE and --result FILE.\n")

    def test_refused(self):
        bad = self.engine.folder / "bad.jsonl"
        bad.write_text('{"question": "q", "answer": "#### 1"}\n{"question": "q", "answer": "1"}\n')
        for options, sentence in (
                ((), "An evaluation needs a text or a task."),
                (("--text", "/nowhere"), "/nowhere cannot be opened: No such file or directory."),
                (("--text", TEXT, "--json", "/nowhere/x"), "/nowhere/x cannot be written."),
                (("--text", TEXT, "--window", "-1"),
                 "A window of -1 tokens, at most 0 tokens and 0 questions; expected 0 or more of each."),
                (("--task", bad), f"{bad}, line 2: The \"answer\" does not end in \"#### \" and a number, as those of "
                                  "GSM8K do.")):
            answer = run(SPATE, "eval", self.engine.path, *self.OPTIONS, *options)
            self.assertEqual((answer.returncode, answer.stderr.splitlines()[-1]), (1, f"spate: {sentence}"))


if __name__ == "__main__":
    spate_server.main(__name__)
