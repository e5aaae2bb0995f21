-- The bank's own side of the special account (spec 02 section 2.4, spec 07 section 7.7 term N, break B27): money that came without a
-- known owner, interest that the bank credited, its charges and taxes. All pass through SUSPENSE and leave it again: a receipt is claimed
-- for an account or returned, interest is passed on, charges are borne by the platform's own accounts. Two people decide.
CREATE TABLE payments.receipt (
  platform_id text NOT NULL REFERENCES registry.platform,
  receipt_no text NOT NULL,
  bank_reference text NOT NULL, -- of the entry on the statement of the special account
  currency text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  value_on date NOT NULL,
  payer_hash text CHECK (payer_hash ~ '^[0-9a-f]{64}$'), -- keyed hash of the account it came from
  payer_masked text,
  remittance text, -- what the payer wrote, masked
  order_id bigint NOT NULL UNIQUE,
  business_date date NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, receipt_no),
  UNIQUE (platform_id, bank_reference),
  CHECK (registry.is_masked(payer_masked) IS NOT FALSE AND registry.is_masked(remittance) IS NOT FALSE)
);
CREATE TABLE payments.receipt_event (
  platform_id text NOT NULL,
  receipt_no text NOT NULL,
  seq int NOT NULL CHECK (seq >= 1),
  event text NOT NULL CHECK (event IN ('CLAIMED', 'RETURNED', 'PAID_BACK', 'RETURN_FAILED')),
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  account_no text, -- that claimed it
  evidence_hash text CHECK (evidence_hash ~ '^[0-9a-f]{64}$'),
  reason text,
  order_id bigint NOT NULL UNIQUE,
  approval_id bigint REFERENCES work.approval, -- null: what core banking answered
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, receipt_no, seq),
  FOREIGN KEY (platform_id, receipt_no) REFERENCES payments.receipt,
  CHECK ((event = 'CLAIMED') = (account_no IS NOT NULL) AND (event = 'CLAIMED') = (evidence_hash IS NOT NULL))
);
CREATE TABLE payments.bank_item ( -- interest, charges and taxes of the special account, each entry of the statement once
  platform_id text NOT NULL REFERENCES registry.platform,
  bank_reference text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('INTEREST', 'CHARGE')),
  currency text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0), -- of a charge with its tax
  booked_on date NOT NULL,
  order_id bigint NOT NULL UNIQUE,
  approval_id bigint NOT NULL UNIQUE REFERENCES work.approval,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, bank_reference)
);
DO $$
DECLARE kept text;
BEGIN
  FOREACH kept IN ARRAY ARRAY['receipt', 'receipt_event', 'bank_item'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', kept);
  END LOOP;
END $$;

CREATE VIEW payments.receipt_state AS
SELECT r.platform_id, r.receipt_no, r.bank_reference, r.currency, r.amount_minor, r.value_on, r.payer_hash, r.payer_masked, r.remittance,
       r.business_date, r.recorded_at, e.claimed_minor, e.returned_minor, r.amount_minor - e.claimed_minor - e.returned_minor AS open_minor,
       CASE WHEN r.amount_minor > e.claimed_minor + e.returned_minor THEN CASE e.claimed_minor WHEN 0 THEN 'OPEN' ELSE 'PARTLY_CLAIMED' END
            WHEN e.returned_minor = 0 THEN 'CLAIMED' WHEN e.last_event = 'PAID_BACK' THEN 'RETURNED' ELSE 'RETURNING' END AS state
FROM payments.receipt r
CROSS JOIN LATERAL (
  SELECT coalesce(sum(v.amount_minor) FILTER (WHERE v.event = 'CLAIMED'), 0)::bigint AS claimed_minor,
         coalesce(sum(CASE v.event WHEN 'RETURNED' THEN v.amount_minor WHEN 'RETURN_FAILED' THEN -v.amount_minor END), 0)::bigint AS returned_minor,
         (array_agg(v.event ORDER BY v.seq DESC))[1] AS last_event
  FROM payments.receipt_event v WHERE (v.platform_id, v.receipt_no) = (r.platform_id, r.receipt_no)) e;

CREATE FUNCTION payments.control_account(p text, role text, currency text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.account_no FROM registry.account a WHERE a.platform_id = p AND a.account_role = role AND a.currency = control_account.currency $$;

-- A receipt whose turn the caller has; the posting lock comes after it.
CREATE FUNCTION payments.take_receipt(p text, no text) RETURNS payments.receipt_state
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands payments.receipt_state;
BEGIN
  PERFORM pg_advisory_xact_lock(7453, hashtext(p || ' ' || no));
  SELECT * INTO stands FROM payments.receipt_state s WHERE s.platform_id = p AND s.receipt_no = no;
  IF NOT FOUND THEN
    PERFORM work.refuse('RECORD_NOT_FOUND', 'receipt_no', no);
  END IF;
  PERFORM pg_advisory_xact_lock(7401);
  RETURN stands;
END $$;

CREATE FUNCTION payments.put_receipt(r jsonb, actor text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made payments.receipt := jsonb_populate_record(NULL::payments.receipt, r);
  posted jsonb;
BEGIN
  PERFORM pg_advisory_xact_lock(7453, hashtext(made.platform_id || ' ' || made.receipt_no));
  IF EXISTS (SELECT FROM payments.receipt x WHERE x.platform_id = made.platform_id AND (x.receipt_no = made.receipt_no OR x.bank_reference = made.bank_reference))
     OR EXISTS (SELECT FROM payments.bank_item x WHERE x.platform_id = made.platform_id AND x.bank_reference = made.bank_reference) THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'bank_reference', made.bank_reference);
  ELSIF made.value_on > work.business_date(ledger.clock_now()) THEN
    PERFORM work.refuse('BODY_INVALID', 'value_on', made.value_on::text);
  END IF;
  posted := work.post_order(made.platform_id, '@receipt-' || made.receipt_no, 'UNIDENTIFIED_RECEIPT', made.currency, actor,
    jsonb_build_array(jsonb_build_object('movement_type', 'UNIDENTIFIED_RECEIPT',
      'debit_account', payments.control_account(made.platform_id, 'SPECIAL_ACCOUNT', made.currency),
      'credit_account', payments.control_account(made.platform_id, 'SUSPENSE', made.currency), 'amount_minor', made.amount_minor)), '[]', '{}');
  made.order_id := (posted ->> 'order_id')::bigint;
  made.business_date := (posted ->> 'business_date')::date;
  made.recorded_at := ledger.clock_now();
  made.actor := put_receipt.actor;
  INSERT INTO payments.receipt SELECT (made).*;
  PERFORM audit.record(actor, 'RECEIPT_RECORDED', 'receipt', made.receipt_no, made.platform_id, NULL, to_jsonb(made));
  RETURN (SELECT to_jsonb(s) FROM payments.receipt_state s WHERE s.platform_id = made.platform_id AND s.receipt_no = made.receipt_no);
END $$;

CREATE FUNCTION payments.put_event(stands payments.receipt_state, event text, amount bigint, account text, evidence text, why text, of_order bigint,
  approval bigint, actor text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made payments.receipt_event;
BEGIN
  INSERT INTO payments.receipt_event
  SELECT stands.platform_id, stands.receipt_no, coalesce(max(v.seq), 0) + 1, put_event.event, amount, account, evidence, why, of_order, approval,
         ledger.clock_now(), put_event.actor
  FROM payments.receipt_event v WHERE (v.platform_id, v.receipt_no) = (stands.platform_id, stands.receipt_no)
  RETURNING * INTO made;
  PERFORM audit.record(actor, 'RECEIPT_' || event, 'receipt', stands.receipt_no, stands.platform_id, NULL, to_jsonb(made));
END $$;

-- RECEIPT_CLAIM {account_no, amount_minor, evidence_hash}: what proves that the money is that account's
CREATE FUNCTION payments.check_receipt_claim(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands payments.receipt_state;
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{account_no,amount_minor,evidence_hash}');
  PERFORM work.payload_text(asked.payload, 'evidence_hash', '^[0-9a-f]{64}$');
  PERFORM work.payload_account(asked);
  stands := payments.take_receipt(asked.platform_id, asked.subject);
  IF work.payload_whole(asked.payload, 'amount_minor', 1000000000000000) > stands.open_minor THEN
    PERFORM work.refuse('AMOUNT_EXCEEDS', 'payload.amount_minor', format('%s is open', stands.open_minor));
  END IF;
END $$;
CREATE FUNCTION payments.apply_receipt_claim(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands payments.receipt_state;
  amount bigint := (asked.payload ->> 'amount_minor')::bigint;
  posted jsonb;
BEGIN
  stands := payments.take_receipt(asked.platform_id, asked.subject);
  PERFORM payments.check_receipt_claim(asked);
  posted := work.post_order(asked.platform_id, format('@receipt-%s-%s', asked.subject, asked.approval_id), 'UNIDENTIFIED_RECEIPT', stands.currency, checker,
    jsonb_build_array(jsonb_build_object('movement_type', 'RECEIPT_CLAIMED',
      'debit_account', payments.control_account(asked.platform_id, 'SUSPENSE', stands.currency),
      'credit_account', asked.payload ->> 'account_no', 'amount_minor', amount)), '[]', '{}');
  PERFORM payments.put_event(stands, 'CLAIMED', amount, asked.payload ->> 'account_no', asked.payload ->> 'evidence_hash', NULL,
                             (posted ->> 'order_id')::bigint, asked.approval_id, checker);
  RETURN posted || jsonb_build_object('receipt_no', asked.subject);
END $$;

-- RECEIPT_RETURN {}: all that is open goes back to where it came from
CREATE FUNCTION payments.check_receipt_return(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{}');
  IF (payments.take_receipt(asked.platform_id, asked.subject)).open_minor = 0 THEN
    PERFORM work.refuse('STATE_CONFLICT', 'subject', asked.subject);
  END IF;
END $$;
CREATE FUNCTION payments.apply_receipt_return(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands payments.receipt_state;
  posted jsonb;
BEGIN
  PERFORM payments.check_receipt_return(asked);
  stands := payments.take_receipt(asked.platform_id, asked.subject);
  posted := work.post_order(asked.platform_id, format('@receipt-%s-%s', asked.subject, asked.approval_id), 'UNIDENTIFIED_RECEIPT', stands.currency, checker,
    jsonb_build_array(jsonb_build_object('movement_type', 'RECEIPT_RETURNED',
      'debit_account', payments.control_account(asked.platform_id, 'SUSPENSE', stands.currency),
      'credit_account', payments.control_account(asked.platform_id, 'WITHDRAWAL_PAYABLE', stands.currency), 'amount_minor', stands.open_minor)), '[]', '{}');
  PERFORM payments.put_event(stands, 'RETURNED', stands.open_minor, NULL, NULL, asked.reason, (posted ->> 'order_id')::bigint, asked.approval_id, checker);
  RETURN posted || jsonb_build_object('receipt_no', asked.subject);
END $$;

-- Returns that core banking paid or could not pay and whose last order is still to be posted.
CREATE VIEW payments.receipts_to_settle AS
SELECT v.platform_id, v.receipt_no, v.seq, v.amount_minor, o.request_no, p.state AS outcome, p.reason
FROM outside.payment_current p JOIN payments.receipt_event v ON v.order_id = p.order_id AND v.event = 'RETURNED'
JOIN ledger.trade_order o ON o.order_id = v.order_id
WHERE p.state IN ('PAID', 'FAILED') AND NOT EXISTS (
  SELECT FROM payments.receipt_event l WHERE (l.platform_id, l.receipt_no) = (v.platform_id, v.receipt_no) AND l.seq > v.seq
    AND l.event IN ('PAID_BACK', 'RETURN_FAILED'));
-- The last order of a return: paid out, or taken back, after which the receipt is open again. Once, however often it is called.
CREATE FUNCTION payments.settle_receipt(p text, no text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands payments.receipt_state := payments.take_receipt(p, no);
  due payments.receipts_to_settle;
  payable text := payments.control_account(p, 'WITHDRAWAL_PAYABLE', stands.currency);
  rule work.day_rule;
  posted jsonb;
BEGIN
  SELECT * INTO due FROM payments.receipts_to_settle d WHERE d.platform_id = p AND d.receipt_no = no ORDER BY d.seq LIMIT 1;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF due.outcome = 'PAID' THEN
    posted := work.post_order(p, due.request_no || '-paid', 'WITHDRAW_PAYOUT', stands.currency, 'bank',
      jsonb_build_array(jsonb_build_object('movement_type', 'WITHDRAW_PAYOUT', 'debit_account', payable,
        'credit_account', payments.control_account(p, 'SPECIAL_ACCOUNT', stands.currency), 'amount_minor', due.amount_minor)), '[]', '{}');
    PERFORM payments.put_event(stands, 'PAID_BACK', due.amount_minor, NULL, NULL, NULL, (posted ->> 'order_id')::bigint, NULL, 'bank');
  ELSE
    SELECT * INTO STRICT rule FROM work.day_rule ORDER BY version DESC LIMIT 1;
    posted := (ledger.post_all(jsonb_build_object('endpoint', 'work', 'bulk', false, 'zone', rule.zone, 'cutoff', make_interval(secs => rule.cutoff_s),
      'entered_by', 'bank', 'answers', '[]'::jsonb, 'holds', '[]'::jsonb,
      'orders', jsonb_build_array(jsonb_build_object('o', 0, 'platform_id', p, 'request_no', due.request_no || '-failed',
        'order_type', 'UNIDENTIFIED_RECEIPT', 'currency', stands.currency, 'reverses_request_no', due.request_no)),
      'movements', jsonb_build_array(jsonb_build_object('o', 0, 'seq', 1, 'movement_type', 'RECEIPT_RETURNED', 'debit_account', payable,
        'credit_account', payments.control_account(p, 'SUSPENSE', stands.currency), 'amount_minor', due.amount_minor)))))[1];
    PERFORM payments.put_event(stands, 'RETURN_FAILED', due.amount_minor, NULL, NULL, due.reason, (posted ->> 'order_id')::bigint, NULL, 'bank');
  END IF;
  RETURN true;
END $$;

-- INTEREST_CREDITED {currency, amount_minor, booked_on, shares [{account_no, amount_minor}]}, subject the bank's reference: passed on whole
CREATE FUNCTION payments.check_interest(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  amount bigint := work.payload_whole(asked.payload, 'amount_minor', 1000000000000000);
  shared numeric;
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{currency,amount_minor,booked_on,shares}');
  PERFORM payments.check_bank_item(asked);
  IF jsonb_typeof(asked.payload -> 'shares') IS DISTINCT FROM 'array' OR jsonb_array_length(asked.payload -> 'shares') NOT BETWEEN 1 AND 9000
     OR EXISTS (SELECT FROM jsonb_array_elements(asked.payload -> 'shares') s WHERE jsonb_typeof(s) <> 'object'
                OR jsonb_typeof(s -> 'account_no') IS DISTINCT FROM 'string' OR s ->> 'amount_minor' !~ '^[1-9][0-9]{0,15}$'
                OR jsonb_typeof(s -> 'amount_minor') IS DISTINCT FROM 'number') THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.shares', 'accounts with their amounts, 1 to 9000');
  END IF;
  SELECT sum((s ->> 'amount_minor')::numeric) INTO shared FROM jsonb_array_elements(asked.payload -> 'shares') s;
  IF shared <> amount THEN
    PERFORM work.refuse('AMOUNT_DIFFERS', 'payload.shares', format('they add up to %s', shared));
  END IF;
END $$;
-- BANK_CHARGE {currency, charge_minor, tax_minor?, booked_on, payer_account_no}, subject the bank's reference: borne by an account of the platform
CREATE FUNCTION payments.check_charge(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{currency,charge_minor,tax_minor,booked_on,payer_account_no}');
  PERFORM work.payload_whole(asked.payload, 'charge_minor', 1000000000000000);
  IF asked.payload ? 'tax_minor' THEN
    PERFORM work.payload_whole(asked.payload, 'tax_minor', 1000000000000000);
  END IF;
  PERFORM work.payload_text(asked.payload, 'payer_account_no', '^[A-Za-z0-9._:-]{1,64}$');
  PERFORM payments.check_bank_item(asked);
END $$;
CREATE FUNCTION payments.check_bank_item(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF asked.subject !~ '^[A-Za-z0-9._:#-]{1,64}$' THEN
    PERFORM work.refuse('BODY_INVALID', 'subject', asked.subject);
  ELSIF work.payload_date(asked.payload, 'booked_on') > work.business_date(ledger.clock_now()) THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.booked_on', asked.payload ->> 'booked_on');
  ELSIF payments.control_account(asked.platform_id, 'SUSPENSE', work.payload_text(asked.payload, 'currency', '^[A-Z]{3}$')) IS NULL THEN
    PERFORM work.refuse('CURRENCY_MISMATCH', 'payload.currency', asked.payload ->> 'currency');
  ELSIF EXISTS (SELECT FROM payments.bank_item b WHERE b.platform_id = asked.platform_id AND b.bank_reference = asked.subject)
     OR EXISTS (SELECT FROM payments.receipt r WHERE r.platform_id = asked.platform_id AND r.bank_reference = asked.subject) THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'subject', asked.subject);
  END IF;
END $$;
CREATE FUNCTION payments.apply_interest(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  currency text := asked.payload ->> 'currency';
  suspense text := payments.control_account(asked.platform_id, 'SUSPENSE', currency);
  posted jsonb;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM payments.check_interest(asked);
  posted := work.post_order(asked.platform_id, '@interest-' || asked.approval_id, 'INTEREST_CREDITED', currency, checker,
    jsonb_build_array(jsonb_build_object('movement_type', 'BANK_INTEREST', 'credit_account', suspense, 'amount_minor', asked.payload -> 'amount_minor',
      'debit_account', payments.control_account(asked.platform_id, 'SPECIAL_ACCOUNT', currency)))
    || (SELECT jsonb_agg(jsonb_build_object('movement_type', 'INTEREST_PASSED_ON', 'debit_account', suspense, 'credit_account', s ->> 'account_no',
          'amount_minor', s -> 'amount_minor') ORDER BY n) FROM jsonb_array_elements(asked.payload -> 'shares') WITH ORDINALITY x(s, n)), '[]', '{}');
  RETURN payments.put_bank_item(asked, 'INTEREST', (asked.payload ->> 'amount_minor')::bigint, posted, checker);
END $$;
CREATE FUNCTION payments.apply_charge(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  currency text := asked.payload ->> 'currency';
  charge bigint := (asked.payload ->> 'charge_minor')::bigint;
  tax bigint := coalesce((asked.payload ->> 'tax_minor')::bigint, 0);
  suspense text := payments.control_account(asked.platform_id, 'SUSPENSE', currency);
  special text := payments.control_account(asked.platform_id, 'SPECIAL_ACCOUNT', currency);
  payer registry.account;
  movements jsonb := '[]';
  posted jsonb;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM payments.check_charge(asked);
  SELECT a.* INTO payer FROM registry.account a WHERE a.platform_id = asked.platform_id AND a.account_no = asked.payload ->> 'payer_account_no';
  IF payer.account_role = 'OWN_FUNDS' THEN -- a clearing account: what it passes on came in by the same order
    movements := jsonb_build_array(jsonb_build_object('movement_type', 'OWN_FUNDS_IN', 'debit_account', special, 'credit_account', payer.account_no,
      'amount_minor', charge + tax));
  END IF;
  movements := movements || jsonb_build_array(
    jsonb_build_object('movement_type', 'CHARGE_PASSED_ON', 'debit_account', asked.payload ->> 'payer_account_no', 'credit_account', suspense,
      'amount_minor', charge + tax),
    jsonb_build_object('movement_type', 'BANK_CHARGE', 'debit_account', suspense, 'credit_account', special, 'amount_minor', charge));
  IF tax > 0 THEN
    movements := movements || jsonb_build_array(jsonb_build_object('movement_type', 'BANK_TAX', 'debit_account', suspense, 'credit_account', special,
      'amount_minor', tax));
  END IF;
  posted := work.post_order(asked.platform_id, '@charge-' || asked.approval_id, 'BANK_CHARGE', currency, checker, movements, '[]', '{}');
  RETURN payments.put_bank_item(asked, 'CHARGE', charge + tax, posted, checker);
END $$;
CREATE FUNCTION payments.put_bank_item(asked work.approval, kind text, amount bigint, posted jsonb, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made payments.bank_item;
BEGIN
  INSERT INTO payments.bank_item VALUES (asked.platform_id, asked.subject, put_bank_item.kind, asked.payload ->> 'currency', amount,
    (asked.payload ->> 'booked_on')::date, (posted ->> 'order_id')::bigint, asked.approval_id, ledger.clock_now(), checker) RETURNING * INTO made;
  PERFORM audit.record(checker, 'BANK_' || kind, 'bank_item', asked.subject, asked.platform_id, NULL, to_jsonb(made));
  RETURN posted;
END $$;

INSERT INTO work.kind VALUES
  ('RECEIPT_CLAIM', '{officer,finance}', '{checker,finance}', 'payments.check_receipt_claim', 'payments.apply_receipt_claim', 72),
  ('RECEIPT_RETURN', '{officer,finance}', '{checker,finance}', 'payments.check_receipt_return', 'payments.apply_receipt_return', 72),
  ('INTEREST_CREDITED', '{officer,finance}', '{checker,finance}', 'payments.check_interest', 'payments.apply_interest', 72),
  ('BANK_CHARGE', '{officer,finance}', '{checker,finance}', 'payments.check_charge', 'payments.apply_charge', 72);

-- Receipts and items against the orders they stand for, and what suspense must still hold of them.
CREATE FUNCTION payments.faults() RETURNS TABLE (row_name text, what text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT 'receipt ' || r.receipt_no, 'its order did not bring this amount' FROM payments.receipt r
  WHERE (SELECT sum(m.amount_minor) FROM ledger.movement m WHERE m.order_id = r.order_id AND m.movement_type = 'UNIDENTIFIED_RECEIPT'
         AND m.currency = r.currency) IS DISTINCT FROM r.amount_minor
  UNION ALL
  SELECT format('event %s of receipt %s', v.seq, v.receipt_no), 'its order did not move this amount' FROM payments.receipt_event v
  WHERE (SELECT sum(m.amount_minor) FROM ledger.movement m JOIN registry.account c ON c.account_id = m.credit_account_id
         WHERE m.order_id = v.order_id AND (v.account_no IS NULL OR c.account_no = v.account_no)
           AND m.movement_type = CASE v.event WHEN 'CLAIMED' THEN 'RECEIPT_CLAIMED' WHEN 'PAID_BACK' THEN 'WITHDRAW_PAYOUT' ELSE 'RECEIPT_RETURNED' END)
        IS DISTINCT FROM v.amount_minor
  UNION ALL
  SELECT 'receipt ' || s.receipt_no, 'more was claimed and returned than came' FROM payments.receipt_state s WHERE s.open_minor < 0
  UNION ALL
  SELECT 'item ' || b.bank_reference, 'its order did not move this amount' FROM payments.bank_item b
  WHERE (SELECT sum(m.amount_minor) FROM ledger.movement m WHERE m.order_id = b.order_id
         AND m.movement_type = CASE b.kind WHEN 'INTEREST' THEN 'BANK_INTEREST' ELSE 'CHARGE_PASSED_ON' END) IS DISTINCT FROM b.amount_minor $$;

REVOKE EXECUTE ON FUNCTION payments.control_account, payments.take_receipt, payments.put_receipt, payments.put_event, payments.check_receipt_claim,
  payments.apply_receipt_claim, payments.check_receipt_return, payments.apply_receipt_return, payments.settle_receipt, payments.check_interest,
  payments.check_charge, payments.check_bank_item, payments.apply_interest, payments.apply_charge, payments.put_bank_item, payments.faults FROM PUBLIC;
GRANT SELECT ON payments.receipt, payments.receipt_event, payments.bank_item, payments.receipt_state, payments.receipts_to_settle TO service;
GRANT EXECUTE ON FUNCTION payments.take_receipt, payments.put_receipt, payments.settle_receipt, payments.faults TO service;
GRANT USAGE ON SCHEMA payments TO jobs; -- the night verifies the ledger
GRANT EXECUTE ON FUNCTION payments.faults TO jobs;
