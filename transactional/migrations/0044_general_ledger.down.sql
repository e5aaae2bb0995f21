DROP FUNCTION work.recon_report(text, date);
ALTER FUNCTION work.recon_report_1(text, date) RENAME TO recon_report;
GRANT EXECUTE ON FUNCTION work.recon_report TO service, reader, jobs;
DROP FUNCTION work.suspense_parts, work.unidentified_receipts, work.counts_on;
ALTER TABLE run.run DROP COLUMN report_layout;
DELETE FROM ops.file_sender WHERE file_kind = 'gl';
