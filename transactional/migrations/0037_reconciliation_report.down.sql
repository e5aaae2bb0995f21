DELETE FROM work.kind WHERE kind = 'RECON_SIGN_OFF';
DROP FUNCTION work.apply_recon_sign_off, work.check_recon_sign_off, work.recon_report_hash, work.recon_report, work.recon_blockers, work.age_bucket;
DROP TABLE work.recon_sign_off, mart.recon_summary;
