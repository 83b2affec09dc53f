"""spate pull: what it fetches, keeps, resumes and refuses, and that other tools and the other commands find it. The hub
and its store run here, on the loopback (hub_mimic.py); huggingface_hub, where it is there, is the oracle of the cache."""
import base64
import concurrent.futures
import hashlib
import json
import os
import pathlib
import pty
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

from hub_mimic import COMMIT, Hub, Proxy, Repository, blob_id
from spate_server import FINDING, ROOT, SANITIZED, SPATE, WAIT_SECONDS, Server, main, wait_for
from test_media import certificate, tls_context

FIXTURES = ROOT / "tests/fixtures"
FAULTS = os.environ.get("SPATE_FAULT_LIBRARY", "")
TOKEN = "hf_secretsecretsecret"
OTHER = "fedcba9876543210fedcba9876543210fedcba98"
NOISE = [hashlib.sha256(b"%d" % i).digest() * 8192 for i in range(4)]  # files of 256 KiB


def folder_files(folder):
    return {path.name: path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir()) if path.is_file()}


LLAMA2 = {name: data for name, data in folder_files(FIXTURES / "model/llama2").items() if name.endswith(("json", "safetensors"))}
BESIDE = {"README.md": b"# A model", "pytorch_model.bin": b"pickle", "training_args.bin": b"pickle", "onnx/model.onnx": b"x",
          "generation_config.json": b'{"do_sample": false}', "original/consolidated.00.pth": b"pickle"}
QWEN3 = (FIXTURES / "model/qwen3/model.gguf").read_bytes()
SPLIT = folder_files(FIXTURES / "format/split")


class HubCase(unittest.TestCase):
    tls = store_tls = None

    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="spate-pull-")
        self.folder = pathlib.Path(self.scratch.name)
        self.cache = self.folder / "hf/hub"
        self.hub = Hub({"acme/tiny": Repository(LLAMA2 | BESIDE),
                        "acme/noise": Repository({"config.json": b"{}", "model.safetensors": NOISE[0]})}, self.tls, self.store_tls)
        self.variables = {"HF_HOME": str(self.folder / "hf"), "HF_ENDPOINT": self.hub.url(), "HOME": str(self.folder),
                          "HF_HUB_DOWNLOAD_TIMEOUT": "20", "XDG_CACHE_HOME": str(self.folder / "xdg")}

    def tearDown(self):
        self.hub.end()
        self.scratch.cleanup()

    def environment(self, **more):
        kept = {name: value for name, value in os.environ.items()
                if not name.upper().endswith("_PROXY") and not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        return {name: value for name, value in (kept | self.variables | more).items() if value is not None}

    def spate(self, *arguments, **more):
        done = subprocess.run([SPATE, *map(str, arguments)], capture_output=True, text=True, env=self.environment(**more),
                              timeout=WAIT_SECONDS, cwd=self.folder)
        self.assertNotRegex(done.stderr, FINDING)
        self.assertNotIn(TOKEN, done.stdout + done.stderr)
        return done

    def pull(self, what="acme/tiny", **more):
        done = self.spate("pull", what, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return pathlib.Path(done.stdout.strip()), done.stderr

    def refused(self, sentence, what="acme/noise", **more):
        done = self.spate("pull", what, **more)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertEqual(done.stderr.splitlines()[-1], f"spate: {sentence}")
        return done.stderr

    def begin(self, what, **more):
        return subprocess.Popen([SPATE, "pull", what], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=self.environment(**more), cwd=self.folder)

    def repository_folder(self, name="acme/tiny"):
        return self.cache / f"models--{name.replace('/', '--')}"

    def blob(self, name="acme/noise", file="model.safetensors", tail=""):
        return self.repository_folder(name) / "blobs" / (self.hub.repositories[name].digest(file) + tail)

    def asked_of_store(self):
        return [head.get("Range") for _, _, head in self.hub.store.asked]


# --- what is fetched ------------------------------------------------------------------------------------------------------


class Fetching(HubCase):
    def test_layout(self):
        """That of huggingface_hub: blobs by their digests, links by their names, a ref; of the files those that are read."""
        path, _ = self.pull()
        folder = self.repository_folder()
        self.assertEqual(path, folder / "snapshots" / COMMIT)
        self.assertEqual((folder / "refs/main").read_text(), COMMIT)
        wanted = LLAMA2 | {"generation_config.json": BESIDE["generation_config.json"]}
        wanted.pop("off.json", None)
        self.assertEqual({file.name for file in path.iterdir()}, set(wanted))
        for name, data in wanted.items():
            digest = hashlib.sha256(data).hexdigest() if name.endswith("safetensors") else blob_id(data)
            self.assertEqual(os.readlink(path / name), f"../../blobs/{digest}")
            self.assertEqual((path / name).read_bytes(), data)
        self.assertEqual({blob.name for blob in (folder / "blobs").iterdir()}, {os.readlink(f).rpartition("/")[2] for f in path.iterdir()})

    def test_again(self):
        """What is there is not fetched again, nor is what another revision shares."""
        self.pull()
        self.hub.asked.clear()
        self.hub.store.asked.clear()
        _, said = self.pull()
        self.assertIn(", 0.0 of them fetched now", said)
        self.assertEqual([path for _, path, _ in self.hub.asked if "/resolve/" in path], [])
        changed = LLAMA2 | {"config.json": LLAMA2["config.json"] + b"\n"}
        self.hub.repositories["acme/tiny"] = Repository(changed, commit=OTHER)
        path, _ = self.pull()
        self.assertEqual(path.name, OTHER)
        self.assertEqual([path.rpartition("/")[2] for _, path, _ in self.hub.asked if "/resolve/" in path], ["config.json"])
        self.assertEqual(self.hub.store.asked, [])

    def test_without_links(self):
        """A cache that was copied with its links followed, as huggingface_hub also leaves it where there are none."""
        path, _ = self.pull()
        for link in list(path.iterdir()):
            data = link.read_bytes()
            link.unlink()
            link.write_bytes(data)
        shutil.rmtree(self.repository_folder() / "blobs")
        again, said = self.pull()
        self.assertEqual(again, path)
        self.assertIn(", 0.0 of them fetched now", said)

    def test_revisions(self):
        """Branches, also with a slash, tags and commits."""
        self.hub.repositories["acme/tiny"].branches = ("main", "refs/pr/4", "v1")
        for revision in ("refs/pr/4", "v1"):
            self.pull(f"acme/tiny@{revision}")
            self.assertEqual((self.repository_folder() / "refs" / revision).read_text(), COMMIT)
        self.assertFalse((self.repository_folder() / "refs/main").exists())
        path, _ = self.pull(f"hf.co/acme/tiny@{COMMIT}")
        self.assertEqual(path.name, COMMIT)
        self.refused('acme/tiny has no revision "v2".', "acme/tiny@v2")

    def test_ways(self):
        """Small files that are led to the same server, pages of a list, names with what URLs escape."""
        self.hub.small_redirects = True
        self.hub.repositories["acme/tiny"].page = 2
        self.hub.repositories["acme/tiny"].files["1_Pool ing%&é/config.json"] = b"{}"
        path, _ = self.pull()
        self.assertEqual((path / "1_Pool ing%&é/config.json").read_bytes(), b"{}")
        self.assertGreater(sum("cursor=" in path for _, path, _ in self.hub.asked), 2)

    def test_one_part(self):
        """A model without an organization, as the oldest are called; the hub of today leads to where it has gone."""
        self.hub.repositories["acme/tiny"].former = "tiny"
        path, _ = self.pull("tiny")
        self.assertEqual(path, self.cache / "models--tiny/snapshots" / COMMIT)
        done = self.spate("inspect", "tiny")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.spate("inspect", "gpt2")
        self.assertEqual(done.stderr, f"spate: gpt2 is neither a file or folder here nor a model in the cache {self.cache}: spate pull gpt2 "
                                      "fetches it.\n")
        self.assertIn("none.gguf cannot be opened", self.spate("inspect", "none.gguf").stderr)

    def test_places(self):
        """The cache's variables, the former one too."""
        for variables, where in (({"HF_HUB_CACHE": str(self.folder / "a")}, "a"), ({"HUGGINGFACE_HUB_CACHE": str(self.folder / "b")}, "b"),
                                 ({"HF_HOME": "~/c"}, "c/hub"), ({"HF_HOME": None}, "xdg/huggingface/hub"),
                                 ({"HF_HOME": None, "XDG_CACHE_HOME": None}, ".cache/huggingface/hub")):
            with self.subTest(where=where):
                path, _ = self.pull("acme/noise", **variables)
                self.assertEqual(path, self.folder / where / "models--acme--noise/snapshots" / COMMIT)

    def test_terminal(self):
        """A bar for eyes, a line for each file elsewhere."""
        _, said = self.pull("acme/noise")
        self.assertEqual(said.splitlines(), ["config.json ...", "model.safetensors ...",
                                             "acme/noise: 2 files, 0.3 MB, 0.3 of them fetched now"])
        shutil.rmtree(self.cache)
        screen, terminal = pty.openpty()
        process = subprocess.Popen([SPATE, "pull", "acme/noise"], stdout=subprocess.DEVNULL, stderr=terminal,
                                   env=self.environment(), cwd=self.folder)
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(screen, 1 << 16):
                shown += piece
        except OSError:  # the other side is closed
            pass
        os.close(screen)
        self.assertEqual(process.wait(WAIT_SECONDS), 0, shown)
        self.assertIn(b"model.safetensors [##############################] 0.3/0.3 MB", shown)


class Gguf(HubCase):
    def setUp(self):
        super().setUp()
        files = {"model-Q4_K_M.gguf": QWEN3, "model-Q8_0.gguf": QWEN3 + b"8", "model-UD-Q4_K_M.gguf": QWEN3 + b"u",
                 "imatrix.gguf": b"i", "config.json": b"{}", "README.md": b"#"}
        self.hub.repositories["acme/quants"] = Repository(files)
        self.hub.repositories["acme/odd"] = Repository({"a.IQ3_S.gguf": b"a", "b.Q5_K_S.gguf": b"b", "f/c-Q6_K.gguf": b"c"})
        self.hub.repositories["acme/split"] = Repository(SPLIT | {"other-Q8_0.gguf": b"o"})
        self.hub.repositories["acme/sees"] = Repository({"m-Q4_K_M.gguf": b"m", "mmproj-F32.gguf": b"p", "mmproj-F16.gguf": b"q",
                                                         "preprocessor_config.json": b"{}"})

    def test_choice(self):
        """A quantization in either case, a file, the usual one; no more than that."""
        for what, name in (("acme/quants", "model-Q4_K_M.gguf"), ("acme/quants:q8_0", "model-Q8_0.gguf"),
                           ("acme/quants:UD-Q4_K_M", "model-UD-Q4_K_M.gguf"), ("acme/odd:f/c-Q6_K.gguf", "f/c-Q6_K.gguf"),
                           ("acme/quants:model-Q8_0.gguf@main", "model-Q8_0.gguf"), ("acme/odd:q5_k_s", "b.Q5_K_S.gguf")):
            with self.subTest(what=what):
                shutil.rmtree(self.cache, ignore_errors=True)
                path, said = self.pull(what)
                folder = self.repository_folder(what.partition(":")[0]) / "snapshots" / COMMIT
                self.assertEqual(path, folder / name)
                self.assertIn(": 1 files, ", said)

    def test_no_choice(self):
        names = "a.IQ3_S.gguf, b.Q5_K_S.gguf, f/c-Q6_K.gguf"
        self.refused(f"The repository acme/odd has several GGUF files: add one as :FILE or :QUANT, of {names}.", "acme/odd")
        for asked in ("Q4", "Q5_K", "no.gguf"):
            self.refused(f'The repository acme/odd has no GGUF file "{asked}"; it has {names}.', f"acme/odd:{asked}")
        self.refused('The repository acme/noise has no GGUF file "Q4_0", nor any.', "acme/noise:Q4_0")

    def test_several_in_cache(self):
        """Nothing is missing where there is too much."""
        for name in ("a.IQ3_S.gguf", "b.Q5_K_S.gguf"):
            self.pull(f"acme/odd:{name}")
        said = self.spate("inspect", "acme/odd").stderr
        self.assertRegex(said, r"^spate: acme/odd in the cache has several GGUF files: add one as :FILE or :QUANT, of "
                               r"[^,]+, [^,]+\.gguf\.\n$")

    def test_parts(self):
        """All parts of a split model, which answers as the one in one piece."""
        path, said = self.pull("acme/split:qwen3-00001-of-00005.gguf")
        self.assertIn(": 5 files, ", said)
        self.assertEqual(path.name, "qwen3-00001-of-00005.gguf")
        whole = FIXTURES / "model/qwen3/model.gguf"
        answers = [self.spate("generate", model, "-p", "hello", "-n", "8", "--temperature", "0", HF_HUB_OFFLINE="1")
                   for model in ("acme/split:qwen3-00001-of-00005.gguf", whole)]
        self.assertEqual([answer.returncode for answer in answers], [0, 0], answers[0].stderr)
        self.assertEqual(answers[0].stdout, answers[1].stdout)
        del self.hub.repositories["acme/split"].files["qwen3-00003-of-00005.gguf"]
        shutil.rmtree(self.cache)
        self.refused("The repository acme/split has 4 of the 5 parts of qwen3-00001-of-00005.gguf.",
                     "acme/split:qwen3-00001-of-00005.gguf")

    def test_pair(self):
        """The encoder beside a model comes with it, one of several; both are opened by their folder."""
        path, said = self.pull("acme/sees")
        self.assertIn(": 3 files, ", said)
        self.assertEqual({file.name for file in path.iterdir()}, {"m-Q4_K_M.gguf", "mmproj-F16.gguf", "preprocessor_config.json"})


class Kinds(HubCase):
    def test_torch(self):
        """PyTorch's files where there are no others, in shards, which answer as the safetensors; and one that names a class."""
        model, torch = FIXTURES / "model/mpt_clip", FIXTURES / "format/torch"
        files = {name: data for name, data in folder_files(model).items() if name.endswith("json")}
        shards = {name: data for name, data in folder_files(torch).items() if name.startswith("pytorch_model")}
        self.hub.repositories["acme/torch"] = Repository(files | shards | {"training_args.bin": b"p"})
        path, _ = self.pull("acme/torch")
        self.assertEqual({file.name for file in path.iterdir() if file.name.endswith((".bin", ".index.json"))}, set(shards))
        answers = [self.spate("generate", what, "-p", "hello", "-n", "8", "--temperature", "0", "--quant-mode", "FP32")
                   for what in ("acme/torch", model)]
        self.assertEqual([answer.returncode for answer in answers], [0, 0], answers[0].stderr)
        self.assertEqual(answers[0].stdout, answers[1].stdout)
        self.hub.repositories["acme/class"] = Repository(files | {"pytorch_model.bin": (torch / "object.bin").read_bytes()})
        path, _ = self.pull("acme/class")
        self.assertEqual(self.spate("inspect", "acme/class").stderr,
                         f"spate: {path}/pytorch_model.bin: data.pkl: Byte 2: The pickle names torch.nn.modules.linear.Linear, which is "
                         "none of what a table of tensors needs: it is not run. Save the model's state_dict, as safetensors if you can.\n")

    def test_refused(self):
        kinds = {
            "pickle": ({"config.json": b"{}", "model.pt": b"p"},
                       " has its weights in pickle files alone that are not config.json with pytorch_model.bin or its index: look for "
                       "one with those, safetensors or GGUF."),
            "nothing": ({"README.md": b"x"}, " holds no model that Spate reads: neither config.json with model.safetensors or its index, "
                                             "nor a .gguf file."),
            "index": ({"config.json": b"{}", "model.safetensors.index.json": b"[]"},
                      ': model.safetensors.index.json has no object "weight_map".'),
            "shard": ({"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"a": "../b.safetensors"}}'},
                      ' lacks the file "../b.safetensors" that its model.safetensors.index.json names.'),
        }
        for name, (files, sentence) in kinds.items():
            with self.subTest(name=name):
                self.hub.repositories[f"acme/{name}"] = Repository(files)
                self.refused(f"The repository acme/{name}{sentence}", f"acme/{name}")

    def test_names(self):
        expected = 'expected ORG/NAME (or NAME, as "gpt2"), with or without :FILE or :QUANT and @REVISION'
        for what in ("tiny.git", "a/b/c", "../b", "a/..", "a/b:", "a/b@", "a/b@../x", "a/b:../x", "a/b@x:y", "-a/b", "a/b--c", "a/b.git",
                     "a b/c", "a/" + "n" * 100, "http://a/b", "a/b@x\ny", "a/b@.x", "a/b:/x"):
            with self.subTest(what=what):
                done = self.spate("pull", what)
                self.assertEqual(done.returncode, 1)
                shown = what.replace("\n", " ")
                self.assertIn(done.stderr, (f'spate: "{shown}" names no model of the Hugging Face hub: {expected}.\n',
                                            f'spate: pull has no option "{what}": see spate pull --help.\n'))


# --- what goes wrong ------------------------------------------------------------------------------------------------------


class Faults(HubCase):
    def test_broken(self):
        """Connections that end are begun again where they ended."""
        self.hub.faults["model.safetensors"] = ["cut", "cut", None]
        path, said = self.pull("acme/noise")
        self.assertEqual((path / "model.safetensors").read_bytes(), NOISE[0])
        self.assertEqual(self.asked_of_store(), [None, "bytes=65536-", "bytes=131072-"])
        self.assertIn(f"spate: 127.0.0.1:{self.hub.store.server_port} ended the connection before its response.", said)
        self.assertFalse(self.blob(tail=".incomplete").exists())

    def test_stopped(self):
        """SIGINT, SIGTERM and SIGKILL leave what has come, and the next run goes on."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with self.subTest(signal=number):
                shutil.rmtree(self.cache, ignore_errors=True)
                self.hub.store.asked.clear()
                self.hub.faults["model.safetensors"] = ["cut and hold", None]
                kept = self.blob(tail=".incomplete")
                process = self.begin("acme/noise")
                wait_for(lambda: kept.exists() and kept.stat().st_size == 65536, "a quarter of the file")
                process.send_signal(number)
                _, said = process.communicate(timeout=WAIT_SECONDS)
                if number != signal.SIGKILL:
                    self.assertEqual(process.returncode, 1)
                    self.assertEqual(said.splitlines()[-1], "spate: Interrupted: spate pull acme/noise goes on where it was.")
                self.assertFalse((self.repository_folder("acme/noise") / "refs/main").exists())
                path, _ = self.pull("acme/noise")
                self.assertEqual((path / "model.safetensors").read_bytes(), NOISE[0])
                self.assertEqual(self.asked_of_store(), [None, "bytes=65536-"])

    def test_resumed_anew(self):
        """Ranges that are ignored, refused or answered with others: the file comes from its start."""
        for fault, asked in (("ranges ignored", [None, "bytes=65536-"]), ("range refused", [None, "bytes=65536-", None]),
                             ("other range", [None, "bytes=65536-", None])):
            with self.subTest(fault=fault):
                shutil.rmtree(self.cache, ignore_errors=True)
                self.hub.store.asked.clear()
                self.hub.faults["model.safetensors"] = ["cut", fault, None]
                path, said = self.pull("acme/noise")
                self.assertEqual((path / "model.safetensors").read_bytes(), NOISE[0])
                self.assertEqual(self.asked_of_store(), asked)
                if len(asked) == 3:
                    self.assertRegex(said, r"answered with status (206|416) and \"bytes .*\", asked for model.safetensors from byte "
                                           r"65536 of 262144\.")

    def test_no_progress(self):
        """What was dropped and comes again is no new byte: five attempts, and no more."""
        self.hub.faults["model.safetensors"] = ["cut", "range refused"] * 10
        self.refused(f"127.0.0.1:{self.hub.store.server_port} ended the connection before its response.")
        self.assertEqual(self.asked_of_store(), [None, "bytes=65536-", None, "bytes=65536-", None])

    def test_damaged(self):
        """What another run left is not what was listed: it is fetched whole, once."""
        kept = self.blob(tail=".incomplete")
        for left, asked in ((b"\0" * 1000, ["bytes=1000-", None]), (NOISE[1], [None]), (NOISE[0] + b"more", [None]), (NOISE[0], []),
                            (NOISE[0][:1000], ["bytes=1000-"])):
            with self.subTest(size=len(left), asked=asked):
                shutil.rmtree(self.cache, ignore_errors=True)
                self.hub.store.asked.clear()
                kept.parent.mkdir(parents=True)
                kept.write_bytes(left)
                path, _ = self.pull("acme/noise")
                self.assertEqual((path / "model.safetensors").read_bytes(), NOISE[0])
                self.assertEqual(self.asked_of_store(), asked)

    def test_never(self):
        """What no second attempt mends: one sentence each, and nothing that could be taken for a model."""
        store = f"127.0.0.1:{self.hub.store.server_port}"
        digest, spoilt = (hashlib.sha256(data).hexdigest() for data in (NOISE[0], NOISE[0][:-1] + bytes([NOISE[0][-1] ^ 1])))
        for fault, sentence in (
                ("wrong sum", f"model.safetensors came with the digest {spoilt}, expected {digest}: it was changed on the way, and is "
                              "removed."),
                ("too short", f"{store} sends 262137 bytes of model.safetensors, expected 262144."),
                ("too long", f"{store} sends 262151 bytes of model.safetensors, expected 262144."),
                ("encoded", f'{store} sends model.safetensors encoded as "gzip", which was not asked for.'),
                ("endless", "More than the 262144 bytes that model.safetensors has are sent for it.")):
            with self.subTest(fault=fault):
                shutil.rmtree(self.cache, ignore_errors=True)
                self.hub.faults["model.safetensors"] = [fault]
                self.refused(sentence)
                self.assertFalse(self.blob().exists())
                self.assertFalse((self.repository_folder("acme/noise") / "refs").exists())
                done = self.spate("inspect", "acme/noise")
                self.assertEqual(done.returncode, 1)

    def test_no_http(self):
        """Heads and chunks that are none, or contradict each other; ways that lead out of HTTP; parts that nobody asked for."""
        store = f"127.0.0.1:{self.hub.store.server_port}"
        ok, moved, chunked = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
        no_http, leads = f"{store} sent what is no HTTP: ", f"{store} leads to an address that cannot be asked for. "
        part = f'{store} answered with status 206 and "bytes 0-7/8", asked for model.safetensors from byte 0 of 262144.'
        for sent, sentence in (
                (ok + b"Content-Length: 262144\r\nContent-Length: 8\r\n\r\n", no_http + "unexpected content-length header."),
                (ok + b"Content-Length: 262144\r\n" + chunked, no_http + "unexpected content-length header."),
                (ok + b"Content-Length: -1\r\n\r\n", no_http + "invalid character in content-length header."),
                (ok + chunked + b"f" * 17 + b"\r\nx", no_http + "invalid character in content-length header."),
                (ok + chunked + b"zz\r\nx", no_http + "invalid character in chunk size header."),
                (ok + b"X: " + b"y" * 200000 + b"\r\n\r\n", no_http + "too many header bytes seen; overflow detected."),
                (ok + b"X: a\0b\r\n\r\n", no_http + "invalid character in header."),
                (b"\0" * 100, no_http + "invalid constant string."),
                (moved + b"Location: file:///etc/passwd\r\n\r\n", leads + "The URL begins with neither http:// nor https://."),
                (moved + b"Location: http://127.0.0.1:99999/\r\n\r\n", leads + "The URL's port is no number from 1 to 65535."),
                (moved + b"Location: http://u:p@127.0.0.1/\r\n\r\n",
                 leads + "The URL names a user, and none is told to a server: leave out what stands before the @."),
                (b"HTTP/1.1 206 Part\r\nContent-Length: 8\r\nContent-Range: bytes 0-7/8\r\n\r\n12345678", part),
                (b"HTTP/1.1 204 None\r\n\r\n", f"{store} answered with status 204 for model.safetensors.")):
            with self.subTest(sent=sent[:80]):
                shutil.rmtree(self.cache, ignore_errors=True)
                self.hub.faults["model.safetensors"] = [sent]
                self.refused(sentence)
                self.assertEqual([path.stat().st_size for path in self.blob().parent.glob("*.incomplete")], [0])
                self.assertFalse(self.blob().exists())

    def test_ways(self):
        hub, store = f"127.0.0.1:{self.hub.server_port}", f"127.0.0.1:{self.hub.store.server_port}"
        for fault, sentence in (("loop", f"{hub} leads on and on: more than 10 redirects."),
                                ("nowhere", f"{hub} answered with status 302, which leads elsewhere, and not where to.")):
            self.hub.way_faults["model.safetensors"] = fault
            self.refused(sentence)
        self.hub.way_faults.clear()
        with self.subTest("a store without it"):
            self.hub.store.hub = Hub({})
            self.refused(f"{store} answered with status 403 for model.safetensors.")
            self.hub.store.hub.end()
            self.hub.store.hub = self.hub

    def test_silent(self):
        """A server that stops to send is not waited for longer than asked, five times."""
        self.hub.faults["model.safetensors"] = ["silent", None]
        path, said = self.pull("acme/noise", HF_HUB_DOWNLOAD_TIMEOUT="1")
        self.assertEqual((path / "model.safetensors").read_bytes(), NOISE[0])
        self.assertIn(f"spate: 127.0.0.1:{self.hub.store.server_port} has sent nothing for 1 seconds.", said)

    def test_busy(self):
        """Answers that ask to come again."""
        self.hub.api_faults["revision"] = (503, (), b"", 1)
        self.hub.api_faults["tree"] = (429, (("Retry-After", "1"),), b"", 1)
        self.pull("acme/noise")
        self.assertEqual(self.hub.times, {"revision": 2, "tree": 2})
        self.hub.api_faults["tree"] = (429, (), b"", 100)
        self.refused(f"127.0.0.1:{self.hub.server_port} answers no more for now (429): try again later.")

    def test_no_hub(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
            self.refused(f"127.0.0.1:{port} cannot be reached: connection refused.", HF_ENDPOINT=f"http://127.0.0.1:{port}")
        done = self.spate("pull", "acme/noise", HF_ENDPOINT="http://nowhere.invalid")
        self.assertRegex(done.stderr, r"^spate: nowhere\.invalid cannot be found: [^\n]+\.\n$")
        for endpoint in ("ftp://x", "x", "http://h?q", "http://" + "n" * 600):
            self.refused(f'HF_ENDPOINT is "{endpoint[:200]}", expected the address of a hub such as https://huggingface.co.',
                         HF_ENDPOINT=endpoint)
        for seconds in ("0", "x", "4000", "-1"):
            self.refused(f'HF_HUB_DOWNLOAD_TIMEOUT is "{seconds}", expected seconds from 1 to 3600.', HF_HUB_DOWNLOAD_TIMEOUT=seconds)

    def test_offline(self):
        said = self.refused(f"HF_HUB_OFFLINE is set, so that nothing is fetched. acme/noise is neither a file or folder here nor a model in "
                            f"the cache {self.cache}: spate pull acme/noise fetches it.", HF_HUB_OFFLINE="1")
        self.assertEqual(len(said.splitlines()), 1)
        self.assertEqual(self.hub.asked, [])
        path, _ = self.pull("acme/noise")
        count = len(self.hub.asked)
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            self.assertEqual(self.pull("acme/noise", **{name: "true"}), (path, ""))
        self.assertEqual(len(self.hub.asked), count)

    def test_hostile_lists(self):
        """Names that lead out of the folder, sizes and digests that are none, and what is no list."""
        good = {"type": "file", "oid": "0" * 40, "size": 2, "path": "config.json"}
        leads = ("The hub lists a file whose name would lead out of the model's folder, or is none: nothing was fetched from this "
                 "repository.")
        odd = "The hub's list of files is not what a hub sends: look at HF_ENDPOINT, or try again later."
        names = ("../x", "/etc/passwd", "a/../../x", "a//b", "", ".", "a/.", "a\\b", "a\nb", "a\0b", "n" * 300, "a/" * 600 + "b", "\x1b[2J")
        cases = [({"path": name}, leads) for name in names]
        cases += [({"size": -1}, odd), ({"size": 1.5}, odd), ({"size": 1 << 60}, odd), ({"oid": "x" * 40}, odd), ({"oid": None}, odd),
                  ({"oid": "../../../../../../../../../../../../../../../x"[:40]}, odd), ({"path": 7}, odd), ({"type": None}, odd),
                  ({"lfs": {"oid": "0" * 40, "size": 2}}, odd), ({"lfs": {"oid": "0" * 64, "size": -2}}, odd)]
        for change, sentence in cases:
            with self.subTest(change=change):
                self.hub.repositories["acme/noise"].entries = [good, good | change]
                self.refused(sentence)
        self.assertEqual({path.name for path in self.folder.rglob("*")} - {"hf", "hub", "models--acme--noise", "xdg"}, set())
        for body in (b"", b"{}", b"<html>", b"[1]", b"[[]]", b"[" * 1000, b'[{"path": "a"}', b"\xff"):
            self.hub.times.clear()
            self.hub.api_faults["tree"] = (200, (), body, 1)
            self.refused(odd)
        for body in (b"", b"[]", b'{"sha": 7}', b'{"sha": "../../x"}', b'{"sha": "' + b"A" * 40 + b'"}'):
            self.hub.times.clear()
            self.hub.api_faults["revision"] = (200, (), body, 1)
            self.refused("The hub does not tell the commit of the revision: look at HF_ENDPOINT, or try again later.")

    def test_hostile_pages(self):
        self.hub.repositories["acme/noise"].page = 1
        self.hub.next_base = self.hub.store.url()
        self.refused(f"The list of files goes on at 127.0.0.1:{self.hub.store.server_port}, which is not the hub that was asked.")
        self.assertEqual(self.hub.store.asked, [])
        self.hub.next_base = None
        entry = {"type": "directory", "oid": "0" * 40, "size": 0, "path": "d"}
        self.hub.repositories["acme/noise"].entries = [entry] * 200
        self.refused("The list of files has more than 100 pages.")
        self.hub.times.clear()
        self.hub.api_faults["tree"] = (200, (), b"[" + b" " * (17 << 20) + b"]", 100)
        self.refused(f"127.0.0.1:{self.hub.server_port} sent more than 16 MiB for a list of files.")

    def test_disk(self):
        """Room is looked at before anything large is fetched, and a disk that is full nevertheless is told."""
        entries = self.hub.repositories["acme/noise"].tree()
        entries[-1]["lfs"]["size"] = 1 << 43
        self.hub.repositories["acme/noise"].entries = entries
        done = self.spate("pull", "acme/noise")
        self.assertRegex(done.stderr, r"^spate: 8796\.1 GB are to be fetched and \S+ has room for [\d.]+: make room, or set HF_HOME to a "
                                      r"folder of another disk\.\n$")
        self.assertEqual(self.hub.store.asked, [])
        self.hub.repositories["acme/noise"].entries = None
        blocked = self.folder / "file"
        blocked.write_text("")
        done = self.spate("pull", "acme/noise", HF_HUB_CACHE=str(blocked))
        self.assertRegex(done.stderr, r"spate: \S+ cannot be written: Not a directory\.\n$")


@unittest.skipIf(SANITIZED or not os.path.exists(FAULTS), "SKIPPED: SPATE_FAULT_LIBRARY does not name tests/fault/fault.c, or a sanitizer "
                                                          "is in its way")
class Calls(HubCase):
    """Calls of the system that fail, one at a time: a sentence and 1, or all is well; the next pull ends well."""

    KINDS = {"malloc": 6, "open": 8, "read": 3, "write": 7, "thread": 2, "socket": 3, "stat": 4, "rename": 6}  # runs of each
    FOR_GOOD = ("malloc", "write")  # a disk or a memory that is full stays so
    AT_ONCE = 8  # most of a run is waiting between two attempts

    def preload(self, fault):
        return {"LD_PRELOAD": FAULTS, "SPATE_FAULT_REPORT": str(self.folder / "report"), "SPATE_FAULT": fault,
                "HF_HUB_DOWNLOAD_TIMEOUT": "2"}

    def faults(self):
        self.pull("acme/noise", **self.preload(""))
        counts = {kind: int(count) for kind, count, *_ in map(str.split, (self.folder / "report").read_text().splitlines())}
        for kind, runs in self.KINDS.items():
            total = counts.get(kind, 0)
            for at in sorted({1 + i * total // runs for i in range(runs)}):
                yield from (f"{kind}:{at}", f"{kind}:{at}+")[:1 + (kind in self.FOR_GOOD)]

    def fails(self, fault):
        """One run; what it said."""
        done = self.spate("pull", "acme/noise", **self.preload(fault))
        self.assertIn(done.returncode, (0, 1), done.stderr)
        if done.returncode:
            self.assertRegex(done.stderr, r"(?s)(^|\n)spate: [^\n]{20,}\.\n$")
            self.assertFalse((self.repository_folder("acme/noise") / "refs/main").exists())
        path, _ = self.pull("acme/noise")
        self.assertEqual((path / "model.safetensors").read_bytes(), NOISE[0])
        return done.stderr

    @classmethod
    def fails_apart(cls, fault):
        """With a hub and a cache of its own."""
        case = cls("test_walk")
        case.setUp()
        try:
            return case.fails(fault)
        finally:
            case.tearDown()

    def test_walk(self):
        said = []
        with concurrent.futures.ThreadPoolExecutor(self.AT_ONCE) as pool:
            for fault, run in [(fault, pool.submit(self.fails_apart, fault)) for fault in self.faults()]:
                with self.subTest(fault=fault):
                    said.append(run.result())
        full = [text for text in said if "The disk is full" in text]
        self.assertTrue(full)
        self.assertRegex(full[-1], r"spate: The disk is full: make room and pull again, which goes on at \d+ of \d+ bytes of \S+\.\n$")


class Together(HubCase):
    def test_two_at_once(self):
        """The second waits for the first, and fetches nothing that it has."""
        self.hub.faults["model.safetensors"] = ["cut and hold", None]
        kept = self.blob(tail=".incomplete")
        first = self.begin("acme/noise")
        wait_for(lambda: kept.exists() and kept.stat().st_size == 65536, "a quarter of the file")
        second = self.begin("acme/noise")
        waits = second.stderr.readline() + second.stderr.readline()
        self.assertIn("Another process is fetching the same file: waiting for it.", waits)
        self.hub.store.open.set()
        for process in (first, second):
            process.communicate(timeout=WAIT_SECONDS)
            self.assertEqual(process.returncode, 0)
        self.assertEqual(self.asked_of_store(), [None, "bytes=65536-"])

    def test_many_at_once(self):
        many = [self.begin("acme/tiny") for _ in range(4)]
        for process in many:
            _, said = process.communicate(timeout=WAIT_SECONDS)
            self.assertEqual(process.returncode, 0, said)
        shards = [path for _, path, _ in self.hub.store.asked]
        self.assertEqual(len(shards), len(set(shards)))

    def test_waiting_stopped(self):
        self.hub.faults["model.safetensors"] = ["cut and hold", None]
        kept = self.blob(tail=".incomplete")
        first = self.begin("acme/noise")
        wait_for(lambda: kept.exists() and kept.stat().st_size == 65536, "a quarter of the file")
        second = self.begin("acme/noise")
        second.stderr.readline()
        second.stderr.readline()
        second.send_signal(signal.SIGINT)
        _, said = second.communicate(timeout=WAIT_SECONDS)
        self.assertEqual(said, "spate: Interrupted: spate pull acme/noise goes on where it was.\n")
        first.kill()
        first.communicate()


# --- tokens, TLS, proxies -------------------------------------------------------------------------------------------------


class Tokens(HubCase):
    def setUp(self):
        super().setUp()
        self.hub.repositories["acme/tiny"].token = TOKEN

    def test_gated(self):
        where = f"{self.hub.url()}/acme/tiny"
        self.refused(f"acme/tiny is gated: ask for access at {where}, then set HF_TOKEN to a token of that account.", "acme/tiny")
        self.refused(f"acme/tiny is gated, and the account of the token in use has no access to it: ask for it at {where}.", "acme/tiny",
                     HF_TOKEN="hf_another")

    def test_sent(self):
        """To the hub with each request, to the store with none; from where huggingface_hub has it."""
        token_file = self.folder / "hf/token"
        token_file.parent.mkdir()
        elsewhere = self.folder / "elsewhere"
        for name, variables in (("variable", {"HF_TOKEN": TOKEN}), ("former", {"HUGGING_FACE_HUB_TOKEN": f" {TOKEN}\n"}),
                                ("file", {}), ("path", {"HF_TOKEN_PATH": str(elsewhere)}),
                                ("home", {"HF_TOKEN_PATH": "~/elsewhere"})):
            with self.subTest(name):
                shutil.rmtree(self.cache, ignore_errors=True)
                token_file.write_text(f"{TOKEN}\n" if name == "file" else "")
                elsewhere.write_text(TOKEN)
                self.hub.asked.clear()
                self.pull(**variables)
                self.assertEqual({head.get("Authorization") for _, _, head in self.hub.asked}, {f"Bearer {TOKEN}"})
                self.assertEqual({head.get("Authorization") for _, _, head in self.hub.store.asked}, {None})
        self.assertNotIn(TOKEN.encode(), b"".join(path.read_bytes() for path in self.cache.rglob("*") if path.is_file()))

    def test_wrong(self):
        self.hub.repositories["acme/noise"].refuse = (401, "", "Invalid credentials in Authorization header")
        self.refused(f"127.0.0.1:{self.hub.server_port} does not take the token in use: make a new one, or unset HF_TOKEN.", HF_TOKEN=TOKEN)
        self.refused("What HF_TOKEN has is no token of the hub: make a new one.", HF_TOKEN=f"{TOKEN}\r\nX-Evil: 1")
        self.refused("What HF_TOKEN has is no token of the hub: make a new one.", HF_TOKEN="t" * 2000)

    def test_absent(self):
        hub = f"127.0.0.1:{self.hub.server_port}"
        self.refused(f"{hub} has no model acme/none, or it is private: look at the spelling, or set HF_TOKEN.", "acme/none")
        self.refused(f"{hub} has no model acme/none, or it is private and the token in use may not see it: look at the spelling.",
                     "acme/none", HF_TOKEN=TOKEN)
        self.hub.repositories["acme/noise"].refuse = (403, "", "no")
        self.refused(f"{hub} does not let the token in use read acme/noise.", HF_TOKEN=TOKEN)
        self.hub.repositories["acme/noise"].refuse = (418, "", "no")
        self.refused(f"{hub} answered with status 418 for its list of files.")


class Sealed(HubCase):
    """A hub and a store with TLS, through proxies too."""

    @classmethod
    def setUpClass(cls):
        cls.keys = tempfile.TemporaryDirectory(prefix="spate-pull-keys-")
        folder = pathlib.Path(cls.keys.name)
        believed = certificate(folder, "believed", "DNS:localhost,IP:127.0.0.1")
        cls.authority, cls.other = believed[0], certificate(folder, "other", "IP:127.0.0.1")[0]
        cls.tls, cls.store_tls = tls_context(believed), tls_context(believed)

    @classmethod
    def tearDownClass(cls):
        cls.keys.cleanup()

    def setUp(self):
        super().setUp()
        self.variables["SSL_CERT_FILE"] = str(self.authority)

    def test_sealed(self):
        path, _ = self.pull("acme/noise", HF_ENDPOINT=self.hub.url(host="localhost"))
        self.assertEqual((path / "model.safetensors").read_bytes(), NOISE[0])
        shutil.rmtree(self.cache)
        self.refused(f"127.0.0.1:{self.hub.server_port} did not prove to be who it is: self-signed certificate.", SSL_CERT_FILE=str(self.other))

    def test_not_unsealed(self):
        self.hub.way_faults["model.safetensors"] = "to http"
        self.refused(f"127.0.0.1:{self.hub.server_port} leads from https to http, where anybody could answer.")

    def test_proxy(self):
        """CONNECT to both servers, whose names the proxy looks up; a password; none for hosts that need none."""
        for password, given in ((None, ""), (base64.b64encode(b"me:p@ss:w/rd").decode(), "me:p%40ss:w%2Frd@")):
            with self.subTest(password=password):
                shutil.rmtree(self.cache, ignore_errors=True)
                proxy = Proxy(password)
                address = f"127.0.0.1:{proxy.server_port}"
                self.pull("acme/noise", HTTPS_PROXY=f"http://{given}{address}")
                self.assertEqual({(method, path) for method, path, _ in proxy.asked},
                                 {("CONNECT", f"127.0.0.1:{node.server_port}") for node in (self.hub, self.hub.store)})
                shutil.rmtree(self.cache)
                count = len(proxy.asked)
                for none in ("127.0.0.1", "x, 127.0.0.1 ", "*", f"127.0.0.1:{self.hub.server_port},127.0.0.1:{self.hub.store.server_port}"):
                    self.pull("acme/noise", https_proxy=f"http://{given}{address}", NO_PROXY=none)
                self.assertEqual(len(proxy.asked), count)
                if password:
                    shutil.rmtree(self.cache)
                    said = self.refused(f"The proxy {address} does not let through: status 407.", ALL_PROXY=f"http://me:wrongword@{address}")
                    self.assertNotIn("wrongword", said)
                proxy.end()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % free.getsockname()[1]
            self.refused(f"The proxy {address} cannot be reached: connection refused.", HTTPS_PROXY=address)
        for bad in ("socks5://x:1", "https://x:1", "http://", "http://a b"):
            self.refused("The proxy that the environment names cannot be used, expected http://[USER:PASSWORD@]HOST:PORT.", HTTPS_PROXY=bad)

    def test_proxy_nonsense(self):
        """A proxy that is none, and one that goes."""
        hub = f"127.0.0.1:{self.hub.server_port}"
        for answer, sentence in ((b"SSH-2.0-x\r\n", "sent what is no HTTP: invalid constant string"), (b"", "ended the connection"),
                                 (b"HTTP/1.1 502 no\r\nContent-Length: 3\r\n\r\nno!", "does not let through: status 502"),
                                 (b"HTTP/1.1 200 yes\r\n\r\nGET /", "sent more than an answer")):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                def once():
                    client, _ = listener.accept()
                    client.recv(4096)
                    client.sendall(answer)
                    client.close()
                threading.Thread(target=once, daemon=True).start()
                address = "127.0.0.1:%d" % listener.getsockname()[1]
                done = self.spate("pull", "acme/noise", HTTPS_PROXY=f"http://{address}")
                self.assertEqual(done.stderr, f"spate: The proxy {address} {sentence}.\n", hub)


class Open(HubCase):
    def test_proxy(self):
        """Without TLS the proxy is given whole URLs."""
        proxy = Proxy()
        path, _ = self.pull("acme/noise", http_proxy=f"http://127.0.0.1:{proxy.server_port}", HTTPS_PROXY="http://127.0.0.1:1")
        self.assertEqual((path / "model.safetensors").read_bytes(), NOISE[0])
        self.assertTrue(all(asked.startswith((self.hub.url("/"), self.hub.store.url("/"))) for _, asked, _ in proxy.asked))
        self.assertGreater(len(proxy.asked), 3)
        proxy.end()


# --- the other commands ---------------------------------------------------------------------------------------------------


class Commands(HubCase):
    def test_found(self):
        """A model in the cache answers as the same folder does, by its id, without a network."""
        self.pull()
        offline = {"HF_ENDPOINT": "http://127.0.0.1:1"}
        for command in (("generate", "-p", "hello", "-n", "8", "--temperature", "0"), ("tokenize", "-p", "hello")):
            answers = [self.spate(command[0], model, *command[1:], **offline) for model in ("acme/tiny", FIXTURES / "model/llama2")]
            self.assertEqual([answer.returncode for answer in answers], [0, 0], answers[0].stderr)
            self.assertEqual(answers[0].stdout, answers[1].stdout)
        done = self.spate("build", "acme/tiny@main", "-o", self.folder / "tiny.spate")
        self.assertEqual(done.returncode, 0, done.stderr)
        inspected = json.loads(self.spate("inspect", self.folder / "tiny.spate", "--json").stdout)
        self.assertEqual(inspected["manifest"]["name"] if "manifest" in inspected else inspected["model"], "acme/tiny")

    def test_served(self):
        self.pull()
        model = type("Model", (), {"path": "acme/tiny"})
        saved = dict(os.environ)
        os.environ.clear()
        os.environ.update(self.environment())
        try:
            with Server(model, backend="cpu") as server:
                models = json.loads(server.get("/v1/models")[2])["data"]
                self.assertEqual(models[0]["id"], "acme/tiny")
        finally:
            os.environ.clear()
            os.environ.update(saved)

    def test_absent(self):
        sentence = (f"acme/none is neither a file or folder here nor a model in the cache {self.cache}: spate pull acme/none fetches it.")
        for command in (("serve",), ("build", "-o", "x.spate"), ("inspect",), ("tokenize", "-p", "x"), ("generate", "-p", "x")):
            done = self.spate(command[0], "acme/none", *command[1:])
            self.assertEqual((done.returncode, done.stderr.splitlines()[-1]), (1, f"spate: {sentence}"), command)
        done = self.spate("inspect", "acme/none:Q8_0@v1")
        self.assertIn("spate pull acme/none:Q8_0@v1 fetches it.", done.stderr)

    def test_a_path_wins(self):
        self.pull()
        (self.folder / "acme").mkdir()
        shutil.copytree(FIXTURES / "model/qwen3", self.folder / "acme/tiny")
        self.assertIn("Qwen3", self.spate("inspect", "acme/tiny", "--json").stdout)

    def test_not_whole(self):
        path, _ = self.pull()
        shard = next(file for file in sorted(path.iterdir()) if file.name.endswith(".safetensors"))
        shard.unlink()
        done = self.spate("inspect", "acme/tiny")
        self.assertEqual(done.stderr, f'spate: acme/tiny in the cache lacks the file "{shard.name}" that its model.safetensors.index.json '
                                      "names. Spate pull acme/tiny fetches what is missing.\n")
        self.pull()
        self.assertEqual(self.spate("inspect", "acme/tiny").returncode, 0)

    def test_bad_refs(self):
        self.pull()
        ref = self.repository_folder() / "refs/main"
        for text in ("", "../../../../etc", COMMIT[:39], COMMIT + "x"):
            ref.write_text(text)
            self.assertIn("fetches it.", self.spate("inspect", "acme/tiny").stderr)
        ref.write_text(COMMIT + "\n")
        self.assertEqual(self.spate("inspect", "acme/tiny").returncode, 0)


# --- huggingface_hub ------------------------------------------------------------------------------------------------------


class Oracle(HubCase):
    """huggingface_hub of SPATE_TEST_CLIENTS reads what Spate wrote, and the other way round."""

    def setUp(self):
        python = os.environ.get("SPATE_TEST_CLIENTS")
        if not python or subprocess.run([python, "-c", "import huggingface_hub"], capture_output=True).returncode:
            self.skipTest("SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
        super().setUp()

    def python(self, code, **more):
        done = subprocess.run([os.environ["SPATE_TEST_CLIENTS"], "-c", code], capture_output=True, text=True, timeout=WAIT_SECONDS,
                              env=self.environment(HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_XET="1", **more), cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_reads_ours(self):
        path, _ = self.pull()
        self.pull("acme/noise")
        said = self.python(
            "import huggingface_hub as h, json\n"
            "cache = h.scan_cache_dir()\n"
            "print(json.dumps([h.snapshot_download('acme/tiny'), h.hf_hub_download('acme/tiny', 'config.json'),\n"
            "  h.try_to_load_from_cache('acme/noise', 'model.safetensors'), [str(w) for w in cache.warnings],\n"
            "  sorted((r.repo_id, r.nb_files, sorted(r.refs)) for r in cache.repos)]))", HF_HUB_OFFLINE="1")
        snapshot, config, noise, warnings, repositories = json.loads(said)
        self.assertEqual((snapshot, config), (str(path), str(path / "config.json")))
        self.assertEqual(pathlib.Path(noise).read_bytes(), NOISE[0])
        self.assertEqual(warnings, [])
        self.assertEqual(repositories, [["acme/noise", 2, ["main"]], ["acme/tiny", len(list(path.iterdir())), ["main"]]])
        self.hub.store.asked.clear()
        self.python("import huggingface_hub as h; h.snapshot_download('acme/tiny', allow_patterns=['*.json', '*.safetensors'])")
        self.assertEqual(self.hub.store.asked, [])

    def test_is_read(self):
        """What it has fetched is there for Spate: nothing is fetched twice."""
        path = self.python("import huggingface_hub as h; print(h.snapshot_download('acme/tiny'))").strip()
        whole = {file.name for file in pathlib.Path(path).iterdir()}
        self.assertIn("pytorch_model.bin", whole)
        answers = [self.spate("generate", model, "-p", "hello", "-n", "8", "--temperature", "0") for model in
                   ("acme/tiny", FIXTURES / "model/llama2")]
        self.assertEqual(answers[0].stdout, answers[1].stdout)
        self.hub.store.asked.clear()
        found, said = self.pull()
        self.assertEqual(str(found), path)
        self.assertEqual(self.hub.store.asked, [])
        self.assertEqual({file.name for file in pathlib.Path(path).iterdir()}, whole)


if __name__ == "__main__":
    main(__name__)
