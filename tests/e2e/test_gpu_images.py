"""Images on a GPU, where there is one: the answers of transformers and the words of the trained network, what tenants and
prefixes share, streams beside images, and an engine that sleeps, wakes and is loaded again."""
import concurrent.futures
import unittest

import test_image_families
import test_images
import test_shapes
from spate_server import Engine, Server, sse_objects
from test_image_families import FAMILIES, PAIRS, SMALL, cases_of
from test_images import greedy, named

TARGET = ("--target", "cuda")
ROOM = ("--kv-cache-memory", "256M")  # others run beside this on the GPU
EXACT = ("--kv-cache-dtype", "fp32", *ROOM)


def setUpModule():
    engine = Engine(*TARGET)
    try:
        with Server(engine, backend="cuda"):
            pass
    except AssertionError as failure:
        if "There is no GPU here" not in str(failure) and "without CUDA" not in str(failure):
            raise  # one that is there has to work
        raise unittest.SkipTest(f"SKIPPED: {failure}")
    finally:
        engine.remove()


class OnGpu:
    options, build, backend = EXACT, TARGET, "cuda"


class Idefics(OnGpu, test_images.IdeficsAnswers):
    pass


class Llava(OnGpu, test_images.LlavaAnswers):
    pass


class SmallSteps(OnGpu, test_images.SmallSteps):
    options = (*test_images.SmallSteps.options, *EXACT)


class Sharing(OnGpu, test_images.Sharing):
    options = (*test_images.Sharing.options, *EXACT)


class Shapes(OnGpu, test_shapes.Shapes):
    """With the kernels that 16-bit networks run in."""
    options = ROOM


class Neighbours(OnGpu, test_images.SeeingCase):
    def test_streams(self):
        """Texts have the bytes that they have alone, whatever images are encoded beside them; images have theirs, too."""
        texts = [{"prompt": f"stream {i}", **greedy(120)} for i in range(6)]
        cases = [{"prompt": case["prompt"], "image_data": [named(name) for name in case["images"]], **greedy()}
                 for case in self.engine.answers if "prompt" in case]
        wanted = [self.server.generate(**fields)["text"] for fields in texts + cases]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            got = list(pool.map(lambda fields: self.server.generate(**fields)["text"], (texts + cases) * 3))
        self.assertEqual(got, wanted * 3)


# A prompt in pieces, or with others, takes other kernels than one alone, of which these are the same numbers.
SAME = (*EXACT, "--batch-invariant")
OPTIONS = {"build": TARGET, "backend": "cuda"}
for title, case in (*cases_of(FAMILIES, "", options=SAME, **OPTIONS),
                    *cases_of(FAMILIES, "SmallSteps", options=(*SAME, *SMALL), **OPTIONS),
                    *cases_of(PAIRS, "Pair", options=SAME, pair=True, **OPTIONS)):
    globals()[title] = type(title, (case,), {"__module__": __name__})
del title, case


class ComeAndGo(OnGpu, test_images.SeeingCase):
    options = (*EXACT, "--admin-key", "boss")

    def done(self, path):
        status, _, answer = self.server.request("POST", path, "", {"Authorization": "Bearer boss"})
        self.assertEqual(status, 200, answer)

    def test_sleep_wake_reload(self):
        case = self.engine.answers[0]
        fields = {"prompt": case["prompt"], "image_data": [named(name) for name in case["images"]], **greedy()}
        for paths in ((), ("/sleep", "/wake_up"), ("/admin/reload",), ("/sleep", "/wake_up")):
            for path in paths:
                self.done(path)
            for _ in range(2):  # the second finds the image in the pool
                self.assertEqual(self.server.generate(**fields)["text"], case["text"], paths)
            events = sse_objects(self.server.post({**fields, "streaming": True})[2])
            self.assertEqual("".join(event.get("text", "") for event in events), case["text"])
            self.assertEqual(self.server.get("/health")[0], 200)


if __name__ == "__main__":
    unittest.main()
