"""The exception that is meant for users, and how a command tells it."""

import errno
import os
import sys
from collections.abc import Callable


class UserError(ValueError):
    """An error that the user can correct, in one line: fault, place (file, key, value) and fix.

    The command line prints it without a traceback and exits with status 2. Line breaks of what it
    quotes become spaces.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))


class ConversionError(UserError):
    """A network that cannot be mapped exactly; the message names the module and the reason."""


def guarded(work: Callable[[], int]) -> int:
    """Do the work and return its exit status; an error for the user becomes one line."""
    try:
        return work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "ttfs").startswith("ttfs"):
            raise
        print(
            f"error: {error.name} is not installed; the workflow needs the packages of "
            "pip install 'ttfs[bench]'",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        print(f"error: {str(error.filename)[:60]}…: too long for a file's name", file=sys.stderr)
        return 2
