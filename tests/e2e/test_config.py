"""Settings of a server: defaults, then a file, then the environment, then the command line. PyYAML reads what
`spate config --print` prints; what a bad file is answered is in tests/unit/cli/test_config_file.c."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import spate_server
from spate_server import SPATE

try:
    import yaml
except ImportError:
    yaml = None


class Config(spate_server.EngineCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-config-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, text):
        path = self.folder / "spate.yaml"
        path.write_text(text)
        return path

    def run_spate(self, *command, **variables):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SPATE_")} | variables
        return subprocess.run((SPATE, *command), capture_output=True, text=True, env=environment,
                              timeout=spate_server.WAIT_SECONDS)

    def printed(self, *options, **variables):
        """{name: (value as written, or None for a comment; where it comes from)}"""
        answer = self.run_spate("config", "--print", *options, **variables)
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))
        self.text = answer.stdout
        lines = [re.fullmatch(r"(#?)([a-z-]+): (.*?) +# (.*)", line) for line in answer.stdout.splitlines()]
        self.assertNotIn(None, lines)
        return {line[2]: (None if line[1] else line[3], line[4]) for line in lines}

    def refused(self, sentence, *command, **variables):
        answer = self.run_spate(*command, **variables)
        self.assertEqual((answer.returncode, answer.stdout, answer.stderr), (1, "", f"spate: {sentence}\n"))

    def test_each_overrides_the_one_before(self):
        path = self.write("port: 1\nworkers: 1\nlimit-concurrency: 1\n")
        said = self.printed("--config", path, "--workers", "3", SPATE_LIMIT_CONCURRENCY="2", SPATE_WORKERS="2")
        self.assertEqual([said[name] for name in ("host", "port", "limit-concurrency", "workers")],
                         [(None, "default"), ("1", f"{path}:1"), ("2", "SPATE_LIMIT_CONCURRENCY"), ("3", "command line")])
        said = self.printed("/a/model", SPATE_CONFIG=str(path), SPATE_MODEL="/another")
        self.assertEqual((said["port"], said["model"]), (("1", f"{path}:1"), ('"/a/model"', "command line")))
        self.assertEqual(self.printed("--model", "/a")["model"], ('"/a"', "command line"))
        self.assertEqual(self.printed(SPATE_MODEL="/another")["model"], ('"/another"', "SPATE_MODEL"))

    def test_switches_can_be_taken_back(self):
        path = self.write("log-prompts: true\nenable-block-reuse: false\n")
        said = self.printed("--config", path)
        self.assertEqual((said["log-prompts"][0], said["enable-block-reuse"][0]), ("true", "false"))
        said = self.printed("--config", path, "--log-prompts=false", SPATE_ENABLE_BLOCK_REUSE="true")
        self.assertEqual((said["log-prompts"][0], said["enable-block-reuse"]), ("false", ("true", "SPATE_ENABLE_BLOCK_REUSE")))
        said = self.printed("--config", path, "--enable-block-reuse")
        self.assertEqual(said["enable-block-reuse"], ("true", "command line"))

    def test_print_is_a_file(self):
        """What is printed gives the same settings, and PyYAML reads the same values from it."""
        values = {"model": 'a "model"\n: # é', "host": "::1", "port": 9, "stall-timeout": 0.25, "log-prompts": True,
                  "kv-cache-memory": 1 << 40, "root-path": "", "enable-block-reuse": False, "allowed-origins": "*"}
        path = self.write(json.dumps(values))
        first = self.printed("--config", path)
        text = self.text
        again = self.printed("--config", self.write(text))
        self.assertEqual({n: v for n, (v, _) in first.items()}, {n: v for n, (v, _) in again.items()})
        if yaml:
            self.assertEqual(yaml.safe_load(text), values)

    def test_keys_are_not_shown(self):
        said = self.printed("--config", self.write("api-key: first\n"), SPATE_API_KEY="second")
        self.assertEqual(said["api-key"], (None, "SPATE_API_KEY"))
        self.assertNotIn("second", self.text)

    def test_refused(self):
        path = self.write("port: 70000\n")
        for command in ("serve", "config"):
            self.refused(f'{path}:1: port is "70000", expected a whole number from 0 to 65535.', command, "--config", path)
            self.refused('SPATE_PORT is "x", expected a whole number from 0 to 65535.', command, SPATE_PORT="x")
            self.refused(f"{self.folder}/none: The settings cannot be read: No such file or directory.", command,
                         "--config", self.folder / "none")
        self.refused(f"{self.folder}: The settings cannot be read: Is a directory.", "config", SPATE_CONFIG=str(self.folder))
        self.refused("/dev/zero: The file has more than 256 KiB, expected some lines of settings.", "config", "--config",
                     "/dev/zero")
        for command in ("serve", "config"):
            for uds, other, place, environment in (
                    (f"uds ({path}:2)", f"port ({path}:1)", ("--config", self.write("port: 0\nuds: /tmp/s\n")), {}),
                    ("SPATE_UDS", "SPATE_HOST", (), {"SPATE_UDS": "/tmp/s", "SPATE_HOST": "0.0.0.0"}),
                    ("--uds", "--port", ("--uds", "/tmp/s", "--port", "0"), {"SPATE_HOST": "0.0.0.0"})):
                self.refused(f"{uds} and {other} were both given, and a server listens on one or the other: leave one out.", command,
                             "a", *place, **environment)
        self.refused("spate serve needs MODEL|ENGINE: see spate serve --help.", "serve", "--config", self.write("port: 0\n"))
        self.refused('config has no option "--prot"; the nearest is --port: see spate config --help.', "config", "--prot")
        self.refused('Both "a" and "b" were given where one is expected.', "config", "a", "--model", "b")
        self.assertEqual(self.run_spate("config", "--config", self.write("port: 0\n")).returncode, 0)

    def test_where_to_listen(self):
        """A path and an address: the one that was set nearer to the user. An empty host is none."""
        path = self.write("host: 1.2.3.4\nport: 5\n")
        said = self.printed("--config", path, SPATE_UDS="/tmp/s")
        self.assertEqual([said[name] for name in ("uds", "host", "port")], [('"/tmp/s"', "SPATE_UDS"), (None, "default"), (None, "default")])
        self.assertEqual(self.printed("--uds", "/tmp/s", SPATE_HOST="0.0.0.0")["uds"], ('"/tmp/s"', "command line"))
        said = self.printed("--port", "7", SPATE_UDS="/tmp/s")
        self.assertEqual((said["uds"][1], said["port"]), ("not set", ("7", "command line")))
        said = self.printed(SPATE_UDS="/tmp/s", SPATE_HOST="")
        self.assertEqual((said["uds"], said["host"][1]), (('"/tmp/s"', "SPATE_UDS"), "default"))

    def test_full_disk(self):
        """Half a file of settings is none."""
        with open("/dev/full", "w") as full:
            answer = subprocess.run([SPATE, "config", "--print"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual((answer.returncode, answer.stderr),
                         (1, "spate: Standard output could not be written: look at the disk, or at what reads it.\n"))

    def test_another_command_has_only_its_options(self):
        answer = self.run_spate("tokenize", self.engine.path, "-p", "a", SPATE_PORT="x", SPATE_THREADS="x")
        self.assertEqual(answer.returncode, 0, answer.stderr)

    def test_a_server_has_them(self):
        """A server whose model, port, key and log come from a file."""
        path = self.write(f"model: {self.engine.path}\nport: 0\nbackend: 'null'\nkv-cache-memory: 256M\nthreads: 1\n"
                          "api-key: sesame\nlog-format: json\n")
        process = subprocess.Popen((SPATE, "serve", "--config", path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            welcome = process.stdout.readline()
            self.assertRegex(welcome, r"^Serving tiny on http://127\.0\.0\.1:\d+ ")
            client = spate_server.Server.__new__(spate_server.Server)
            client.port = int(re.search(r":(\d+) ", welcome)[1])
            self.assertEqual(client.get("/version")[0], 401)
            self.assertEqual(client.get("/version", {"Authorization": "Bearer sesame"})[0], 200)
        finally:
            process.terminate()
            _, log = process.communicate(timeout=spate_server.WAIT_SECONDS)
        self.assertEqual(process.returncode, 0)
        for line in log.splitlines():
            json.loads(line)


if __name__ == "__main__":
    spate_server.main(__name__)
