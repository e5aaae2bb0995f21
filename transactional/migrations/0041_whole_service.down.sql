-- May this borrower take so much more? A party type without a cap of its own has the strictest; a pack without caps allows all.
CREATE OR REPLACE FUNCTION limits.verdict(on_platform text, customer text, in_currency text, amount bigint, but_loan text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  who record;
  rules jsonb;
BEGIN
  SELECT c.party_id, p.party_type, f.pack_id INTO who
  FROM registry.customer c JOIN registry.party p USING (party_id) JOIN registry.platform f USING (platform_id)
  WHERE c.platform_id = on_platform AND c.customer_no = customer;
  IF NOT FOUND THEN
    PERFORM work.refuse('CUSTOMER_NOT_FOUND', 'customer_no', customer);
  END IF;
  SELECT jsonb_agg(to_jsonb(asked) || jsonb_build_object('headroom_minor', asked.cap_minor - asked.exposure_minor,
                     'allow', asked.exposure_minor + amount <= asked.cap_minor) ORDER BY asked.rule_id)
  INTO rules
  FROM (
    SELECT law.pack_id, law.rule_id, law.version, law.scope, law.cap_minor, law.source,
           limits.exposure(limits.same_person(who.party_id), in_currency, CASE law.scope WHEN 'PLATFORM' THEN on_platform END,
                           on_platform, but_loan) AS exposure_minor
    FROM (
      SELECT DISTINCT ON (now.rule_id) now.* FROM (
        SELECT DISTINCT ON (k.rule_id, k.party_type) k.* FROM limits.cap k
        WHERE k.pack_id = who.pack_id AND k.currency = in_currency AND k.valid_from <= (ledger.clock_now() AT TIME ZONE 'UTC')::date
        ORDER BY k.rule_id, k.party_type, k.version DESC) now
      ORDER BY now.rule_id, now.party_type <> who.party_type, now.cap_minor) law) asked;
  RETURN jsonb_build_object(
    'allow', coalesce((SELECT bool_and((rule ->> 'allow')::boolean) FROM jsonb_array_elements(rules) rule), true),
    'headroom_minor', (SELECT CASE WHEN count(*) > 0 THEN greatest(min((rule ->> 'headroom_minor')::bigint), 0) END FROM jsonb_array_elements(rules) rule),
    -- the rule with the least headroom is the one that decides
    'decided_by', (SELECT rule FROM jsonb_array_elements(rules) rule ORDER BY (rule ->> 'headroom_minor')::bigint, rule ->> 'rule_id' LIMIT 1),
    'rules', coalesce(rules, '[]'));
END $$;
DROP FUNCTION registry.pack_in_force;
-- two columns stay, as marts stand on the view
CREATE OR REPLACE VIEW night.platform AS
SELECT platform_id, name, currency, pack_id, onboarded_on, recorded_at, onboarded_on AS valid_from, 0 AS version FROM registry.platform;
CREATE OR REPLACE VIEW night.customer AS
SELECT c.platform_id, c.customer_no, c.party_id, p.party_type, p.id_hash, p.name_masked, array_to_string(c.roles, ',') AS roles,
       c.opened_on, c.recorded_at
FROM registry.customer c JOIN registry.party p USING (party_id);
CREATE OR REPLACE VIEW mart.customer_name AS SELECT platform_id, customer_no, name_masked FROM night.customer;
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
