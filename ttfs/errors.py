"""The one exception a user is meant to read."""


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, where (file, key, value) and the cure.

    The command line prints it without a traceback and exits with status 2.
    """


class ConversionError(UserError, ValueError):
    """A network that cannot be mapped exactly; the message names the module and the reason."""
