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
class TextsRead:
    """The tokens of a split as training reads them. `whole`, int64 (n,): how many each row has before it is cut,
    special ones included; `lost`, int64 (n,): how many of these are not read."""

    tokens: Tokens
    whole: np.ndarray
    lost: np.ndarray


def reader_of(view: View) -> Net:
    """The net of the first model as far as it reads: without weights."""
    if "reader" not in view.memory:
        from tunewise.models.load import load_reader

        schema = view.data.schema
        net = load_reader(view.located, schema, max_length=view.max_length, kept=view.kept, language=schema.is_language)
        view.memory["reader"] = net
    return view.memory["reader"]


def model_limit(view: View) -> int:
    """The most tokens that the model reads, whatever `train.max_length` says."""
    from tunewise.models.load import longest_text

    net = reader_of(view)
    return longest_text(net.tokenizer, None, net.positions)


def reading_of(view: View, name: str) -> TextsRead:
    """A split, encoded once for all checks."""
    key = ("reading", name)
    if key not in view.memory:
        from tunewise.data.tokenise import tokenise
        from tunewise.engine.encode import encode

        net, texts = reader_of(view), view.data.splits[name].texts
        tokens = encode(texts, net)
        whole, lost, cut = tokens.lengths.copy(), np.zeros(len(texts), np.int64), tokens.cut_rows
        if len(longer := np.union1d(cut, tokens.losses.chunked_rows)):
            whole[longer] = tokenise([texts[row] for row in longer], net.tokenizer, ANY_LENGTH).lengths
        lost[cut] = whole[cut] - tokens.lengths[cut]
        if tokens.windows is not None:  # a row's own tokens are not told there, of rows that lose some beside windows
            for row in cut:
                lost[row] = tokenise([texts[row]], net.tokenizer, net.max_length, kept=net.kept).lost
        view.memory[key] = TextsRead(tokens, whole, lost)
    return view.memory[key]
