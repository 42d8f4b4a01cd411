"""The options of commands and training scripts, by tyro; what they say stands beside what they are: in docstrings and in comments.

A field of a config is described by the comments of its own statement, and by those right above it:

    batch: int = 32  # windows of both people
    effort: Literal[
        "quick",  # an avatar alone
        "best",
    ] = "best"

Tyro goes by lines: it gave a comment above a field to the next field too, and none of these to ``effort``.
"""

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeVar, get_type_hints

Made = TypeVar("Made")
TO_TOOLS = ("# fmt:", "# noqa", "# type:")
OFF = "False: "  # begins the text of a switch that is on: what its absence means


def parsed(what: Callable[..., Made], arguments: Sequence[str], *, flags: bool, **more: Any) -> Made:
    """Call ``what``, a function or a config's class, with what the command line says. With ``flags`` a bool is --name or --no-name,
    and options have dashes; without, it is --name True or False, and they are spelt as the fields are. ``more`` is tyro's.
    """
    import tyro

    as_options = tyro.conf.FlagCreatePairsOff if flags else tyro.conf.FlagConversionOff
    # AvoidSubcommands: or tyro would offer subcommands for optional nested configs
    markers = (as_options, tyro.conf.AvoidSubcommands, tyro.conf.PositionalMetavarFromFieldName)
    registry = tyro.constructors.ConstructorRegistry()
    registry.struct_rule(lambda info: _fields(info, flags))
    return tyro.cli(what, args=list(arguments), config=markers, registry=registry, use_underscores=not flags, **more)


@lru_cache
def field_texts(config: type) -> dict[str, str]:
    """What the comments say of a dataclass's fields, by name; of the fields that have any."""
    source = textwrap.dedent(inspect.getsource(config))
    comments, code = {}, set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if not token.string.startswith(TO_TOOLS):
                comments[token.start[0]] = token.string.lstrip("#: ")
        elif token.string.strip():
            code.update(range(token.start[0], token.end[0] + 1))
    texts = {}
    for statement in ast.parse(source).body[0].body:
        if isinstance(statement, ast.AnnAssign):
            above, line = [], statement.lineno - 1
            while line in comments and line not in code:
                above.insert(0, comments[line])
                line -= 1
            text = " ".join([*above, *_of_statement(statement, comments)])
            if text:
                texts[statement.target.id] = text
    return texts


def _of_statement(statement: ast.AnnAssign, comments: dict[int, str]) -> list[str]:
    """Comments of its lines. On a choice's own line they are about that choice."""
    choices: dict[int, list[str]] = {}
    if statement.annotation.lineno != statement.annotation.end_lineno:
        for node in ast.walk(statement.annotation):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                choices.setdefault(node.lineno, []).append(node.value)
    lines = [line for line in range(statement.lineno, statement.end_lineno + 1) if line in comments]
    told = "; ".join(f"{', '.join(choices[line])}: {comments[line]}" for line in lines if line in choices)
    return [*(comments[line] for line in lines if line not in choices), *([told] if told else [])]


def _fields(info: Any, flags: bool) -> Any:
    """A dataclass as tyro is to see it; None for everything else."""
    import tyro
    from tyro.constructors import StructConstructorSpec, StructFieldSpec

    config = info.type
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        return None
    kinds, texts, fields = get_type_hints(config, include_extras=True), field_texts(config), []
    for field in dataclasses.fields(config):
        if not field.init:
            continue
        kind, text, default = kinds[field.name], texts.get(field.name), _default(field, info.default)
        if flags and kind is bool and default is True and text and text.startswith(OFF):
            kind, text = Annotated[bool, tyro.conf.arg(help_behavior_hint="")], text.removeprefix(OFF)
        fields.append(StructFieldSpec(name=field.name, type=kind, default=default, helptext=text))
    return StructConstructorSpec(instantiate=config, fields=tuple(fields))


def _default(field: dataclasses.Field, of: Any) -> Any:
    """The config's own, where there is one."""
    from tyro import MISSING

    if dataclasses.is_dataclass(of) and not isinstance(of, type):
        return getattr(of, field.name)
    if field.default is not dataclasses.MISSING:
        return field.default
    return MISSING if field.default_factory is dataclasses.MISSING else field.default_factory()
