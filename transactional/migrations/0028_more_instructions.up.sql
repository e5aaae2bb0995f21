-- Instructions beyond 0022: prepayment, the money of a sale, of a guarantee and of its recovery, entrusted payments (spec 07 section 7.5,
-- spec 10 rows 1.6, 1.9, 1.10, 1.34c). What is posted after these functions meets what they saw: their locks hold until the end.
CREATE FUNCTION loans.take_deal(p text, no text) RETURNS loans.deal_state
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN loans.find_deal(p, no);
END $$;
CREATE FUNCTION loans.take_call(p text, no text) RETURNS loans.call_state
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found loans.call_state;
BEGIN
  SELECT * INTO found FROM loans.call_state s WHERE s.platform_id = p AND s.call_no = no;
  IF found.call_no IS NULL THEN
    PERFORM work.refuse('RECORD_NOT_FOUND', 'call_no', no);
  END IF;
  PERFORM loans.find_guarantee(p, found.policy_no);
  SELECT * INTO found FROM loans.call_state s WHERE s.platform_id = p AND s.call_no = no; -- again, now that others wait
  RETURN found;
END $$;
CREATE FUNCTION loans.take_claim(p text, no text) RETURNS loans.claim_state
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found loans.claim_state;
BEGIN
  PERFORM loans.find_claim(p, no);
  SELECT * INTO found FROM loans.claim_state s WHERE s.platform_id = p AND s.claim_no = no;
  RETURN found;
END $$;

-- No movement pays a registered claim more principal than it has outstanding, whoever posts it. Only such movements are looked at; rows
-- of the same statement that came before are seen.
CREATE FUNCTION loans.keep_claims() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  owed loans.claim;
  rest bigint;
BEGIN
  SELECT c.* INTO owed FROM ledger.trade_order o JOIN loans.claim c ON c.platform_id = o.platform_id AND c.claim_no = NEW.claim_no
  WHERE o.order_id = NEW.order_id AND c.loan_no = NEW.loan_no AND c.origin <> 'SUBROGATED';
  IF FOUND THEN
    rest := loans.claim_outstanding(owed, 'infinity');
    IF NEW.amount_minor > rest THEN
      PERFORM work.refuse('CLAIM_EXCEEDED', 'claim_no', format('%s has %s outstanding', NEW.claim_no, rest));
    END IF;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER claims_are_kept BEFORE INSERT ON ledger.movement FOR EACH ROW
  WHEN (NEW.claim_no IS NOT NULL AND NEW.reversal_of IS NULL
        AND (NEW.movement_type = 'PRINCIPAL' OR (NEW.movement_type = 'COMPENSATORY' AND NEW.component = 'P')))
  EXECUTE FUNCTION loans.keep_claims();

-- What was urgently paid to an account out of the platform's own money and has not come back (rule P15 looks at its age).
CREATE VIEW loans.urgent_open AS
SELECT o.platform_id, a.account_no, a.currency, sum(CASE WHEN (m.movement_type = 'PLATFORM_URGENT_PAY') = (m.reversal_of IS NULL)
         THEN m.amount_minor ELSE -m.amount_minor END)::bigint AS open_minor, max(m.business_date) AS last_moved_on
FROM ledger.movement m JOIN ledger.trade_order o USING (order_id)
JOIN registry.account a ON a.account_id = CASE WHEN (m.movement_type = 'PLATFORM_URGENT_PAY') = (m.reversal_of IS NULL)
  THEN m.credit_account_id ELSE m.debit_account_id END
WHERE m.movement_type IN ('PLATFORM_URGENT_PAY', 'PLATFORM_URGENT_RETURN')
GROUP BY o.platform_id, a.account_no, a.currency;
CREATE INDEX movement_urgent ON ledger.movement (order_id) WHERE movement_type IN ('PLATFORM_URGENT_PAY', 'PLATFORM_URGENT_RETURN');

REVOKE EXECUTE ON FUNCTION loans.take_deal, loans.take_call, loans.take_claim, loans.keep_claims FROM PUBLIC;
GRANT EXECUTE ON FUNCTION loans.take_deal, loans.take_call, loans.take_claim TO service;
GRANT SELECT ON loans.urgent_open TO service;
