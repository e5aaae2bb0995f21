REVOKE USAGE ON SCHEMA payments FROM jobs;
DELETE FROM work.kind WHERE kind IN ('RECEIPT_CLAIM', 'RECEIPT_RETURN', 'INTEREST_CREDITED', 'BANK_CHARGE');
DROP FUNCTION payments.faults, payments.put_bank_item, payments.apply_charge, payments.apply_interest, payments.check_charge, payments.check_interest,
  payments.check_bank_item, payments.settle_receipt;
DROP VIEW payments.receipts_to_settle;
DROP FUNCTION payments.apply_receipt_return, payments.check_receipt_return, payments.apply_receipt_claim, payments.check_receipt_claim, payments.put_event,
  payments.put_receipt, payments.take_receipt, payments.control_account;
DROP VIEW payments.receipt_state;
DROP TABLE payments.bank_item, payments.receipt_event, payments.receipt;
