"""Encoders of texts through the server's doors: vectors, rankings, scores and labels against those of transformers
(tools/make_encoder_fixtures.py), each feature switched off; what is refused, and texts of many clients at once. With
SPATE_TEST_MINILM=$(scripts/get_minilm.sh) all-MiniLM-L6-v2 too, against sentence-transformers."""
import base64
import concurrent.futures
import contextlib
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import time
import unittest

from spate_server import JSON, ROOT, SPATE, Schemas, Server, VECTOR_ANSWERS, wait_for

FIXTURES = ROOT / "tests/fixtures/encoder"
BACKEND = os.environ.get("SPATE_TEST_BACKEND", "cpu")
CLOSE = 2e-5  # of numbers of fp32 networks, relative to the largest
FAR = 2e-4    # what a feature that is switched off changes at least


class Engine:
    def __init__(self, model, *options):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-encoder-"))
        self.path = self.folder / "encoder.spate"
        target = () if BACKEND == "cpu" else ("--target", BACKEND)
        done = subprocess.run([SPATE, "build", model, "-o", self.path, *target, *options], capture_output=True,
                              text=True)
        self.said = done.stderr
        self.sentence = done.stderr if done.returncode else None

    def __enter__(self):
        assert not self.sentence, self.sentence
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def served(model, *options, serve=(), backend=BACKEND):
    with Engine(model, *options) as engine, Server(engine, *serve, backend=backend) as server:
        yield server


def ask(server, path, fields):
    status, _, body = server.request("POST", path, fields if isinstance(fields, bytes) else json.dumps(fields), JSON)
    return status, json.loads(body)


def vectors(server, texts, **fields):
    status, body = ask(server, "/v1/embeddings", {"input": texts, **fields})
    assert status == 200, body
    return [item["embedding"] for item in body["data"]]


def models():
    """Of all fixtures: the name, and the checkpoint, or its twin in GGUF."""
    for path in sorted(FIXTURES.glob("*/expected.json")):
        yield path.parent.name, path.parent
        if (path.parent / "model.gguf").exists():
            yield path.parent.name, path.parent / "model.gguf"


def expected(name):
    return json.loads((FIXTURES / name / "expected.json").read_text())


def off(a, b):
    """The largest difference, relative to the largest of what is expected."""
    assert len(a) == len(b), (len(a), len(b))
    return max(abs(x - y) for x, y in zip(a, b)) / max(abs(y) for y in b)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def numbers(server, name, twin=False):
    """What the server makes of the fixture's texts and pairs, beside what it should; `twin`: of its GGUF file."""
    want = expected(name)
    texts = [case["text"] for case in want["texts"]]
    if not want["pairs"]:
        lacks = twin and want.get("twin")  # what the converter drops
        return list(zip(vectors(server, texts), lacks or [case["numbers"] for case in want["texts"]]))
    got = [item["probs"] for item in ask(server, "/v1/classify", {"input": texts})[1]["data"]] if texts else []
    both = list(zip(got, (case["numbers"] for case in want["texts"])))
    if not got or len(got[0]) == 1:
        left, right = zip(*(case["text"] for case in want["pairs"]))
        scores = ask(server, "/v1/score", {"text_1": left, "text_2": right})[1]["data"]
        lacks = twin and want.get("twin")
        both += list(zip([[item["score"]] for item in scores], lacks or [case["numbers"] for case in want["pairs"]]))
    return both


def switched_off(name, change):
    """A copy of the checkpoint with other settings."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-off-"))
    shutil.copytree(FIXTURES / name, folder / name)
    for file, settings in change.items():
        path = folder / name / file
        value = json.loads(path.read_text())
        if settings == "second type":
            for piece in value["post_processor"]["pair"]:
                next(iter(piece.values()))["type_id"] = 0
        elif isinstance(settings, int):
            value = value[:settings]
        else:
            value |= settings
        path.write_text(json.dumps(value))
    return folder, folder / name


class Networks(unittest.TestCase):
    def test_numbers_are_those_of_transformers(self):
        for name, model in models():
            with self.subTest(str(model)), served(model, "--quant-mode", "FP32") as server:
                for got, want in numbers(server, name, model.suffix == ".gguf"):
                    self.assertLess(off(got, want), CLOSE)

    def test_features_switched_off_show(self):
        for path in sorted(FIXTURES.glob("*/off.json")):
            name = path.parent.name
            for feature, change in json.loads(path.read_text()).items():
                folder, model = switched_off(name, change)
                try:
                    with self.subTest(f"{name}: {feature}"), served(model, "--quant-mode", "FP32") as server:
                        self.assertGreater(max(off(got, want) for got, want in numbers(server, name)), FAR)
                finally:
                    shutil.rmtree(folder)

    def test_the_reference_says_the_same(self):
        for name in ("bert", "bert-pairs", "roberta", "modernbert", "qwen3", "mistral", "nomic", "bert-dense", "bert-without",
                     "nomic-moe", "mpnet", "jina-bert", "qwen3-yes-no"):
            with self.subTest(name), served(FIXTURES / name, "--quant-mode", "FP32", "--target", "reference", backend="reference") as server:
                for got, want in numbers(server, name):
                    self.assertLess(off(got, want), CLOSE)

    def test_settings_that_cannot_be_have_a_sentence(self):
        for change, said in (
                ({"config.json": {"hidden_size": 0}}, "hidden_size is 0"),
                ({"config.json": {"num_attention_heads": 5}}, "must be a multiple"),
                ({"config.json": {"num_hidden_layers": 2 ** 31}}, "num_hidden_layers"),
                ({"config.json": {"layer_norm_eps": "small"}}, "layer_norm_eps"),
                ({"config.json": {"hidden_act": "swish2"}}, 'hidden_act is "swish2"'),
                ({"config.json": {"position_embedding_type": "relative_key"}}, "expected \"absolute\""),
                ({"config.json": {"is_decoder": True}}, "is_decoder is true"),
                ({"config.json": {"max_position_embeddings": 1}}, "max_position_embeddings is 1"),
                ({"config.json": {"type_vocab_size": -1}}, "type_vocab_size is -1"),
                ({"1_Pooling/config.json": {"pooling_mode_max_tokens": True}}, "asks for 2 ways of pooling"),
                ({"1_Pooling/config.json": {"pooling_mode_mean_tokens": False}}, "asks for 0 ways of pooling"),
                ({"sentence_bert_config.json": {"max_seq_length": -4}}, "max_seq_length is expected"),
                ({"modules.json": 0}, "holds no list of stages")):
            folder, model = switched_off("bert", change)
            engine = Engine(model)
            with self.subTest(str(change)):
                self.assertIn(said, engine.sentence or "it was built")
            engine.remove()
            shutil.rmtree(folder)

    def test_any_setting_of_each_network_may_be_wrong(self):
        """0, negative, 2^31, of another type or missing: it is built, or there is one sentence."""
        for name in ("nomic-moe", "mpnet", "distilbert", "jina-bert", "gemma3", "bert-without"):
            config = json.loads((FIXTURES / name / "config.json").read_text())
            for key, value in config.items():
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    continue
                for wrong in (0, -1, 2 ** 31, 1e30, "x", None, [1]):
                    folder, model = switched_off(name, {"config.json": {key: wrong}})
                    done = subprocess.run([SPATE, "build", model, "-o", folder / "e.spate"], capture_output=True, text=True)
                    with self.subTest(f"{name}: {key} = {wrong}"):
                        self.assertIn(done.returncode, (0, 1))
                        self.assertEqual(done.stderr.count("spate: "), done.returncode, done.stderr)
                    shutil.rmtree(folder)

    def test_what_networks_are_not_has_a_sentence(self):
        for name, change, said in (
                ("nomic-moe", {"num_shared_experts": 1}, "num_shared_experts is 1, expected 0"),
                ("nomic-moe", {"moe_top_k": 6}, "moe_top_k is 6, expected 1 to 5"),
                ("nomic-moe", {"activation_function": "swiglu"}, "there are experts, which have no gates here"),
                ("nomic-moe", {"expert_choice_router": True}, "expert_choice_router is true"),
                ("mpnet", {"max_position_embeddings": 3}, "max_position_embeddings is 3, expected 4 or more"),
                ("jina-bert", {"feed_forward_type": "original"}, 'feed_forward_type is "original", expected "geglu"'),
                ("jina-bert", {"max_position_embeddings": 1 << 24}, "and Spate allows 16777216"),
                ("nomic-moe", {"moe_every_n_layers": 0}, "Tensor encoder.layers.1.mlp.fc1.weight is missing"),
                ("nomic-moe", {"num_experts": 4}, "router.layer.weight has shape [5, 36], expected [4, 36]"),
                ("nomic-moe", {"moe_normalize_expert_weights": True}, "moe_normalize_expert_weights is true, expected false"),
                ("mpnet", {"num_attention_heads": 4}, "relative_attention_bias.weight is no matrix of 32 rows for 4 heads"),
                ("jina-bert", {"architectures": ["BertModel"]}, "position_embedding_type is \"alibi\", expected \"absolute\""),
                ("distilbert", {"architectures": ["DistilBertForTokenClassification"]}, "is not one that Spate loads"),
                ("distilbert", {"architectures": ["DebertaV2Model"]}, 'The architecture "DebertaV2Model" is not one that Spate loads')):
            folder, model = switched_off(name, {"config.json": change})
            engine = Engine(model)
            with self.subTest(f"{name} {change}"):
                self.assertIn(said, engine.sentence or "it was built")
            engine.remove()
            shutil.rmtree(folder)

    def test_other_names_of_a_network_are_that_network(self):
        for name, architectures, prefix in (("xlm-roberta-pairs", ("CamembertForSequenceClassification", "RobertaForSequenceClassification"), None),
                                            ("electra-pairs", ("ElectraForSequenceClassification",), None)):
            for architecture in architectures:
                folder, model = switched_off(name, {"config.json": {"architectures": [architecture]}})
                with self.subTest(architecture), served(model, "--quant-mode", "FP32") as server:
                    for got, want in numbers(server, name):
                        self.assertLess(off(got, want), CLOSE)
                shutil.rmtree(folder)
        folder, model = switched_off("electra-pairs", {"config.json": {"embedding_size": 12}})
        self.assertIn("embedding_size is 12, expected hidden_size, which is 24", built(model))
        shutil.rmtree(folder)

    def test_calibration_is_for_decoders(self):
        engine = Engine(FIXTURES / "bert", "--quant-mode", "INT8_WEIGHT", "--quant-algo", "AWQ")
        self.assertIn("without calibration so far: choose quant_algo RTN", engine.sentence or "it was built")
        engine.remove()

    def test_stages_that_are_not_done_have_a_sentence(self):
        for stage, said in (({"type": "sentence_transformers.models.Dense", "path": "2_Dense"}, "2_Dense has neither model.safetensors nor"),
                            ({"type": "sentence_transformers.models.Dense", "path": "../bert"}, "\"path\" that is a folder"),
                            ({"type": "sentence_transformers.models.LSTM", "path": "2_LSTM"}, "is a LSTM"),
                            ({"type": "x.Pooling", "path": "../bert"}, "\"path\" that is a folder"),
                            ({"type": "x.Pooling", "path": "nowhere"}, "holds no JSON object"), ({}, "has no \"type\"")):
            folder, model = switched_off("bert", {})
            (model / "modules.json").write_text(json.dumps([stage]))
            engine = Engine(model)
            with self.subTest(str(stage)):
                self.assertIn(said, engine.sentence or "it was built")
            engine.remove()
            shutil.rmtree(folder)


    def test_dense_stages_that_cannot_be_have_a_sentence(self):
        for change, said in (
                ({"2_Dense/config.json": {"activation_function": "torch.nn.modules.activation.ELU"}}, "activation_function is \"torch"),
                ({"2_Dense/config.json": {"out_features": 0}}, "out_features is expected to be a number from 1"),
                ({"2_Dense/config.json": {"in_features": 12}}, "the stage 2_Dense takes 12 numbers, and 36 come to it"),
                ({"2_Dense/config.json": {"out_features": 45}}, "the stage 3_Dense takes 44 numbers, and 45 come to it"),
                ({"3_Dense/config.json": {"out_features": 21}}, "Tensor 3_Dense/linear.weight has shape [20, 44], expected [21, 44]"),
                ({"3_Dense/config.json": {"bias": True}}, "Tensor 3_Dense/linear.bias is missing"),
                ({"2_Dense/config.json": {"bias": False}}, "2_Dense/linear.bias"),
                ({"2_Dense/config.json": {"module_input_name": "token_embeddings"}}, "module_input_name is \"token_embeddings\""),
                ({"config_sentence_transformers.json": {"similarity_fn_name": "hamming"}}, "similarity_fn_name is \"hamming\""),
                ({"config_sentence_transformers.json": {"default_prompt_name": "q"}}, "which is none of the prompts"),
                ({"config_sentence_transformers.json": {"prompts": {"a": 7}, "default_prompt_name": None}}, "the prompt \"a\" is no text"),
                ({"config_sentence_transformers.json": {"prompts": {"passage": "x" * 5000}}}, "take more than 4096 bytes")):
            folder, model = switched_off("bert-dense", change)
            engine = Engine(model)
            with self.subTest(str(change)[:80]):
                self.assertIn(said, engine.sentence or "it was built")
            engine.remove()
            shutil.rmtree(folder)

    def test_settings_of_newer_networks_that_cannot_be_have_a_sentence(self):
        for name, change, said in (
                ("modernbert", {"layer_types": ["full_attention"]}, "layer_types has length 1, expected 4"),
                ("modernbert", {"local_attention": 1}, "local_attention is 1"),
                ("modernbert", {"hidden_activation": "relu2"}, "hidden_activation is \"relu2\""),
                ("modernbert", {"global_attn_every_n_layers": 0}, "global_attn_every_n_layers is 0"),
                ("modernbert-labels", {"classifier_pooling": "max"}, "classifier_pooling is \"max\""),
                ("modernbert-labels", {"id2label": {}}, "id2label has 0 labels"),
                ("qwen3", {"is_causal": "no"}, "is_causal is a text"),
                ("nomic", {"prenorm": True}, "prenorm is true"),
                ("nomic", {"activation_function": "geglu"}, "activation_function is \"geglu\""),
                ("nomic", {"mlp_fc1_bias": True}, "mlp_fc1_bias and mlp_fc2_bias differ"),
                ("nomic", {"n_head": 5}, "must be a multiple")):
            folder, model = switched_off(name, {"config.json": change})
            engine = Engine(model)
            with self.subTest(f"{name} {change}"):
                self.assertIn(said, engine.sentence or "it was built")
            engine.remove()
            shutil.rmtree(folder)


    def test_gguf_settings_that_cannot_be_have_a_sentence(self):
        whole = (FIXTURES / "bert/model.gguf").read_bytes()
        for key, value, said in (("pooling_type", 7, "bert.pooling_type is 7, expected 1 to 4"),
                                 ("pooling_type", 0, "bert.pooling_type is 0, expected 1 to 4"),
                                 ("context_length", 1, "bert.context_length is 1, expected 2 or more"),
                                 ("context_length", 65, "Tensor position_embd.weight has shape [64, 36], expected [65, 36]"),
                                 ("attention.head_count", 5, "must be a multiple"), ("block_count", 1, "have no place in a network")):
            place = whole.index(f"bert.{key}".encode()) + len(f"bert.{key}") + 4  # behind the type
            with self.subTest(f"{key} {value}"), tempfile.NamedTemporaryFile(suffix=".gguf") as file:
                file.write(whole[:place] + struct.pack("<I", value) + whole[place + 4:])
                file.flush()
                engine = Engine(file.name)
                self.assertIn(said, engine.sentence or "it was built")
                engine.remove()


class Prompts(unittest.TestCase):
    def test_prompts_stand_before_texts(self):
        for name, usual in (("bert-dense", "passage"), ("qwen3", "document"), ("bert-without", "passage")):
            want = expected(name)
            with self.subTest(name), served(FIXTURES / name, "--quant-mode", "FP32") as server:
                text = want["texts"][0]["text"]
                for prompt, numbers_of_it in want["prompts"].items():
                    self.assertLess(off(vectors(server, text, prompt_name=prompt)[0], numbers_of_it), CLOSE)
                self.assertEqual(vectors(server, text), vectors(server, text, prompt_name=usual))
                self.assertLess(off(vectors(server, text, prompt_name="")[0], want["prompts"]["document"]), CLOSE)
                for fields, said in (({"prompt_name": "q"}, "prompt_name is \"q\", which is none of"), ({"prompt_name": 7}, "must be a string")):
                    status, body = ask(server, "/v1/embeddings", {"input": text, **fields})
                    self.assertEqual((status, body["error"]["param"]), (400, "prompt_name"), body)
                    self.assertIn(said, body["error"]["message"])
                status, body = ask(server, "/v1/embeddings", {"input": [3, 4], "prompt_name": "query"})
                self.assertEqual((status, "goes with a text alone" in body["error"]["message"]), (400, True), body)

    def test_rankings_have_the_prompts_of_queries_and_documents(self):
        with served(FIXTURES / "bert-dense", "--quant-mode", "FP32") as server:
            query, documents = "what is a fox?", ["the quick brown fox", "hello", "a number"]
            left = vectors(server, query, prompt_name="query")[0]
            right = vectors(server, documents, prompt_name="document")
            want = {i: sum(x * y for x, y in zip(left, vector)) for i, vector in enumerate(right)}  # "dot", as its file says
            _, body = ask(server, "/v1/rerank", {"query": query, "documents": documents})
            self.assertLess(off([item["relevance_score"] for item in body["results"]],
                                [want[item["index"]] for item in body["results"]]), 1e-5)
            left, right = vectors(server, query)[0], vectors(server, documents)
            _, body = ask(server, "/v1/score", {"text_1": query, "text_2": documents})
            self.assertLess(off([item["score"] for item in body["data"]],
                                [sum(x * y for x, y in zip(left, vector)) for vector in right]), 1e-5)

    def test_a_prompt_longer_than_a_text_may_be_is_cut_with_it(self):
        """Of a pooling that leaves prompts out: what is left of the text is the prompt's, up to the last token."""
        prompts = {"query": "number: ", "document": "", "passage": "the text " * 40}
        folder, model = switched_off("bert-without", {"config_sentence_transformers.json": {"prompts": prompts}})
        with served(model, "--quant-mode", "FP32") as server:
            for most in (3, 6, 9):
                short, other = (vectors(server, text, truncate_prompt_tokens=most)[0] for text in ("hello", "world 12"))
                self.assertEqual(short, other)
        shutil.rmtree(folder)

    def test_tokens_that_a_prompt_and_a_text_share_are_the_texts(self):
        """Of a prompt that ends with a space, which is one token with the text's first letter."""
        folder, model = switched_off("qwen3", {"config_sentence_transformers.json": {"prompts": {"query": "", "document": "Text: "}}})
        network = json.loads((model / "tokenizer.json").read_text())
        vocabulary, last = network["model"]["vocab"], max(network["model"]["vocab"].values())
        del vocabulary[next(token for token, i in vocabulary.items() if i == last)]
        vocabulary["\u0120h"] = last
        network["model"]["merges"] = [["\u0120", "h"]]
        (model / "tokenizer.json").write_text(json.dumps(network))
        with served(model, "--quant-mode", "FP32") as server:
            def scored(documents, **fields):
                _, body = ask(server, "/v1/rerank", {"query": "a fox", "documents": documents, **fields})
                return [(item["index"], item["relevance_score"]) for item in body["results"]]
            for most in (1, 2, 3, 4):
                self.assertEqual(scored(["hello", "world"], max_tokens_per_doc=most), scored(["hello"[:most], "world"[:most]]))
        shutil.rmtree(folder)

    def test_vectors_are_compared_as_the_files_say(self):
        for name, of in (("euclidean", lambda a, b: -math.dist(a, b)), ("manhattan", lambda a, b: -sum(abs(x - y) for x, y in zip(a, b))),
                         ("cosine", cosine), (None, cosine)):
            folder, model = switched_off("bert-dense", {"config_sentence_transformers.json": {"similarity_fn_name": name}})
            with self.subTest(str(name)), served(model, "--quant-mode", "FP32") as server:
                a, b = vectors(server, ["hello", "a number"])
                _, body = ask(server, "/v1/score", {"text_1": "hello", "text_2": "a number"})
                self.assertLess(off([body["data"][0]["score"]], [of(a, b)]), 1e-5)
            shutil.rmtree(folder)


def built(model):
    """What the build says."""
    engine = Engine(model)
    engine.remove()
    return engine.sentence or "it was built"


class YesAndNo(unittest.TestCase):
    """Rankers whose score is of the logits of two tokens, behind their chat template: sentence-transformers' scores
    are among those of Networks."""

    def test_rankings_have_the_scores_the_instruction_and_the_tokens(self):
        want = expected("qwen3-yes-no")
        first = want["pairs"][0]
        with served(FIXTURES / "qwen3-yes-no", "--quant-mode", "FP32") as server:
            for fields, score in (({}, first["numbers"]), ({"prompt_name": "query"}, want["prompts"]["query"]),
                                  ({"prompt_name": "other"}, want["prompts"]["other"])):
                status, body = ask(server, "/v1/rerank", {"query": first["text"][0], "documents": [first["text"][1]], **fields})
                self.assertEqual(status, 200, body)
                self.assertLess(off([body["results"][0]["relevance_score"]], score), CLOSE)
                self.assertEqual(body["usage"]["prompt_tokens"] == first["tokens"], "other" not in fields.values())
            documents = [case["text"][1] for case in want["pairs"]]
            _, scores = ask(server, "/v1/score", {"text_1": "hello", "text_2": documents})
            _, body = ask(server, "/v1/rerank", {"query": "hello", "documents": documents})
            self.assertEqual([item["relevance_score"] for item in body["results"]],
                             sorted((item["score"] for item in scores["data"]), reverse=True))

    def test_an_instruction_of_ones_own_is_as_good_as_a_prompt(self):
        pair = expected("qwen3-yes-no")["pairs"][0]["text"]
        with served(FIXTURES / "qwen3-yes-no", "--quant-mode", "FP32") as server:
            def ranked(**fields):
                return ask(server, "/v1/rerank", {"query": pair[0], "documents": [pair[1]], **fields})
            for name, text in (("query", "which is near?"), ("other", "which is not?")):
                self.assertEqual(ranked(instruct=text)[1]["results"], ranked(prompt_name=name)[1]["results"])
            self.assertNotEqual(ranked(instruct="")[1]["results"], ranked()[1]["results"])
            for fields, said in (({"instruct": 7}, "instruct must be a string"), ({"instruct": "a", "prompt_name": "query"}, "without a prompt_name")):
                status, body = ranked(**fields)
                self.assertEqual((status, said in body["error"]["message"], body["error"]["param"]), (400, True, "instruct"), body)
            status, body = ask(server, "/v1/classify", {"input": [3, 4], "instruct": "a"})
            self.assertEqual((status, body["error"]["param"]), (400, "instruct"), body)
        for name in ("bert-pairs", "bert"):
            with served(FIXTURES / name, "--quant-mode", "FP32") as server:
                status, body = ask(server, "/v1/score", {"text_1": "a", "text_2": "b", "instruct": "c"})
                self.assertEqual((status, "rankers by yes and no" in body["error"]["message"] or "a ranker by yes and no" in body["error"]["message"]),
                                 (400, True), body)

    def test_long_texts_are_refused_or_keep_what_the_template_ends_with(self):
        for name in ("qwen3-yes-no", "qwen3-yes"):
            cut = expected(name)["cut"]
            fields = {"text_1": cut["text"][0], "text_2": cut["text"][1]}
            with self.subTest(name), served(FIXTURES / name, "--quant-mode", "FP32") as server:
                _, body = ask(server, "/v1/score", {**fields, "truncate_prompt_tokens": cut["tokens"]})
                self.assertEqual(body["usage"]["prompt_tokens"], cut["tokens"])
                self.assertLess(off([body["data"][0]["score"]], cut["numbers"]), CLOSE)
                for most in (1, 2, 7, 300, -1):
                    self.assertEqual(ask(server, "/v1/score", {**fields, "truncate_prompt_tokens": most})[0], 200)
                status, body = ask(server, "/v1/score", {**fields, "text_2": "a fox. " * 200})
                self.assertEqual((status, "more than max_seq_len 300" in body["error"]["message"]), (400, True), body)

    def test_any_row_of_a_head_may_be_the_score(self):
        def scores(yes, no):
            folder, model = switched_off("qwen3-yes-no", {
                "1_LogitScore/config.json": {"true_token_id": yes, "false_token_id": no},
                "config_sentence_transformers.json": {"activation_fn": "torch.nn.modules.linear.Identity"}})
            with served(model, "--quant-mode", "FP32") as server:
                body = ask(server, "/v1/score", {"text_1": "hello", "text_2": ["a", "world"]})[1]
            shutil.rmtree(folder)
            return [item["score"] for item in body["data"]]
        first, last, both = scores(0, None), scores(289, None), scores(0, 289)
        self.assertLess(off([a - b for a, b in zip(first, last)], both), CLOSE)

    def test_a_template_of_llama_cpp_has_both_texts_once(self):
        whole = (FIXTURES / "qwen3-yes-no/model.gguf").read_bytes()
        for mark, other, said in ((b"{document}", b"[document]", "has {document} 0 times, expected once"),
                                  (b"{query}", b"[query]", "has {query} 0 times, expected once")):
            self.assertEqual(whole.count(mark), 1)
            with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
                file.write(whole.replace(mark, other))
                file.flush()
                engine = Engine(file.name)
                self.assertIn(said, engine.sentence or "it was built")
                engine.remove()

    def test_what_texts_say_is_no_part_of_the_template(self):
        with served(FIXTURES / "qwen3-yes-no", "--quant-mode", "FP32") as server:
            def tokens(text):
                return ask(server, "/v1/score", {"text_1": "a", "text_2": text})[1]["usage"]["prompt_tokens"]
            self.assertGreaterEqual(tokens("<|im_end|>") - tokens(""), 8)

    def test_one_text_is_refused(self):
        with served(FIXTURES / "qwen3-yes-no", "--quant-mode", "FP32") as server:
            for path, said in (("/v1/classify", "scores two texts, which its chat template joins"),
                               ("/v1/embeddings", "it makes no vectors")):
                status, body = ask(server, path, {"input": "a"})
                self.assertEqual((status, said in body["error"]["message"]), (400, True), body)
            status, body = ask(server, "/v1/rerank", {"query": "a", "documents": ["b"], "prompt_name": "q"})
            self.assertEqual((status, body["error"]["param"]), (400, "prompt_name"), body)

    def test_messages_are_of_a_query_and_a_document(self):
        query, document, system, user, answer = ({"role": role, "content": "hello"} for role in ("query", "document", "system", "user", "assistant"))
        with served(FIXTURES / "qwen3-yes-no", "--quant-mode", "FP32") as server:
            def labels(messages):
                return ask(server, "/v1/classify", {"messages": messages, "add_generation_prompt": True})
            score = ask(server, "/v1/score", {"text_1": "hello", "text_2": "hello", "instruct": "hello"})[1]["data"][0]["score"]
            self.assertEqual(labels([system, query, document])[1]["data"][0]["probs"], [score])
            self.assertEqual(labels([query, document])[0], 200)
            for messages in ([], [user, answer], [query], [document], [query, document, document], [query, query, document],
                             [query, document, user], [system, system, query, document], [query, {"role": 7, "content": "a"}], ["query", document]):
                with self.subTest(str(messages)):
                    status, body = labels(messages)
                    self.assertEqual((status, "expected one query, one document" in body["error"]["message"]), (400, True), body)
        with served(FIXTURES / "qwen3-yes", "--quant-mode", "FP32") as server:  # whose template would see none of the texts
            status, body = labels([query, document])
            self.assertEqual((status, "takes contents as lists of parts" in body["error"]["message"]), (400, True), body)

    def test_settings_that_cannot_be_have_a_sentence(self):
        for change, said in (
                ({"1_LogitScore/config.json": {"true_token_id": None}}, "true_token_id is expected to be a token's id"),
                ({"1_LogitScore/config.json": {"false_token_id": -2}}, "false_token_id is expected to be a token's id"),
                ({"1_LogitScore/config.json": {"false_token_id": 290}}, "names token 290, expected 0 to 289"),
                ({"1_LogitScore/config.json": {"module_input_name": "logits"}}, "module_input_name is \"logits\""),
                ({"config_sentence_transformers.json": {"activation_fn": "torch.relu"}}, "activation_fn is \"torch.relu\", expected torch's")):
            folder, model = switched_off("qwen3-yes-no", change)
            with self.subTest(str(change)):
                self.assertIn(said, built(model))
            shutil.rmtree(folder)
        folder, model = switched_off("qwen3-yes-no", {})
        whole = json.loads((model / "modules.json").read_text())
        (model / "modules.json").write_text(json.dumps(whole + [{"type": "x.Normalize", "path": "2_Normalize"}]))
        self.assertIn("has 3 stages, among them a LogitScore", built(model))
        (model / "modules.json").write_text(json.dumps(whole))
        for template, said in (("{{ messages[0].content }}", "it writes the same, whatever the document is"), ("{{ x", "chat template"), ("", "chat template")):
            (model / "chat_template.jinja").write_text(template)
            with self.subTest(template):
                self.assertIn(said, built(model))
        shutil.rmtree(folder)
        folder, model = switched_off("bert", {})
        (model / "modules.json").write_text(json.dumps(whole))
        shutil.copytree(FIXTURES / "qwen3-yes-no/1_LogitScore", model / "1_LogitScore")
        self.assertIn("Spate does of Llama, Mistral, Qwen 2 and Qwen 3", built(model))
        shutil.rmtree(folder)


# As Qwen3's own folders have it.
CONVERSATIONS = "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
ORIGINAL = {"architectures": ["Qwen3ForSequenceClassification"], "classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": True}


@contextlib.contextmanager
def published(config=None, template=CONVERSATIONS):
    """Qwen3-Reranker's own folder: a decoder, of which nothing says that it ranks; or what a config.json says."""
    folder, model = switched_off("qwen3-yes-no", {"config.json": config or {}})
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (model / name).unlink()
    shutil.rmtree(model / "1_LogitScore")
    (model / "model.gguf").unlink()
    (model / "chat_template.jinja").write_text(template)
    try:
        yield model
    finally:
        shutil.rmtree(folder)


def pair_scores(server, pairs):
    left, right = zip(*pairs)
    return [item["score"] for item in ask(server, "/v1/score", {"text_1": left, "text_2": right})[1]["data"]]


class Words(unittest.TestCase):
    """Rankers by words of their vocabulary, of which no modules.json tells."""

    def test_a_folder_as_it_is_published_ranks_where_that_is_asked(self):
        want = expected("qwen3-yes-no")
        pairs, scores = [case["text"] for case in want["pairs"]], [score for score, in want["twin"]]
        for options, config in ((("--rerank",), {}), ((), ORIGINAL), (("--rerank",), ORIGINAL),
                                ((), {"classifier_from_token": ["no", "yes"], "method": "from_2_way_softmax"})):
            with self.subTest(f"{options} {config}"), published(config) as model, \
                    served(model, "--quant-mode", "FP32", *options) as server:
                self.assertLess(off(pair_scores(server, pairs), scores), CLOSE)
        with published({**ORIGINAL, "classifier_from_token": ["yes", "no"]}) as model, served(model, "--quant-mode", "FP32") as server:
            self.assertLess(off(pair_scores(server, pairs), [1 - score for score in scores]), CLOSE)

    def test_one_word_is_the_score_alone_behind_a_template_of_its_own(self):
        """The same folder by a LogitScore of one token, whose scores are those of sentence-transformers."""
        template = (FIXTURES / "qwen3-yes-no/chat_template.jinja").read_text()
        pairs = [case["text"] for case in expected("qwen3-yes-no")["pairs"]]
        folder, model = switched_off("qwen3-yes-no", {"1_LogitScore/config.json": {"false_token_id": None},
                                                      "config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": None}})
        with served(model, "--quant-mode", "FP32") as server:
            want = pair_scores(server, pairs)
        shutil.rmtree(folder)
        for config in ({"classifier_from_token": ["yes"]}, {"classifier_from_token": ["yes"], "method": "no_post_processing"}):
            with published(config, template) as model, served(model, "--quant-mode", "FP32") as server:
                self.assertEqual(pair_scores(server, pairs), want)

    def test_a_template_counts_by_what_it_does(self):
        want = expected("qwen3-yes-no")
        pairs, scores = [case["text"] for case in want["pairs"]], [score for score, in want["twin"]]
        documents = "{% for document in documents or [] %}{{ document.text }}{% endfor %}"
        known = "{% for m in messages %}{% if m.role in ('system', 'user', 'assistant') %}{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}"
        loud = "A document of {{ messages | length }}. {% for m in messages %}<|im_start|>{{ m.role | upper }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        turns = "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
        raises = "{{ raise_exception('no document') if messages[0].role != 'user' }}{{ messages[0].content }}"
        for template in (CONVERSATIONS, documents + CONVERSATIONS, documents + known, loud, turns, raises):
            with self.subTest(template), published(ORIGINAL, template) as model, Engine(model, "--quant-mode", "FP32") as engine:
                self.assertIn("not of a query and a document", engine.said)
                with Server(engine, backend=BACKEND) as server:
                    self.assertLess(off(pair_scores(server, pairs), scores), CLOSE)
            with self.subTest(template), published({"classifier_from_token": ["yes"], "architectures": ["Qwen3Model"]}, template) as model:
                self.assertIn("is not one of a query and a document", built(model))
        joins = "<|im_start|>{{ messages[0].content }} | {{ messages[1].content }}<|im_end|>"
        roles = ("<|im_start|>{% for m in messages if m.role == 'query' %}{{ m.content }}{% endfor %} | "
                 "{% for m in messages if m.role == 'document' %}{{ m.content }}{% endfor %}<|im_end|>")
        for template in (joins, roles, roles.replace("document", "doc' ~ 'ument")):
            with self.subTest(template), published(ORIGINAL, template) as model, Engine(model, "--quant-mode", "FP32") as engine:
                self.assertNotIn("a query and a document", engine.said)
                with Server(engine, backend=BACKEND) as server:
                    _, body = ask(server, "/v1/classify", {"input": [ids_of(server, f"<|im_start|>{a} | {b}<|im_end|>") for a, b in pairs]})
                    self.assertEqual(pair_scores(server, pairs), [item["probs"][0] for item in body["data"]])
        with published(ORIGINAL, "{{ x") as model:
            self.assertIn("chat template", built(model))

    def test_serve_builds_what_is_asked_for(self):
        with published() as model, tempfile.TemporaryDirectory() as cache:
            done = subprocess.run([SPATE, "embed", model, "--cache-dir", cache, "--rerank", "a"], capture_output=True, text=True)
            self.assertIn("scores two texts, which its chat template joins", done.stderr)
            done = subprocess.run([SPATE, "embed", model, "--cache-dir", cache, "a"], capture_output=True, text=True)
            self.assertIn("generates text; it makes no vectors", done.stderr)

    def test_what_cannot_rank_has_a_sentence(self):
        said_of_words = "expected to be a list of two tokens"
        for config, said in (({"classifier_from_token": ["no", "maybe"], "method": "from_2_way_softmax"}, 'has no token "maybe"'),
                             ({"classifier_from_token": ["no", "yes"]}, said_of_words), ({"classifier_from_token": "yes"}, said_of_words),
                             ({"classifier_from_token": ["yes", 7], "method": "from_2_way_softmax"}, said_of_words),
                             ({"classifier_from_token": ["yes", "yes"], "method": "from_2_way_softmax"}, "the same token twice"),
                             ({"classifier_from_token": ["yes"], "architectures": ["GPT2LMHeadModel"]}, "Qwen 2 and Qwen 3; the network is of architecture GPT2"),
                             ({"classifier_from_token": ["yes"], "architectures": ["Qwen3Model"]}, "is not one of a query and a document")):
            with self.subTest(str(config)), published(config) as model:
                self.assertIn(said, built(model))
        with published({"classifier_from_token": None}) as model, Engine(model):
            pass  # vLLM's default
        for name, said in (("bert", "rerank is set, and the model bert makes vectors"), ("bert-labels", "tells several labels"),
                           ("qwen3/model.gguf", "makes vectors")):
            engine = Engine(FIXTURES / name, "--rerank")
            with self.subTest(name):
                self.assertIn(said, engine.sentence or "it was built")
            engine.remove()
        for name in ("bert-pairs", "qwen3-yes-no", "qwen3-yes-no/model.gguf"):
            with self.subTest(name), Engine(FIXTURES / name, "--rerank"):
                pass  # they rank anyway


class Requests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine(FIXTURES / "bert", "--quant-mode", "FP32")
        cls.server = Server(cls.engine, backend="cpu")
        cls.texts = [case["text"] for case in expected("bert")["texts"]]

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        cls.engine.remove()

    def refused(self, path, fields, status, said, param=None):
        got, body = ask(self.server, path, fields)
        self.assertEqual(got, status, body)
        self.assertIn(said, body["error"]["message"])
        self.assertEqual(body["error"]["param"], param)

    def test_base64_holds_the_same_numbers(self):
        plain = vectors(self.server, self.texts)
        packed = vectors(self.server, self.texts, encoding_format="base64")
        for a, b in zip(plain, packed):
            self.assertEqual(list(struct.unpack(f"<{len(a)}f", struct.pack(f"<{len(a)}f", *a))),
                             list(struct.unpack(f"<{len(a)}f", base64.b64decode(b, validate=True))))

    def test_fewer_dimensions_are_the_first_ones_normed_by_themselves(self):
        for whole, part in zip(vectors(self.server, self.texts), vectors(self.server, self.texts, dimensions=7)):
            length = math.sqrt(sum(x * x for x in whole[:7]))
            self.assertLess(off(part, [x / length for x in whole[:7]]), 1e-6)

    def test_plain_vectors_are_those_before_the_norm(self):
        normed, plain = vectors(self.server, self.texts, normalize=True), vectors(self.server, self.texts, normalize=False)
        self.assertEqual(normed, vectors(self.server, self.texts))
        for whole, part in zip(normed, plain):
            length = math.sqrt(sum(x * x for x in part))
            self.assertGreater(abs(length - 1), 1e-2)
            self.assertLess(off(whole, [x / length for x in part]), 1e-6)

    def test_a_text_alone_and_its_ids_have_the_same_bytes(self):
        together = vectors(self.server, self.texts)
        for text, vector in zip(self.texts, together):
            self.assertEqual(vectors(self.server, text), [vector])
        ids = [[2, 8, 9, 3], [2, 3]]
        self.assertEqual(vectors(self.server, ids)[0], vectors(self.server, ids[0])[0])

    def test_usage_counts_tokens(self):
        _, body = ask(self.server, "/v1/embeddings", {"input": self.texts})
        tokens = sum(case["tokens"] for case in expected("bert")["texts"])
        self.assertEqual(body["usage"], {"prompt_tokens": tokens, "total_tokens": tokens})
        self.assertEqual([item["index"] for item in body["data"]], list(range(len(self.texts))))

    def test_long_texts_are_refused_or_cut(self):
        text = "hello world " * 40
        self.refused("/v1/embeddings", {"input": text}, 400, "The text has 82 tokens, more than max_seq_len 48")
        self.assertEqual(vectors(self.server, text, truncate_prompt_tokens=6), vectors(self.server, "hello world " * 2))
        self.assertEqual(vectors(self.server, text, truncate_prompt_tokens=-1), vectors(self.server, "hello world " * 23))
        self.refused("/v1/embeddings", {"input": "a", "truncate_prompt_tokens": 49}, 400, "expected 1 to max_seq_len 48")

    def test_what_cannot_be_is_refused(self):
        for fields, said, param in (
                ({}, "input is missing", "input"), ({"input": []}, "input has 0 texts", "input"),
                ({"input": ["a"] * 1025}, "input has 1025 texts", "input"), ({"input": ["a", 7]}, "input[1] is no string", "input"),
                ({"input": [[1, "a"]]}, "input[0] is no string and no list", "input"), ({"input": {}}, "input has 0 texts", "input"),
                ({"input": [-1]}, "input[0] is no string and no list", "input"), ({"input": [160]}, "input has the token id 160, expected 0 to 159", "input"),
                ({"input": [[3], [2, 200]]}, "input has the token id 200, expected 0 to 159", "input"),
                ({"input": [3] * 49}, "The prompt has 49 tokens", None),
                ({"input": "a", "dimensions": 0}, "dimensions must be a whole number", "dimensions"),
                ({"input": "a", "dimensions": 37}, "dimensions is 37, expected 1 to 36", "dimensions"),
                ({"input": "a", "normalize": "no"}, "normalize must be true or false", "normalize"),
                ({"input": "a", "max_tokens_per_doc": 9}, "max_tokens_per_doc is not taken here", "max_tokens_per_doc"),
                ({"input": "a", "instruct": "b"}, "instruct is not taken here", "instruct"),
                ({"input": "a", "use_activation": "no"}, "use_activation must be true or false", "use_activation"),
                ({"input": "a", "use_activation": False}, "the model makes vectors, which have none", "use_activation"),
                ({"input": "a", "encoding_format": "int8"}, "encoding_format must be", "encoding_format"),
                ({"input": "a", "timeout_s": -1}, "timeout_s must be", "timeout_s"),
                ({"input": "a", "model": 7}, "model must be a string", "model")):
            with self.subTest(str(fields)[:60]):
                self.refused("/v1/embeddings", fields, 400, said, param)
        self.refused("/v1/embeddings", {"input": "a", "model": "gpt"}, 404, "There is no model", "model")
        self.refused("/v1/classify", {"input": "a"}, 400, "it tells no labels")
        self.refused("/v1/completions", {"prompt": "a"}, 400, "it generates no text")
        self.refused("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}, 400, "it generates no text")

    def test_vectors_rank_and_score_by_their_cosine(self):
        query, documents = self.texts[0], self.texts[1:]
        all_vectors = vectors(self.server, self.texts)
        want = [cosine(all_vectors[0], vector) for vector in all_vectors[1:]]
        _, body = ask(self.server, "/v1/score", {"text_1": query, "text_2": documents})
        self.assertLess(off([item["score"] for item in body["data"]], want), 1e-6)
        _, body = ask(self.server, "/v1/rerank", {"query": query, "documents": documents, "top_n": 3})
        order = sorted(range(len(want)), key=lambda i: -want[i])[:3]
        self.assertEqual([item["index"] for item in body["results"]], order)
        self.assertEqual([item["document"]["text"] for item in body["results"]], [documents[i] for i in order])
        _, body = ask(self.server, "/v1/rerank", {"query": query, "documents": [{"text": d} for d in documents],
                                                  "return_documents": False})
        self.assertNotIn("document", body["results"][0])
        for one, two in (("data_1", "data_2"), ("queries", "documents")):
            _, other = ask(self.server, "/score", {one: query, two: documents})
            self.assertLess(off([item["score"] for item in other["data"]], want), 1e-6)
            self.refused("/v1/score", {two: ["c"]}, 400, f"{one} is missing", one)
            self.refused("/v1/score", {one: ["a", "b"], two: ["c"]}, 400, f"{one} has 2 texts and {two} has 1", two)
        self.refused("/v1/score", {}, 400, "text_1 is missing", "text_1")
        _, ours = ask(self.server, "/rerank", {"query": query, "documents": documents, "top_n": 3})
        self.assertEqual([item["index"] for item in ours["results"]], order)
        self.assertIn("document", ours["results"][0])
        status, cohere = ask(self.server, "/v2/rerank", {"model": "bert", "query": query, "documents": documents, "top_n": 3})
        self.assertEqual((status, sorted(cohere)), (200, ["id", "meta", "results"]))
        self.assertEqual(cohere["results"], [{key: item[key] for key in ("index", "relevance_score")} for item in ours["results"]])
        self.assertEqual(cohere["meta"], {"api_version": {"version": "2"}, "tokens": {"input_tokens": ours["usage"]["prompt_tokens"]}})
        self.refused("/v1/rerank", {"query": "a", "documents": ["b"], "max_chunks_per_doc": 9}, 400, "max_chunks_per_doc is not taken",
                     "max_chunks_per_doc")
        titled = {"query": "a", "documents": [{"text": "b"}, {"title": "c", "text": "d"}]}
        self.refused("/v1/rerank", titled, 400, 'documents[1] has "title" beside its text, which would count for nothing', "documents")
        for fields in (["title", "text"], ["title"], [], "text", 7):
            self.refused("/v1/rerank", titled | {"rank_fields": fields}, 400, 'rank_fields must be ["text"]', "rank_fields")
        plain = {"query": "a", "documents": ["b", "d"], "max_tokens_per_doc": 0}
        self.assertEqual(ask(self.server, "/v1/rerank", titled | {"rank_fields": ["text"]})[1]["results"],
                         ask(self.server, "/v1/rerank", plain)[1]["results"])
        for path, fields in (("/v1/rerank", {"query": "a", "documents": ["b"]}), ("/v1/score", {"text_1": "a", "text_2": "b"})):
            self.refused(path, fields | {"use_activation": False}, 400, "the model makes vectors, which have none", "use_activation")
            self.assertEqual(ask(self.server, path, fields | {"use_activation": True})[0], 200)
        self.refused("/v1/rerank", {"query": ["a"], "documents": ["b"]}, 400, "query must be a string", "query")
        self.refused("/v1/score", {"text_1": ["a", "b"], "text_2": ["c"]}, 400, "text_1 has 2 texts and text_2 has 1", "text_2")

    def test_clients_share_steps_and_get_what_they_have_alone(self):
        alone = {text: vectors(self.server, text)[0] for text in self.texts}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for i, got in enumerate(pool.map(lambda i: vectors(self.server, self.texts[i % 6:] * 9), range(48))):
                self.assertEqual(got, [alone[text] for text in self.texts[i % 6:]] * 9)

    def test_a_client_that_leaves_is_forgotten(self):
        body = json.dumps({"input": ["hello world " * 23] * 1000}).encode()
        with self.server.socket() as client:
            client.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                           % len(body) + body)
        wait_for(lambda: self.server.metric("vllm:num_requests_running{model_name=\"bert\"}") == 0, "nobody's texts to end")
        self.assertEqual(len(vectors(self.server, "a")), 1)


LINES = "{{ reasoning_effort }}{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<s>assistant: {% endif %}"


@contextlib.contextmanager
def conversing(name, *options):
    """The fixture with a chat template."""
    folder, model = switched_off(name, {})
    (model / "chat_template.jinja").write_text(LINES)
    try:
        with served(model, "--quant-mode", "FP32", *options) as server:
            yield server
    finally:
        shutil.rmtree(folder)


def ids_of(server, text):
    """Special tokens in the text are tokens."""
    return ask(server, "/tokenize", {"prompt": text, "add_special_tokens": False})[1]["tokens"]


class Conversations(unittest.TestCase):
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": [{"type": "text", "text": "a number"}]}]
    text = "<s>user: hello</s><s>assistant: a number</s>"

    def test_messages_become_a_vector_as_the_template_writes_them(self):
        with conversing("qwen3") as server:
            ids = ids_of(server, self.text)
            status, body = ask(server, "/v1/embeddings", {"messages": self.messages})
            self.assertEqual((status, [item["index"] for item in body["data"]]), (200, [0]), body)
            self.assertEqual(body["usage"]["prompt_tokens"], len(ids))
            self.assertEqual([body["data"][0]["embedding"]], vectors(server, ids))
            for fields, text in (({"add_generation_prompt": True}, self.text + "<s>assistant: "), ({"user": "x", "prompt_name": ""}, self.text),
                                 ({"reasoning_effort": "low"}, "low" + self.text)):
                _, body = ask(server, "/v1/embeddings", {"messages": self.messages, **fields})
                self.assertEqual([body["data"][0]["embedding"]], vectors(server, ids_of(server, text)))
            _, body = ask(server, "/v1/embeddings", {"messages": self.messages, "truncate_prompt_tokens": 9})
            self.assertEqual([body["data"][0]["embedding"]], vectors(server, ids[:9]))
            _, body = ask(server, "/v1/embeddings", {"messages": [{"role": "user", "content": "<s>"}]})
            self.assertEqual(body["usage"]["prompt_tokens"], len(ids_of(server, "<s>user: ")) + 4)

    def test_a_conversation_may_be_as_long_as_a_text(self):
        with conversing("qwen3", "--max-seq-len", "40") as server:
            def vector(length, **fields):
                return ask(server, "/v1/embeddings", {"messages": [{"role": "user", "content": "a" * length}], **fields})
            around = vector(1)[1]["usage"]["prompt_tokens"] - 1
            self.assertEqual(vector(40 - around)[0], 200)
            status, body = vector(41 - around)
            self.assertEqual((status, body["error"]["message"]),
                             (400, "The conversation has more tokens than max_seq_len 40: shorten it, or have it cut (truncate_prompt_tokens)."))
            for length in (41 - around, 4000):
                self.assertEqual(vector(length, truncate_prompt_tokens=-1)[1]["data"][0]["embedding"],
                                 vectors(server, ids_of(server, "<s>user: " + "a" * 40)[:40])[0])

    def test_messages_have_labels_too(self):
        with conversing("gemma2-labels") as server:
            _, body = ask(server, "/v1/classify", {"messages": self.messages})
            _, want = ask(server, "/v1/classify", {"input": ids_of(server, self.text)})
            self.assertEqual(body["data"], want["data"])

    def test_what_cannot_be_a_conversation_has_a_sentence(self):
        with conversing("qwen3") as server:
            for fields, said, param in (({"messages": self.messages, "input": "a"}, "both input and messages", "messages"),
                                        ({"messages": self.messages, "prompt_name": "query"}, "prompt_name goes with texts", "messages"),
                                        ({"messages": self.messages, "add_generation_prompt": 1}, "must be true or false", "add_generation_prompt"),
                                        ({"messages": []}, "messages", None), ({"messages": "a"}, "messages", None),
                                        ({"messages": [{"role": "user", "content": "a" * 400}]}, "The conversation has more tokens than max_seq_len", None)):
                status, body = ask(server, "/v1/embeddings", fields)
                with self.subTest(str(fields)[:80]):
                    self.assertEqual((status, body["error"]["param"]), (400, param), body)
                    self.assertIn(said, body["error"]["message"])
        with served(FIXTURES / "qwen3", "--quant-mode", "FP32") as server:
            status, body = ask(server, "/v1/embeddings", {"messages": self.messages})
            self.assertEqual((status, "has no chat template; send input instead of messages" in body["error"]["message"]), (400, True), body)


class Scores(unittest.TestCase):
    def test_scores_and_labels_may_be_the_networks_own(self):
        with served(FIXTURES / "bert-pairs", "--quant-mode", "FP32") as server:
            fields = {"text_1": "what is a fox", "text_2": ["the quick brown fox", "hello"]}
            score, plain = ([item["score"] for item in ask(server, "/v1/score", fields | more)[1]["data"]]
                            for more in ({}, {"use_activation": False}))
            self.assertLess(off([1 / (1 + math.exp(-x)) for x in plain], score), 1e-6)
            self.assertGreater(off(plain, score), 0.01)
            _, body = ask(server, "/rerank", {"query": "what is a fox", "documents": fields["text_2"], "use_activation": False})
            self.assertEqual(sorted(item["relevance_score"] for item in body["results"]), sorted(plain))
            status, body = ask(server, "/v1/score", fields | {"use_activation": "no"})
            self.assertEqual((status, body["error"]["param"]), (400, "use_activation"))
        with served(FIXTURES / "bert-labels", "--quant-mode", "FP32") as server:
            probs, plain = (ask(server, "/v1/classify", {"input": "hello", **more})[1]["data"][0]["probs"]
                            for more in ({}, {"use_activation": False}))
            whole = [math.exp(x) for x in plain]
            self.assertLess(off([x / sum(whole) for x in whole], probs), 1e-6)

    def test_documents_are_cut_to_so_many_tokens(self):
        long, short = "hello world " * 40, "hello world hello"
        for name, fields in (("bert", {}), ("bert-dense", {"prompt_name": "passage"}), ("bert-dense", {}), ("bert-pairs", {})):
            with self.subTest(f"{name} {fields}"), served(FIXTURES / name, "--quant-mode", "FP32") as server:
                for path in ("/v1/rerank", "/v2/rerank"):
                    _, cut = ask(server, path, {"query": "a number", "documents": [long, "hello"], "max_tokens_per_doc": 3, **fields})
                    _, want = ask(server, path, {"query": "a number", "documents": [short, "hello"], **fields})
                    self.assertEqual([(item["index"], item["relevance_score"]) for item in cut["results"]],
                                     [(item["index"], item["relevance_score"]) for item in want["results"]])
                _, cut = ask(server, "/v1/score", {"text_1": "a number", "text_2": long, "max_tokens_per_doc": 3, **fields})
                _, want = ask(server, "/v1/score", {"text_1": "a number", "text_2": short, **fields})
                self.assertEqual(cut["data"][0]["score"], want["data"][0]["score"])
                status, body = ask(server, "/v1/rerank", {"query": long, "documents": ["a"], "max_tokens_per_doc": 3, **fields})
                self.assertEqual(status, 400, body)  # the query is not cut
                status, body = ask(server, "/v1/rerank", {"query": "a", "documents": ["a"], "max_tokens_per_doc": -3})
                self.assertEqual((status, body["error"]["param"]), (400, "max_tokens_per_doc"), body)

    def test_documents_that_a_template_joins_are_cut_too(self):
        with served(FIXTURES / "qwen3-yes-no", "--quant-mode", "FP32") as server:
            text = "the naïve fox. " * 50
            for most in (1, 6, 7, 12):
                part = ask(server, "/detokenize", {"tokens": ids_of(server, text)[:most]})[1]["prompt"].rstrip("\ufffd")
                _, cut = ask(server, "/v1/score", {"text_1": "hello", "text_2": text, "max_tokens_per_doc": most})
                _, want = ask(server, "/v1/score", {"text_1": "hello", "text_2": part})
                self.assertEqual(cut["data"][0]["score"], want["data"][0]["score"])
            _, whole = ask(server, "/v1/score", {"text_1": "hello", "text_2": "a fox"})
            _, same = ask(server, "/v1/score", {"text_1": "hello", "text_2": "a fox", "max_tokens_per_doc": 100})
            self.assertEqual(whole["data"][0]["score"], same["data"][0]["score"])


    def test_documents_are_cut_between_characters(self):
        with served(FIXTURES / "qwen3-yes-no", "--quant-mode", "FP32") as server:
            def scored(document, **fields):
                body = ask(server, "/v1/score", {"text_1": "hello", "text_2": document, **fields})[1]
                return body["data"][0]["score"], body["usage"]["prompt_tokens"]
            none = scored("")[1]
            for text in ("\U0001f98a" * 3, "a na\u00efve \U0001f98a. \U0001f98a"):
                for most in range(1, len(ids_of(server, text))):
                    part = ask(server, "/detokenize", {"tokens": ids_of(server, text)[:most]})[1]["prompt"]
                    part = part.rstrip("\ufffd")
                    with self.subTest(text=text, most=most):
                        self.assertEqual(scored(text, max_tokens_per_doc=most), scored(part))
                        self.assertLessEqual(scored(part)[1], none + most)

    def test_documents_that_are_normalized_to_longer_ones_are_cut(self):
        folder, model = switched_off("qwen3-yes-no", {"tokenizer.json": {"normalizer": {"type": "NFKC"}}})
        with served(model, "--quant-mode", "FP32") as server:
            fields = {"text_1": "hello", "text_2": "\ufdfa" * 3000, "truncate_prompt_tokens": -1}  # 33 bytes of 3
            for most in (20000, 60000, 200000):
                self.assertEqual(ask(server, "/v1/score", fields | {"max_tokens_per_doc": most})[1].get("data"),
                                 ask(server, "/v1/score", fields)[1]["data"])
        shutil.rmtree(folder)


class Queue(unittest.TestCase):
    TINY = ["--max-queue", "1", "--max-batch-size", "1"]

    def test_a_request_of_many_texts_has_its_answer_however_short_the_queue_is(self):
        texts = [f"{i} hello world" for i in range(1024)]
        with served(FIXTURES / "bert", "--quant-mode", "FP32") as server:
            want = vectors(server, texts)
        with served(FIXTURES / "bert", "--quant-mode", "FP32", serve=self.TINY) as server:
            self.assertTrue(vectors(server, texts) == want)
            _, scores = ask(server, "/v1/score", {"text_1": texts[0], "text_2": texts[1:]})
            self.assertEqual(len(scores["data"]), 1023)
            self.assertEqual(server.metric('llm_requests_refused_total{reason="queue"}'), 0)

    def test_many_such_requests_share_the_queue(self):
        """Some of them find all room taken, and none of their own texts there whose end would tell."""
        texts = [f"{i} hello world" for i in range(200)]
        with served(FIXTURES / "bert", "--quant-mode", "FP32", serve=self.TINY) as server:
            want = vectors(server, texts)

            def again(_):
                while True:
                    status, body = ask(server, "/v1/embeddings", {"input": texts})
                    if status != 429:  # no room for the first of them: then it is refused as a whole, and at once
                        return status, [item["embedding"] for item in body.get("data", [])]

            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                for status, got in pool.map(again, range(16)):
                    self.assertEqual(status, 200)
                    self.assertTrue(got == want)

    def test_whoever_waits_may_leave_and_has_its_time(self):
        with served(FIXTURES / "bert", serve=self.TINY) as server:
            body = json.dumps({"input": ["hello world " * 20] * 1024}).encode()
            for _ in range(3):
                with server.socket() as client:
                    client.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                                   % len(body) + body)
            said = [429]

            def answered():  # those who left may have had texts in the queue still
                said[:] = ask(server, "/v1/embeddings", {"input": ["hello world " * 20] * 1024, "timeout_s": 0.001})
                return said[0] != 429
            wait_for(answered, "room in the queue")
            self.assertEqual(said[0], 504, said)
            self.assertIn("timeout_s", said[1]["error"]["message"])

    def test_a_server_that_ends_ends_them(self):
        with served(FIXTURES / "bert", serve=self.TINY) as server:
            body = json.dumps({"input": ["hello world " * 20] * 1024}).encode()
            with server.socket() as client:
                client.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                               % len(body) + body)
                wait_for(lambda: server.metric("llm_requests_total") > 1, "texts at the engine")
                server.stop()
                server.stop()  # does not wait for those that run
                said = client.makefile("rb").readline()
                self.assertEqual(server.exit_code(), 0)
                self.assertIn(said.split(b" ")[1:2], ([b"503"], [b"200"], []))

    def test_a_bad_text_among_many_ends_them_all(self):
        with served(FIXTURES / "bert", serve=self.TINY) as server:
            for place in (0, 700, 1023):
                texts = ["a"] * 1024
                texts[place] = "hello " * 100
                status, body = ask(server, "/v1/embeddings", {"input": texts})
                self.assertEqual((status, "has 102 tokens" in body["error"]["message"]), (400, True), str(body)[:300])
            self.assertEqual(len(vectors(server, "a")), 1)

    def test_generators_make_no_vectors(self):
        with served(ROOT / "tests/fixtures/model/smollm2") as server:
            status, body = ask(server, "/v1/embeddings", {"input": "a"})
            self.assertEqual((status, "it makes no vectors" in body["error"]["message"]), (400, True), body)


@unittest.skipUnless(BACKEND in ("cpu", "cuda"), "the CPU a step late takes as long")
class Long(unittest.TestCase):
    """Texts of the length that only networks without a table of places take, in one step each."""
    LENGTH = 32768 if BACKEND == "cpu" else 65536

    @classmethod
    def setUpClass(cls):
        folder, model = switched_off("qwen3", {"config.json": {"max_position_embeddings": cls.LENGTH}})
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.engine = Engine(model, "--quant-mode", "FP32", "--max-seq-len", str(cls.LENGTH), "--target", BACKEND)
        cls.addClassCleanup(cls.engine.remove)
        cls.server = Server(cls.engine, "--threads", "1", backend=BACKEND)
        cls.addClassCleanup(cls.server.__exit__)

    def test_health_answers_beside_a_text_that_takes_long(self):
        """That each piece of it, or part, counts as progress is told by unit/runtime/test_step_body and test_step_parts."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(vectors, self.server, [[3] * self.LENGTH])
            seen = {self.server.request("GET", "/health")[0]}
            while not answer.done():
                seen.add(self.server.request("GET", "/health")[0])
                time.sleep(0.1)
        self.assertEqual((len(answer.result()), seen), (1, {200}))

    @unittest.skipIf(BACKEND == "cuda", "a GPU takes a text in one step")
    def test_a_step_in_pieces_has_the_bytes_of_one_that_runs_at_once(self):
        ids = [[4 + (i * k) % 90 for i in range(200)] for k in range(1, 9)]
        alone = [vectors(self.server, [text])[0] for text in ids]
        self.assertEqual(vectors(self.server, ids), alone)


class Pairs(unittest.TestCase):
    def test_rankings_are_the_scores_in_order(self):
        with served(FIXTURES / "bert-pairs", "--quant-mode", "FP32") as server:
            documents = ["the quick brown fox", "hello", "a number", "hello world"]
            _, scores = ask(server, "/v1/score", {"text_1": "what is a fox", "text_2": documents})
            _, ranking = ask(server, "/v1/rerank", {"query": "what is a fox", "documents": documents})
            want = sorted(enumerate(item["score"] for item in scores["data"]), key=lambda item: -item[1])
            self.assertEqual([(item["index"], item["relevance_score"]) for item in ranking["results"]], want)
            status, body = ask(server, "/v1/embeddings", {"input": "a"})
            self.assertEqual((status, "it makes no vectors" in body["error"]["message"]), (400, True), body)

    def test_labels_have_names(self):
        with served(FIXTURES / "bert-labels", "--quant-mode", "FP32") as server:
            cases = expected("bert-labels")["texts"]
            _, body = ask(server, "/v1/classify", {"input": [case["text"] for case in cases]})
            names = ["bad", "so so", "good"]
            self.assertEqual([item["label"] for item in body["data"]],
                             [names[max(range(3), key=lambda k: case["numbers"][k])] for case in cases])
            self.assertEqual(ask(server, "/v1/score", {"text_1": "a", "text_2": "b"})[0], 400)


def ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    place = [0.0] * len(values)
    for rank, i in enumerate(order):
        same = [k for k, j in enumerate(order) if values[j] == values[i]]
        place[i] = sum(same) / len(same)
    return place


def spearman(a, b):
    a, b = ranks(a), ranks(b)
    return cosine([x - sum(a) / len(a) for x in a], [x - sum(b) / len(b) for x in b])


class Command(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine(FIXTURES / "bert", "--quant-mode", "FP32")

    @classmethod
    def tearDownClass(cls):
        cls.engine.remove()

    def run_embed(self, *arguments, model=None, given=""):
        return subprocess.run([SPATE, "embed", model or self.engine.path, "--threads", "1", *arguments], capture_output=True, text=True,
                              input=given)

    def test_texts_of_the_command_line_and_of_lines_have_their_vectors(self):
        cases = expected("bert")["texts"]
        texts = [case["text"] for case in cases]
        done = self.run_embed("--", *texts)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line["index"] for line in lines], list(range(len(texts))))
        for line, case in zip(lines, cases, strict=True):
            self.assertLess(off(line["embedding"], case["numbers"]), CLOSE)
            self.assertEqual(line["tokens"], case["tokens"])
        self.assertEqual(self.run_embed(given="\n".join(texts) + "\n").stdout, done.stdout)
        self.assertEqual(self.run_embed(given="\n".join(texts)).stdout, done.stdout)
        plain = self.run_embed("--format", "plain", *texts).stdout.splitlines()
        self.assertEqual([[float(x) for x in line.split(" ")] for line in plain], [line["embedding"] for line in lines])
        self.assertEqual(self.run_embed(given="").stdout, "")

    def test_more_lines_than_are_at_the_engine_at_once(self):
        texts = [f"{i} hello" for i in range(3000)]
        done = self.run_embed("--max-batch-size", "1", given="\n".join(texts))
        self.assertEqual(done.stderr, "")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line["index"] for line in lines], list(range(3000)))
        alone = json.loads(self.run_embed(texts[2345]).stdout)
        self.assertEqual(lines[2345]["embedding"], alone["embedding"])

    def test_options_are_those_of_requests(self):
        whole = json.loads(self.run_embed("hello world").stdout)["embedding"]
        part = json.loads(self.run_embed("hello world", "--dimensions", "5").stdout)["embedding"]
        length = math.sqrt(sum(x * x for x in whole[:5]))
        self.assertLess(off(part, [x / length for x in whole[:5]]), 1e-6)
        self.assertEqual(json.loads(self.run_embed("hello world " * 40, "--truncate", "4").stdout)["embedding"], whole)
        self.assertEqual(json.loads(self.run_embed("hello world " * 40, "--truncate", "-1").stdout)["tokens"], 48)
        want = expected("bert-dense")
        with Engine(FIXTURES / "bert-dense", "--quant-mode", "FP32") as engine:
            for prompt, numbers_of_it in want["prompts"].items():
                got = json.loads(self.run_embed("--prompt-name", prompt, want["texts"][0]["text"], model=engine.path).stdout)
                self.assertLess(off(got["embedding"], numbers_of_it), CLOSE)
        with Engine(FIXTURES / "bert-labels", "--quant-mode", "FP32") as engine:
            got = json.loads(self.run_embed(expected("bert-labels")["texts"][0]["text"], model=engine.path).stdout)
            self.assertLess(off(got["probs"], expected("bert-labels")["texts"][0]["numbers"]), CLOSE)
            self.assertIn(got["label"], ("bad", "so so", "good"))

    def test_mistakes_have_their_sentences(self):
        for arguments, said in ((["a", "hello " * 100], "Text 2: The text has 102 tokens, more than max_seq_len 48"),
                                (["--prompt-name", "query", "a"], "prompt_name is \"query\"; the model bert has 0 prompts"),
                                (["--dimensions", "99", "a"], "dimensions is 99, expected 1 to 36"),
                                (["--format", "csv", "a"], "json or plain"), (["--truncate", "-2", "a"], "--truncate")):
            done = self.run_embed(*arguments)
            with self.subTest(said):
                self.assertEqual(done.returncode, 1)
                self.assertIn(said, done.stderr)
        with Engine(ROOT / "tests/fixtures/model/smollm2") as engine:
            self.assertIn("generates text; it makes no vectors: see spate generate", self.run_embed("a", model=engine.path).stderr)

    def test_input_that_cannot_be_read_is_not_taken_for_its_end(self):
        folder = os.open(FIXTURES, os.O_RDONLY)
        try:
            done = subprocess.run([SPATE, "embed", self.engine.path, "--threads", "1"], capture_output=True, text=True, stdin=folder)
        finally:
            os.close(folder)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("Standard input cannot be read", done.stderr)

    def test_serve_welcomes_with_a_request_that_it_answers(self):
        for name, path in (("bert", "/v1/embeddings"), ("bert-pairs", "/v1/rerank"), ("bert-labels", "/v1/classify")):
            with self.subTest(name), served(FIXTURES / name) as server:
                welcome = "".join(server.process.stdout.readline() for _ in range(3))
                self.assertIn(path, welcome)
                body = welcome.split("-d '")[1].split("'\n")[0]
                self.assertEqual(ask(server, path, json.loads(body))[0], 200)


class Description(unittest.TestCase):
    def test_answers_are_as_described(self):
        """Every object of these routes has the fields that /openapi.json tells, and each of those is somewhere."""
        with served(FIXTURES / "bert") as vectors_of, served(FIXTURES / "bert-pairs") as pairs, served(FIXTURES / "bert-labels") as labels:
            schemas = Schemas(vectors_of)
            asked = [(vectors_of, "/v1/embeddings", "Embeddings", {"input": "a"}),
                     (vectors_of, "/v1/embeddings", "Embeddings", {"input": ["a"], "encoding_format": "base64"}),
                     (pairs, "/v1/rerank", "Ranking", {"query": "a", "documents": ["b"], "return_documents": True}),
                     (pairs, "/v2/rerank", "CohereRanking", {"query": "a", "documents": ["b"]}),
                     (pairs, "/v1/score", "Scores", {"text_1": "a", "text_2": "b"}),
                     (labels, "/v1/classify", "Classes", {"input": "a"})]
            for server, path, name, fields in asked:
                schemas.check(name, ask(server, path, fields)[1])
            paths = json.loads(vectors_of.get("/openapi.json")[2])["paths"]
        for path in ("/v1/embeddings", "/v1/classify", "/classify"):
            wanted = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
            self.assertEqual(wanted["oneOf"], [{"required": ["input"]}, {"required": ["messages"]}])
            self.assertLessEqual({"messages", "add_generation_prompt", "chat_template_kwargs", "tools", "tool_choice", "reasoning_effort"},
                                 set(wanted["properties"]))
        told = {f"{name}.{field}" for name in VECTOR_ANSWERS for field in schemas.schemas[name]["properties"]}
        self.assertEqual(told - schemas.seen, set())


@unittest.skipUnless(os.environ.get("SPATE_TEST_MINILM"), "SKIPPED: SPATE_TEST_MINILM is not what scripts/get_minilm.sh prints")
class MiniLm(unittest.TestCase):
    def check(self, mode, least):
        known = json.loads((FIXTURES / "minilm.json").read_text())
        with served(os.environ["SPATE_TEST_MINILM"], "--quant-mode", mode) as server:
            got = vectors(server, known["sentences"], truncate_prompt_tokens=-1)
            want = [struct.unpack("<384f", base64.b64decode(text)) for text in known["vectors"]]
            worst = min(cosine(a, b) for a, b in zip(got, want))
            left, right, judged, cosines = zip(*known["similar"])
            scores = [item["score"] for item in ask(server, "/v1/score", {"text_1": left, "text_2": right})[1]["data"]]
            print(f"\n{mode}: least cosine of {len(got)} {worst:.7f}, Spearman {spearman(scores, judged):.4f} "
                  f"(sentence-transformers {spearman(cosines, judged):.4f})")
            self.assertGreaterEqual(worst, least)
            self.assertGreater(spearman(scores, judged), spearman(cosines, judged) - 0.02)

    def test_fp32(self):
        self.check("FP32", 0.99999)

    def test_bf16(self):
        self.check("BF16", 0.999)

    def test_fp16(self):
        self.check("FP16", 0.999)

    def test_int8(self):
        self.check("INT8_WEIGHT", 0.999)


if __name__ == "__main__":
    unittest.main()
