"""A model shaped like XLM-R, with 250,002 rows in its vocabulary: full fine-tuning with and without trimming.

The weights are random, the width is small; the tokeniser is of XLM-R's kind (unigram pieces with scores).
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

VOCABULARY, WIDTH, BLOCKS, HEADS, POSITIONS = 250_002, 128, 2, 4, 514
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
BATCH, STEPS, RATE = 8, 40, 5e-4


def write_model(folder: Path, texts: list[str]) -> Path:
    """Makes the folder of a random model whose tokeniser knows the words of these texts among many others."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    XLMRobertaModel(config).save_pretrained(folder)
    _tokenizer(texts).save_pretrained(folder)
    return folder


def _tokenizer(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    counts = Counter(f"▁{word}" for text in texts for word in text.split())
    letters = sorted({letter for text in texts for letter in text if not letter.isspace()} | {"▁"})
    pieces = list(dict.fromkeys([*SPECIAL, *letters, *(word for word, _ in counts.most_common())]))
    pieces += [f"▁fill{number}" for number in range(VOCABULARY - len(pieces))]
    scored = [(piece, 0.0 if piece in SPECIAL else -5.0 if piece in counts else -12.0) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=SPECIAL.index("<unk>"), byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    more = {"pad_token": "<pad>", "unk_token": "<unk>", "model_max_length": POSITIONS - 2}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **more)


def untrimmed(asked: dict[str, Any]) -> dict[str, Any]:
    """The plain loop: torch's AdamW over every parameter, batches of rows of similar length."""
    import torch
    import transformers.models.xlm_roberta.modeling_xlm_roberta  # noqa: F401 - before memory is counted
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from benchmarks.memory import Memory
    from benchmarks.peers.single_script import read_rows

    memory = Memory()
    rows = sorted(read_rows(asked["train"]), key=lambda row: len(row[0]))
    labels = sorted({label for _, label in rows})
    tokenizer = AutoTokenizer.from_pretrained(asked["model"])
    model = AutoModelForSequenceClassification.from_pretrained(asked["model"], num_labels=len(labels)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    starts = torch.randperm(len(rows) // BATCH, generator=torch.Generator().manual_seed(asked["seed"]))[:STEPS]
    started = time.perf_counter()
    for start in (starts * BATCH).tolist():
        texts, names = zip(*rows[start : start + BATCH], strict=True)
        batch = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        model(**batch, labels=torch.tensor([labels.index(name) for name in names])).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - started
    moments = sum(value.nbytes for entry in optimizer.state.values() for value in entry.values())
    return {
        "train_seconds": seconds,
        "steps": len(starts),
        "above_bytes": memory.above(),
        "optimizer_bytes": moments,
    }


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if asked["what"] == "untrimmed":
        print(json.dumps(untrimmed(asked)))
    else:
        from benchmarks.peers.single_script import read_rows

        print(json.dumps({"model": str(write_model(Path(asked["folder"]), [t for t, _ in read_rows(asked["train"])]))}))
