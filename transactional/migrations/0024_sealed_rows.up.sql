-- From here on a movement is sealed as the text of its row, not of its JSON: a third of the bytes, and of the time of sealing and of
-- verifying. Blocks of before keep the text they were sealed with. No SET clause, so that the call is inlined: who seals or verifies
-- pins time zone and date style (seal_pending below, the session of `ledger verify`).
ALTER FUNCTION ledger.sealed_text(bigint, ledger.movement_full) RENAME TO sealed_json;
DO $do$
BEGIN
  EXECUTE format($f$
CREATE FUNCTION ledger.sealed_text(ledger_no bigint, row_of ledger.movement_full) RETURNS text
LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN ledger_no <= %s THEN ledger.sealed_json(ledger_no, row_of) ELSE ledger_no || ' ' || row_of::text END $$
$f$, coalesce((SELECT max(last_ledger_no) FROM ledger.seal_block), 0));
END $do$;
ALTER FUNCTION ledger.seal_pending(int) SET datestyle = 'ISO, YMD';
