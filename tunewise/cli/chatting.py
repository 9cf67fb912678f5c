"""`tunewise chat`: a conversation with a trained language model on the terminal, answers shown as they are written."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tunewise.errors import RecipeError
from tunewise.tracking.progress import plain_lines, plain_text

if TYPE_CHECKING:
    from tunewise.engine.language_model import LanguageModel

COMMANDS = {
    "/reset": "forget what was said",
    "/system": "what comes before all else: /system You are brief. Alone: nothing",
    "/help": "this list",
    "/exit": "end (Ctrl-D too)",
}
TERMINATED = 143  # the exit code of a process that SIGTERM ended


def language_model(run: Path) -> LanguageModel:
    """The language model of a run.

    Raises:
        RecipeError: its model is of another kind.
    """
    from tunewise.engine.language_model import LanguageModel
    from tunewise.engine.text_model import load

    model = load(run)
    if not isinstance(model, LanguageModel):
        raise RecipeError(
            f"the model does not write texts: its task is {model.task}",
            where=str(run),
            fix="ask it by `tunewise predict`, or train a language model",
        )
    return model


@dataclass
class Chat:
    """What was said so far, and how the model is to answer.

    Attributes:
        options: those of `LanguageModel.generate`.
        show: prints as it stands, without a line break.
        tell: prints a line about the conversation.
    """

    model: LanguageModel
    options: dict[str, Any]
    show: Callable[[str], None]
    tell: Callable[[str], None]
    system: str | None = None
    seed: int = 0
    messages: list[dict[str, str]] = field(default_factory=list)
    turns: int = 0

    def turn(self, said: str) -> bool:
        """Carries out a command, or answers; False where the conversation ends."""
        word, _, rest = said.strip().partition(" ")
        if not word:
            return True
        if not word.startswith("/"):
            self._answer(said)
            return True
        if word == "/reset":
            self.messages.clear()
            self.tell("forgotten")
        elif word == "/system":
            self._set_system(rest.strip())
        elif word != "/exit":
            if word != "/help":
                self.tell(f"there is no {plain_text(word)}")
            for command, meaning in COMMANDS.items():
                self.tell(f"{command:8} {meaning}")
        return word != "/exit"

    def _set_system(self, text: str) -> None:
        if not self.remembers:
            self.tell("the model was not trained on conversations: it knows no system message")
            return
        self.system = text or None
        self.tell("set" if text else "no system message")

    @property
    def remembers(self) -> bool:
        """Whether the model reads conversations."""
        return self.model.schema.form == "chat"

    def _answer(self, said: str) -> None:
        """Writes an answer. Ctrl-C stops it; what was written until then is part of the conversation."""
        self.turns += 1
        self.messages.append({"role": "user", "content": said})
        prompt, pieces = self._prompt(said), []

        def piece(text: str) -> None:
            pieces.append(text)
            self.show(plain_lines(text))

        try:
            self.model.generate(
                [prompt],
                system=self.system,
                seed=self.seed + self.turns - 1,
                tell=piece,
                **self.options,
            )
            self.show("\n")
        except KeyboardInterrupt:
            self.show("\n")
            self.tell("stopped")
        self.messages.append({"role": "assistant", "content": "".join(pieces)})

    def _prompt(self, said: str) -> Any:
        """What the model reads: all that was said, as far as it fits, or the last line alone."""
        if not self.remembers:
            return said
        left_out, room = 0, self.options["max_new_tokens"]
        while len(self.messages) > 1 and not self.model.fits(self.messages, room, self.system):
            del self.messages[:2]  # a question and its answer
            left_out += 2
        if left_out:
            self.tell(f"the conversation is longer than the model reads: its first {left_out} messages are forgotten")
        return list(self.messages)


def chat_with(run: Path, system: str | None, seed: int, options: dict[str, Any]) -> None:
    """Reads lines from standard input until it ends, or `/exit`; prints answers to standard output, and what is told
    about the conversation to standard error."""
    model = language_model(run)
    if system is not None and model.schema.form != "chat":
        raise RecipeError(
            "the model was not trained on conversations: it knows no system message",
            where="--system",
            fix="leave it out, and write it into the prompt",
        )
    chat = Chat(model, options, _show, _tell, system, seed)
    on_terminal = sys.stdin.isatty()
    if on_terminal:
        with suppress(ImportError):
            import readline  # noqa: F401 - lines can be edited, and earlier ones called back
        _tell("each line is a message; /help lists commands, Ctrl-C stops an answer")
    if not chat.remembers:
        _tell("the model was not trained on conversations: each line is a prompt of its own")
    with _ended_by_sigterm():
        for said in _lines(sys.stdin, on_terminal):
            if not chat.turn(said):
                return


def _lines(source: TextIO, on_terminal: bool) -> Iterator[str]:
    while True:
        try:
            yield input("> ") if on_terminal else _next_line(source)
        except EOFError:
            return
        except KeyboardInterrupt:
            if not on_terminal:
                raise
            print(file=sys.stderr)
            _tell("/exit or Ctrl-D ends")


def _next_line(source: TextIO) -> str:
    line = source.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _show(text: str) -> None:
    print(text, end="", flush=True)


def _tell(line: str) -> None:
    print(f"({line})", file=sys.stderr, flush=True)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the program; Ctrl-C, which it is otherwise treated as, only stops an answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: Any) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
