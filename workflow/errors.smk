"""Errors of the workflow itself, a line each, which names a file and a line of it.

Once this was read, Snakemake prints nothing else in a run; an error that comes before, as of
`snakemake all` in the Snakefile, it tells in its own words.
"""

import logging
import sys
from pathlib import Path
from tokenize import TokenError

from snakemake.logging import ColorizingTextHandler, logger
from snakemake.parser import parse
from snakemake.settings.enums import Quietness
from snakemake.sourcecache import infer_source_file
from snakemake_interface_logger_plugins.common import LogEvent

QUIET = {Quietness.HOST, Quietness.REASON}
"""Set in the profiles. Where a user asks for other words of Snakemake, as by `--quiet host`, they
are those.
"""


TOLD = ("Nothing to be done", "Will exit after finishing", "Terminating processes")
"""How those of Snakemake's own words begin that the run does not say itself."""


class OneLine(logging.Formatter):
    """Puts what is said into one line."""

    def format(self, record):
        """Return the line."""
        line = " ".join(record.getMessage().split())
        return f"error: {line}" if is_error(record) else line


def is_error(record):
    """Whether an error ends the run, or a job."""
    return getattr(record, "event", None) == LogEvent.ERROR


def is_told(record):
    """Whether Snakemake says it; the run tells the rest itself."""
    return is_error(record) or record.getMessage().startswith(TOLD)


def check_syntax(path):
    """End the run where a file cannot be read: Snakemake names no file or another line then."""
    try:
        parse(infer_source_file(str(path)), workflow, linemap={})
    except SyntaxError as error:
        reason, line = error.msg, error.lineno
    except TokenError as error:
        reason, (line, _) = error.args
    else:
        return
    sys.exit(f'error: SyntaxError in file "{path}", line {line}: {reason}')


if workflow.output_settings.quiet == QUIET and not workflow.output_settings.dryrun:
    for handler in logger.handlers:
        if isinstance(handler, ColorizingTextHandler):
            handler.addFilter(is_told)
            handler.setFormatter(OneLine())
FOLDER = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
for path in (FOLDER.parent / "Snakefile", *sorted(FOLDER.rglob("*.smk"))):
    check_syntax(path)
