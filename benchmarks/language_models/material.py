"""The rows that all sides read, and the model that they train: both drawn at random, the same each time."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

VOCABULARY, WIDTH, LAYERS = 32_000, 256, 4
MEDIANS, SPREAD, LONGEST = {"prompt": 20}, 0.8, 400
"""Words: medians of log-normal lengths (those of answers: `OF_ANSWERS`), their spread, the most."""
OF_ANSWERS = 60
END, PROBED = 1, 64
ALWAYS_ON = 4.0
"""The first number of every token's vector in a model whose answers end by chance."""


def write_rows(folder: Path, columns: Sequence[str], rows: int, others: int) -> None:
    """train.jsonl with `rows` rows, validation.jsonl and test.jsonl with `others`: in each row, random words for each
    of the columns, whose lengths are spread as those of instruction data are."""
    draw = np.random.default_rng(0)
    medians = [MEDIANS.get(column, OF_ANSWERS) for column in columns]
    for name, count in (("train", rows), ("validation", others), ("test", others)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for _ in range(count):
                lengths = [min(LONGEST, max(2, int(draw.lognormal(np.log(most), SPREAD)))) for most in medians]
                words = ["".join(f" w{word}" for word in draw.integers(0, VOCABULARY - 10, size)) for size in lengths]
                file.write(json.dumps(dict(zip(columns, words, strict=True))) + "\n")


def words_of(folder: Path, column: str) -> np.ndarray:
    """Words, which are tokens, of a column of each row of train.jsonl."""
    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return np.array([len(json.loads(line)[column].split()) for line in lines])


def write_model(folder: Path, ends: int | None = None) -> None:
    """A Llama of 20M random numbers, and its tokeniser, of which a token is a word.

    Args:
        ends: how many tokens an answer has on average, before the token that ends it is drawn; 0 for no end at all.
            Where it is not given, the end is a token like any other.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    words = [*special.values(), *(f"w{number}" for number in range(VOCABULARY - len(special)))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=1024, **special).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=688,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        pad_token_id=0,
        eos_token_id=END,
        bos_token_id=2,
        max_position_embeddings=1024,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    if ends is not None:
        _set_end(model, ends)
    model.save_pretrained(folder)


def _set_end(model: LlamaForCausalLM, ends: int) -> None:
    """Gives the end the probability 1 / `ends` after any text, or about e^-30.

    A number of the hidden state that is nearly the same for every text, which the output layer reads for the end alone,
    stands for the bias that a Llama does not have.
    """
    import torch

    into, out = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    with torch.no_grad():
        into[:, 0] = ALWAYS_ON
        out[:, 0] = 0.0
        out[END] = 0.0
        ids_BT = torch.randint(END + 1, VOCABULARY, (4, PROBED), generator=torch.Generator().manual_seed(0))
        hidden_BTD = model.model(input_ids=ids_BT).last_hidden_state
        others = torch.logsumexp(hidden_BTD @ out[END + 1 :].T, -1).mean().item()
        wanted = others - math.log(ends - 1) if ends else others - 30.0
        out[END, 0] = wanted / hidden_BTD[..., 0].mean().item()
