"""Encoders in the forms in which checkpoints come: the numbers must be those that transformers computed of the fixture
(tests/e2e/test_encoders.py), whatever the files' names for tensors, keys and vocabularies."""
import contextlib
import json
import pathlib
import shutil
import struct
import tempfile
import unittest

from spate_server import ROOT
from test_encoders import CLOSE, FAR, FIXTURES, Engine, expected, numbers, off, served, vectors

RESAVED = json.loads((ROOT / "tests/fixtures/model/resaved.json").read_text())


def rewrite(folder, rename, extra=None):
    """Other names for the tensors, which stay where they are, and a few more."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size, = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8:8 + size]), data[8 + size:]
    header = {name if name == "__metadata__" else rename(name): entry for name, entry in header.items()}
    for name, count in (extra or {}).items():
        header[name] = {"dtype": "F32", "shape": [count], "data_offsets": [len(body), len(body) + 4 * count]}
        body += bytes(4 * count)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # numbers stay at multiples of their size
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


@contextlib.contextmanager
def form(name, change):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-form-"))
    try:
        shutil.copytree(FIXTURES / name, folder / name, ignore=shutil.ignore_patterns("*.gguf"))
        change(folder / name)
        yield folder / name
    finally:
        shutil.rmtree(folder)


def config(folder, **settings):
    path = folder / "config.json"
    said = {**json.loads(path.read_text()), **settings}
    path.write_text(json.dumps({key: value for key, value in said.items() if value is not None}))


def of_tensorflow(folder):
    """google-bert's names: bert-base-uncased, -cased, the multilingual one."""
    rewrite(folder, lambda name: "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
            {"cls.predictions.bias": 3, "cls.predictions.transform.LayerNorm.gamma": 3})
    config(folder, architectures=["BertForMaskedLM"])


def of_tensorflow_labels(folder):
    rewrite(folder, lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma"))


def of_transformers_5(folder):
    (folder / "config.json").write_text(json.dumps(RESAVED[f"encoder/{folder.name}"]))


def without_architectures(folder):
    config(folder, architectures=None)


def vocabulary(folder):
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    return model


def words(folder, **settings):
    ids = vocabulary(folder)["vocab"]
    (folder / "vocab.txt").write_text("".join(word + "\n" for word in sorted(ids, key=ids.get)))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **settings}))


def cased(folder):
    words(folder, do_lower_case=False)


def units(folder):
    model = vocabulary(folder)
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in model["merges"]))


def differences(name, change):
    with form(name, change) as model, served(model, "--quant-mode", "FP32") as server:
        return [off(got, want) for got, want in numbers(server, name)]


class Forms(unittest.TestCase):
    def test_numbers_stay(self):
        for name, change in (("bert", of_tensorflow), ("bert-labels", of_tensorflow_labels), ("bert", of_transformers_5),
                             ("nomic", of_transformers_5), ("nomic", without_architectures),
                             ("roberta", without_architectures), ("bert", words), ("nomic", words), ("roberta", units)):
            with self.subTest(f"{name}: {change.__name__}"):
                self.assertLess(max(differences(name, change)), CLOSE)

    def test_settings_of_a_vocabulary_count(self):
        self.assertGreater(max(differences("bert", cased)), FAR)

    def test_nomic_goes_as_far_as_its_rotation_is_the_plain_one(self):
        def stretched(folder):
            config(folder, rotary_scaling_factor=2, max_trained_positions=16)
        with form("nomic", stretched) as model:
            with served(model, "--quant-mode", "FP32") as server:
                want = [case for case in expected("nomic")["texts"] if len(case["text"].split()) <= 5]
                got = vectors(server, [case["text"] for case in want])
                self.assertLess(max(off(a, case["numbers"]) for a, case in zip(got, want, strict=True)), CLOSE)
            engine = Engine(model, "--max-seq-len", "17")
            engine.remove()
            self.assertIn("from 2 to 16, the longest that this model was made for", engine.sentence or "")

    def test_what_is_wrong_is_told(self):
        def without_frame(folder):
            vocabulary(folder)
            (folder / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
        def no_merge(folder):
            units(folder)
            (folder / "merges.txt").write_text("#version: 0.2\na b c\n")
        def no_text(folder):
            vocabulary(folder)
            (folder / "vocab.txt").write_bytes(b"[PAD]\n\xff\n")
        def another_class(folder):
            units(folder)
            (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CTRLTokenizer"}')
        for name, change, sentence in (
                ("bert", without_frame, 'vocab.txt has no token "[CLS]" or "[SEP]", which stand around a text.'),
                ("bert", no_text, "vocab.txt: line 2 is no text in UTF-8."),
                ("roberta", no_merge, "merges.txt: line 2 is not two tokens with a space between."),
                ("roberta", another_class, "has no tokenizer.json")):
            with self.subTest(change.__name__), form(name, change) as model:
                engine = Engine(model)
                engine.remove()
                self.assertIn(sentence, engine.sentence or "")


if __name__ == "__main__":
    unittest.main()
