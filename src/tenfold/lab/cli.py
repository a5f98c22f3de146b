"""The command `tenfold`: no traceback ever reaches its user.

It imports only what a verb needs, so that `list` and `--help` answer at once.
"""

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib.util import find_spec

USAGE_ERROR, FAILED, INTERRUPTED = 2, 1, 130
_NEEDED = {"tyro": "tyro", "rich": "rich", "matplotlib": "matplotlib", "orbax": "orbax-checkpoint",
           "sklearn": "scikit-learn", "pooch": "pooch"}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the command."""
    missing = [package for name, package in _NEEDED.items() if find_spec(name) is None]
    if missing:
        _say(f"the command needs {', '.join(missing)}: pip install 'tenfold[lab]'")
        sys.exit(USAGE_ERROR)
    try:
        from tenfold.lab.verbs import dispatch

        code = dispatch(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience must not kill what is ending
        _say("interrupted")
        code = INTERRUPTED
    except BrokenPipeError:  # `tenfold list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        code = _explain(error)
    sys.exit(code)


def _say(line: str) -> None:
    print(f"tenfold: {line}", file=sys.stderr)


def _explain(error: Exception) -> int:
    """One line for every error; of those nobody foresaw the details are kept in a file."""
    line = " ".join(str(error).split()) or type(error).__name__
    if type(error).__module__.startswith("tenfold"):
        _say(line)
        return USAGE_ERROR if isinstance(error, ValueError) else FAILED
    if isinstance(error, ModuleNotFoundError):
        _say(f"the Python module {error.name} is missing")
        return FAILED
    if isinstance(error, OSError):
        name = f": {error.filename}" if error.filename else ""
        _say(f"{error.strerror or line}{name}")
        return FAILED
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="tenfold-", suffix=".log", delete=False
        ) as log:
            traceback.print_exception(error, file=log)
        details = f"; details in {log.name}"
    except OSError:
        details = ""
    _say(f"unexpected {type(error).__name__}: {line[:200]}{details}")
    return FAILED


if __name__ == "__main__":
    main()
