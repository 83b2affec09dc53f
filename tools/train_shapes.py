#!/usr/bin/env python3
"""A small network that is really trained to see: it says which shapes are in a picture (shape_pictures.py), their colour
and how many there are.

    train_shapes.py --out tests/fixtures/trained/shapes    needs torch, transformers, pillow, numpy, tokenizers; no network

A SigLIP encoder and a decoder of the Llama family as Idefics 3 joins them, from random weights to BF16, with a tokenizer
of its own. Written to OUT: the checkpoint as save_pretrained has it, with the files of its processor, and

    pictures.json     {"prompts": {kind: ids of its first question}, "pictures": [{"file", "number", "shape", "colour",
                      "count", "all", "answers": {kind: {"text", "ids", "margin"}}}, …]}: of unseen pictures what is
                      in them, what transformers answers (FP32, greedily), and by how much the first token's logit is
                      above the next one's
    pictures/         their files
"""
import argparse
import io
import json
import math
import multiprocessing
import os
import pathlib
import random
import time

import numpy as np
import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (AutoModelForImageTextToText, GenerationConfig, Idefics3Config, Idefics3ForConditionalGeneration,
                          Idefics3Processor, PreTrainedTokenizerFast)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from shape_pictures import COLOURS, COUNTS, QUESTIONS, SHAPES, UNSEEN, answer_of, picture_file

SEED = 17
SIDE, PATCH, MERGE = 96, 8, 2  # pixels, pixels, patches
ROWS = (SIDE // PATCH // MERGE) ** 2
BATCH, RATE, WARM = 384, 1.5e-3, 200
TESTED, KEPT = 200, 40  # unseen pictures: asked of, committed
BLIND = "I see no picture."
BEGIN, END, AROUND, MARK, WHOLE = "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"
TEMPLATE = ("<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
            "{% if message['content'] is string %}{{ ' ' + message['content'] }}{% else %}"
            "{% if message['content'][0]['type'] != 'image' %}{{ ' ' }}{% endif %}{% for part in message['content'] %}"
            "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
            "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}")
IMAGE = AROUND + WHOLE + MARK * ROWS + AROUND


# --- the checkpoint -------------------------------------------------------------------------------------------------------

def tokenizer_make():
    """Bytes, and merges of the words that there are; each word of an answer is one token."""
    facts = [{"shape": s, "colour": c, "count": n} for s in SHAPES for c in COLOURS for n in COUNTS]
    texts = ["User:", "Assistant:", "System:", " " + BLIND] * 9
    texts += [question for questions in QUESTIONS.values() for question in questions] * 9
    texts += [" " + answer_of(kind, f) for f in facts for kind in QUESTIONS]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in ("<pad>", BEGIN, END, AROUND, MARK, WHOLE)]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=640, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, pad_token="<pad>",
                                   chat_template=TEMPLATE, model_max_length=512)
    for word in [*SHAPES, *COLOURS, *COUNTS]:
        assert len(made.encode(" " + word)) == 1, word
    return made


def processor_make(tokenizer):
    image = Idefics3ImageProcessorPil(size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE},
                                      do_image_splitting=False)
    return Idefics3Processor(image, tokenizer, image_seq_len=ROWS, chat_template=TEMPLATE)


def model_make(tokenizer):
    ids = tokenizer.convert_tokens_to_ids
    special = {"bos_token_id": ids(BEGIN), "eos_token_id": ids(END), "pad_token_id": ids("<pad>")}
    config = Idefics3Config(
        image_token_id=ids(MARK), scale_factor=MERGE, tie_word_embeddings=True, **special,
        vision_config={"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 5, "num_attention_heads": 2,
                       "image_size": SIDE, "patch_size": PATCH, "model_type": "idefics3_vision"},
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": 192, "intermediate_size": 512,
                     "num_hidden_layers": 3, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 64,
                     "max_position_embeddings": 512, "tie_word_embeddings": True, **special})
    model = Idefics3ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(**special, do_sample=False)
    return model


def rows_of(model, pixels):
    """[images][ROWS][hidden]: what the model makes of whole images, without a loop over them."""
    vision = model.model.vision_model
    hidden = vision.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    hidden = hidden + vision.embeddings.position_embedding.weight
    hidden = vision.encoder(inputs_embeds=hidden, attention_mask=None).last_hidden_state
    return model.model.connector(vision.post_layernorm(hidden))


@torch.no_grad()
def rows_check(model):
    pixels = torch.randn(2, 3, SIDE, SIDE)
    own = model.model.get_image_features(pixel_values=pixels[:, None]).pooler_output
    difference = (torch.cat(list(own)).reshape(2, ROWS, -1) - rows_of(model, pixels)).abs().max().item()
    assert difference < 1e-4, difference


# --- what is learned ------------------------------------------------------------------------------------------------------

def small_make(number):
    """The picture as the processor cuts it, before numbers are made of it."""
    data, _, facts = picture_file(number)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = SIDE / max(image.size)
    size = [SIDE if s == max(image.size) else max(1, (int(s * scale) + 1) // 2 * 2) for s in image.size]
    image = image.resize(size, Image.Resampling.LANCZOS).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image), (SHAPES.index(facts["shape"]), list(COLOURS).index(facts["colour"]), COUNTS.index(facts["count"]))


class Turns:
    """Ids of conversations about a picture."""

    def __init__(self, tokenizer):
        self.tokenizer, self.known = tokenizer, {}

    def ids(self, text):
        if text not in self.known:
            self.known[text] = self.tokenizer.encode(text, add_special_tokens=False)
        return self.known[text]

    def make(self, rng, facts):
        """One to three questions in any order; now and then without the picture."""
        seen = rng.random() > 0.03
        ids, learned = list(self.ids(BEGIN)), []
        for i, kind in enumerate(rng.sample(list(QUESTIONS), rng.choice((1, 1, 2, 3)))):
            ids += self.ids("User:")
            ids += self.ids(IMAGE) if seen and i == 0 else self.ids(" ")
            ids += self.ids(rng.choice(QUESTIONS[kind]) + END + "\nAssistant:")
            answer = self.ids(" " + (answer_of(kind, facts) if seen else BLIND)) + self.ids(END)
            learned += range(len(ids), len(ids) + len(answer))
            ids += answer + self.ids("\n")
        return ids, learned, seen


def batch_make(turns, rng, facts, pad):
    """Ids, targets (-100 where nothing is learned), and which of them see."""
    made = [turns.make(rng, f) for f in facts]
    length = max(len(ids) for ids, _, _ in made)
    length += -length % 16
    ids, targets = np.full((len(made), length), pad), np.full((len(made), length), -100)
    for i, (row, learned, _) in enumerate(made):
        ids[i, :len(row)] = row
        targets[i, [at - 1 for at in learned]] = [row[at] for at in learned]
    return torch.from_numpy(ids), torch.from_numpy(targets), torch.tensor([seen for _, _, seen in made])


def turned(pixels, rng):
    """One of the eight ways to lay a square, some more or less light."""
    if rng.random() < 0.5:
        pixels = pixels.flip(3)
    pixels = torch.rot90(pixels, rng.randrange(4), (2, 3)).float()
    gain = 1 + 0.06 * (torch.rand(len(pixels), 1, 1, 1, device=pixels.device) - 0.5)
    return (pixels * gain / 255).clamp(0, 1) * 2 - 1


def train(model, tokenizer, pictures, args, device):
    rng, turns = random.Random(SEED), Turns(tokenizer)
    pixels = torch.from_numpy(np.stack([p for p, _ in pictures])).permute(0, 3, 1, 2).contiguous().to(device)
    facts = [{"shape": SHAPES[s], "colour": list(COLOURS)[c], "count": COUNTS[n]} for _, (s, c, n) in pictures]
    mark, pad = model.config.image_token_id, tokenizer.pad_token_id
    model.to(device).train()
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": plain, "weight_decay": 0}, {"params": [
        p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.05}], lr=RATE, betas=(0.9, 0.98))
    start, step, done = time.time(), 0, 0.0
    while done < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        chosen = rng.sample(range(len(facts)), min(BATCH, len(facts)))
        ids, targets, seen = batch_make(turns, rng, [facts[i] for i in chosen], pad)
        ids, targets = ids.to(device), targets.to(device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            rows = rows_of(model, turned(pixels[chosen], rng))
            embeds = model.get_input_embeddings()(ids)
            embeds[ids == mark] = rows[seen.to(device)].reshape(-1, rows.shape[-1]).to(embeds.dtype)
            hidden = model.model.text_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
            learned = targets >= 0
            loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[learned]).float(), targets[learned])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        done = max(step / args.steps, (time.time() - start) / args.seconds)
        if step % 100 == 0 or done >= 1:
            print(f"step {step}: loss {loss.item():.4f}, {time.time() - start:.0f} s", flush=True)
    return model.float().eval()


# --- what it answers ------------------------------------------------------------------------------------------------------

def question_of(kind):
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTIONS[kind][0]}]}]


@torch.no_grad()
def answers_of(model, processor, files, kind, device):
    """Greedy ones to the first question of the kind, and the ids of the prompt."""
    prompt = processor.apply_chat_template(question_of(kind), add_generation_prompt=True)
    images = [[Image.open(io.BytesIO(data)).convert("RGB")] for data in files]
    batch = processor(text=[prompt] * len(files), images=images, return_tensors="pt").to(device)
    out = model.generate(**batch, max_new_tokens=8, do_sample=False, output_logits=True, return_dict_in_generate=True)
    two = out.logits[0].float().topk(2).values
    made = out.sequences[:, batch["input_ids"].shape[1]:].tolist()
    made = [row[:row.index(processor.tokenizer.eos_token_id) + 1] for row in made]
    answers = [{"text": processor.tokenizer.decode(row, skip_special_tokens=True).strip(), "ids": row,
                "margin": round((best - next).item(), 4)} for row, (best, next) in zip(made, two)]
    return answers, batch["input_ids"][0].tolist()


def examine(model, processor, device):
    """Of unseen pictures, how many answers are right; those that are kept."""
    tested = [picture_file(UNSEEN + i) for i in range(TESTED)]
    cases = [{"file": f"{i:02}.{mime[6:]}", "number": UNSEEN + i, **facts, "all": answer_of("all", facts), "answers": {}}
             for i, (_, mime, facts) in enumerate(tested)]
    prompts = {}
    for kind in QUESTIONS:
        answers, prompts[kind] = answers_of(model, processor, [data for data, _, _ in tested], kind, device)
        for case, answer in zip(cases, answers):
            case["answers"][kind] = answer
        wrong = [(case["number"] - UNSEEN, case[kind], case["answers"][kind]) for case in cases
                 if case["answers"][kind]["text"] != case[kind]]
        print(f"{kind}: {TESTED - len(wrong)} of {TESTED} are right, the least margin is "
              f"{min(answer['margin'] for answer in answers)}; not {wrong[:9]}", flush=True)
    return tested, cases[:KEPT], prompts


def save(model, processor, out):
    """In BF16, which a checkpoint without anything else is."""
    model.to("cpu").to(torch.bfloat16).save_pretrained(out)
    processor.save_pretrained(out)
    processor.image_processor.save_pretrained(out)
    (out / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")


def checkpoint_make(args, device):
    torch.manual_seed(SEED)
    start = time.time()
    with multiprocessing.get_context("fork").Pool(args.processes) as pool:
        pictures = pool.map(small_make, range(args.pictures), chunksize=64)
    print(f"{len(pictures)} pictures, {time.time() - start:.0f} s", flush=True)
    tokenizer = tokenizer_make()
    processor, model = processor_make(tokenizer), model_make(tokenizer)
    rows_check(model)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(tokenizer)} tokens", flush=True)
    train(model, tokenizer, pictures, args, device)
    save(model, processor, args.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--pictures", type=int, default=60000)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--seconds", type=float, default=math.inf, help="of training; fewer steps where they are slow")
    parser.add_argument("--again", action="store_true", help="OUT's checkpoint stays as it is, the rest is made anew")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if not args.again:
        checkpoint_make(args, device)
    processor = processor_make(PreTrainedTokenizerFast.from_pretrained(args.out))
    model = AutoModelForImageTextToText.from_pretrained(args.out, dtype=torch.float32).eval()
    tested, cases, prompts = examine(model.to(device), processor, device)
    (args.out / "pictures").mkdir(exist_ok=True)
    for case, (data, _, _) in zip(cases, tested):
        (args.out / "pictures" / case["file"]).write_bytes(data)
    lines = ",\n".join(json.dumps(case) for case in cases)
    text = f'{{"prompts": {json.dumps(prompts)},\n"pictures": [\n{lines}\n]}}\n'
    (args.out / "pictures.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
