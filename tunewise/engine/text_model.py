"""A trained model for prediction: what `tunewise.load` gives."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tunewise.data.cleaned import check_installed, cleaned_row
from tunewise.data.cuts import Losses
from tunewise.data.given_images import GivenImage, given_picture
from tunewise.data.rewarded import rewarded_row
from tunewise.data.sentences import joined, parted, words_of
from tunewise.data.tags import entities_of, is_plain
from tunewise.engine.handover import load_model
from tunewise.engine.model_meta import schema_from
from tunewise.engine.train import outputs
from tunewise.errors import DataError, StoreError, TunewiseWarning
from tunewise.evaluate.decide import decide
from tunewise.evaluate.scores import to_scores
from tunewise.models.from_runs import draws_images, handed_over, is_language_model, reads_images
from tunewise.models.memory import PassSize, memory_told

if TYPE_CHECKING:
    from tunewise.engine.drawing_model import DrawingModel
    from tunewise.engine.language_model import LanguageModel

Text = str | tuple[str, str] | list[str] | list[dict[str, Any]]
"""A text, a pair of texts, the words of a text, or for a reward model the messages of a conversation."""


class TextModel:
    """Predicts for texts, in batches, whatever kind of folder the model was handed over in. Texts go through the steps
    of `data.clean` that the model was trained with.

    Attributes:
        labels: class names in the order of the columns of `scores`; empty for regression.
        task: classification, multilabel, regression or token_classification; preference of a reward model.
    """

    def __init__(self, folder: Path, device: str = "cpu"):
        with memory_told("loading the model"):
            self._net, self._plan, self._head, meta = load_model(folder, torch.device(device))
        self._size = PassSize()
        self._clean: list[str] = meta["clean"]
        for step in self._clean:
            check_installed(step)
        self._threshold, self._positive = meta["threshold"], meta["positive"]
        self.schema = schema_from(meta["schema"])
        self.labels, self.task = self.schema.labels, self.schema.task

    def scores(self, texts: Sequence[Text], batch_size: int = 64) -> np.ndarray:
        """Probabilities (n, C), values (n,) for regression, or rewards (n,) of a reward model, in the order of the
        texts. A reward model reads a prompt and an answer, each a string or messages, or a conversation whose last
        message is the answer. Token classification: (n, W,
        C), NaN where a text has no such word; a string is parted into words at its spaces.

        Warns where texts were longer than the model reads, and where memory ran out and batches were halved.

        Raises:
            DataError: a text is not text, or a pair is needed and not given.
            OutOfMemoryError: a single text does not fit.
        """
        if isinstance(texts, str):
            raise DataError(f"a list of texts is expected; came one text, {texts!r:.80}", fix="put it into a list")
        rows = [self._row(place, text) for place, text in enumerate(texts)]
        if not rows:
            shapes = {"regression": (0,), "preference": (0,), "token_classification": (0, 0, len(self.labels))}
            return np.empty(shapes.get(self.task, (0, len(self.labels))))
        net, plan, head = self._net, self._plan, self._head
        found = outputs(net, plan, head, rows, batch_size, cut=self._tell_cut, size=self._size)
        # As a task, preference has numbers of both answers for scores; a single answer has one number.
        return to_scores("regression" if self.task == "preference" else self.task, found)

    def _tell_cut(self, losses: Losses) -> None:
        """Warns where texts were longer than the model reads: what they lost has no say in the scores. Those that are
        read in windows lose nothing."""
        if not (losses.texts or losses.words):
            return
        told = losses.told("texts", self._net.max_length, self._net.kept)
        warnings.warn(TunewiseWarning(told), stacklevel=2)

    def decisions(self, scores: np.ndarray) -> np.ndarray:
        """Class indices (n,), 0/1 per label (n, C), or the values, by the threshold that was chosen on validation; or a
        tag per word (n, W), -1 where there is no such word."""
        return decide(scores, self.schema, self._threshold, self._positive)

    def predict(self, texts: Sequence[Text], batch_size: int = 64) -> list[dict[str, Any]]:
        """Per text: `label` and `probabilities` by class name; `labels` and `probabilities` for multi-label; `value`
        for regression, `reward` for a reward model. Token classification: `words`, `tags`, and `entities` with `type`,
        `text`, `start` (its first word, from 0), `end` (the word behind its last) and `score` (mean probability of its
        words' tags)."""
        scores = self.scores(texts, batch_size)
        if self.task == "token_classification":
            return [
                self._tagged(words_of(self._row(place, text)[0]), *rest)
                for place, (text, *rest) in enumerate(zip(texts, scores, self.decisions(scores), strict=True))
            ]
        return [self._named(row, decision) for row, decision in zip(scores, self.decisions(scores), strict=True)]

    def _named(self, row: Any, decision: Any) -> dict[str, Any]:
        if self.task in ("regression", "preference"):
            return {"value" if self.task == "regression" else "reward": float(row)}
        probabilities = {label: float(value) for label, value in zip(self.labels, row, strict=True)}
        if self.task == "multilabel":
            chosen = [label for label, marked in zip(self.labels, decision, strict=True) if marked]
            return {"labels": chosen, "probabilities": probabilities}
        return {"label": self.labels[int(decision)], "probabilities": probabilities}

    def _tagged(self, words: list[str], scores_WC: np.ndarray, tags_W: np.ndarray) -> dict[str, Any]:
        tags = [self.labels[tag] for tag in tags_W[: len(words)]]
        entities = [
            {
                "type": kind,
                "text": " ".join(words[start:end]),
                "start": start,
                "end": end,
                "score": float(scores_WC[np.arange(start, end), tags_W[start:end]].mean()),
            }
            for kind, start, end in entities_of(tags, is_plain(self.labels))
        ]
        return {"words": words, "tags": tags, "entities": entities}

    def _row(self, place: int, text: Text) -> tuple[str, ...]:
        """A row as the model reads it: cleaned as the texts were that it was trained on."""
        words = self.task == "token_classification"
        return cleaned_row((self._words(place, text),) if words else self._texts(place, text), self._clean, words)

    def _texts(self, place: int, text: Text) -> tuple[str, ...]:
        if self.task == "preference":
            return self._judged(place, text)
        wanted = len(self.schema.text)
        row = tuple(text) if isinstance(text, (tuple, list)) else (text,)
        if len(row) != wanted or not all(isinstance(part, str) for part in row):
            kind = "a text" if wanted == 1 else f"a pair of texts ({', '.join(self.schema.text)})"
            raise DataError(
                f"the model reads {kind} per row; row {place + 1} is {text!r:.80}",
                fix="give strings" if wanted == 1 else "give tuples of two strings",
            )
        return row

    def _judged(self, place: int, text: Any) -> tuple[str, str]:
        """A prompt and an answer."""
        row = rewarded_row(text, self.schema)
        if row is None:
            raise DataError(
                f"the reward model reads a prompt and an answer per row; row {place + 1} is {text!r:.80}",
                fix="give tuples of two strings"
                + (", or lists of messages with role and content" if self.schema.form == "chat" else ""),
            )
        return row

    def _words(self, place: int, text: Text) -> str:
        """The words of a row with a space between each."""
        if isinstance(text, tuple) and len(text) == 1:  # as the rows of a Split are
            (text,) = text
        words = parted(text) if isinstance(text, str) else text
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            raise DataError(
                f"the model reads words; row {place + 1} is {text!r:.80}", fix="give a string, or a list of words"
            )
        return joined(words)


class ImageModel(TextModel):
    """Predicts for images, in batches, as `TextModel` does for texts: `predict(["a.jpg", ...])`, `scores`, `decisions`.
    Images are paths, bytes of files, or images of Pillow; they are turned, made RGB, resized and scaled as in training.
    """

    def scores(self, texts: Sequence[GivenImage], batch_size: int = 64) -> np.ndarray:
        """Probabilities (n, C), or values (n,) for regression, in the order of the images.

        Raises:
            DataError: an image cannot be read.
            OutOfMemoryError: a single one does not fit.
        """
        if isinstance(texts, (str, bytes, Path)):
            raise DataError("a list of images is expected; came one", fix="put it into a list")
        return super().scores(texts, batch_size)

    def _row(self, place: int, text: GivenImage) -> tuple[str, ...]:
        return (given_picture(place, text),)


def load(folder: Path | str, device: str = "cpu") -> TextModel | LanguageModel | DrawingModel:
    """Loads the model of a run folder, or a model folder itself: a `LanguageModel` where it gives the next token, an
    `ImageModel` where rows are images, a `DrawingModel` where it draws them.

    Raises:
        StoreError: there is no model of tunewise there, or it is damaged.
        ModelError: the base model it needs is not there.
        DataError: a package that its cleaning of texts needs is not there.
    """
    folder = Path(folder)
    path = handed_over(folder)
    if path is None:
        raise StoreError(
            f"there is no trained model in {folder}",
            where=str(folder),
            fix="name the folder that was given as --out to `tunewise train`, or a run of a comparison",
        )
    if is_language_model(path):
        from tunewise.engine.language_model import LanguageModel

        return LanguageModel(path, device)
    if draws_images(path):
        from tunewise.engine.drawing_model import DrawingModel

        return DrawingModel(path, device)
    if reads_images(path):
        return ImageModel(path, device)
    return TextModel(path, device)
