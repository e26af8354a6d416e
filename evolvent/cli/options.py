"""Typed functions become options, and what is wrong with an option becomes one sentence.

An option may be written with hyphens or underscores: --num-steps is num_steps. A switch alone is true: --flip.
"""

import inspect
import re
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

import docstring_parser
from jsonargparse import ArgumentParser, Namespace

KIND = re.compile(
    r"Expected an? (?:<class '([\w.]+)'>|typing\.(\S+\[.*?\])|([\w.\[\], |]+?))(?=\. | - | Given|$)"
)
"""What jsonargparse says that it expected: a class, a construct of typing, or a name of its own."""
NOT_TYPED = ("NoneType", "dict")
"""Kinds that nobody types: the number of one stage is --num-steps.hidden."""
NESTED = re.compile(r"NestedArg\(key='(.*)', val='(.*)'\)")
OPTION = re.compile(r"--[A-Za-z][\w.-]*")


class Parser(ArgumentParser):
    """jsonargparse's parser, without abbreviations and without exits, and with hyphens in its help."""

    def __init__(self, prog: str | None = None, description: str | None = None, **more: Any) -> None:
        super().__init__(
            prog=prog, description=description, **{"exit_on_error": False, "allow_abbrev": False} | more
        )

    def format_help(self) -> str:
        return OPTION.sub(lambda option: hyphenated(option[0]), super().format_help())


def run_command(command: Callable[..., None], prog: str, words: Sequence[str]) -> None:
    """Call a command with the words' values; a keyword that is a dataclass takes its fields as options."""
    parser, groups = _parser(command, prog), _groups(command)
    values = parse(parser, words).as_dict()
    if blank := [name for name, value in values.items() if _is_blank(value)]:
        raise ValueError(f"{_as_typed(blank[0], parser)} is empty: give it a value, or leave it out")
    for name, group in groups.items():
        values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
    command(**values)


def _is_blank(value: object) -> bool:
    return (
        not value.strip()
        if isinstance(value, str)
        else isinstance(value, list) and any(map(_is_blank, value))
    )


def _groups(command: Callable[..., None]) -> dict[str, type]:
    """The keywords that are dataclasses."""
    parameters = inspect.signature(command).parameters.items()
    return {
        name: parameter.annotation for name, parameter in parameters if is_dataclass(parameter.annotation)
    }


def _many(command: Callable[..., None]) -> dict[str, str | None]:
    """The keywords that take as many words as are given, and what the docstring says of them."""
    told = {
        given.arg_name: given.description for given in docstring_parser.parse(inspect.getdoc(command)).params
    }
    parameters = inspect.signature(command).parameters.items()
    return {name: told.get(name) for name, parameter in parameters if parameter.annotation == list[str]}


@cache
def _parser(command: Callable[..., None], prog: str) -> Parser:
    """Built once, as a test calls a command a thousand times: it takes longer than to read the words."""
    groups, many = _groups(command), _many(command)
    parser = Parser(prog, inspect.getdoc(command).partition("\n\nArgs:")[0])
    for name, told in many.items():
        parser.add_argument(name, type=str, nargs="+", help=told)
    parser.add_function_arguments(command, as_group=False, as_positional=True, skip={*groups, *many})
    for group in groups.values():
        parser.add_class_arguments(group, as_group=False)
    return parser


def parse(parser: Parser, words: Sequence[str]) -> Namespace:
    """The words' values. ValueError, one sentence long, for whatever is wrong with them."""
    words = [_underscored(word) for word in words]
    followers = [*words[1:], "--"][: len(words)]
    try:
        return parser.parse_args([_switched_on(*pair, parser) for pair in zip(words, followers, strict=True)])
    except ArgumentError as error:
        raise ValueError(sentence(str(error), parser)) from error


def sentence(message: str, parser: Parser) -> str:
    """A parser's message as one sentence that names the option as it is typed and the way out."""
    if found := re.match(r"unrecognized arguments: (.*)", message, re.IGNORECASE):
        return _unknown(found[1].split()[0], parser)
    if found := re.match(r'Parser key "([\w.]+)"', message):
        return _wrong_value(found[1], message)
    if found := re.match(r"argument (--[\w.]+): expected one argument", message):
        return f"{hyphenated(found[1])} needs a value"
    if found := re.match(r'(?:Key "|the following arguments are required: )([\w.]+)', message):
        return f"{_as_typed(found[1], parser)} is missing (`{parser.prog} --help` says what it is)"
    return " ".join(message.split())


def _unknown(word: str, parser: Parser) -> str:
    if not word.startswith("--"):
        place = ": a recipe comes right after train" if " train" in parser.prog else ""
        return f'"{word}" has no place here{place} (`{parser.prog} --help` shows what has)'
    option = hyphenated(word.partition("=")[0])
    known = [hyphenated(name) for name in parser._option_string_actions if name[:2] == "--"]
    close = get_close_matches(option, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{parser.prog} has no option {option}{hint} (`{parser.prog} --help` lists them)"


def _wrong_value(key: str, message: str) -> str:
    flat = " ".join(message.split())
    kinds = KIND.findall(flat)
    value = re.search(r".*(?:Got|Given) value:(.*)$", flat)
    if not kinds or not value:
        return flat
    names = [next(part for part in kind if part) for kind in kinds]
    named = " or ".join(_kind(name) for name in dict.fromkeys(names) if name not in NOT_TYPED)
    given = value[1].strip()
    if nested := NESTED.fullmatch(given):
        key, given = f"{key}.{nested[1]}", nested[2]
    return f'{hyphenated("--" + key)} takes {named}, not "{given}"'


def _kind(name: str) -> str:
    if choices := re.match(r"Literal\[(.*)\]", name):
        return f"one of {choices[1]}"
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    return words.get(name, f"a {name}")


def _as_typed(name: str, parser: Parser) -> str:
    """A keyword as it is typed: an option with its hyphens, what comes first by its name alone."""
    return hyphenated(f"--{name}") if f"--{name}" in parser._option_string_actions else f"the {name}"


def hyphenated(option: str) -> str:
    """--num_steps as a person writes it."""
    return option.replace("_", "-")


def _switched_on(word: str, next_word: str, parser: Parser) -> str:
    """--flip as --flip=true where no value follows; anything else stays as it is."""
    is_switch = getattr(parser._option_string_actions.get(word), "_typehint", None) is bool
    return f"{word}=true" if is_switch and next_word.startswith("--") else word


def _underscored(word: str) -> str:
    """--num-steps=3 as --num_steps=3; anything that is no option stays as it is."""
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if OPTION.fullmatch(name) else word
