DROP TABLE run.ledger_verification;
GRANT USAGE ON SCHEMA api, audit, ledger, loans, outbox, payments, registry, work TO jobs;
GRANT SELECT ON ALL TABLES IN SCHEMA audit, ledger, loans, outbox, payments, registry, work TO jobs;
GRANT SELECT ON api.answer, public.migration TO jobs;
ALTER DEFAULT PRIVILEGES IN SCHEMA audit, ledger, loans, outbox, payments, registry, work GRANT SELECT ON TABLES TO jobs;
GRANT EXECUTE ON FUNCTION work.desk_faults, ledger.sealed_text, ledger.sealed_json, audit.sealed_text, loans.claim_outstanding,
  loans.plan_hash, loans.days_past_due, loans.accrued_share, loans.deal_obstacle, loans.untold, payments.faults,
  payments.recharge_faults TO jobs;
REVOKE EXECUTE ON FUNCTION ledger.clock_now, work.desk_faults, ledger.sealed_text, ledger.sealed_json, audit.sealed_text,
  loans.claim_outstanding, loans.plan_hash, loans.days_past_due, loans.accrued_share, loans.deal_obstacle, loans.untold,
  payments.faults, payments.recharge_faults FROM verifier;
ALTER DEFAULT PRIVILEGES IN SCHEMA audit, files, ledger, limits, loans, outbox, outside, payments, registry, work
  REVOKE SELECT ON TABLES FROM verifier;
REVOKE SELECT ON ALL TABLES IN SCHEMA audit, files, ledger, limits, loans, outbox, outside, payments, registry, work FROM verifier;
REVOKE SELECT ON api.answer, public.migration FROM verifier;
REVOKE USAGE ON SCHEMA api, audit, files, ledger, limits, loans, outbox, outside, payments, registry, work FROM verifier;
DROP FUNCTION ledger.seal_holds;
DROP TABLE ledger.hold_block;
DROP VIEW ledger.hold_full;
DROP FUNCTION outside.delivery_faults;
ALTER TABLE outside.notice DROP COLUMN noticed_at;
-- a view loses a column only as a whole, with the function that returns its row
DROP FUNCTION payments.take_recharge;
DROP VIEW payments.recharge_state;
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

REVOKE EXECUTE ON FUNCTION payments.take_recharge FROM PUBLIC;
GRANT EXECUTE ON FUNCTION payments.take_recharge TO service;
GRANT SELECT ON payments.recharge_state TO service, jobs;
-- What was answered when the payment company told the same before; null when it tells for the first time. Another word is refused.
CREATE OR REPLACE FUNCTION payments.told_before(p text, no text, outcome text, paycom_order text, reason text) RETURNS jsonb
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
