-- Every movement with all that reports use; the chain hashes exactly this row, so it binds dates, roles and numbers alike.
CREATE VIEW ledger.movement_full AS
SELECT m.movement_id, m.order_id, o.platform_id, o.request_no, m.seq, o.order_type, m.movement_type,
       d.account_no AS debit_account_no, m.debit_account_id, d.account_role AS debit_role,
       c.account_no AS credit_account_no, m.credit_account_id, c.account_role AS credit_role,
       m.amount_minor, m.currency, m.loan_no, m.issue_no, m.component, m.claim_no, m.reversal_of,
       m.effective_at, m.recorded_at, m.business_date
FROM ledger.movement m
JOIN ledger.trade_order o USING (order_id)
JOIN registry.account d ON d.account_id = m.debit_account_id
JOIN registry.account c ON c.account_id = m.credit_account_id;

-- text of a sealed row: jsonb has one form of a value, and the zone is pinned
CREATE FUNCTION ledger.sealed_text(ledger_no bigint, row_of ledger.movement_full) RETURNS text
LANGUAGE sql STABLE SET timezone = 'UTC' AS $$ SELECT ledger_no || ' ' || to_jsonb(row_of)::text $$;

-- Writers post one after the other under the posting lock, so movement ids are committed in order and none can appear below a sealed one.
CREATE FUNCTION ledger.seal_pending(blocks_max int) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  last_block ledger.seal_block;
  block ledger.seal_block;
  sealed bigint := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(7402);
  FOR turn IN 1..blocks_max LOOP
    SELECT * INTO last_block FROM ledger.seal_block ORDER BY block_no DESC LIMIT 1;
    WITH pending AS MATERIALIZED (
      SELECT movement_id FROM ledger.movement WHERE movement_id > coalesce(last_block.last_movement_id, 0)
      ORDER BY movement_id LIMIT 1000),
    numbered AS MATERIALIZED (
      SELECT movement_id, coalesce(last_block.last_ledger_no, 0) + row_number() OVER (ORDER BY movement_id) AS ledger_no
      FROM pending),
    kept AS (
      INSERT INTO ledger.seal SELECT ledger_no, movement_id, coalesce(last_block.block_no, 0) + 1 FROM numbered)
    SELECT coalesce(last_block.block_no, 0) + 1, min(n.ledger_no), max(n.ledger_no), max(n.movement_id),
           coalesce(last_block.hash, '\x'::bytea),
           sha256(coalesce(last_block.hash, '\x'::bytea)
                  || convert_to(string_agg(ledger.sealed_text(n.ledger_no, f), E'\n' ORDER BY n.ledger_no), 'UTF8')),
           max(f.recorded_at)
    INTO block FROM numbered n JOIN ledger.movement_full f USING (movement_id);
    EXIT WHEN block.first_ledger_no IS NULL;
    INSERT INTO ledger.seal_block SELECT (block).*;
    sealed := sealed + block.last_ledger_no - block.first_ledger_no + 1;
  END LOOP;
  RETURN sealed;
END $$;

CREATE FUNCTION ledger.clock_now() RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE mode WHEN 'system' THEN greatest(clock_timestamp(), now_at) ELSE now_at END FROM ledger.clock $$;

-- sealed_through: everything recorded up to this time has its ledger number
CREATE FUNCTION ledger.seal_state(OUT ledger_no_to bigint, OUT sealed_through timestamptz, OUT unsealed bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH last_block AS (SELECT * FROM ledger.seal_block ORDER BY block_no DESC LIMIT 1),
  waiting AS (
    SELECT count(*) AS movements FROM ledger.movement
    WHERE movement_id > coalesce((SELECT last_movement_id FROM last_block), 0))
  SELECT coalesce((SELECT last_ledger_no FROM last_block), 0),
         CASE WHEN movements = 0 THEN ledger.clock_now() ELSE (SELECT sealed_through FROM last_block) END,
         movements
  FROM waiting $$;

CREATE VIEW night.movement AS
SELECT s.ledger_no, f.*, s.block_no AS seal_hash_block
FROM ledger.seal s JOIN ledger.movement_full f USING (movement_id);

CREATE VIEW night.account AS
SELECT a.account_id, a.account_no, a.platform_id, a.account_role, a.is_control, a.currency, a.customer_no, c.party_id, a.paycom_id,
       coalesce(c.opened_on, p.onboarded_on) AS opened_on, a.recorded_at
FROM registry.account a
JOIN registry.platform p USING (platform_id)
LEFT JOIN registry.customer c ON c.platform_id = a.platform_id AND c.customer_no = a.customer_no;

CREATE VIEW night.trade_order AS
SELECT order_id, platform_id, request_no, order_type, amount_minor, currency, recorded_at, business_date FROM ledger.trade_order;

CREATE VIEW night.hold_event AS
SELECT h.hold_event_id, h.hold_no, h.platform_id, a.account_no, h.event_type, h.amount_minor, a.currency, h.order_id, h.recorded_at,
       h.business_date
FROM ledger.hold_event h JOIN registry.account a USING (account_id);

CREATE VIEW night.platform AS
SELECT platform_id, name, currency, pack_id, onboarded_on, recorded_at FROM registry.platform;

CREATE VIEW night.payment_company AS SELECT paycom_id, platform_id FROM registry.payment_company_platform;

CREATE VIEW night.customer AS
SELECT c.platform_id, c.customer_no, c.party_id, p.party_type, p.id_hash, p.name_masked, array_to_string(c.roles, ',') AS roles,
       c.opened_on, c.recorded_at
FROM registry.customer c JOIN registry.party p USING (party_id);

REVOKE EXECUTE ON FUNCTION ledger.seal_pending(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.seal_pending(int) TO service;
GRANT SELECT ON ledger.movement_full TO service;
GRANT SELECT ON ALL TABLES IN SCHEMA night TO jobs;
GRANT SELECT ON night.account, night.platform TO reader;
