"""The checks of `fundwatch ledger verify` as data: each is a query that returns the rows at fault (architecture section 6.6).

The movements and the chain over them are the only things believed; what is derived is computed anew and compared both ways.
A check names the table it needs, so a database of an older schema is checked by what it has.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCKS_A_TASK = 100


@dataclass(frozen=True)
class Start:
    """What lies at or before a block and is not looked at again; all zero for the whole ledger."""

    block_no: int = 0
    ledger_no: int = 0
    movement_id: int = 0
    order_id: int = 0


@dataclass(frozen=True)
class Check:
    """One query of columns (row, what); `:movement_id` and the other fields of Start stand for their values."""

    name: str
    query: str
    # a table (or index) that older schemas do not have
    needs: str = "ledger.movement"
    # a table that newer schemas have, where another check looks at more
    lacks: str = "nothing"
    # other text of the same check when it begins behind a block; None: the same text serves
    since: str | None = None
    # the query looks at the movements in `:movement_in` and orders in `:order_in` only: it is asked once a range
    by_range: bool = False

    def text(self, start: Start) -> str:
        """SQL of the check from a start on."""
        query = self.since if self.since is not None and start.block_no else self.query
        for name in ("block_no", "ledger_no", "movement_id", "order_id"):
            query = query.replace(f":{name}", str(int(getattr(start, name))))
        return query


_MOVEMENT = """
SELECT 'movement ' || m.movement_id, CASE
    WHEN o.order_id IS NULL OR d.account_id IS NULL OR c.account_id IS NULL
      OR (m.currency, m.effective_at, m.recorded_at, m.business_date, o.platform_id, o.platform_id, m.currency, m.currency) IS
        DISTINCT FROM
         (o.currency, o.effective_at, o.recorded_at, o.business_date, d.platform_id, c.platform_id, d.currency, c.currency)
    THEN 'its order, currency, dates or accounts are not those of the order and the registry'
    ELSE {what} END
FROM ledger.movement m LEFT JOIN (SELECT * FROM ledger.trade_order WHERE order_id :order_in) o USING (order_id)
LEFT JOIN registry.account d ON d.account_id = m.debit_account_id
LEFT JOIN registry.account c ON c.account_id = m.credit_account_id
LEFT JOIN ledger.allowed_movement a ON a.movement_type = m.movement_type
  AND a.debit_role = CASE WHEN m.reversal_of IS NULL THEN d.account_role ELSE c.account_role END
  AND a.credit_role = CASE WHEN m.reversal_of IS NULL THEN c.account_role ELSE d.account_role END
{orders}WHERE m.movement_id :movement_in AND (a.movement_type IS NULL {unlawful}
  OR (m.currency, m.effective_at, m.recorded_at, m.business_date, o.platform_id, o.platform_id, m.currency, m.currency) IS
    DISTINCT FROM
     (o.currency, o.effective_at, o.recorded_at, o.business_date, d.platform_id, c.platform_id, d.currency, c.currency))
ORDER BY m.movement_id"""
_LAW = "format('%s from %s to %s is not in the law', m.movement_type, d.account_role, c.account_role)"
_MOVEMENT_OF_OLD = _MOVEMENT.format(what=_LAW, orders="", unlawful="")
_MOVEMENT_AND_LAWS = _MOVEMENT.format(
    what=f"""CASE WHEN a.movement_type IS NULL THEN {_LAW}
         ELSE format('%s is not in the law of %s orders', m.movement_type, o.order_type) END""",
    orders="LEFT JOIN ledger.allowed_order l ON l.order_type = o.order_type AND l.movement_type = m.movement_type\n",
    unlawful="OR l.order_type IS NULL",
)

_ORDER = """
WITH moved AS (SELECT order_id, sum(amount_minor) AS amount, count(*) AS movements, max(seq) AS last_seq, min(seq) AS first_seq
               FROM ledger.movement WHERE order_id > :order_id GROUP BY order_id),
placed AS (SELECT order_id, sum(amount_minor) AS amount FROM ledger.hold_event WHERE event_type = 'PLACE' AND order_id > :order_id
           GROUP BY order_id)
SELECT 'order ' || o.order_id,
       format('amount is %s, movements and holds add up to %s', o.amount_minor, coalesce(m.amount, 0) + coalesce(p.amount, 0))
FROM ledger.trade_order o LEFT JOIN moved m USING (order_id) LEFT JOIN placed p USING (order_id)
LEFT JOIN registry.platform r USING (platform_id)
WHERE o.order_id > :order_id AND (r.platform_id IS NULL OR o.amount_minor <> coalesce(m.amount, 0) + coalesce(p.amount, 0)
  OR m.last_seq <> m.movements OR m.first_seq <> 1) ORDER BY o.order_id"""

_REVERSAL = """
SELECT 'movement ' || m.movement_id, format('is not movement %s with the accounts swapped', m.reversal_of)
FROM ledger.movement m JOIN ledger.trade_order o USING (order_id) LEFT JOIN ledger.movement r ON r.movement_id = m.reversal_of
WHERE m.reversal_of IS NOT NULL AND m.movement_id > :movement_id AND
  (m.movement_type, m.amount_minor, m.debit_account_id, m.credit_account_id, o.reverses_order_id, m.currency, m.loan_no,
    m.issue_no,
   m.component, m.claim_no, m.seq)
  IS DISTINCT FROM (r.movement_type, r.amount_minor, r.credit_account_id, r.debit_account_id, r.order_id, r.currency, r.loan_no,
   r.issue_no, r.component, r.claim_no, r.seq)
UNION ALL
SELECT 'order ' || o.order_id, format('does not take back the whole of order %s', o.reverses_order_id)
FROM ledger.trade_order o WHERE o.reverses_order_id IS NOT NULL AND o.order_id > :order_id
  AND (o.reverses_order_id >= o.order_id
       OR (SELECT count(m.reversal_of) FROM ledger.movement m WHERE m.order_id = o.order_id)
          <> (SELECT count(*) FROM ledger.movement m WHERE m.order_id = o.reverses_order_id)
       OR NOT EXISTS (SELECT FROM ledger.movement m WHERE m.order_id = o.order_id)
       OR EXISTS (SELECT FROM ledger.movement m WHERE m.order_id = o.order_id AND m.reversal_of IS NULL))"""

# Each entry is one side of its movement. No movement stands twice on an account (the account's run rises), so when there are two
# entries a movement (_COUNTS) none is missing.
_ENTRY = """
SELECT format('entry of movement %s on account %s', e.movement_id, e.account_id),
       format('stored amount %s is not what the movement says', e.amount_minor)
FROM ledger.entry e LEFT JOIN ledger.movement m ON m.movement_id = e.movement_id AND m.movement_id > :movement_id
WHERE e.movement_id > :movement_id AND CASE e.account_id WHEN m.debit_account_id THEN -m.amount_minor WHEN m.credit_account_id
  THEN m.amount_minor END IS DISTINCT FROM e.amount_minor ORDER BY e.movement_id, e.account_id"""
# With these numbers right, a ledger is whole when the walk over the chain and the check of each entry find nothing: every block
# binds the numbers and the movements of its rows, in the order of both.
_COUNTS = """
SELECT format('%s rows of %s', v.rows, v.name), format('there should be %s', v.expected)
FROM (SELECT (SELECT count(*) FROM ledger.movement WHERE movement_id > :movement_id) AS movements,
             (SELECT count(*) FROM ledger.movement WHERE movement_id > :movement_id
                AND movement_id <= (SELECT max(last_movement_id) FROM ledger.seal_block)) AS to_seal,
             (SELECT count(*) FROM ledger.entry WHERE movement_id > :movement_id) AS entries,
             (SELECT count(*) FROM ledger.seal WHERE ledger_no > :ledger_no) AS seals,
             (SELECT coalesce(max(last_ledger_no), 0) - :ledger_no FROM ledger.seal_block) AS numbers) n
CROSS JOIN LATERAL (VALUES ('ledger.entry', entries, 2 * movements), ('ledger.seal', seals, to_seal),
  ('ledger.seal', seals, numbers)) v(name, rows, expected)
WHERE v.rows <> v.expected"""
# Each movement has its two entries and no other, both ways.
_ENTRY_LINES = """
SELECT 'entry of movement ' || coalesce(x.movement_id, e.movement_id) || ' on account ' || coalesce(x.account_id, e.account_id),
       format('stored amount %s, recomputed %s', e.amount_minor, x.amount_minor)
FROM (SELECT movement_id, debit_account_id AS account_id, -amount_minor AS amount_minor FROM ledger.movement
      WHERE movement_id > :movement_id
      UNION ALL SELECT movement_id, credit_account_id, amount_minor FROM ledger.movement WHERE movement_id > :movement_id) x
FULL JOIN (SELECT * FROM ledger.entry WHERE movement_id > :movement_id) e USING (movement_id, account_id)
WHERE x.amount_minor IS DISTINCT FROM e.amount_minor ORDER BY 1"""
_RUN = """
SELECT format('entry %s/%s', account_id, account_version),
       format('stored version, movement and balance %s %s %s; before it stand %s %s %s', account_version, movement_id,
              balance_after_minor, version_before, movement_before, balance_before)
FROM (SELECT e.*, lag(account_version, 1, 0::bigint) OVER w AS version_before, lag(movement_id, 1, 0::bigint) OVER w AS
  movement_before,
             lag(balance_after_minor, 1, 0::bigint) OVER w AS balance_before
      FROM ledger.entry e{touched} WINDOW w AS (PARTITION BY account_id ORDER BY account_version)) run
WHERE account_version <> version_before + 1 OR movement_id <= movement_before
   OR balance_after_minor <> balance_before + amount_minor ORDER BY account_id, account_version"""
_ENTRY_RUN = _RUN.format(touched="")
# behind a block: the run of a touched account begins with its last entry at or before the block, believed
_ENTRY_RUN_SINCE = """
WITH fresh AS (SELECT account_id, min(account_version) AS first FROM ledger.entry WHERE movement_id > :movement_id GROUP BY
  account_id),
run AS (
  SELECT e.*, first, lag(account_version, 1, 0::bigint) OVER w AS version_before, lag(movement_id, 1, 0::bigint) OVER w AS
    movement_before,
         lag(balance_after_minor, 1, 0::bigint) OVER w AS balance_before
  FROM fresh JOIN ledger.entry e ON e.account_id = fresh.account_id AND e.account_version >= fresh.first - 1
  WINDOW w AS (PARTITION BY e.account_id ORDER BY e.account_version))
SELECT format('entry %s/%s', account_id, account_version),
       format('stored movement and balance %s %s; before it stand version %s, movement %s, balance %s', movement_id,
              balance_after_minor, version_before, movement_before, balance_before)
FROM run WHERE account_version >= first AND (account_version <> version_before + 1 OR movement_id <= movement_before
   OR balance_after_minor <> balance_before + amount_minor) ORDER BY account_id, account_version"""

_BALANCE = """
WITH line AS (
  SELECT debit_account_id AS account_id, amount_minor AS debit, 0::bigint AS credit FROM ledger.movement
  UNION ALL SELECT credit_account_id, 0, amount_minor FROM ledger.movement),
money AS (SELECT account_id, sum(debit) AS debit, sum(credit) AS credit, count(*) AS entries FROM line GROUP BY account_id),
held AS (SELECT account_id, sum(CASE event_type WHEN 'PLACE' THEN amount_minor ELSE -amount_minor END) AS held
         FROM ledger.hold_event GROUP BY account_id),
expected AS (
  SELECT account_id, r.is_control, coalesce(debit, 0) AS debit, coalesce(credit, 0) AS credit, coalesce(held, 0) AS held,
         coalesce(entries, 0) AS version
  FROM registry.account a JOIN registry.account_role r USING (account_role)
  FULL JOIN money USING (account_id) FULL JOIN held USING (account_id))
SELECT 'balance of account ' || account_id,
       format('stored debit, credit, held and version %s %s %s %s; recomputed %s %s %s %s', b.debit_minor, b.credit_minor,
              b.held_minor, b.version, x.debit, x.credit, x.held, x.version)
FROM expected x FULL JOIN ledger.balance b USING (account_id)
WHERE (x.is_control, x.debit, x.credit, x.held, x.version)
   IS DISTINCT FROM (b.is_control, b.debit_minor, b.credit_minor, b.held_minor, b.version)
ORDER BY account_id"""
# behind a block: accounts that moved or held since; their totals differ by their last balance, their version
# is that of their last entry
_BALANCE_SINCE = """
WITH moved AS (SELECT account_id, max(account_version) AS version FROM ledger.entry WHERE movement_id > :movement_id GROUP BY
  account_id),
touched AS (SELECT account_id FROM moved UNION SELECT account_id FROM ledger.hold_event WHERE order_id > :order_id),
held AS (SELECT account_id, sum(CASE event_type WHEN 'PLACE' THEN amount_minor ELSE -amount_minor END) AS held
         FROM touched JOIN ledger.hold_event USING (account_id) GROUP BY account_id)
SELECT 'balance of account ' || t.account_id,
       format('stored balance, held and version %s %s %s; recomputed %s %s %s', b.credit_minor - b.debit_minor, b.held_minor,
         b.version,
              e.balance_after_minor, coalesce(h.held, 0), m.version)
FROM touched t LEFT JOIN moved m USING (account_id) LEFT JOIN held h USING (account_id)
LEFT JOIN ledger.entry e ON e.account_id = t.account_id AND e.account_version = m.version
LEFT JOIN ledger.balance b ON b.account_id = t.account_id
WHERE b.account_id IS NULL OR b.held_minor <> coalesce(h.held, 0)
   OR (m.version IS NOT NULL AND (b.version, b.credit_minor - b.debit_minor) IS DISTINCT FROM (m.version, e.balance_after_minor))
ORDER BY t.account_id"""

_FLOOR = """
SELECT 'balance of account ' || account_id, 'is below what it holds' FROM ledger.balance
WHERE NOT is_control AND credit_minor - debit_minor - held_minor < 0 ORDER BY account_id"""
_CONSERVED = """
SELECT format('accounts %s to %s in %s', min(a.account_id), max(a.account_id), a.currency),
       format('all accounts add up to %s', sum(b.credit_minor - b.debit_minor))
FROM ledger.balance b JOIN registry.account a USING (account_id) GROUP BY a.currency HAVING sum(b.credit_minor - b.debit_minor)
  <> 0"""

# A hold is placed once; what ends it (release, capture, expiry) comes later, on the same account, and never more than was placed.
_HOLD = """
SELECT 'hold event ' || hold_event_id, CASE
         WHEN is_of_order THEN 'ends what was not placed so, or more of it' ELSE
           'its platform or dates are not those of its order' END
FROM (
  SELECT h.hold_event_id, h.event_type, h.account_id, first_value(h.event_type) OVER w AS first_type,
         first_value(h.account_id) OVER w AS first_account, row_number() OVER w AS place,
         sum(CASE h.event_type WHEN 'PLACE' THEN h.amount_minor ELSE -h.amount_minor END) OVER w AS remains,
         h.order_id > :order_id AS is_fresh, (h.platform_id, h.recorded_at, h.business_date, h.platform_id)
           IS NOT DISTINCT FROM (o.platform_id, o.recorded_at, o.business_date, a.platform_id) AS is_of_order
  FROM ledger.hold_event h LEFT JOIN ledger.trade_order o USING (order_id) LEFT JOIN registry.account a USING (account_id)
  WINDOW w AS (PARTITION BY h.platform_id, h.hold_no ORDER BY h.hold_event_id)) e
WHERE is_fresh AND (first_type <> 'PLACE' OR (event_type = 'PLACE') <> (place = 1) OR account_id <> first_account OR remains < 0
  OR NOT is_of_order)
ORDER BY hold_event_id"""

_NUMBERS = """
SELECT format('ledger_no %s', ledger_no), format('movement %s, block %s', movement_id, block_no) FROM (
  SELECT s.*, :ledger_no + row_number() OVER (ORDER BY s.ledger_no) AS expected_no,
         lag(s.movement_id, 1, :movement_id::bigint) OVER (ORDER BY s.ledger_no) AS before, b.block_no IS NULL AS is_outside
  FROM ledger.seal s LEFT JOIN ledger.seal_block b ON b.block_no = s.block_no
    AND s.ledger_no BETWEEN b.first_ledger_no AND b.last_ledger_no
  WHERE s.ledger_no > :ledger_no) n
WHERE ledger_no <> expected_no OR movement_id <= before OR is_outside ORDER BY ledger_no"""
_SEALED = """
SELECT format('movement %s', movement_id),
       CASE WHEN m.movement_id IS NULL THEN 'is sealed but missing' ELSE 'was passed over by the seal' END
FROM (SELECT movement_id FROM ledger.movement WHERE movement_id > :movement_id) m
FULL JOIN (SELECT movement_id FROM ledger.seal WHERE ledger_no > :ledger_no) s USING (movement_id)
WHERE m.movement_id IS NULL
   OR (s.movement_id IS NULL AND m.movement_id <= (SELECT max(last_movement_id) FROM ledger.seal_block))
ORDER BY movement_id"""
_LINKS = r"""
SELECT format('block %s (ledger_no %s to %s)', block_no, first_ledger_no, last_ledger_no),
  'it does not follow the block before it'
FROM (SELECT b.*, lag(hash, 1, '\x'::bytea) OVER w AS before, lag(last_ledger_no, 1, 0::bigint) OVER w AS last_before,
             lag(sealed_through, 1, '-infinity') OVER w AS through_before, row_number() OVER w AS place, min(block_no) OVER ()
               AS first_no
      FROM ledger.seal_block b WHERE block_no >= :block_no WINDOW w AS (ORDER BY block_no)) b
WHERE (block_no > :block_no AND ((previous_hash, first_ledger_no) IS DISTINCT FROM (before, last_before + 1)
       OR sealed_through < through_before)) OR block_no <> first_no + place - 1 OR first_no > greatest(:block_no, 1)
ORDER BY block_no"""
_BLOCKS = r"""
WITH walked AS (
  SELECT s.block_no, string_agg(ledger.sealed_text(s.ledger_no, f), E'\n' ORDER BY s.movement_id) AS content,
         min(s.movement_id) AS first_movement_id, max(s.movement_id) AS last_movement_id, min(s.ledger_no) AS first_ledger_no,
         max(s.ledger_no) AS last_ledger_no, max(f.recorded_at) AS sealed_through
  FROM ledger.seal s JOIN ledger.movement_full f USING (movement_id)
  WHERE s.block_no BETWEEN {first} AND {last} AND s.ledger_no BETWEEN {first_no} AND {last_no}
    AND f.movement_id :movement_in GROUP BY s.block_no)
SELECT format('block %s (ledger_no %s to %s)', b.block_no, b.first_ledger_no, b.last_ledger_no),
  'its hash does not bind its movements'
FROM ledger.seal_block b LEFT JOIN walked w USING (block_no) LEFT JOIN ledger.seal_block p ON p.block_no = b.block_no - 1
WHERE b.block_no BETWEEN {first} AND {last}
  AND ((b.hash, b.first_ledger_no, b.last_ledger_no, b.last_movement_id, b.sealed_through) IS DISTINCT FROM
       (sha256(b.previous_hash || convert_to(w.content, 'UTF8')), w.first_ledger_no, w.last_ledger_no, w.last_movement_id,
        w.sealed_through) OR w.first_movement_id <= p.last_movement_id)
ORDER BY b.block_no"""

_CHANGES = r"""
WITH block AS (
  SELECT b.*, lag(hash, 1, '\x'::bytea) OVER w AS before, lag(last_change_id, 1, 0::bigint) OVER w AS last_before,
         row_number() OVER w AS expected_no, lag(sealed_at, 1, '-infinity') OVER w AS sealed_before
  FROM audit.block b WINDOW w AS (ORDER BY block_no)),
walked AS (
  SELECT b.block_no, count(*) AS changes, min(c.change_id) AS first, max(c.change_id) AS last, max(c.at) AS latest,
         string_agg(audit.sealed_text(c), E'\n' ORDER BY c.change_id) AS content
  FROM block b JOIN audit.change c ON c.change_id > b.last_before AND c.change_id <= b.last_change_id GROUP BY b.block_no)
SELECT format('block %s (change %s to %s)', block_no, first_change_id, last_change_id), 'its hash does not bind its changes'
FROM block b LEFT JOIN walked w USING (block_no)
WHERE (block_no, previous_hash, b.changes, first_change_id, last_change_id, hash)
   IS DISTINCT FROM (expected_no, before, w.changes, w.first, w.last, sha256(before || convert_to(w.content, 'UTF8')))
   OR sealed_at < sealed_before OR sealed_at < w.latest
ORDER BY block_no"""
_APPROVALS = """
SELECT 'approval ' || coalesce(a.approval_id::text, c.subject), CASE
         WHEN a.approval_id IS NULL THEN 'is audited but missing'
         ELSE 'it, its hash or its decision is not what was audited' END
FROM work.approval_state a FULL JOIN (
  SELECT c.subject, c.platform_id, c.actor, c.after, d.actor AS checker, d.action, d.after AS decided, d.platform_id AS
    decided_platform
  FROM (SELECT * FROM audit.change WHERE subject_type = 'approval' AND action = 'APPROVAL_PROPOSED') c
  FULL JOIN (SELECT * FROM audit.change WHERE subject_type = 'approval' AND action IN ('APPROVAL_APPROVED',
    'APPROVAL_REJECTED')) d
    USING (subject)) c ON c.subject = a.approval_id::text
WHERE a.approval_id IS NULL OR c.subject IS NULL
   OR (a.maker, a.platform_id, a.kind, a.subject, a.payload, a.reason, a.proposed_at, a.expires_at) IS DISTINCT FROM
      (c.actor, c.platform_id, c.after ->> 'kind', c.after ->> 'subject', c.after -> 'payload', c.after ->> 'reason',
       (c.after ->> 'proposed_at')::timestamptz, (c.after ->> 'expires_at')::timestamptz)
   OR a.payload_hash <> sha256(convert_to(a.payload::text, 'UTF8'))
   OR (a.checker, CASE a.state WHEN 'APPROVED' THEN 'APPROVAL_APPROVED' WHEN 'REJECTED' THEN 'APPROVAL_REJECTED' END,
       coalesce(a.result, 'null'), coalesce(a.note, ''))
      IS DISTINCT FROM (c.checker, c.action, coalesce(c.decided -> 'result', 'null'), coalesce(c.decided ->> 'note', ''))
ORDER BY 1"""
_ANSWERS = """
SELECT format('answer to %s of %s, key %s', endpoint, scope, idempotency_key), 'its hash is not that of its body'
FROM api.answer WHERE body_hash <> sha256(convert_to(body, 'UTF8')) ORDER BY 1"""
_CLOCK = """
SELECT 'clock', format('stands at %s, the last order was recorded at %s', now_at, last) FROM ledger.clock,
  (SELECT max(recorded_at) AS last FROM (SELECT recorded_at FROM ledger.trade_order ORDER BY order_id DESC LIMIT 1000) newest) o
WHERE now_at < last OR (mode = 'system' AND now_at > clock_timestamp())"""
_ACCOUNT = """
SELECT 'account ' || a.account_id, 'is not of the kind that its role says, or its role does not exist'
FROM registry.account a LEFT JOIN registry.account_role r USING (account_role)
WHERE a.is_control IS DISTINCT FROM r.is_control OR (a.is_control AND a.customer_no IS NOT NULL)
   OR (a.paycom_id IS NOT NULL) <> (a.account_role = 'CHANNEL_RECEIVABLE') ORDER BY a.account_id"""

# The state that postings look at is the newest row of the account's history.
_STATE = """
SELECT 'balance of account ' || b.account_id, format('stored state %s; the newest of its history is %s', b.state,
  coalesce(s.state, 'OPEN'))
FROM ledger.balance b
LEFT JOIN (SELECT DISTINCT ON (account_id) account_id, state FROM ledger.account_state ORDER BY account_id, version DESC) s
  USING (account_id) WHERE b.state <> coalesce(s.state, 'OPEN')
UNION ALL
SELECT format('state %s of account %s', version, account_id), 'its history has a gap'
FROM (SELECT account_id, version, row_number() OVER (PARTITION BY account_id ORDER BY version) AS place FROM
  ledger.account_state) v
WHERE version <> place"""
# Holds that will expire are those placed with a time of which something remains.
_EXPIRIES = """
SELECT 'hold event ' || coalesce(x.hold_event_id, q.hold_event_id), 'it waits to expire and should not, or should and does not'
FROM (SELECT p.hold_event_id, p.expires_at FROM ledger.hold_event p
      WHERE p.event_type = 'PLACE' AND p.expires_at IS NOT NULL AND p.amount_minor >
        (SELECT coalesce(sum(e.amount_minor), 0) FROM ledger.hold_event e
         WHERE e.platform_id = p.platform_id AND e.hold_no = p.hold_no AND e.event_type <> 'PLACE')) x
FULL JOIN ledger.hold_to_expire q USING (hold_event_id) WHERE x.expires_at IS DISTINCT FROM q.expires_at ORDER BY 1"""
_DAYS = """
SELECT 'closed day ' || coalesce(d.business_date::text, c.subject),
  'it is not what its movements, the chain and the audited close say'
FROM ledger.day_close d
FULL JOIN (SELECT subject, actor, after FROM audit.change WHERE action = 'DAY_CLOSED' AND subject_type = 'business_date') c
  ON c.subject = d.business_date::text
LEFT JOIN LATERAL (
  SELECT count(*) AS movements, coalesce(sum(m.amount_minor), 0) AS amount, max(s.ledger_no) AS last_no
  FROM ledger.movement m JOIN ledger.seal s USING (movement_id) WHERE m.business_date = d.business_date) m ON true
LEFT JOIN LATERAL (SELECT count(*) AS orders FROM ledger.trade_order o WHERE o.business_date = d.business_date) o ON true
LEFT JOIN LATERAL (SELECT count(*) AS accounts FROM ledger.day_balance b WHERE b.business_date = d.business_date) b ON true
LEFT JOIN LATERAL (SELECT hash FROM ledger.seal_block k WHERE k.last_ledger_no >= d.ledger_no_to ORDER BY block_no LIMIT 1) k ON
  true
WHERE d.business_date IS NULL OR c.subject IS NULL
   OR (d.closed_by, d.ends_at, d.closed_at) IS DISTINCT FROM
      (c.actor, (c.after ->> 'ends_at')::timestamptz, (c.after ->> 'closed_at')::timestamptz)
   OR (d.orders, d.movements, d.amount_minor, d.accounts, d.ledger_no_to, d.head)
      IS DISTINCT FROM (o.orders, m.movements, m.amount, b.accounts, coalesce(m.last_no, d.ledger_no_to), k.hash)
ORDER BY 1"""
_DAY_BALANCES = """
WITH moved AS (
  SELECT e.account_id, m.business_date, sum(greatest(-e.amount_minor, 0)) AS debit, sum(greatest(e.amount_minor, 0)) AS credit,
         max(e.account_version) AS last_version
  FROM ledger.movement m JOIN ledger.entry e USING (movement_id) JOIN ledger.day_close d USING (business_date)
  GROUP BY e.account_id, m.business_date)
SELECT format('balance of account %s on %s', coalesce(x.account_id, b.account_id), coalesce(x.business_date, b.business_date)),
       'it is not what the movements of the day say'
FROM moved x FULL JOIN ledger.day_balance b USING (account_id, business_date)
LEFT JOIN ledger.entry e ON e.account_id = b.account_id AND e.account_version = b.last_version
WHERE (x.debit, x.credit, x.last_version, e.balance_after_minor, e.balance_after_minor)
   IS DISTINCT FROM (b.debit_minor, b.credit_minor, b.last_version, b.closing_minor, b.opening_minor + b.credit_minor -
     b.debit_minor)
ORDER BY 1"""

# A block of holds is the rows between its last event and that of the block before: a row more, less or changed is another hash.
_HOLD_CHAIN = r"""
WITH linked AS (
  SELECT b.*, lag(b.last_hold_event_id, 1, 0::bigint) OVER w AS after, lag(b.hash, 1, '\x'::bytea) OVER w AS before,
         row_number() OVER w AS place
  FROM ledger.hold_block b WINDOW w AS (ORDER BY b.block_no))
SELECT format('block %s of holds (hold events %s to %s)', l.block_no, l.after + 1, l.last_hold_event_id),
       'its hash does not bind these events and orders, or it does not follow the block before it'
FROM (SELECT * FROM linked l WHERE {since}) l CROSS JOIN LATERAL (
  SELECT max(f.hold_event_id) AS last,
         sha256(l.before || convert_to(string_agg(f::text, E'\n' ORDER BY f.hold_event_id), 'UTF8')) AS hash
  FROM ledger.hold_full f WHERE f.hold_event_id > l.after AND f.hold_event_id <= l.last_hold_event_id) walked
WHERE (l.block_no, l.previous_hash, l.last_hold_event_id, l.hash) IS DISTINCT FROM (l.place, l.before, walked.last, walked.hash)
ORDER BY l.block_no"""
_HOLDS_SINCE = "l.last_hold_event_id >= (SELECT min(h.hold_event_id) FROM ledger.hold_event h WHERE h.order_id > :order_id)"

# the dearest first: two connections take them in this order
CHECKS = (
    Check("movement belongs to its order and is allowed", _MOVEMENT_AND_LAWS, "ledger.allowed_order", by_range=True),
    Check("movement belongs to its order and is allowed", _MOVEMENT_OF_OLD, lacks="ledger.allowed_order", by_range=True),
    Check("entries are sides of their movements", _ENTRY),
    Check("entries of an account are an unbroken run", _ENTRY_RUN, since=_ENTRY_RUN_SINCE),
    Check("balances follow from movements and holds", _BALANCE, since=_BALANCE_SINCE),
    Check("order is the sum of its parts", _ORDER),
    Check("entries and ledger numbers are as many as the movements", _COUNTS),
    Check("balances of closed days follow from movements", _DAY_BALANCES, "ledger.day_close"),
    Check("closed days are what was audited", _DAYS, "ledger.day_close"),
    Check("a stored answer is the one to its body", _ANSWERS),
    Check("the chain of changes holds", _CHANGES, "audit.change"),
    Check("approvals are what was audited", _APPROVALS, "work.approval_state"),
    Check("a hold is placed once and ends within itself", _HOLD),
    Check(
        *("the chain of holds holds", _HOLD_CHAIN.replace("{since}", "true"), "ledger.hold_block"),
        since=_HOLD_CHAIN.replace("{since}", _HOLDS_SINCE),
    ),
    Check("holds that wait to expire follow from hold events", _EXPIRIES, "ledger.hold_to_expire"),
    Check("an account's state is the newest of its history", _STATE, "ledger.account_state"),
    Check("reversal mirrors its original", _REVERSAL),
    Check("blocks follow each other", _LINKS),
    Check("no customer account below what it holds", _FLOOR),
    Check("all accounts of a currency add up to nothing", _CONSERVED),
    Check("an account is what its role says", _ACCOUNT),
    Check("the clock is not behind what was recorded", _CLOCK),
)

# name the rows when anything is wrong: what they find makes another check fail, at less cost
CHECKS_OF_A_FAULTY_LEDGER = (
    Check("entries are the movements, twice", _ENTRY_LINES),
    Check("sealed movements exist, and none was passed over", _SEALED),
    Check("ledger numbers are gapless", _NUMBERS),
)


@dataclass(frozen=True)
class Part:
    """Blocks of the chain and the movements that they bind, small enough to be joined in memory."""

    first_block: int
    last_block: int
    first_ledger_no: int
    last_ledger_no: int
    movement_after: int
    # None: up to the newest there is, sealed or not
    movement_to: int | None


# a range of literals: the planner then knows how few rows it takes, and never walks a whole table for a part of it
PARTS = f"""
SELECT min(block_no), max(block_no), min(first_ledger_no), max(last_ledger_no), max(last_movement_id)
FROM ledger.seal_block WHERE block_no > :block_no GROUP BY (block_no - 1) / {BLOCKS_A_TASK} ORDER BY 1"""
ORDERS = "SELECT min(order_id + 0), max(order_id + 0) FROM ledger.movement WHERE movement_id :movement_in"


def within(query: str, part: Part, orders: tuple[int, int] | None = None) -> str:
    """The query over the movements of a part and over their orders.

    Rows that the part leaves out can only be missed from a block, whose hash then differs: nothing is noticed less.
    """
    movement_to = 2**63 - 1 if part.movement_to is None else part.movement_to
    movements = f"BETWEEN {part.movement_after + 1} AND {movement_to}"
    low, high = orders or (0, -1)
    return query.replace(":movement_in", movements).replace(":order_in", f"BETWEEN {low} AND {high}")


def block_check(part: Part) -> Check:
    """The walk over the hash chain through the blocks of a part."""
    words = _BLOCKS.format(
        first=part.first_block, last=part.last_block, first_no=part.first_ledger_no, last_no=part.last_ledger_no
    )
    return Check("the hash chain holds", words, by_range=True)
