DROP INDEX ledger.movement_urgent;
DROP VIEW loans.urgent_open;
DROP TRIGGER claims_are_kept ON ledger.movement;
DROP FUNCTION loans.keep_claims, loans.take_claim, loans.take_call, loans.take_deal;
