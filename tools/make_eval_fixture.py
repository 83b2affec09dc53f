#!/usr/bin/env python3
"""What lm-evaluation-harness and the numpy forward make of the files in tests/fixtures/eval.

    make_eval_fixture.py --fixtures tests/fixtures

Needs numpy, tokenizers and lm-eval (0.4.5), whose windows, prompts, filters and metrics are used as they are installed;
no network. The networks are the tiny random one of make_model_fixtures.py and the same with another RoPE base, in
double precision. Writes tests/fixtures/eval/expected.json.
"""
import argparse
import json
import os
import pathlib

import lm_eval
import numpy as np
import yaml
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter
from lm_eval.utils import apply_template, get_rolling_token_windows, make_disjoint_window
from tokenizers import Tokenizer

from numpy_forward import Model

EOS, WINDOWS, OTHER_BASE = 2, (48, 500), 300.0  # the tokenizer has no BOS: lm-eval takes EOS


class Network:
    def __init__(self, folder, rope_theta=None):
        self.model = Model(folder, dtype=np.float64)
        if rope_theta:
            self.model.config["rope_theta"] = rope_theta
            self.model._ropes()

    def log_probabilities(self, tokens):
        logits = self.model.forward(tokens)
        logits = logits - logits.max(axis=-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    def rows(self, context, continuation):
        """One row of log-probabilities for each token of the continuation."""
        return self.log_probabilities((context + continuation)[:-1])[-len(continuation):]


def text_losses(networks, tokens, window):
    losses, divergences, same = [[], []], [], []
    for pair in get_rolling_token_windows(tokens, EOS, window, 1):
        context, continuation = make_disjoint_window(pair)
        ours, theirs = (network.rows(context, continuation) for network in networks)
        for loss, rows in zip(losses, (ours, theirs)):
            loss.extend(-rows[np.arange(len(continuation)), continuation])
        divergences.extend((np.exp(theirs) * (theirs - ours)).sum(axis=-1))
        same.extend(ours.argmax(axis=-1) == theirs.argmax(axis=-1))
    return {"window": window, "tokens": len(divergences), "loss": float(np.mean(losses[0])),
            "perplexity": float(np.exp(np.mean(losses[0]))), "other_perplexity": float(np.exp(np.mean(losses[1]))),
            "mean_kl": float(np.mean(divergences)), "p999_kl": float(np.percentile(divergences, 99.9)),
            "most_kl": float(np.max(divergences)), "same_top": float(np.mean(same))}


def task_read(name):
    """A task of the installed lm-eval: its YAML, without what only its loader knows."""
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda *_: None)
    return yaml.load((pathlib.Path(lm_eval.__path__[0]) / "tasks" / name).read_text(), loader)


def lines_read(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


class Choices:
    """A multiple-choice task: contexts, choices and the right one, as lm-eval's templates write them."""

    def __init__(self, name, description=None):
        self.config, self.description = task_read(name), description

    def choices(self, doc):
        choice = self.config["doc_to_choice"]
        return choice if isinstance(choice, list) else yaml.safe_load(apply_template(choice, doc))

    def gold(self, doc):
        target = self.config["doc_to_target"]
        return int(apply_template(target, doc)) if "{{" in target else doc[target]

    def question(self, doc):
        return apply_template(self.config["doc_to_text"], doc)

    def context(self, doc, shots):
        examples = "".join(f"{self.question(s)} {self.choices(s)[self.gold(s)]}\n\n" for s in shots)
        return (self.description(doc) if self.description else "") + examples + self.question(doc)

    def evaluate(self, network, encode, docs, shots):
        items, right, right_norm = [], [], []
        for doc in docs:
            context = self.context(doc, shots)
            head, scores = encode(context), []
            for choice in self.choices(doc):
                tail = encode(f"{context} {choice}")[len(head):]
                scores.append(float(network.rows(head, tail)[np.arange(len(tail)), tail].sum()))
            lengths = np.array([float(len(choice)) for choice in self.choices(doc)])
            items.append(scores)
            right.append(int(np.argmax(scores)) == self.gold(doc))
            right_norm.append(int(np.argmax(np.array(scores) / lengths)) == self.gold(doc))
        return {"loglikelihoods": items, "acc": float(np.mean(right)), "acc_norm": float(np.mean(right_norm))}


ANSWERS = [  # (what a model says, the answer of the file)
    ("2 and 3 make 5.\n#### 5", "They add.\n#### 5"), ("#### 1,234", "#### 1234"), ("#### 1234.", "#### 1,234"),
    ("#### $7", "#### 7"), ("The answer is $18.", "So\n#### 18"), ("It costs 3 or 4", "#### 4"), ("none", "#### 4"),
    ("#### -3 #### 9", "#### -3"), ("#### -3 #### 9", "#### 9"), ("", "#### 0"), ("so 7", "#### 7"), ("...", "#### 1"),
    ("####5", "#### 5"), ("#### 5\n#### 6", "a #### 5 b #### 6"), ("1/2", "#### 2"), ("12.50", "#### 12.50"),
    ("12.5", "#### 12.50"), ("#### 5 apples", "#### 5"), ("x = 1,000,000 in all", "#### 1000000"), ("- 4", "#### -4"),
]


def answers_check():
    config = task_read("gsm8k/gsm8k.yaml")
    metric = config["metric_list"][0]
    filters = []
    for entry in config["filter_list"]:
        options = dict(entry["filter"][0])
        options.pop("function")
        filters.append(RegexFilter(**options))
    cases = []
    for response, target in ANSWERS:
        matched = []
        for one in filters:
            found = one.apply([[response]], [{}])[0][0]
            score = exact_match_hf_evaluate(predictions=[found], references=[target],
                                            regexes_to_ignore=metric["regexes_to_ignore"],
                                            ignore_case=metric["ignore_case"])["exact_match"]
            matched.append(bool(score))
        cases.append({"response": response, "answer": target, "strict": matched[0], "flexible": matched[1]})
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--fixtures", type=pathlib.Path, required=True)
    args = parser.parse_args()
    folder, model = args.fixtures / "eval", args.fixtures / "model/smollm2"
    tokenizer = Tokenizer.from_file(os.fspath(model / "tokenizer.json"))

    def encode(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    networks = [Network(model), Network(model, OTHER_BASE)]
    tokens = encode((folder / "text.txt").read_text())
    expected = {"other_rope_theta": OTHER_BASE, "texts": [text_losses(networks, tokens, w) for w in WINDOWS]}

    def about(doc):
        return f"The following are multiple choice questions (with answers) about {doc['subject'].replace('_', ' ')}.\n\n"

    for name, task in (("mmlu", Choices("mmlu/default/_default_template_yaml", about)),
                       ("arc", Choices("arc/arc_easy.yaml"))):
        docs = lines_read(folder / f"{name}.jsonl")
        expected[name] = [task.evaluate(networks[0], encode, docs, shots) for shots in ([], docs[:1])]
    expected["answers"] = answers_check()
    gsm8k = task_read("gsm8k/gsm8k.yaml")
    expected["gsm8k"] = {"contexts": [apply_template(gsm8k["doc_to_text"], doc)
                                      for doc in lines_read(folder / "gsm8k.jsonl")],
                         "until": gsm8k["generation_kwargs"]["until"]}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
