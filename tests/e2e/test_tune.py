"""spate tune on a tiny model, with seconds of budget: what it prints and writes fits together and is what spate serve reads.
Which settings win is the machine's affair and decides nothing here; on made-up machines it is
tests/unit/cli/test_tune_search.c."""
import json
import os
import pathlib
import re
import signal
import shutil
import subprocess
import tempfile
import time
import unittest

import spate_server
from spate_server import SPATE

SETTINGS = ("threads", "max-num-tokens", "max-batch-size", "block-size", "opt-batch-size")
FIGURES = ("requests/s within the SLO", "% within the SLO", "requests/s", "output tokens/s", "ttft p50, ms", "ttft p90, ms",
           "itl p50, ms", "itl p90, ms", "e2e p50, ms")
FAULTS = os.environ.get("SPATE_FAULT_LIBRARY")
MARK = "# Written by spate tune"


class Tune(spate_server.EngineCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-tune-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.output = self.folder / "tuned.yaml"

    def environment(self):
        return {k: v for k, v in os.environ.items() if not k.startswith("SPATE_")}

    def run_spate(self, *command, cwd=None):
        return subprocess.run((SPATE, *command), capture_output=True, text=True, env=self.environment(), cwd=cwd,
                              timeout=4 * spate_server.WAIT_SECONDS)

    def tune(self, *options, model=None, budget=5, cwd=None):
        """The answer of a run that had time enough: a slow machine says how much it needs."""
        before = self.output.read_text() if self.output.exists() else None
        for _ in range(4):
            answer = self.run_spate("tune", model or self.engine.path, "-o", self.output, "--kv-cache-memory", "256M", *options,
                                    "--budget", f"{budget}s", cwd=cwd)
            short = re.search(r"is too short .* give --budget (\d+)s at least|Not one measurement came to its end", answer.stderr)
            if not short:
                break
            self.assertEqual(self.output.read_text() if self.output.exists() else None, before)
            budget = 2 * int(short[1] or 2 * budget) + 1
        self.assertEqual(answer.returncode, 0, answer.stderr)
        return answer.stdout

    def rows(self, text, names):
        found = {}
        for name in names:
            row = re.search(rf"(?m)^{re.escape(name)} +(-|\d+(?:\.\d+)?) +(-|\d+(?:\.\d+)?)(?:  (.*))?$", text)
            self.assertIsNotNone(row, (name, text))
            found[name] = row.groups()
        return found

    def printed(self, path):
        """{name: value as written} of what spate config says that the file sets."""
        answer = self.run_spate("config", "--print", "--config", path)
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))
        lines = [re.fullmatch(r"(#?)([a-z-]+): (.*?) +# (.*)", line) for line in answer.stdout.splitlines()]
        return {line[2]: line[3] for line in lines if not line[1]}

    def check(self, text, given):
        """The table, and the file that says the same."""
        names = [name for name in SETTINGS if name not in given] + (["target-itl-ms"] if "itl=" in text else [])
        settings = self.rows(text, names)
        changed = {name: best for name, (default, best, _) in settings.items() if best != default}
        self.assertEqual(self.printed(self.output), {"model": json.dumps(str(self.engine.path)), **given, **changed})
        for name, (default, best, tried) in settings.items():
            values = re.findall(r"(\d+): (?:[\d.]+|within the SLO|lost)", tried or "")
            self.assertEqual(sorted(set(values), key=lambda v: int(v) or 1e9), values)
            self.assertTrue(best == default or best in values, text)
        self.assertTrue(any(tried for _, _, tried in settings.values()), text)
        self.assertEqual("The defaults stay" in text, not changed, text)
        self.assertTrue(self.output.read_text().startswith(MARK))
        return settings

    def test_chat(self):
        text = self.tune("--slo", "ttft=60000,itl=9000", "--clients", "2", "--backend", "cpu", cwd=self.engine.folder,
                         model=self.engine.path.name)
        self.check(text, {"kv-cache-memory": str(256 << 20), "backend": '"cpu"'})
        figures = self.rows(text, FIGURES)
        self.assertEqual(figures["% within the SLO"][:2], ("100.00", "100.00"))
        self.assertEqual(figures["requests/s"][:2], figures["requests/s within the SLO"][:2])
        self.assertRegex(text, r"^cpu: .*; workload chat, 2 clients, \d+ requests a run, SLO ttft=60000,itl=9000; \d+ runs in \d+ s\n")
        self.assertTrue(text.endswith(f"{self.output} has these settings: spate serve --config {self.output}\n"))
        process = subprocess.Popen((SPATE, "serve", "--config", self.output, "--port", "0"), stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True, env=self.environment())
        try:
            self.assertRegex(process.stdout.readline(), r"^Serving tiny on http://127\.0\.0\.1:\d+ ")
        finally:
            process.kill()
            process.communicate()

    def test_settings_that_are_given(self):
        """They stay, wherever they come from; a key is not written; an own file is written again."""
        config = self.folder / "mine.yaml"
        config.write_text("threads: 1\nport: 0\napi-key: sesame\nmax-batch-size: 8\nenable-block-reuse: false\n")
        self.output.write_text(f"{MARK} 0.0.1\nport: 9\n")
        text = self.tune("--config", config, "--workload", "batch", "--clients", "3", "--backend", "null", "--seed", "7",
                         "--block-size", "32", budget=3)
        given = {"threads": "1", "port": "0", "max-batch-size": "8", "enable-block-reuse": "false", "block-size": "32",
                 "backend": '"null"', "kv-cache-memory": str(256 << 20)}
        settings = self.check(text, given)
        self.assertEqual(list(settings), ["max-num-tokens", "opt-batch-size"])
        self.assertEqual(settings["opt-batch-size"][0], "8")
        self.assertNotIn("sesame", self.output.read_text())
        self.assertIn("# api-key: is set", self.output.read_text())
        self.assertIn("SLO none, so output tokens/s count", text)
        self.rows(text, FIGURES[2:])
        self.assertNotIn(FIGURES[0], text)

    def test_a_file_of_requests_and_a_rate(self):
        trace = self.folder / "trace\nport: 1"
        trace.write_text("".join(json.dumps({"client": i % 3, "input_tokens": 9, "max_tokens": 5}) + "\n" for i in range(9)))
        text = self.tune("--workload", trace, "--backend", "null", "--slo", "e2e=60000", budget=2)
        self.check(text, {"backend": '"null"', "kv-cache-memory": str(256 << 20)})
        self.assertIn("; requests of a file, SLO e2e=60000; ", text)
        self.output.unlink()
        text = self.tune("--workload", "summarize", "--rate", "200", "--backend", "null", budget=3)
        self.assertIn("; workload summarize, 200 requests a second, ", text)

    def test_an_slo_that_cannot_be_kept(self):
        text = self.tune("--slo", "e2e=0.001", "--clients", "1", "--backend", "null", budget=2)
        self.assertIn("None of what was tried keeps the SLO for nine requests in ten: lower the load.", text)

    def test_ctrl_c_keeps_the_best(self):
        for seconds, budget in ((2, "1m"), (8, "1m"), (30, "1m"), (120, "10m")):
            process = subprocess.Popen((SPATE, "tune", self.engine.path, "-o", self.output, "--kv-cache-memory", "256M",
                                        "--backend", "null", "--clients", "1", "--budget", budget), stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True, env=self.environment())
            self.assertEqual(process.stderr.readline(), "tune ...\n")
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            text, errors = process.communicate(timeout=spate_server.WAIT_SECONDS)
            if process.returncode == 0:
                break
            self.assertEqual((process.returncode, text), (1, ""))
            self.assertRegex(errors, r"^spate: Interrupted")
            self.assertFalse(self.output.exists())
        self.assertEqual(process.returncode, 0, errors)
        self.check(text, {"backend": '"null"', "kv-cache-memory": str(256 << 20)})

    @unittest.skipIf(spate_server.SANITIZED or not FAULTS, "SKIPPED: SPATE_FAULT_LIBRARY does not name tests/fault/fault.c, or a "
                                                           "sanitizer is in its way")
    def test_ctrl_c_in_the_first_requests(self):
        """They are on the bar, and so within the budget and Ctrl-C: an engine that stands still in them holds nobody."""
        stall, report = self.folder / "stall", self.folder / "report"
        stall.touch()
        faults = {"LD_PRELOAD": FAULTS, "SPATE_FAULT": "engine-stall:1", "SPATE_FAULT_STALL": str(stall), "SPATE_FAULT_REPORT": str(report)}
        process = subprocess.Popen((SPATE, "tune", self.engine.path, "-o", self.output, "--kv-cache-memory", "256M", "--backend", "cpu"),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment() | faults)
        self.addCleanup(process.kill)
        spate_server.wait_for(report.exists, "the engine stands still")
        self.assertEqual(process.stderr.readline(), "tune ...\n")
        process.send_signal(signal.SIGINT)
        stall.unlink()
        self.assertEqual(process.communicate(timeout=spate_server.WAIT_SECONDS), ("", "spate: Interrupted.\n"))
        self.assertEqual(process.returncode, 1)

    def test_nothing_left_to_choose(self):
        """One CPU has one number of threads; that is no matter of the budget."""
        one = {min(os.sched_getaffinity(0))}
        given = [word for name in SETTINGS if name != "threads" for word in (f"--{name}", "16")]
        answer = subprocess.run((SPATE, "tune", self.engine.path, "-o", self.output, "--kv-cache-memory", "256M", "--backend", "null", *given),
                                capture_output=True, text=True, env=self.environment(), preexec_fn=lambda: os.sched_setaffinity(0, one),
                                timeout=spate_server.WAIT_SECONDS)
        self.assertEqual((answer.returncode, answer.stdout, answer.stderr.splitlines()[-1]), (
            1, "", "spate: Every setting that would be tried is given already, or has a single value here: leave one out."))

    def test_refused(self):
        other = self.folder / "other.yaml"
        other.write_text("port: 1\n")
        bad = self.folder / "bad"
        bad.write_text("{}\n")
        late, large = self.folder / "late", self.folder / "large"
        late.write_text('{"at": 60, "input_tokens": 1, "max_tokens": 1}\n')
        large.write_text('{"input_tokens": 70000, "max_tokens": 1}\n')
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        everything = [word for name in SETTINGS for word in (f"--{name}", "16")]
        for options, sentence in (
                (("--budget", "0"), '--budget is "0", expected a time such as 90s, 5m or 1h, from 1s to 24h.'),
                (("--budget", "5mm"), '--budget is "5mm", expected a time such as 90s, 5m or 1h, from 1s to 24h.'),
                (("--budget", "nan"), '--budget is "nan", expected a time such as 90s, 5m or 1h, from 1s to 24h.'),
                (("--budget", "25h"), '--budget is "25h", expected a time such as 90s, 5m or 1h, from 1s to 24h.'),
                (("--workload", "chit"), '--workload is "chit", expected chat, summarize, batch or a file of requests.'),
                (("--workload", bad, "--clients", "2"), "A file of requests has its own times: leave --clients and --rate out."),
                (("--workload", bad), f'{bad}: request 1: expected an object with "prompt" or "input_tokens", "max_tokens" and, if '
                                      'wanted, "at" in seconds and "client" below 65536.'),
                (("--workload", self.folder), f"{self.folder} "),
                (("--clients", "0"), '--clients is "0", expected a whole number from 1 to 65536.'),
                (("--clients", "1,2"), '--clients is "1,2", expected a whole number from 1 to 65536.'),
                (("--rate", "-1"), '--rate is "-1", expected requests a second, more than 0 and at most 100000.'),
                (("--rate", "1", "--clients", "1"), "--clients and --rate exclude each other: a loop is closed or open."),
                (("--slo", "ttft"), '--slo is "ttft", expected milliseconds such as ttft=400,itl=30,e2e=5000, any of the three.'),
                (("-o", other), f"{other} is there already, and spate tune did not write it: name another with -o."),
                (("-o", self.folder), f"{self.folder} is there already, and spate tune did not write it: name another with -o."),
                (("-o", pipe), f"{pipe} is there already, and spate tune did not write it: name another with -o."),
                (("--workload", late, "--budget", "1"), "Not one measurement came to its end: give a longer --budget, or a "
                                                        "lighter load."),
                (("--workload", large), "No request was answered: The server answered 400: "),
                (("-o", "/nowhere/x"), "/nowhere/x cannot be written."),
                (("--max-seq-len", "9"), f"max_seq_len was given with {self.engine.path}, an engine file, whose build has decided "
                                         "it: leave it out, or give the model instead."),
                (("--max-batch-size", "8", "--max-num-tokens", "4"),
                 "max_num_tokens is 4 and max_batch_size is 8; a step takes a token of each sequence: raise max_num_tokens or "
                 "lower max_batch_size."),
                (everything, "Every setting that would be tried is given already: leave one out."),
                (("--tensor-parallel-size", "2"), "--tensor-parallel-size above 1 does not exist yet: one device serves a model. "
                                                  "Leave it out."),
                (("--bugdet", "1m"), 'tune has no option "--bugdet"; the nearest is --budget: see spate tune --help.')):
            answer = self.run_spate("tune", self.engine.path, "-o", self.output, "--kv-cache-memory", "256M", "--backend", "null",
                                    *map(str, options))
            self.assertEqual((answer.returncode, answer.stdout), (1, ""), options)
            self.assertTrue(answer.stderr.splitlines()[-1].startswith(f"spate: {sentence}"), (options, answer.stderr))
            self.assertFalse(self.output.exists())
        self.assertEqual(other.read_text(), "port: 1\n")
        config = self.folder / "mine.yaml"
        config.write_text("budget: 1m\n")
        answer = self.run_spate("tune", self.engine.path, "--config", config)
        self.assertRegex(answer.stderr, r'^spate: .*/mine\.yaml:1: There is no setting "budget"')


if __name__ == "__main__":
    spate_server.main(__name__)
