"""Each adapter against a stub server: what it sends is what its schema says, signed, and every misbehaviour has its verdict."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from transactional.outside import calls, notices, signing
from transactional.outside.core_banking import CoreBanking
from transactional.outside.mail import Mail
from transactional.outside.messages import SCHEMAS, fault
from transactional.outside.outreach import Outreach
from transactional.outside.reporting import Reporting
from transactional.outside.sms import Sms
from transactional.outside.stub import HttpStub, SmtpStub
from transactional.outside.verdict import Dead, Delivered, Delivery, Retry, Target, Wait

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 8, 31, 12, 0, tzinfo=ZONE)
INSTRUCTION = {
    "instruction_no": "PI-7",
    "kind": "PAYOUT",
    "platform_id": "P01",
    "order_id": 7,
    "account_no": "P01-L-000001",
    "method": "WITHDRAW",
    "currency": "CNY",
    "amount_minor": 12_345,
}


@pytest.fixture
def stub() -> Iterator[HttpStub]:
    with HttpStub() as running:
        yield running


def _delivery(topic: str = "order.posted", payload: Any = None, subject: str = "P01-L-000001") -> Delivery:
    return Delivery(1, 41, 2, topic, "P01", subject, payload or {"order_id": 7}, NOON)


def _target(endpoint: str, **settings: Any) -> Target:
    return Target("t", "outreach", endpoint, ["new key", "old key"], {"timeout_s": 0.5, **settings})


def test_a_webhook_is_what_its_schema_says_and_either_of_two_keys_verifies_it(stub: HttpStub) -> None:
    payload = {"order_id": 7, "id_hash": "ab" * 32, "parties": [{"name_masked": "L*", "share_minor": 5}]}
    assert Outreach().deliver(_delivery(payload=payload), _target(stub.url + "/hook")) == Delivered("HTTP 200")
    (heard,) = stub.heard
    document = json.loads(heard.body)
    assert fault(heard.headers["fundwatch-schema"], document) is None
    assert document["data"] == {"order_id": 7, "parties": [{"share_minor": 5}]}
    assert document["id"] == heard.headers["webhook-id"] == "evt_41_2"
    for keys in (["new key"], ["old key"], ["other", "old key"]):
        assert signing.verify(keys, heard.headers, heard.body, time.time()) == "evt_41_2"
    assert signing.verify(["other"], heard.headers, heard.body, time.time()) is None
    assert signing.verify(["new key"], heard.headers, heard.body + b" ", time.time()) is None
    assert signing.verify(["new key"], heard.headers, heard.body, time.time() + 301) is None
    assert signing.verify(["new key"], {**heard.headers, "webhook-id": "evt_42_0"}, heard.body, time.time()) is None
    assert signing.verify(["new key"], {}, heard.body, time.time()) is None


@pytest.mark.parametrize("word", ["500", "reset", "hang", "garbage", "drip"])
def test_what_may_pass_is_tried_again_within_the_time_limit(stub: HttpStub, word: Any) -> None:
    stub.faults.append(word)
    begun = time.monotonic()
    verdict = Outreach().deliver(_delivery(), _target(stub.url))
    assert isinstance(verdict, Retry) and verdict.after_s is None
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("word", ["429", "503"])
def test_a_receiver_that_asks_for_time_gets_it(stub: HttpStub, word: Any) -> None:
    stub.faults.append(word)
    stub.retry_after_s = 77
    assert Outreach().deliver(_delivery(), _target(stub.url)) == Retry(f"HTTP {word}", 77.0)


def test_a_refusal_is_dead_and_a_redirect_is_not_followed(stub: HttpStub) -> None:
    stub.faults.extend(("400", "redirect"))
    assert Outreach().deliver(_delivery(), _target(stub.url)) == Dead("HTTP 400")
    assert Outreach().deliver(_delivery(), _target(stub.url)) == Dead("HTTP 307")
    assert [heard.path for heard in stub.heard] == ["/", "/"]


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://127.0.0.2/",
        "https://10.1.2.3/",
        "https://169.254.169.254/",
        "https://[::1]/",
        "https://0.0.0.0/",
        "http://192.0.2.1/",
    ],
)
def test_an_address_inside_is_not_spoken_to(endpoint: str) -> None:
    assert isinstance(Outreach().deliver(_delivery(), _target(endpoint)), Dead)


def test_a_private_network_is_spoken_to_when_its_target_says_so_but_never_link_local() -> None:
    assert calls.allowed_address("10.1.2.3", 443, private_allowed=True) == "10.1.2.3"
    with pytest.raises(calls.NotAllowed):
        calls.allowed_address("169.254.169.254", 443, private_allowed=True)


def test_core_banking_is_sent_instructions_alone_and_only_whole_ones(stub: HttpStub) -> None:
    target = _target(stub.url)
    assert isinstance(CoreBanking().deliver(_delivery("payment.created", INSTRUCTION), target), Delivered)
    assert fault("payment_instruction.v1", json.loads(stub.heard[0].body)) is None
    for payload in ({**INSTRUCTION, "amount_minor": 1.5}, {**INSTRUCTION, "amount_minor": 0}, {**INSTRUCTION, "more": 1}):
        assert isinstance(CoreBanking().deliver(_delivery("payment.created", payload), target), Dead)
    assert isinstance(CoreBanking().deliver(_delivery("order.posted"), target), Dead)
    assert len(stub.heard) == 1


@pytest.mark.parametrize(
    ("language", "text"), [("zh", "您尾号****0001账户的提现 123.45 CNY 未成功"), ("en", "withdrawal of 123.45 CNY")]
)
def test_a_text_message_is_masked_and_in_its_language(stub: HttpStub, language: str, text: str) -> None:
    target = _target(stub.url, language=language)
    assert isinstance(Sms(lambda: NOON, ZONE).deliver(_delivery("withdrawal.failed", INSTRUCTION), target), Delivered)
    document = json.loads(stub.heard[0].body)
    assert fault("sms.v1", document) is None
    assert text in document["text"] and "P01-L" not in document["text"]


def test_nobody_is_woken_and_the_wait_counts_as_no_try(stub: HttpStub) -> None:
    target = _target(stub.url, quiet_from="21:30", quiet_to="08:00")
    for hour, minute, wait_h in ((21, 30, 10.5), (23, 0, 9.0), (7, 30, 0.5)):
        at = datetime(2026, 8, 31, hour, minute, tzinfo=ZONE).astimezone(UTC)
        for adapter in (Sms(lambda at=at: at, ZONE), Mail(lambda at=at: at, ZONE)):  # type: ignore[misc]
            assert adapter.deliver(_delivery("withdrawal.failed", INSTRUCTION), target) == Wait("quiet hours", wait_h * 3600)
    assert stub.heard == []
    assert notices.quiet_s(datetime(2026, 8, 31, 8, 0, tzinfo=ZONE), target, ZONE) == 0


def test_a_notice_without_template_or_field_is_dead(stub: HttpStub) -> None:
    sms = Sms(lambda: NOON, ZONE)
    assert sms.deliver(_delivery("order.posted"), _target(stub.url)) == Dead("there is no template for order.posted")
    assert sms.deliver(_delivery("withdrawal.failed", {"account_no": "A"}), _target(stub.url)) == Dead(
        "the event has no amount_minor"
    )
    assert stub.heard == []


def test_every_template_uses_exactly_its_fields_in_both_languages() -> None:
    for template in notices.templates().values():
        for language in ("zh", "en"):
            assert notices.fields_used(template[f"text_{language}"]) == set(template["fields"]), template["topic"]
            assert template[f"title_{language}"]


def test_a_mail_goes_through_the_relay_and_its_answers_decide() -> None:
    with SmtpStub() as relay:
        relay.answers.extend(("250 ok", "451 later", "550 nobody"))
        mail, delivery = Mail(lambda: NOON, ZONE), _delivery("withdrawal.failed", INSTRUCTION)
        verdicts = [mail.deliver(delivery, _target(relay.url)) for _ in range(3)]
    assert verdicts == [Delivered("SMTP 250"), Retry("SMTP 451 later"), Dead("SMTP 550 nobody")]
    message = email.message_from_bytes(relay.messages[0], policy=email.policy.default)
    assert message["Message-ID"] == "<evt_41_2@customers.invalid>"
    assert message["To"] == "P01-L-000001@customers.invalid"
    assert "****0001" in message.get_content() and message["Subject"] == "提现未成功"


def test_a_mail_without_a_relay_waits_and_a_subject_with_a_line_break_is_dead() -> None:
    mail = Mail(lambda: NOON, ZONE)
    with SmtpStub() as relay:
        endpoint = relay.url
    assert isinstance(mail.deliver(_delivery("withdrawal.failed", INSTRUCTION), _target(endpoint)), Retry)
    assert isinstance(mail.deliver(_delivery("withdrawal.failed", INSTRUCTION, "a\r\nBcc: b"), _target(endpoint)), Dead)


def _bundle(root: Path) -> dict[str, str]:
    folder = root / "CN_2017" / "P01" / "v1"
    (folder / "rows").mkdir(parents=True)
    for name in ("figures.json", "rows/loans.csv", "manifest.json.sig", "manifest.json"):
        (folder / name).write_text(f"content of {name}", encoding="utf-8")
    return {"folder": "CN_2017/P01/v1", "manifest_sha256": hashlib.sha256(b"content of manifest.json").hexdigest()}


def test_a_bundle_is_handed_over_with_its_signature_last(stub: HttpStub, tmp_path: Path) -> None:
    payload = _bundle(tmp_path)
    verdict = Reporting(tmp_path).deliver(_delivery("report.released", payload), _target(stub.url + "/drop"))
    assert verdict == Delivered("4 files")
    paths = [heard.path.removeprefix("/drop/CN_2017/P01/v1/") for heard in stub.heard]
    assert paths == ["figures.json", "rows/loans.csv", "manifest.json", "manifest.json.sig"]
    assert all(hashlib.sha256(heard.body).hexdigest() == heard.headers["fundwatch-sha256"] for heard in stub.heard)


def test_a_bundle_stops_at_the_first_fault_and_is_refused_when_it_is_another(stub: HttpStub, tmp_path: Path) -> None:
    payload = _bundle(tmp_path)
    stub.judge = lambda heard: "500" if heard.path.endswith("manifest.json") else None
    assert isinstance(Reporting(tmp_path).deliver(_delivery("report.released", payload), _target(stub.url)), Retry)
    assert not any(heard.path.endswith(".sig") for heard in stub.heard)
    heard = len(stub.heard)
    for other in (
        {**payload, "manifest_sha256": "0" * 64},
        {**payload, "folder": "CN_2017/../../etc"},
        {**payload, "folder": "CN_2017"},
    ):
        assert isinstance(Reporting(tmp_path).deliver(_delivery("report.released", other), _target(stub.url)), Dead)
    assert len(stub.heard) == heard


def test_every_schema_is_one_and_refuses_an_empty_document() -> None:
    for path in SCHEMAS.glob("*.json"):
        assert fault(path.stem, {}) is not None


@pytest.mark.parametrize(("value", "seconds"), [("0", 0.0), ("99999999", 86_400.0), ("-1", None), ("soon", None)])
def test_a_wait_that_is_asked_for_has_a_limit(value: str, seconds: float | None) -> None:
    assert calls.retry_after_s(value) == seconds


def test_a_wait_may_be_asked_for_as_a_date() -> None:
    assert calls.retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
