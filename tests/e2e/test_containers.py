"""The images and manifests of deploy/ without a container engine: the image's tree is laid out by its own script and run in
a chroot, the build's context is the files that .dockerignore lets through, and Kubernetes' own schemas judge manifests.

With SPATE_TEST_IMAGE the tree is one that deploy/docker/image_by_debootstrap.sh has built."""
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

import yaml

import spate_server
from spate_server import JSON, ROOT, SANITIZED, SPATE, Server, free_port, wait_for

SBOM = pathlib.Path(os.environ.get("EXAMPLES", ROOT / "build/release")) / "spate.spdx.json"
DEPLOY = ROOT / "deploy"
BUILT = os.environ.get("SPATE_TEST_IMAGE")
MOST_IMAGE_BYTES = 60 << 20
NOBODY = 65532
# As docker run --read-only --tmpfs /tmp -v …:/cache: the command's root, $0, in a mount namespace of its own.
READ_ONLY = """set -e; mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"
for place in tmp cache; do mount -t tmpfs -o mode=1777 tmpfs "$0/$place"; done
exec "$@" """
VALIDATE = """
import sys, yaml, kubernetes_validate
for path in sys.argv[1:]:
    for document in yaml.safe_load_all(open(path)):
        kubernetes_validate.validate(document, "1.33", strict=True)
"""


def documents(*names):
    return [document for name in names for document in yaml.safe_load_all((DEPLOY / name).read_text())]


def tree_bytes(root):
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())


@contextlib.contextmanager
def listener(answer):
    """The port of a listener that reads a request, sends these bytes and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            client, _ = server.accept()
            with client:
                client.recv(1 << 16)
                client.sendall(answer)
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@unittest.skipIf(SANITIZED, "SKIPPED: an image holds no sanitizer")
class Image(spate_server.EngineCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="spate-image-")) / "root"
        lay = ["cp", "-a", BUILT] if BUILT else [DEPLOY / "docker/image_tree.sh", SPATE, SBOM]
        subprocess.run([*lay, cls.root], check=True)
        shutil.copytree(cls.engine.folder / "tiny", cls.root / "models/tiny")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root.parent)
        super().tearDownClass()

    def test_size(self):
        size = tree_bytes(self.root) - tree_bytes(self.root / "models") - tree_bytes(self.root / "cache")
        print(f"the image's tree: {size / 1e6:.1f} MB")
        self.assertLess(size, MOST_IMAGE_BYTES)
        self.assertEqual(sorted(p.name for p in (self.root / "usr/bin").iterdir()), ["spate"])
        has, ours = (json.loads(path.read_text())["packages"] for path in (self.root / "usr/share/doc/spate/spate.spdx.json", SBOM))
        self.assertEqual([package["name"] for package in has], [package["name"] for package in ours])
        if not BUILT:  # there libraries are those of a Debian that is brought up to date
            self.assertEqual(has, ours)

    def listed(self, umask):
        """{path: (kind and mode, owner, time, content)} of a tree that is laid out under a umask, now."""
        root = pathlib.Path(tempfile.mkdtemp(prefix="spate-image-")) / "root"
        self.addCleanup(shutil.rmtree, root.parent)
        subprocess.run([DEPLOY / "docker/image_tree.sh", SPATE, SBOM, root], check=True, umask=umask,
                       env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"})
        found = {}
        for path in (root, *root.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(root))] = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime, hashlib.sha256(content).digest())
        return found

    def test_twice(self):
        """Whoever lays it out, and whenever, it is the same tree: contents, modes and stamps."""
        one, other = self.listed(0o022), self.listed(0o077)
        self.assertEqual(one, other)
        self.assertEqual({stamp for _, _, _, stamp, _ in one.values()}, {1700000000.0})
        self.assertGreater(len(one), 15)

    @unittest.skipUnless(os.geteuid() == 0, "SKIPPED: only root may change the root")
    def test_chroot(self):
        """The server runs as nobody in the image's tree, which is read-only and has not even a /proc, with the image's environment,
        builds its engine into the cache and answers; its health check sees it come and go."""
        mounts = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
        if mounts.returncode:
            self.skipTest(f"SKIPPED: there can be no mount namespace: {mounts.stderr.decode()}")
        port = free_port()
        inside = [shutil.which("chroot"), f"--userspec={NOBODY}:{NOBODY}", self.root, "/usr/bin/spate"]
        environment = {"SPATE_HOST": "127.0.0.1", "XDG_CACHE_HOME": "/cache", "SPATE_PORT": str(port), "PATH": os.environ["PATH"]}

        def health():
            return subprocess.run([*inside, "health"], env=environment, capture_output=True, text=True)
        self.assertEqual(health().stderr, f"spate: 127.0.0.1:{port} cannot be reached: Connection refused.\n")
        server = subprocess.Popen(["unshare", "--mount", "sh", "-c", READ_ONLY, self.root, *inside, "serve", "/models/tiny", "--kv-cache-memory", "256M"], env=environment,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(server.kill)
        wait_for(lambda: health().returncode == 0, "it is well")
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/generate", json.dumps({"prompt": "Once", "max_tokens": 3}), JSON)
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()
        self.assertEqual(os.stat(f"/proc/{server.pid}").st_uid, NOBODY)
        seen = pathlib.Path(f"/proc/{server.pid}/root")
        self.assertEqual(len(list((seen / "cache").rglob("*.spate"))), 1)
        with self.assertRaisesRegex(OSError, "Read-only"):
            (seen / "models/new").touch()
        server.terminate()
        self.assertEqual(server.wait(timeout=spate_server.WAIT_SECONDS), 0)
        self.assertEqual(health().returncode, 1)


class Health(spate_server.EngineCase):
    def probe(self, *options):
        return subprocess.run([SPATE, "health", *options], capture_output=True, text=True)

    def test_address(self):
        with Server(self.engine) as server:
            for host in ("127.0.0.1", "0.0.0.0", "localhost"):
                done = self.probe("--host", host, "--port", str(server.port))
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "The server makes progress.\n", ""))

    def test_path(self):
        path = self.engine.folder / "socket"
        with Server(self.engine, "--uds", str(path)):
            self.assertEqual(self.probe("--uds", str(path)).returncode, 0)
        self.assertEqual(self.probe("--uds", "/nowhere").stderr, "spate: /nowhere cannot be reached: No such file or directory.\n")
        self.assertEqual(self.probe("--uds", "/" + "n" * 108).stderr,
                         "spate: The path of the socket has 109 bytes, expected at most 107.\n")

    def test_tls(self):
        certificate, key = self.engine.folder / "cert.pem", self.engine.folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
                        certificate, "-subj", "/CN=localhost"], check=True, capture_output=True)
        files = ("--tls-cert", str(certificate), "--tls-key", str(key))
        with Server(self.engine, *files) as server:
            self.assertEqual(self.probe("--port", str(server.port), *files).returncode, 0)
            self.assertEqual(self.probe("--port", str(server.port)).returncode, 1)  # in the clear

    def test_no_http(self):
        with listener(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n") as port:
            self.assertEqual(self.probe("--port", str(port)).stderr, "spate: What listens there does not answer in HTTP.\n")
        with listener(b"") as port:
            self.assertEqual(self.probe("--port", str(port)).stderr, "spate: It took the connection and gave no answer.\n")
        with listener(b"HTTP/1.0 503 Service Unavailable\r\n\r\n") as port:
            self.assertEqual(self.probe("--port", str(port)).stderr, "spate: /health answers 503, expected 200.\n")


class Context(unittest.TestCase):
    def context(self):
        """What a container engine would be given: .dockerignore lets files through by its lines with an exclamation mark."""
        lines = (ROOT / ".dockerignore").read_text().split()
        self.assertEqual((lines[0], {line[0] for line in lines[1:]}), ("*", {"!"}))
        folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-context-"))
        self.addCleanup(shutil.rmtree, folder)
        for line in lines[1:]:
            source, target = ROOT / line[1:], folder / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        return folder

    @unittest.skipIf(SANITIZED, "SKIPPED: once is enough")
    def test_configures(self):
        """The Dockerfile's own line of CMake finds all it needs among those files, and asks for nothing that only tests need."""
        folder = self.context()
        for name in ("Dockerfile", "Dockerfile.cuda"):
            text = (DEPLOY / "docker" / name).read_text()
            for script in re.findall(r"(?:scripts|deploy)/[\w./]+\.sh", text):
                self.assertTrue((folder / script).exists(), script)
        line, = re.findall(r"^RUN (cmake --preset .*)", (DEPLOY / "docker/Dockerfile").read_text(), re.M)
        done = subprocess.run(line.split(), cwd=folder, capture_output=True, text=True, env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("CMOCKA_LIBRARY", (folder / "build/release/CMakeCache.txt").read_text())
        made = json.loads((folder / "build/release/spate.spdx.json").read_text())
        self.assertEqual(made["creationInfo"]["created"], "2023-11-14T22:13:20Z")  # not the time of the build

    @unittest.skipUnless((ROOT / ".git").exists() and shutil.which("git"), "SKIPPED: this is no clone, so there is no commit")
    def test_arguments(self):
        """What the script says of the commit is what the Dockerfiles take, and what git says."""
        words = subprocess.run([DEPLOY / "docker/build_args.sh"], check=True, capture_output=True, text=True).stdout.split()
        given = dict(word.split("=") for word in words if word != "--build-arg")
        git = lambda *options: subprocess.run(["git", "-C", ROOT, *options], check=True, capture_output=True, text=True).stdout.strip()
        self.assertEqual(given["SOURCE_DATE_EPOCH"], git("log", "-1", "--format=%ct"))
        self.assertEqual(given["SPATE_REVISION"].removesuffix("-dirty"), git("rev-parse", "HEAD"))
        for name in ("Dockerfile", "Dockerfile.cuda"):
            self.assertEqual(set(re.findall(r"^ARG (\w+)", (DEPLOY / "docker" / name).read_text(), re.M)), set(given))

    def test_same(self):
        """The two Dockerfiles differ in what a GPU wants and nothing else."""
        plain, cuda = ([line for line in (DEPLOY / "docker" / name).read_text().splitlines() if not line.startswith("#")]
                       for name in ("Dockerfile", "Dockerfile.cuda"))
        differing = [(a, b) for a, b in zip(plain, cuda, strict=True) if a != b]
        self.assertEqual([a.split()[0] for a, _ in differing], ["FROM", "RUN", "ENV"])
        self.assertIn("USER 65532:65532", plain)


def merge(base, patch):
    """As kustomize merges: objects by their keys, lists of named things by their names, all else is replaced."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return base | {key: merge(base[key], value) if key in base else value for key, value in patch.items()}
    if isinstance(base, list) and all(isinstance(one, dict) and "name" in one for one in [*base, *patch]):
        merged = {one["name"]: one for one in base}
        for one in patch:
            merged[one["name"]] = merge(merged.get(one["name"], {}), one)
        return list(merged.values())
    return patch


class Manifests(unittest.TestCase):
    FILES = [path.name for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) if path.name != "kustomization.yaml"]

    @unittest.skipUnless(os.environ.get("SPATE_TEST_CLIENTS"), "SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
    def test_schemas(self):
        done = subprocess.run([os.environ["SPATE_TEST_CLIENTS"], "-c", VALIDATE, *(DEPLOY / "kubernetes" / name for name in self.FILES)],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_names(self):
        """What the manifests call one another, and paths and variables that the server knows."""
        self.assertEqual(sorted(yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())["resources"]), self.FILES)
        kinds = {document["kind"]: document for document in documents(*(f"kubernetes/{name}" for name in self.FILES))}
        pod = kinds["Deployment"]["spec"]["template"]
        labels, container = pod["metadata"]["labels"], pod["spec"]["containers"][0]
        for selector in (kinds["Deployment"]["spec"]["selector"]["matchLabels"], kinds["Service"]["spec"]["selector"],
                         kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]):
            self.assertEqual(selector, labels)
        self.assertEqual(kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"], kinds["Deployment"]["metadata"]["name"])
        metric = kinds["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
        self.assertIn(f"`{metric}`", (ROOT / "docs/metrics.md").read_text())
        self.assertEqual({mount["name"] for mount in container["volumeMounts"]}, {volume["name"] for volume in pod["spec"]["volumes"]})
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        printed = subprocess.run([SPATE, "config", "--print"], env=os.environ | environment, capture_output=True, text=True, check=True).stdout
        for name in environment:
            self.assertIn(name, printed)
        rest = pod["spec"]["terminationGracePeriodSeconds"] - container["lifecycle"]["preStop"]["sleep"]["seconds"]
        self.assertGreater(rest, int(environment["SPATE_SHUTDOWN_TIMEOUT"]))

    @unittest.skipUnless(os.environ.get("SPATE_TEST_CLIENTS"), "SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
    def test_gpu(self):
        """The GPU's patch changes a deployment that is there, and what comes of both is one that the schemas take."""
        overlay, = documents("kubernetes/gpu/kustomization.yaml")
        self.assertEqual(overlay["patches"], [{"path": "deployment.yaml"}])
        (base,), (patch,) = documents("kubernetes/deployment.yaml"), documents("kubernetes/gpu/deployment.yaml")
        self.assertEqual([patch[key] for key in ("apiVersion", "kind")], [base[key] for key in ("apiVersion", "kind")])
        merged = merge(base, patch)
        pod = merged["spec"]["template"]["spec"]
        self.assertEqual([container["image"] for container in pod["containers"]], ["spate"])
        self.assertEqual(pod["containers"][0]["resources"]["limits"], {"memory": "32Gi", "nvidia.com/gpu": "1"})
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(merged, file)
            file.flush()
            done = subprocess.run([os.environ["SPATE_TEST_CLIENTS"], "-c", VALIDATE, file.name], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)


class Compose(unittest.TestCase):
    def test_files(self):
        """Every file that is mounted exists, every named volume is declared, and the GPU's file adds to services that are there."""
        compose, = documents("compose/compose.yaml")
        for service in compose["services"].values():
            for mount in service.get("volumes", ()):
                source = mount.split(":")[0]
                if source.startswith("."):
                    self.assertTrue((DEPLOY / "compose" / source).exists(), source)
                elif not source.startswith("$"):
                    self.assertIn(source, compose["volumes"])
            if "build" in service:
                self.assertTrue((ROOT / service["build"]["dockerfile"]).exists())
        self.assertEqual(set(documents("compose/gpu.yaml")[0]["services"]) - set(compose["services"]), set())

    def test_prometheus(self):
        """It scrapes as deploy/prometheus does, but for the target, which is a service of the file."""
        ours, theirs = documents("compose/prometheus.yml", "prometheus/prometheus.yml")
        target = ours["scrape_configs"][0]["static_configs"][0].pop("targets")
        theirs["scrape_configs"][0]["static_configs"][0].pop("targets")
        self.assertEqual(ours, theirs)
        self.assertEqual(target, ["spate:8000"])


if __name__ == "__main__":
    spate_server.main(__name__)
