DELETE FROM work.kind WHERE kind = 'OUTSIDE_TARGET';
DROP SCHEMA outside CASCADE;
DROP INDEX outbox.event_by_transaction;
