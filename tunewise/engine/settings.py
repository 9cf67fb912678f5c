"""The `train` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tunewise.config.base import Config
from tunewise.config.reading import Chunks, Pooling, Reading
from tunewise.types import Schedule


class TrainConfig(Config):
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the training rows. 3 where neither this nor `max_steps` is given."""

    max_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps, instead of epochs."""

    batch_size: int = Field(default=16, ge=1)
    """Rows per forward pass; those of a batch with far more tokens than the others, in parts. Rows per optimiser step:
    this times `accumulate`."""

    batch_tokens: int | None = Field(default=None, ge=1)
    """Instead of `batch_size`: padded tokens per forward pass, as many rows of similar length as fit (at least one).
    The number of rows in a step then varies; the loss is the mean over them."""

    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients make one step: exactly the mean over all their rows."""

    learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of every method that is not given its own. Where left out: each method's default."""

    schedule: Schedule = "linear"
    """How the learning rate goes on after the warm-up: down to 0 in a line or half a cosine, or not at all.
    slanted_triangular (ULMFiT) has its own warm-up: up from a 32nd over a tenth of the steps, then down to it in a
    line. A method that needs a schedule of its own (`ulmfit`) takes that."""

    warmup: float = Field(default=0.1, ge=0)
    """Below 1: share of the steps in which the learning rate rises from 0; from 1 on: number of steps."""

    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay (AdamW) on matrices; never on norms, biases and embeddings."""

    max_grad_norm: float = Field(default=1.0, ge=0)
    """Gradients are scaled down to this global norm; 0 leaves them as they are."""

    skip_non_finite: int = Field(default=0, ge=0)
    """How many optimiser steps, in all, may be skipped because the loss or the gradient is NaN or infinite; one more
    stops the training. Each is told with its rows; the training loss of a validation is the mean over the others."""

    head_seed: int | None = Field(default=None, ge=0)
    """Decides the first values of the output layer in the place of `seed`, so that runs of several seeds begin alike,
    as the members of a soup have to. Where the model brings an output layer for the task, it decides nothing."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout probability everywhere in the model. Where left out: what the model's configuration says."""

    max_length: int | None = Field(default=None, ge=4)
    """Tokens per row; longer rows are cut, counted and told. Where left out: the model's limit."""

    cut: Literal["head", "tail", "both", "chunks"] = "head"
    """What is kept of a text that is too long: its beginning (head), its end (tail), or a quarter of its tokens from
    the beginning and the rest from the end (both). Of pairs, the longer text is cut first. chunks keeps all: the text
    is read in windows of `max_length` tokens, and their outputs are pooled. Entities take head."""

    chunk_stride: int = Field(default=0, ge=0)
    """`cut: chunks`: tokens that a window shares with the one before it."""

    max_chunks: int = Field(default=8, ge=2)
    """`cut: chunks`: windows of a text at most; what comes after them is lost, counted and told. A batch holds the
    windows of all its rows: where memory is short, take a smaller `batch_size`, or `batch_tokens`."""

    chunk_pooling: Pooling = "mean"
    """`cut: chunks`: the output of a text is the mean of its windows' outputs (logits; with `features`, vectors), or
    the largest of each (max)."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward and backward pass; weights stay fp32. auto: bf16 on a CPU that computes at least
    1.2 times as fast in it (measured once per machine) and on GPUs that have it, else fp32. fp16 needs a GPU."""

    evaluate_every: int | None = Field(default=None, ge=1)
    """Optimiser steps between validations. Where left out: once per epoch."""

    keep_best: bool = True
    """Hand over the weights of the best validation, not the last."""

    early_stopping: int | None = Field(default=None, ge=1)
    """Stop after so many validations without improvement. Where left out: never."""

    save_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps between checkpoints. Where left out: at the end of an epoch, once a minute has passed since the
    last. Ctrl-C saves one in any case."""

    cache: bool = True
    """Compute what the frozen part of the model gives for a row once, and read it back in later epochs and runs."""

    group_by_length: bool = True
    """Batches of rows of similar length, in random order: less padding, same rows per epoch. With `balanced_batches`
    only the batches of a step, where `accumulate` makes it of several."""

    packing: bool = False
    """Texts to continue: the rows of a batch stand behind one another in few sequences of at most `max_length` tokens,
    without seeing each other: the same losses and gradients, less padding. It saves time where rows of a batch differ
    much in length (`group_by_length: false`); batches of similar length have little padding to save. Preferences
    (dpo) and what the model writes itself (grpo, rloo, ppo): a prompt is read once for all its answers, which saves
    time where prompts are long."""

    batch_norm: Literal["frozen", "updated"] = "frozen"
    """Images: running statistics of batch norms. frozen: those of pretraining stay, and training normalises by them as
    prediction does; batches of a small data set would spoil them. updated, for many rows and large batches: batch norms
    whose weight or bias the method trains normalise by the batch and move their statistics, by the momentum in the
    model's code; all others stay frozen. (transformers' MobileNetV2 has a momentum of 0.997, by which each batch takes
    the place of all before it.)"""

    gradient_checkpointing: bool = False
    """Keep only what goes into each block of the model, and compute the rest again in the backward pass: less memory
    for about a third more time. Gradients stay the same."""

    balanced_batches: bool = False
    """Classification: each step has as many rows of each class, give or take one. An epoch reads every row, and those
    of smaller classes again until each class has come as often as the largest, so that it has more steps."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train. auto: CUDA, else MPS, else CPU."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads. Where left out: one per physical core that the run may use, or fewer where those are at least 1.15
    times as fast (measured once per machine)."""

    @property
    def kept(self) -> Reading:
        """What is read of a text that is too long."""
        if self.cut == "chunks":
            return Chunks(self.chunk_stride, self.max_chunks, self.chunk_pooling)
        return self.cut

    @model_validator(mode="after")
    def _chunks(self) -> TrainConfig:
        given = self.changed("chunk_stride", "max_chunks", "chunk_pooling")
        if given and self.cut != "chunks":
            raise ValueError(f"{given[0]} is for texts read in windows: set cut to chunks, or leave it out")
        if self.max_length is not None and self.chunk_stride >= self.max_length:
            raise ValueError("chunk_stride must be less than max_length: a window goes on from the one before it")
        return self

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError("give either epochs or max_steps, not both")
        return self

    @model_validator(mode="after")
    def _one_size(self) -> TrainConfig:
        if self.batch_tokens is not None and "batch_size" in self.model_fields_set:
            raise ValueError("give either batch_size or batch_tokens, not both")
        if self.batch_tokens is not None and not self.group_by_length:
            raise ValueError("batch_tokens groups rows by length: leave out group_by_length")
        if self.batch_tokens is not None and self.balanced_batches:
            raise ValueError("balanced_batches has so many rows a step: give batch_size, not batch_tokens")
        return self
