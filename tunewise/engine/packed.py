"""Training rows in sequences of several, where the model is proven to read each as if it stood alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from tunewise.data.inputs import Inputs
from tunewise.data.labelled import LabelledTokens
from tunewise.data.packing import Branches, PackedTokens, packed_batch
from tunewise.data.pairs import PairTokens, parted
from tunewise.data.ragged import Ragged
from tunewise.data.rollout_tokens import PromptTokens, RolloutTokens
from tunewise.errors import MethodError
from tunewise.methods.base import Method
from tunewise.models.load import Net
from tunewise.models.memory import is_out_of_memory
from tunewise.models.modes import eval_mode
from tunewise.models.token_losses import token_log_probs

ROWS_OF_A_PROOF, PAIRS_OF_A_PROOF, PROMPTS_OF_A_PROOF = 6, 3, 2
CLOSE = 1e-4
"""Largest difference of a row's mean log-probability, in fp32."""
WHERE, LEAVE_OUT = "train.packing", "leave it out: batches of rows of similar length have little padding"


def packed_rows(read: Inputs, net: Net, method: Method) -> PackedTokens | PairTokens | PromptTokens:
    """The same rows, of which those of a batch are packed; of pairs of answers, each with one prompt for both; prompts
    that are still to be answered are read once for all their answers.

    Raises:
        MethodError: the rows are of a kind that is not packed, or the model does not read packed rows as it reads them
            one by one.
    """
    if isinstance(read, PromptTokens):
        return _shared_prompts(read, net, method)
    tokens = read.both if isinstance(read, PairTokens) else read
    if not isinstance(tokens, LabelledTokens):
        raise _refused("rows of which a model says a number, and not how likely they are, are not packed")
    _check_plain(tokens.sources is not None, method)
    if isinstance(read, PairTokens):
        sharing = replace(read, sharing=True)
        rows = np.argsort(-read.lengths, kind="stable")[:PAIRS_OF_A_PROOF]
        if _alike(net, parted(read.batch(rows))[0], parted(sharing.batch(rows))[0]):
            return sharing
    else:
        for masked in (False, True):
            packed = PackedTokens(tokens, net.max_length, net.map.width, masked)
            if _reads_alike(net, packed):
                return packed
    raise _refused(f"a '{net.map.family}' model does not read packed rows as it reads them one by one")


def _shared_prompts(read: PromptTokens, net: Net, method: Method) -> PromptTokens:
    """Proven on the longest prompts, each with two answers made of tokens of the data, as long as answers can be: a
    model that looks back so far and no further shows in those."""
    _check_plain(net.model.config.is_encoder_decoder, method)
    draw, longest = np.random.default_rng(0), read.longest_answer
    rows, learnt = [], []
    for place in np.argsort(-read.lengths, kind="stable")[:PROMPTS_OF_A_PROOF]:
        for many in (longest, -(-longest // 2)):
            rows.append(np.concatenate([read.ids[int(place)], draw.choice(read.ids.flat, many)]))
            learnt.append(np.arange(len(rows[-1])) >= read.lengths[place])
    answers = LabelledTokens(Ragged.of(rows, np.int32), Ragged.of(learnt, np.int8), net.tokenizer.pad_token_id)
    shared = RolloutTokens(answers, 2, sharing=True)
    every = np.arange(len(shared))
    if not _alike(net, answers.batch(shared.sequences(every)), shared.batch(every)):
        raise _refused(
            f"a '{net.map.family}' model does not read answers behind one prompt as it reads them one by one"
        )
    return replace(read, sharing=True)


def _check_plain(both: bool, method: Method) -> None:
    """Raises where rows are for an encoder with a decoder (`both`), or the method puts tokens before them."""
    if both:
        raise _refused("rows for an encoder and a decoder are not packed")
    if method.positions:
        raise _refused(f"virtual tokens ({method.name}) stand before a sequence, not before each row in it")


def _refused(what: str) -> MethodError:
    return MethodError(what, where=WHERE, fix=LEAVE_OUT)


def _reads_alike(net: Net, packed: PackedTokens) -> bool:
    """Whether rows have the same log-probabilities in one sequence and one beside the other."""
    rows = _rows_to_try(packed)
    if len(rows) < 2:
        return True  # no two rows fit into a sequence: none are packed
    sequence = [Branches((place,)) for place in range(len(rows))]
    return _alike(net, packed.tokens.batch(rows), packed_batch(packed.tokens, rows, [sequence], packed.masked))


@torch.no_grad()
def _alike(net: Net, alone: Mapping[str, torch.Tensor], together: Mapping[str, torch.Tensor]) -> bool:
    """Whether the rows of two batches have the same log-probabilities."""
    device = next(net.model.parameters()).device
    try:
        with eval_mode(net.model):
            alone_BK, packed_BK = (
                token_log_probs(net.model, {name: values.to(device) for name, values in batch.items()}).row_numbers()
                for batch in (alone, together)
            )
    except Exception as problem:  # a model that takes no positions, or no such mask, says so in its own way
        if is_out_of_memory(problem):
            raise
        return False
    of_token_B = (alone_BK - packed_BK)[:, 0].abs() / alone_BK[:, 1].clamp(min=1)
    return torch.equal(alone_BK[:, 1], packed_BK[:, 1]) and float(of_token_B.max()) <= CLOSE


def _rows_to_try(packed: PackedTokens) -> np.ndarray:
    """The longest rows that fit into a sequence with others: a model that looks back so far and no further shows in
    those."""
    rows, left = np.flatnonzero(packed.counts > 0), packed.most
    shortest = packed.lengths[rows].min(initial=left)
    chosen: list[int] = []
    for row in rows[np.argsort(-packed.lengths[rows], kind="stable")]:
        if packed.lengths[row] <= left - (0 if chosen else shortest) and len(chosen) < ROWS_OF_A_PROOF:
            chosen.append(int(row))
            left -= int(packed.lengths[row])
    return np.array(chosen, dtype=np.int64)
