"""The one exception a user is meant to read."""


class UserError(ValueError):
    """Something the user can put right, in one line: what is wrong, where (file, key, value), and the fix.

    The command line prints it without a traceback and exits with status 2.
    """


class ConversionError(UserError, ValueError):
    """A network that cannot be mapped exactly; the message names the module and the reason."""
