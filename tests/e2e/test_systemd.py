"""The unit under a real systemd, which runs in namespaces of its own with nothing else to start: it is active once the
server is ready, sandboxed, restarted by the watchdog, and ends in order.

Needs root and a kernel that lets it have namespaces, so it only runs where SPATE_TEST_SYSTEMD=1 asks for it."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import spate_server
from spate_server import ROOT, SPATE, wait_for

# Where systemd finds units and services leave what they write: empty, and gone with the namespace. No unit of the machine
# may be seen: its services would tidy up the machine's own files.
EMPTY = ("/run", "/tmp", "/etc/systemd/system", "/usr/lib/systemd/system", "/usr/lib/systemd/system-generators",
         "/usr/lib/systemd/system-environment-generators", "/usr/lib/tmpfiles.d", "/var/lib", "/var/cache", "/var/log", "/var/tmp")
SETUP = f"""set -e
mount -t tmpfs tmpfs /mnt
cp -r "$1"/. /mnt
chmod 755 /mnt
for place in {" ".join(EMPTY)}; do mount -t tmpfs tmpfs $place; done
[ -z "$(ls /lib/systemd/system /usr/lib/systemd/system /etc/systemd/system | grep -v :)" ] || exit 1
mount -t proc proc /proc
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/lock /etc/systemd/system/spate.service.d
cp /mnt/*.service /mnt/*.target /etc/systemd/system
cp /mnt/test.conf /etc/systemd/system/spate.service.d
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=idle.target
"""
CONFIG = "model: /mnt/model\nport: 8000\nkv-cache-memory: 64M\nthreads: 1\n"
DROP_IN = "[Service]\nWatchdogSec=1\nStandardOutput=file:/run/spate.log\nStandardError=file:/run/spate.log\nRestartSec=0\n"
HEALTH = "exec 3<>/dev/tcp/127.0.0.1/8000; printf 'GET /health HTTP/1.0\\r\\nHost: t\\r\\n\\r\\n' >&3; cat <&3"


def unit_write(folder):
    unit = (ROOT / "deploy/systemd/spate.service.in").read_text()
    unit = unit.replace("@CMAKE_INSTALL_FULL_BINDIR@", "/mnt").replace("@CMAKE_INSTALL_FULL_SYSCONFDIR@/spate", "/mnt")
    (folder / "spate.service").write_text(unit.replace("@CMAKE_INSTALL_FULL_SYSCONFDIR@", "/etc"))
    for name in ("idle", "sysinit", "basic", "shutdown", "multi-user", "network-online"):
        (folder / f"{name}.target").write_text(f"[Unit]\nDescription={name}\nDefaultDependencies=no\n")
    (folder / "test.conf").write_text(DROP_IN)
    (folder / "spate.yaml").write_text(CONFIG)


class Systemd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.environ.get("SPATE_TEST_SYSTEMD") != "1":
            raise unittest.SkipTest("SKIPPED: SPATE_TEST_SYSTEMD is not 1; it boots a systemd in namespaces, as root")
        if os.geteuid() != 0 or not os.path.exists("/lib/systemd/systemd"):
            raise unittest.SkipTest("SKIPPED: not root, or there is no systemd")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-systemd-"))
        unit_write(cls.folder)
        shutil.copy(SPATE, cls.folder)
        shutil.copytree(ROOT / "tests/fixtures/model/smollm2", cls.folder / "model")
        names = ("--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup", "--propagation", "private")
        cls.boot = subprocess.Popen(("unshare", *names, "sh", "-c", SETUP, "sh", cls.folder))
        children = pathlib.Path(f"/proc/{cls.boot.pid}/task/{cls.boot.pid}/children")
        cls.init = wait_for(lambda: children.read_text().split(), "the namespaces are there")[0]
        wait_for(lambda: cls.inside("systemctl", "is-active", "idle.target").stdout == "active\n", "systemd has booted")

    @classmethod
    def tearDownClass(cls):
        cls.boot.kill()  # and all that is in the namespaces
        cls.boot.wait()
        shutil.rmtree(cls.folder)

    @classmethod
    def inside(cls, *command):
        return subprocess.run(("nsenter", "-t", cls.init, "-m", "-p", "-u", "-i", "-n", "-C", *command), capture_output=True,
                              text=True, timeout=spate_server.WAIT_SECONDS)

    def show(self, name):
        return self.inside("systemctl", "show", "-P", name, "spate").stdout.strip()

    def log(self):
        return self.inside("cat", "/run/spate.log").stdout

    def test_life(self):
        started = self.inside("systemctl", "start", "spate")  # returns when READY=1 has come
        self.assertEqual(started.returncode, 0, started.stderr + self.log())
        self.assertEqual((self.show("ActiveState"), self.show("StatusText")), ("active", "Serving."))
        self.assertIn("HTTP/1.1 200 OK", self.inside("bash", "-c", HEALTH).stdout)
        self.assertRegex(self.inside("sh", "-c", "ls /var/cache/spate").stdout, r"^\S+\.spate\n$")

        process = self.show("MainPID")
        status = self.inside("cat", f"/proc/{process}/status").stdout
        self.assertRegex(status, r"NoNewPrivs:\t1\n(.*\n)*Seccomp:\t2\n")
        self.assertEqual(set(re.findall(r"Cap(?:Prm|Eff|Bnd|Amb):\t(\w+)", status)), {"0" * 16})
        self.assertGreater(int(re.search(r"Uid:\t(\d+)", status)[1]), 60000)  # one of those that are made up

        self.assertEqual(self.inside("systemctl", "reload", "spate").returncode, 0)
        wait_for(lambda: "Engine 2 serves" in self.log(), "a reload")
        wait_for(lambda: (self.show("ActiveState"), self.show("StatusText")) == ("active", "Serving."), "the manager knows")
        self.assertEqual(self.show("MainPID"), process)

        self.inside("kill", "-STOP", process)
        wait_for(lambda: self.show("NRestarts") == "1", "the watchdog has barked")
        wait_for(lambda: self.show("ActiveState") == "active", "it serves again")
        self.assertNotEqual(self.show("MainPID"), process)
        self.assertIn("HTTP/1.1 200 OK", self.inside("bash", "-c", HEALTH).stdout)

        self.assertEqual(self.inside("systemctl", "stop", "spate").returncode, 0)
        self.assertEqual((self.show("Result"), self.show("ExecMainStatus")), ("success", "0"), self.log())


if __name__ == "__main__":
    spate_server.main(__name__)
