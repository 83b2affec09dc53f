"""schemathesis against the served /openapi.json: requests as it describes them, and just not so. No answer is a 5xx, and all are
as described."""
import os
import re
import sys

import spate_server
from spate_server import Engine, Server

EXAMPLES = 100 if os.environ.get("SPATE_LONG") == "1" else 20


class Schema(spate_server.ClientCase):
    def test_no_server_error(self):
        (self.engine.folder / "schemathesis.toml").write_text(
            '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", "504"]\n')
        engine = Engine("--max-seq-len", "512")  # so that none of its answers is long
        self.addCleanup(engine.remove)
        with Server(engine) as server:
            answer = self.client("schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json", "--checks",
                                 "not_a_server_error,content_type_conformance,status_code_conformance,response_schema_conformance",
                                 "--phases", "coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", 1, "--no-color")
            self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
            print(re.search(r"Test cases:\n +(.*)", answer.stdout)[1], file=sys.stderr)
            self.assertEqual(server.get("/health")[0], 200)


if __name__ == "__main__":
    spate_server.main(__name__)
