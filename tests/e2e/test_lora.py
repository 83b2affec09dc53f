"""Adapters that a server takes by name, by the logits that peft computes with them (tools/make_adapter_fixtures.py): each
kind alone, several at once, beside one another and beside the plain model, while they come and go and others are
broken."""
import concurrent.futures
import json
import math
import os
import pathlib
import random
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import spate_server
from spate_server import JSON, ROOT, SPATE, Server, wait_for

ADAPTERS = ROOT / "tests/fixtures/adapter"
KEY = {"Authorization": "Bearer open"} | JSON
KINDS = sorted(path.parent.name for path in ADAPTERS.glob("*/case.json"))
TRAINED = ROOT / "tests/fixtures/trained"
MODEL = os.environ.get("SPATE_TEST_MODEL")
CHURN_SECONDS = int(os.environ.get("LORA_CHURN_SECONDS", "10"))
# What an FP32 engine's own sums may differ by, and where two tokens are so near that either may come first.
TOLERANCE = 2e-3


def case(name):
    return json.loads((ADAPTERS / name / "case.json").read_text())


def fixture(path):
    """The tokens, and the log-probabilities of what follows each."""
    blob = path.read_bytes()
    count, vocab = struct.unpack_from("<ii", blob, 8)
    tokens = list(struct.unpack_from(f"<{count}i", blob, 16))
    rows = []
    for i in range(count):
        logits = struct.unpack_from(f"<{vocab}f", blob, 16 + 4 * count + 4 * vocab * i)
        total = math.log(sum(math.exp(x - max(logits)) for x in logits)) + max(logits)
        rows.append([x - total for x in logits])
    return tokens, rows


class Base:
    """An FP32 engine of one of the models, and a folder of its adapters."""

    def __init__(self, model, *options):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-lora-"))
        self.adapters = self.folder / "adapters"
        self.path = self.folder / f"{model}.spate"
        command = [SPATE, "build", ROOT / "tests/fixtures/model" / model, "-o", self.path,
                   *(() if "--quant-mode" in options else ("--quant-mode", "FP32")),
                   *(("--target", "cuda") if spate_server.CPU == "cuda" else ()), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.adapters.mkdir()
        for name in KINDS:
            if case(name)["model"] == model:
                shutil.copytree(ADAPTERS / name, self.adapters / name)
                if (ADAPTERS / name / "adapter.gguf").exists():
                    shutil.copy(ADAPTERS / name / "adapter.gguf", self.adapters / f"{name}.gguf")

    def remove(self):
        shutil.rmtree(self.folder)


class LoraCase(unittest.TestCase):
    def base(self, model, *options):
        base = Base(model, *options)
        self.addCleanup(base.remove)
        return base

    def serve(self, base, *options, backend="cpu"):
        server = Server(base, "--lora-dir", str(base.adapters), "--admin-key", "open", *options, backend=backend)
        self.addCleanup(server.__exit__)
        return server

    def ask(self, server, path, fields, status=200, headers=JSON):
        got, _, body = server.request("POST", path, json.dumps(fields), headers)
        answer = json.loads(body)
        self.assertEqual(got, status, answer)
        return answer

    def refused(self, server, path, fields, status, headers=JSON):
        error = self.ask(server, path, fields, status, headers)["error"]
        return error["message"] if isinstance(error, dict) else error

    def digests(self, base):
        """Gives the base the adapters "mine", for which tools/adapter_base.py has written whose it is, and "other", of another
        base; the digests of both."""
        for name in ("mine", "other"):
            shutil.copytree(ADAPTERS / "dora", base.adapters / name)
        subprocess.run([sys.executable, ROOT / "tools/adapter_base.py", base.path, base.adapters / "mine", "--spate", SPATE], check=True,
                       stdout=subprocess.DEVNULL)
        digest = json.loads((base.adapters / "mine/adapter_config.json").read_text())["spate_base_digest"]
        other = digest[:-1] + ("0" if digest[-1] != "0" else "1")
        path = base.adapters / "other/adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"spate_base_digest": other}))
        return digest, other

    def choice(self, server, tokens, **fields):
        return self.ask(server, "/v1/completions", {"prompt": tokens, "max_tokens": 1, "temperature": 0, "ignore_eos": True,
                                                    "prompt_logprobs": 1, "logprobs": 1} | fields)["choices"][0]

    def assert_predicts(self, choice, tokens, rows, what):
        """At each place of the prompt its own token has the probability that it should, and the likeliest is that."""
        self.assertEqual(len(choice["prompt_logprobs"]), len(tokens), what)
        for i, told in enumerate(choice["prompt_logprobs"][1:]):
            self.assertAlmostEqual(told[str(tokens[i + 1])]["logprob"], rows[i][tokens[i + 1]], delta=TOLERANCE, msg=what)
            best = max(told, key=lambda token: told[token]["logprob"])
            self.assertGreater(rows[i][int(best)], max(rows[i]) - TOLERANCE, what)
        self.assertAlmostEqual(choice["logprobs"]["token_logprobs"][0], max(rows[-1]), delta=TOLERANCE, msg=what)


class Kinds(LoraCase):
    def test_each_kind(self):
        """By lora_request, and by model where the scale is 1."""
        for model in sorted({case(name)["model"] for name in KINDS}):
            server = self.serve(self.base(model), "--max-loras", "2")
            for name in [name for name in KINDS if case(name)["model"] == model]:
                for scale in case(name)["scales"]:
                    tokens, rows = fixture(ADAPTERS / name / f"{scale:g}.logits")
                    wanted = {"lora_request": {"lora_name": name, "lora_scale": scale}}
                    self.assert_predicts(self.choice(server, tokens, **wanted), tokens, rows, f"{name} × {scale}")
                    if (ADAPTERS / name / "adapter.gguf").exists():
                        wanted["lora_request"]["lora_name"] += ".gguf"
                        self.assert_predicts(self.choice(server, tokens, **wanted), tokens, rows, f"{name}.gguf × {scale}")
                    if scale == 1:
                        self.assert_predicts(self.choice(server, tokens, model=name), tokens, rows, name)
                self.assertEqual(self.choice(server, tokens, lora_request={"lora_name": name, "lora_scale": 0}),
                                 self.choice(server, tokens))
            server.__exit__()

    def test_experts_beside_others(self):
        """Adapters of one mixture's experts, in whatever steps they meet: each has the numbers that it has alone."""
        server = self.serve(self.base("qwen3_moe"), "--max-loras", "2")
        asked = [{}] + [{"lora_request": {"lora_name": name, "lora_scale": scale}} for name in ("experts", "parameters_qwen3_moe")
                        for scale in (1, -2)]
        tokens, _ = fixture(ADAPTERS / "experts/1.logits")
        alone = [self.choice(server, tokens, **fields) for fields in asked]
        with concurrent.futures.ThreadPoolExecutor(4 * len(asked)) as pool:
            beside = list(pool.map(lambda fields: self.choice(server, tokens, **fields), 4 * asked))
        self.assertEqual(beside, 4 * alone)
        self.assertEqual(len({json.dumps(choice["prompt_logprobs"]) for choice in alone}), len(asked))

    def test_experts_in_turn(self):
        """One slot, which adapters of experts have by turns; one is let go of, and another comes by its name."""
        server = self.serve(self.base("qwen3_moe"), "--max-loras", "1")

        def predicts(name, of):
            tokens, rows = fixture(ADAPTERS / of / "1.logits")
            self.assert_predicts(self.choice(server, tokens, lora_request={"lora_name": name}), tokens, rows, name)

        for name in ("experts", "parameters_qwen3_moe", "experts"):
            predicts(name, name)
        tokens, _ = fixture(ADAPTERS / "experts/1.logits")
        plain = self.choice(server, tokens)
        self.ask(server, "/v1/unload_lora_adapter", {"lora_name": "experts"}, headers=KEY)
        self.refused(server, "/v1/completions", {"prompt": tokens, "lora_request": {"lora_name": "experts"}}, 404)
        self.ask(server, "/v1/load_lora_adapter", {"lora_name": "experts", "lora_path": "parameters_qwen3_moe"}, headers=KEY)
        predicts("experts", "parameters_qwen3_moe")
        self.assertEqual(self.choice(server, tokens), plain)

    def test_calibrated(self):
        """On a base with factors folded into it (parity/test_folded_adapters has the numbers), which says what it was made of."""
        base = self.base("llama3", "--quant-mode", "INT8_WEIGHT", "--quant-algo", "AWQ")
        digest, other = self.digests(base)
        server = self.serve(base)
        tokens, rows = fixture(ADAPTERS / "dora/1.logits")
        plain, with_it = self.choice(server, tokens), self.choice(server, tokens, model="mine")

        def loss(choice):
            return sum((told[str(token)]["logprob"] - row[token]) ** 2
                       for told, token, row in zip(choice["prompt_logprobs"][1:], tokens[1:], rows))

        self.assertLess(loss(with_it), loss(plain) / 10)
        self.assertEqual(self.choice(server, tokens, lora_request={"lora_name": "mine", "lora_scale": 0}), plain)
        self.assertEqual(self.refused(server, "/generate", {"prompt": "a", "lora_request": {"lora_name": "other"}}, 400),
                         f"other/adapter_model.safetensors: The adapter is for the base model with the digest {other}, and this "
                         f"one has {digest}: the weights are others.")

    def test_several_at_once(self):
        mixed = json.loads((ADAPTERS / "mixed.json").read_text())
        tokens, rows = fixture(ADAPTERS / "mixed.logits")
        server = self.serve(self.base(mixed["model"]))
        wanted = [{"lora_name": name, "lora_scale": scale} for name, scale in mixed["adapters"]]
        choice = self.choice(server, tokens, lora_request=wanted)
        self.assert_predicts(choice, tokens, rows, "mixed")
        self.assertEqual(self.choice(server, tokens, lora_request=wanted[::-1]), choice)
        halves = [half | {"lora_scale": half["lora_scale"] / 2} for half in wanted]
        self.assertEqual(self.choice(server, tokens, lora_request=halves + halves), choice)  # of one name they are added up


class Trained(LoraCase):
    def serve_model(self, *options):
        """The adapter's own base, whatever its name."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-lora-"))
        self.addCleanup(shutil.rmtree, folder)
        base = type("Model", (), {"path": folder / "smollm2.spate", "adapters": TRAINED})
        subprocess.run([SPATE, "build", MODEL, "-o", base.path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self.serve(base, *options)

    @unittest.skipUnless(MODEL, "SPATE_TEST_MODEL names the model that the adapter was trained for")
    def test_shouting(self):
        """tools/train_adapter.py has taught it to answer in upper case: of questions that it has not seen, too, next to plain
        requests in the same batch, which have the bytes that they have alone."""
        server = self.serve_model("--threads", "2")
        cases = json.loads((TRAINED / "shouting/answers.json").read_text())

        def answer(question, **fields):
            fields |= {"messages": [{"role": "user", "content": question}], "max_tokens": 20, "temperature": 0}
            return self.ask(server, "/v1/chat/completions", fields)["choices"][0]["message"]["content"]

        questions = [case["question"] for case in cases]
        plain = [answer(question) for question in questions]
        with concurrent.futures.ThreadPoolExecutor(2 * len(cases)) as pool:
            loud = [pool.submit(answer, question, model="shouting") for question in questions]
            beside = [pool.submit(answer, question) for question in questions]
            loud, beside = [one.result() for one in loud], [one.result() for one in beside]
        self.assertEqual(beside, plain)
        self.assertEqual([answer(question, lora_request={"lora_name": "shouting", "lora_scale": 0}) for question in questions], plain)
        for case, shouted, said in zip(cases, loud, plain):
            letters = [letter for letter in shouted if letter.isalpha()]
            self.assertGreater(len(letters), 20, case)
            self.assertGreater(sum(letter.isupper() for letter in letters), 0.9 * len(letters), (case, shouted))
            self.assertLess(sum(letter.isupper() for letter in said), 0.3 * len(said), said)
        self.assertGreaterEqual(sum(shouted[:12] == case["shouting"][:12] for case, shouted in zip(cases, loud)), len(cases) // 2)


class Merged(LoraCase):
    REFUSED = {"tied": "The embedding and the head are one matrix", "lora_bias": "which has none: it cannot be merged."}

    def predicts(self, model, name, scale, *options, delta=TOLERANCE):
        base = self.base(model, "--merge-lora", f"{ADAPTERS / name}={scale}", *options)
        server = Server(base, backend="cpu")
        try:
            tokens, rows = fixture(ADAPTERS / name / f"{scale:g}.logits")
            told = self.choice(server, tokens)["prompt_logprobs"]
            for i in range(1, len(tokens)):
                self.assertAlmostEqual(told[i][str(tokens[i])]["logprob"], rows[i - 1][tokens[i]], delta=delta, msg=name)
        finally:
            server.__exit__()

    def test_each_kind(self):
        for name in KINDS:
            if name not in self.REFUSED:
                self.predicts(case(name)["model"], name, case(name)["scales"][-1])

    def test_rounded(self):
        """Each number of the merged matrices is rounded once: as far from peft's as the plain model's are with the adapter. Some
        CPUs round what is multiplied with them as well."""
        self.predicts("llama3", "all", 1, "--quant-mode", "BF16", delta=0.6)

    def test_base_digest(self):
        """What the checkpoint has is the digest of any engine of it; and no engine with something merged into it has one."""
        base = self.base("llama3", "--quant-mode", "INT8_WEIGHT")
        digest, other = self.digests(base)

        def merge(name, path, *options):
            command = [SPATE, "build", ROOT / "tests/fixtures/model/llama3", "-o", path, "--merge-lora", base.adapters / name, *options]
            return subprocess.run(command, capture_output=True, text=True)

        refused = merge("other", base.folder / "refused.spate", "--quant-mode", "BF16")
        self.assertEqual(refused.returncode, 1)
        self.assertIn(f"merge_lora: {base.adapters}/other/adapter_model.safetensors: The adapter is for the base model with the digest "
                      f"{other}, and this one has {digest}: the weights are others.", refused.stderr)
        self.assertFalse((base.folder / "refused.spate").exists())
        merged = merge("mine", base.folder / "merged.spate")
        self.assertEqual(merged.returncode, 0, merged.stderr)
        tool = [sys.executable, ROOT / "tools/adapter_base.py", base.folder / "merged.spate", base.adapters / "mine", "--spate", SPATE]
        self.assertIn("has an adapter merged into it", subprocess.run(tool, capture_output=True, text=True).stderr)

    def test_refused(self):
        base = self.base("llama3")
        for name, sentence in self.REFUSED.items():
            command = [SPATE, "build", ROOT / "tests/fixtures/model" / case(name)["model"], "-o", base.folder / "x.spate"]
            answer = subprocess.run([*command, "--merge-lora", ADAPTERS / name], capture_output=True, text=True)
            self.assertEqual(answer.returncode, 1)
            self.assertIn(sentence, answer.stderr)
        command = [SPATE, "build", ROOT / "tests/fixtures/model/llama3", "-o", base.folder / "x.spate", "--quant-mode", "INT4_WEIGHT"]
        answer = subprocess.run([*command, "--merge-lora", base.folder], capture_output=True, text=True)
        self.assertEqual(answer.returncode, 1)
        self.assertIn("merge_lora: ", answer.stderr)
        self.assertFalse((base.folder / "x.spate").exists())


class Evaluated(LoraCase):
    TEXT = ROOT / "tests/fixtures/eval/text.txt"

    def evaluate(self, base, *options):
        path = base.folder / "results.json"
        command = [SPATE, "eval", base.path, "--threads", "1", "--kv-cache-memory", "64M", "--backend", spate_server.CPU, "--json", path]
        answer = subprocess.run([*command, *options], capture_output=True, text=True)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        return json.loads(path.read_text()), answer.stdout

    def test_as_merged(self):
        """With adapters an engine predicts a text, and scores choices, as one that they are merged into."""
        base, merged = self.base("llama3"), self.base("llama3", "--merge-lora", f"{ADAPTERS / 'all'}=-2")
        folder, text = ("--lora-dir", base.adapters), ("--text", self.TEXT, "--tokens", "80", "--window", "32")
        task = ("--task", ROOT / "tests/fixtures/eval/mmlu.jsonl", "--limit", "2")
        wanted, _ = self.evaluate(merged, *text, *task)
        told, said = self.evaluate(base, *folder, "--lora", "all=-2", "--against", merged.path, *text, *task)
        self.assertEqual(told["adapters"], [{"name": "all", "scale": -2}])
        self.assertIn("\nwith -2 times the adapter all\n", said)
        self.assertAlmostEqual(told["text"]["loss"], wanted["text"]["loss"], delta=1e-4)
        self.assertLess(told["against"]["most_kl"], 1e-6)
        for one, other in zip(told["task"]["samples"], wanted["task"]["samples"]):
            for a, b in zip(one["loglikelihoods"], other["loglikelihoods"]):
                self.assertAlmostEqual(a, b, delta=1e-2)
        plain, _ = self.evaluate(base, *text, *task)
        self.assertGreater(abs(plain["text"]["loss"] - wanted["text"]["loss"]), 1e-2)
        self.assertEqual(self.evaluate(base, *folder, "--lora", "all=0", *text)[0]["text"]["loss"], plain["text"]["loss"])

    def test_answers(self):
        base = self.base("llama3")
        task = ("--task", ROOT / "tests/fixtures/eval/gsm8k.jsonl", "--limit", "1")
        plain, _ = self.evaluate(base, *task)
        told, _ = self.evaluate(base, *task, "--text", self.TEXT, "--tokens", "20", "--lora-dir", base.adapters, "--lora", "all=-2")
        self.assertNotEqual(told["task"]["samples"], plain["task"]["samples"])
        answer = subprocess.run([SPATE, "eval", base.path, *task, "--lora-dir", base.adapters, "--lora", "nobody"], capture_output=True, text=True)
        self.assertEqual(answer.returncode, 1)
        self.assertIn('There is no adapter "nobody"', answer.stderr)


class Served(LoraCase):
    def test_in_one_batch(self):
        """Requests of all adapters and of none at once, more adapters than slots, from caches that others have filled: each
        answer has the bytes that it has alone."""
        server = self.serve(self.base("llama3"), "--max-loras", "2", "--max-cpu-loras", "3", "--max-lora-rank", "8")
        tokens, _ = fixture(ADAPTERS / "all/1.logits")
        wanted = [{}] + [{"lora_request": {"lora_name": name, "lora_scale": scale}}
                         for name in ("all", "dora", "rslora", "patterns", "layers") for scale in (1, -0.5)]
        wanted.append({"lora_request": [{"lora_name": "all"}, {"lora_name": "layers", "lora_scale": 2}]})

        def text(fields):
            answer = self.ask(server, "/v1/completions", {"prompt": tokens, "max_tokens": 12, "temperature": 0,
                                                          "ignore_eos": True, "logprobs": 2} | fields)
            return json.dumps(answer["choices"])

        alone = [text(fields) for fields in wanted]
        self.assertEqual(len(set(alone)), len(wanted))
        order = [i for i in range(len(wanted)) for _ in range(12)]
        random.Random(3).shuffle(order)
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            for i, told in zip(order, pool.map(lambda i: text(wanted[i]), order)):
                self.assertEqual(told, alone[i], wanted[i])
        page = server.get("/metrics")[2].decode()
        self.assertIn("\nllm_lora_slots_used 2\n", page)
        self.assertIn('\nvllm:lora_requests_info{max_lora="2",waiting_lora_adapters="",running_lora_adapters=""} ', page)

    def test_conversations_and_streams(self):
        base = self.base("llama3")
        server = self.serve(base)
        tokens, _ = fixture(ADAPTERS / "all/1.logits")
        fields = {"prompt": tokens, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
        whole = self.ask(server, "/v1/completions", fields | {"model": "all"})
        self.assertEqual(whole["model"], "all")
        _, _, stream = server.request("POST", "/v1/completions", json.dumps(fields | {"model": "all", "stream": True}), JSON)
        pieces = [json.loads(line[6:]) for line in stream.decode().splitlines() if line.startswith("data: {")]
        self.assertEqual("".join(piece["choices"][0]["text"] for piece in pieces if piece["choices"]),
                         whole["choices"][0]["text"])
        self.assertEqual({piece["model"] for piece in pieces}, {"all"})
        search = self.ask(server, "/v1/completions", fields | {"model": "all", "use_beam_search": True, "n": 2, "best_of": 3})
        self.assertEqual(len(search["choices"]), 2)
        many = self.ask(server, "/v1/completions", fields | {"model": "all", "n": 3})
        self.assertEqual({choice["text"] for choice in many["choices"]}, {whole["choices"][0]["text"]})

    def test_command_line(self):
        base = self.base("llama3")
        server = self.serve(base)

        def generate(*options):
            return subprocess.run([SPATE, "generate", base.path, "-p", "hello", "--temperature", "0", "--max-tokens", "12",
                                   "--kv-cache-memory", "16M", "--backend", spate_server.CPU, *options], capture_output=True)

        def served(**fields):
            return self.ask(server, "/generate", {"prompt": "hello", "temperature": 0, "max_tokens": 12} | fields)["text"]

        folder = ("--lora-dir", str(base.adapters))
        self.assertEqual(generate(*folder).stdout.decode(), served() + "\n")
        self.assertEqual(generate(*folder, "--lora", "all=-2", "--lora", "layers").stdout.decode(),
                         served(lora_request=[{"lora_name": "all", "lora_scale": -2}, {"lora_name": "layers"}]) + "\n")
        (base.adapters / "all=x").symlink_to("all")  # what follows a = and is no number belongs to the name
        self.assertEqual(generate("--lora-dir", str(base.adapters), "--lora", "all=x=-2").stdout,
                         generate(*folder, "--lora", "all=-2").stdout)
        self.assertEqual(generate(*folder, "--lora", "all=x").stdout, generate(*folder, "--lora", "all").stdout)
        self.assertIn(b'There is no adapter "all=inf"', generate(*folder, "--lora", "all=inf").stderr)
        self.assertIn(b'--lora is "=2", expected an adapter\'s name of 1 to 255 bytes, and perhaps = and a finite number.',
                      generate(*folder, "--lora", "=2").stderr)
        self.assertIn(b"there are none: the engine was opened without a folder of them (--lora-dir).",
                      generate("--lora", "all").stderr)
        self.assertIn(b"there is no folder of them: give lora_dir too.", generate("--max-loras", "2").stderr)


class Names(LoraCase):
    def test_models(self):
        server = self.serve(self.base("smollm2"))
        models = json.loads(server.get("/v1/models")[2])["data"]
        self.assertEqual([(model["id"], model["parent"]) for model in models], [("smollm2", None), ("tied", "smollm2")])
        self.assertEqual(json.loads(server.get("/v1/models/tied")[2])["parent"], "smollm2")
        self.assertEqual(server.get("/v1/models/nobody")[0], 404)

    def test_refused(self):
        base = self.base("llama3")
        (base.adapters / "empty").mkdir()
        server = self.serve(base, "--max-loras", "2", "--adapter-dim", "4")
        odd = ("An adapter's name was given that begins with a dot, has a / or a control character, or is no UTF-8: no adapter "
               "is called so.")
        kinds = "an object with a lora_name of 1 to 255 bytes and perhaps a number as lora_scale, or a list of up to 4."
        for request, status, sentence in (
                ({"lora_name": "nobody"}, 404, 'There is no adapter "nobody": the folder of --lora-dir has none of that name, nor '
                                               'was it loaded by that name.'),
                ({"lora_name": ".."}, 400, odd), ({"lora_name": "../adapters/all"}, 400, odd), ({"lora_name": "a\nb"}, 400, odd),
                ({"lora_name": "/etc"}, 400, odd), ({"lora_name": "a\0"}, 400, f"lora_request is an object, expected {kinds}"),
                ({"lora_name": ""}, 400, f"lora_request is an object, expected {kinds}"),
                ({"lora_name": "all", "lora_scale": "1"}, 400, f"lora_request is an object, expected {kinds}"),
                ({"lora_name": "all", "lora_int_id": 1}, 400, f"lora_request is an object, expected {kinds}"),
                ({"lora_name": "all", "lora_scale": 1e39}, 400, f"lora_request is an object, expected {kinds}"),
                ("all", 400, f"lora_request is a string, expected {kinds}"),
                ([{"lora_name": "all"}] * 5, 400, f"lora_request is a list, expected {kinds}"),
                ([{"lora_name": "all"}, {"lora_name": "dora"}, {"lora_name": "layers"}], 400,
                 "3 adapters were asked for at once, expected at most 2."),
                ([{"lora_name": "all", "lora_scale": 3e38}] * 2, 400,
                 "The sum of the lora_scale of one adapter is inf, expected a finite number."),
                ({"lora_name": "patterns"}, 400, 'The adapter "patterns" has rank 7, more than --max-lora-rank 4 allows.'),
                ({"lora_name": "empty"}, 404, "empty/adapter_config.json cannot be opened: No such file or directory.")):
            self.assertEqual(self.refused(server, "/generate", {"prompt": "a", "lora_request": request}, status), sentence)
        self.assertEqual(self.refused(server, "/v1/completions", {"prompt": "a", "model": "nobody"}, 404),
                         'There is no model "nobody" here; this server has "llama3".')
        self.assertEqual(server.get("/health")[0], 200)

    def test_one_content(self):
        """Two names of one folder are one adapter, scaled by the sum."""
        base = self.base("llama3")
        (base.adapters / "twin").symlink_to("all")
        server = self.serve(base, "--max-loras", "2")
        tokens, _ = fixture(ADAPTERS / "all/1.logits")
        each = [{"lora_name": name, "lora_scale": 0.5} for name in ("all", "twin")]
        self.assertEqual(self.choice(server, tokens, lora_request=each),
                         self.choice(server, tokens, lora_request={"lora_name": "all", "lora_scale": 1}))
        each = [{"lora_name": name, "lora_scale": 3e38} for name in ("all", "twin")]
        self.choice(server, tokens, lora_request=each)
        self.assertEqual(server.get("/health")[0], 200)

    def test_many_names(self):
        """Those that exist are found among many, those that do not leave nothing behind."""
        base = self.base("llama3")
        for i in range(5000):
            (base.adapters / f"other{i}.gguf").touch()
        server = self.serve(base)
        models = json.loads(server.get("/v1/models")[2])["data"]
        self.assertEqual(len(models), 1001)
        tokens, rows = fixture(ADAPTERS / "all/1.logits")
        self.assert_predicts(self.choice(server, tokens, model="all"), tokens, rows, "all")
        connection = server.connect()
        for i in range(2000):
            connection.request("POST", "/generate", json.dumps({"prompt": "a", "lora_request": {"lora_name": f"n{i}"}}), JSON)
            self.assertEqual(connection.getresponse().read()[:11], b'{"error":"T')
        connection.close()

    def test_without_a_folder(self):
        base = self.base("llama3")
        server = Server(base, "--admin-key", "open", backend="cpu")
        self.addCleanup(server.__exit__)
        sentence = "without a folder of them (--lora-dir)."
        self.assertIn(sentence, self.refused(server, "/generate", {"prompt": "a", "lora_request": {"lora_name": "all"}}, 400))
        self.assertEqual(self.refused(server, "/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "a"}, 400, KEY),
                         "The engine was opened without adapters: give it a folder of them (--lora-dir).")


class Loading(LoraCase):
    def load(self, server, name, path, status=200):
        return self.ask(server, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)}, status, KEY)

    def unload(self, server, name, status=200):
        return self.ask(server, "/v1/unload_lora_adapter", {"lora_name": name}, status, KEY)

    def test_load_and_unload(self):
        base = self.base("llama3")
        server = self.serve(base)
        tokens, rows = fixture(ADAPTERS / "all/1.logits")
        fields = {"lora_name": "x", "lora_path": "all"}
        self.assertEqual(self.ask(server, "/v1/load_lora_adapter", fields, 401)["error"]["code"], 401)
        self.assertEqual(self.load(server, "x", "all"), {"status": "loaded", "lora_name": "x"})
        self.assert_predicts(self.choice(server, tokens, model="x"), tokens, rows, "x")
        self.load(server, "y", base.adapters.resolve() / "all")
        self.assertEqual(self.choice(server, tokens, model="y"), self.choice(server, tokens, model="all"))
        self.assertEqual(self.unload(server, "x"), {"status": "unloaded", "lora_name": "x"})
        self.refused(server, "/v1/completions", {"prompt": "a", "model": "x"}, 404)
        self.unload(server, "x", 404)
        self.unload(server, "all")
        self.refused(server, "/v1/completions", {"prompt": "a", "model": "all"}, 404)
        self.load(server, "all", "all")
        self.assert_predicts(self.choice(server, tokens, model="all"), tokens, rows, "all")
        for path in ("/etc", "../adapters/all", "all/../all", "."):
            self.assertIn("lora_path must be the name of an adapter", self.load(server, "z", path, 400)["error"]["message"])

    def test_changed_file(self):
        """What is loaded again is what is there now; its cached prefixes are not the old one's."""
        base = self.base("llama3")
        server = self.serve(base)
        one, two = fixture(ADAPTERS / "all/1.logits"), fixture(ADAPTERS / "rslora/1.logits")
        self.assert_predicts(self.choice(server, one[0], model="all"), *one, "before")
        shutil.rmtree(base.adapters / "all")
        shutil.copytree(ADAPTERS / "rslora", base.adapters / "all")
        self.load(server, "all", "all")
        self.assert_predicts(self.choice(server, two[0], model="all"), *two, "after")
        texts = [self.ask(server, "/v1/completions", {"prompt": two[0], "max_tokens": 8, "temperature": 0, "model": name})
                 for name in ("all", "rslora")]
        self.assertEqual(texts[0]["choices"], texts[1]["choices"])

    def test_new_in_the_folder(self):
        base = self.base("llama3")
        server = self.serve(base)
        shutil.copytree(ADAPTERS / "all", base.adapters / "new")
        wait_for(lambda: server.get("/v1/models/new")[0] == 200, "a new adapter is seen")

    def test_broken_ones(self):
        """They fail with a sentence, and nobody beside them notices."""
        base = self.base("llama3")
        matrices = (base.adapters / "all/adapter_model.safetensors").read_bytes()
        config = (base.adapters / "all/adapter_config.json").read_text()
        nan = bytearray(matrices)
        nan[-4:] = b"\xff\xff\xff\x7f"
        broken = {"cut": (matrices[:-100], config), "nothing": (b"", config), "nan": (bytes(nan), config),
                  "rank": (matrices, config.replace('"r": 4', '"r": 5')), "words": (matrices, "{"),
                  "noise": (os.urandom(4096), config)}
        for name, (weights, settings) in broken.items():
            (base.adapters / name).mkdir()
            (base.adapters / name / "adapter_model.safetensors").write_bytes(weights)
            (base.adapters / name / "adapter_config.json").write_text(settings)
        server = self.serve(base, "--max-loras", "2")
        tokens, rows = fixture(ADAPTERS / "all/1.logits")
        stop, errors = threading.Event(), []

        def neighbour():
            while not stop.is_set():
                try:
                    self.assert_predicts(self.choice(server, tokens, model="all"), tokens, rows, "all")
                except AssertionError as error:
                    errors.append(error)

        threads = [threading.Thread(target=neighbour) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            for name in broken:
                status, _, body = server.post({"prompt": "a", "lora_request": {"lora_name": name}})
                self.assertIn(status, (400, 500), (name, body))
                self.assertNotIn(str(base.folder), body.decode())
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        self.assertEqual(server.get("/health")[0], 200)

    def test_memory(self):
        """A request that lacks an adapter for which others leave no memory is refused in the end; so long a load waits, which
        keeps nobody from the tokens of his text."""
        base = self.base("llama3")
        bytes_of = lambda server: int(wait_for(lambda: re.search(r"\nllm_lora_held_bytes ([1-9]\d*)\n", server.get("/metrics")[2].decode()),
                                               "an adapter is read")[1])
        server = self.serve(base)
        self.ask(server, "/generate", {"prompt": "a", "max_tokens": 1, "lora_request": {"lora_name": "all"}})
        all_bytes = bytes_of(server)
        server.__exit__()
        server = self.serve(base, "--lora-memory", str(all_bytes))
        both = {"prompt": "a", "max_tokens": 1, "lora_request": [{"lora_name": "all"}, {"lora_name": "layers"}]}
        loading = spate_server.post_bytes({"lora_name": "x", "lora_path": "rslora"}, "Authorization: Bearer open\r\n", "/v1/load_lora_adapter")
        with concurrent.futures.ThreadPoolExecutor(1) as pool, socket.create_connection(("127.0.0.1", server.port)) as client:
            self.ask(server, "/generate", both | {"lora_request": {"lora_name": "all"}})
            refused = pool.submit(self.refused, server, "/generate", both, 429)
            wait_for(lambda: re.search(r'waiting_lora_adapters="[^"]*layers', server.get("/metrics")[2].decode()), "it waits")
            self.assertEqual(bytes_of(server), all_bytes)
            client.sendall(loading)
            for _ in range(2):  # whose loop has read what was there before
                server.get("/health")
            self.assertEqual(self.ask(server, "/tokenize", {"prompt": "a b"})["count"], 3)
            if select.select([client], [], [], 0)[0]:  # it waits for as long as the other does
                concurrent.futures.wait([refused], timeout=1)
                self.assertTrue(refused.done(), "a load that did not wait")
            self.assertIn('There is no memory for the adapter "layers": those that requests hold take 1 MiB of the 1 MiB',
                          refused.result())
            self.assertIn(b'{"status":"loaded","lora_name":"x"}', spate_server.receive_all(client))
        server.__exit__()
        server = self.serve(base, "--lora-memory", str(all_bytes - 1))
        self.assertIn("more than --lora-memory allows all", self.refused(server, "/generate", both | {"lora_request": {"lora_name": "all"}}, 400))

    def test_churn(self):
        """Loads, unloads and requests for a while: no error that should not be, the bytes that each adapter's requests have
        alone, and memory that stays."""
        base = self.base("llama3")
        server = self.serve(base, "--max-loras", "2", "--max-cpu-loras", "2")
        tokens, rows = fixture(ADAPTERS / "all/1.logits")
        fields = {"prompt": "hello", "max_tokens": 4, "temperature": 0}
        told = {name: [self.ask(server, "/generate", fields | {"lora_request": {"lora_name": name}})["text"]]
                for name in ("all", "dora", "rslora", "patterns", "layers")}
        told |= dict.fromkeys(("a", "b"), [told[name][0] for name in ("all", "dora", "rslora")])
        self.assertEqual(len({texts[0] for texts in told.values()}), 5)
        end, counts, errors = time.monotonic() + CHURN_SECONDS, [0, 0], []

        def goes_on():  # on a slow machine until there was something of both
            wait = spate_server.WAIT_SECONDS if min(counts) <= 5 else 0
            return time.monotonic() < end + wait and not errors

        def request(seed):
            rng = random.Random(seed)
            while goes_on():
                name = rng.choice(sorted(told))
                status, _, body = server.post(fields | {"lora_request": {"lora_name": name}})
                gone = name in ("a", "b") and status == 404
                if not gone and (status != 200 or json.loads(body)["text"] not in told[name]):
                    errors.append((name, status, body))
                counts[0] += 1

        def administer():
            rng = random.Random(9)
            while goes_on():
                name = rng.choice("ab")
                path = rng.choice(["all", "dora", "rslora"])
                self.load(server, name, path)
                self.unload(server, name)
                counts[1] += 1

        def resident():
            return int(pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        threads = [threading.Thread(target=request, args=(seed,)) for seed in range(3)] + [threading.Thread(target=administer)]
        for thread in threads:
            thread.start()
        time.sleep(CHURN_SECONDS / 4)
        before = resident()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        self.assertGreater(min(counts), 5, f"{counts[0]} requests, {counts[1]} loads and unloads in {spate_server.WAIT_SECONDS} s")
        growth = resident() - before
        if CHURN_SECONDS > 10:
            print(f"{CHURN_SECONDS} s: {counts[0]} requests, {counts[1]} loads and unloads, {growth / 2**20:.1f} MiB more since "
                  f"{CHURN_SECONDS // 4} s")
        if not spate_server.SANITIZED:  # which keeps memory that was freed
            self.assertLess(growth, 8 << 20)
        self.assert_predicts(self.choice(server, tokens, model="all"), tokens, rows, "all")


class Engines(LoraCase):
    def test_names_outlive_engines(self):
        server = self.serve(self.base("llama3"))
        tokens, rows = fixture(ADAPTERS / "all/1.logits")
        self.ask(server, "/v1/load_lora_adapter", {"lora_name": "x", "lora_path": "all"}, headers=KEY)
        self.ask(server, "/v1/unload_lora_adapter", {"lora_name": "dora"}, headers=KEY)
        for path in ("/admin/reload", "/sleep"):
            self.ask(server, path, {}, headers=KEY)
            self.ask(server, "/wake_up", {}, headers=KEY)
            self.assert_predicts(self.choice(server, tokens, model="x"), tokens, rows, path)
            self.refused(server, "/v1/completions", {"prompt": "a", "model": "dora"}, 404)
        self.ask(server, "/v1/load_lora_adapter", {"lora_name": "dora", "lora_path": "dora"}, headers=KEY)
        self.ask(server, "/v1/unload_lora_adapter", {"lora_name": "x"}, headers=KEY)
        self.ask(server, "/admin/reload", {}, headers=KEY)
        self.choice(server, tokens, model="dora")
        self.refused(server, "/v1/completions", {"prompt": "a", "model": "x"}, 404)

    def test_reload_and_sleep(self):
        server = self.serve(self.base("llama3"))
        tokens, rows = fixture(ADAPTERS / "all/1.logits")
        for path in ("/admin/reload", "/sleep"):
            self.assert_predicts(self.choice(server, tokens, model="all"), tokens, rows, path)
            self.ask(server, path, {}, headers=KEY)
        self.refused(server, "/v1/load_lora_adapter", {"lora_name": "x", "lora_path": "all"}, 503, KEY)
        self.ask(server, "/wake_up", {}, headers=KEY)
        self.assert_predicts(self.choice(server, tokens, model="all"), tokens, rows, "awake")


if __name__ == "__main__":
    spate_server.main(__name__)
