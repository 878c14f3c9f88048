"""Main: what does a call on the command line load?

The files of the command that it names, and for `--help` nothing: the help is kept in a file, which
a test compares with what would be printed.
"""

import gc
import os
import sys

#: Objects made before the collector looks for cycles: at Python's 700 it looks a thousand times
#: while modules load, a third of the time of a start.
_COLLECT_AFTER = 50_000
#: Columns that the kept help takes.
_COLUMNS = 80


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["--help"] and (text := _kept_help()):
        sys.stdout.write(text)
        return
    gc.set_threshold(_COLLECT_AFTER)
    from horizon_bo.cli.app import FILES, application

    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    files = [file for file, commands in FILES.items() if asked in commands]
    application(tuple(files or FILES))(prog_name="horizon-bo")


def _kept_help() -> str:
    """The help as it is printed in a terminal of the usual width, or nothing in a narrower one."""
    if sys.stdout.isatty() and os.get_terminal_size().columns < _COLUMNS:
        return ""
    path = os.path.join(os.path.dirname(__file__), "help.txt")
    with open(path, encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    main()
