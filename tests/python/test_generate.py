"""LLM.generate says what spate serve says for the same fields, and what spate generate prints; the interpreter goes on
meanwhile; each mistake has its sentence."""
import ctypes
import gc
import math
import os
import subprocess
import sys
import threading

import spate_python
import spate
import spate_server
from spate import SamplingParams, _library

PROMPTS = ["Once upon", "Twice", "a", "über 😀", "b b", "Once upon a time there"]
FIELDS = [{"max_tokens": 12, "temperature": 0}, {"max_tokens": 9, "seed": 7}, {"max_tokens": 9, "seed": -(2**63), "top_k": 5},
          {"max_tokens": 8, "seed": 3, "temperature": 0.5, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.3},
          {"max_tokens": 8, "temperature": 0, "frequency_penalty": 1.5, "presence_penalty": -0.5, "logit_bias": {"40": 3.5}},
          {"max_tokens": 8, "temperature": 0, "min_tokens": 2, "bad_words": ["a", "b"], "allowed_token_ids": list(range(30, 90))},
          {"max_tokens": 8, "temperature": 0, "use_beam_search": True, "best_of": 4, "length_penalty": 0.5, "early_stopping": "never"},
          {"max_tokens": 4, "temperature": 0, "prompt_logprobs": 2, "priority": -1, "timeout_s": 60.0, "cache_salt": "x"}]


class Generate(spate_python.LlmCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = spate_server.Server(cls.engine, "--min-priority", "-1", backend="cpu")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        super().tearDownClass()

    def test_as_the_server(self):
        for fields in FIELDS:
            outputs = self.llm.generate(PROMPTS, SamplingParams(**fields, logprobs=2))
            for prompt, output in zip(PROMPTS, outputs):
                answer = self.server.generate(prompt=prompt, logprobs=True, top_logprobs=2, **fields)
                text = output.outputs[0]
                self.assertEqual((text.text, text.finish_reason), (answer["text"], answer["finish_reason"]), (prompt, fields))
                self.assertEqual(output.output_token_ids, [token["id"] for token in answer["logprobs"]])
                self.assertEqual((len(output.prompt_token_ids), output.generated_tokens),
                                 (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]))
                for ours, theirs in zip(text.logprobs, answer["logprobs"], strict=True):
                    self.assertEqual([token.token_id for token in ours.top], [token["id"] for token in theirs["top_logprobs"]])
                    self.assertTrue(math.isclose(ours.logprob, theirs["logprob"], rel_tol=1e-4, abs_tol=1e-5))
                self.assertEqual("prompt_logprobs" in fields, output.prompt_logprobs is not None)
                if output.prompt_logprobs is not None:
                    self.assertEqual([t.token_id for t in output.prompt_logprobs], output.prompt_token_ids)
                    self.assertIsNone(output.prompt_logprobs[0].logprob)

    def test_as_the_command(self):
        for prompt in PROMPTS:
            command = [spate_server.SPATE, "generate", self.engine.path, "-p", prompt, "-n", "12", "--temperature", "0"]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            output = self.llm.generate(prompt, SamplingParams(max_tokens=12, temperature=0))
            self.assertEqual(output.outputs[0].text + "\n", printed)

    def test_token_ids_as_a_prompt(self):
        params = SamplingParams(max_tokens=6, temperature=0)
        for output in self.llm.generate(PROMPTS, params):
            again = self.llm.generate(output.prompt_token_ids, params)
            self.assertEqual((again.prompt, again.prompt_token_ids), (None, output.prompt_token_ids))
            self.assertEqual(again.output_token_ids, output.output_token_ids)
        self.assertEqual(self.llm.generate([]), [])

    def test_many_answers(self):
        output = self.llm.generate("Once", SamplingParams(max_tokens=5, seed=7, n=3))
        alone = [self.llm.generate("Once", SamplingParams(max_tokens=5, seed=7 + i)) for i in range(3)]
        self.assertEqual([(o.index, o.text, o.token_ids) for o in output.outputs],
                         [(i, a.outputs[0].text, a.output_token_ids) for i, a in enumerate(alone)])
        self.assertEqual(output.generated_tokens, 15)

    def test_stops(self):
        text = self.llm.generate("Once", SamplingParams(max_tokens=12, temperature=0))
        piece, token = text.outputs[0].text[4:6], text.output_token_ids[3]
        for stop in (piece, ["\x01never", piece]):
            stopped = self.llm.generate("Once", SamplingParams(max_tokens=12, temperature=0, stop=stop)).outputs[0]
            self.assertEqual((stopped.finish_reason, stopped.stop_reason), ("stop", piece))
            self.assertEqual(stopped.text, text.outputs[0].text.split(piece)[0])
        ended = self.llm.generate("Once", SamplingParams(max_tokens=12, temperature=0, stop_token_ids=[token])).outputs[0]
        self.assertEqual((ended.finish_reason, ended.stop_reason, ended.token_ids[-1]), ("stop", token, token))

    def test_params_of_each(self):
        params = [SamplingParams(max_tokens=i, temperature=0) for i in (1, 2, 3)]
        outputs = self.llm.generate(["a", "b", "c"], params)
        self.assertEqual([output.generated_tokens for output in outputs], [1, 2, 3])

    def test_more_than_the_queue_holds(self):
        with spate_python.engine_open(self.engine, max_queue=3) as llm:
            outputs = llm.generate(["a"] * 40, SamplingParams(max_tokens=3, temperature=0))
        self.assertEqual({output.outputs[0].text for output in outputs}, {outputs[0].outputs[0].text})
        self.assertEqual(outputs[39].prompt_token_ids, outputs[0].prompt_token_ids)  # known, though the engine is gone

    # ---- the interpreter

    def test_other_threads_go_on(self):
        """While one thread waits for text another one counts, from where the first token is to the last: it does so
        without the time that a thread may keep the GIL, and never while this thread is not waiting."""
        counted, counting, stop = 0, threading.Event(), False

        def count():
            nonlocal counted
            while not stop:
                counted += 1
                counting.set()

        thread = threading.Thread(target=count)
        thread.start()
        counting.wait()
        before = counted
        self.llm.generate("Once", SamplingParams(max_tokens=2000, temperature=0, ignore_eos=True))
        after = counted
        stop = True
        thread.join()
        self.assertGreater(after - before, 1000)

    def test_no_call_holds_the_gil(self):
        """ctypes gives it back around functions of a CDLL, and of nothing else that it loads."""
        library = _library.libspate()
        self.assertIs(type(library), ctypes.CDLL)
        for name in _library.FUNCTIONS:
            self.assertFalse(getattr(library, name)._flags_ & 0x4, name)  # FUNCFLAG_PYTHONAPI

    # ---- mistakes

    def test_wrong_params(self):
        for fields, sentence in (
                ({"max_tokens": "x"}, "max_tokens is 'x', expected a whole number from 1 to 2147483647."),
                ({"max_tokens": 2**31}, "max_tokens is 2147483648, expected a whole number from 1 to 2147483647."),
                ({"max_tokens": True}, "max_tokens is True, expected a whole number from 1 to 2147483647."),
                ({"max_tokens": 1 << 30}, "max_tokens is 1073741824, expected 1 to max_seq_len 65536."),
                ({"temperature": math.nan}, "temperature is nan, expected a number."),
                ({"temperature": "hot"}, "temperature is 'hot', expected a number."),
                ({"top_p": 2}, "top_p is 2, expected more than 0 and at most 1."),
                ({"seed": 1.5}, "seed is 1.5, expected a whole number from -9223372036854775808 to 18446744073709551615."),
                ({"ignore_eos": 1}, "ignore_eos is 1, expected True or False."),
                ({"stop": ["a", 3]}, "stop[1] is 3, expected a string."),
                ({"stop": "a\0b"}, "stop[0] has a NUL character: leave it out."),
                ({"cache_salt": "\ud800"}, "cache_salt is no text: surrogates not allowed at character 0."),
                ({"stop_token_ids": [1, -1]}, "stop_token_ids[1] is -1, expected a whole number from 0 to 2147483647."),
                ({"stop_token_ids": "12"}, "stop_token_ids is '12', expected a list of token ids."),
                ({"stop": 5}, "stop is 5, expected a string or a list of them."),
                ({"bad_words": [None]}, "bad_words[0] is None, expected a string."),
                ({"allowed_token_ids": [True]}, "allowed_token_ids[0] is True, expected a whole number from 0 to 2147483647."),
                ({"logit_bias": [1]}, "logit_bias is [1], expected token ids, each with a number."),
                ({"cache_salt": 5}, "cache_salt is 5, expected a string."),
                ({"n": 2**31 - 1}, "n is 2147483647, expected 1 to 128."),
                ({"logit_bias": {"x": 1}}, "logit_bias names token 'x', expected a token id."),
                ({"logit_bias": {"1": "x"}}, "logit_bias[1] is 'x', expected a number."),
                ({"best_of": 3}, "best_of is 3 and n is 1: only a beam search looks at more answers than it gives; set "
                                 "use_beam_search, or leave best_of out."),
                ({"early_stopping": "soon"}, "early_stopping is 'soon', expected True, False or \"never\"."),
                ({"early_stopping": []}, "early_stopping is [], expected True, False or \"never\".")):
            with self.subTest(sentence), self.assertRaises(spate.InvalidError) as raised:
                self.llm.generate("a", SamplingParams(**fields))
            self.assertEqual(str(raised.exception), sentence)
            self.assertIsInstance(raised.exception, ValueError)

    def test_wrong_prompts(self):
        for prompt, kind, sentence in (
                (None, spate.InvalidError, "The prompt is None, expected a string or a list of token ids."),
                ("\ud800", spate.InvalidError, "The prompt is no text: surrogates not allowed at character 0."),
                ([1, 2**31], spate.InvalidError, "The prompt[1] is 2147483648, expected a whole number from 0 to 2147483647."),
                ([1, 99999], spate.InvalidError, r"Token 1 of the prompt is 99999, expected 0 to \d+."),
                ([1] * 65537, spate.SpateError, "The prompt has 65537 tokens, more than max_input_len 65535: shorten it.")):
            with self.assertRaisesRegex(kind, "^" + sentence.replace("[1]", r"\[1\]") + "$"):
                self.llm.generate([prompt])
        with self.assertRaisesRegex(spate.InvalidError, "There are 2 prompts and 1 sampling_params"):
            self.llm.generate(["a", "b"], [SamplingParams()])

    def test_one_failure_ends_the_others(self):
        with self.assertRaises(spate.RequestTimeoutError):
            self.llm.generate(["a", "b"], [SamplingParams(timeout_s=0.05, max_tokens=60000),
                                           SamplingParams(max_tokens=60000)])
        self.wait_cancelled(1)

    def test_wrong_engines(self):
        for options, kind, sentence in (
                ({"tensor_parallel_size": 2}, spate.UnsupportedError,
                 "tensor_parallel_size is 2; above 1 does not exist yet: one device serves a model. Leave it out."),
                ({"target_itl_ms": -1}, spate.InvalidError, "target_itl_ms is -1, expected 0 to 60000."),
                ({"kv_cache_config": {"blocksize": 16}}, spate.InvalidError,
                 "kv_cache_config has no blocksize; did you mean block_size.?"),
                ({"kv_cache_config": {"block_size": 3}}, spate.SpateError, ".*block_size is 3.*"),
                ({"backend": "x"}, spate.SpateError, '.*"x".*')):
            with self.subTest(sentence), self.assertRaisesRegex(kind, f"^{sentence}$"):
                spate_python.engine_open(self.engine, **options)
        with self.assertRaisesRegex(spate.SpateError, "/nowhere") as raised:
            spate.LLM("/nowhere")
        self.assertEqual(raised.exception.code, spate.Code.NOT_FOUND)

    # ---- the end

    def test_facts(self):
        self.assertEqual((self.llm.model_name, self.llm.max_seq_len), ("tiny", spate_server.Engine.MAX_SEQ_LEN))
        self.assertIn("llm_requests_running", self.llm.metrics())
        self.llm.check_health()

    def test_closed(self):
        with spate_python.engine_open(self.engine) as llm:
            pass
        llm.shutdown()
        for call in (lambda: llm.generate("a"), lambda: llm.generate_async("a"), llm.metrics, llm.check_health,
                     lambda: llm.encode("a")):
            with self.assertRaisesRegex(spate.CancelledError, "^The engine was shut down.$"):
                call()
        self.assertEqual(llm.model_name, "tiny")

    def test_shutdown_ends_what_other_threads_wait_for(self):
        llm, raised = spate_python.engine_open(self.engine), []

        def wait():
            try:
                llm.generate("a", SamplingParams(max_tokens=60000))
            except spate.CancelledError as error:
                raised.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        spate_server.wait_for(lambda: spate_python.sample(llm.metrics(), "llm_requests_running") == 1, "it runs")
        llm.shutdown()
        thread.join(spate_server.WAIT_SECONDS)
        self.assertEqual(raised, ["The engine was shut down."])

    def test_nothing_is_left(self):
        """Engines that are closed or dropped leave no thread and no descriptor; what they gave keeps them not alive."""
        def state():
            return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

        spate_python.engine_open(self.engine).generate("a", SamplingParams(max_tokens=2))
        gc.collect()
        before, kept = state(), []
        for _ in range(3):
            llm = spate_python.engine_open(self.engine)
            kept.append(llm.generate("a", SamplingParams(max_tokens=2)))
            alone = llm.generate_async("a", SamplingParams(max_tokens=60000))
            self.assertEqual(llm.generate_async("a", SamplingParams(max_tokens=2)).result().generated_tokens, 2)
            del llm, alone
        gc.collect()
        self.assertEqual(state(), before)
        self.assertEqual([len(output.prompt_token_ids) > 0 for output in kept], [True] * 3)

    def test_two_threads_wait_for_one(self):
        promise = self.llm.generate_async("a", SamplingParams(max_tokens=3000, temperature=0))
        texts = []
        threads = [threading.Thread(target=lambda: texts.append(promise.result().outputs[0].text)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(spate_server.WAIT_SECONDS)
        self.assertEqual(texts, [promise.outputs[0].text] * 2)

    def test_a_result_that_takes_too_long(self):
        promise = self.llm.generate_async("a", SamplingParams(max_tokens=60000))
        with self.assertRaisesRegex(spate.RequestTimeoutError, "^The request has not finished in 0.01 s.$"):
            promise.result(0.01)
        self.assertFalse(promise.finished)  # it runs on
        promise.abort()
        self.assertEqual(promise.result().outputs[0].finish_reason, "cancelled")

    def test_fork(self):
        """A child says what is wrong, and ends."""
        if spate_server.SANITIZED:
            self.skipTest("gcc's AddressSanitizer keeps the allocator's locks that other threads held at the fork")
        self.assertEqual(self.program(
            "if os.fork() == 0:\n"
            "    try:\n        llm.generate('a')\n"
            "    except spate.InvalidError as error:\n        print(error)\n"
            "    sys.exit(3)\n"
            "print(os.waitstatus_to_exitcode(os.wait()[1]))\n"), (0, (
                "The engine is its first process's, whose threads a fork leaves behind: open one in each process.\n3\n"), ""))

    def program(self, text):
        """(exit code, standard output, standard error) of a program that begins with an open engine."""
        start = f"import asyncio, os, spate, sys, threading\nllm = spate.LLM({str(self.engine.path)!r}, threads=1)\n" \
                "long = spate.SamplingParams(max_tokens=60000)\n"
        answer = subprocess.run([sys.executable, "-W", "ignore", "-c", start + text], env=spate_python.ENVIRONMENT, capture_output=True,
                                text=True, timeout=spate_server.WAIT_SECONDS)
        return answer.returncode, answer.stdout, answer.stderr

    def test_exit_with_requests(self):
        """At the interpreter's exit a daemon thread waits, a loop that is not closed has a request, and a promise is there."""
        self.assertEqual(self.program(
            "async def begin(): return llm.generate_async('a', long)\n"
            "loop = asyncio.new_event_loop()\n"
            "promises = [loop.run_until_complete(begin()), llm.generate_async('a', long)]\n"
            "def wait():\n    try:\n        llm.generate('a', long)\n    except spate.CancelledError:\n        pass\n"
            "threading.Thread(target=wait, daemon=True).start()\n"
            "while 'llm_requests_running 3' not in llm.metrics(): pass\n"
            "print('exits')\n"), (0, "exits\n", ""))

    def test_ctrl_c(self):
        """Ends a wait for text at once."""
        self.assertEqual(self.program(
            "import _thread\n"
            "threading.Timer(0.2, _thread.interrupt_main, ()).start()\n"
            "try:\n    llm.generate('a', long)\n"
            "except KeyboardInterrupt:\n    print('interrupted')\n"), (0, "interrupted\n", ""))


if __name__ == "__main__":
    spate_python.main(__name__)
