"""Images from Python: the words of transformers for each way of giving one, alone, in lists, in event loops; what is refused."""
import asyncio
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import spate_python
import spate
import test_images as seeing
from spate import MultimodalParams, SamplingParams, _library

PIL_PROGRAM = """
import json, pathlib, sys
import spate
from PIL import Image
from spate import MultimodalParams, SamplingParams
engine, prompt, ids, files = json.loads(sys.argv[1])
with spate.LLM(engine, backend="cpu", threads=1, kv_cache_config={"memory": 256 << 20}) as llm:
    pictures = [Image.open(file) for file in files]
    output = llm.generate(prompt, SamplingParams(max_tokens=24, temperature=0, ignore_eos=True, allowed_token_ids=ids),
                          multimodal_params=MultimodalParams({"image": pictures}))
    print(json.dumps(output.outputs[0].text))
"""


def greedy(n=24, **fields):
    return SamplingParams(max_tokens=n, temperature=0, ignore_eos=True, allowed_token_ids=seeing.LETTERS, **fields)


def path_of(name):
    return seeing.FIXTURES / "image/decode" / name


class Images(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = seeing.SeeingEngine("idefics3")
        cls.llm = spate_python.engine_open(cls.engine)
        cls.cases = [case for case in cls.engine.answers if "prompt" in case]

    @classmethod
    def tearDownClass(cls):
        cls.llm.shutdown()
        cls.engine.remove()

    WAYS = {"bytes": seeing.image, "bytearray": lambda name: bytearray(seeing.image(name)),
            "memoryview": lambda name: memoryview(seeing.image(name)), "path": path_of, "data URL": seeing.named,
            "base64": lambda name: seeing.base(seeing.image(name))}

    def test_every_way(self):
        for case in self.cases:
            for way, make in self.WAYS.items():
                with self.subTest(way=way, prompt=case["prompt"]):
                    given = [make(name) for name in case["images"]]
                    params = MultimodalParams(multimodal_data={"image": given[0] if len(given) == 1 else given})
                    output = self.llm.generate(case["prompt"], greedy(), multimodal_params=params)
                    self.assertEqual(output.outputs[0].text, case["text"])
                    self.assertEqual(output.prompt_tokens, case["prompt_tokens"])
                    self.assertEqual(output.prompt_token_ids, self.llm.encode(case["prompt"]))

    def test_several_prompts(self):
        """One with images, one without, at once; and the same images for all."""
        first = self.cases[0]
        media = [MultimodalParams({"image": [path_of(name) for name in case["images"]]}) for case in self.cases]
        outputs = self.llm.generate([case["prompt"] for case in self.cases] + ["plain"], greedy(), multimodal_params=[*media, None])
        self.assertEqual([output.outputs[0].text for output in outputs[:-1]], [case["text"] for case in self.cases])
        self.assertEqual(outputs[-1].outputs[0].text, self.llm.generate("plain", greedy()).outputs[0].text)
        both = self.llm.generate([first["prompt"]] * 2, greedy(), multimodal_params=media[0])
        self.assertEqual([output.outputs[0].text for output in both], [first["text"]] * 2)

    def test_event_loop(self):
        async def ask(case):
            params = MultimodalParams({"image": [seeing.image(name) for name in case["images"]]})
            promise = self.llm.generate_async(case["prompt"], greedy(), streaming=True, multimodal_params=params)
            pieces = [output.outputs[0].text_diff async for output in promise]
            self.assertEqual(promise.prompt_tokens, case["prompt_tokens"])
            return "".join(pieces)

        async def all_at_once():
            return await asyncio.gather(*(ask(case) for case in self.cases))
        self.assertEqual(asyncio.run(all_at_once()), [case["text"] for case in self.cases])

    def test_thread_without_loop(self):
        case = self.cases[0]
        promise = self.llm.generate_async(case["prompt"], greedy(), multimodal_params=MultimodalParams(
            {"image": [path_of(name) for name in case["images"]]}))
        self.assertEqual(promise.result().outputs[0].text, case["text"])

    def test_none(self):
        """Nothing, or an empty list, is a prompt of text."""
        alone = self.llm.generate("plain", greedy()).outputs[0].text
        for data in ({}, {"image": []}):
            output = self.llm.generate("plain", greedy(), multimodal_params=MultimodalParams(data))
            self.assertEqual(output.outputs[0].text, alone)

    def test_pil(self):
        if not os.environ.get("SPATE_TEST_CLIENTS"):
            self.skipTest("SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
        for case in self.cases:
            files = [str(path_of(name)) for name in case["images"]]
            arguments = json.dumps([str(self.engine.path), case["prompt"], seeing.LETTERS, files])
            ran = subprocess.run([os.environ["SPATE_TEST_CLIENTS"], "-c", PIL_PROGRAM, arguments], capture_output=True, text=True,
                                 env=spate_python.ENVIRONMENT)
            self.assertEqual(ran.returncode, 0, ran.stderr)
            self.assertEqual(json.loads(ran.stdout), case["text"])

    # ---- refused

    def refused(self, kind, sentence, data, prompt="a"):
        with self.assertRaisesRegex(kind, sentence):
            self.llm.generate(prompt, greedy(4), multimodal_params=MultimodalParams(data))

    def test_refused(self):
        good = seeing.image("colour.png")
        self.refused(spate.UnsupportedError, '^multimodal_data has "audio"; there is "image" alone.$', {"audio": b""})
        self.refused(spate.InvalidError, "^The image is of type int, expected the bytes of a file, ", {"image": 7})
        self.refused(spate.InvalidError, "^The image is of type NoneType, expected", {"image": [good, None]})
        self.refused(spate.InvalidError, "^The image is a text that is no base64: it has a lone surrogate.$", {"image": "\ud800"})
        self.refused(spate.SpateError, "^The image is neither JPEG, PNG nor WebP by its first bytes", {"image": b"GARBAGE"})
        self.refused(spate.SpateError, "^The image has no bytes: send a JPEG, PNG or WebP file.$", {"image": b""})
        self.refused(spate.SpateError, "^The image's base64 ", {"image": "/etc/passwd!"})
        self.refused(spate.SpateError, "^The image is an address, and ", {"image": "https://example.com/a.png"})
        self.refused(spate.SpateError, "^17 images were sent, and a prompt may have 16", {"image": [good] * 17})
        self.refused(spate.SpateError, "^Images were sent beside token ids", {"image": good}, [40, 41])
        self.refused(FileNotFoundError, "no-such-file", {"image": pathlib.Path("no-such-file")})
        with self.assertRaisesRegex(spate.InvalidError, "^There are 2 prompts and 1 multimodal_params; expected one for each"):
            self.llm.generate(["a", "b"], greedy(4), multimodal_params=[MultimodalParams({"image": good})])

    def test_large_file(self):
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(1 << 40)  # of which no more is read than is refused
            self.refused(spate.SpateError, "^The image is 20971521 bytes, but it may have 20971520: ",
                         {"image": pathlib.Path(file.name)})

    def test_blind(self):
        """A program that decodes nothing leaves a model that answers texts; so does a model that sees nothing."""
        with spate_python.engine_open(self.engine, image_helper="/bin/false") as llm:
            self.assertEqual(llm.generate("plain", greedy()).outputs[0].text, self.llm.generate("plain", greedy()).outputs[0].text)
            with self.assertRaises(spate.SpateError):
                llm.generate("a", greedy(4), multimodal_params=MultimodalParams({"image": seeing.image("colour.png")}))

    def test_settings(self):
        with spate_python.engine_open(self.engine, limit_mm_per_prompt=1, image_decoders=1, image_cache_memory=1 << 20) as llm:
            good = seeing.image("colour.png")
            with self.assertRaisesRegex(spate.SpateError, "^2 images were sent, and a prompt may have 1"):
                llm.generate("a", greedy(4), multimodal_params=MultimodalParams({"image": [good, good]}))
            llm.generate("a", greedy(4), multimodal_params=MultimodalParams({"image": good}))
        with self.assertRaisesRegex(spate.SpateError, "^image_decoders is 17, expected 0 to 16.$"):
            spate_python.engine_open(self.engine, image_decoders=17)


class Helper(unittest.TestCase):
    def test_beside_the_library(self):
        helper = _library.image_helper()
        self.assertIsNotNone(helper)
        self.assertEqual(pathlib.Path(helper).name, "spate")


if __name__ == "__main__":
    spate_python.main(__name__)
