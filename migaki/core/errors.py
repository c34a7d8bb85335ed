"""The one exception that means: the user can mend this."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in the input. The message is one line: what is wrong with which file, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class UnfitPicture(UserError):
    """One picture cannot be worked on: the message is the end of a sentence that begins with its name."""


class NothingLeft(UserError):
    """What was asked for leaves no image: a study goes on without what would have been made of them."""
