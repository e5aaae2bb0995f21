DO $$
BEGIN
  IF EXISTS (SELECT FROM ledger.seal_block b JOIN ledger.seal s ON s.block_no = b.block_no JOIN ledger.movement_full f USING (movement_id)
             WHERE ledger.sealed_text(s.ledger_no, f) <> ledger.sealed_json(s.ledger_no, f)) THEN
    RAISE EXCEPTION 'blocks were sealed as rows: their text is needed to verify them';
  END IF;
END $$;
ALTER FUNCTION ledger.seal_pending(int) RESET datestyle;
DROP FUNCTION ledger.sealed_text(bigint, ledger.movement_full);
ALTER FUNCTION ledger.sealed_json(bigint, ledger.movement_full) RENAME TO sealed_text;
