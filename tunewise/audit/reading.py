"""How the model will read the texts: its tokeniser, its limit, and the tokens of every row before and after cutting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunewise.audit.view import View

if TYPE_CHECKING:
    from tunewise.data.tokenise import Tokens
    from tunewise.models.load import Net

ANY_LENGTH = 10**9


@dataclass(frozen=True, eq=False)
class Reading:
    """The tokens of a split as training reads them, and `whole`, int64 (n,): how many each row has before it is cut,
    special ones included."""

    tokens: Tokens
    whole: np.ndarray


def reader_of(view: View) -> Net:
    """The net of the first model as far as it reads: without weights."""
    if "reader" not in view.memory:
        from tunewise.models.load import load_reader

        net = load_reader(view.located, view.data.schema, max_length=view.max_length, kept=view.kept)
        view.memory["reader"] = net
    return view.memory["reader"]


def model_limit(view: View) -> int:
    """The most tokens that the model reads, whatever `train.max_length` says."""
    from tunewise.models.load import longest_text

    net = reader_of(view)
    return longest_text(net.tokenizer, None, net.positions)


def reading_of(view: View, name: str) -> Reading:
    """A split, encoded once for all checks."""
    key = ("reading", name)
    if key not in view.memory:
        from tunewise.data.tokenise import tokenise
        from tunewise.engine.encode import encode

        net, texts = reader_of(view), view.data.splits[name].texts
        tokens = encode(texts, net)
        whole = tokens.lengths.copy()
        if tokens.cut:
            cut = tokenise([texts[row] for row in tokens.cut_rows], net.tokenizer, ANY_LENGTH)
            whole[tokens.cut_rows] = cut.lengths
        view.memory[key] = Reading(tokens, whole)
    return view.memory[key]
