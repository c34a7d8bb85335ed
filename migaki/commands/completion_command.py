"""migaki completion bash|zsh"""

from __future__ import annotations

import contextlib
import importlib
import io
from pathlib import Path

from migaki.core.errors import UserError

ABOUT = "Print a script that lets a shell complete commands, names and options: eval \"$(migaki completion bash)\""

SHELLS = ("bash", "zsh")

# The script uses bash's `complete`, which zsh supports as well. It offers files where no word of migaki fits.
_SCRIPT = """\
{zsh}_migaki() {{
    local words="" place="${{COMP_WORDS[COMP_CWORD]}}"
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}} ${{COMP_WORDS[2]}}" in
{cases}
        esac
        if [ "$COMP_CWORD" -eq 2 ]; then
            case "${{COMP_WORDS[1]}}" in
{names}
            esac
        fi
    fi
    COMPREPLY=($(compgen -W "$words" -- "$place"))
}}
complete -o default -F _migaki migaki
"""


def run(words: list[str]) -> int:
    """Run the command."""
    if words[:1] == ["--help-names"]:
        print("\n".join(SHELLS))
        return 0
    if not words or {"-h", "--help", "--help-all"}.intersection(words):
        print(f"usage: migaki completion {'|'.join(SHELLS)}\n\n{ABOUT}")
        if not words:
            raise UserError(f"migaki completion: choose one: {', '.join(SHELLS)}")
        return 0
    if words[0] not in SHELLS or words[1:]:
        raise UserError(f"migaki completion {' '.join(words)}: give one of {', '.join(SHELLS)}")
    print(script(words[0]), end="")
    return 0


def script(shell: str) -> str:
    """Returns the completion script, built from the names and options that every command lists."""
    commands = sorted(path.stem.removesuffix("_command") for path in Path(__file__).parent.glob("*_command.py"))
    cases, names = [], [_case('"completion"', list(SHELLS))]
    for command in commands:
        found = _names(command) if command != "completion" else []
        if found and found[0].startswith("--"):
            cases.append(_case(f'"{command} "*', found))
        elif found:
            names.append(_case(f'"{command}"', [*found, "--help"]))
            cases += [_case(f'"{command} {name}"', _names(command, name)) for name in found]
    zsh = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return _SCRIPT.format(zsh=zsh, commands=" ".join(commands), cases="\n".join(cases), names="\n".join(names))


def _case(pattern: str, words: list[str]) -> str:
    return f'            {pattern}) words="{" ".join(words)}" ;;'


def _names(*words: str) -> list[str]:
    """Returns the words that may follow a command, as the command itself lists them."""
    command, *rest = words
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        importlib.import_module(f"migaki.commands.{command}_command").run([*rest, "--help-names"])
    return said.getvalue().split()
