"""Errors of the workflow itself, a line each: `quiet: all` of the profiles hides them, too."""

import logging
import sys

from snakemake.logging import logger
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent


class OneLine(logging.Handler):
    """Prints an error that ends the run, or a job, as one line."""

    def emit(self, record):
        """Print the record of such an error; the run tells the rest itself."""
        if getattr(record, "event", None) == LogEvent.ERROR:
            print(f"error: {' '.join(record.getMessage().split())}", file=sys.stderr)


if Quietness.ALL in (workflow.output_settings.quiet or ()) and not workflow.dryrun:
    logger.addHandler(OneLine())
