"""What deploy/ has for watching a server, as a real Prometheus uses it: alerts fire and do not, each panel of the dashboard
draws something.

Needs the folder that scripts/get_prometheus.sh prints, as SPATE_TEST_PROMETHEUS."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import spate_server
from spate_server import ROOT, Server, free_port, wait_for

FOLDER = pathlib.Path(os.environ.get("SPATE_TEST_PROMETHEUS", ""))
RULES = ROOT / "deploy/prometheus"
DASHBOARD = json.loads((ROOT / "deploy/grafana/spate.json").read_text())
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "1m"}
LEAST_SCRAPES = 3  # a rate needs two


def dashboard_queries():
    """(title, expression) of each query, its variables filled in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            yield panel["title"], query


class PrometheusServer:
    """Prometheus with the repository's configuration, but another target and more frequent scrapes."""

    def __init__(self, spate_port):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-watch-"))
        self.port = free_port()
        shutil.copy(RULES / "spate_rules.yml", self.folder)
        config = (RULES / "prometheus.yml").read_text()
        config, n_target = re.subn(r"127\.0\.0\.1:8000", f"127.0.0.1:{spate_port}", config)
        config, n_interval = re.subn(r"_interval: \d+s", "_interval: 1s", config)
        assert (n_target, n_interval) == (1, 2), config
        (self.folder / "prometheus.yml").write_text(config)
        self.log = open(self.folder / "log", "w")
        self.process = subprocess.Popen(
            [FOLDER / "prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log)

    def ask(self, path, **fields):
        """The data of an answer; None while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(fields)}") as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            if error.code != 503:  # it is starting
                raise AssertionError(f"{fields}: {error.read().decode()}") from None
            return None
        except OSError:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            return None

    def query(self, expression):
        data = self.ask("query", query=expression)
        return data["result"] if data else []

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder)


class Watch(spate_server.EngineCase):
    def promtool(self, *command):
        done = subprocess.run([FOLDER / "promtool", *command], cwd=RULES, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_rules(self):
        """promtool takes the configuration, and each alert fires for the bad server alone."""
        self.assertIn("1 rule files found", self.promtool("check", "config", "prometheus.yml"))
        self.promtool("test", "rules", "spate_rules_test.yml")
        alerts = re.findall(r"alert: (\w+)", (RULES / "spate_rules.yml").read_text())
        tested = re.findall(r"alertname: (\w+)\n +exp_alerts:\n", (RULES / "spate_rules_test.yml").read_text())
        self.assertEqual(sorted(set(tested)), sorted(alerts), "alerts that no test sees fire")

    def test_scraped(self):
        """A real Prometheus scrapes a real server: the target is up, and no query of rules or panels comes back empty."""
        with Server(self.engine) as server:
            prometheus = PrometheusServer(server.port)
            self.addCleanup(prometheus.close)
            wait_for(lambda: prometheus.query('up{job="spate"} == 1'), "the target is up")

            def seen():
                server.generate(prompt="Once", max_tokens=8)
                server.generate(prompt="Once upon a time " * 30, max_tokens=4)
                n = prometheus.query("count_over_time(llm_generation_tokens_total[1m])")
                return n and int(n[0]["value"][1]) >= LEAST_SCRAPES and prometheus.query("rate(llm_generation_tokens_total[1m]) > 0")
            wait_for(seen, f"{LEAST_SCRAPES} scrapes")
            for title, query in dashboard_queries():
                self.assertTrue(wait_for(lambda q=query: prometheus.query(q), f"{title}: {query}"), title)
            names = set(prometheus.ask("label/__name__/values"))
            rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
            self.assertEqual({rule["health"] for rule in rules} - {"unknown"}, {"ok"})
            for rule in rules:
                if rule["type"] == "recording":
                    wait_for(lambda r=rule: prometheus.query(r["name"]), rule["name"])
                    names.add(rule["name"])
            used = {name for rule in rules for name in re.findall(r"\b(?:llm|http|spate)[\w:]+", rule["query"])} - {"spate"}
            self.assertEqual(used - names, set(), "rules over what no server exports")
            self.assertEqual([alert for alert in prometheus.ask("alerts")["alerts"] if alert["state"] == "firing"], [])

    def test_dashboard(self):
        """Identifiers are unique, panels lie side by side within 24 columns, each says what it shows."""
        panels = DASHBOARD["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            taken |= cells
            if panel["type"] != "row":
                self.assertTrue(panel["description"].endswith("."), panel["title"])
                self.assertTrue(panel["targets"], panel["title"])


if __name__ == "__main__":
    if not os.environ.get("SPATE_TEST_PROMETHEUS"):
        print("SKIPPED: SPATE_TEST_PROMETHEUS is not set to the folder that scripts/get_prometheus.sh prints")
        sys.exit(77)
    spate_server.main(__name__)
