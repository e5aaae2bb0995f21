-- What the service still lacked: late payments of expired recharges; what left the bank verified and anchored; holds
-- in a chain of their own; a role that reads everything for the verification, and nothing else does.
-- An order that is reversed by whatever way is BACKROLLED: the ledger says so, not the row beside it. One paid after
-- it had expired is PAID and late.
CREATE OR REPLACE VIEW payments.recharge_state AS
SELECT r.platform_id, r.request_no, a.account_no, a.customer_no, a.currency, r.paycom_id, c.account_no AS channel_account_no, r.channel,
       r.amount_minor, r.fee_minor, r.fee_account_no, r.card_hash, r.authorisation_no, r.expires_at, r.recorded_at, o.paycom_order_no,
       o.order_id, o.recorded_at AS decided_at, coalesce(b.reason, o.reason) AS reason, v.order_id AS backroll_order_id,
       v.recorded_at AS backrolled_at,
       CASE WHEN v.order_id IS NOT NULL THEN 'BACKROLLED' WHEN o.outcome IS NOT NULL THEN o.outcome
            WHEN r.expires_at <= ledger.clock_now() THEN 'EXPIRED' ELSE 'SUBMITTED' END AS state,
       coalesce(o.outcome = 'PAID' AND o.recorded_at >= r.expires_at, false) AS is_late
FROM payments.recharge r JOIN registry.account a USING (account_id)
JOIN registry.account c ON (c.platform_id, c.paycom_id, c.currency, c.account_role) = (r.platform_id, r.paycom_id, a.currency, 'CHANNEL_RECEIVABLE')
LEFT JOIN payments.recharge_outcome o ON (o.platform_id, o.request_no) = (r.platform_id, r.request_no)
LEFT JOIN payments.recharge_backroll b ON (b.platform_id, b.request_no) = (r.platform_id, r.request_no)
LEFT JOIN ledger.trade_order v ON v.reverses_order_id = o.order_id;

-- What was answered when the payment company told the same before; null when it tells for the first time. Another word is refused;
-- money that comes after a recharge expired is told for the first time: the customer has paid, so the account is credited (else B12).
CREATE OR REPLACE FUNCTION payments.told_before(p text, no text, outcome text, paycom_order text, reason text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands payments.recharge_state := payments.take_recharge(p, no);
  told payments.recharge_outcome;
BEGIN
  SELECT * INTO told FROM payments.recharge_outcome o WHERE o.platform_id = p AND o.request_no = no;
  IF FOUND AND (told.outcome, told.paycom_order_no, told.reason) IS NOT DISTINCT FROM (told_before.outcome, paycom_order, told_before.reason) THEN
    RETURN jsonb_build_object('order', told.posted, 'recharge', to_jsonb(stands));
  ELSIF stands.state <> 'SUBMITTED' AND NOT (stands.state = 'EXPIRED' AND told_before.outcome = 'PAID') THEN
    PERFORM work.refuse('STATE_CONFLICT', 'request_no', stands.state);
  ELSIF EXISTS (SELECT FROM payments.recharge_outcome o WHERE o.paycom_id = stands.paycom_id AND o.paycom_order_no = paycom_order) THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'paycom_order_no', paycom_order);
  END IF;
  RETURN NULL;
END $$;

-- A notice is a record that it was given: anchors digest such rows by their time.
ALTER TABLE outside.notice ADD noticed_at timestamptz NOT NULL DEFAULT clock_timestamp();
CREATE INDEX notice_time ON outside.notice (noticed_at);

-- Deliveries that still may go out and are not what the outbox says, and those settled since then otherwise than their tries ended;
-- for `ledger verify`. The queue itself changes with every try, so no anchor holds it.
CREATE FUNCTION outside.delivery_faults(settled_since timestamptz) RETURNS TABLE (row_name text, what text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH waiting AS MATERIALIZED (SELECT * FROM outside.delivery WHERE state IN ('PENDING', 'DEAD')),
  said AS MATERIALIZED (SELECT * FROM outside.parts(ARRAY(SELECT DISTINCT event_id FROM waiting)))
  SELECT 'delivery ' || w.delivery_id, 'it is not what the outbox says'
  FROM waiting w LEFT JOIN said s USING (event_id, part)
  WHERE (w.topic, w.platform_id, w.subject, w.payload, w.recorded_at) IS DISTINCT FROM (s.topic, s.platform_id, s.subject, s.payload, s.recorded_at)
     OR NOT EXISTS (SELECT FROM outside.target_current t WHERE t.target = w.target AND w.event_id > t.from_event_id
                    AND (t.platform_id IS NULL OR t.platform_id = w.platform_id))
  UNION ALL
  SELECT 'delivery ' || d.delivery_id, format('no try ended so that it is %s', d.state)
  FROM outside.delivery d
  WHERE (d.state = 'DEAD' OR d.state = 'DELIVERED' AND d.settled_at >= settled_since) AND NOT EXISTS (
    SELECT FROM outside.delivery_attempt a
    WHERE (a.delivery_id, a.target, a.event_id, a.part) = (d.delivery_id, d.target, d.event_id, d.part)
      AND (a.outcome = d.state OR d.state = 'DEAD' AND a.outcome = 'RETRY'))
  UNION ALL
  SELECT 'delivery ' || d.delivery_id, 'it is skipped, and nobody did that'
  FROM outside.delivery d
  WHERE d.state = 'SKIPPED' AND d.settled_at >= settled_since AND NOT EXISTS (
    SELECT FROM audit.change c WHERE (c.action, c.subject) = ('DELIVERY_SKIPPED', d.delivery_id::text)) $$;
REVOKE EXECUTE ON FUNCTION outside.delivery_faults FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outside.delivery_faults TO service;

-- Every hold event with its order, as the chain over holds binds it: an order that only sets money aside has no movement, so the chain
-- over movements says nothing of it.
CREATE VIEW ledger.hold_full AS
SELECT h.hold_event_id, h.platform_id, h.hold_no, h.event_type, h.account_id, a.account_no, h.amount_minor, h.expires_at, h.recorded_at,
       h.business_date, o.order_id, o.platform_id AS order_platform_id, o.request_no, o.order_type, o.currency,
       o.amount_minor AS order_amount_minor, o.reverses_order_id, o.effective_at, o.recorded_at AS order_recorded_at,
       o.business_date AS order_business_date, o.entered_by
FROM ledger.hold_event h JOIN ledger.trade_order o USING (order_id) JOIN registry.account a USING (account_id);
-- A block binds the events behind the block before it up to its last one; writers hold the posting lock, so none can appear between.
CREATE TABLE ledger.hold_block (
  block_no bigint PRIMARY KEY,
  last_hold_event_id bigint NOT NULL UNIQUE,
  previous_hash bytea NOT NULL,
  hash bytea NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.hold_block FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Seals hold events in blocks of at most 1,000; returns how many. Plan pinned as in ledger.seal_pending (migration 0025).
CREATE FUNCTION ledger.seal_holds(blocks_max int) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  last_block ledger.hold_block;
  block ledger.hold_block;
  events bigint;
  sealed bigint := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(7403);
  SELECT * INTO last_block FROM ledger.hold_block ORDER BY block_no DESC LIMIT 1;
  IF NOT FOUND THEN
    last_block := ROW(0, 0, '\x', '\x');
  END IF;
  FOR turn IN 1..blocks_max LOOP
    SELECT count(*), last_block.block_no + 1, max(f.hold_event_id), last_block.hash,
           sha256(last_block.hash || convert_to(string_agg(f.content, E'\n' ORDER BY f.hold_event_id), 'UTF8'))
    INTO events, block.block_no, block.last_hold_event_id, block.previous_hash, block.hash
    FROM (SELECT f.hold_event_id, f::text AS content FROM ledger.hold_full f
          WHERE f.hold_event_id > last_block.last_hold_event_id ORDER BY f.hold_event_id LIMIT 1000) f;
    EXIT WHEN events = 0;
    INSERT INTO ledger.hold_block SELECT (block).*;
    sealed := sealed + events;
    last_block := block;
  END LOOP;
  RETURN sealed;
END $$;
REVOKE EXECUTE ON FUNCTION ledger.seal_holds FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.seal_holds TO service;
GRANT SELECT ON ledger.hold_block, ledger.hold_full TO service;

-- The verification reads every row, also proposals, parties and stored answers, and writes none: a role of its own. The jobs of the night
-- keep what they work with (views of `night`, marts, runs, files, the days and calendars).
GRANT USAGE ON SCHEMA api, audit, files, ledger, limits, loans, outbox, outside, payments, registry, work TO verifier;
GRANT SELECT ON ALL TABLES IN SCHEMA audit, files, ledger, limits, loans, outbox, outside, payments, registry, work TO verifier;
GRANT SELECT ON api.answer, public.migration TO verifier;
ALTER DEFAULT PRIVILEGES IN SCHEMA audit, files, ledger, limits, loans, outbox, outside, payments, registry, work
  GRANT SELECT ON TABLES TO verifier;
GRANT EXECUTE ON FUNCTION ledger.clock_now, work.desk_faults, ledger.sealed_text, ledger.sealed_json, audit.sealed_text,
  loans.claim_outstanding, loans.plan_hash, loans.days_past_due, loans.accrued_share, loans.deal_obstacle, loans.untold,
  payments.faults, payments.recharge_faults, outside.delivery_faults TO verifier;

REVOKE SELECT ON ALL TABLES IN SCHEMA audit, ledger, loans, outbox, payments, registry, work FROM jobs;
REVOKE SELECT ON api.answer, public.migration FROM jobs;
ALTER DEFAULT PRIVILEGES IN SCHEMA audit, ledger, loans, outbox, registry, work REVOKE SELECT ON TABLES FROM jobs;
ALTER DEFAULT PRIVILEGES IN SCHEMA payments REVOKE SELECT ON TABLES FROM jobs;
REVOKE USAGE ON SCHEMA api, audit, loans, outbox, payments FROM jobs;
REVOKE EXECUTE ON FUNCTION work.desk_faults, ledger.sealed_text, ledger.sealed_json, audit.sealed_text, loans.claim_outstanding,
  loans.plan_hash, loans.days_past_due, loans.accrued_share, loans.deal_obstacle, loans.untold, payments.faults,
  payments.recharge_faults FROM jobs;
GRANT SELECT ON ledger.day_close, registry.calendar_version, registry.calendar, work.adjustment_daily, work.break_event,
  work.write_off_limit, work.break_transition, work.recon_sign_off TO jobs;

-- What each verification found, by the night (since the newest anchor) and by the command (all, or since a block).
CREATE TABLE run.ledger_verification (
  verification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  began_at timestamptz NOT NULL,
  ended_at timestamptz NOT NULL CHECK (ended_at >= began_at),
  since_block bigint NOT NULL CHECK (since_block >= 0), -- 0: the whole ledger
  blocks bigint NOT NULL,
  movements bigint NOT NULL,
  head text,
  faults int NOT NULL CHECK (faults >= 0),
  first_fault text CHECK ((first_fault IS NULL) = (faults = 0))
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON run.ledger_verification
  FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
GRANT SELECT, INSERT ON run.ledger_verification TO jobs;
GRANT SELECT ON run.ledger_verification TO reader;

-- Platforms and customers as the night reads them: a row a version, so that what is activated or changed later is seen, and what was known
-- then still is. Of a platform (version 0: as it was registered) the highest version counts that is valid on the day; of a customer the row
-- recorded last.
CREATE OR REPLACE VIEW night.platform AS
SELECT platform_id, name, currency, pack_id, onboarded_on, recorded_at, onboarded_on AS valid_from, 0 AS version FROM registry.platform
UNION ALL
SELECT p.platform_id, p.name, p.currency, a.pack_id, p.onboarded_on, a.recorded_at, a.valid_from, a.version
FROM registry.pack_activation a JOIN registry.platform p USING (platform_id);

CREATE OR REPLACE VIEW night.customer AS
SELECT c.platform_id, c.customer_no, c.party_id, p.party_type, p.id_hash, named.name_masked, array_to_string(kept.roles, ',') AS roles,
       c.opened_on, changed.recorded_at
FROM registry.customer c JOIN registry.party p USING (party_id)
CROSS JOIN LATERAL (
  SELECT v.recorded_at FROM registry.party_version v WHERE v.party_ref = p.party_ref
  UNION SELECT v.recorded_at FROM registry.customer_version v WHERE (v.platform_id, v.customer_no) = (c.platform_id, c.customer_no)) seen
CROSS JOIN LATERAL (SELECT greatest(seen.recorded_at, c.recorded_at) AS recorded_at) changed
JOIN LATERAL (
  SELECT v.name_masked FROM registry.party_version v
  WHERE v.party_ref = p.party_ref AND v.recorded_at <= changed.recorded_at ORDER BY v.version DESC LIMIT 1) named ON true
JOIN LATERAL (
  SELECT v.roles FROM registry.customer_version v
  WHERE (v.platform_id, v.customer_no) = (c.platform_id, c.customer_no) AND v.recorded_at <= changed.recorded_at
  ORDER BY v.version DESC LIMIT 1) kept ON true
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;

-- what a page may show of a person: the name as it is now
CREATE OR REPLACE VIEW mart.customer_name AS
SELECT c.platform_id, c.customer_no, named.name_masked
FROM registry.customer c JOIN registry.party p USING (party_id)
JOIN LATERAL (
  SELECT v.name_masked FROM registry.party_version v WHERE v.party_ref = p.party_ref ORDER BY v.version DESC LIMIT 1) named ON true;

-- The rule pack of a platform on a day: the highest version activated that is valid by then, else the one it was registered with.
CREATE FUNCTION registry.pack_in_force(of_platform text, day date, registered_with text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT a.pack_id FROM registry.pack_activation a WHERE a.platform_id = of_platform AND a.valid_from <= day
                   ORDER BY a.version DESC LIMIT 1), registered_with) $$;
REVOKE EXECUTE ON FUNCTION registry.pack_in_force FROM PUBLIC;
-- May this borrower take so much more? A party type without a cap of its own has the strictest; a pack without caps allows all.
CREATE OR REPLACE FUNCTION limits.verdict(on_platform text, customer text, in_currency text, amount bigint, but_loan text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  who record;
  rules jsonb;
BEGIN
  SELECT c.party_id, p.party_type,
         registry.pack_in_force(on_platform, work.business_date(ledger.clock_now()), f.pack_id) AS pack_id INTO who
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
