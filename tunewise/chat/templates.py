"""Conversations -> the text that a model reads, in parts: which of it the assistant says, and which it is given.

The tokeniser's own chat template writes the text; a plain one where the tokeniser has none. What the assistant says is
found by what the template itself marks ({% generation %}), else by writing the beginning of the conversation alone, up
to each answer: these have to be beginnings of the whole, letter by letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunewise.chat.messages import ASSISTANT, Conversation, Message
from tunewise.errors import DataError

PLAIN = (
    "{%- if tools %}### Tools:\n{{ tools | tojson }}\n\n{% endif %}"
    "{%- for message in messages %}"
    "### {{ message.role | capitalize }}:\n{{ message.content or '' }}"
    "{%- for call in message.tool_calls or [] %}"
    "{{ '\n' if message.content or not loop.first }}{{ (call.function or call) | tojson }}"
    "{%- endfor %}"
    "{{ eos_token if message.role == 'assistant' }}{{ '\n\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}### Assistant:\n{% endif %}"
)
"""Written where the tokeniser has no chat template: a heading for each role, the message, and after an answer the
tokeniser's end of text. It needs no token that a base model does not know."""

_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class Part:
    """A piece of what the model reads; `answer`: the assistant says it."""

    text: str
    answer: bool


def chat_template(tokenizer: Any) -> str:
    """The template of a tokeniser, or the plain one; that begins with the token that opens every text, where the
    tokeniser puts one."""
    own = tokenizer.get_chat_template() if tokenizer.chat_template else None
    if own is not None:
        return own
    opens = tokenizer.bos_token_id is not None and tokenizer.bos_token_id in tokenizer("a")["input_ids"][:1]
    return ("{{ bos_token }}" if opens else "") + PLAIN


def settle_template(tokenizer: Any) -> str | None:
    """Gives a tokeniser without a chat template the plain one, which is then part of the model handed over, and returns
    a line for the log; None where it has one."""
    if tokenizer.chat_template:
        return None
    tokenizer.chat_template = chat_template(tokenizer)
    return (
        "the tokeniser has no chat template: conversations are written in a plain one, which is handed over with the "
        "model ('### User:', the message, an empty line, '### Assistant:', the answer, the end of text)"
    )


def rendered(tokenizer: Any, messages: Sequence[Message], tools: Sequence[dict], answer_next: bool = False) -> str:
    """The text of messages; with what opens an answer where `answer_next`.

    Raises:
        DataError: the template refuses them, in its own words.
    """
    try:
        return tokenizer.apply_chat_template(
            list(messages),
            tools=list(tools) or None,
            chat_template=chat_template(tokenizer),
            add_generation_prompt=answer_next,
            tokenize=False,
        )
    except Exception as problem:  # templates are programs: whatever one raises or runs into
        said = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        roles = ", ".join(str(message["role"]) for message in messages[:8])
        raise DataError(
            f"the chat template refuses the conversation: {said} (roles: {roles}{', ...' * (len(messages) > 8)})",
            where="the tokeniser's chat template",
            fix="take these rows out, or write them with the roles that this model knows",
        ) from None


def prompt_text(tokenizer: Any, messages: Sequence[Message], tools: Sequence[dict]) -> str:
    """What the model is given to answer."""
    return rendered(tokenizer, messages, tools, answer_next=True)


def parts_of(tokenizer: Any, conversation: Conversation, first: int = 0) -> tuple[list[Part], bool]:
    """The text in parts, up to the end of the last answer (behind it is nothing to learn), and whether that answer
    lacks an end: it is not closed by a token of its own.

    Args:
        first: answers of messages before this one count as given.

    Raises:
        DataError: the template refuses the conversation, or does not tell exactly what the assistant says.
    """
    messages, tools = conversation.messages, conversation.tools
    marked = _MARKS.search(chat_template(tokenizer)) is not None
    whole = rendered(tokenizer, messages, tools)
    found = (
        _marked(tokenizer, conversation, whole, first)
        if marked
        else _by_beginnings(tokenizer, conversation, first, whole)
    )
    ends = _ends(tokenizer)
    spans = [_to_its_end(whole, start, stop, ends) for start, stop in found if stop > start]
    if not spans:
        raise _untold("it marks no answer in this conversation" if marked else "there is none in this conversation")
    parts, at = [], 0
    for start, stop in spans:
        parts += [Part(whole[at:start], False), Part(whole[start:stop], True)]
        at = stop
    return [part for part in parts if part.text], not whole[:at].endswith(ends)


def _marked(tokenizer: Any, conversation: Conversation, whole: str, first: int) -> list[tuple[int, int]]:
    """Where the template's own marks stand, of answers from `first` on."""
    from transformers.utils.chat_template_utils import render_jinja_template

    def marks(messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        texts, found = render_jinja_template(
            conversations=[list(messages)],
            tools=list(conversation.tools) or None,
            chat_template=chat_template(tokenizer),
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
        return texts[0], [(int(start), int(stop)) for start, stop in found[0]]

    text, found = marks(conversation.messages)
    if text != whole:
        raise _untold("it writes other text where it marks answers")
    given = sum(message["role"] == ASSISTANT for message in conversation.messages[:first])
    if given and len(found) != sum(message["role"] == ASSISTANT for message in conversation.messages):
        raise _untold("it does not mark every answer once")
    return found[given:]


def _by_beginnings(tokenizer: Any, conversation: Conversation, first: int, whole: str) -> Iterator[tuple[int, int]]:
    messages, tools = conversation.messages, conversation.tools
    for place, message in enumerate(messages):
        if message["role"] != ASSISTANT or place < first:
            continue
        before = rendered(tokenizer, messages[:place], tools, answer_next=True)
        after = rendered(tokenizer, messages[: place + 1], tools)
        for beginning in (before, after.rstrip()):
            if not whole.startswith(beginning):
                raise _untold(
                    f"the conversation up to message {place + 1} is not the beginning of the whole, as it writes them"
                )
        yield len(before), len(after.rstrip())


def _untold(why: str) -> DataError:
    return DataError(
        f"the chat template does not tell exactly what the assistant says: {why}",
        where="the tokeniser's chat template",
        fix="mark answers in it by {% generation %} and {% endgeneration %}, or give a template that writes each "
        "message by itself",
    )


def end_ids(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer: the end of text, and the special token by which the chat template closes a turn.
    Where one of them is written, an answer is finished."""
    ids = [tokenizer.eos_token_id]
    if tokenizer.chat_template:
        said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            whole = rendered(tokenizer, said, ())
            rest = whole[len(rendered(tokenizer, said[:1], (), answer_next=True)) :].rstrip()
        except DataError:
            rest = ""
        closing = max((end for end in _ends(tokenizer) if rest.endswith(end)), key=len, default=None)
        ids += [] if closing is None else [tokenizer.convert_tokens_to_ids(closing)]
    return tuple(dict.fromkeys(token for token in ids if token is not None))


def _ends(tokenizer: Any) -> tuple[str, ...]:
    """Tokens that can close an answer: those that no text is made of."""
    added = [str(token) for token in tokenizer.added_tokens_encoder]
    return tuple(dict.fromkeys([*tokenizer.all_special_tokens, *added]))


def _to_its_end(whole: str, start: int, stop: int, ends: Sequence[str]) -> tuple[int, int]:
    """A span without the space behind it, with the token that directly closes it."""
    text = whole[start:stop].rstrip()
    stop = start + len(text)
    if not text.endswith(tuple(ends)):
        follows = [end for end in ends if whole.startswith(end, stop)]
        stop += len(max(follows, key=len, default=""))
    return start, stop
