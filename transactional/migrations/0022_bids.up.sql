-- Bids: which hold of which lender stands for which loan, so that the raise of a loan can neither be overfilled by a race nor
-- disbursed with other money (spec 07 section 7.5; spec 10 rows 1.5, 1.7, 1.8). A bid is never changed; what became of it its hold says.
CREATE TABLE loans.bid (
  platform_id text NOT NULL,
  bid_no text NOT NULL, -- also the number of its hold and of the order that placed it
  loan_no text NOT NULL,
  customer_no text NOT NULL, -- the lender
  account_id bigint NOT NULL REFERENCES registry.account,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  mandate_no text,
  order_id bigint NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, bid_no),
  FOREIGN KEY (platform_id, loan_no) REFERENCES loans.loan
);
CREATE INDEX bid_of_loan ON loans.bid (platform_id, loan_no);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loans.bid FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

CREATE VIEW loans.bid_state AS
SELECT b.platform_id, b.bid_no, b.loan_no, l.currency, b.customer_no, a.account_no, b.amount_minor, b.mandate_no, h.held_minor,
       CASE WHEN h.held_minor > 0 THEN 'LIVE' WHEN h.is_captured THEN 'DISBURSED' WHEN h.is_expired THEN 'EXPIRED' ELSE 'RELEASED' END AS state,
       b.recorded_at
FROM loans.bid b JOIN loans.loan l USING (platform_id, loan_no) JOIN registry.account a USING (account_id)
CROSS JOIN LATERAL (
  SELECT sum(CASE e.event_type WHEN 'PLACE' THEN e.amount_minor ELSE -e.amount_minor END)::bigint AS held_minor,
         bool_or(e.event_type = 'CAPTURE') AS is_captured, bool_or(e.event_type = 'EXPIRE') AS is_expired
  FROM ledger.hold_event e WHERE e.platform_id = b.platform_id AND e.hold_no = b.bid_no) h;

-- Whoever bids on a loan, disburses or repays it takes turns; gives the loan as it stands.
CREATE FUNCTION loans.take_turn(p text, no text) RETURNS loans.loan_state
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found loans.loan := loans.find_loan(p, no);
  stands loans.loan_state;
BEGIN
  PERFORM pg_advisory_xact_lock(7451, hashtext(found.platform_id || ' ' || found.loan_no));
  SELECT * INTO stands FROM loans.loan_state s WHERE s.platform_id = p AND s.loan_no = no;
  RETURN stands;
END $$;

-- A bid is kept once its hold is placed: the loan is raising, on this bank day, and the bids do not exceed its contract amount.
CREATE FUNCTION loans.put_bid(p text, no text, bid text, account text, mandate text, of_order bigint, bank_day date, actor text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  loan loans.loan_state := loans.take_turn(p, no);
  lender registry.account;
  made loans.bid;
  bids bigint;
BEGIN
  IF loan.status <> '6' OR bank_day NOT BETWEEN loan.raise_start AND loan.raise_end THEN
    PERFORM work.refuse('STATE_CONFLICT', 'loan_no', format('status %s, raises %s to %s', loan.status, loan.raise_start, loan.raise_end));
  END IF;
  SELECT * INTO lender FROM registry.account a WHERE a.account_no = account AND a.platform_id = p;
  IF lender.account_role IS DISTINCT FROM 'INVESTOR' OR lender.currency <> loan.currency THEN
    PERFORM work.refuse('ORDER_DIFFERS', 'account', account);
  ELSIF lender.customer_no = loan.customer_no THEN -- nobody lends to themselves
    PERFORM work.refuse('ORDER_DIFFERS', 'account', account);
  END IF;
  INSERT INTO loans.bid
  SELECT p, bid, no, lender.customer_no, lender.account_id, e.amount_minor, mandate, of_order, ledger.clock_now(), actor
  FROM ledger.hold_event e WHERE e.order_id = of_order AND e.event_type = 'PLACE' AND e.hold_no = bid
  RETURNING * INTO STRICT made;
  SELECT coalesce(sum(s.held_minor), 0) INTO bids FROM loans.bid_state s WHERE s.platform_id = p AND s.loan_no = no;
  IF bids > loan.contract_minor THEN
    PERFORM work.refuse('AMOUNT_EXCEEDS', 'amount_minor', format('%s of %s are bid for already', bids - made.amount_minor, loan.contract_minor));
  END IF;
  IF mandate IS NOT NULL THEN
    PERFORM loans.use_mandate(jsonb_build_object('platform_id', p, 'mandate_no', mandate, 'hold_no', bid, 'loan_no', no,
                                                 'amount_minor', made.amount_minor), actor);
  END IF;
  PERFORM audit.record(actor, 'BID_PLACED', 'loan', no, p, NULL, to_jsonb(made));
  RETURN (SELECT to_jsonb(s) FROM loans.bid_state s WHERE s.platform_id = p AND s.bid_no = bid);
END $$;

REVOKE EXECUTE ON FUNCTION loans.take_turn, loans.put_bid FROM PUBLIC;
GRANT SELECT ON loans.bid, loans.bid_state TO service;
GRANT EXECUTE ON FUNCTION loans.take_turn, loans.put_bid TO service;
