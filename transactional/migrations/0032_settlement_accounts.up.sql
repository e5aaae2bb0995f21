-- Clearing and settlement are apart (spec 10 row 1.29): the account on which a payment company settles is nobody's bound card or mapped
-- bank account, whichever of the two is registered first.
CREATE FUNCTION registry.refuse_settlement_account(hash text, field text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM registry.current_payment_company_terms t WHERE t.settlement_account_hash = hash) THEN
    PERFORM work.refuse('SETTLEMENT_ACCOUNT', field, hash);
  END IF;
END $$;
CREATE FUNCTION registry.check_payment_company_terms(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM registry.current_bound_card c WHERE c.is_bound AND c.card_hash = after ->> 'settlement_account_hash')
     OR EXISTS (SELECT FROM registry.current_bank_account b WHERE b.is_mapped AND b.bank_account_hash = after ->> 'settlement_account_hash') THEN
    PERFORM work.refuse('SETTLEMENT_ACCOUNT', 'payload.settlement_account_hash', after ->> 'settlement_account_hash');
  END IF;
END $$;
CREATE OR REPLACE FUNCTION registry.check_bank_account(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT (after ->> 'is_mapped')::boolean THEN
    RETURN;
  END IF;
  PERFORM registry.refuse_settlement_account(after ->> 'bank_account_hash', 'bank_account_hash');
  IF EXISTS (
       SELECT FROM registry.bank_account candidate JOIN registry.current_bank_account b USING (platform_id, customer_no, version)
       WHERE candidate.platform_id = after ->> 'platform_id' AND candidate.bank_account_hash = after ->> 'bank_account_hash'
         AND b.is_mapped AND b.customer_no <> after ->> 'customer_no') THEN
    PERFORM work.refuse('BANK_ACCOUNT_TAKEN', 'bank_account_hash', after ->> 'bank_account_hash');
  END IF;
END $$;
CREATE OR REPLACE FUNCTION registry.check_bound_card(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- another card is bound only after the one before was unbound, so that a change of cards is two recorded steps
  IF (before ->> 'is_bound')::boolean AND (after ->> 'is_bound')::boolean AND before ->> 'card_hash' <> after ->> 'card_hash' THEN
    PERFORM work.refuse('CARD_BOUND', 'purpose', after ->> 'purpose');
  ELSIF (SELECT is_control OR customer_no IS NULL FROM registry.account a
         WHERE a.platform_id = after ->> 'platform_id' AND a.account_no = after ->> 'account_no') THEN
    PERFORM work.refuse('BODY_INVALID', 'account_no', 'a card is bound to an account of a customer');
  ELSIF (after ->> 'is_bound')::boolean THEN
    PERFORM registry.refuse_settlement_account(after ->> 'card_hash', 'card_hash');
  END IF;
END $$;
UPDATE registry.subject SET check_function = 'registry.check_payment_company_terms'::regproc WHERE subject = 'payment_company_terms';
REVOKE EXECUTE ON FUNCTION registry.refuse_settlement_account(text, text), registry.check_payment_company_terms(jsonb, jsonb) FROM PUBLIC;
