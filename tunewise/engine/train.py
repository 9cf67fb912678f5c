"""Carries out a method: gradient descent or a closed solver, to a model that gives outputs for texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from tunewise.data.balanced_batches import balanced_rows
from tunewise.data.cuts import Losses
from tunewise.data.inputs import Inputs
from tunewise.data.noise import NoisedPixels
from tunewise.data.pixels import Pixels
from tunewise.data.tokenise import Tokens, with_prompt
from tunewise.engine.augmented import augmented_rows, not_for_solvers
from tunewise.engine.augmented_pictures import augmented_pictures
from tunewise.engine.drawn_rows import DrawnRows
from tunewise.engine.encode import encode
from tunewise.engine.events import Planned, Prepared, Started, Warned
from tunewise.engine.feature_head import FeatureHead
from tunewise.engine.features import Embedder, fit_features, head_outputs
from tunewise.engine.feed import Feed, Reader
from tunewise.engine.job import Job
from tunewise.engine.kept import Spent
from tunewise.engine.language_inputs import encoded_splits
from tunewise.engine.noised_images import noised_images, noised_splits
from tunewise.engine.output_layer import fold, output_layer, standardizes
from tunewise.engine.packed import packed_rows
from tunewise.engine.rollouts import Rollouts
from tunewise.engine.strengths import Judge
from tunewise.evaluate.decide import to_predictions
from tunewise.evaluate.predict import predict_logits
from tunewise.methods.base import Method
from tunewise.models.load import Net
from tunewise.models.memory import PassSize
from tunewise.objectives.base import Objective
from tunewise.types import Plan, Signals, Split


@dataclass
class Trained:
    """A trained model and what its training cost. `head` is set where the encoder was only read; `earlier_seconds`
    is what sessions before a resume took; `elsewhere_*` what the training would have taken besides, had not another run
    left it in the cache. `reader` gives rows to the model, in batches of `pass_size`. `inputs`: what the model reads of
    every split, where its `objective` encodes them; `rollouts` where it lets the model write, and judges that, `rounds`
    being what was told of it (`told_rounds`). `stacked`: how many runs trained in one pass over the base."""

    net: Net
    plan: Plan
    plans: list[dict[str, Any]]
    seconds: float
    forward_flops: float
    backward_flops: float
    trainable_parameters: int
    total_parameters: int
    reader: Reader
    pass_size: PassSize = field(default_factory=PassSize)
    curve: list[dict[str, Any]] = field(default_factory=list)
    rounds: dict[str, Any] = field(default_factory=dict)
    head: FeatureHead | None = None
    objective: Objective | None = None
    inputs: Mapping[str, Inputs] = field(default_factory=dict)
    rollouts: Rollouts | None = None
    earlier_seconds: float = 0.0
    elsewhere_seconds: float = 0.0
    elsewhere_flops: float = 0.0
    stacked: int = 1

    @property
    def warnings(self) -> list[str]:
        """What the user should know of how a closed solver ended."""
        solved = self.plans[0].get("solved")
        if not solved or not solved["at_edge"]:
            return []
        return [
            f"the best strength of {solved['classifier']}, {solved['strength']:g}, is at the edge of the grid that was "
            "tried; give `strength` to go further"
        ]

    def add(self, spent: Spent) -> None:
        """Counts among the costs what came before the first step."""
        self.seconds += spent.seconds
        self.forward_flops += spent.flops
        self.elsewhere_seconds += spent.elsewhere_seconds
        self.elsewhere_flops += spent.elsewhere_flops

    def outputs(
        self,
        texts: Sequence[tuple[str, ...]],
        batch_size: int,
        stop: Callable[[], None],
        cut: Callable[[Losses], None] = lambda losses: None,
    ) -> np.ndarray:
        """The model's outputs (n, C), or (n, W, C) for words, in fp32: what the model handed over gives."""
        return outputs(self.net, self.plan, self.head, texts, batch_size, stop, cut, self.reader, self.pass_size)

    def outputs_of(
        self,
        split: Split,
        batch_size: int,
        stop: Callable[[], None],
        cut: Callable[[Losses], None] = lambda losses: None,
    ) -> np.ndarray:
        """The same of a split of the data; of a language task, the numbers of each row (n, K)."""
        if self.rollouts is not None:
            return self.rollouts.numbers(split.name)
        if split.name not in self.inputs:
            return self.outputs(split.texts, batch_size, stop, cut)
        read, wanted = self.inputs[split.name], self.objective.outputs
        found = predict_logits(self.net.model, read, batch_size, stop=stop, size=self.pass_size, outputs=wanted)
        return self.objective.unscale(found)


def outputs(
    net: Net,
    plan: Plan,
    head: FeatureHead | None,
    texts: Sequence[tuple[str, ...]],
    batch_size: int,
    stop: Callable[[], None] = lambda: None,
    cut: Callable[[Losses], None] = lambda losses: None,
    reader: Reader | None = None,
    size: PassSize | None = None,
) -> np.ndarray:
    """Outputs (n, C) for texts, in their order; (n, W, C) where the model answers for words.

    Args:
        stop: is called before each batch, and may raise.
        cut: is told what was cut or read in windows, where texts were too long for the model, or words have no token.
        reader: knows what the cache holds for the net; without it, everything is computed.
        size: of batches that are known to fit into memory.
    """
    reader, size = reader or Reader(net, plan, (), None), size or PassSize()
    if head is not None:
        options = plan.solver.options
        pooling, normalize, context = options["pooling"], options["normalize"], reader.context
        embed = Embedder(net, pooling, normalize, batch_size, stop=stop, context=context, size=size)
        logits_NC, read = head_outputs(head, embed, texts), embed
        reader.spent += embed.spent
    else:
        read = with_prompt(encode(texts, net, reader.context), net.prompt)
        reader.spent += Spent(elsewhere_seconds=read.elsewhere_seconds)
        with reader.reading(read) as fed:
            logits_NC = predict_logits(net.model, fed, batch_size, stop=stop, size=size)
    if read.losses:
        cut(read.losses)
    return logits_NC


def train(net: Net, method: Method, job: Job) -> Trained:
    """Trains, and folds what the objective changed about the targets back into the model.

    Raises:
        Interrupted, NonFiniteError, OutOfMemoryError, MethodError
    """
    if not method.descends:
        return _solve(net, method.plan(net.map, Signals(task=job.data.schema.task)), job)
    net.make_room(method.positions)
    job, inputs, spent = _inputs(net, job)
    if job.config.packing:
        inputs = {**inputs, "train": packed_rows(inputs["train"], net, method)}
    if job.config.balanced_batches:
        job.observers.emit(Warned(told_balanced(job.data.splits["train"].targets)))
    trained = descend(net, method, job, inputs, _drawn(net, job, inputs))
    if job.data.schema.gives_numbers:
        trained.inputs = {name: with_prompt(read, net.prompt) for name, read in inputs.items() if name != "train"}
        trained.add(spent)
    elsewhere = sum(
        read.elsewhere_seconds for read in inputs.values() if isinstance(read, (Tokens, Pixels, NoisedPixels))
    )
    trained.reader.spent += Spent(elsewhere_seconds=elsewhere)
    return trained


def _solve(net: Net, plan: Plan, job: Job) -> Trained:
    net.to(torch.device(job.tuned.device))
    weights = getattr(job.objective, "weights", None)
    judge = Judge(job.data.splits["validation"], job.evaluator, job.metric, weights)
    job.observers.emit(Started(1, job.label))
    if job.objective.config.label_smoothing:
        job.observers.emit(Warned("label smoothing does not apply to a closed solver"))
    if job.objective.config.focal_gamma:
        job.observers.emit(Warned("focal loss does not apply to a closed solver"))
    if job.config.balanced_batches:
        job.observers.emit(Warned("balanced batches do not apply to a closed solver"))
    if job.config.gradient_checkpointing:
        job.observers.emit(Warned("gradient checkpointing does not apply to a closed solver"))
    for message in not_for_solvers(job.augment, job.objective.config):
        job.observers.emit(Warned(message))
    options = plan.solver.options
    context = job.context
    embed = Embedder(
        net,
        options["pooling"],
        options["normalize"],
        autocast=job.tuned.autocast,
        stop=job.stop.check,
        context=context,
        size=job.pass_size,
    )
    fit = fit_features(embed, job.data, job.objective, options, job.seed, judge)
    job.observers.emit(Planned(step=0, trainable_parameters=fit.head.size))
    if embed.losses:
        job.observers.emit(Warned(embed.losses.told("texts", net.max_length, net.kept)))
    edges = [strength for strength in (min(fit.tried), max(fit.tried)) if len(fit.tried) > 1]
    solved = {
        "step": 0,
        "trainable_parameters": fit.head.size,
        **plan.as_dict(),
        "solved": {
            "classifier": fit.classifier,
            "strength": fit.strength,
            "at_edge": fit.strength in edges,
            "tried": {str(key): judge.sign * each.value for key, each in fit.tried.items()},
            "losses": {str(key): each.loss for key, each in fit.tried.items()},
        },
    }
    total = fit.head.size + sum(parameter.numel() for parameter in net.model.base_model.parameters())
    return Trained(
        net=net,
        plan=plan,
        plans=[solved],
        seconds=fit.seconds,
        forward_flops=embed.flops,
        backward_flops=0.0,
        trainable_parameters=fit.head.size,
        total_parameters=total,
        reader=Reader(net, plan, (), context),
        pass_size=job.pass_size,
        head=fit.head,
        elsewhere_seconds=embed.spent.elsewhere_seconds,
        elsewhere_flops=embed.spent.elsewhere_flops,
    )


def _drawn(net: Net, job: Job, inputs: Mapping[str, Inputs]) -> DrawnRows | None:
    net.to(torch.device(job.tuned.device))
    if job.objective.writes:
        return Rollouts(
            net=net,
            objective=job.objective,
            splits=job.data.splits,
            prompts=inputs,
            rewards=job.rewards(job),
            seed=job.seed,
            tuned=job.tuned,
            batch_size=job.evaluator.config.batch_size,
            size=job.pass_size,
            stop=job.stop.check,
        )
    if job.objective.answers == "images":
        return noised_images(net, job, inputs["train"])
    if job.data.schema.image:
        return augmented_pictures(net, job.data.splits["train"], inputs["train"], job.augment, job.seed)
    return augmented_rows(
        net,
        job.data.splits["train"],
        job.data.schema,
        job.augment,
        job.seed,
        stop=job.stop.check,
        warn=lambda message: job.observers.emit(Warned(message)),
        tell=lambda what, done, total: job.observers.emit(Prepared(what, done, total)),
        most_rows=job.synonym_rows,
    )


def descend(
    net: Net, method: Method, job: Job, inputs: Mapping[str, Inputs], augmented: DrawnRows | None = None
) -> Trained:
    """Trains by gradient descent on the encoded rows of `train` and `validation`.

    Args:
        augmented: what training reads in the place of the rows of `train`.

    Raises:
        Interrupted, NonFiniteError, OutOfMemoryError, MethodError
    """
    splits, objective = job.data.splits, copy(job.objective)  # it is told of this model's output layer, and folded
    validation, rollouts = splits["validation"], augmented if isinstance(augmented, Rollouts) else None
    if rollouts is not None:
        objective = rollouts.objective
    targets = {name: torch.as_tensor(objective.targets(splits[name], inputs[name])) for name in ("train", "validation")}
    if standardizes(objective) and output_layer(net)[1] is None:
        objective.without_bias()
    batch_size = job.evaluator.config.batch_size
    context, size = job.context, job.pass_size
    mixup = 0.0 if job.data.schema.image else job.augment.mixup  # of images, pixels are mixed as they are read
    feed = Feed(net, None if rollouts else context, dict(inputs), augmented=augmented, mixup=mixup)

    def validate() -> tuple[float, float, Mapping[str, float]]:
        # Reads `net`, not the training: a cycle would keep the optimiser's moments alive after the last step.
        if rollouts is not None:
            logits_NC = rollouts.numbers("validation")
        else:
            logits_NC = predict_logits(
                net.model,
                feed["validation"],
                batch_size,
                autocast=job.tuned.autocast,
                stop=job.stop.check,
                size=size,
                outputs=objective.outputs,
            )
        loss = objective.validation_loss(logits_NC, targets["validation"])
        predictions = to_predictions(objective.unscale(logits_NC), validation, job.evaluator)
        scores = job.evaluator.score(predictions)
        return loss, scores[job.metric], scores

    training = job.loop(
        net=net,
        method=method,
        objective=objective,
        train=splits["train"],
        feed=feed,
        targets=targets["train"],
        config=job.config,
        tuned=job.tuned,
        seed=job.seed,
        validate=validate,
        greater_is_better=job.evaluator.greater_is_better(job.metric),
        observers=job.observers,
        label=job.label,
        checkpoints=job.checkpoints,
        stop=job.stop,
        fingerprint=job.fingerprint,
        pass_size=size,
        handed_over=job.handed_over,
        stack=job.stack,
    )
    progress = training.run()
    if augmented and (told := augmented.told(progress.changed_rows, progress.cut_rows, progress.read_rows)):
        job.observers.emit(Warned(told))
    fold(net, objective)
    return Trained(
        net=net,
        plan=training.plan,
        plans=progress.plans,
        seconds=progress.seconds,
        forward_flops=progress.forward_flops,
        backward_flops=progress.backward_flops,
        trainable_parameters=max(entry["trainable_parameters"] for entry in progress.plans),
        total_parameters=training.parameters,
        reader=Reader(net, training.plan, progress.trained, context),
        pass_size=size,
        objective=objective,
        rollouts=rollouts,
        curve=progress.curve,
        rounds=progress.rounds,
        earlier_seconds=training.earlier_seconds,
        stacked=job.stack.most,
        elsewhere_seconds=progress.elsewhere_seconds,
        elsewhere_flops=progress.elsewhere_flops,
    )


def _inputs(net: Net, job: Job) -> tuple[Job, Mapping[str, Inputs], Spent]:
    """What the model reads of train and validation; where rows are something to continue, of all splits. And what was
    spent on what the untrained model says of them. The job has the rows that train."""
    if job.objective.answers == "images":
        return job, noised_splits(net, job), Spent()
    if not job.data.schema.is_language:
        read = {name: _tokens(job.data.splits[name], net, job) for name in ("train", "validation")}
        return job, read, Spent()
    net.to(torch.device(job.tuned.device))
    job, inputs = encoded_splits(net, job)
    rows = job.evaluator.config.batch_size
    untrained = job.untrained(net, rows, job.stop.check, job.pass_size, job.context, inputs)
    return job, job.objective.prepare(inputs, untrained.outputs), untrained.spent


def _tokens(split: Split, net: Net, job: Job) -> Tokens:
    """The tokens of a split; what was cut of it is told."""
    tokens = encode(split.texts, net, job.context)
    if tokens.losses:
        of_what = f"of {len(tokens)} rows of {split.name}"
        job.observers.emit(Warned(tokens.losses.told(of_what, net.max_length, net.kept)))
    return tokens


def told_balanced(classes: np.ndarray) -> str:
    """The warning that an epoch has other rows than the data."""
    rows, count = balanced_rows(classes), len(np.unique(classes))
    return (
        f"balanced batches: an epoch reads {rows:,} rows, {rows // count:,} of each class; "
        f"{rows - len(classes):,} of them are rows of smaller classes that are read again"
    )
