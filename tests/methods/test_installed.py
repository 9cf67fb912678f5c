"""Methods of other packages: a sound one is taken in, any other left out with the reason, and tunewise goes on."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tunewise import methods
from tunewise.engine.apply import _builder
from tunewise.errors import MethodError, RecipeError, TunewiseWarning
from tunewise.methods import METHODS, find_method
from tunewise.methods.installed import Methods
from tunewise.recipe import recipe_from

SOUND = """
from tunewise.methods import Method, MethodConfig
from tunewise.types import Plan

class Sound(Method):
    name = "{name}"
    trains = "nothing"
    source = "nobody 2024"
    def plan(self, model, signals):
        return Plan((), 1.0)

def build(module):
    return module
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(package, {name: value}, code)`: as pip leaves a package with one module of the same name."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(package: str, offers: dict[str, str], code: str, version: str = "1.2") -> None:
        (tmp_path / f"{package}.py").write_text(code)
        info = tmp_path / f"{package}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = "".join(f"{name} = {value}\n" for name, value in offers.items())
        (info / "entry_points.txt").write_text(f"[tunewise.methods]\n{lines}")
        monkeypatch.delitem(sys.modules, package, raising=False)

    return make


def found() -> Methods:
    return Methods(METHODS.own)


def test_a_sound_method_stands_behind_our_own(install: Install) -> None:
    install("sound", {"sound": "sound:Sound"}, SOUND.format(name="sound"))
    known = found()
    assert list(known) == [*(method.name for method in METHODS.own), "sound"] and len(known) == len(METHODS.own) + 1
    assert known["sound"].trains == "nothing" and known["sound"].group == "others"
    assert known.package_of("sound") == ("sound", "1.2") and known.package_of("lora") is None
    assert known.why_left_out("sound") is None and known.why_left_out("nonsuch") is None


BROKEN = {
    "not importable": ("import nonsuch_module", "Sound", "cannot be imported (ModuleNotFoundError: No module named"),
    "no such class": (SOUND, "Other", "cannot be imported (AttributeError: module 'broken' has no attribute 'Other')"),
    "stops the program": ("raise SystemExit(3)", "Sound", "cannot be imported (SystemExit: 3)"),
    "not a class": (SOUND, "build", "is not a subclass of tunewise.methods.Method"),
    "another class": ("class Sound: pass", "Sound", "is not a subclass of tunewise.methods.Method"),
    "no source": (SOUND.replace('source = "nobody 2024"', ""), "Sound", "has no text as its attribute 'source'"),
    "no words": (SOUND.replace('trains = "nothing"', "trains = 3"), "Sound", "has no text as its attribute 'trains'"),
    "no plan": (SOUND.replace("def plan", "def plane"), "Sound", "has no method 'plan'"),
    "another name": (SOUND.replace("{name}", "else"), "Sound", "calls itself 'else'"),
    "handover": (SOUND + "Sound.handover = 'onnx'", "Sound", "'onnx' as its attribute 'handover', which is none of"),
    "group": (SOUND + "Sound.group = 'mine'", "Sound", "'mine' as its attribute 'group', which is none of"),
    "config": (SOUND + "Sound.Config = dict", "Sound", "a Config that is not a subclass of"),
    "no default": (
        SOUND + "class C(MethodConfig):\n    size: int\nSound.Config = C",
        "Sound",
        "has an option without a default",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_one_is_left_out_with_the_reason(case: str, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    code, value, reason = BROKEN[case]
    install("broken", {"bad": f"broken:{value}"}, code.replace("{name}", "bad"))
    known = found()
    with pytest.warns(TunewiseWarning) as caught:
        assert list(known) == [method.name for method in METHODS.own]
    assert [str(warning.message) for warning in caught] == [known.why_left_out("bad")]
    assert known.why_left_out("bad").startswith("the method 'bad' of broken 1.2 is left out: ")
    assert reason in known.why_left_out("bad")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "bad" not in known  # told once

    monkeypatch.setattr(methods, "METHODS", known)
    with pytest.raises(RecipeError, match="is left out") as told:
        find_method("bad")
    assert told.value.fix == "update or uninstall the package, or tell its author"
    with pytest.raises(RecipeError, match=r"recipe: method: the method 'bad' of broken 1\.2 is left out"):
        recipe_from({"model": "m", "data": {"train": "a", "label": "y"}, "method": "bad"})


def test_a_name_that_is_taken_stays_with_its_owner(install: Install) -> None:
    install(
        "thief",
        {"lora": "thief:Sound", "own": "thief:Own"},
        SOUND.format(name="lora") + "class Own(Sound):\n    name = 'own'",
    )
    known = found()
    with pytest.warns(TunewiseWarning, match=r"'lora' of thief 1\.2 is left out: tunewise has a method of that name"):
        assert known["lora"] is METHODS["lora"]
    assert "own" in known


def test_two_packages_cannot_have_one_name(install: Install) -> None:
    install("first", {"same": "first:Sound"}, SOUND.format(name="same"))
    install("second", {"same": "second:Sound"}, SOUND.format(name="same"), version="2")
    known = found()
    with pytest.warns(TunewiseWarning, match=r"'same' of first 1\.2 and second 2 is left out: only one package"):
        assert "same" not in known


@pytest.mark.parametrize("name", ["Sound", "so-und", "../sound", "1"])
def test_a_name_is_good_for_folders_and_options(name: str, install: Install) -> None:
    install("named", {name: "named:Sound"}, SOUND.format(name=name))
    with pytest.warns(TunewiseWarning, match="a name has small letters"):
        assert name not in found()


def test_a_package_may_read_the_methods_while_it_is_imported(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    known = found()
    monkeypatch.setattr(methods, "METHODS", known)
    code = "from tunewise.methods import METHODS\nassert 'full' in METHODS\n" + SOUND.format(name="reader")
    install("reader", {"reader": "reader:Sound"}, code)
    assert known["reader"].name == "reader"


def test_its_functions_may_build_modules_and_others_may_not(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("builder", {"builder": "builder:Sound"}, SOUND.format(name="builder") + "from os import system")
    with pytest.raises(MethodError, match="'builder:build' is not a function of a method"):
        _builder("builder:build")
    monkeypatch.setattr("tunewise.engine.apply.METHODS", found())
    assert _builder("builder:build").__name__ == "build"
    for other in ("builder:system", "builder:Sound", "builder:nonsuch", "os:system"):
        with pytest.raises(MethodError, match="is not a function of a method"):
            _builder(other)


def test_packages_are_not_looked_for_before_a_method_is(install: Install, tmp_path: Path) -> None:
    """So that a package can import tunewise.methods, and that what needs no method does not wait."""
    install("eager", {"eager": "eager:Sound"}, SOUND.format(name="eager"))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import tunewise.methods, tunewise.cli.main\n"
        "print('eager' in sys.modules, end=' ')\n"
        "import eager\n"
        "print(tunewise.methods.METHODS['eager'] is eager.Sound)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
