"""A training step does no more work than a plain loop over the same model: operators are counted, nothing is timed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from training_bench import Recorder, Setup
from transformers import AutoModelForSequenceClassification

from tunewise.engine.events import Step

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "linear", "_addmm_activation", "mkldnn_linear"}
FLOATS = {torch.float32, torch.bfloat16}
COUNTED_STEP, STEPS = 3, 4
BATCH = 8
LORA = {"rank": 4, "alpha": 8, "dropout": 0.1, "targets": ["query", "value"]}
SLACK = 1.1


class Operators(TorchDispatchMode):
    """Counts what torch carries out: `all` operators, `products` of matrices and the multiplications in them, `cast`
    elements (between fp32 and bf16), random `masks`, and `updated`: elements that passes over lists of tensors (norm,
    clipping, AdamW) go through."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found, counts = operator(*args, **(kwargs or {})), self.counts
        name = operator.overloadpacket.__name__
        counts["all"] += 1
        if name in PRODUCTS:
            counts["products"] += 1
            counts["multiplications"] += _multiplications(args)
        if name == "_to_copy" and found.dtype != args[0].dtype and {found.dtype, args[0].dtype} <= FLOATS:
            counts["cast"] += found.numel()
        counts["masks"] += name in ("bernoulli_", "native_dropout", "rand_like")
        counts["attentions"] += "attention" in name
        if name.startswith(("_foreach", "_fused")):
            counts["updated"] += sum(tensor.numel() for tensor in args[0])
        return found

    def take(self) -> Counter[str]:
        """What was counted since the last call."""
        taken, self.counts = self.counts, Counter()
        return taken


def _multiplications(args: Any) -> int:
    """In the product of the last two of these that are matrices."""
    left, right = [arg for arg in args if isinstance(arg, torch.Tensor) and arg.ndim > 1][-2:]
    return left.numel() * right.shape[-1]


class AtStep(Recorder):
    """Keeps the operators between the end of the step before and the end of the counted step."""

    def __init__(self, operators: Operators, counted: int):
        super().__init__()
        self.operators, self.counted, self.found = operators, counted, Counter()

    def on_step(self, event: Step) -> None:
        taken = self.operators.take()
        if event.step == self.counted:
            self.found = taken


@dataclass
class Counted:
    """A step's operators, and the batches that the model was given in the training, in their order."""

    operators: Counter[str]
    batches: list[Mapping[str, torch.Tensor]]
    setup: Setup


def step_of(
    training: Callable[..., Setup], method: str, precision: str, counted: int = COUNTED_STEP, **more: Any
) -> Counted:
    """What one optimiser step of a training of ours does."""
    operators, batches = Operators(), []
    watcher = AtStep(operators, counted)
    settings = {"max_steps": STEPS, "batch_size": BATCH, "dropout": 0.1, "precision": precision, **more}
    setup = training(method, at=f"{method}-{precision}", observers=[watcher], **settings)
    setup.net.model.register_forward_pre_hook(lambda *call: batches.append(call[2]), with_kwargs=True)
    with operators:
        setup.train()
    assert watcher.found, "the step was not reached"
    return Counted(watcher.found, batches, setup)


def step_of_plain_loop(of: Counted, change: Callable[[nn.Module], nn.Module], precision: str) -> Counter[str]:
    """The same step as one writes it: autocast, cross-entropy, clipping, fused AdamW."""
    folder, attention = of.setup.net.located.path, of.setup.net.model.config._attn_implementation
    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3, attn_implementation=attention)
    model = change(plain).train()
    optimizer = torch.optim.AdamW([tensor for tensor in model.parameters() if tensor.requires_grad], fused=True)
    batch = of.batches[COUNTED_STEP - 1]
    labels = torch.zeros(len(batch["input_ids"]), dtype=torch.int64)
    for _ in range(2):  # the first step makes the moments
        with Operators() as operators:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                logits = model(**batch).logits
            loss = nn.functional.cross_entropy(logits.float(), labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()
    return operators.take()


def with_lora(model: nn.Module) -> nn.Module:
    more = {"target_modules": ["query", "value"], "modules_to_save": ["classifier", "pooler"]}
    return get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, lora_dropout=0.1, **more))


def with_head_only(model: nn.Module) -> nn.Module:
    model.bert.embeddings.requires_grad_(False)
    model.bert.encoder.requires_grad_(False)
    return model


CASES = {
    "full": ({}, lambda model: model),
    "lora": ({"options": LORA}, with_lora),
    "head": ({}, with_head_only),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", CASES)
def test_no_more_work_than_a_plain_loop(method: str, precision: str, training: Callable[..., Setup]) -> None:
    more, change = CASES[method]
    counted = step_of(training, method, precision, **more)
    ours, plain = counted.operators, step_of_plain_loop(counted, change, precision)
    assert plain["products"] > 10 and ours["products"] > 0
    for kind in ("all", "products", "multiplications", "cast", "masks", "updated"):
        assert ours[kind] <= SLACK * plain[kind], f"{kind}: {ours[kind]} here, {plain[kind]} in a plain loop"


def test_a_head_alone_multiplies_nothing_but_itself(training: Callable[..., Setup]) -> None:
    """From the cache, a step of output layers is that of two small layers: one product forward for each, one for the
    gradient of each weight, one for the gradient of what the upper one reads."""
    two_epochs = 12
    found = step_of(training, "head", "fp32", counted=two_epochs - 1, max_steps=two_epochs).operators
    assert (found["products"], found["attentions"]) == (5, 0)
    width, outputs = 32, 3
    assert found["multiplications"] == BATCH * (2 * width * width + 3 * width * outputs)


def test_only_the_rows_in_use_are_updated(training: Callable[..., Setup]) -> None:
    """Norm, clipping and AdamW leave alone what no text uses: two thirds of the tiny vocabulary."""
    counted = step_of(training, "full", "fp32")
    plain = step_of_plain_loop(counted, CASES["full"][1], "fp32")
    assert counted.operators["updated"] < 0.9 * plain["updated"]


def test_the_counts_see_what_is_done() -> None:
    left, right = torch.ones(3, 4), torch.ones(4, 5)
    with Operators() as operators:
        _ = left @ right
        _ = torch.baddbmm(torch.zeros(2, 3, 5), left.expand(2, 3, 4), right.expand(2, 4, 5))
        _ = left.to(torch.bfloat16).to(torch.bfloat16)
        _ = nn.functional.dropout(left, 0.5)
        torch._foreach_mul_([left, right], 2.0)
    found = operators.take()
    assert (found["products"], found["multiplications"]) == (2, 3 * 4 * 5 + 2 * 3 * 4 * 5)
    assert (found["cast"], found["masks"], found["updated"]) == (12, 1, 32)
    assert operators.take() == Counter()
