"""Methods of other packages: found by their entry points, taken in where they are sound, else left out with the reason.

A package offers a method by an entry point in the group `tunewise.methods`: its name is that of the method, its value
`module:Class`. `examples/tunewise-ssf` is such a package.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, get_args

from tunewise.config.base import Config
from tunewise.errors import TunewiseWarning
from tunewise.methods.base import Group, Method
from tunewise.types import Handover

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "tunewise.methods"


class Methods(MutableMapping[str, type[Method]]):
    """Every method by name: tunewise's own, then those of installed packages by name.

    The packages are looked for when the mapping is first read, and not when tunewise is imported: a package's own
    `import tunewise.methods` would else come back to the package before it is there.

    Attributes:
        own: tunewise's own methods.
    """

    def __init__(self, own: Iterable[type[Method]]):
        self.own = tuple(own)
        self._known = {method.name: method for method in self.own}
        self._packages: dict[str, tuple[str, str]] = {}
        self._left_out: dict[str, str] = {}
        self._looked = False

    def __getitem__(self, name: str) -> type[Method]:
        return self._found[name]

    def __setitem__(self, name: str, method: type[Method]) -> None:
        self._found[name] = method

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def package_of(self, name: str) -> tuple[str, str] | None:
        """Name and version of the package that a method comes from; None: tunewise itself."""
        return self._packages.get(name) if name in self._found else None

    def why_left_out(self, name: str) -> str | None:
        """What is wrong with a method that a package offers, but that cannot be taken in."""
        return None if name in self._found else self._left_out.get(name)

    @property
    def _found(self) -> dict[str, type[Method]]:
        if not self._looked:
            self._looked = True  # before the search: a package may read the mapping while it is imported
            self._look()
        return self._known

    def _look(self) -> None:
        from importlib.metadata import entry_points

        offers: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=GROUP):
            offers.setdefault(entry.name, []).append(entry)
        for name, entries in sorted(offers.items()):
            packages = " and ".join(sorted(" ".join(_package(entry)) for entry in entries))
            try:
                if name in self._known:
                    raise _Unsound("tunewise has a method of that name itself")
                if len(entries) > 1:
                    raise _Unsound("only one package can have it; uninstall the others")
                self._known[name] = _sound(entries[0])
                self._packages[name] = _package(entries[0])
            except _Unsound as problem:
                self._left_out[name] = f"the method '{name}' of {packages} is left out: {problem}"
                warnings.warn(self._left_out[name], TunewiseWarning, stacklevel=1)


class _Unsound(Exception):
    """Why a method cannot be taken in."""


def _package(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("an unknown package", "")


def _sound(entry: EntryPoint) -> type[Method]:
    """The method of an entry point.

    Raises:
        _Unsound: it cannot be imported, or is not what a method must be.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", entry.name):
        raise _Unsound("a name has small letters, digits and _ only, and begins with a letter")
    try:
        kind = entry.load()
    except (Exception, SystemExit) as problem:  # whatever the package does when it is imported
        raise _Unsound(f"{entry.value} cannot be imported ({type(problem).__name__}: {problem})") from problem
    if flaws := list(_flaws(kind, entry.name)):
        raise _Unsound(f"{entry.value} {', and '.join(flaws)}")
    return kind


def _flaws(kind: Any, name: str) -> Iterator[str]:
    """What keeps a class from being the method of that name."""
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        yield "is not a subclass of tunewise.methods.Method"
        return
    for attribute in ("name", "trains", "source"):
        if not isinstance(getattr(kind, attribute, None), str):
            yield f"has no text as its attribute '{attribute}'"
    if isinstance(getattr(kind, "name", None), str) and kind.name != name:
        yield f"calls itself '{kind.name}'"
    if inspect.isabstract(kind):
        yield "has no method 'plan'"
    for attribute, kinds in (("handover", get_args(Handover)), ("group", get_args(Group))):
        if (value := getattr(kind, attribute)) not in kinds:
            yield f"has '{value}' as its attribute '{attribute}', which is none of {', '.join(kinds)}"
    if not (isinstance(kind.Config, type) and issubclass(kind.Config, Config)):
        yield "has a Config that is not a subclass of tunewise.methods.MethodConfig"
        return
    try:
        kind.Config()
    except Exception as problem:  # pydantic's, or one of a validator of the package
        yield f"has an option without a default ({' '.join(str(problem).split())})"
