"""The command line: `mango COMMAND ...`. Nothing heavy is imported before the command is known, so help is immediate.

What a user gave and cannot be used is one line on stderr and exit code 2; Ctrl-C is 130; a bug keeps its traceback.
"""

import difflib
import errno
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from mango.errors import InputError, check_utf8

INTERRUPTED = 130  # as shells report a process that Ctrl-C ended
FULL = "expected room to write, found a full disk; free some space or write somewhere else"
FORBIDDEN = "expected a file or folder that may be read, or written to, found no permission; ask its owner, or choose another place"
WORDS = {  # of what a user can mend, wherever it happens; every other OSError is a bug
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EACCES: FORBIDDEN,
    errno.EPERM: FORBIDDEN,
    errno.EROFS: FORBIDDEN,
}


@dataclass(frozen=True)
class Command:
    """One subcommand. ``function`` is "module:name"; its signature is the command's options."""

    summary: str
    function: str

    def load(self) -> Callable[..., int | None]:
        module, name = self.function.split(":")
        return getattr(import_module(module), name)


COMMANDS = {
    "demo": Command("train both stages on synthetic dialogues, generate and render one, write a report", "mango.app.commands:demo"),
    "data synthesize": Command("make synthetic dialogues with pictures, tracker-like labels and the truth", "mango.app.synthesizing:main"),
    "data import": Command("other people's recordings into a dialogue set, conventions checked", "mango.app.commands:import_data"),
    "data inspect": Command("say what a file or folder is, what is certain of it and what is assumed", "mango.app.commands:inspect"),
    "data merge": Command("several dialogue sets, such as films tracked one by one, as one", "mango.app.merging:main"),
    "data pack": Command("a dialogue set into WebDataset shards that training reads as they are", "mango.app.packing:main"),
    "data features": Command("what models hear of a set's voices, computed beforehand, and who speaks when", "mango.app.features:main"),
    "data validate": Command("list every problem of a dialogue set, with what to do", "mango.app.commands:validate"),
    "head convert": Command("ICT-FaceKit's or FLAME's head as a head file of this project", "mango.app.heads:convert"),
    "head inspect": Command("say what a head file is, and draw it", "mango.app.heads:inspect"),
    "assets get": Command("networks that find faces, for `mango track`", "mango.app.commands:get_assets"),
    "track": Command("films of faces into motion labels, cameras and mattes: a dialogue set", "mango.app.commands:track"),
    "generate": Command("two voices in, the motion of both people out", "mango.app.commands:generate"),
    "render": Command("two motions and two avatars in, one video with sound out", "mango.app.commands:render"),
    "export": Command("one person's motion in another program's format", "mango.app.commands:export"),
    "finetune": Command("fit a new person's avatar and adapt the motion model to them", "mango.app.finetuning:main"),
    "evaluate": Command("score a checkpoint or anybody's predictions, by our or published protocols", "mango.app.commands:evaluate"),
    "doctor": Command("say what is installed, what can run here, and why the rest cannot", "mango.app.commands:doctor"),
}


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return run(argv)
    except InputError as error:
        return complain(str(error), code=2)
    except KeyboardInterrupt:
        again = shlex.join(["mango", *argv])
        return complain(f"stopped by Ctrl-C; to go on, or begin anew, run the same command again: {again}", code=INTERRUPTED)
    except BrokenPipeError:  # `mango data validate DIR | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in WORDS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return complain(f"{where}{WORDS[error.errno]}", code=2)


def run(argv: list[str]) -> int:
    """Find the command in the first words and hand it the rest."""
    for word in argv:
        check_utf8(word)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if argv[0] == "--version":
        from importlib.metadata import version

        print(version("mango-heads"))
        return 0
    name = " ".join(argv[:2]) if argv[0] in GROUPS else argv[0]
    if name in GROUPS or name.split()[-1] in ("-h", "--help"):
        print(overview(prefix=argv[0]))
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        remedy = f"did you mean `mango {near[0]}`?" if near else "`mango --help` lists the commands"
        raise InputError("command line", expected="a command", found=repr(name), remedy=remedy)
    return call(name, argv[len(name.split()) :])


GROUPS = {name.split()[0] for name in COMMANDS if " " in name}


def call(name: str, arguments: list[str]) -> int:
    from mango.option_texts import parsed

    command = COMMANDS[name]
    description = command.summary[0].upper() + command.summary[1:] + "."
    code = parsed(command.load(), arguments, flags=True, prog=f"mango {name}", description=description)
    return code or 0


def overview(prefix: str = "") -> str:
    """One line per command."""
    shown = {name: command for name, command in COMMANDS.items() if name.startswith(prefix)}
    width = max(len(name) for name in shown)
    lines = [f"  {name:<{width}}   {command.summary}" for name, command in shown.items()]
    usage = f"usage: mango {prefix + ' ' if prefix else ''}COMMAND [options]"
    return "\n".join(
        [
            usage,
            "",
            "Two voices in, a talking and listening 3D dialogue out.",
            "",
            *lines,
            "",
            "`mango COMMAND --help` lists a command's options.",
        ]
    )


def complain(text: str, *, code: int) -> int:
    """One line, whatever the text holds."""
    print("mango: " + " ".join(text.split()), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
