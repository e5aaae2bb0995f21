-- Money that the bank advances for withdrawals of the same day (spec 07 section 7.5: `advanceAmount`, side ledger open → repaid; rows 1.23b,
-- 1.23c): open from the customer's confirmation until the advance is repaid, or the payment failed; zero by T+1. Limits are decided by two.
CREATE TABLE payments.advance_limit (
  platform_id text NOT NULL REFERENCES registry.platform,
  currency text NOT NULL,
  version int NOT NULL CHECK (version >= 1),
  open_max_minor bigint NOT NULL CHECK (open_max_minor >= 0), -- of all advances that are open at one time
  payment_max_minor bigint NOT NULL CHECK (payment_max_minor >= 0), -- of one REAL_TIME payment
  approval_id bigint NOT NULL UNIQUE REFERENCES work.approval,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, currency, version)
);
CREATE TABLE payments.advance (
  platform_id text NOT NULL,
  withdrawal_no text NOT NULL,
  currency text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  advanced_on date NOT NULL, -- business date of the confirmation
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (platform_id, withdrawal_no),
  FOREIGN KEY (platform_id, withdrawal_no) REFERENCES payments.withdrawal
);
CREATE TABLE payments.advance_repayment (
  platform_id text NOT NULL,
  withdrawal_no text NOT NULL,
  bank_reference text NOT NULL,
  repaid_on date NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, withdrawal_no),
  FOREIGN KEY (platform_id, withdrawal_no) REFERENCES payments.advance
);
DO $$
DECLARE kept text;
BEGIN
  FOREACH kept IN ARRAY ARRAY['advance_limit', 'advance', 'advance_repayment'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', kept);
  END LOOP;
END $$;
CREATE VIEW payments.advance_state AS
SELECT a.platform_id, a.withdrawal_no, a.currency, a.amount_minor, a.advanced_on, a.recorded_at, r.bank_reference, r.repaid_on,
       CASE WHEN r.withdrawal_no IS NOT NULL THEN 'REPAID' WHEN s.outcome = 'FAILED' THEN 'FAILED' ELSE 'OPEN' END AS state
FROM payments.advance a
LEFT JOIN payments.advance_repayment r ON (r.platform_id, r.withdrawal_no) = (a.platform_id, a.withdrawal_no)
LEFT JOIN payments.settlement s ON (s.platform_id, s.withdrawal_no) = (a.platform_id, a.withdrawal_no);
CREATE VIEW payments.current_advance_limit AS
SELECT DISTINCT ON (platform_id, currency) * FROM payments.advance_limit ORDER BY platform_id, currency, version DESC;

-- ADVANCE_LIMIT {currency, open_max_minor, payment_max_minor}, subject the platform
CREATE FUNCTION payments.check_advance_limit(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{currency,open_max_minor,payment_max_minor}');
  PERFORM work.payload_text(asked.payload, 'currency', '^[A-Z]{3}$');
  PERFORM work.payload_whole(asked.payload, 'open_max_minor', 1000000000000000);
  IF work.payload_whole(asked.payload, 'payment_max_minor', 1000000000000000) > (asked.payload ->> 'open_max_minor')::bigint THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.payment_max_minor', 'above open_max_minor');
  ELSIF asked.subject IS DISTINCT FROM asked.platform_id OR NOT EXISTS (SELECT FROM registry.platform p WHERE p.platform_id = asked.platform_id) THEN
    PERFORM work.refuse('UNKNOWN_PLATFORM', 'subject', asked.subject);
  END IF;
END $$;
CREATE FUNCTION payments.apply_advance_limit(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made payments.advance_limit;
  before payments.advance_limit;
BEGIN
  PERFORM payments.check_advance_limit(asked);
  PERFORM pg_advisory_xact_lock(7454, hashtext(asked.platform_id || ' ' || (asked.payload ->> 'currency')));
  SELECT * INTO before FROM payments.current_advance_limit l WHERE l.platform_id = asked.platform_id AND l.currency = asked.payload ->> 'currency';
  INSERT INTO payments.advance_limit VALUES (asked.platform_id, asked.payload ->> 'currency', coalesce(before.version, 0) + 1,
    (asked.payload ->> 'open_max_minor')::bigint, (asked.payload ->> 'payment_max_minor')::bigint, asked.approval_id, ledger.clock_now(), checker)
  RETURNING * INTO made;
  PERFORM audit.record(checker, 'ADVANCE_LIMIT', 'platform', asked.platform_id, asked.platform_id, to_jsonb(before), to_jsonb(made));
  RETURN to_jsonb(made) - 'recorded_at';
END $$;
INSERT INTO work.kind VALUES
  ('ADVANCE_LIMIT', '{officer,finance}', '{checker,finance}', 'payments.check_advance_limit', 'payments.apply_advance_limit', 72);

-- Open an advance for a confirmed withdrawal of the same day; all of a platform and currency take turns, so no race passes the limit.
CREATE FUNCTION payments.open_advance(p text, no text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  asked payments.withdrawal_state;
  cap payments.advance_limit;
  is_open bigint;
BEGIN
  SELECT * INTO STRICT asked FROM payments.withdrawal_state s WHERE s.platform_id = p AND s.withdrawal_no = no;
  IF asked.speed = 'T1' THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(7454, hashtext(p || ' ' || asked.currency));
  SELECT * INTO cap FROM payments.current_advance_limit l WHERE l.platform_id = p AND l.currency = asked.currency;
  IF FOUND THEN -- without a limit nothing is refused, as with caps
    SELECT coalesce(sum(a.amount_minor), 0) INTO is_open FROM payments.advance_state a
    WHERE a.platform_id = p AND a.currency = asked.currency AND a.state = 'OPEN';
    IF asked.speed = 'REAL_TIME' AND asked.amount_minor > cap.payment_max_minor THEN
      PERFORM work.refuse('ADVANCE_EXCEEDED', 'amount_minor', format('one payment in real time: at most %s', cap.payment_max_minor));
    ELSIF is_open + asked.amount_minor > cap.open_max_minor THEN
      PERFORM work.refuse('ADVANCE_EXCEEDED', 'amount_minor', format('%s of %s is advanced', is_open, cap.open_max_minor));
    END IF;
  END IF;
  INSERT INTO payments.advance VALUES (p, no, asked.currency, asked.amount_minor, work.business_date(ledger.clock_now()), ledger.clock_now());
END $$;
CREATE FUNCTION payments.repay_advance(p text, no text, reference text, actor text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands payments.advance_state;
BEGIN
  PERFORM pg_advisory_xact_lock(7452, hashtext(p || ' ' || no));
  SELECT * INTO stands FROM payments.advance_state a WHERE a.platform_id = p AND a.withdrawal_no = no;
  IF NOT FOUND THEN
    PERFORM work.refuse('RECORD_NOT_FOUND', 'withdrawal_no', no);
  ELSIF stands.state <> 'OPEN' THEN
    PERFORM work.refuse('STATE_CONFLICT', 'withdrawal_no', stands.state);
  END IF;
  INSERT INTO payments.advance_repayment VALUES (p, no, reference, work.business_date(ledger.clock_now()), ledger.clock_now(), actor);
  PERFORM audit.record(actor, 'ADVANCE_REPAID', 'withdrawal', no, p, NULL, jsonb_build_object('bank_reference', reference));
  RETURN (SELECT to_jsonb(a) FROM payments.advance_state a WHERE a.platform_id = p AND a.withdrawal_no = no);
END $$;
REVOKE EXECUTE ON FUNCTION payments.check_advance_limit, payments.apply_advance_limit, payments.open_advance, payments.repay_advance FROM PUBLIC;
GRANT SELECT ON payments.advance_limit, payments.advance, payments.advance_repayment, payments.advance_state, payments.current_advance_limit TO service;
GRANT EXECUTE ON FUNCTION payments.open_advance, payments.repay_advance TO service;
