"""Prompt tuning: vectors that are read as the first tokens of every text, and trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from tunewise.errors import MethodError
from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import new_head_rules
from tunewise.types import ModelMap, ModuleInsert, Plan, Rule, Signals

if TYPE_CHECKING:
    import torch
    from torch import nn

FREQUENT = 5000  # Lester et al. draw from so many tokens; vocabularies are ordered by frequency, more or less
TOKEN_MARKS = "Ġ▁#"


class PromptTuningConfig(MethodConfig):
    tokens: int = Field(default=20, ge=1)
    """Number n of virtual tokens. They take n of the model's positions, and as much time as n more words."""

    init: Literal["vocabulary", "text", "random"] = "vocabulary"
    """What the vectors start as: the embeddings of n frequent words drawn at random, those of `text`, or random."""

    text: str | None = Field(default=None, min_length=1)
    """With init text: a text that describes the task; its tokens are repeated, or cut, to n."""

    @model_validator(mode="after")
    def _text_goes_with_init(self) -> Self:
        if (self.init == "text") != (self.text is not None):
            raise ValueError("give a text together with `init: text`, and only then")
        return self


class PromptTuning(Method):
    """Reads [p_1 ... p_n; x]: the n x d table p is put in as embeddings behind the token that opens the text, and is
    trained with the head; the model stays as it is."""

    name = "prompt_tuning"
    group = "prompts"
    trains = "vectors in front of the text, and the output layers"
    source = "Lester, Al-Rfou, Constant 2021, The Power of Scale for Parameter-Efficient Prompt Tuning"
    handover = "tunewise"
    modalities = ("text",)
    instead = "visual_prompt"
    starts_unchanged = False
    Config = PromptTuningConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        refuse_images(self, model)
        insert = ModuleInsert(
            build="tunewise.methods.prompt_tuning:with_prompt_table",
            where=(model.input_embedding,),
            options={"tokens": self.config.tokens, "init": self.config.init, "text": self.config.text},
            positions=self.config.tokens,
        )
        rules = (Rule("*.prompt.table", weight_decay=0.0), *new_head_rules(model))
        return Plan(rules, self.learning_rate(model), inserts=(insert,), virtual_tokens=self.config.tokens)

    @property
    def positions(self) -> int:
        return self.config.tokens

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """1e-2: a few vectors have to move far (in the comparison of peft 1e-4 learnt almost nothing, 1e-3 did). On 25
        classes of banking77, MiniLM, it gave 0.917 on validation, 3e-2 0.897."""
        return 1e-2


def refuse_images(method: Method, model: ModelMap) -> None:
    """Refuses a model without token ids.

    Raises:
        MethodError: the model reads images.
    """
    if model.modality == "image":
        nearest = "visual_prompt" if any(block.attention for block in model.blocks) else "bitfit"
        method.refuse("what it trains stands before words, and this model reads images", nearest)


def with_prompt_table(module: nn.Module, tokenizer: Any, tokens: int, init: str, text: str | None) -> nn.Module:
    """An embedding that knows `tokens` ids more than its vocabulary has."""
    from torch import nn

    class PromptTable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(_first_values(module, tokenizer, tokens, init, text))

        def forward(self) -> torch.Tensor:
            return self.table

    return read_prompt(module, PromptTable())


def read_prompt(module: nn.Module, prompt: nn.Module) -> nn.Module:
    """Wraps an embedding of V tokens so that the ids V, V + 1, ... are read from what `prompt()` gives, (n, D)."""
    import torch
    from torch.nn import functional

    from tunewise.models.wrapped import Wrapped

    class PromptedEmbedding(Wrapped):
        def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
            place_BT = ids_BT - len(self.weight)
            virtual_BT = place_BT >= 0
            words_BTD = self.base_layer(ids_BT.masked_fill(virtual_BT, 0))
            prompt_BTD = functional.embedding(place_BT.clamp(min=0), self.prompt()).to(words_BTD.dtype)
            return torch.where(virtual_BT.unsqueeze(-1), prompt_BTD, words_BTD)

    wrapped = PromptedEmbedding(module)
    wrapped.prompt = prompt
    return wrapped.to(module.weight.device)


def _first_values(module: nn.Module, tokenizer: Any, tokens: int, init: str, text: str | None) -> torch.Tensor:
    import torch

    frequent = torch.tensor(frequent_words(tokenizer, len(module.weight)))
    if text is not None:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise MethodError(f"prompt_tuning: the text {text!r} has no token", fix="give words, or leave out `init`")
        chosen = torch.tensor(ids).repeat(-(-tokens // len(ids)))[:tokens]
    else:
        drawn = torch.randperm(len(frequent))
        chosen = frequent[drawn.repeat(-(-tokens // len(drawn)))[:tokens]]
    with torch.no_grad():  # what the module gives: some models scale their embeddings
        if init == "random":
            words_VD = module(frequent.to(module.weight.device)).float().cpu()
            return torch.randn(tokens, words_VD.shape[1]) * words_VD.std()
        return module(chosen.to(module.weight.device)).float().cpu()


def frequent_words(tokenizer: Any, rows: int) -> list[int]:
    """Ids of the first words of the vocabulary, special and unused tokens left out."""
    special = set(tokenizer.all_special_ids)
    words = {number: token for token, number in tokenizer.get_vocab().items() if number not in special}
    frequent = [number for number in sorted(words) if words[number].strip(TOKEN_MARKS).isalpha()][:FREQUENT]
    return frequent or list(range(min(rows, FREQUENT)))
