"""`fundwatch ingest` from the shell: alone, without services; what it says and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CORPORA = Path(__file__).parent.parent / "data" / "statements"


def run(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """In an empty home: no database, no lake, nothing running."""
    command = [sys.executable, "-m", "fundwatch.cli", "ingest", "--as-of", "2026-09-01", *words]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"FUNDWATCH_HOME": str(home)},
        cwd=CORPORA.parents[2],
    )


def test_good_files_of_all_formats_are_found_by_their_content(tmp_path: Path) -> None:
    files = [
        "mt940/pages.sta",
        "mt942/intraday.sta",
        "camt/v02_batch.xml",
        "bai2/sample.bai",
        "ofx/v2_card.ofx",
        "csv/cn_daily_gbk_fen.txt",
    ]
    done = run(*(str(CORPORA / name) for name in files), "--json", home=tmp_path)
    said = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, said["ok"]) == (0, True), done.stderr
    assert [file["format"] for file in said["files"]] == ["mt940", "mt942", "camt", "bai2", "ofx", "cn_bank_daily"]
    assert list(tmp_path.iterdir()) == []


def test_something_refused_ends_with_ten_and_the_reason(tmp_path: Path) -> None:
    done = run(
        str(CORPORA / "mt940/refused_balance.sta"),
        str(CORPORA / "mt940/pages.sta"),
        "--out",
        str(tmp_path / "out"),
        home=tmp_path,
    )
    assert done.returncode == 10
    assert "REFUSED BALANCE: refused_balance.sta, line 7: " in done.stdout
    assert "ACCEPTED pages.sta (mt940): 2 entries" in done.stdout
    assert len(list((tmp_path / "out").glob("*/entries.parquet"))) == 1


def test_wrong_use_and_a_bad_layout_have_their_own_codes(tmp_path: Path) -> None:
    file = str(CORPORA / "mt940/pages.sta")
    (tmp_path / "l.yaml").write_text("layout: x", encoding="utf-8")
    assert run(file, "--format", "mt999", home=tmp_path).returncode == 2
    assert run(file, "--as-of", "2026-02-30", home=tmp_path).returncode == 2
    assert run(file, "--encoding", "klingon", home=tmp_path).returncode == 2
    assert run(file, "--layout", str(tmp_path / "l.yaml"), home=tmp_path).returncode == 3
