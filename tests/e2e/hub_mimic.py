"""A hub as huggingface.co's clients see it, with what may go wrong: repositories over HTTP or TLS, large files from a
second server that redirects lead to, and a proxy. Keeps what it was asked."""
import hashlib
import http.client
import http.server
import json
import re
import select
import socket
import threading
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def blob_id(data):
    """git's name of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Repository:
    def __init__(self, files, large=(".safetensors", ".gguf", ".bin"), commit=COMMIT, branches=("main",)):
        self.files, self.large, self.commit, self.branches = dict(files), large, commit, branches
        self.page = 1000     # files of a page
        self.entries = None  # of the list, in place of those that are true
        self.refuse = None   # (status, X-Error-Code, X-Error-Message)
        self.token = None    # that is asked for
        self.former = None   # a name of one part, from which requests are led here

    def is_large(self, name):
        return name.endswith(self.large)

    def digest(self, name):
        data = self.files[name]
        return hashlib.sha256(data).hexdigest() if self.is_large(name) else blob_id(data)

    def tree(self):
        if self.entries is not None:
            return self.entries
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "folder"}]
        for name, data in self.files.items():
            entry = {"type": "file", "oid": blob_id(data), "size": len(data), "path": name}
            if self.is_large(name):
                entry["oid"] = blob_id(b"pointer" + name.encode())
                entry["lfs"] = {"oid": self.digest(name), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        return entries


class Node(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler, tls=None):
        super().__init__(("127.0.0.1", 0), handler)
        self.tls, self.asked, self.open = tls is not None, [], threading.Event()
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """Clients that give up are what is tested."""

    def url(self, path="", host="127.0.0.1"):
        return f"http{'s' if self.tls else ''}://{host}:{self.server_port}{path}"

    def end(self):
        self.open.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name == "Content-Length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def note(self):
        self.server.asked.append((self.command, self.path, dict(self.headers)))

    def cut(self):
        """Ends the connection in the middle."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def send_file(self, data, fault, headers=()):
        """The file, or the part that is asked for, or what `fault` makes of it: bytes are sent as they are."""
        if isinstance(fault, bytes):
            self.wfile.write(fault)
            return self.cut()
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        at = int(wanted[1]) if wanted else 0
        if fault == "ranges ignored":
            at, wanted = 0, None
        if fault == "range refused" and wanted:
            return self.answer(416, headers=((("Content-Range"), f"bytes */{len(data)}"),))
        if fault == "wrong sum":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if fault == "encoded":
            return self.answer(200, data, headers=(("Content-Encoding", "gzip"),))
        status, more = 200, list(headers)
        if wanted:
            shift = 1 if fault == "other range" else 0
            status, more = 206, [*more, ("Content-Range", f"bytes {at + shift}-{len(data) - 1}/{len(data)}")]
        body = data[at:]
        if fault == "too short":
            body = body[:-7]
        elif fault == "too long":
            body += b"surplus"
        elif fault == "endless":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while True:
                self.wfile.write(b"10000\r\n" + b"\0" * 65536 + b"\r\n")
        elif fault in ("cut", "cut and hold", "silent"):
            piece = max(1, len(data) // 4)
            self.send_response(status)
            for name, value in [*more, ("Content-Length", str(len(body)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[:piece])
            self.wfile.flush()
            if fault != "cut":
                self.server.open.wait(60)
            return self.cut() if len(body) > piece or fault != "cut" else None
        return self.answer(status, body, more)


class StoreHandler(Handler):
    """The second server: /SHA-256 of a large file, with the signature that the hub gave."""

    def do_GET(self):
        self.note()
        parsed = urllib.parse.urlsplit(self.path)
        hub = self.server.hub
        for repository in hub.repositories.values():
            for name, data in repository.files.items():
                if repository.digest(name) == parsed.path[1:]:
                    return self.send_file(data, hub.fault(name))
        return self.answer(403, b"no")

    do_HEAD = do_GET


class HubHandler(Handler):
    def do_GET(self):
        self.note()
        parsed = urllib.parse.urlsplit(self.path)
        parts = parsed.path.split("/")[1:]
        name = parts[2] if parts[:2] == ["api", "models"] else parts[0]
        for now, repository in self.server.repositories.items():
            if repository.former == name:
                return self.answer(307, headers=(("Location", self.path.replace(f"/{name}/", f"/{now}/", 1)),))
        if parts[:2] == ["api", "models"]:
            return self.api(parts[2:], urllib.parse.parse_qs(parsed.query))
        if len(parts) > 4 and parts[2] == "resolve":
            return self.resolve("/".join(parts[:2]), urllib.parse.unquote(parts[3]), urllib.parse.unquote("/".join(parts[4:])))
        if parts[0] == "cache":  # where small files are led to, on the same server
            return self.resolve("/".join(parts[1:3]), COMMIT, urllib.parse.unquote("/".join(parts[3:])), direct=True)
        return self.error(404, "EntryNotFound")

    do_HEAD = do_GET

    def error(self, status, code="", message=""):
        headers = [(name, value) for name, value in (("X-Error-Code", code), ("X-Error-Message", message)) if value]
        self.answer(status, json.dumps({"error": message}).encode(), headers)

    def repository(self, name):
        found = self.server.repositories.get(name)
        if not found:
            self.error(401 if not self.headers.get("Authorization") else 404, "RepoNotFound", "Repository not found")
        elif found.refuse and found.refuse[0]:
            self.error(*found.refuse)
        elif found.token and self.headers.get("Authorization") != f"Bearer {found.token}":
            self.error(401 if "Authorization" not in self.headers else 403, "GatedRepo", "Access is restricted")
        else:
            return found
        return None

    def commit(self, repository, revision):
        if revision == repository.commit or revision in repository.branches:
            return repository.commit
        self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return None

    def api(self, parts, query):
        name, kind, revision = "/".join(parts[:2]), *map(urllib.parse.unquote, parts[2:4])
        repository = self.repository(name)
        commit = repository and self.commit(repository, revision)
        if not commit:
            return None
        self.server.times[kind] = self.server.times.get(kind, 0) + 1
        fault = self.server.api_faults.get(kind)
        if fault:
            status, headers, body, times = fault
            if self.server.times[kind] <= times:
                return self.answer(status, body, headers)
        if kind == "revision":
            facts = {"id": name, "sha": commit, "siblings": [{"rfilename": file} for file in repository.files], "private": False}
            return self.answer(200, json.dumps(facts).encode(), (("Content-Type", "application/json"),))
        entries, page = repository.tree(), int(query.get("cursor", ["0"])[0])
        some = entries[page * repository.page:(page + 1) * repository.page]
        headers = [("Content-Type", "application/json")]
        if (page + 1) * repository.page < len(entries):
            base = self.server.next_base or self.server.url()
            headers.append(("Link", f'<{base}/api/models/{name}/tree/{commit}?recursive=true&cursor={page + 1}>; rel="next"'))
        return self.answer(200, json.dumps(some).encode(), headers)

    def resolve(self, name, revision, file, direct=False):
        repository = self.repository(name)
        commit = repository and self.commit(repository, revision)
        if not commit:
            return None
        if file not in repository.files:
            return self.error(404, "EntryNotFound", "Entry not found")
        data, digest = repository.files[file], repository.digest(file)
        headers = [("X-Repo-Commit", commit), ("ETag", f'"{digest}"')]
        fault = self.server.way_faults.get(file)
        if fault == "loop":
            return self.answer(302, headers=(("Location", self.path),))
        if fault == "nowhere":
            return self.answer(302)
        if fault == "to http":
            return self.answer(302, headers=(("Location", "http://127.0.0.1:1/x"),))
        if isinstance(fault, int):
            return self.error(fault)
        if repository.is_large(file):
            headers += [("X-Linked-Etag", f'"{digest}"'), ("X-Linked-Size", str(len(data))),
                        ("Location", self.server.store.url(f"/{digest}?Signature=a~b%2F-_&response-content-disposition="
                                                           "inline%3B+filename*%3DUTF-8%27%27model"))]
            return self.answer(302, headers=headers)
        if not direct and self.server.small_redirects:
            quoted = urllib.parse.quote(file)
            return self.answer(307, headers=[*headers, ("Location", f"/cache/{name}/{quoted}")])
        return self.send_file(data, self.server.fault(file), headers)


class Hub(Node):
    """repositories: {"ORG/NAME": Repository}. faults: {file: [what the next answers are like]}, the last one for ever.
    way_faults: {file: what becomes of the way to it}. api_faults: {kind: (status, headers, body, how often)}."""

    def __init__(self, repositories, tls=None, store_tls=None):
        self.repositories, self.faults, self.way_faults, self.api_faults, self.times = repositories, {}, {}, {}, {}
        self.small_redirects, self.next_base = False, None
        super().__init__(HubHandler, tls)
        self.store = Node(StoreHandler, store_tls)
        self.store.hub = self

    def fault(self, file):
        faults = self.faults.get(file)
        if not faults:
            return None
        return faults.pop(0) if len(faults) > 1 else faults[0]

    def end(self):
        self.store.end()
        super().end()


class ProxyHandler(Handler):
    """CONNECT for TLS, whole URLs for the rest; asks for a password where it has one."""

    timeout = 60

    def refused(self):
        self.note()
        wanted = self.server.password
        if wanted and self.headers.get("Proxy-Authorization") != f"Basic {wanted}":
            self.answer(407)
            return True
        return False

    def do_CONNECT(self):
        if self.refused():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port))) as far:
            self.send_response(200, "Connection established")
            self.end_headers()
            while True:
                ready, _, _ = select.select([self.connection, far], [], [], 60)
                for side in ready:
                    data = side.recv(1 << 16)
                    if not data:
                        self.close_connection = True
                        return
                    (far if side is self.connection else self.connection).sendall(data)

    def do_GET(self):
        if self.refused():
            return
        parsed = urllib.parse.urlsplit(self.path)
        connection = http.client.HTTPConnection(parsed.hostname, parsed.port)
        path = parsed.path + (f"?{parsed.query}" if parsed.query else "")
        connection.request("GET", path, headers={k: v for k, v in self.headers.items() if not k.startswith("Proxy-")})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        self.answer(response.status, body, [(k, v) for k, v in response.getheaders()
                                            if k.lower() not in ("transfer-encoding", "connection", "content-length")])


class Proxy(Node):
    def __init__(self, password=None):
        self.password = password
        super().__init__(ProxyHandler)
