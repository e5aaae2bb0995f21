DROP VIEW night.file_waiver;
DROP SCHEMA ops CASCADE;
