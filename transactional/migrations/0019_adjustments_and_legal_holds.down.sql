DROP TRIGGER desk_state ON ledger.balance;
DROP TRIGGER desk_holds ON ledger.hold_event;
DROP TRIGGER desk_movements ON ledger.movement;
DROP TRIGGER desk_orders ON ledger.trade_order;
DROP FUNCTION work.guard_state, work.guard_hold, work.guard_movement, work.guard_order;
DELETE FROM work.kind WHERE kind IN ('LEGAL_FREEZE', 'LEGAL_RENEWAL', 'LEGAL_RELEASE', 'LEGAL_DEDUCTION', 'CUSTOMER_DEATH',
  'DEATH_BID_RELEASE', 'DORMANCY');
DROP FUNCTION work.desk_faults, work.wake_account, work.apply_dormancy, work.check_dormancy, work.quiet_accounts, work.last_customer_activity,
  work.apply_death_bid_release, work.check_death_bid_release, work.apply_customer_death, work.check_customer_death,
  work.apply_legal_deduction, work.check_legal_deduction, work.apply_legal_release, work.check_legal_release,
  work.apply_legal_renewal, work.check_legal_renewal, work.apply_legal_freeze, work.check_legal_freeze, work.payload_expiry,
  work.payload_hold, work.payload_account, work.payload_date, work.payload_whole, work.payload_text, work.check_payload_fields,
  work.expire_legal_holds, work.end_legal_hold, work.top_up_legal_holds, work.fill_legal_holds, work.refreeze,
  work.settle_legal_state, work.add_legal_event, ledger.legal_held, work.is_legally_locked;
DROP VIEW work.legal_hold_state;
DROP TABLE work.legal_event, work.legal_hold;
DROP FUNCTION work.verify_adjustments, work.post_adjustment, work.withdraw_adjustment, work.decide_adjustment, work.submit_adjustment,
  work.expire_consents, work.answer_consent, work.issue_consent_token, work.request_consent, work.create_adjustment,
  work.assign_break, work.add_adjustment_event;
DROP VIEW work.adjustment_daily;
DROP TRIGGER rules ON work.adjustment_event;
DROP TRIGGER rules ON work.adjustment;
DROP FUNCTION work.check_adjustment_event, work.check_adjustment, work.check_adjustment_posted, work.check_adjustment_consent,
  work.check_adjustment_quorum, work.check_adjustment_checker, work.check_adjustable, work.adjustable, work.break_net;
DROP VIEW work.adjustment_state;
DROP TABLE work.consent_answer, work.consent_token, work.consent_request, work.adjustment_event, work.adjustment_transition,
  work.adjustment, work.break_assignment;
DROP FUNCTION work.post_order, work.business_date, work.keep_day_rule;
DROP TABLE work.day_rule;
REVOKE USAGE ON SCHEMA work FROM jobs, reader;
