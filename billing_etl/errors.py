"""One error tree; the class says what can be done about it.

Every message is one line for people: source, window, what was expected, what came, the remedy.
Details go to the log. No message carries a token, a key or an email address.
"""


class BillingError(Exception):
    """Base of every error that this project raises on purpose. Exit code 1."""


class UsageError(BillingError):
    """Bad usage or configuration: a person has to change something first. Exit code 2."""


class RetryableError(BillingError):
    """The same call may succeed later: network, overload, a lock held by another run."""


class TerminalError(BillingError):
    """The same call will fail again until the other side, or a setting, changes."""


class ArchivedError(TerminalError):
    """What was asked for is archived: it cannot be done, and is not tried again."""


class MismatchError(TerminalError):
    """Two things that must be equal are not: a node, a digest, a total, a delivered object."""
