"""File control and operators: a file that is gone on without is WAIVED, an accepted one never, and nothing else changes."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from ingest.control import waive
from ingest.records import ACCEPTED, MISSING, REFUSED, WAIVED, Expected, Verdict

DAY = date(2026, 8, 31)
_VERDICTS = st.builds(
    lambda kind, state, name: Verdict(DAY, "P01", "P01", kind, f"P01.{kind}{name}.csv.gz", state, "HASH", "another hash"),
    st.sampled_from(["orders", "postings", "balances"]),
    st.sampled_from([ACCEPTED, REFUSED, MISSING]),
    st.sampled_from(["", ".again"]),
)
_WAIVED = st.sets(st.sampled_from(["orders", "postings", "loans"]))


@given(st.lists(_VERDICTS, max_size=8), _WAIVED)
def test_exactly_the_waived_files_that_were_not_accepted_are_waived(verdicts: list[Verdict], kinds: set[str]) -> None:
    waived = {Expected(DAY, "P01", "P01", kind): "control 7 goes on without it" for kind in kinds}
    for before, after in zip(verdicts, waive(verdicts, waived), strict=True):
        is_the_file = before.file_name == f"P01.{before.file_kind}.csv.gz"
        if before.file_kind in kinds and is_the_file and before.state != ACCEPTED:
            assert (after.state, after.reason_code) == (WAIVED, "HASH")
            assert after.reason == "control 7 goes on without it (another hash)"
        else:
            assert after == before


def test_a_waiver_of_another_date_platform_or_sender_does_not_count() -> None:
    verdict = Verdict(DAY, "P01", "PC01", "channel", "P01.channel.csv.gz", MISSING, "MISSING", "it did not come")
    others = [
        Expected(date(2026, 8, 30), "PC01", "P01", "channel"),
        Expected(DAY, "PC02", "P01", "channel"),
        Expected(DAY, "PC01", "P02", "channel"),
        Expected(DAY, "PC01", "P01", "settlement"),
    ]
    assert waive([verdict], dict.fromkeys(others, "control 7")) == [verdict]
