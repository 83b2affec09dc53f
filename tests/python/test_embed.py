"""LLM.embed, classify and score say what transformers says (tests/fixtures/encoder), and what spate serve and spate embed
say; any number of texts goes through a short queue; each mistake has its sentence."""
import contextlib
import json
import subprocess
import threading

import spate_python
import spate
import spate_server
import test_encoders
from spate import PoolingParams

FIXTURES, CACHE = test_encoders.FIXTURES, None


def opened(name, **options):
    return spate.LLM(FIXTURES / name, backend=spate_server.CPU, threads=1, cache_dir=CACHE, build_config=spate.BuildConfig(
        quant_mode=spate.QuantMode.FP32), **options)


def digits(outputs):
    """As texts have them."""
    return [[float(f"{x:.9g}") for x in output.outputs.embedding] for output in outputs]


class Embed(spate_python.LlmCase):
    @classmethod
    def setUpClass(cls):
        global CACHE
        super().setUpClass()
        CACHE = cls.engine.folder / "cache"

    def close(self, got, want):
        self.assertLess(test_encoders.off(got, want), test_encoders.CLOSE)

    def test_vectors_are_those_of_transformers(self):
        for name in ("bert", "modernbert", "qwen3", "bert-dense"):
            want = test_encoders.expected(name)
            texts = [case["text"] for case in want["texts"]]
            with self.subTest(name), opened(name) as llm:
                for output, case in zip(llm.embed(texts), want["texts"], strict=True):
                    self.close(output.outputs.embedding, case["numbers"])
                    self.assertTrue(output.finished and output.outputs.hidden_size == len(case["numbers"]))
                self.assertEqual(llm.embed(texts[0])[0].outputs, llm.embed([texts[0]])[0].outputs)
                for prompt, numbers in want.get("prompts", {}).items():
                    self.close(llm.embed(texts[0], prompt_name=prompt)[0].outputs.embedding, numbers)

    def test_labels_and_scores_are_those_of_transformers(self):
        with opened("bert-labels") as llm:
            cases = test_encoders.expected("bert-labels")["texts"]
            for output, case in zip(llm.classify([case["text"] for case in cases]), cases, strict=True):
                self.close(output.outputs.probs, case["numbers"])
                self.assertEqual(output.outputs.label, ["bad", "so so", "good"][max(range(3), key=case["numbers"].__getitem__)])
                self.assertEqual(output.outputs.num_classes, 3)
            with self.assertRaisesRegex(spate.InvalidError, "tells 3 labels, where one score is wanted"):
                llm.score("a", "b")
        with test_encoders.published() as model, spate.LLM(
                model, backend=spate_server.CPU, threads=1, cache_dir=CACHE,
                build_config=spate.BuildConfig(quant_mode=spate.QuantMode.FP32, rerank=True)) as llm:
            want = test_encoders.expected("qwen3-yes-no")
            left, right = map(list, zip(*(case["text"] for case in want["pairs"])))
            self.close([output.outputs.score for output in llm.score(left, right)], [score for score, in want["twin"]])
        for name in ("qwen3-pairs", "qwen3-yes-no"):
            with opened(name) as llm:
                cases = test_encoders.expected(name)["pairs"]
                left, right = zip(*(case["text"] for case in cases))
                for output, case in zip(llm.score(left, right), cases, strict=True):
                    self.close([output.outputs.score], case["numbers"])

    def test_as_the_server_and_the_command(self):
        texts = ["hello world", "a number", "", "what is a fox?"]
        for name in ("bert-dense", "bert"):
            with opened(name) as llm, test_encoders.served(FIXTURES / name, "--quant-mode", "FP32") as server:
                self.assertEqual(digits(llm.embed(texts)), test_encoders.vectors(server, texts))
                got = [o.outputs.score for o in llm.score(texts[0], texts[1:])]
                _, body = test_encoders.ask(server, "/v1/score", {"text_1": texts[0], "text_2": texts[1:]})
                self.assertLess(test_encoders.off(got, [item["score"] for item in body["data"]]), 1e-5)
            printed = subprocess.run([spate_server.SPATE, "embed", FIXTURES / name, "--quant-mode", "FP32", "--cache-dir", CACHE,
                                      "--threads", "1", "--backend", spate_server.CPU, *texts], capture_output=True, text=True, check=True)
            with opened(name) as llm:
                self.assertEqual([json.loads(line)["embedding"] for line in printed.stdout.splitlines()], digits(llm.embed(texts)))

    def test_any_number_of_texts_goes_through_a_short_queue(self):
        texts = [f"{i} hello world" for i in range(1500)]
        with opened("bert") as llm:
            want = [o.outputs for o in llm.embed(texts)]
        config = spate.BuildConfig(quant_mode=spate.QuantMode.FP32, max_batch_size=1)
        with spate.LLM(FIXTURES / "bert", backend=spate_server.CPU, threads=1, cache_dir=CACHE, build_config=config, max_queue=2) as llm:
            got = {}

            def ask(k):
                while k not in got:
                    with contextlib.suppress(spate.BusyError):  # no room for the first of them
                        got[k] = [o.outputs for o in llm.embed(texts[k:k + 300])]

            threads = [threading.Thread(target=ask, args=(k,)) for k in (0, 300)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(got, {k: want[k:k + 300] for k in (0, 300)})

    def test_what_is_wanted_of_vectors(self):
        with opened("bert") as llm:
            whole = llm.embed("hello world")[0].outputs.embedding
            part = llm.embed("hello world", pooling_params=PoolingParams(dimensions=5))[0].outputs.embedding
            length = sum(x * x for x in whole[:5]) ** 0.5
            self.close(part, [x / length for x in whole[:5]])
            plain = llm.embed("hello world", pooling_params=PoolingParams(normalize=False))[0].outputs.embedding
            length = sum(x * x for x in plain) ** 0.5
            self.assertNotAlmostEqual(length, 1, 2)
            self.close(whole, [x / length for x in plain])
            self.assertEqual(llm.embed("hello world " * 40, truncate_prompt_tokens=6)[0].outputs, llm.embed("hello world " * 2)[0].outputs)
            self.assertEqual(llm.embed([[2, 8, 3]])[0].outputs, llm.embed([2, 8, 3])[0].outputs)
            self.assertEqual(llm.embed([]), [])

    def test_mistakes_have_their_sentences(self):
        with opened("bert") as llm:
            for call, said in ((lambda: llm.embed("hello " * 100), "has 102 tokens, more than max_seq_len 48"),
                               (lambda: llm.embed("a", prompt_name="query"), "has 0 prompts"),
                               (lambda: llm.embed([["a"]]), "The text\\[0\\]"), (lambda: llm.embed([7.5]), "expected a string or a list"),
                               (lambda: llm.embed("a", pooling_params=PoolingParams(dimensions=37)), "dimensions is 37, expected 1 to 36"),
                               (lambda: llm.embed("a", pooling_params=PoolingParams(normalize=True)), "normalize is True"),
                               (lambda: llm.embed([999]), "Token 0 of the prompt is 999"),
                               (lambda: llm.classify("a"), "makes vectors of texts; classify is of one that tells labels"),
                               (lambda: llm.score(["a", "b"], ["c"]), "There are 2 and 1 texts"),
                               (lambda: llm.generate("a"), "it generates no text")):
                with self.subTest(said), self.assertRaisesRegex(spate.SpateError, said):
                    call()
            self.assertEqual(len(llm.embed("a")), 1)
        with self.assertRaisesRegex(spate.InvalidError, "generates text; embed is of one that makes vectors"):
            self.llm.embed("a")


if __name__ == "__main__":
    spate_python.main(__name__)
