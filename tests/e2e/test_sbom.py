"""The bill of materials, spate.spdx.json: what the loader loads for the program stands in it with the version that Debian's package
has, and nothing else; spdx-tools, SPDX's own library, finds it valid. And no file that is shipped has a path of this machine in it."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

import spate_server
from spate_server import ROOT, SANITIZED, SPATE

BUILD = pathlib.Path(os.environ.get("EXAMPLES", ROOT / "build/release"))  # the build folder
SBOM = BUILD / "spate.spdx.json"
NAMES = {"libuv1": "libuv", "libpng1.6": "libpng"}  # Debian's source packages by other names
VALIDATE = """
import sys
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
sys.exit("\\n".join(message.validation_message for message in validate_full_spdx_document(parse_file(sys.argv[1]))) or 0)
"""


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Materials(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.document = json.loads(SBOM.read_text())
        cls.packages = {package["name"]: package for package in cls.document["packages"]}

    @unittest.skipIf(SANITIZED or not shutil.which("dpkg-query"), "SKIPPED: there is no dpkg, or a sanitizer's library is linked")
    def test_what_is_loaded(self):
        loaded = {"spate": self.packages["spate"]["versionInfo"]}
        for library in re.findall(r"/\S+", output_of("ldd", SPATE)):
            owner = output_of("dpkg-query", "-S", f"*/{os.path.basename(library)}").partition(": ")[0]
            source, version = output_of("dpkg-query", "-W", "-f", "${source:Package} ${source:Upstream-Version}", owner).split()
            loaded[NAMES.get(source, source)] = re.sub(r"^(\d+:)|\.dfsg.*$|[+~-].*$", "", version)
        inside = self.linked("STATIC_LINK")
        self.assertEqual({name: package["versionInfo"] for name, package in self.packages.items()
                          if package["SPDXID"] not in inside}, loaded)

    def linked(self, *types):
        return {relation["relatedSpdxElement"] for relation in self.document["relationships"]
                if relation["spdxElementId"] == "SPDXRef-Package-spate" and relation["relationshipType"] in types}

    def test_relations(self):
        """Each package is one that spate is linked with, and has a license."""
        self.assertEqual(self.linked("DYNAMIC_LINK", "STATIC_LINK") | {"SPDXRef-Package-spate"}, {package["SPDXID"] for package in self.document["packages"]})
        for package in self.document["packages"]:
            self.assertNotIn("NOASSERTION", package["licenseDeclared"])

    @unittest.skipUnless(os.environ.get("SPATE_TEST_CLIENTS"), "SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
    def test_valid(self):
        done = subprocess.run([os.environ["SPATE_TEST_CLIENTS"], "-c", VALIDATE, SBOM], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


@unittest.skipIf(SANITIZED, "SKIPPED: nobody ships a build with a sanitizer, which tells files by their paths")
class Bytes(unittest.TestCase):
    def test_no_path_of_this_machine(self):
        """Elsewhere the same commit gives the same bytes: scripts/reproducible.sh builds it twice."""
        for path in (pathlib.Path(SPATE), BUILD / "libspate.so", SBOM, *(BUILD / "documents").rglob("*.gz")):
            for folder in (ROOT, BUILD.resolve()):
                self.assertNotIn(f"{folder}/".encode(), path.read_bytes(), path)


if __name__ == "__main__":
    spate_server.main(__name__)
