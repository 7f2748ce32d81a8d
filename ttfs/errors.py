"""The one exception that is meant for users."""


class UserError(ValueError):
    """An error that the user can correct, in one line: fault, place (file, key, value) and fix.

    The command line prints it without a traceback and exits with status 2.
    """


class ConversionError(UserError, ValueError):
    """A network that cannot be mapped exactly; the message names the module and the reason."""
