"""What a payment for a loan meets: rows of the plan still owed up to a date, and claims with principal outstanding.

Parameters of both are platform and loan number, and of OWED the last due date that counts.
"""

from __future__ import annotations

OWED = """
WITH paid AS (
  SELECT issue_no, sum(amount_minor) FILTER (WHERE component = 'P') AS principal,
         sum(amount_minor) FILTER (WHERE component = 'I') AS interest
  FROM loans.money WHERE platform_id = $1 AND loan_no = $2 AND movement_type IN ('PRINCIPAL', 'INTEREST', 'COMPENSATORY')
  GROUP BY issue_no)
SELECT r.issue_no, r.due_on, greatest(r.principal_minor - coalesce(p.principal, 0), 0)::bigint AS principal_minor,
       greatest(r.interest_minor - coalesce(p.interest, 0), 0)::bigint AS interest_minor
FROM loans.plan_row r LEFT JOIN paid p USING (issue_no)
WHERE r.platform_id = $1 AND r.loan_no = $2 AND r.due_on <= $3
  AND r.version = (SELECT max(version) FROM loans.plan WHERE platform_id = $1 AND loan_no = $2)
ORDER BY r.issue_no"""
OPEN_CLAIMS = """
SELECT claim_no, account_no, outstanding_minor FROM loans.claim_state
WHERE platform_id = $1 AND loan_no = $2 AND origin <> 'SUBROGATED' AND outstanding_minor > 0 ORDER BY claim_no"""
