"""Every option of every command with every value that its type cannot take; options of all runs included."""

import inspect
from dataclasses import fields

import pytest
from hostile import make_run, refused

from evolvent.cli.commands import COMMANDS
from evolvent.cli.drawing import Sampling

LONG = "x" * 3000
IMPOSSIBLE = {
    "whole": ("", " ", "nan", "inf", "1e400", "2.5", "many", "٣x", "[1]", "null,", "0x", LONG),
    "number": ("", " ", "nan", "-nan", "inf", "ten", "1,5", "1e", "[1.0]", "½", "1+1j", LONG),
    "truth": ("", " ", "2", "-1", "yess", "[true]", "ja", "nan", LONG),
    "choice": ("", "float16", "CUDA", "gpu", "cuda:0", "cpu,cuda", "mps", LONG),
    "text": ("", " ", "\t"),
}
"""By what an option takes. Text can be anything; a command's may not be blank."""

KINDS = {
    "int": "whole",
    "float": "number",
    "bool": "truth",
    "str": "text",
    "Device": "choice",
    "Literal": "choice",
}
OF_EVERY_RUN = {
    "max_minutes": "number",
    "guard": "truth",
    "device": "choice",
    "seed": "whole",
    "threads": "whole",
}


def kind_of(annotation):
    """What a keyword takes."""
    name = (
        str(annotation).replace("typing.", "").replace("Optional[", "").replace("<class '", "").split("[")[0]
    )
    return KINDS[name.split(" |")[0].rstrip("'>")]


def options():
    """(command, option) -> what it takes."""
    found = {("train", option): kind for option, kind in OF_EVERY_RUN.items()}
    found |= {("train", "num_steps"): "whole", ("train", "lr"): "number", ("train", "on"): "truth"}
    for name, command in COMMANDS.items():
        for option, parameter in inspect.signature(command).parameters.items():
            if parameter.annotation is Sampling:
                found |= {(name, field.name): kind_of(field.type) for field in fields(Sampling)}
            elif parameter.default is not parameter.empty:
                found[name, option] = kind_of(parameter.annotation)
    return found


WRONG = {
    f"{command} --{option.replace('_', '-')} {value[:9]!r}": (command, option, value)
    for (command, option), kind in options().items()
    for value in IMPOSSIBLE[kind]
}
TABLES = (WRONG,)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("options"), "images")


@pytest.mark.parametrize(("command", "option"), options())
def test_an_option_refuses_what_it_cannot_take(run, tmp_path, monkeypatch, capsys, command, option):
    monkeypatch.chdir(tmp_path)
    first = f"{run.parent}/my.py:points" if command == "train" else str(run)
    for name, whose, value in WRONG.values():
        if (name, whose) == (command, option):
            typed = f"--{option.replace('_', '-')}"
            told = refused([command, first, f"{typed}={value}"], "", capsys, watched=tmp_path)
            assert typed in told or "dynamics" in option, told
            refused([command, first, typed, value], "", capsys, watched=tmp_path)


def test_the_table_has_every_option_of_every_command():
    assert len({(command, option) for command, option, _ in WRONG.values()}) == len(options())
