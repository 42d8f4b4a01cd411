"""Strict YAML -> frozen dataclasses -> typed overrides on the command line. Defaults live in the dataclasses and nowhere else."""

import dataclasses
import difflib
import hashlib
import json
import math
import re
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from mango.errors import InputError
from mango.option_texts import parsed

Config = TypeVar("Config")


class StrictLoader(yaml.SafeLoader):
    """YAML in which ``1e-4`` is a number (YAML 1.1 reads it as text) and a key given twice is an error."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = sorted({str(key) for key in keys if keys.count(key) > 1})
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} is given twice", node.start_mark)
    return dict(zip(keys, (loader.construct_object(value, deep=True) for _, value in node.value), strict=True))


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789."))


def load_config(cls: type[Config], path: Path | str) -> Config:
    """The dataclass with the differences that a YAML file states."""
    values = load_plain(path)
    return from_plain(cls, {} if values is None else values, where=str(path))


def load_plain(path: Path | str) -> Any:
    """The nested plain values of a YAML file."""
    path = Path(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, expected="a YAML file", found=_reason(error), remedy="check the path") from error
    try:
        return yaml.load(text, StrictLoader)  # a SafeLoader: plain values only
    except yaml.YAMLError as error:
        raise InputError(path, expected="valid YAML", found=" ".join(str(error).split()), remedy="correct that line") from error


def parse_command_line(cls: type[Config], argv: Sequence[str] | None = None) -> Config:
    """``SCRIPT config.yaml [--a.b value ...]``: the file's config with typed overrides."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0].startswith("-"):
        if argv and argv[0] in ("-h", "--help"):
            print("usage: SCRIPT config.yaml [--field value ...]; the fields and their defaults follow\n")
            _override(cls, cls(), ["--help"])
        raise InputError(
            "command line",
            expected="a config file first",
            found=repr(argv[0]) if argv else "no arguments",
            remedy="write: SCRIPT configs/NAME.yaml [--field value ...]",
        )
    return _override(cls, load_config(cls, argv[0]), argv[1:])


def _override(cls: type[Config], config: Config, argv: Sequence[str]) -> Config:
    return parsed(cls, argv, flags=False, default=config)


def from_plain(cls: type[Config], values: Any, *, where: str, key: str = "", base: Config | None = None) -> Config:
    """A dataclass from nested plain values; ``key`` is the dotted path used in errors. What is not said is as in ``base``, or default.

    A class whose fields have changed may have a static method ``renewed``: values as earlier versions wrote them -> as they are now.
    """
    if not isinstance(values, dict):
        raise InputError(where, expected=f"a mapping for {key or cls.__name__}", found=_shown(values), remedy="write 'field: value' lines")
    values = cls.renewed(values) if hasattr(cls, "renewed") else values
    kinds = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    known = list(fields)
    for name in values:
        if name not in known:
            raise InputError(
                where, expected=f"fields of {cls.__name__}", found=f"unknown key '{_join(key, name)}'", remedy=_nearest(name, known)
            )
    defaults = {name: _default(fields[name]) if base is None else getattr(base, name) for name in values}
    arguments = {name: _convert(kinds[name], value, where, _join(key, name), defaults[name]) for name, value in values.items()}
    try:
        return cls(**arguments) if base is None else dataclasses.replace(base, **arguments)
    except TypeError as error:  # a field without default is missing
        raise InputError(where, expected=f"every required field of {key or cls.__name__}", found=str(error), remedy="add it") from error
    except InputError as error:  # of the class itself, which does not know whose field it is
        told = {"expected": error.expected, "found": error.found, "remedy": error.remedy}
        raise InputError(f"{where}, {_join(key, error.where)}", **told) from error
    except ValueError as error:  # of a class that knows nothing of ours, as the renderer's
        raise InputError(f"{where}, {key}", expected="values that fit", found=str(error), remedy="correct them") from error


def check_ranges(config: Any, **ranges: str) -> None:
    """For a config's ``__post_init__``. Ranges are written as in mathematics: "[0, 1)", "(0, inf)". None is in every range.

    Errors: InputError for a field, or a number of a list, that lies outside.
    """
    for name, interval in ranges.items():
        low, high = (float(end) for end in interval[1:-1].split(","))
        value = getattr(config, name)
        numbers = [number for number in (value if isinstance(value, tuple) else (value,)) if number is not None]
        enough = [low < number or (number == low and interval[0] == "[") for number in numbers]
        bounded = [number < high or (number == high and interval[-1] == "]") for number in numbers]
        if not all(enough + bounded):
            least = f"{'at least' if interval[0] == '[' else 'above'} {low:g}"
            most = f", {'at most' if interval[-1] == ']' else 'below'} {high:g}" if high < math.inf else ""
            raise InputError(name, expected=least + most, found=str(value), remedy="correct the value")


def to_plain(config: Any) -> Any:
    """Nested plain values (YAML, JSON) of a config."""
    if dataclasses.is_dataclass(config):
        return {field.name: to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {name: to_plain(value) for name, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def save_config(config: Any, path: Path) -> None:
    """The resolved config: every field, defaults included."""
    path.write_text(yaml.safe_dump(to_plain(config), sort_keys=False))


def config_digest(config: Any) -> str:
    return hashlib.sha256(json.dumps(to_plain(config), sort_keys=True).encode()).hexdigest()


def changed_fields(before: Any, after: Any, key: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted name -> (before, after) of every field that differs between two configs in plain values."""
    if isinstance(before, dict) and isinstance(after, dict):
        changes: dict[str, tuple[Any, Any]] = {}
        for name in before | after:
            changes |= changed_fields(before.get(name), after.get(name), _join(key, name))
        return changes
    return {} if before == after else {key: (before, after)}


def _default(field: dataclasses.Field) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _convert(kind: Any, value: Any, where: str, key: str, default: Any = None) -> Any:
    """``default``: what a nested config that is given in part is otherwise: its owner's, which may not be that of its class."""
    origin, options = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return from_plain(kind, value, where=where, key=key, base=default if isinstance(default, kind) else None)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        rest = [option for option in options if option is not type(None)]
        assert len(rest) == 1, f"{key}: configs use optional fields, no other unions"
        return _convert(rest[0], value, where, key, default)
    if origin is Literal:
        if value not in options:
            raise _wrong(where, key, " or ".join(repr(option) for option in options), value)
        return value
    if origin in (tuple, list):
        if not isinstance(value, (list, tuple)):
            raise _wrong(where, key, "a list", value)
        if origin is tuple and options[-1] is not Ellipsis:
            if len(options) != len(value):
                raise _wrong(where, key, f"{len(options)} values", value)
            return tuple(_convert(option, item, where, f"{key}[{i}]") for i, (option, item) in enumerate(zip(options, value, strict=True)))
        return origin(_convert(options[0], item, where, f"{key}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(where, key, "a mapping", value)
        return {name: _convert(options[1], item, where, _join(key, name)) for name, item in value.items()}
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if kind in (int, float, str, bool) and type(value) is kind:  # type(): a bool is not an int here
        return value
    raise _wrong(where, key, {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}[kind], value)


def _wrong(where: str, key: str, expected: str, value: Any) -> InputError:
    return InputError(where, expected=f"{expected} for '{key}'", found=_shown(value), remedy="correct the value")


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"


def _nearest(name: Any, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"the fields are {', '.join(known)}"


def _join(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "a file that is not text"
