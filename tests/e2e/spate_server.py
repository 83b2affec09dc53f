"""What the end-to-end tests share: a tiny engine, a running server, requests as a client sends them.

Nothing here measures time: a wait ends when what it waits for has happened, and fails after WAIT_SECONDS.
"""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

WAIT_SECONDS = 300  # a machine may have other work, and sanitizers
ROOT = pathlib.Path(__file__).resolve().parents[2]
SPATE = os.environ.get("SPATE", str(ROOT / "build/release/spate"))
CPU = os.environ.get("SPATE_TEST_BACKEND", "cpu")  # what runs where a test asks for cpu: late is the CPU a step behind
JSON = {"Content-Type": "application/json"}
os.environ.setdefault("TSAN_OPTIONS", f"suppressions={ROOT / 'tests/e2e/tsan_suppressions.txt'}")
SANITIZED = os.path.exists(SPATE) and re.search(rb"__[at]san_init", pathlib.Path(SPATE).read_bytes()) is not None
FINDING = re.compile(r"(Address|Thread|Leak|UndefinedBehavior)Sanitizer|runtime error:")


def wait_for(condition, what):
    """Returns the first true value of condition()."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited in vain: {what}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Engine:
    """An engine file of a tiny random model whose sequences may be long and never end by themselves."""

    MAX_SEQ_LEN = 65536
    TEMPLATE = ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ note }}"
                "{% if add_generation_prompt %}assistant:{% endif %}")

    def __init__(self, *options, template=TEMPLATE, generation=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-e2e-"))
        model = self.folder / "tiny"
        shutil.copytree(ROOT / "tests/fixtures/model/smollm2", model)
        config = json.loads((model / "config.json").read_text())
        config |= {"max_position_embeddings": self.MAX_SEQ_LEN, "eos_token_id": None, "bos_token_id": None}
        (model / "config.json").write_text(json.dumps(config))
        tokenizer = (model / "tokenizer.json").read_text()
        (model / "tokenizer.json").write_text(tokenizer.replace("</s>", "<never>"))
        if template:
            (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
        if generation:
            (model / "generation_config.json").write_text(json.dumps(generation))
        self.path = self.folder / "tiny.spate"
        command = [SPATE, "build", model, "-o", self.path, "--max-seq-len", str(self.MAX_SEQ_LEN), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def remove(self):
        shutil.rmtree(self.folder)


class Server:
    """spate serve on a free port. The null backend answers at once; cpu works for its tokens."""

    def __init__(self, engine, *options, backend="null", port=0, new_session=False):
        self.log = tempfile.TemporaryFile()
        place = () if "--uds" in options else ("--port", str(port))
        command = [SPATE, "serve", engine.path, *place, "--backend", CPU if backend == "cpu" else backend, "--threads", "1",
                   "--kv-cache-memory", "256M", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        start_new_session=new_session)
        self.welcome = self.process.stdout.readline()
        if not self.welcome.startswith("Serving "):
            sentence = self.errors()
            self.__exit__()
            raise AssertionError(sentence)
        address = self.welcome.partition("://127.0.0.1:")[2]
        self.port = int(address.split()[0]) if address else None  # a path has none

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.log.closed:
            return
        if SANITIZED:
            self.end_in_order()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        said = self.errors()
        self.log.close()
        assert not FINDING.search(said), said

    def end_in_order(self):
        """A sanitizer looks for leaks at an orderly exit; the second signal cancels what still runs."""
        for _ in range(2):
            self.process.terminate()
            try:
                self.process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                continue
        if self.process.poll() is None:
            self.exit_code()

    def errors(self):
        log = self.log.fileno()  # a seek would move the place where the server writes
        return os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace")

    def exit_code(self):
        return self.process.wait(timeout=WAIT_SECONDS)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    # ---- requests

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body)"""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def post(self, fields, headers=None):
        body = fields if isinstance(fields, (bytes, str)) else json.dumps(fields)
        return self.request("POST", "/generate", body, JSON | (headers or {}))

    def generate(self, **fields):
        status, _, body = self.post(fields)
        assert status == 200, body
        return json.loads(body)

    def socket(self, receive_bytes=None):
        client = socket.socket()
        if receive_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(WAIT_SECONDS)
        client.connect(("127.0.0.1", self.port))
        return client

    def raw(self, head, receive_bytes=None):
        """Sends bytes and returns all that comes until the server closes."""
        with self.socket(receive_bytes) as client:
            client.sendall(head)
            return receive_all(client)

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    # ---- metrics

    def metric(self, name):
        """The value of a sample by its full name with labels; 0 when it has not been counted yet."""
        for line in self.get("/metrics")[2].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0.0


class EngineCase(unittest.TestCase):
    """Tests over one tiny engine."""

    @classmethod
    def setUpClass(cls):
        cls.engine = Engine()

    @classmethod
    def tearDownClass(cls):
        cls.engine.remove()


class ClientCase(EngineCase):
    """Tests with public clients, which SPATE_TEST_CLIENTS has: the Python that scripts/get_clients.sh prints."""

    @classmethod
    def setUpClass(cls):
        if not os.environ.get("SPATE_TEST_CLIENTS"):
            raise unittest.SkipTest("SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
        super().setUpClass()

    def client(self, module, *arguments):
        """Runs a module of the clients in a folder where it may leave what it likes."""
        return subprocess.run([os.environ["SPATE_TEST_CLIENTS"], "-m", module, *map(str, arguments)], capture_output=True,
                              text=True, cwd=self.engine.folder)


class ServerCase(EngineCase):
    """Tests over one server of that engine, which the class's `backend` runs."""

    backend = "null"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = Server(cls.engine, backend=cls.backend)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        super().tearDownClass()


def receive_all(client):
    pieces = []
    while piece := client.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def unchunked(answer):
    """The body of an answer in chunks."""
    at, pieces = answer.index(b"\r\n\r\n") + 4, []
    while True:
        end = answer.index(b"\r\n", at)
        size = int(answer[at:end], 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(answer[end + 2:end + 2 + size])
        at = end + 2 + size + 2


def post_bytes(fields, headers="", path="/generate"):
    """The bytes of a POST whose connection ends after the answer."""
    body = json.dumps(fields)
    return (f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nConnection: close\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def sse_objects(body):
    """The objects of a stream of server-sent events; fails on anything else in it."""
    events = body.decode().split("\n\n")
    assert events.pop() == "", "the stream does not end with an empty line"
    assert all(event.startswith("data: ") and "\n" not in event for event in events), events
    return [json.loads(event[len("data: "):]) for event in events]


# Answers of encoders, which test_encoders.py has.
VECTOR_ANSWERS = ("Embeddings", "Embedding", "TextUsage", "Ranking", "Ranked", "RankedDocument", "Scores", "Score", "Classes", "Class",
                  "CohereRanking", "CohereMeta", "CohereVersion", "CohereTokens")


class Schemas:
    """The objects of /openapi.json. Checks that values have the types that it tells, and no field that it does not."""

    TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None), "array": list,
             "object": dict}

    def __init__(self, server):
        self.schemas = json.loads(server.get("/openapi.json")[2])["components"]["schemas"]
        self.seen = set()  # "Object.field" of all that was met

    def check(self, name, value):
        assert self.fits({"$ref": "/" + name}, value), f"this is no {name}: {value}"

    def fits(self, schema, value):
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return isinstance(value, dict) and self.object_fits(name, self.schemas[name]["properties"], value)
        if "oneOf" in schema:
            return any(self.fits(one, value) for one in schema["oneOf"])
        if not isinstance(value, self.TYPES[schema["type"]]) or (value is True and schema["type"] == "integer"):
            return False
        items = value if schema["type"] == "array" else value.values() if schema["type"] == "object" else ()
        return all(self.fits(schema.get("items", schema.get("additionalProperties")), item) for item in items)

    def object_fits(self, name, fields, value):
        self.seen |= {f"{name}.{field}" for field in value}
        return all(field in fields and self.fits(fields[field], item) for field, item in value.items())


def main(module):
    if not os.path.exists(SPATE):
        print(f"SKIPPED: there is no {SPATE}")
        sys.exit(77)
    result = unittest.main(module, exit=False).result
    if result.testsRun == 0 and result.skipped:
        print(result.skipped[0][1])
        sys.exit(77)
    sys.exit(not result.wasSuccessful())
