"""Prefix tuning: trained keys and values that every attention sees beside those of the text.

Our own, through the attention interface of transformers: peft hands a prefix over as a cache of past tokens, so that a
text's positions are counted from n on ([CLS] is no longer at 0), and DistilBERT and ModernBERT read no such cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from tunewise.errors import MethodError
from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import new_head_rules
from tunewise.methods.prompt_tuning import frequent_words, refuse_images
from tunewise.types import ModelMap, ModuleInsert, Plan, Rule, Signals

if TYPE_CHECKING:
    import torch
    from torch import nn

NAME, PROBE = "tunewise_prefix", "tunewise_prefix_probe"
RANDOM_STD = 0.02
PERCEPTRON_SCALE = 0.1  # of the learning rate: at the whole of it, MiniLM stayed at chance on banking77
WORDS = 16  # of a text whose keys and values a prefix starts as


class PrefixTuningConfig(MethodConfig):
    tokens: int = Field(default=20, ge=1)
    """Number n of keys and values that each attention sees in front of the text. They take none of its positions."""

    init: Literal["random", "vocabulary"] = "random"
    """What they start as: small random values, or the keys and values of n frequent words drawn at random."""

    reparametrise: bool = False
    """Let a perceptron make them from one small table, instead of training them themselves."""

    hidden: int | None = Field(default=None, ge=1)
    """With reparametrise: width of the perceptron. Where left out: the model's."""

    @model_validator(mode="after")
    def _options_go_together(self) -> Self:
        if self.hidden is not None and not self.reparametrise:
            raise ValueError("`hidden` is the width of what `reparametrise: true` puts in: give both, or neither")
        if self.init == "vocabulary" and self.reparametrise:
            raise ValueError("what a perceptron makes cannot start as words: leave out `init` or `reparametrise`")
        return self


class PrefixTuning(Method):
    """softmax(q [P_k; K]^T / sqrt(d)) [P_v; V] in every attention: P_k and P_v (n x d per head) are trained with the
    head; the model stays as it is."""

    name = "prefix_tuning"
    group = "prompts"
    trains = "keys and values in front of the text in every attention, and the output layers"
    source = "Li and Liang 2021, Prefix-Tuning; Liu et al. 2022, P-Tuning v2 (classification)"
    handover = "tunewise"
    modalities = ("text",)
    instead = "visual_prompt"
    starts_unchanged = False
    Config = PrefixTuningConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        refuse_images(self, model)
        hidden = (self.config.hidden or model.width) if self.config.reparametrise else None
        insert = ModuleInsert(
            build="tunewise.methods.prefix_tuning:with_prefix",
            where=(model.chains[0].name.partition(".")[0],),
            options={"tokens": self.config.tokens, "init": self.config.init, "hidden": hidden},
            positions=self.config.tokens,
        )
        rules = [Rule("*.prefix.table*", weight_decay=0.0)]
        if self.config.reparametrise:
            rules += [Rule("*.prefix.down.*", PERCEPTRON_SCALE), Rule("*.prefix.up.*", PERCEPTRON_SCALE)]
        rules += new_head_rules(model)
        return Plan(tuple(rules), self.learning_rate(model), inserts=(insert,))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """1e-2 (P-Tuning v2: 5e-3 to 1e-2 for BERT and RoBERTa); a perceptron trains at a tenth of it."""
        return 1e-2


def with_prefix(module: nn.Module, tokenizer: Any, tokens: int, init: str, hidden: int | None) -> nn.Module:
    """Gives every attention of an encoder or decoder a prefix; the model itself is returned.

    Raises:
        MethodError: its attentions do not go through the interface of transformers.
    """
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    for name, function in ((PROBE, _note), (NAME, _attend)):
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, sdpa_mask)
    if _is_plain(module):
        module.set_attn_implementation(PROBE)
    if module.config._attn_implementation != PROBE:
        raise MethodError(
            f"prefix_tuning: the attention of a '{module.config.model_type}' model takes no other keys than its own",
            instead="prompt_tuning",
        )
    noted = _keys_of_words(module, tokenizer, tokens)
    module.set_attn_implementation(NAME)
    first_values = list(noted.values())
    if init == "random":
        first_values = [torch.randn_like(values, device="cpu") * RANDOM_STD for values in first_values]
    module.prefix = (_tables(first_values) if hidden is None else _encoder(first_values, hidden)).to(module.device)
    for number, attention in enumerate(noted):
        attention.prefix_of = (module.prefix, number)  # in a tuple, so that it is not a part of the attention too
    return module


def _is_plain(model: nn.Module) -> bool:
    """Whether torch's own attention does all that the model's does; Gemma 2 caps the logits before the softmax."""
    return model._supports_sdpa and getattr(model.config, "attn_logit_softcapping", None) is None


def _keys_of_words(model: nn.Module, tokenizer: Any, tokens: int) -> dict[nn.Module, torch.Tensor]:
    """For each attention its keys and values (2, 1, H, n, D) of n frequent words drawn at random."""
    import torch

    from tunewise.models.modes import eval_mode

    frequent = torch.tensor(frequent_words(tokenizer, len(model.get_input_embeddings().weight)))
    rows = -(-tokens // WORDS)
    ids = frequent[torch.randint(len(frequent), (rows, WORDS))].to(model.device)
    decoder = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with eval_mode(model), torch.no_grad():
        model(input_ids=ids, attention_mask=torch.ones_like(ids), **decoder)
    noted = {}
    for module in model.modules():
        if seen := vars(module).pop("seen", None):
            keys_values = torch.stack(seen).transpose(1, 2).flatten(2, 3)  # (2, H, rows x words, D)
            noted[module] = keys_values[:, None, :, :tokens].float().contiguous()
    return noted


def _tables(first_values: Sequence[torch.Tensor]) -> nn.Module:
    """Gives keys and values (2, 1, H, n, D) of attention number i, which start as they are here."""
    from torch import nn

    class Tables(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.ParameterList([nn.Parameter(values) for values in first_values])

        def forward(self, number: int) -> torch.Tensor:
            return self.table[number]

    return Tables()


def _encoder(first_values: Sequence[torch.Tensor], hidden: int) -> nn.Module:
    """The same by a perceptron whose last layer is the attention's own."""
    import torch
    from torch import nn

    shapes = [values.shape for values in first_values]

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(shapes[0][3], hidden))
            self.down = nn.Linear(hidden, hidden)
            self.up = nn.ModuleList([nn.Linear(hidden, 2 * heads * width) for _, _, heads, _, width in shapes])

        def forward(self, number: int) -> torch.Tensor:
            _, _, heads, tokens, width = shapes[number]
            made = self.up[number](torch.tanh(self.down(self.table)))
            return made.view(1, tokens, 2, heads, width).permute(2, 0, 3, 1, 4)

    return Encoder()


def _note(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """torch's attention, which leaves keys and values with the module."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    module.seen = (key, value)
    return sdpa_attention_forward(module, query, key, value, mask, **options)


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_bias: torch.Tensor | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """torch's attention over [prefix; text], which every token sees the prefix of."""
    import torch
    from torch.nn import functional
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    source, number = module.prefix_of
    keys, values = source(number).to(key.dtype).expand(-1, len(key), -1, -1, -1)
    tokens, length = keys.shape[2], key.shape[2]
    causal = module.is_causal if is_causal is None else is_causal
    if attention_mask is None and causal:
        ones = torch.ones(query.shape[2], length, dtype=torch.bool, device=key.device)
        attention_mask = ones.tril(length - query.shape[2])[
            None, None
        ]  # fewer queries than keys: those before are kept
    if attention_mask is not None:
        seen = True if attention_mask.dtype == torch.bool else 0.0
        attention_mask = functional.pad(attention_mask, (tokens, 0), value=seen)
    if position_bias is not None:
        position_bias = functional.pad(position_bias, (tokens, 0))
    return sdpa_attention_forward(
        module,
        query,
        torch.cat([keys, key], dim=2),
        torch.cat([values, value], dim=2),
        attention_mask,
        position_bias=position_bias,
        is_causal=False,
        **options,
    )
