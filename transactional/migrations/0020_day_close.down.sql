DROP TRIGGER closed_days_stay_closed ON ledger.trade_order;
DROP FUNCTION ledger.refuse_closed_days(), ledger.close_day, ledger.day_obstacle, ledger.next_open_day, ledger.day_end;
DROP INDEX ledger.movement_business_date;
DROP TABLE ledger.day_balance, ledger.day_close;
