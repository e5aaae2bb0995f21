ALTER DEFAULT PRIVILEGES IN SCHEMA payments REVOKE SELECT ON TABLES FROM jobs;
REVOKE SELECT ON ALL TABLES IN SCHEMA payments FROM jobs;
DROP FUNCTION payments.recharge_faults, payments.put_recharge_backroll, payments.put_recharge_outcome, payments.told_before, payments.put_recharge,
  payments.check_payer, payments.check_channel, payments.take_recharge;
DROP VIEW payments.recharge_state;
DROP TABLE payments.recharge_backroll, payments.recharge_outcome, payments.recharge;
