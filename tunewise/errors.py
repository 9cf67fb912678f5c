"""Every error a user can meet, in one tree.

TunewiseError                 says what, where and what to do; the command line prints it without a traceback
├── RecipeError               the recipe, an override or an option
├── DataError                 the user's data
├── ModelError                the model folder or hub id
├── MethodError               a method that cannot work with this model, task or data
├── TrainingError             training cannot go on
│   ├── NonFiniteError        NaN or infinity in loss, gradients or weights; raised before the update
│   └── OutOfMemoryError      not even one row fits into memory, or what needs memory cannot be halved
├── StoreError                run folders, checkpoints, records
│   ├── CorruptError          a file does not match its manifest
│   └── LockedError           another process owns the folder
└── Interrupted               Ctrl-C or SIGTERM; the run can be resumed
"""

from __future__ import annotations


class TunewiseError(Exception):
    """An error that a user can act on.

    Args:
        what: one sentence: what was expected and what came.
        where: file, row, key or step.
        fix: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None):
        self.what, self.where, self.fix = what, where, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        return "\n".join(lines)

    def __reduce__(self):
        return _rebuild, (type(self), self.what, self.where, self.fix)


def _rebuild(kind: type[TunewiseError], what: str, where: str | None, fix: str | None) -> TunewiseError:
    return kind(what, where=where, fix=fix)


class RecipeError(TunewiseError):
    """The recipe, an override or an option is wrong."""


class DataError(TunewiseError):
    """The user's data cannot be used as it is."""


class ModelError(TunewiseError):
    """The model folder or hub id cannot be used."""


class MethodError(TunewiseError):
    """A method cannot work with this model, task or data; `instead` is the name of the nearest that can."""

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None, instead: str | None = None):
        super().__init__(what, where=where, fix=fix or (f"take the method '{instead}'" if instead else None))
        self.instead = instead


class TrainingError(TunewiseError):
    """Training cannot go on."""

    exit_code = 1


class NonFiniteError(TrainingError):
    """NaN or infinity in the loss, the gradients or the weights; nothing was done with them."""


class OutOfMemoryError(TrainingError):
    """Memory ran out, and smaller batches do not help."""


class StoreError(TunewiseError):
    """A run folder, checkpoint or record cannot be read or written."""

    exit_code = 1


class CorruptError(StoreError):
    """A file does not match its manifest."""


class LockedError(StoreError):
    """Another process owns the folder."""


class Interrupted(TunewiseError):
    """The user stopped the run; what was saved can be resumed."""

    exit_code = 130


class TunewiseWarning(UserWarning):
    """What a user should know although work goes on; the command line prints it on one line."""
