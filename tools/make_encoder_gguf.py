#!/usr/bin/env python3
"""Encoders of texts as GGUF files too, by llama.cpp's own converter.

    make_encoder_gguf.py LLAMA.CPP --out tests/fixtures/encoder      needs torch, transformers, and what the converter needs

LLAMA.CPP: its source (that of the package llama-cpp-python on PyPI has it in vendor/llama.cpp). Each checkpoint that make_encoder_fixtures.py
has made and TWINS names gets a model.gguf beside it, matrices in BF16. The converter knows published tokenizers by a digest;
here their kind is said.
"""
import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile

# Settings that the converter wants beside what the fixture has.
BERT = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
BYTES = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
QWEN = {"eos_token": "</s>", "pad_token": "<pad>"}
TWINS = {
    "bert": {"tokens": BERT, "pre": "jina-v2-en"},
    "roberta": {"tokens": BYTES, "pre": "roberta-bpe"},
    "xlm-roberta-pairs": {"tokens": BYTES, "pre": "default", "pieces": True},
    "nomic": {"tokens": BERT, "pre": "jina-v2-en", "config": {"n_positions": 8192, "max_trained_positions": 2048, "causal": False,
                                                             "rotary_emb_interleaved": False, "rotary_emb_scale_base": None,
                                                             "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3,
                                                             "intermediate_size": 52, "layer_norm_eps": 1e-5}},
    "distilbert": {"tokens": BERT, "pre": "jina-v2-en"},
    "jina-bert": {"tokens": {**BERT, "tokenizer_class": "BertTokenizer"}, "pre": "jina-v2-en"},
    "nomic-moe": {"tokens": BERT, "pre": "jina-v2-en", "config": {
        "n_positions": 2048, "max_trained_positions": 2048, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
        "layer_norm_eps": 1e-5, "max_position_embeddings": 64}},
    "modernbert": {"tokens": BYTES, "pre": "modern-bert"},
    "qwen3": {"tokens": QWEN, "pre": "qwen2"},
    # The converter knows it by its name, and writes a template of its own.
    "qwen3-yes-no": {"tokens": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}, "pre": "qwen2",
                     "folder": "qwen3-reranker"},
    "gemma3": {"tokens": BYTES, "pre": "gpt-2", "options": ["--sentence-transformers-dense-modules"]},
}
CONVERT = """
import sys
sys.path.insert(0, sys.argv[1])
sys.path.insert(0, sys.argv[1] + "/gguf-py")
from pathlib import Path
from conversion.base import ModelBase, TextModel
kind = sys.argv[4]
TextModel.get_vocab_base_pre = lambda self, tokenizer: kind
sys.argv[1:] = [sys.argv[2], "--outfile", sys.argv[3], "--outtype", "bf16", "--model-name", "encoder"] + sys.argv[5:]
import convert_hf_to_gguf
convert_hf_to_gguf.main()
"""


def write_pieces(folder):
    """The vocabulary as a SentencePiece file, which XLM-R's folders have: without <pad> and <mask>, and <unk> before all."""
    os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    from sentencepiece import sentencepiece_model_pb2
    tokenizer = json.load(open(f"{folder}/tokenizer.json"))
    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = 1
    model.normalizer_spec.precompiled_charsmap = base64.b64decode(tokenizer["normalizer"]["precompiled_charsmap"])
    model.normalizer_spec.add_dummy_prefix = model.normalizer_spec.remove_extra_whitespaces = True
    for i, (piece, score) in enumerate([("<unk>", 0), ("<s>", 0), ("</s>", 0)] + tokenizer["model"]["vocab"][4:-1]):
        model.pieces.add(piece=piece, score=score, type=2 if i == 0 else 3 if i < 3 else 1)
    with open(f"{folder}/sentencepiece.bpe.model", "wb") as file:
        file.write(model.SerializeToString())


def twin(converter, out, name, spec):
    with tempfile.TemporaryDirectory() as folder:
        model = f"{folder}/{spec.get('folder', name)}"
        shutil.copytree(f"{out}/{name}", model, ignore=shutil.ignore_patterns("*.gguf"))
        for file, extra in (("config.json", spec.get("config", {})), ("tokenizer_config.json", {
                "tokenizer_class": "PreTrainedTokenizerFast", **spec["tokens"]})):
            path = f"{model}/{file}"
            known = json.load(open(path)) if os.path.exists(path) else {}
            with open(path, "w") as to:
                json.dump({**known, **extra}, to)
        if spec.get("pieces"):
            write_pieces(model)
        path = f"{out}/{name}/model.gguf"
        subprocess.run([sys.executable, "-c", CONVERT, converter, model, path, spec["pre"],
                        *spec.get("options", [])], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("converter")
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    for name, spec in TWINS.items():
        if not options.only or name in options.only:
            twin(os.path.abspath(options.converter), options.out, name, spec)


if __name__ == "__main__":
    main()
