"""Plan -> model: the only place that inserts modules and touches `requires_grad`."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType

import torch
from torch import nn

from tunewise.engine.checkpoint import random_state, set_random_state
from tunewise.engine.dead_filters import without_dead_filters
from tunewise.engine.peft_convolutions import pass_on
from tunewise.engine.peft_options import refused_option
from tunewise.engine.vocabulary import used_rows
from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.models.batch_norm import running_statistics, settle_batch_norms
from tunewise.models.blocks import named_tensors
from tunewise.models.hub_kernels import import_bitsandbytes
from tunewise.models.load import Net, fresh_model
from tunewise.models.masks import count_of, elements_of
from tunewise.models.modes import modes_kept
from tunewise.models.wrapped import plain_model
from tunewise.types import Chain, Mask, ModelMap, ModuleInsert, PeftInsert, Plan, Rule, TensorInfo

# What peft calls the task of a model, by the end of its class's name; others are wrapped without one.
PEFT_TASKS = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}


@dataclass(frozen=True)
class TrainedTensor:
    """A parameter that the plan trains. `weight_decay` None: the run's own on matrices, 0 on norms and biases.
    Embeddings have none, unless the plan says otherwise: rare tokens would fade for want of gradients. `kept` marks the
    elements that do not train, where the plan masks some."""

    name: str
    parameter: nn.Parameter
    lr_scale: float
    weight_decay: float | None
    kept: torch.Tensor | None = None


def insert(plan: Plan, net: Net, seed: int) -> None:
    """Draws the plan's `reset` tensors anew and puts its inserts into the model; once per run. `seed` decides the
    first values."""
    if plan.reset:
        _reset(plan.reset, net, seed)
    torch.manual_seed(seed)
    for addition in plan.inserts:
        if isinstance(addition, PeftInsert):
            net.model = _with_peft(addition, net, plan)
        else:
            _with_modules(addition, net)
    if plan.virtual_tokens:
        vocabulary = len(net.model.get_input_embeddings().weight)
        net.prompt = tuple(range(vocabulary, vocabulary + plan.virtual_tokens))


def choose_trained(plan: Plan, net: Net) -> list[TrainedTensor]:
    """Sets `requires_grad` and train/eval mode as the plan says, and returns what trains.

    The frozen prefix (embedding and blocks below the first trained tensor) runs in eval mode: its output for a row
    never changes, so dropout there would only be noise.

    Raises:
        MethodError: the plan trains nothing, or masks what it does not train.
    """
    trained, embeddings = [], {tensor.name for tensor in net.map.embedding}
    masks = {mask.name: mask for mask in plan.masks}
    for name, parameter in named_tensors(net.model).items():
        rule = plan.rule_for(name)
        parameter.requires_grad_(rule is not None)
        if rule is not None:
            decay = 0.0 if rule.weight_decay is None and name in embeddings else rule.weight_decay
            kept = _kept(masks.pop(name), parameter, net.model) if name in masks else None
            trained.append(TrainedTensor(name, parameter, rule.lr_scale, decay, kept))
    if not trained:
        raise MethodError(
            f"the plan trains nothing in a '{net.map.family}' model",
            where="; ".join(rule.pattern for rule in plan.rules[:5]),
            fix="check the names against `tunewise methods`, or take another method",
        )
    if masks:
        raise MethodError(
            f"the plan masks what it does not train in a '{net.map.family}' model: {', '.join(masks)}",
            fix="this is a mistake in the method: give each masked tensor a rule",
        )
    net.model.train()
    for module in prefix_modules(net, frozen_blocks((tensor.name for tensor in trained), net.map, plan)):
        module.eval()
    settle_batch_norms(net.model, {tensor.name for tensor in trained}, net.updates_batch_norm)
    return trained


def _kept(mask: Mask, parameter: nn.Parameter, model: nn.Module) -> torch.Tensor:
    """Which elements of the parameter the mask keeps as they are."""
    rows = next((module for module in used_rows(model) if module.weight is parameter), None)
    try:
        trains = torch.from_numpy(elements_of(mask, tuple(parameter.shape if rows is None else rows.whole.shape)))
    except ValueError as problem:
        raise MethodError(str(problem), where="the plan's masks", fix="take the model that it was made for") from None
    trains = trains.to(parameter.device)
    return ~(trains if rows is None else trains[rows.used])


def count_trained(trained: Iterable[TrainedTensor], plan: Plan, model_map: ModelMap) -> int:
    """How many scalars of the whole model train."""
    sizes = {tensor.name: tensor.size for tensor in model_map.tensors}  # of an embedding, only rows in use are there
    sizes |= {mask.name: count_of(mask) for mask in plan.masks}
    return sum(sizes.get(tensor.name, tensor.parameter.numel()) for tensor in trained)


def count_all(net: Net) -> int:
    """How many scalars there are, whatever was inserted or stands beside the model."""
    sizes = {tensor.name: tensor.size for tensor in net.map.tensors}  # in 4 bits, two weights are one element
    return sum(sizes.get(name, tensor.numel()) for name, tensor in named_tensors(net.model).items())


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[Mapping[nn.Parameter, torch.Tensor]]:
    """Whatever is done inside to weights, buffers, gradients, what trains, modes and random numbers is undone. Yields
    copies of the weights as they were."""
    weights = {parameter: parameter.detach().clone() for parameter in model.parameters()}
    buffers = {buffer: buffer.clone() for buffer in model.buffers()}
    state = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = None
    random = random_state()
    try:
        with modes_kept(model):
            yield weights
    finally:
        set_random_state(random)
        with torch.no_grad():
            for tensor, value in (*weights.items(), *buffers.items()):
                tensor.copy_(value)
        for parameter, requires_grad, gradient in state:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient


def frozen_blocks(trained: Iterable[str], model_map: ModelMap, plan: Plan) -> int:
    """Depth k of the frozen prefix: embedding and blocks 0..k-1 have no trained tensor in or before them."""
    if any(addition.positions for addition in plan.inserts):
        return 0
    trained, depth = set(trained), len(model_map.blocks)
    if any(tensor.name in trained for tensor in model_map.embedding):
        return 0
    for block in model_map.blocks:
        if any(name.startswith(f"{block.path}.") for name in trained):
            return block.index
    return depth


def prefix_modules(net: Net, depth: int) -> list[nn.Module]:
    """The blocks of the prefix, and what comes before the blocks (embedding, its norm and dropout)."""
    if depth == 0:
        return []
    base = plain_model(net.model)
    modules = []
    for chain in net.map.chains:
        if chain.blocks[0].index > depth:  # blocks of an earlier chain train: they are registered before this one
            break
        modules += _before_blocks(base, chain, net.map.head)
        modules += [base.get_submodule(block.path) for block in chain.blocks if block.index < depth]
    return modules


def _before_blocks(model: nn.Module, chain: Chain, head: tuple[TensorInfo, ...]) -> Iterator[nn.Module]:
    """On the way down to the chain's blocks, the modules registered before (but for the head's), and those that hold
    tensors of the embedding."""

    def holds(path: str, tensors: tuple[TensorInfo, ...]) -> bool:
        return any(tensor.name.startswith(path) for tensor in tensors)

    parts = chain.name.split(".")
    for level, part in enumerate(parts):
        parent, passed = ".".join(parts[:level]), False
        for name, child in model.get_submodule(parent).named_children():
            passed = passed or name == part
            path = f"{parent}.{name}.".removeprefix(".")
            if name != part and ((not passed and not holds(path, head)) or holds(path, chain.embedding)):
                yield child
    yield from _inside_the_chain(model.get_submodule(chain.name), f"{chain.name}.", chain.embedding)


def _inside_the_chain(module: nn.Module, path: str, embedding: tuple[TensorInfo, ...]) -> Iterator[nn.Module]:
    """The outermost modules that hold tensors of the embedding and no others: of a convolutional net without a list of
    blocks, or with a first convolution in its first stage."""
    names = {tensor.name for tensor in embedding if tensor.name.startswith(path)}
    if not names:
        return
    for name, child in module.named_children():
        inner = {f"{path}{name}.{tensor}" for tensor, _ in child.named_parameters()}
        if inner and inner <= names:
            yield child
        elif inner & names:
            yield from _inside_the_chain(child, f"{path}{name}.", embedding)


def _reset(patterns: tuple[str, ...], net: Net, seed: int) -> None:
    """Draws tensors anew. Running statistics of their batch norms are those of other weights: they begin anew too, and
    are updated whatever `train.batch_norm` says, as a net with random weights cannot do without."""
    rules = Plan(rules=tuple(Rule(pattern) for pattern in patterns), learning_rate=0.0)
    fresh = fresh_model(net, seed)
    drawn = {name: tensor for name, tensor in named_tensors(net.model).items() if rules.rule_for(name) is not None}
    statistics = running_statistics(net.model, drawn)
    anew = named_tensors(fresh) | running_statistics(fresh, drawn)
    with torch.no_grad():
        for name, tensor in (drawn | statistics).items():
            tensor.copy_(anew[name])
    if statistics and not net.updates_batch_norm:
        net.updates_batch_norm = True
        net.note("batch norms begin with random weights: they normalise by the batch and update their statistics")


def _with_peft(addition: PeftInsert, net: Net, plan: Plan) -> nn.Module:
    """Wraps the model by peft. The modules of the head are saved with the adapter, where they train with it."""
    import_bitsandbytes()
    import peft

    kind = getattr(peft, addition.config, None)
    if not (isinstance(kind, type) and issubclass(kind, peft.PeftConfig)):
        raise MethodError(
            f"'{addition.config}' is not a configuration of peft", where="the plan's inserts", fix="update peft"
        )
    if refused := refused_option(kind, addition.options):
        raise MethodError(
            f"the option {refused} of peft's {addition.config} is not among those that a plan may set",
            where="the plan's inserts",
            fix="do not use this model, or take the option out of the method",
        )
    options = without_dead_filters(addition.options, net)
    task = next((task for ending, task in PEFT_TASKS.items() if type(net.model).__name__.endswith(ending)), None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft's own use of a name that transformers will drop
            warnings.filterwarnings("ignore", "fan_in_fan_out")  # peft tells GPT-2's Conv1D by itself
            warnings.filterwarnings("ignore", "Invalid `oft_block_size`")  # the option says what is taken instead
            warnings.filterwarnings("ignore", "Specified to not save vera_A")  # the option says what that means
            config = kind(task_type=task, modules_to_save=_head_modules(net.map, plan), **options)
            model = pass_on(peft.get_peft_model(net.model, config))
    except (ValueError, AttributeError, TypeError, NotImplementedError) as problem:
        raise MethodError(
            f"peft cannot put {addition.config} into a '{net.map.family}' model: {problem}",
            fix="choose other targets, or the method 'last_k' or 'adapter'",
        ) from None
    made = model.peft_config["default"]
    made.base_model_name_or_path = net.located.name
    for name, value in vars(made).items():
        if isinstance(value, set):  # peft keeps names in sets, whose order in the file would vary
            setattr(made, name, sorted(value))
    if addition.splits_base:
        net.adapter_start = {name: value.clone() for name, value in peft.get_peft_model_state_dict(model).items()}
    return model


def _head_modules(model_map: ModelMap, plan: Plan) -> list[str] | None:
    """The outermost modules that hold nothing but the head, of those that train; None where there are none. peft adds
    `classifier` of itself, and would wrap what is inside it (RoBERTa: `classifier.dense`) a second time, in a copy that
    no forward pass uses."""
    others = [tensor.name for group in model_map.groups[:-1] for tensor in group]
    modules = set()
    for tensor in model_map.head:
        if plan.rule_for(tensor.name) is None:
            continue
        parts = tensor.name.split(".")[:-1]
        paths = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        modules.add(next(path for path in paths if not any(name.startswith(f"{path}.") for name in others)))
    return sorted(modules) or None


def _with_modules(addition: ModuleInsert, net: Net) -> None:
    """Wraps modules. A function with a parameter `tokenizer` is given the model's own."""
    build, options = _builder(addition.build), dict(addition.options)
    if "tokenizer" in inspect.signature(build).parameters:
        options["tokenizer"] = net.tokenizer
    for path in addition.where:
        module = net.model.get_submodule(path)
        places = _places(net.model, module)
        wrapped = build(module, **options)
        for parent, name in places:
            setattr(parent, name, wrapped)


def _places(model: nn.Module, module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where a module stands, as (parent, name): T5 holds its embedding three times, as copies with one weight."""
    weight = getattr(module, "weight", None)
    return [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if child is module
        or (weight is not None and type(child) is type(module) and getattr(child, "weight", None) is weight)
    ]


def _builder(reference: str) -> Callable[..., nn.Module]:
    """The function that a reference names. Only functions in files of methods are taken: a stored plan is data from a
    folder, which must not be able to call anything else.

    Raises:
        MethodError: it names something else.
    """
    module_name, _, name = reference.partition(":")
    known = module_name in {method.__module__ for method in METHODS.values()}
    function = vars(sys.modules[module_name]).get(name) if known else None
    if not isinstance(function, FunctionType) or function.__module__ != module_name:
        raise MethodError(
            f"'{reference}' is not a function of a method",
            where="the plan's inserts",
            fix="install the package of the method that made this model",
        )
    return function
