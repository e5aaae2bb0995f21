-- Recharges as customers live them (spec 10 rows 1.3, 1.22a-c; spec 07 section 7.2 RECHARGE): a platform says what is to come and through which
-- channel, the payment company tells once whether it came, and money it takes back leaves the account by the reversal of that order.
-- Rows are appended; the state follows from them, from the clock and from the ledger: SUBMITTED > PAID | FAILED | EXPIRED, PAID > BACKROLLED.
CREATE TABLE payments.recharge (
  platform_id text NOT NULL REFERENCES registry.platform,
  request_no text NOT NULL, -- also the number of the order that credits it, by which the channel's file is matched
  account_id bigint NOT NULL REFERENCES registry.account,
  paycom_id text NOT NULL REFERENCES registry.payment_company,
  channel text NOT NULL CHECK (channel IN ('WEB', 'TERMINAL', 'WITHHOLDING')),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0), -- what the customer pays
  fee_minor bigint NOT NULL CHECK (fee_minor >= 0), -- the platform's, taken from it
  fee_account_no text,
  card_hash text,
  authorisation_no text, -- of the customer's confirmed redirect AUTHORISE
  expires_at timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, request_no),
  CHECK ((fee_minor = 0) = (fee_account_no IS NULL)),
  CHECK (channel <> 'WITHHOLDING' OR (card_hash IS NOT NULL AND authorisation_no IS NOT NULL))
);
CREATE INDEX recharge_of_account ON payments.recharge (account_id);
CREATE TABLE payments.recharge_outcome (
  platform_id text NOT NULL,
  request_no text NOT NULL,
  paycom_id text NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('PAID', 'FAILED')),
  paycom_order_no text, -- the payment company's number; each pays one recharge
  reason text, -- its failure code or words
  order_id bigint UNIQUE, -- that credited the account
  posted jsonb, -- what was answered of it
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, request_no),
  UNIQUE (paycom_id, paycom_order_no),
  FOREIGN KEY (platform_id, request_no) REFERENCES payments.recharge,
  CHECK ((outcome = 'PAID') = (order_id IS NOT NULL) AND (outcome = 'PAID') = (posted IS NOT NULL)),
  CHECK (outcome = 'FAILED' OR (paycom_order_no IS NOT NULL AND reason IS NULL)),
  CHECK (outcome = 'PAID' OR reason IS NOT NULL)
);
CREATE TABLE payments.recharge_backroll (
  platform_id text NOT NULL,
  request_no text NOT NULL,
  reason text NOT NULL,
  order_id bigint NOT NULL UNIQUE, -- the reversal
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, request_no),
  FOREIGN KEY (platform_id, request_no) REFERENCES payments.recharge_outcome
);
DO $$
DECLARE kept text;
BEGIN
  FOREACH kept IN ARRAY ARRAY['recharge', 'recharge_outcome', 'recharge_backroll'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', kept);
  END LOOP;
END $$;

-- An order that is reversed by whatever way is BACKROLLED: the ledger says so, not the row beside it.
CREATE VIEW payments.recharge_state AS
SELECT r.platform_id, r.request_no, a.account_no, a.customer_no, a.currency, r.paycom_id, c.account_no AS channel_account_no, r.channel,
       r.amount_minor, r.fee_minor, r.fee_account_no, r.card_hash, r.authorisation_no, r.expires_at, r.recorded_at, o.paycom_order_no,
       o.order_id, o.recorded_at AS decided_at, coalesce(b.reason, o.reason) AS reason, v.order_id AS backroll_order_id,
       v.recorded_at AS backrolled_at,
       CASE WHEN v.order_id IS NOT NULL THEN 'BACKROLLED' WHEN o.outcome IS NOT NULL THEN o.outcome
            WHEN r.expires_at <= ledger.clock_now() THEN 'EXPIRED' ELSE 'SUBMITTED' END AS state
FROM payments.recharge r JOIN registry.account a USING (account_id)
JOIN registry.account c ON (c.platform_id, c.paycom_id, c.currency, c.account_role) = (r.platform_id, r.paycom_id, a.currency, 'CHANNEL_RECEIVABLE')
LEFT JOIN payments.recharge_outcome o ON (o.platform_id, o.request_no) = (r.platform_id, r.request_no)
LEFT JOIN payments.recharge_backroll b ON (b.platform_id, b.request_no) = (r.platform_id, r.request_no)
LEFT JOIN ledger.trade_order v ON v.reverses_order_id = o.order_id;

-- A recharge whose turn the caller has, so that it is paid and taken back once.
CREATE FUNCTION payments.take_recharge(p text, no text) RETURNS payments.recharge_state
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands payments.recharge_state;
BEGIN
  PERFORM pg_advisory_xact_lock(7455, hashtext(p || ' ' || no));
  SELECT * INTO stands FROM payments.recharge_state s WHERE s.platform_id = p AND s.request_no = no;
  IF NOT FOUND THEN
    PERFORM work.refuse('RECHARGE_NOT_FOUND', 'request_no', no);
  END IF;
  RETURN stands;
END $$;

-- The channel must be one that the payment company is registered for and that the platform has a contract for today. Where neither terms nor
-- a contract are registered nothing is refused, as with caps.
CREATE FUNCTION payments.check_channel(p text, paycom text, channel text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  today date := work.business_date(ledger.clock_now());
  terms registry.payment_company_terms;
  mapping registry.payment_mapping;
BEGIN
  SELECT * INTO terms FROM registry.payment_company_terms t WHERE t.paycom_id = paycom AND t.valid_from <= today ORDER BY t.version DESC LIMIT 1;
  IF FOUND AND NOT channel = ANY (terms.channels) THEN
    PERFORM work.refuse('CHANNEL_NOT_OPEN', 'channel', channel);
  END IF;
  SELECT * INTO mapping FROM registry.payment_mapping m
  WHERE m.platform_id = p AND m.paycom_id = paycom AND m.valid_from <= today ORDER BY m.version DESC LIMIT 1;
  IF FOUND AND NOT today BETWEEN mapping.contract_from AND coalesce(mapping.contract_to, 'infinity') THEN
    PERFORM work.refuse('CHANNEL_NOT_OPEN', 'paycom_id', paycom);
  END IF;
END $$;

-- A card that is named must be bound: for withholding to that purpose, and with the customer's confirmed authorisation.
CREATE FUNCTION payments.check_payer(made payments.recharge, account registry.account) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF made.card_hash IS NOT NULL AND NOT EXISTS (
      SELECT FROM registry.current_bound_card b
      WHERE b.platform_id = made.platform_id AND b.account_no = account.account_no AND b.is_bound AND b.card_hash = made.card_hash
        AND (made.channel <> 'WITHHOLDING' OR b.purpose = 'WITHHOLDING')) THEN
    PERFORM work.refuse('CARD_NOT_BOUND', 'card_hash', account.account_no);
  ELSIF made.authorisation_no IS NOT NULL AND NOT EXISTS (
      SELECT FROM registry.current_redirect_evidence e
      WHERE e.platform_id = made.platform_id AND e.request_no = made.authorisation_no AND e.purpose = 'AUTHORISE' AND e.is_confirmed
        AND e.customer_no = account.customer_no) THEN
    PERFORM work.refuse('NOT_AUTHORISED', 'authorisation_no', made.authorisation_no);
  END IF;
END $$;

CREATE FUNCTION payments.put_recharge(r jsonb, account text, expires_in_s int, actor text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made payments.recharge := jsonb_populate_record(NULL::payments.recharge, r);
  found registry.account;
BEGIN
  PERFORM pg_advisory_xact_lock(7455, hashtext(made.platform_id || ' ' || made.request_no));
  SELECT * INTO found FROM registry.account a WHERE a.account_no = account AND a.platform_id = made.platform_id;
  IF EXISTS (SELECT FROM payments.recharge x WHERE x.platform_id = made.platform_id AND x.request_no = made.request_no) THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'request_no', made.request_no);
  ELSIF found.account_id IS NULL THEN
    PERFORM work.refuse('UNKNOWN_ACCOUNT', 'account', account);
  ELSIF NOT EXISTS (SELECT FROM registry.account c
      WHERE (c.platform_id, c.paycom_id, c.currency, c.account_role) = (made.platform_id, made.paycom_id, found.currency, 'CHANNEL_RECEIVABLE')) THEN
    PERFORM work.refuse('UNKNOWN_ACCOUNT', 'paycom_id', made.paycom_id);
  END IF;
  PERFORM payments.check_channel(made.platform_id, made.paycom_id, made.channel);
  PERFORM payments.check_payer(made, found);
  made.account_id := found.account_id;
  made.recorded_at := ledger.clock_now();
  made.expires_at := made.recorded_at + make_interval(secs => expires_in_s);
  made.actor := put_recharge.actor;
  INSERT INTO payments.recharge SELECT (made).*;
  PERFORM audit.record(actor, 'RECHARGE_SUBMITTED', 'recharge', made.request_no, made.platform_id, NULL, to_jsonb(made));
  RETURN (SELECT to_jsonb(s) FROM payments.recharge_state s WHERE s.platform_id = made.platform_id AND s.request_no = made.request_no);
END $$;

-- What was answered when the payment company told the same before; null when it tells for the first time. Another word is refused.
CREATE FUNCTION payments.told_before(p text, no text, outcome text, paycom_order text, reason text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands payments.recharge_state := payments.take_recharge(p, no);
  told payments.recharge_outcome;
BEGIN
  SELECT * INTO told FROM payments.recharge_outcome o WHERE o.platform_id = p AND o.request_no = no;
  IF FOUND AND (told.outcome, told.paycom_order_no, told.reason) IS NOT DISTINCT FROM (told_before.outcome, paycom_order, told_before.reason) THEN
    RETURN jsonb_build_object('order', told.posted, 'recharge', to_jsonb(stands));
  ELSIF stands.state <> 'SUBMITTED' THEN
    PERFORM work.refuse('STATE_CONFLICT', 'request_no', stands.state);
  ELSIF EXISTS (SELECT FROM payments.recharge_outcome o WHERE o.paycom_id = stands.paycom_id AND o.paycom_order_no = paycom_order) THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'paycom_order_no', paycom_order);
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION payments.put_recharge_outcome(p text, no text, outcome text, paycom_order text, reason text, posted jsonb, actor text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made payments.recharge_outcome;
BEGIN
  INSERT INTO payments.recharge_outcome
  SELECT p, no, r.paycom_id, put_recharge_outcome.outcome, paycom_order, put_recharge_outcome.reason, (posted ->> 'order_id')::bigint, posted,
         ledger.clock_now(), put_recharge_outcome.actor
  FROM payments.recharge r WHERE r.platform_id = p AND r.request_no = no
  RETURNING * INTO made;
  PERFORM audit.record(actor, 'RECHARGE_' || outcome, 'recharge', no, p, NULL, to_jsonb(made));
  RETURN (SELECT jsonb_build_object('order', posted, 'recharge', to_jsonb(s)) FROM payments.recharge_state s WHERE s.platform_id = p AND s.request_no = no);
END $$;

CREATE FUNCTION payments.put_recharge_backroll(p text, no text, reason text, of_order bigint, actor text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made payments.recharge_backroll;
BEGIN
  INSERT INTO payments.recharge_backroll VALUES (p, no, reason, of_order, ledger.clock_now(), actor) RETURNING * INTO made;
  PERFORM audit.record(actor, 'RECHARGE_BACKROLLED', 'recharge', no, p, NULL, to_jsonb(made));
  RETURN (SELECT to_jsonb(s) FROM payments.recharge_state s WHERE s.platform_id = p AND s.request_no = no);
END $$;

-- Recharges that say other than their orders; for `ledger verify`.
CREATE FUNCTION payments.recharge_faults() RETURNS TABLE (row_name text, what text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT 'recharge ' || r.request_no, 'its order did not bring this amount to this account'
  FROM payments.recharge r JOIN payments.recharge_outcome o USING (platform_id, request_no)
  WHERE o.outcome = 'PAID' AND NOT EXISTS (
    SELECT FROM ledger.trade_order t JOIN ledger.movement m USING (order_id)
    JOIN registry.account c ON c.account_id = m.debit_account_id
    WHERE t.order_id = o.order_id AND (t.platform_id, t.request_no, t.order_type) = (r.platform_id, r.request_no, 'RECHARGE_' || r.channel)
      AND (m.movement_type, m.credit_account_id, m.amount_minor, c.paycom_id) = ('RECHARGE', r.account_id, r.amount_minor, r.paycom_id))
  UNION ALL
  SELECT 'recharge ' || r.request_no, 'its fee is not what its order took'
  FROM payments.recharge r JOIN payments.recharge_outcome o USING (platform_id, request_no)
  WHERE o.outcome = 'PAID' AND r.fee_minor <> (
    SELECT coalesce(sum(m.amount_minor), 0) FROM ledger.movement m JOIN registry.account c ON c.account_id = m.credit_account_id
    WHERE m.order_id = o.order_id AND m.movement_type = 'COMMISSION' AND c.account_no = r.fee_account_no)
  UNION ALL
  SELECT 'backroll of recharge ' || b.request_no, 'its order does not reverse the recharge'
  FROM payments.recharge_backroll b JOIN payments.recharge_outcome o USING (platform_id, request_no)
  WHERE NOT EXISTS (SELECT FROM ledger.trade_order t WHERE t.order_id = b.order_id AND t.reverses_order_id = o.order_id) $$;

REVOKE EXECUTE ON FUNCTION payments.take_recharge, payments.check_channel, payments.check_payer, payments.put_recharge, payments.told_before,
  payments.put_recharge_outcome, payments.put_recharge_backroll, payments.recharge_faults FROM PUBLIC;
GRANT SELECT ON payments.recharge, payments.recharge_outcome, payments.recharge_backroll, payments.recharge_state TO service;
GRANT EXECUTE ON FUNCTION payments.take_recharge, payments.put_recharge, payments.told_before, payments.put_recharge_outcome,
  payments.put_recharge_backroll, payments.recharge_faults TO service;
-- the night verifies the ledger, and compares these rows with its anchors
GRANT EXECUTE ON FUNCTION payments.recharge_faults TO jobs;
GRANT SELECT ON ALL TABLES IN SCHEMA payments TO jobs;
ALTER DEFAULT PRIVILEGES IN SCHEMA payments GRANT SELECT ON TABLES TO jobs;
