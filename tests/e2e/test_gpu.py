"""A server on a GPU, where there is one: texts do not depend on neighbours, and a GPU that fails in the middle of answers
ends them, and the server, with the sentence.

SPATE names a binary that has CUDA; beside it in tests/op is the library that makes a GPU fail (cuda_fault.cu)."""
import concurrent.futures
import os
import pathlib
import unittest

import spate_server
from spate_server import Engine, Server, post_bytes, receive_all, wait_for

FAULT = pathlib.Path(spate_server.SPATE).parent / "tests/op/libcuda_fault.so"
LONG = {"prompt": "Once", "max_tokens": 20000, "streaming": True}


class Gpu(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine("--target", "cuda", "--max-batch-size", "16", "--max-num-tokens", "64")
        cls.addClassCleanup(cls.engine.remove)
        if not FAULT.exists():
            raise unittest.SkipTest(f"SKIPPED: {spate_server.SPATE} was built without CUDA")
        try:
            with Server(cls.engine, backend="cuda"):
                pass
        except AssertionError as failure:
            if "There is no GPU here" not in str(failure):
                raise  # one that is there has to work
            raise unittest.SkipTest(f"SKIPPED: {failure}")

    def serve(self, **more):
        server = Server(self.engine, backend="cuda", **more)
        self.addCleanup(server.__exit__)
        return server

    def test_neighbours(self):
        server = self.serve()
        wanted = [{"prompt": f"stream {i}", "max_tokens": 60, "seed": i, "temperature": i % 3 * 0.6} |
                  ({"top_p": 0.9} if i % 2 else {"top_k": 20}) | ({"repetition_penalty": 1.2} if i % 4 == 1 else {}) |
                  ({"logprobs": True, "top_logprobs": 3} if i % 4 == 2 else {}) for i in range(16)]
        alone = [server.generate(**fields) for fields in wanted]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            together = list(pool.map(lambda fields: server.generate(**fields), wanted))
        for one, other in zip(alone, together):
            self.assertEqual(one["text"], other["text"])

    def test_failing(self):
        when = self.engine.folder / "fault"
        os.environ |= {"LD_PRELOAD": str(FAULT), "SPATE_FAULT_WHEN": str(when)}
        self.addCleanup(os.environ.pop, "LD_PRELOAD")
        self.addCleanup(os.environ.pop, "SPATE_FAULT_WHEN")
        server = self.serve()
        clients = [server.socket() for _ in range(3)]
        for client in clients:
            self.addCleanup(client.close)
            client.sendall(post_bytes(LONG))
        wait_for(lambda: server.metric("llm_generation_tokens_total") > 30, "tokens are generated")
        when.touch()
        for client in clients:
            self.assertIn(b"The GPU failed at ", receive_all(client)[-600:])
        try:
            self.assertEqual(server.get("/health")[0], 503)
        except OSError:
            pass  # the port has closed
        self.assertEqual(server.exit_code(), 1)
        self.assertIn("The GPU failed at ", server.errors())


if __name__ == "__main__":
    unittest.main()
