"""`fundwatch ledger verify`: recompute everything derived from the movements and compare, both ways (architecture section 6.6).

Each check is a query that returns the rows at fault; the movements and the chain over them are the only things believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from domain.errors import ServiceMissing

FAULTS_SHOWN_MAX = 20


@dataclass(frozen=True)
class Fault:
    """One row that is not what the movements say."""

    check: str
    row: str
    what: str


_EXPECTED_ENTRIES = """
expected AS (
    SELECT account_id, row_number() OVER w AS account_version, movement_id, amount_minor,
           sum(amount_minor) OVER w AS balance_after_minor
    FROM (SELECT movement_id, 1 AS side, debit_account_id AS account_id, -amount_minor AS amount_minor FROM ledger.movement
          UNION ALL SELECT movement_id, 2, credit_account_id, amount_minor FROM ledger.movement) line
    WINDOW w AS (PARTITION BY account_id ORDER BY movement_id, side ROWS UNBOUNDED PRECEDING))"""

CHECKS: dict[str, str] = {
    "movement belongs to its order": """
SELECT 'movement ' || m.movement_id, 'its order, currency, dates or accounts are not those of the order and the registry'
FROM ledger.movement m LEFT JOIN ledger.trade_order o USING (order_id)
LEFT JOIN registry.account d ON d.account_id = m.debit_account_id
LEFT JOIN registry.account c ON c.account_id = m.credit_account_id
WHERE (m.currency, m.effective_at, m.recorded_at, m.business_date, o.platform_id, o.platform_id, m.currency, m.currency)
   IS DISTINCT FROM
      (o.currency, o.effective_at, o.recorded_at, o.business_date, d.platform_id, c.platform_id, d.currency, c.currency)
ORDER BY m.movement_id""",
    "order is the sum of its parts": """
WITH moved AS (SELECT order_id, sum(amount_minor) AS amount, count(*) AS movements, max(seq) AS last_seq
               FROM ledger.movement GROUP BY order_id),
placed AS (SELECT order_id, sum(amount_minor) AS amount FROM ledger.hold_event WHERE event_type = 'PLACE' GROUP BY order_id)
SELECT 'order ' || o.order_id,
       format('amount is %s, movements and holds add up to %s', o.amount_minor, coalesce(m.amount, 0) + coalesce(p.amount, 0))
FROM ledger.trade_order o LEFT JOIN moved m USING (order_id) LEFT JOIN placed p USING (order_id)
WHERE o.amount_minor <> coalesce(m.amount, 0) + coalesce(p.amount, 0) OR m.last_seq <> m.movements ORDER BY o.order_id""",
    "movement is allowed": """
SELECT 'movement ' || m.movement_id, format('%s from %s to %s is not in the law', m.movement_type, d.account_role, c.account_role)
FROM ledger.movement m JOIN registry.account d ON d.account_id = m.debit_account_id
JOIN registry.account c ON c.account_id = m.credit_account_id
WHERE NOT EXISTS (SELECT FROM ledger.allowed_movement a WHERE a.movement_type = m.movement_type
  AND (a.debit_role, a.credit_role) = (CASE WHEN m.reversal_of IS NULL THEN d.account_role ELSE c.account_role END,
                                       CASE WHEN m.reversal_of IS NULL THEN c.account_role ELSE d.account_role END))
ORDER BY m.movement_id""",
    "reversal mirrors its original": """
SELECT 'movement ' || m.movement_id, format('is not movement %s with the accounts swapped', m.reversal_of)
FROM ledger.movement m JOIN ledger.trade_order o USING (order_id) LEFT JOIN ledger.movement r ON r.movement_id = m.reversal_of
WHERE (m.reversal_of IS NULL) <> (o.reverses_order_id IS NULL) OR (m.reversal_of IS NOT NULL AND
  (m.movement_type, m.amount_minor, m.debit_account_id, m.credit_account_id, o.reverses_order_id)
  IS DISTINCT FROM (r.movement_type, r.amount_minor, r.credit_account_id, r.debit_account_id, r.order_id))
ORDER BY m.movement_id""",
    "entries follow from movements": f"""
WITH {_EXPECTED_ENTRIES}
SELECT format('entry %s/%s', account_id, account_version),
       format('stored movement, amount and balance %s %s %s; recomputed %s %s %s', e.movement_id, e.amount_minor,
              e.balance_after_minor, x.movement_id, x.amount_minor, x.balance_after_minor)
FROM expected x FULL JOIN ledger.entry e USING (account_id, account_version)
WHERE (x.movement_id, x.amount_minor, x.balance_after_minor)
   IS DISTINCT FROM (e.movement_id, e.amount_minor, e.balance_after_minor)
ORDER BY account_id, account_version""",
    "balances follow from movements and holds": """
WITH line AS (
  SELECT debit_account_id AS account_id, amount_minor AS debit, 0::bigint AS credit, 1 AS entries FROM ledger.movement
  UNION ALL SELECT credit_account_id, 0, amount_minor, 1 FROM ledger.movement),
money AS (SELECT account_id, sum(debit) AS debit, sum(credit) AS credit, sum(entries) AS entries FROM line GROUP BY account_id),
held AS (SELECT account_id, sum(CASE event_type WHEN 'PLACE' THEN amount_minor ELSE -amount_minor END) AS held
         FROM ledger.hold_event GROUP BY account_id),
expected AS (
  SELECT account_id, a.is_control, coalesce(debit, 0) AS debit, coalesce(credit, 0) AS credit, coalesce(held, 0) AS held,
         coalesce(entries, 0) AS version
  FROM registry.account a FULL JOIN money USING (account_id) FULL JOIN held USING (account_id))
SELECT 'balance of account ' || account_id,
       format('stored debit, credit, held and version %s %s %s %s; recomputed %s %s %s %s', b.debit_minor, b.credit_minor,
              b.held_minor, b.version, x.debit, x.credit, x.held, x.version)
FROM expected x FULL JOIN ledger.balance b USING (account_id)
WHERE (x.is_control, x.debit, x.credit, x.held, x.version)
   IS DISTINCT FROM (b.is_control, b.debit_minor, b.credit_minor, b.held_minor, b.version)
ORDER BY account_id""",
    "no customer account below what it holds": """
SELECT 'balance of account ' || account_id, 'is below what it holds' FROM ledger.balance
WHERE NOT is_control AND credit_minor - debit_minor - held_minor < 0 ORDER BY account_id""",
    "a release repeats its hold": """
SELECT 'hold event ' || r.hold_event_id, 'releases what was not placed so'
FROM ledger.hold_event r LEFT JOIN ledger.hold_event p
  ON p.platform_id = r.platform_id AND p.hold_no = r.hold_no AND p.event_type = 'PLACE' AND p.hold_event_id < r.hold_event_id
WHERE r.event_type = 'RELEASE' AND (r.account_id, r.amount_minor) IS DISTINCT FROM (p.account_id, p.amount_minor)
ORDER BY r.hold_event_id""",
    "hold event carries its order's dates": """
SELECT 'hold event ' || h.hold_event_id, 'its platform or dates are not those of its order'
FROM ledger.hold_event h LEFT JOIN ledger.trade_order o USING (order_id)
WHERE (h.platform_id, h.recorded_at, h.business_date) IS DISTINCT FROM (o.platform_id, o.recorded_at, o.business_date)
ORDER BY h.hold_event_id""",
    "ledger numbers are gapless": """
SELECT format('ledger_no %s', ledger_no), format('movement %s, block %s', movement_id, block_no) FROM (
  SELECT s.*, row_number() OVER (ORDER BY s.ledger_no) AS expected_no, lag(s.movement_id) OVER (ORDER BY s.ledger_no) AS before,
         b.block_no IS NULL AS is_outside
  FROM ledger.seal s LEFT JOIN ledger.seal_block b ON b.block_no = s.block_no
    AND s.ledger_no BETWEEN b.first_ledger_no AND b.last_ledger_no) n
WHERE ledger_no <> expected_no OR movement_id <= before OR is_outside ORDER BY ledger_no""",
    "sealed movements exist, and none was passed over": """
SELECT format('movement %s', movement_id),
       CASE WHEN m.movement_id IS NULL THEN 'is sealed but missing' ELSE 'was passed over by the seal' END
FROM ledger.movement m FULL JOIN ledger.seal s USING (movement_id)
WHERE m.movement_id IS NULL
   OR (s.movement_id IS NULL AND movement_id <= (SELECT max(last_movement_id) FROM ledger.seal_block))
ORDER BY movement_id""",
    "the hash chain holds": r"""
WITH block AS (
  SELECT b.*, lag(hash, 1, '\x'::bytea) OVER w AS before, lag(last_ledger_no, 1, 0::bigint) OVER w AS last_before,
         row_number() OVER w AS expected_no
  FROM ledger.seal_block b WINDOW w AS (ORDER BY block_no)),
walked AS (
  SELECT s.block_no, string_agg(ledger.sealed_text(s.ledger_no, f), E'\n' ORDER BY s.ledger_no) AS content,
         max(s.movement_id) AS last_movement_id, max(s.ledger_no) AS last_ledger_no, max(f.recorded_at) AS sealed_through
  FROM ledger.seal s JOIN ledger.movement_full f USING (movement_id) GROUP BY s.block_no)
SELECT format('block %s (ledger_no %s to %s)', block_no, first_ledger_no, b.last_ledger_no),
       'its hash does not bind its movements'
FROM block b LEFT JOIN walked w USING (block_no)
WHERE (block_no, previous_hash, first_ledger_no, hash, b.last_ledger_no, b.last_movement_id, b.sealed_through)
   IS DISTINCT FROM (expected_no, before, last_before + 1, sha256(before || convert_to(w.content, 'UTF8')), w.last_ledger_no,
                     w.last_movement_id, w.sealed_through)
ORDER BY block_no""",
    "the chain of changes holds": r"""
WITH block AS (
  SELECT b.*, lag(hash, 1, '\x'::bytea) OVER w AS before, lag(last_change_id, 1, 0::bigint) OVER w AS last_before,
         row_number() OVER w AS expected_no
  FROM audit.block b WINDOW w AS (ORDER BY block_no)),
walked AS (
  SELECT b.block_no, count(*) AS changes, min(c.change_id) AS first, max(c.change_id) AS last,
         string_agg(audit.sealed_text(c), E'\n' ORDER BY c.change_id) AS content
  FROM block b JOIN audit.change c ON c.change_id > b.last_before AND c.change_id <= b.last_change_id GROUP BY b.block_no)
SELECT format('block %s (change %s to %s)', block_no, first_change_id, last_change_id), 'its hash does not bind its changes'
FROM block b LEFT JOIN walked w USING (block_no)
WHERE (block_no, previous_hash, b.changes, first_change_id, last_change_id, hash)
   IS DISTINCT FROM (expected_no, before, w.changes, w.first, w.last, sha256(before || convert_to(w.content, 'UTF8')))
ORDER BY block_no""",
}


@dataclass(frozen=True)
class Verdict:
    """What a verification looked at and found; `head` is the hash of the last block, to compare with one kept outside."""

    movements: int
    sealed: int
    unsealed: int
    blocks: int
    head: str | None
    faults: tuple[Fault, ...]


def verify(database_url: str) -> Verdict:
    """Check the whole ledger in one read-only snapshot; at most 20 faults a check are listed.

    Raises ServiceMissing when the database does not answer.
    """
    try:
        connection = psycopg.connect(database_url, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None
    with connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        faults = [
            Fault(check, str(row), str(what))
            for check, query in CHECKS.items()
            for row, what in connection.execute(f"SELECT * FROM ({query}) fault LIMIT {FAULTS_SHOWN_MAX}".encode())
        ]
        counts = connection.execute(
            """SELECT (SELECT count(*) FROM ledger.movement), (SELECT count(*) FROM ledger.seal),
                      (SELECT count(*) FROM ledger.seal_block),
                      (SELECT encode(hash, 'hex') FROM ledger.seal_block ORDER BY block_no DESC LIMIT 1)"""
        ).fetchone()
    assert counts is not None
    movements, sealed, blocks, head = counts
    return Verdict(movements, sealed, movements - sealed, blocks, head, tuple(faults))
