DROP TRIGGER account_opens_balance ON registry.account;
DROP TABLE ledger.seal, ledger.seal_block, ledger.hold_event, ledger.entry, ledger.movement, ledger.trade_order, ledger.balance,
  ledger.allowed_movement, ledger.clock;
DROP SEQUENCE ledger.movement_id, ledger.order_id;
DROP FUNCTION ledger.open_balances(), ledger.refuse_change();
