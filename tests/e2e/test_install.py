"""What `make install` and the Debian package put where, the man pages, and completion in real shells."""
import fcntl
import gzip
import os
import pathlib
import pty
import re
import select
import shutil
import struct
import subprocess
import tempfile
import termios
import time
import unittest

import spate_server
from spate_server import ROOT, SANITIZED, SPATE

BUILD = pathlib.Path(os.environ.get("EXAMPLES", ROOT / "build/release"))  # the build folder
MODEL = ROOT / "tests/fixtures/model/smollm2"


def needs(*programs):
    missing = [program for program in programs if not shutil.which(program)]
    return unittest.skipIf(missing, f"SKIPPED: there is no {' and no '.join(missing)}")


def output_of(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=spate_server.WAIT_SECONDS, **more).stdout


def commands():
    return re.findall(r"^  ([a-z-]+) ", output_of(SPATE, "--help").partition("COMMAND ...")[2], re.M)


def options(command):
    return set(re.findall(r"^  (?:    |-\w, )--([a-z-]+)", output_of(SPATE, command, "--help"), re.M))


class Documents(unittest.TestCase):
    """Generated anew, whatever the build folder has."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-documents-"))
        output_of("cmake", f"-DSPATE={SPATE}", f"-DTO={cls.folder}", "-P", ROOT / "cmake/documents.cmake")
        cls.completions = cls.folder / "completions"

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def test_help(self):
        self.assertEqual(output_of(SPATE, "help"), output_of(SPATE, "--help"))
        self.assertEqual(output_of(SPATE, "help", "serve"), output_of(SPATE, "serve", "--help"))
        self.assertEqual(output_of(SPATE, "help", "serve", "--man").encode(),
                         gzip.decompress((self.folder / "man/man1/spate-serve.1.gz").read_bytes()))
        for options, sentence in ((("nothing", "--man"), 'There is no command "nothing": see spate --help.'),
                                  (("--completion", "tcsh"), '--completion is "tcsh", expected bash, zsh or fish.')):
            answer = subprocess.run((SPATE, "help", *options), capture_output=True, text=True)
            self.assertEqual((answer.returncode, answer.stderr), (1, f"spate: {sentence}\n"))

    def test_a_page_for_each_command(self):
        pages = {page.name for page in (self.folder / "man").rglob("*.gz")}
        self.assertEqual(pages, {"spate.1.gz", "spate.yaml.5.gz"} | {f"spate-{command}.1.gz" for command in commands()})
        self.assertGreater(len(pages), 10)

    @needs("mandoc")
    def test_mandoc_finds_nothing(self):
        for page in (self.folder / "man").rglob("*.gz"):
            text = gzip.decompress(page.read_bytes()).decode("ascii")
            said = subprocess.run(("mandoc", "-Tlint"), input=text, capture_output=True, text=True).stdout
            said = [line for line in said.splitlines() if "referenced manual not found" not in line]  # none is installed
            self.assertEqual(said, [], page.name)
            for name, section in re.findall(r"^\.Xr (\S+) (\d)", text, re.M):
                self.assertTrue((self.folder / f"man/man{section}/{name}.{section}.gz").exists(), name)

    @needs("man")
    def test_pages_have_the_options(self):
        for command in commands():
            page = subprocess.run(("man", "--warnings", "-l", self.folder / f"man/man1/spate-{command}.1.gz"),
                                  capture_output=True, text=True, env=os.environ | {"MANWIDTH": "200", "LC_ALL": "C.UTF-8"})
            self.assertEqual((page.returncode, page.stderr), (0, ""))
            self.assertEqual(set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)(?: [A-Z]+)?(?:$|  )", page.stdout, re.M)), options(command))

    @needs("man")
    def test_settings_page(self):
        page = output_of("man", "-l", self.folder / "man/man5/spate.yaml.5.gz", env=os.environ | {"MANWIDTH": "200"})
        names = re.findall(r"^#?([a-z-]+): ", output_of(SPATE, "config", "--print"), re.M)
        for name in names:
            self.assertRegex(page, rf"(?m)^ +{name}: ")
        self.assertGreater(len(names), 40)

    # ---- shells

    def bash(self, *words):
        script = ("source {}; COMP_WORDS=({}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); "
                  "_spate spate \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; "
                  "printf '%s\\n' \"${{COMPREPLY[@]}}\"")
        quoted = " ".join(f"'{word}'" for word in ("spate", *words))
        return output_of("bash", "--norc", "-c", script.format(self.completions / "bash-completion/completions/spate", quoted),
                         cwd=self.folder).split()

    def fish(self, *words):
        script = f"source {self.completions}/fish/vendor_completions.d/spate.fish; complete -C '{' '.join(('spate', *words))}'"
        answer = output_of("fish", "--no-config", "-c", script, cwd=self.folder, env=os.environ | {"HOME": str(self.folder)})
        return [line.partition("\t")[0] for line in answer.splitlines()]

    def zsh(self, *words):
        """What the line editor shows for the words and two tabs."""
        (self.folder / ".zshrc").write_text(
            f"PS1='READY> '\nunsetopt prompt_sp auto_menu beep\nfpath=({self.folder}/zsh $fpath)\n"
            "autoload -Uz compinit\ncompinit -u -D\n")
        main, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 1000, 2000, 0, 0))  # so that no line is broken
        process = subprocess.Popen(("zsh", "-d", "-i"), stdin=terminal, stdout=terminal, stderr=terminal, cwd=self.folder,
                                   env=os.environ | {"TERM": "dumb", "ZDOTDIR": str(self.folder)}, start_new_session=True)
        os.close(terminal)
        try:
            self.read_until(main, "READY> ")
            os.write(main, (" ".join(("spate", *words)) + "\t\t").encode())
            os.write(main, b"\x15echo MA\"\"RK\n")  # in place of the line; what echoes it has no MARK
            return self.read_until(main, "MARK\r\n")
        finally:
            process.kill()
            process.wait()
            os.close(main)

    def read_until(self, descriptor, mark):
        text, end = "", time.monotonic() + spate_server.WAIT_SECONDS
        while mark not in text and time.monotonic() < end:
            if select.select([descriptor], [], [], 1)[0]:
                text += os.read(descriptor, 1 << 16).decode(errors="replace")
        self.assertIn(mark, text)
        return text

    @needs("bash")
    def test_bash(self):
        self.assertEqual(set(self.bash("")), set(commands()) | {"--help", "--version"})
        for command in commands():
            self.assertEqual(set(self.bash(command, "--")), {f"--{name}" for name in options(command)}, command)
        self.assertEqual(self.bash("serve", "--log-l"), ["--log-level"])
        self.assertEqual(self.bash("serve", "--log-level", ""), ["error", "warning", "info", "debug"])
        self.assertEqual(self.bash("serve", "--log-level", "=", "de"), ["debug"])
        self.assertEqual(self.bash("serve", "--log-level", "="), ["error", "warning", "info", "debug"])
        self.assertEqual(self.bash("serve", "--port", ""), [])
        self.assertEqual(set(self.bash("build", "-o", "ma")), {"made", "man"})
        self.assertEqual(set(self.bash("serve", "--config", "ma")), {"made", "man"})
        self.assertEqual(self.bash("serve", "zs"), ["zsh"])
        self.assertEqual(self.bash("help", "qu"), ["quantize-table"])
        self.assertEqual(self.bash("bench-serve", ""), [])
        self.assertEqual(self.bash("nothing", "--"), [])

    @needs("fish")
    def test_fish(self):
        self.assertEqual(set(self.fish("")), set(commands()))
        for command in commands():
            self.assertEqual(set(self.fish(command, "--")) - {"--"}, {f"--{name}" for name in options(command)}, command)
        self.assertEqual(set(self.fish("serve", "--log-level", "")), {"error", "warning", "info", "debug"})
        self.assertEqual(self.fish("serve", "--port", ""), [])
        self.assertEqual(self.fish("serve", "--config", "ma"), ["made", "man/"])
        self.assertEqual(self.fish("help", "qu"), ["quantize-table"])
        self.assertEqual(self.fish("bench-serve", ""), [])

    @needs("zsh")
    def test_zsh(self):
        listed = self.zsh("")
        for command in commands():
            self.assertRegex(listed, rf"\b{command} +--")
        for command in commands():
            listed = self.zsh(command, "--")
            for name in options(command):
                self.assertRegex(listed, rf"--{name}\b")
        self.assertRegex(self.zsh("serve", "--log-level", ""), r"debug +error +info +warning")
        self.assertIn("spate help quantize-table", self.zsh("help", "qu"))
        self.assertIn("spate serve --config made", self.zsh("serve", "--config", "mad"))


@unittest.skipIf(SANITIZED, "SKIPPED: a program with sanitizers is not installed")
@unittest.skipUnless((BUILD / "cmake_install.cmake").exists() and (BUILD / "documents/made").exists(),
                     "SKIPPED: the targets libspate and documents are not built")
class Install(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-install-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def install(self, prefix):
        output_of("cmake", "--install", BUILD, "--prefix", prefix, env=os.environ | {"DESTDIR": str(self.folder)})
        return self.folder / prefix[1:]

    def test_unit_and_settings_follow_the_prefix(self):
        for prefix, etc in (("/usr", "etc"), ("/opt/spate", "opt/spate/etc")):
            place = self.install(prefix)
            unit = (place / "lib/systemd/system/spate.service").read_text()
            settings = self.folder / etc / "spate/spate.yaml"
            self.assertIn(f"\nExecStart={prefix}/bin/spate serve --config /{etc}/spate/spate.yaml\n", unit)
            self.assertNotIn("@", unit.replace("@system-service", "").replace("@privileged", ""))
            pages = [gzip.decompress(page.read_bytes()).decode() for page in (place / "share/man").rglob("spate*.gz")]
            for text in (settings.read_text(), *pages):  # they name the file that is read, and no other
                self.assertEqual(set(re.findall(r"\S*/spate/spate\.yaml", text)) - {f"/{etc}/spate/spate.yaml"}, set())
            self.assertGreaterEqual(sum(f"/{etc}/spate/spate.yaml" in page for page in pages), 3)
            settings.write_text("port: 1\n")
            self.install(prefix)
            self.assertEqual(settings.read_text(), "port: 1\n")
            self.assertIn("0.", output_of(place / "bin/spate", "--version"))
        self.assertTrue((self.folder / "usr/share/zsh/vendor-completions/_spate").exists())
        self.assertTrue((self.folder / "opt/spate/share/zsh/site-functions/_spate").exists())

    def test_links_of_documents(self):
        """What a document links is installed too, but for what is in the source alone."""
        folder = self.install("/usr") / "share/doc/spate"
        pages = [*folder.glob("*.md"), *folder.rglob("docs/**/*.md")]
        linked = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]
        self.assertGreater(len(linked), 80)
        for page, link in linked:
            if not (ROOT / page.relative_to(folder)).parent.joinpath(link).resolve().is_relative_to(ROOT / "include"):
                self.assertTrue((page.parent / link).exists(), f"{page.name}: {link}")

    @needs("pkg-config", "cc")
    def test_a_program_is_compiled_with_pkg_config(self):
        place = self.install("/opt/spate")
        found = {"PKG_CONFIG_PATH": str(next(place.rglob("spate.pc")).parent)}
        version = output_of(SPATE, "--version").split()[1]
        self.assertEqual(output_of("pkg-config", "--modversion", "spate", env=os.environ | found).strip(), version)
        flags = output_of("pkg-config", "--cflags", "--libs", "spate", env=os.environ | found).split()
        program = self.folder / "embed"
        output_of("cc", "-std=gnu17", ROOT / "examples/embed.c", "-o", program, *flags)
        library = next(place.rglob("libspate.so")).parent
        linked = output_of("ldd", program, env=os.environ | {"LD_LIBRARY_PATH": str(library)})
        self.assertIn(os.path.realpath(library), os.path.realpath(re.search(r"libspate\.so\.0 => (\S+)", linked)[1]))

    @needs("cpack", "dpkg-deb", "dpkg-shlibdeps")
    def test_package(self):
        output_of("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", self.folder)
        (package,) = self.folder.glob("*.deb")
        if shutil.which("lintian"):
            found = subprocess.run(("lintian", "--fail-on", "error,warning", "--allow-root", package), capture_output=True, text=True)
            self.assertEqual((found.returncode, found.stdout), (0, ""))
        self.check_dependencies(package)
        root = self.folder / "root"
        output_of("dpkg-deb", "-x", package, root)
        answer = output_of(root / "usr/bin/spate", "generate", MODEL, "-p", "Once", "-n", "4", "--kv-cache-memory", "64M",
                           "--cache-dir", self.folder / "cache")
        self.assertNotEqual(answer, "")
        output_of(root / "usr/bin/spate", "config", "--config", root / "etc/spate/spate.yaml")

    def check_dependencies(self, package):
        """Every library that the program names is in a package that it depends on; what those need is their packages' to say."""
        depends = set(re.findall(r"(?:^|, )([a-z0-9.+-]+)", output_of("dpkg-deb", "-f", package, "Depends")))
        root = self.folder / "needed"
        output_of("dpkg-deb", "-x", package, root)
        named = re.findall(r"NEEDED.*\[(.*)\]", output_of("readelf", "-d", root / "usr/bin/spate"))
        for library, path in re.findall(r"(\S+) => (/\S+)", output_of("ldd", root / "usr/bin/spate")):
            if library not in named:
                continue
            owner = subprocess.run(("dpkg", "-S", os.path.realpath(path)), capture_output=True, text=True).stdout
            owner = owner or subprocess.run(("dpkg", "-S", os.path.realpath(path).removeprefix("/usr")), capture_output=True,
                                            text=True).stdout
            self.assertIn(owner.partition(":")[0], depends, path)

    @needs("dpkg", "cpack", "dpkg-shlibdeps")
    def test_package_installs(self):
        """Into a root of its own, whose dpkg knows no other package; then it is removed, and its settings stay until a purge."""
        if os.geteuid() != 0:
            self.skipTest("SKIPPED: dpkg wants root")
        output_of("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", self.folder)
        (package,) = self.folder.glob("*.deb")
        root = self.folder / "root"
        for place in ("var/lib/dpkg/info", "var/lib/dpkg/updates"):
            (root / place).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        dpkg = ("dpkg", f"--root={root}", "--force-depends", "--force-script-chrootless", "--log=/dev/null")
        output_of(*dpkg, "-i", package)
        self.assertIn("0.", output_of(root / "usr/bin/spate", "--version"))
        output_of(*dpkg, "-r", "spate")
        self.assertFalse((root / "usr/bin/spate").exists())
        self.assertTrue((root / "etc/spate/spate.yaml").exists())
        output_of(*dpkg, "-P", "spate")
        self.assertFalse((root / "etc/spate").exists())


if __name__ == "__main__":
    spate_server.main(__name__)
