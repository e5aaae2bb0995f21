-- The close of a book day: after its checks a business date is final, and nothing takes effect in it any more (issue: day close).
-- A business date comes from the service's clock, so a past one gets no further movements: closing it stops no posting.
CREATE TABLE ledger.day_close (
  business_date date PRIMARY KEY,
  ends_at timestamptz NOT NULL, -- the cut-off: what takes effect before it belongs to this day or an earlier one
  ledger_no_to bigint NOT NULL, -- last ledger number of the day or before
  head bytea, -- hash of the block that holds it, null while there is none
  orders bigint NOT NULL,
  movements bigint NOT NULL,
  amount_minor numeric NOT NULL, -- sum over all currencies: a control total, no money
  accounts bigint NOT NULL, -- accounts that moved
  closed_by text NOT NULL,
  closed_at timestamptz NOT NULL
);
-- Book balances of the accounts that moved on a closed day; an account's balance on any closed day is its newest row up to it.
CREATE TABLE ledger.day_balance (
  account_id bigint NOT NULL,
  business_date date NOT NULL REFERENCES ledger.day_close DEFERRABLE INITIALLY DEFERRED,
  opening_minor bigint NOT NULL,
  debit_minor bigint NOT NULL CHECK (debit_minor >= 0),
  credit_minor bigint NOT NULL CHECK (credit_minor >= 0),
  closing_minor bigint NOT NULL,
  last_version bigint NOT NULL,
  PRIMARY KEY (account_id, business_date),
  CHECK (opening_minor + credit_minor - debit_minor = closing_minor)
);
CREATE TRIGGER day_close_is_posted BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.day_close
  FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER day_balance_is_posted BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.day_balance
  FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE INDEX movement_business_date ON ledger.movement USING brin (business_date);

-- The first moment after a business date, given the bank's zone and cut-off.
CREATE FUNCTION ledger.day_end(day date, zone text, cutoff interval) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT (day + cutoff) AT TIME ZONE zone $$;

-- What keeps a date from being closed; code null when nothing does.
CREATE FUNCTION ledger.day_obstacle(day date, zone text, cutoff interval, OUT code text, OUT value text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  last_closed date;
  fault record;
BEGIN
  SELECT max(business_date) INTO last_closed FROM ledger.day_close;
  IF ledger.clock_now() < ledger.day_end(day, zone, cutoff) THEN
    code := 'DAY_NOT_OVER'; value := day::text;
  ELSIF day <> last_closed + 1 THEN
    code := 'DAY_OUT_OF_ORDER'; value := (last_closed + 1)::text;
  ELSIF last_closed IS NULL AND EXISTS (SELECT FROM ledger.movement WHERE business_date < day) THEN
    code := 'DAY_OUT_OF_ORDER'; value := (SELECT min(business_date)::text FROM ledger.movement);
  ELSIF EXISTS (SELECT FROM ledger.movement WHERE business_date <= day AND movement_id >
                coalesce((SELECT last_movement_id FROM ledger.seal_block ORDER BY block_no DESC LIMIT 1), 0)) THEN
    code := 'DAY_NOT_SEALED'; value := day::text;
  ELSE
    -- the day's entries are the day's movements, twice, and add up to nothing
    SELECT m.currency, sum(e.amount_minor) AS total, count(e.movement_id) AS entries, count(DISTINCT m.movement_id) AS movements INTO fault
    FROM ledger.movement m LEFT JOIN ledger.entry e USING (movement_id) WHERE m.business_date = day
    GROUP BY m.currency HAVING sum(e.amount_minor) <> 0 OR count(e.movement_id) <> 2 * count(DISTINCT m.movement_id)
    ORDER BY m.currency LIMIT 1;
    IF FOUND THEN
      code := 'DAY_DOES_NOT_BALANCE';
      value := format('%s: %s entries for %s movements add up to %s', fault.currency, fault.entries, fault.movements, coalesce(fault.total, 0));
    END IF;
  END IF;
END $$;

-- Close a date, once; a second call answers the first close. One transaction: killed anywhere, the date is open as before.
CREATE FUNCTION ledger.close_day(day date, zone text, cutoff interval, by_whom text) RETURNS ledger.day_close
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  closed ledger.day_close;
  obstacle record;
  fault record;
  moved record;
  last_number bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(7440);
  SELECT * INTO closed FROM ledger.day_close WHERE business_date = day;
  IF FOUND THEN
    RETURN closed;
  END IF;
  SELECT * INTO obstacle FROM ledger.day_obstacle(day, zone, cutoff);
  IF obstacle.code IS NOT NULL THEN
    PERFORM work.refuse(obstacle.code, 'business_date', obstacle.value);
  END IF;
  INSERT INTO ledger.day_balance
  SELECT e.account_id, day, coalesce(before.closing_minor, 0), sum(greatest(-e.amount_minor, 0)), sum(greatest(e.amount_minor, 0)),
         coalesce(before.closing_minor, 0) + sum(e.amount_minor), max(e.account_version)
  FROM ledger.movement m JOIN ledger.entry e USING (movement_id)
  LEFT JOIN LATERAL (SELECT closing_minor FROM ledger.day_balance b WHERE b.account_id = e.account_id AND b.business_date < day
                     ORDER BY b.business_date DESC LIMIT 1) before ON true
  WHERE m.business_date = day GROUP BY e.account_id, before.closing_minor;
  SELECT a.account_no, b.closing_minor, e.balance_after_minor INTO fault
  FROM ledger.day_balance b JOIN ledger.entry e ON e.account_id = b.account_id AND e.account_version = b.last_version
  JOIN registry.account a ON a.account_id = b.account_id
  WHERE b.business_date = day AND e.balance_after_minor <> b.closing_minor ORDER BY a.account_no LIMIT 1;
  IF FOUND THEN
    PERFORM work.refuse('DAY_DOES_NOT_BALANCE', 'business_date',
      format('%s: opening and movements give %s, its last entry says %s', fault.account_no, fault.closing_minor, fault.balance_after_minor));
  END IF;

  SELECT count(*) AS movements, coalesce(sum(m.amount_minor), 0) AS amount, max(n.ledger_no) AS last_number INTO moved
  FROM ledger.movement m JOIN ledger.seal n USING (movement_id) WHERE m.business_date = day;
  last_number := coalesce(moved.last_number, (SELECT ledger_no_to FROM ledger.day_close ORDER BY business_date DESC LIMIT 1), 0);
  -- from here on nothing takes effect in the day: postings under way are waited for, later ones see the row (trigger below)
  PERFORM pg_advisory_xact_lock(7441);
  INSERT INTO ledger.day_close VALUES (day, ledger.day_end(day, zone, cutoff), last_number,
    (SELECT hash FROM ledger.seal_block WHERE last_ledger_no >= last_number ORDER BY block_no LIMIT 1),
    (SELECT count(*) FROM ledger.trade_order WHERE business_date = day), moved.movements, moved.amount,
    (SELECT count(*) FROM ledger.day_balance WHERE business_date = day), by_whom, ledger.clock_now())
  RETURNING * INTO closed;
  PERFORM audit.record(by_whom, 'DAY_CLOSED', 'business_date', day::text, NULL, NULL, to_jsonb(closed));
  PERFORM outbox.append('ledger.day_closed', NULL, day::text, to_jsonb(closed));
  RETURN closed;
END $$;

-- Nothing takes effect in a closed day, whoever posts it. Shared lock: a close waits for the postings that may still enter the day.
CREATE FUNCTION ledger.refuse_closed_days() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  fault record;
BEGIN
  IF NOT EXISTS (SELECT FROM inserted WHERE effective_at < recorded_at) THEN
    RETURN NULL;
  END IF;
  PERFORM pg_advisory_xact_lock_shared(7441);
  SELECT i.at, i.effective_at INTO fault
  FROM (SELECT row_number() OVER (ORDER BY order_id) - 1 AS at, effective_at, recorded_at FROM inserted) i
  WHERE i.effective_at < i.recorded_at AND i.effective_at < (SELECT max(ends_at) FROM ledger.day_close)
  ORDER BY i.at LIMIT 1;
  IF FOUND THEN
    PERFORM ledger.refuse('EFFECTIVE_IN_CLOSED_DAY', fault.at::int, 'effective_at', fault.effective_at::text);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER closed_days_stay_closed AFTER INSERT ON ledger.trade_order REFERENCING NEW TABLE AS inserted
  FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_closed_days();

-- The oldest date that is not closed; null while nothing was ever posted.
CREATE FUNCTION ledger.next_open_day() RETURNS date LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT max(business_date) + 1 FROM ledger.day_close),
                  (SELECT business_date FROM ledger.movement ORDER BY movement_id LIMIT 1)) $$;

REVOKE EXECUTE ON FUNCTION ledger.next_open_day, ledger.close_day, ledger.day_obstacle, ledger.refuse_closed_days FROM PUBLIC;
GRANT SELECT ON ledger.day_close, ledger.day_balance TO service;
GRANT SELECT ON ledger.day_close TO jobs;
GRANT EXECUTE ON FUNCTION ledger.close_day, ledger.next_open_day TO service, jobs;
GRANT EXECUTE ON FUNCTION ledger.day_obstacle TO service;
