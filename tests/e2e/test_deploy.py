"""The start script, what a service manager is told, and the systemd unit. tests/e2e/test_systemd.py runs the unit."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from unittest import mock

import spate_server
from spate_server import ROOT, SANITIZED, SPATE, Server, post_bytes, wait_for

FAULTS = os.environ.get("SPATE_FAULT_LIBRARY")
START = ROOT / "deploy/start_server.sh"
UNIT = ROOT / "deploy/systemd/spate.service.in"
EXPOSURE_MOST = 20  # tenths, of systemd-analyze security; below 2 it calls a service OK


class Manager:
    """A socket that a service manager would listen on, and the variables that tell a server of it."""

    def __init__(self, folder, abstract=False, **variables):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(spate_server.WAIT_SECONDS)
        name = f"{'@' if abstract else ''}{folder}/notify"
        self.socket.bind(name.replace("@", "\0"))
        self.variables = {"NOTIFY_SOCKET": name} | variables

    def __enter__(self):
        self.patch = mock.patch.dict(os.environ, self.variables)
        self.patch.start()
        return self

    def __exit__(self, *_):
        self.patch.stop()
        self.socket.close()

    def next(self):
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def next_with(self, name):
        return wait_for(lambda: next((m for m in [self.next()] if name in m), None), name)


class Deploy(spate_server.EngineCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-deploy-"))
        self.addCleanup(shutil.rmtree, self.folder)

    # ---- the start script

    def started(self, *options, **variables):
        """The settings that the script's server would have."""
        instead = self.folder / "spate"
        instead.write_text(f'#!/bin/sh\n[ "$1" = serve ] && shift\nexec {SPATE} config --print "$@"\n')
        instead.chmod(0o755)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SPATE_") and k not in ("MODEL_DIR", "PORT", "LOG_LEVEL")} | {"SPATE": str(instead)} | variables
        answer = subprocess.run((START, *options), capture_output=True, text=True, env=environment)
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))
        return dict(re.findall(r"^([a-z-]+): (.*?) +#", answer.stdout, re.M))

    def test_start_script(self):
        article = {"model": '"/models/llama-7b"', "host": '"0.0.0.0"', "port": "8000", "log-level": '"info"', "workers": "2",
                   "timeout-keep-alive": "60"}
        self.assertEqual(self.started(), article)
        self.assertEqual(self.started("--workers", "4", MODEL_DIR="/m", SPATE_PORT="9000", SPATE_MAX_QUEUE="7"),
                         article | {"model": '"/m"', "port": "9000", "workers": "4", "max-queue": "7"})
        self.assertEqual(self.started(MODEL_DIR="/m", PORT="9000", LOG_LEVEL="debug"),
                         article | {"model": '"/m"', "port": "9000", "log-level": '"debug"'})
        self.assertEqual(self.started(PORT="9000", SPATE_PORT="9001", LOG_LEVEL="debug", SPATE_LOG_LEVEL="error"),
                         article | {"port": "9001", "log-level": '"error"'})
        self.assertEqual(self.started("/another", SPATE_MODEL="/m")["model"], '"/another"')
        for options, variables in ((("--uds", "/tmp/s"), {}), ((), {"SPATE_UDS": "/tmp/s"})):
            said = self.started(*options, **variables)
            self.assertEqual((said.get("uds"), said.get("host"), said.get("port")), ('"/tmp/s"', None, None))
        path = self.folder / "spate.yaml"
        path.write_text("model: /m\nport: 1\n")
        for options, variables in (((), {"SPATE_CONFIG": str(path)}), (("--config", path), {}), ((f"--config={path}",), {})):
            self.assertEqual(self.started(*options, **variables), {"model": '"/m"', "port": "1"})

    def test_settings_that_come_along(self):
        answer = subprocess.run((SPATE, "config", "--config", ROOT / "deploy/spate.yaml"), capture_output=True, text=True)
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))

    # ---- a service manager

    def test_ready_and_stopping(self):
        for abstract in (False, True):
            folder = self.folder / str(abstract)
            folder.mkdir()
            with Manager(folder, abstract) as manager, Server(self.engine, "--shutdown-timeout", "7") as server:
                ready = manager.next_with("READY")
                self.assertEqual(ready, {"READY": "1", "STATUS": "Serving."})
                self.assertEqual(server.get("/ready")[0], 200)
                server.stop()
                self.assertEqual(manager.next_with("STOPPING")["STATUS"], "Stopping: running requests finish.")
                self.assertEqual(manager.next(), {"EXTEND_TIMEOUT_USEC": "17000000"})
                self.assertEqual(server.exit_code(), 0)

    def test_reload(self):
        """The manager hears when a reload begins and when it has ended, also when it has failed."""
        path = self.folder / "served.spate"
        shutil.copy(self.engine.path, path)
        served = mock.Mock(path=path)
        with Manager(self.folder) as manager, Server(served, backend="cpu", new_session=True) as server:
            manager.next_with("READY")
            for generation in (2, 2):
                server.stop(signal.SIGHUP)
                self.assertEqual(manager.next_with("RELOADING")["STATUS"], "Reloading the engine.")
                self.assertEqual(manager.next_with("READY"), {"READY": "1", "STATUS": "Serving."})
                self.assertEqual(server.metric("llm_engine_generation"), generation)
                path.unlink(missing_ok=True)
            self.assertIn("Engine 2 goes on serving.", server.errors())

    def test_building_extends_the_start(self):
        with Manager(self.folder) as manager:
            command = (SPATE, "build", ROOT / "tests/fixtures/model/smollm2", "-o", self.folder / "a.spate")
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.assertEqual(manager.next(), {"EXTEND_TIMEOUT_USEC": "90000000"})

    def test_watchdog_is_fed(self):
        with Manager(self.folder, WATCHDOG_USEC="20000") as manager, Server(self.engine) as server:
            for _ in range(3):
                self.assertEqual(manager.next_with("WATCHDOG"), {"WATCHDOG": "1"})
            server.stop(signal.SIGKILL)

    def test_watchdog_of_another_process(self):
        with Manager(self.folder, WATCHDOG_USEC="20000", WATCHDOG_PID="1") as manager, Server(self.engine) as server:
            self.assertEqual(manager.next_with("READY")["READY"], "1")
            server.generate(prompt="a", max_tokens=2)
            server.stop()
            self.assertIn("STOPPING", manager.next())

    @unittest.skipIf(SANITIZED or not FAULTS, "SKIPPED: SPATE_FAULT_LIBRARY does not name tests/fault/fault.c, or a sanitizer is in its way")
    def test_watchdog_starves_with_the_engine(self):
        """An engine that stands still is no progress: nothing comes until it goes on, however often the main thread turns."""
        stall, report = self.folder / "stall", self.folder / "report"
        stall.touch()
        faults = {"LD_PRELOAD": FAULTS, "SPATE_FAULT": "engine-stall:1", "SPATE_FAULT_STALL": str(stall),
                  "SPATE_FAULT_REPORT": str(report)}
        with Manager(self.folder, WATCHDOG_USEC="2000", **faults) as manager, \
                Server(self.engine, "--stall-timeout", "0.1", backend="cpu") as server, server.socket() as first, server.socket() as second:
            first.sendall(post_bytes({"prompt": "Once", "max_tokens": 1}))
            wait_for(report.exists, "the engine stands still")
            second.sendall(post_bytes({"prompt": "Once", "max_tokens": 1}))
            wait_for(lambda: server.get("/health")[0] == 503, "the engine stalls")
            manager.socket.settimeout(0)  # what was sent before is read
            self.starved(manager, server)
            manager.socket.settimeout(spate_server.WAIT_SECONDS)
            stall.unlink()
            wait_for(lambda: server.get("/health")[0] == 200, "the engine is healthy again")
            self.assertEqual(manager.next_with("WATCHDOG"), {"WATCHDOG": "1"})

    def starved(self, manager, server):
        """Some time between two looks that find the engine stalled has passed without a message."""
        def silent_between():
            try:
                while True:
                    manager.socket.recv(4096)
            except BlockingIOError:
                pass
            stalled = all(server.get("/health")[0] == 503 for _ in range(20))
            try:
                manager.socket.recv(4096)
            except BlockingIOError:
                return stalled
            return False
        wait_for(silent_between, "no food while the engine stalls")

    def test_no_manager(self):
        for name in ("", "relative", "@", "/" + "x" * 200, str(self.folder / "nobody")):
            with mock.patch.dict(os.environ, {"NOTIFY_SOCKET": name}), Server(self.engine) as server:
                self.assertEqual(server.generate(prompt="a", max_tokens=1)["usage"]["completion_tokens"], 1)

    # ---- the unit

    @unittest.skipUnless(shutil.which("systemd-analyze"), "SKIPPED: there is no systemd-analyze")
    def test_unit(self):
        text = UNIT.read_text().replace("@CMAKE_INSTALL_FULL_BINDIR@/spate", SPATE)
        unit = self.folder / "spate.service"
        unit.write_text(text.replace("@CMAKE_INSTALL_FULL_SYSCONFDIR@", "/etc"))
        verified = subprocess.run(("systemd-analyze", "verify", "--man=no", unit), capture_output=True, text=True)
        self.assertEqual((verified.returncode, verified.stdout, verified.stderr), (0, "", ""))
        secured = subprocess.run(("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MOST}", "--no-pager",
                                  unit), capture_output=True, text=True)
        self.assertEqual(secured.returncode, 0, secured.stdout)


if __name__ == "__main__":
    spate_server.main(__name__)
