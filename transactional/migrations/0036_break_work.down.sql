REVOKE SELECT ON mart.open_item, mart.open_item_effect, mart.file_control, run.published FROM service;
REVOKE USAGE ON SCHEMA mart, run FROM service;
DELETE FROM work.kind WHERE kind IN ('BREAK_ACCEPTANCE', 'BREAK_WRITE_OFF', 'WRITE_OFF_LIMIT');
DROP FUNCTION work.review_breaks, work.apply_write_off_limit, work.check_write_off_limit, work.apply_break_end, work.check_break_end,
  work.move_break, work.add_break_event, work.break_now;
DROP VIEW work.current_break, work.break_state, run.newest;
DROP FUNCTION work.escalated, work.sla_working_days;
DROP TABLE work.write_off_limit, work.break_event, work.break_transition;
