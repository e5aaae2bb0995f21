DROP VIEW mart.customer_name, mart.current_loan_snapshot, mart.newest_of_any_state, mart.newest_complete, mart.winner_of_any_state;
DROP INDEX run.published_incomplete, run.published_by_platform;
DROP TABLE mart.score_band, mart.largest_borrower, mart.loan_bucket, mart.loan_snapshot;
