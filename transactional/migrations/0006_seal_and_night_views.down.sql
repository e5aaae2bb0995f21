DROP VIEW night.customer, night.payment_company, night.platform, night.hold_event, night.trade_order, night.account, night.movement;
DROP FUNCTION ledger.seal_state();
DROP FUNCTION ledger.clock_now();
DROP FUNCTION ledger.seal_pending(int);
DROP FUNCTION ledger.sealed_text(bigint, ledger.movement_full);
DROP VIEW ledger.movement_full;
