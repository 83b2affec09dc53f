"""Pictures in, the right words out: the trained checkpoint (tools/train_shapes.py) is asked about pictures that it was not
taught, through the server's doors. Forty of them are fixtures; SPATE_TEST_PICTURES=200 makes so many by
tools/shape_pictures.py, which needs pillow and numpy."""
import base64
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from spate_server import JSON, ROOT, SPATE, Server

SHAPES = ROOT / "tests/fixtures/trained/shapes"
RIGHT = 0.9
QUESTIONS = {"shape": "What shape is it?", "colour": "What colour is it?", "count": "How many shapes are there?",
             "all": "What is in the picture?"}  # the first ones of shape_pictures.py


def pictures():
    """Of each: its file's bytes, its MIME type, and what is in it."""
    wanted = int(os.environ.get("SPATE_TEST_PICTURES", 0))
    if not wanted:
        known = json.loads((SHAPES / "pictures.json").read_text())["pictures"]
        return [((SHAPES / "pictures" / case["file"]).read_bytes(), "image/" + case["file"].partition(".")[2], case)
                for case in known]
    sys.path.insert(0, str(ROOT / "tools"))
    from shape_pictures import UNSEEN, answer_of, picture_file
    made = [picture_file(UNSEEN + i) for i in range(wanted)]
    return [(data, mime, {**facts, "all": answer_of("all", facts)}) for data, mime, facts in made]


class ShapesEngine:
    def __init__(self, *options):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-shapes-"))
        self.path = self.folder / "shapes.spate"
        subprocess.run([SPATE, "build", SHAPES, "-o", self.path, *options], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def remove(self):
        shutil.rmtree(self.folder)


class Shapes(unittest.TestCase):
    build, options, backend = (), (), "cpu"

    @classmethod
    def setUpClass(cls):
        cls.pictures = pictures()
        cls.engine = ShapesEngine(*cls.build)
        cls.server = Server(cls.engine, *cls.options, backend=cls.backend)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        cls.engine.remove()

    def generate(self, data, mime, kind):
        """The prompt as the template has it; every other picture is sent as bare base64."""
        image = base64.b64encode(data).decode()
        image = f"data:{mime};base64,{image}" if len(data) % 2 else [image]
        prompt = f"<|im_start|>User:<image>{QUESTIONS[kind]}<end_of_utterance>\nAssistant:"
        return self.server.generate(prompt=prompt, image_data=image, temperature=0, max_tokens=8)["text"]

    def chat(self, data, mime, kind):
        url = f"data:{mime};base64,{base64.b64encode(data).decode()}"
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTIONS[kind]}]
        body = {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 8}
        status, _, answer = self.server.request("POST", "/v1/chat/completions", json.dumps(body), JSON)
        self.assertEqual(status, 200, answer)
        return json.loads(answer)["choices"][0]["message"]["content"]

    def check(self, ask):
        """All questions about all pictures, eight at once."""
        cases = [(data, mime, kind, facts[kind]) for data, mime, facts in self.pictures for kind in QUESTIONS]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda case: ask(*case[:3]).strip(), cases))
        for kind in QUESTIONS:
            pairs = [(case[3], answer) for case, answer in zip(cases, answers) if case[2] == kind]
            wrong = [pair for pair in pairs if pair[0] != pair[1]]
            print(f"{ask.__name__}, {kind}: {len(pairs) - len(wrong)} of {len(pairs)} are right", file=sys.stderr)
            self.assertLessEqual(len(wrong), (1 - RIGHT) * len(pairs), wrong)

    def test_generate(self):
        self.check(self.generate)

    def test_chat(self):
        self.check(self.chat)

    def test_without_a_picture(self):
        """It was taught to say so."""
        body = {"messages": [{"role": "user", "content": QUESTIONS["shape"]}], "temperature": 0, "max_tokens": 16}
        answer = json.loads(self.server.request("POST", "/v1/chat/completions", json.dumps(body), JSON)[2])
        self.assertEqual(answer["choices"][0]["message"]["content"].strip(), "I see no picture.")


if __name__ == "__main__":
    unittest.main()
