"""migaki: make vision models work where labels are scarce."""

__version__ = "0.1.0"
