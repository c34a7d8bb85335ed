"""The exceptions for errors that the user can correct, and for work that was asked to stop."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in the input. The message is one line: what is wrong with which file, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class UnfitPicture(UserError):
    """One picture cannot be processed. The message completes a sentence that begins with the name of the picture."""


class NothingLeft(UserError):
    """The request leaves no image. A study continues without the results that depend on these images."""


class Interrupted(Exception):
    """Work was asked to stop (SIGINT, SIGTERM), and all that is done is written; the message says how to go on."""
