CREATE OR REPLACE FUNCTION registry.has_open_claims(account_id bigint) RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT false $$;
DROP SCHEMA loans CASCADE;
DELETE FROM work.kind WHERE kind IN ('LOAN_WRITE_OFF', 'LOAN_RESTRUCTURING', 'COLLATERAL_DISPOSAL');
DROP INDEX ledger.movement_of_loan;
