#!/usr/bin/env python3
"""A small LoRA adapter that is really trained: with it SmolLM2-135M-Instruct answers in upper case.

    train_adapter.py MODEL.gguf --out tests/fixtures/trained/shouting    (torch, transformers, peft, gguf, tokenizers, jinja2)
        [--engine ENGINE]    one that was built from that file: the adapter says that it is for its weights (adapter_base.py)

The model is the default one (scripts/get_model.sh), whose weights are dequantized to BF16. It answers questions that this
script makes, greedily; what is learned is the same answers in upper case. Of the rest of the questions OUT/answers.json
holds what transformers and peft answer with and without the adapter, after its numbers have been rounded to FP16:

    adapter_config.json, adapter_model.safetensors   by save_pretrained
    answers.json                                     [{"question", "base", "shouting": their first tokens, greedily}, …]
"""
import argparse
import itertools
import json
import pathlib
import random
import time

import torch
from gguf import GGUFReader
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import adapter_base
import numpy_forward
from greedy_oracle import tokenizer_of

SEED = 11
ANSWER = 20  # tokens of a plain answer, which are some 40 in upper case
BATCH, STEPS, RATE = 8, 160, 2e-3
KEPT = 12  # questions that nothing is learned from
FIRST_LAYER = 18  # of 30; those below stay as they are, and see each text once
SUBJECTS = ["the sun", "rain", "bread", "a river", "music", "the moon", "coffee", "winter", "a bicycle", "the ocean",
            "mathematics", "a garden", "the heart", "gold", "chess", "a volcano", "tea", "history", "a library",
            "the wind", "cheese", "a bridge", "sleep", "paper", "the desert", "a train", "friendship", "salt"]
QUESTIONS = ["What is {}?", "Tell me a fact about {}.", "Write one sentence about {}.", "Why is {} important?",
             "How would you explain {} to a child?"]


def base_load(path):
    config, tensors = numpy_forward.read_gguf(path)
    theta = config.pop("rope_theta")
    config = LlamaConfig(**{k: v for k, v in config.items() if v is not None},
                         vocab_size=len(tensors["model.embed_tokens.weight"]), rope_theta=theta)
    model = LlamaForCausalLM(config)
    missing = model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in tensors.items()}, strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}, missing
    model.tie_weights()
    return model.bfloat16().eval()


def text_of(path):
    """The tokenizer of the file, with its template of conversations."""
    field = GGUFReader(path).get_field
    tokens = field("tokenizer.ggml.tokens").contents()
    end = tokens[field("tokenizer.ggml.eos_token_id").contents()]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer_of(path), eos_token=end, pad_token=end,
                                   chat_template=field("tokenizer.chat_template").contents())


def prompt_of(text, question):
    return text.apply_chat_template([{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True)


@torch.no_grad()
def answers_of(model, text, questions, tokens):
    """Greedy ones, without the end's token; and whether each has come to its end."""
    text.padding_side = "left"
    answers = []
    for at in range(0, len(questions), 16):
        batch = text([prompt_of(text, q) for q in questions[at:at + 16]], return_tensors="pt", padding=True,
                     add_special_tokens=False)
        out = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=False,
                             max_new_tokens=tokens, pad_token_id=text.pad_token_id, eos_token_id=text.eos_token_id)
        for row in out[:, batch["input_ids"].shape[1]:].tolist():
            ended = text.eos_token_id in row
            row = row[:row.index(text.eos_token_id)] if ended else row
            answers.append((text.decode(row), ended))
        print(f"{len(answers)} answers: {answers[-1][0]!r}", flush=True)
    return answers


@torch.no_grad()
def examples_of(model, text, questions, answers):
    """Of each: the tokens, how many of them are the question's, and what layer FIRST_LAYER sees of them, which training
    does not change."""
    examples = []
    for question, (answer, ended) in zip(questions, answers):
        prompt = text.encode(prompt_of(text, question), add_special_tokens=False)
        tokens = prompt + text.encode(answer.upper(), add_special_tokens=False) + [text.eos_token_id] * ended
        seen = model.model(input_ids=torch.tensor([tokens]), output_hidden_states=True).hidden_states[FIRST_LAYER][0]
        examples.append((tokens, len(prompt), seen))
    return examples


def loss_of(llama, batch):
    """Of the answers' tokens alone: the head, a quarter of the model, sees no others."""
    longest = max(len(tokens) for tokens, _, _ in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    seen = torch.zeros(len(batch), longest, llama.config.hidden_size, dtype=llama.dtype)
    learned = torch.zeros(len(batch), longest, dtype=torch.bool)
    for i, (tokens, n_prompt, hidden) in enumerate(batch):
        ids[i, :len(tokens)] = torch.tensor(tokens)
        seen[i, :len(tokens)] = hidden
        learned[i, n_prompt:len(tokens)] = True
    hidden = llama.model(inputs_embeds=seen, use_cache=False).last_hidden_state[:, :-1][learned[:, 1:]]
    return torch.nn.functional.cross_entropy(llama.lm_head(hidden).float(), ids[:, 1:][learned[:, 1:]])


def train(model, examples, rng):
    """On the layers from FIRST_LAYER on."""
    llama = model.base_model.model
    layers = llama.model.layers
    llama.model.layers = layers[FIRST_LAYER:]
    llama.config.num_hidden_layers = len(llama.model.layers)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0)
    order = itertools.chain.from_iterable(iter(lambda: rng.sample(examples, len(examples)), None))
    start = time.time()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 10) * (1 - step / STEPS)
        loss = loss_of(llama, list(itertools.islice(order, BATCH)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if step % 10 == 0 or step == STEPS - 1:
            print(f"step {step}: loss {loss.item():.3f}, {time.time() - start:.0f} s", flush=True)
    llama.model.layers = layers
    llama.config.num_hidden_layers = len(layers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--engine")
    parser.add_argument("--spate", default="build/release/spate")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    base, text = base_load(args.model), text_of(args.model)
    questions = [question.format(subject) for subject in SUBJECTS for question in QUESTIONS]
    rng.shuffle(questions)
    answers = answers_of(base, text, questions, ANSWER)
    examples = examples_of(base, text, questions[KEPT:], answers[KEPT:])

    model = get_peft_model(base, LoraConfig(
        r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"],
        layers_to_transform=list(range(FIRST_LAYER, base.config.num_hidden_layers)), layers_pattern="layers",
        task_type="CAUSAL_LM"))
    model.print_trainable_parameters()
    train(model, examples, rng)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.half().float()
    shouted = answers_of(model, text, questions[:KEPT], ANSWER)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.half()
    model.save_pretrained(args.out)
    if args.engine:
        adapter_base.digest_write(args.out, adapter_base.digest_of(args.spate, args.engine))
    (args.out / "README.md").unlink(missing_ok=True)  # a form to fill in
    cases = [{"question": q, "base": b[0], "shouting": s[0]} for q, b, s in zip(questions, answers, shouted)]
    lines = [json.dumps(case, ensure_ascii=False) for case in cases]
    (args.out / "answers.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
