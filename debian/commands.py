"""
What the package's manual pages and completions are made from: the program's own command line.

    commands.py list | help [COMMAND] | completion bash|zsh
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from passproxy.cli import command_line

parser = command_line()
(commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))

match sys.argv[1:]:
    case ["list"]:
        sys.stdout.write(" ".join(commands.choices) + "\n")
    case ["help"]:
        sys.stdout.write("single sign-on in front of any web application\n")
    case ["help", name]:
        (found,) = (choice.help for choice in commands._choices_actions if choice.dest == name)
        sys.stdout.write(f"{found}\n")
    case ["completion", shell]:
        import shtab

        for each in commands.choices.values():
            for action in each._actions:
                if action.dest == "file":
                    action.complete = shtab.FILE
                if not isinstance(action, argparse._SubParsersAction) and action.choices:
                    # shtab takes a mapping for commands.
                    action.choices = list(action.choices)
        sys.stdout.write(shtab.complete(parser, shell=shell))
