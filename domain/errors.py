"""Errors that people see, each with the exit code of the command line (architecture section 11)."""

from __future__ import annotations


class FundwatchError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line returns.

    For example ``raise BadInput("orders/2026-08-31.jsonl line 7: amount_minor is not an integer")``.
    """

    exit_code = 5


class WrongUse(FundwatchError):
    """The command or function was called in a way it does not offer (exit code 2)."""

    exit_code = 2


class BadInput(FundwatchError):
    """A file, row or argument is not what its contract says (exit code 3)."""

    exit_code = 3


class ServiceMissing(FundwatchError):
    """A service needed for the work does not answer; trying again later may help (exit code 4)."""

    exit_code = 4


class Failed(FundwatchError):
    """The work was begun and could not be finished (exit code 5)."""

    exit_code = 5


class CheckFailed(FundwatchError):
    """The work is done and a check found a fault (exit code 10)."""

    exit_code = 10
