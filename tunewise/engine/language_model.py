"""A trained language model: what `tunewise.load` gives for one. It continues texts, answers prompts and conversations,
and tells how likely it holds what stands there.

Shape legend: n rows, K numbers of a row.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tunewise.config.validate import validate
from tunewise.data.conversations import Prompts, encode_prompts, encode_split
from tunewise.data.tokenise import with_prompt
from tunewise.engine.generation import generate, text_of
from tunewise.engine.handover import load_base, load_model
from tunewise.engine.model_meta import schema_from
from tunewise.errors import DataError, TunewiseWarning
from tunewise.evaluate.generation_settings import GenerationConfig
from tunewise.evaluate.predict import Outputs, predict_logits
from tunewise.models.memory import PassSize, memory_told
from tunewise.models.token_losses import token_log_probs
from tunewise.objectives.base import Objective
from tunewise.types import Schema, Split

if TYPE_CHECKING:
    from torch import nn

    from tunewise.data.inputs import Inputs

Message = Mapping[str, Any]
Prompt = str | Sequence[Message]
"""A prompt, or the messages of a conversation, each with `role` and `content`, that an answer is to follow."""

Tell = Callable[[str], None]


class LanguageModel:
    """Writes, whatever kind of folder the model was handed over in.

    Attributes:
        schema: what its training rows were; `schema.form` text, completion or chat says what a prompt is.
        max_length: the most tokens of a row that it was trained on.
    """

    def __init__(self, folder: Path, device: str = "cpu"):
        with memory_told("loading the model"):
            self._net, _, _, meta = load_model(folder, torch.device(device))
        self._folder = folder
        self._size = PassSize()
        self.schema: Schema = schema_from(meta["schema"])
        self.task, self.max_length = self.schema.task, self._net.max_length

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        system: str | None = None,
        seed: int = 0,
        batch_size: int = 32,
        tell: Tell | None = None,
        stop: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> list[str]:
        """What the model writes behind each prompt, in their order, without what it was given.

        A model of conversations takes a string for what the user says, or a list of messages; others take strings.
        Warns where prompts were longer than the model reads: their beginnings are left out.

        Args:
            system: of conversations: the message that comes before all others, where they do not bring one.
            seed: decides what is drawn, where `temperature` is given.
            tell: with a single prompt: is given the text piece by piece, as it is written.
            stop: is called before each token, and may raise.
            options: those of `evaluate.generation` in a recipe: `max_new_tokens`, `temperature`, `top_k`, `top_p`,
                `beams`, `repetition_penalty`, `stop`.

        Raises:
            DataError: a prompt is of the wrong kind, or there are several and `tell`.
            RecipeError: there is no such option, or it does not go with another.
            ModelError: a prompt leaves no room to write.
            OutOfMemoryError: a single row does not fit.
        """
        if isinstance(prompts, str):
            raise DataError(f"a list of prompts is expected; came one, {prompts!r:.80}", fix="put it into a list")
        rows = [self._row(place, prompt, system) for place, prompt in enumerate(prompts)]
        return self._written(_split(rows), self._prompts_schema, seed, batch_size, tell, stop, options)

    def answers(
        self,
        split: Split,
        *,
        seed: int = 0,
        batch_size: int = 32,
        stop: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> list[str]:
        """What the model writes for each row of data as it was trained on: behind a prompt, a conversation without its
        last answer, or the beginning of a text. See `generate`."""
        return self._written(split, self.schema, seed, batch_size, None, stop, options)

    def _written(
        self,
        split: Split,
        schema: Schema,
        seed: int,
        batch_size: int,
        tell: Tell | None,
        stop: Callable[[], None],
        options: Mapping[str, Any],
    ) -> list[str]:
        config, tokenizer = validate(GenerationConfig, options, source="generation"), self._net.tokenizer
        if tell is not None and len(split) > 1:
            raise DataError("several prompts cannot be told as they are written", fix="give one prompt with `tell`")
        if not len(split):
            return []
        pieces = None if tell is None else _Pieces(tokenizer, config, tell)
        read = self._encoded(split, schema, config.longest)
        if len(read.cut_rows):
            told = f"{len(read.cut_rows):,} of {len(split):,} prompts are longer than the model reads: they lost "
            warnings.warn(TunewiseWarning(f"{told}{read.lost:,} tokens of their beginning"), stacklevel=3)
        found = generate(
            self._net.model,
            tokenizer,
            [ids.tolist() for ids in read.ids],
            config,
            seed=seed,
            virtual=self._net.prompt,
            batch_size=batch_size,
            stop=stop,
            size=self._size,
            tell=pieces and (lambda _, token: pieces.add(token)),
        )
        texts = [text_of(tokenizer, ids, config) for ids in found]
        if pieces is not None:
            pieces.end(texts[0])
        return texts

    def fits(self, prompt: Prompt, max_new_tokens: int, system: str | None = None) -> bool:
        """Whether the model reads the whole prompt, and has room to write so much behind it."""
        split = _split([self._row(0, prompt, system)])
        return not len(self._encoded(split, self._prompts_schema, max_new_tokens).cut_rows)

    def numbers(self, rows: Sequence[tuple[str, ...]], batch_size: int = 32) -> np.ndarray:
        """Of each row, as the training data has them (a text, prompt and answer, or a conversation as JSON): the sum of
        -ln p over the tokens of answers (of all of a text), their count, and how many of them the model holds for the
        likeliest; float32 (n, 3)."""
        schema = Schema("generation", self.schema.text, self.schema.label, (), self.schema.form, self.schema.between)
        read = encode_split(_split(rows), schema, self._net.tokenizer, self.max_length, False, self._encoder_decoder)
        return self._outputs(read, lambda model, batch: token_log_probs(model, batch).row_numbers(), batch_size)

    def log_probs(self, rows: Sequence[tuple[str, ...]], batch_size: int = 32) -> np.ndarray:
        """The log-probability of each row's answers (of all of a text), float32 (n,): see `numbers`."""
        return -self.numbers(rows, batch_size)[:, 0]

    def outputs(self, split: Split, objective: Objective, batch_size: int = 32) -> np.ndarray:
        """What an objective makes of each row, float32 (n, K): see `types.ROW_NUMBERS`. Where it measures from the
        model as it was before training, that is loaded.

        Raises:
            ModelError: the base model is needed and cannot be had, or is another.
        """
        read = objective.encode(split, self._net.tokenizer, self.max_length, self._encoder_decoder)
        if type(objective).prepare is not Objective.prepare:
            untrained = load_base(self._folder).to(next(self._net.model.parameters()).device)

            def outputs_of(inputs: Inputs, wanted: Outputs) -> np.ndarray:
                return predict_logits(untrained.model, inputs, batch_size, size=self._size, outputs=wanted)

            read = objective.prepare({split.name: read}, outputs_of)[split.name]
        return self._outputs(read, objective.outputs, batch_size)

    @property
    def _encoder_decoder(self) -> bool:
        return bool(self._net.model.config.is_encoder_decoder)

    def _outputs(self, read: Any, wanted: Callable[[nn.Module, Any], torch.Tensor], batch_size: int) -> np.ndarray:
        read = with_prompt(read, self._net.prompt)
        return predict_logits(self._net.model, read, batch_size, size=self._size, outputs=wanted)

    @property
    def _prompts_schema(self) -> Schema:
        """Prompts alone. A text to go on with is one with nothing between it and what follows."""
        form = "completion" if self.schema.form == "text" else self.schema.form
        return Schema("prompts", self.schema.text[:1], "", (), form, self.schema.between)

    def _encoded(self, split: Split, schema: Schema, new_tokens: int) -> Prompts:
        """The prompts. Where the model numbers its positions, they leave room for what is to be written, or for half of
        what there is."""
        room = self._net.positions - len(self._net.prompt)
        if not self._encoder_decoder:
            room -= min(new_tokens, room // 2)
        return encode_prompts(split, schema, self._net.tokenizer, room, self._encoder_decoder)

    def _row(self, place: int, prompt: Prompt, system: str | None) -> tuple[str, ...]:
        """A prompt as a row of the task `prompts` has it."""
        if self.schema.form == "chat":
            return (json.dumps(_messages(place, prompt, system), ensure_ascii=False),)
        if system is not None:
            raise DataError(
                "the model was not trained on conversations: it knows no system message", fix="write it into the prompt"
            )
        if not isinstance(prompt, str):
            raise DataError(f"the model continues strings; prompt {place + 1} is {prompt!r:.80}", fix="give strings")
        return (prompt,)


def _messages(place: int, prompt: Prompt, system: str | None) -> list[dict[str, Any]]:
    """A conversation, opened by the system message where it brings none."""
    said = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    sound = isinstance(said, (list, tuple)) and said and all(_is_message(message) for message in said)
    if not sound:
        raise DataError(
            f"prompt {place + 1} is no conversation: {prompt!r:.80}",
            fix="give a string, or a list of messages such as {'role': 'user', 'content': 'Hello'}",
        )
    messages = [dict(message) for message in said]
    if system is not None and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    return messages


def _is_message(message: Any) -> bool:
    return isinstance(message, Mapping) and all(isinstance(message.get(key), str) for key in ("role", "content"))


def _split(rows: Sequence[tuple[str, ...]]) -> Split:
    numbers = np.arange(1, len(rows) + 1)
    return Split("given", tuple(rows), np.zeros(len(rows), np.float32), numbers, "the rows given")


class _Pieces:
    """Text as it is written, token by token: what can still change (half a character, what may begin a stop string)
    waits. All tokens are decoded each time, since many tokenisers write a token by what stands before it."""

    def __init__(self, tokenizer: Any, config: GenerationConfig, tell: Tell):
        self._tokenizer, self._tell, self._config = tokenizer, tell, config
        self._ids: list[int] = []
        self._told = ""

    def add(self, token: int) -> None:
        self._ids.append(token)
        text = text_of(self._tokenizer, self._ids, self._config).rstrip("\ufffd")
        self._say(text[: len(text) - self._may_stop(text)])

    def end(self, text: str) -> None:
        """Tells the rest of the whole text."""
        self._say(text)

    def _may_stop(self, text: str) -> int:
        """How many characters at the end could begin a stop string."""
        sizes = (size for word in self._config.stop for size in range(1, len(word)) if text.endswith(word[:size]))
        return max(sizes, default=0)

    def _say(self, text: str) -> None:
        if len(text) > len(self._told) and text.startswith(self._told):
            self._tell(text[len(self._told) :])
            self._told = text
