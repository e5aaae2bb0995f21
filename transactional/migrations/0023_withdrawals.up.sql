-- Withdrawals as customers live them (spec 02 section 2.4: CONFIRMING > ACCEPT > REMITING > SUCCESS | FAIL, or ACCEPT_FAIL; spec 10 rows
-- 1.4, 1.24, 1.28b). The money is held when it is asked for, leaves the account when the customer has confirmed a second time, and
-- comes back as a BACKROLL when the bank could not pay. Rows are appended; the state follows from them and from the payment.
CREATE SCHEMA payments;
CREATE TABLE payments.withdrawal (
  platform_id text NOT NULL REFERENCES registry.platform,
  withdrawal_no text NOT NULL, -- also the number of its hold
  account_id bigint NOT NULL REFERENCES registry.account,
  speed text NOT NULL CHECK (speed IN ('T1', 'T0', 'REAL_TIME')),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0), -- what the customer receives
  fee_minor bigint NOT NULL CHECK (fee_minor >= 0),
  fee_account_no text,
  card_hash text,
  order_id bigint NOT NULL, -- that placed the hold
  expires_at timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, withdrawal_no),
  CHECK ((fee_minor = 0) = (fee_account_no IS NULL))
);
CREATE INDEX withdrawal_of_account ON payments.withdrawal (account_id);
CREATE TABLE payments.confirmation (
  platform_id text NOT NULL,
  withdrawal_no text NOT NULL,
  is_confirmed boolean NOT NULL,
  method text NOT NULL CHECK (method IN ('OTP', 'BANK_PASSWORD', 'FACE')),
  evidence_hash text NOT NULL CHECK (evidence_hash ~ '^[0-9a-f]{64}$'), -- of what proves the customer's word
  order_id bigint NOT NULL UNIQUE, -- that took the money, or let it go
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, withdrawal_no),
  FOREIGN KEY (platform_id, withdrawal_no) REFERENCES payments.withdrawal
);
CREATE TABLE payments.settlement (
  platform_id text NOT NULL,
  withdrawal_no text NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('PAID', 'FAILED')),
  reason text,
  order_id bigint NOT NULL UNIQUE, -- WITHDRAW_PAYOUT or BACKROLL
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (platform_id, withdrawal_no),
  FOREIGN KEY (platform_id, withdrawal_no) REFERENCES payments.confirmation
);
DO $$
DECLARE kept text;
BEGIN
  FOREACH kept IN ARRAY ARRAY['withdrawal', 'confirmation', 'settlement'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', kept);
  END LOOP;
END $$;

CREATE VIEW payments.withdrawal_state AS
SELECT w.platform_id, w.withdrawal_no, a.account_no, a.customer_no, a.currency, w.speed, w.amount_minor, w.fee_minor, w.fee_account_no,
       w.card_hash, w.expires_at, w.recorded_at, c.method, c.recorded_at AS decided_at, p.instruction_no, p.bank_reference,
       coalesce(s.reason, p.reason) AS reason, s.recorded_at AS settled_at,
       CASE WHEN s.outcome = 'PAID' THEN 'SUCCESS' WHEN s.outcome = 'FAILED' THEN 'FAIL'
            WHEN c.is_confirmed AND p.state IN ('SENT', 'ACCEPTED', 'PAID', 'FAILED') THEN 'REMITING'
            WHEN c.is_confirmed THEN 'ACCEPT'
            WHEN NOT c.is_confirmed OR w.expires_at <= ledger.clock_now() THEN 'ACCEPT_FAIL'
            ELSE 'CONFIRMING' END AS state
FROM payments.withdrawal w JOIN registry.account a USING (account_id)
LEFT JOIN payments.confirmation c ON (c.platform_id, c.withdrawal_no) = (w.platform_id, w.withdrawal_no)
LEFT JOIN payments.settlement s ON (s.platform_id, s.withdrawal_no) = (w.platform_id, w.withdrawal_no)
LEFT JOIN outside.payment_current p ON p.order_id = c.order_id;

-- A withdrawal whose turn the caller has, so that it is confirmed or settled once.
CREATE FUNCTION payments.take_turn(p text, no text) RETURNS payments.withdrawal_state
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands payments.withdrawal_state;
BEGIN
  PERFORM pg_advisory_xact_lock(7452, hashtext(p || ' ' || no));
  SELECT * INTO stands FROM payments.withdrawal_state s WHERE s.platform_id = p AND s.withdrawal_no = no;
  IF NOT FOUND THEN
    PERFORM work.refuse('WITHDRAWAL_NOT_FOUND', 'withdrawal_no', no);
  END IF;
  RETURN stands;
END $$;

-- Keep what was asked, once its money is held. A card must be one that is bound to the account.
CREATE FUNCTION payments.put_withdrawal(p text, no text, account text, speed text, amount bigint, fee bigint, fee_account text, card text,
  of_order bigint, expires_at timestamptz, actor text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found registry.account;
  made payments.withdrawal;
BEGIN
  SELECT * INTO found FROM registry.account a WHERE a.account_no = account AND a.platform_id = p;
  IF NOT EXISTS (SELECT FROM ledger.allowed_movement m WHERE m.movement_type = 'WITHDRAW' AND m.debit_role = found.account_role) THEN
    PERFORM work.refuse('MOVEMENT_NOT_ALLOWED', 'account', account);
  ELSIF card IS NOT NULL AND NOT EXISTS (
      SELECT FROM (SELECT DISTINCT ON (b.purpose) b.* FROM registry.bound_card b WHERE b.platform_id = p AND b.account_no = account
                   ORDER BY b.purpose, b.version DESC) now WHERE now.is_bound AND now.card_hash = card) THEN
    PERFORM work.refuse('CARD_NOT_BOUND', 'card_hash', account);
  END IF;
  INSERT INTO payments.withdrawal
  VALUES (p, no, found.account_id, speed, amount, fee, fee_account, card, of_order, expires_at, ledger.clock_now(), actor)
  RETURNING * INTO made;
  PERFORM audit.record(actor, 'WITHDRAWAL_ASKED', 'withdrawal', no, p, NULL, to_jsonb(made));
  RETURN (SELECT to_jsonb(s) FROM payments.withdrawal_state s WHERE s.platform_id = p AND s.withdrawal_no = no);
END $$;

CREATE FUNCTION payments.put_confirmation(p text, no text, confirmed boolean, method text, evidence text, of_order bigint, actor text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made payments.confirmation;
BEGIN
  INSERT INTO payments.confirmation VALUES (p, no, confirmed, method, evidence, of_order, ledger.clock_now(), actor) RETURNING * INTO made;
  PERFORM audit.record(actor, CASE WHEN confirmed THEN 'WITHDRAWAL_CONFIRMED' ELSE 'WITHDRAWAL_REFUSED' END, 'withdrawal', no, p, NULL, to_jsonb(made));
  RETURN (SELECT to_jsonb(s) FROM payments.withdrawal_state s WHERE s.platform_id = p AND s.withdrawal_no = no);
END $$;

CREATE FUNCTION payments.put_settlement(p text, no text, outcome text, reason text, of_order bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO payments.settlement VALUES (p, no, outcome, reason, of_order, ledger.clock_now());
  PERFORM audit.record('bank', 'WITHDRAWAL_' || outcome, 'withdrawal', no, p, NULL, jsonb_build_object('order_id', of_order, 'reason', reason));
END $$;

-- Withdrawals that the bank has paid or could not pay and whose last order is still to be posted.
CREATE VIEW payments.to_settle AS
SELECT c.platform_id, c.withdrawal_no, p.state AS outcome, p.reason
FROM outside.payment_current p JOIN payments.confirmation c ON c.order_id = p.order_id
LEFT JOIN payments.settlement s ON (s.platform_id, s.withdrawal_no) = (c.platform_id, c.withdrawal_no)
WHERE p.state IN ('PAID', 'FAILED') AND s.withdrawal_no IS NULL;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA payments FROM PUBLIC;
GRANT USAGE ON SCHEMA payments TO service;
GRANT SELECT ON ALL TABLES IN SCHEMA payments TO service;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA payments TO service;
