DROP TRIGGER caps_are_kept ON loans.terms;
DELETE FROM work.kind WHERE kind = 'CAP_CHANGE';
DROP SCHEMA limits CASCADE;
