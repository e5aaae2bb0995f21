DELETE FROM work.kind WHERE kind = 'ADVANCE_LIMIT';
DROP FUNCTION payments.repay_advance, payments.open_advance, payments.apply_advance_limit, payments.check_advance_limit;
DROP VIEW payments.current_advance_limit, payments.advance_state;
DROP TABLE payments.advance_repayment, payments.advance, payments.advance_limit;
