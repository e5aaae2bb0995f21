UPDATE registry.subject SET check_function = NULL WHERE subject = 'payment_company_terms';
CREATE OR REPLACE FUNCTION registry.check_bank_account(before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (after ->> 'is_mapped')::boolean AND EXISTS (
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
  END IF;
END $$;
DROP FUNCTION registry.check_payment_company_terms, registry.refuse_settlement_account;
