-- The bank's own records of loans, plans, claims, transfers, mandates, guarantees, collateral and contracts (spec 10 rows 1.5, 1.7,
-- 1.9, 1.10, 1.19, 1.20, 1.34–1.36). They move no money: what was disbursed, repaid, sold or paid out is read from the movements.
-- Rows are appended, never changed; what changes over time is the next version. Amounts are minor units of the loan's currency.
CREATE SCHEMA loans;

-- claims are asked one by one: by loan and claim, so that a loan of a thousand claims is not read a thousand times
CREATE INDEX movement_of_loan ON ledger.movement (loan_no, claim_no) WHERE loan_no IS NOT NULL;

CREATE TABLE loans.allowed_status ( -- spec 01 section 1.7; null: a loan's first status
  from_status text,
  to_status text NOT NULL,
  needs_approval boolean NOT NULL,
  UNIQUE NULLS NOT DISTINCT (from_status, to_status)
);
INSERT INTO loans.allowed_status VALUES
  (NULL, '0', false), (NULL, '6', false), ('0', '6', false), ('0', '2', false), ('6', '1', false), ('6', '2', false),
  ('1', '2', false), ('1', '9', false), ('9', '5', false), ('9', '3', false), ('9', '4', false), ('5', '3', false),
  ('5', '4', false), ('4', '5', false), ('4', '3', false), ('4', '8', false), ('8', '5', false), ('8', '3', false),
  ('4', '10', true), ('8', '10', true);

CREATE TABLE loans.loan (
  platform_id text NOT NULL,
  loan_no text NOT NULL,
  customer_no text NOT NULL, -- the borrower
  currency text NOT NULL,
  project_no text,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, loan_no),
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);
CREATE INDEX loan_of_customer ON loans.loan (platform_id, customer_no);
CREATE TABLE loans.terms (
  platform_id text NOT NULL,
  loan_no text NOT NULL,
  version int NOT NULL,
  valid_from date NOT NULL,
  contract_minor bigint NOT NULL CHECK (contract_minor > 0),
  annual_rate numeric(9,6) NOT NULL CHECK (annual_rate >= 0), -- a fraction: 0.12 is 12 % a year
  term_months int NOT NULL CHECK (term_months BETWEEN 1 AND 600),
  plan_type text NOT NULL CHECK (plan_type IN ('ANNUITY', 'EQUAL_PRINCIPAL', 'INTEREST_FIRST', 'BULLET', 'FLAT')),
  purpose_code text NOT NULL,
  security_type text NOT NULL CHECK (security_type IN ('NONE', 'GUARANTEE', 'MORTGAGE', 'PLEDGE', 'THIRD_PARTY')),
  raise_start date NOT NULL,
  raise_end date NOT NULL CHECK (raise_end >= raise_start),
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, loan_no, version),
  FOREIGN KEY (platform_id, loan_no) REFERENCES loans.loan
);
CREATE TABLE loans.status (
  platform_id text NOT NULL,
  loan_no text NOT NULL,
  seq int NOT NULL,
  status text NOT NULL CHECK (status IN ('0', '1', '2', '3', '4', '5', '6', '8', '9', '10')),
  valid_from date NOT NULL,
  reason text NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, loan_no, seq),
  FOREIGN KEY (platform_id, loan_no) REFERENCES loans.loan
);
CREATE TABLE loans.disbursement (
  platform_id text NOT NULL,
  loan_no text NOT NULL,
  disbursed_minor bigint NOT NULL CHECK (disbursed_minor > 0),
  disbursed_on date NOT NULL, -- business date of the last TENDER movement
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, loan_no),
  FOREIGN KEY (platform_id, loan_no) REFERENCES loans.loan
);
CREATE TABLE loans.write_off (
  platform_id text NOT NULL,
  loan_no text NOT NULL,
  principal_minor bigint NOT NULL CHECK (principal_minor > 0),
  written_off_on date NOT NULL,
  reason text NOT NULL,
  approval_id bigint NOT NULL REFERENCES work.approval,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, loan_no),
  FOREIGN KEY (platform_id, loan_no) REFERENCES loans.disbursement
);
CREATE TABLE loans.plan (
  platform_id text NOT NULL,
  loan_no text NOT NULL,
  version int NOT NULL,
  reason text NOT NULL CHECK (reason IN ('ORIGINAL', 'PREPAYMENT', 'RESTRUCTURING', 'CORRECTION')),
  valid_from date NOT NULL, -- what was due before is as in the version before
  source text NOT NULL CHECK (source IN ('GENERATED', 'GIVEN')),
  differences jsonb NOT NULL, -- where the given rows are not what the terms give
  rows_hash bytea NOT NULL, -- sha256 of the rows below as text
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, loan_no, version),
  FOREIGN KEY (platform_id, loan_no) REFERENCES loans.disbursement
);
CREATE TABLE loans.plan_row (
  platform_id text NOT NULL,
  loan_no text NOT NULL,
  version int NOT NULL,
  issue_no int NOT NULL CHECK (issue_no >= 1),
  due_on date NOT NULL,
  principal_minor bigint NOT NULL CHECK (principal_minor >= 0),
  interest_minor bigint NOT NULL CHECK (interest_minor >= 0),
  fee_minor bigint NOT NULL CHECK (fee_minor >= 0),
  PRIMARY KEY (platform_id, loan_no, version, issue_no),
  FOREIGN KEY (platform_id, loan_no, version) REFERENCES loans.plan
);

-- A claim has one owner for ever: a sale makes a child for the buyer, and the rest stays with the seller.
CREATE TABLE loans.claim (
  platform_id text NOT NULL,
  claim_no text NOT NULL,
  loan_no text NOT NULL,
  origin text NOT NULL CHECK (origin IN ('PRIMARY', 'TRANSFER', 'SUBROGATED')),
  parent_claim_no text,
  customer_no text NOT NULL, -- the owner
  account_id bigint NOT NULL REFERENCES registry.account,
  principal_minor bigint NOT NULL CHECK (principal_minor > 0), -- when it was opened; a subrogated one: all that was paid
  opened_on date NOT NULL,
  order_id bigint NOT NULL, -- the order that carried it
  movement_id bigint NOT NULL UNIQUE, -- and the movement of it
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, claim_no),
  FOREIGN KEY (platform_id, loan_no) REFERENCES loans.disbursement,
  FOREIGN KEY (platform_id, parent_claim_no) REFERENCES loans.claim,
  CHECK ((origin = 'TRANSFER') = (parent_claim_no IS NOT NULL))
);
CREATE INDEX claim_of_loan ON loans.claim (platform_id, loan_no);
CREATE INDEX claim_of_parent ON loans.claim (platform_id, parent_claim_no) WHERE parent_claim_no IS NOT NULL;
CREATE INDEX claim_of_account ON loans.claim (account_id);
CREATE INDEX claim_of_customer ON loans.claim (platform_id, customer_no);

CREATE TABLE loans.listing (
  platform_id text NOT NULL,
  listing_no text NOT NULL,
  claim_no text NOT NULL,
  principal_minor bigint NOT NULL CHECK (principal_minor > 0),
  price_minor bigint NOT NULL CHECK (price_minor > 0), -- asked for all of it
  listed_on date NOT NULL,
  expires_on date NOT NULL CHECK (expires_on >= listed_on),
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, listing_no),
  FOREIGN KEY (platform_id, claim_no) REFERENCES loans.claim
);
CREATE INDEX listing_of_claim ON loans.listing (platform_id, claim_no);
CREATE TABLE loans.listing_withdrawal (
  platform_id text NOT NULL,
  listing_no text NOT NULL,
  reason text NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, listing_no),
  FOREIGN KEY (platform_id, listing_no) REFERENCES loans.listing
);
CREATE TABLE loans.deal (
  platform_id text NOT NULL,
  deal_no text NOT NULL,
  listing_no text NOT NULL,
  buyer_customer_no text NOT NULL,
  principal_minor bigint NOT NULL CHECK (principal_minor > 0),
  price_minor bigint NOT NULL CHECK (price_minor > 0), -- without accrued interest; less the principal: premium or discount
  accrued_minor bigint NOT NULL CHECK (accrued_minor >= 0), -- the seller's interest since the last due date, paid by the buyer
  accrued_expected_minor bigint NOT NULL CHECK (accrued_expected_minor >= 0), -- what the plan and the days give
  fee_minor bigint NOT NULL CHECK (fee_minor >= 0), -- to the platform, from seller or buyer
  agreed_on date NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, deal_no),
  FOREIGN KEY (platform_id, listing_no) REFERENCES loans.listing,
  FOREIGN KEY (platform_id, buyer_customer_no) REFERENCES registry.customer (platform_id, customer_no)
);
CREATE INDEX deal_of_listing ON loans.deal (platform_id, listing_no);
CREATE TABLE loans.deal_end (
  platform_id text NOT NULL,
  deal_no text NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('SETTLED', 'CANCELLED')),
  order_id bigint UNIQUE,
  child_claim_no text,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, deal_no),
  FOREIGN KEY (platform_id, deal_no) REFERENCES loans.deal,
  FOREIGN KEY (platform_id, child_claim_no) REFERENCES loans.claim (platform_id, claim_no),
  CHECK ((outcome = 'SETTLED') = (order_id IS NOT NULL AND child_claim_no IS NOT NULL))
);

CREATE TABLE loans.mandate (
  platform_id text NOT NULL,
  mandate_no text NOT NULL,
  version int NOT NULL,
  customer_no text NOT NULL, -- the lender
  currency text NOT NULL,
  rate_from numeric(9,6) NOT NULL,
  rate_to numeric(9,6) NOT NULL CHECK (rate_to >= rate_from),
  term_from_months int NOT NULL,
  term_to_months int NOT NULL CHECK (term_to_months >= term_from_months),
  loan_max_minor bigint NOT NULL CHECK (loan_max_minor > 0),
  total_max_minor bigint NOT NULL CHECK (total_max_minor >= loan_max_minor),
  products text[] NOT NULL, -- plan types; empty: any
  valid_from date NOT NULL,
  expires_on date NOT NULL CHECK (expires_on >= valid_from),
  is_revoked boolean NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, mandate_no, version),
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);
CREATE TABLE loans.mandate_use (
  platform_id text NOT NULL,
  hold_no text NOT NULL, -- the tender hold that was placed in the lender's name
  mandate_no text NOT NULL,
  version int NOT NULL,
  loan_no text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, hold_no),
  FOREIGN KEY (platform_id, mandate_no, version) REFERENCES loans.mandate,
  FOREIGN KEY (platform_id, loan_no) REFERENCES loans.loan
);
CREATE INDEX mandate_use_of_mandate ON loans.mandate_use (platform_id, mandate_no);

CREATE TABLE loans.guarantee (
  platform_id text NOT NULL,
  policy_no text NOT NULL,
  loan_no text NOT NULL,
  customer_no text NOT NULL, -- the guarantor
  coverage text NOT NULL CHECK (coverage IN ('PRINCIPAL', 'PRINCIPAL_AND_INTEREST')),
  cover_minor bigint NOT NULL CHECK (cover_minor > 0),
  waiting_days int NOT NULL CHECK (waiting_days BETWEEN 0 AND 365), -- from the due date to the earliest call
  premium_minor bigint NOT NULL CHECK (premium_minor >= 0),
  valid_from date NOT NULL,
  valid_to date NOT NULL CHECK (valid_to >= valid_from),
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, policy_no),
  FOREIGN KEY (platform_id, loan_no) REFERENCES loans.loan,
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);
CREATE INDEX guarantee_of_loan ON loans.guarantee (platform_id, loan_no);
CREATE INDEX guarantee_of_customer ON loans.guarantee (platform_id, customer_no);
CREATE TABLE loans.guarantee_release (
  platform_id text NOT NULL,
  policy_no text NOT NULL,
  released_on date NOT NULL,
  reason text NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, policy_no),
  FOREIGN KEY (platform_id, policy_no) REFERENCES loans.guarantee
);
CREATE TABLE loans.guarantee_call (
  platform_id text NOT NULL,
  call_no text NOT NULL,
  policy_no text NOT NULL,
  issue_no int NOT NULL,
  called_minor bigint NOT NULL CHECK (called_minor > 0),
  called_on date NOT NULL,
  due_on date NOT NULL CHECK (due_on >= called_on),
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, call_no),
  FOREIGN KEY (platform_id, policy_no) REFERENCES loans.guarantee
);
CREATE INDEX guarantee_call_of_policy ON loans.guarantee_call (platform_id, policy_no);
CREATE TABLE loans.payout (
  platform_id text NOT NULL,
  order_id bigint NOT NULL, -- the COMPENSATORY order
  call_no text NOT NULL,
  paid_minor bigint NOT NULL CHECK (paid_minor > 0),
  paid_on date NOT NULL,
  claim_no text NOT NULL UNIQUE, -- the guarantor's own claim from then on
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, order_id),
  FOREIGN KEY (platform_id, call_no) REFERENCES loans.guarantee_call,
  FOREIGN KEY (platform_id, claim_no) REFERENCES loans.claim
);
CREATE INDEX payout_of_call ON loans.payout (platform_id, call_no);
CREATE TABLE loans.recovery (
  platform_id text NOT NULL,
  order_id bigint NOT NULL, -- the COMPENSATORY_REPAYMENT order
  claim_no text NOT NULL,
  recovered_minor bigint NOT NULL CHECK (recovered_minor > 0),
  recovered_on date NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, order_id),
  FOREIGN KEY (platform_id, claim_no) REFERENCES loans.claim
);
CREATE INDEX recovery_of_claim ON loans.recovery (platform_id, claim_no);

CREATE TABLE loans.collateral (
  platform_id text NOT NULL,
  collateral_no text NOT NULL,
  loan_no text NOT NULL,
  customer_no text NOT NULL, -- who gives it
  kind text NOT NULL CHECK (kind IN ('REAL_ESTATE', 'VEHICLE', 'EQUIPMENT', 'RECEIVABLES', 'SECURITIES', 'OTHER')),
  haircut numeric(9,6) NOT NULL CHECK (haircut >= 0 AND haircut < 1),
  ltv_max numeric(9,6) NOT NULL CHECK (ltv_max > 0),
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, collateral_no),
  FOREIGN KEY (platform_id, loan_no) REFERENCES loans.loan,
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);
CREATE INDEX collateral_of_loan ON loans.collateral (platform_id, loan_no);
CREATE TABLE loans.valuation (
  platform_id text NOT NULL,
  collateral_no text NOT NULL,
  seq int NOT NULL,
  valued_on date NOT NULL,
  method text NOT NULL CHECK (method IN ('APPRAISAL', 'MARKET_PRICE', 'MODEL', 'PURCHASE_PRICE')),
  value_minor bigint NOT NULL CHECK (value_minor > 0),
  valuer text NOT NULL,
  valid_until date NOT NULL CHECK (valid_until >= valued_on),
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, collateral_no, seq),
  FOREIGN KEY (platform_id, collateral_no) REFERENCES loans.collateral
);
CREATE TABLE loans.lien (
  platform_id text NOT NULL,
  collateral_no text NOT NULL,
  seq int NOT NULL,
  event text NOT NULL CHECK (event IN ('REGISTERED', 'TRANSFERRED', 'RELEASED')),
  holder_customer_no text, -- null: the lenders together
  registration_no text NOT NULL,
  lien_rank int NOT NULL CHECK (lien_rank BETWEEN 1 AND 99),
  happened_on date NOT NULL,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, collateral_no, seq),
  FOREIGN KEY (platform_id, collateral_no) REFERENCES loans.collateral,
  FOREIGN KEY (platform_id, holder_customer_no) REFERENCES registry.customer (platform_id, customer_no)
);
CREATE TABLE loans.disposal (
  platform_id text NOT NULL,
  collateral_no text NOT NULL,
  disposed_on date NOT NULL,
  gross_minor bigint NOT NULL CHECK (gross_minor > 0),
  costs_minor bigint NOT NULL CHECK (costs_minor BETWEEN 0 AND gross_minor),
  to_lenders_minor bigint NOT NULL CHECK (to_lenders_minor >= 0),
  to_guarantor_minor bigint NOT NULL CHECK (to_guarantor_minor >= 0),
  to_owner_minor bigint NOT NULL CHECK (to_owner_minor >= 0), -- what is left goes back to who gave it
  approval_id bigint NOT NULL REFERENCES work.approval,
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, collateral_no),
  FOREIGN KEY (platform_id, collateral_no) REFERENCES loans.collateral,
  CHECK (gross_minor - costs_minor = to_lenders_minor + to_guarantor_minor + to_owner_minor)
);

CREATE TABLE loans.contract (
  platform_id text NOT NULL,
  contract_no text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('LOAN', 'GUARANTEE', 'TRANSFER', 'COLLATERAL')),
  subject_no text NOT NULL, -- number of the loan, policy, deal or collateral
  loan_no text NOT NULL, -- whose end starts the retention clock
  content_sha256 text NOT NULL CHECK (content_sha256 ~ '^[0-9a-f]{64}$'),
  template_code text NOT NULL,
  template_version text NOT NULL,
  parties text[] NOT NULL CHECK (cardinality(parties) BETWEEN 1 AND 2000), -- customer numbers
  signed_on date NOT NULL,
  ends_on date NOT NULL CHECK (ends_on >= signed_on),
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, contract_no),
  FOREIGN KEY (platform_id, loan_no) REFERENCES loans.loan
);
CREATE INDEX contract_of_loan ON loans.contract (platform_id, loan_no);
CREATE TABLE loans.contract_event (
  platform_id text NOT NULL,
  contract_no text NOT NULL,
  seq int NOT NULL,
  event text NOT NULL CHECK (event IN ('DELIVERED', 'DISPUTE_OPENED', 'DISPUTE_ENDED', 'VERIFIED', 'VERIFY_FAILED')),
  happened_on date NOT NULL,
  evidence_sha256 text CHECK (evidence_sha256 ~ '^[0-9a-f]{64}$'), -- of a delivery receipt, a judgment, the content that was offered
  recorded_at timestamptz NOT NULL,
  actor text NOT NULL,
  PRIMARY KEY (platform_id, contract_no, seq),
  FOREIGN KEY (platform_id, contract_no) REFERENCES loans.contract
);

-- Every row is told to the audit chain, whole, and to the outbox: (column of its number, topic).
CREATE FUNCTION loans.tell() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  content jsonb := to_jsonb(NEW);
  kind text := 'loans.' || TG_TABLE_NAME;
  number text := concat_ws(' ', NEW.platform_id, content ->> TG_ARGV[0]);
  version_before jsonb;
BEGIN
  SELECT c.after INTO version_before FROM audit.change c WHERE c.subject_type = kind AND c.subject = number ORDER BY c.change_id DESC LIMIT 1;
  PERFORM audit.record(NEW.actor, upper(replace(TG_ARGV[1], '.', '_')), kind, number, NEW.platform_id, version_before, content);
  PERFORM outbox.append(TG_ARGV[1], NEW.platform_id, concat_ws(' ', NEW.platform_id, coalesce(content ->> 'loan_no', content ->> TG_ARGV[0])), content);
  RETURN NULL;
END $$;

CREATE TABLE loans.told (table_name text PRIMARY KEY, number_column text NOT NULL, topic text NOT NULL);
INSERT INTO loans.told VALUES
  ('loan', 'loan_no', 'loan.registered'), ('terms', 'loan_no', 'loan.terms_changed'), ('status', 'loan_no', 'loan.status_changed'),
  ('disbursement', 'loan_no', 'loan.disbursed'), ('write_off', 'loan_no', 'loan.written_off'), ('plan', 'loan_no', 'loan.plan_changed'),
  ('claim', 'claim_no', 'claim.opened'), ('listing', 'listing_no', 'transfer.listed'),
  ('listing_withdrawal', 'listing_no', 'transfer.withdrawn'), ('deal', 'deal_no', 'transfer.agreed'),
  ('deal_end', 'deal_no', 'transfer.ended'), ('mandate', 'mandate_no', 'mandate.changed'), ('mandate_use', 'hold_no', 'mandate.used'),
  ('guarantee', 'policy_no', 'guarantee.registered'), ('guarantee_release', 'policy_no', 'guarantee.released'),
  ('guarantee_call', 'call_no', 'guarantee.called'), ('payout', 'order_id', 'guarantee.paid_out'),
  ('recovery', 'order_id', 'guarantee.recovered'), ('collateral', 'collateral_no', 'collateral.registered'),
  ('valuation', 'collateral_no', 'collateral.valued'), ('lien', 'collateral_no', 'collateral.lien_changed'),
  ('disposal', 'collateral_no', 'collateral.disposed'), ('contract', 'contract_no', 'contract.archived'),
  ('contract_event', 'contract_no', 'contract.event_recorded');
DO $$
DECLARE one record;
BEGIN
  FOR one IN SELECT * FROM loans.told LOOP
    EXECUTE format('CREATE TRIGGER is_told AFTER INSERT ON loans.%I FOR EACH ROW EXECUTE FUNCTION loans.tell(%L, %L)',
                   one.table_name, one.number_column, one.topic);
  END LOOP;
  FOR one IN SELECT table_name FROM loans.told UNION ALL VALUES ('plan_row'), ('allowed_status'), ('told') LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loans.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()',
                   one.table_name);
  END LOOP;
END $$;

-- What moved for a loan; what was reversed counts against itself.
CREATE VIEW loans.money AS
SELECT o.platform_id, m.loan_no, m.claim_no, m.issue_no, m.component, m.movement_type, m.movement_id, m.order_id, o.request_no,
       m.debit_account_id, m.credit_account_id, m.currency, m.business_date, m.reversal_of,
       CASE WHEN m.reversal_of IS NULL THEN m.amount_minor ELSE -m.amount_minor END AS amount_minor
FROM ledger.movement m JOIN ledger.trade_order o USING (order_id) WHERE m.loan_no IS NOT NULL;

-- Principal that a claim still has at the end of a business date: opened less sold on less paid (a subrogated one: less recovered).
CREATE FUNCTION loans.claim_outstanding(c loans.claim, day date) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN c.opened_on > day THEN 0 ELSE c.principal_minor
    - coalesce((SELECT sum(k.principal_minor) FROM loans.claim k
                WHERE k.platform_id = c.platform_id AND k.parent_claim_no = c.claim_no AND k.opened_on <= day), 0)
    - CASE c.origin WHEN 'SUBROGATED' THEN
        coalesce((SELECT sum(r.recovered_minor) FROM loans.recovery r
                  WHERE r.platform_id = c.platform_id AND r.claim_no = c.claim_no AND r.recovered_on <= day), 0)
      ELSE
        coalesce((SELECT sum(w.amount_minor) FROM loans.money w
                  WHERE w.platform_id = c.platform_id AND w.loan_no = c.loan_no AND w.claim_no = c.claim_no AND w.business_date <= day
                    AND (w.movement_type = 'PRINCIPAL' OR (w.movement_type = 'COMPENSATORY' AND w.component = 'P'))), 0)
      END END::bigint $$;

CREATE VIEW loans.claim_state AS
SELECT c.platform_id, c.claim_no, c.loan_no, l.currency, c.origin, c.parent_claim_no, c.customer_no, a.account_no, c.principal_minor,
       loans.claim_outstanding(c, 'infinity') AS outstanding_minor, c.opened_on, o.request_no, c.movement_id, c.recorded_at
FROM loans.claim c JOIN loans.loan l USING (platform_id, loan_no) JOIN registry.account a USING (account_id)
JOIN ledger.trade_order o USING (order_id);

CREATE VIEW loans.loan_state AS
SELECT l.platform_id, l.loan_no, l.customer_no, l.currency, l.project_no, t.version AS terms_version, t.contract_minor,
       trim_scale(t.annual_rate)::text AS annual_rate, t.term_months, t.plan_type, t.purpose_code, t.security_type, t.raise_start,
       t.raise_end, s.status, s.valid_from AS status_since, d.disbursed_minor, d.disbursed_on, p.version AS plan_version,
       m.borrower_principal_minor, m.borrower_interest_minor, m.guarantor_principal_minor, m.guarantor_interest_minor,
       m.repaid_to_guarantor_minor,
       coalesce(d.disbursed_minor, 0) - m.borrower_principal_minor - m.guarantor_principal_minor AS outstanding_principal_minor,
       greatest(coalesce(p.interest_minor, 0) - m.borrower_interest_minor - m.guarantor_interest_minor, 0) AS outstanding_interest_minor,
       l.recorded_at
FROM loans.loan l
CROSS JOIN LATERAL (SELECT * FROM loans.terms t WHERE (t.platform_id, t.loan_no) = (l.platform_id, l.loan_no)
                    ORDER BY t.version DESC LIMIT 1) t
CROSS JOIN LATERAL (SELECT * FROM loans.status s WHERE (s.platform_id, s.loan_no) = (l.platform_id, l.loan_no)
                    ORDER BY s.seq DESC LIMIT 1) s
LEFT JOIN loans.disbursement d ON (d.platform_id, d.loan_no) = (l.platform_id, l.loan_no)
LEFT JOIN LATERAL (SELECT r.version, sum(r.interest_minor)::bigint AS interest_minor FROM loans.plan_row r
                   WHERE (r.platform_id, r.loan_no) = (l.platform_id, l.loan_no) GROUP BY r.version
                   ORDER BY r.version DESC LIMIT 1) p ON true
CROSS JOIN LATERAL (
  SELECT coalesce(sum(w.amount_minor) FILTER (WHERE w.movement_type = 'PRINCIPAL'), 0)::bigint AS borrower_principal_minor,
         coalesce(sum(w.amount_minor) FILTER (WHERE w.movement_type = 'INTEREST'), 0)::bigint AS borrower_interest_minor,
         coalesce(sum(w.amount_minor) FILTER (WHERE w.movement_type = 'COMPENSATORY' AND w.component = 'P'), 0)::bigint AS guarantor_principal_minor,
         coalesce(sum(w.amount_minor) FILTER (WHERE w.movement_type = 'COMPENSATORY' AND w.component = 'I'), 0)::bigint AS guarantor_interest_minor,
         coalesce(sum(w.amount_minor) FILTER (WHERE w.movement_type = 'COMPENSATORY_REPAYMENT'), 0)::bigint AS repaid_to_guarantor_minor
  FROM loans.money w WHERE w.platform_id = l.platform_id AND w.loan_no = l.loan_no) m;

CREATE VIEW loans.deal_state AS
SELECT d.platform_id, d.deal_no, d.listing_no, g.claim_no, c.loan_no, c.customer_no AS seller_customer_no, d.buyer_customer_no,
       d.principal_minor, d.price_minor, d.price_minor - d.principal_minor AS premium_minor, d.accrued_minor, d.accrued_expected_minor,
       d.fee_minor, d.agreed_on, coalesce(e.outcome, 'AGREED') AS state, e.child_claim_no, o.request_no, d.recorded_at
FROM loans.deal d JOIN loans.listing g USING (platform_id, listing_no) JOIN loans.claim c USING (platform_id, claim_no)
LEFT JOIN loans.deal_end e USING (platform_id, deal_no) LEFT JOIN ledger.trade_order o ON o.order_id = e.order_id;

CREATE VIEW loans.listing_state AS
SELECT g.platform_id, g.listing_no, g.claim_no, c.loan_no, c.customer_no AS seller_customer_no, g.principal_minor, g.price_minor,
       g.principal_minor - s.taken_minor AS unsold_minor, g.listed_on, g.expires_on,
       CASE WHEN w.listing_no IS NOT NULL THEN 'WITHDRAWN' WHEN s.taken_minor = g.principal_minor THEN 'SOLD'
            WHEN g.expires_on < (ledger.clock_now() AT TIME ZONE 'UTC')::date THEN 'EXPIRED' ELSE 'LISTED' END AS state, g.recorded_at
FROM loans.listing g JOIN loans.claim c USING (platform_id, claim_no)
LEFT JOIN loans.listing_withdrawal w USING (platform_id, listing_no)
CROSS JOIN LATERAL (SELECT coalesce(sum(d.principal_minor), 0)::bigint AS taken_minor FROM loans.deal d
                    LEFT JOIN loans.deal_end e USING (platform_id, deal_no)
                    WHERE (d.platform_id, d.listing_no) = (g.platform_id, g.listing_no) AND e.outcome IS DISTINCT FROM 'CANCELLED') s;

CREATE VIEW loans.mandate_state AS
SELECT m.platform_id, m.mandate_no, m.version, m.customer_no, m.currency, trim_scale(m.rate_from)::text AS rate_from,
       trim_scale(m.rate_to)::text AS rate_to, m.term_from_months, m.term_to_months, m.loan_max_minor, m.total_max_minor, m.products,
       m.valid_from, m.expires_on, m.is_revoked, u.used_minor, greatest(m.total_max_minor - u.used_minor, 0) AS headroom_minor,
       m.recorded_at
FROM loans.mandate m
CROSS JOIN LATERAL (
  -- a hold that was let go without becoming part of the loan uses nothing
  SELECT coalesce(sum(u.amount_minor), 0)::bigint AS used_minor FROM loans.mandate_use u
  WHERE (u.platform_id, u.mandate_no) = (m.platform_id, m.mandate_no)
    AND (NOT EXISTS (SELECT FROM ledger.hold_event h WHERE (h.platform_id, h.hold_no) = (u.platform_id, u.hold_no) AND h.event_type <> 'PLACE')
      OR EXISTS (SELECT FROM ledger.hold_event h JOIN ledger.movement w ON w.order_id = h.order_id
                 WHERE (h.platform_id, h.hold_no) = (u.platform_id, u.hold_no) AND h.event_type <> 'PLACE'
                   AND w.movement_type = 'TENDER' AND w.loan_no = u.loan_no))) u
WHERE m.version = (SELECT max(v.version) FROM loans.mandate v WHERE (v.platform_id, v.mandate_no) = (m.platform_id, m.mandate_no));

CREATE VIEW loans.call_state AS
SELECT c.platform_id, c.call_no, c.policy_no, g.loan_no, c.issue_no, c.called_minor, c.called_on, c.due_on, p.paid_minor,
       CASE WHEN p.paid_minor = 0 THEN 'CALLED' WHEN p.paid_minor < c.called_minor THEN 'PARTLY_PAID' ELSE 'PAID' END AS state,
       c.recorded_at
FROM loans.guarantee_call c JOIN loans.guarantee g USING (platform_id, policy_no)
CROSS JOIN LATERAL (SELECT coalesce(sum(p.paid_minor), 0)::bigint AS paid_minor FROM loans.payout p
                    WHERE (p.platform_id, p.call_no) = (c.platform_id, c.call_no)) p;

CREATE VIEW loans.guarantee_state AS
SELECT g.platform_id, g.policy_no, g.loan_no, g.customer_no, g.coverage, g.cover_minor, g.waiting_days, g.premium_minor, g.valid_from,
       g.valid_to, c.called_minor, c.paid_minor, r.recovered_minor, c.paid_minor - r.recovered_minor AS subrogated_minor,
       CASE WHEN x.policy_no IS NOT NULL THEN 'RELEASED' WHEN c.paid_minor > 0 AND r.recovered_minor = c.paid_minor THEN 'RECOVERED'
            WHEN c.paid_minor > 0 THEN 'SUBROGATED' WHEN c.called_minor > 0 THEN 'CALLED' ELSE 'IN_FORCE' END AS state, g.recorded_at
FROM loans.guarantee g LEFT JOIN loans.guarantee_release x USING (platform_id, policy_no)
CROSS JOIN LATERAL (SELECT coalesce(sum(s.called_minor), 0)::bigint AS called_minor, coalesce(sum(s.paid_minor), 0)::bigint AS paid_minor
                    FROM loans.call_state s WHERE (s.platform_id, s.policy_no) = (g.platform_id, g.policy_no)) c
CROSS JOIN LATERAL (SELECT coalesce(sum(v.recovered_minor), 0)::bigint AS recovered_minor
                    FROM loans.guarantee_call k JOIN loans.payout p USING (platform_id, call_no)
                    JOIN loans.recovery v USING (platform_id, claim_no)
                    WHERE (k.platform_id, k.policy_no) = (g.platform_id, g.policy_no)) r;

-- LTV = outstanding principal / (value less haircut), spec 05 section 5.10; null without a valuation
CREATE VIEW loans.collateral_state AS
SELECT c.platform_id, c.collateral_no, c.loan_no, c.customer_no, c.kind, trim_scale(c.haircut)::text AS haircut,
       trim_scale(c.ltv_max)::text AS ltv_max, v.value_minor, v.valued_on, v.valid_until,
       round(s.outstanding_principal_minor / (v.value_minor * (1 - c.haircut)), 6)::text AS ltv,
       coalesce(s.outstanding_principal_minor / (v.value_minor * (1 - c.haircut)) > c.ltv_max, false) AS is_ltv_exceeded,
       coalesce(v.valid_until < (ledger.clock_now() AT TIME ZONE 'UTC')::date, true) AS is_valuation_stale,
       CASE WHEN d.collateral_no IS NOT NULL THEN 'DISPOSED' ELSE coalesce(n.event, 'UNREGISTERED') END AS state, c.recorded_at
FROM loans.collateral c JOIN loans.loan_state s USING (platform_id, loan_no)
LEFT JOIN LATERAL (SELECT * FROM loans.valuation v WHERE (v.platform_id, v.collateral_no) = (c.platform_id, c.collateral_no)
                   ORDER BY v.valued_on DESC, v.seq DESC LIMIT 1) v ON true
LEFT JOIN LATERAL (SELECT * FROM loans.lien n WHERE (n.platform_id, n.collateral_no) = (c.platform_id, c.collateral_no)
                   ORDER BY n.seq DESC LIMIT 1) n ON true
LEFT JOIN loans.disposal d ON (d.platform_id, d.collateral_no) = (c.platform_id, c.collateral_no);

-- The retention clock (spec 02 section 2.6): five years after the last of contract end, last repayment, write-off, end of a dispute;
-- null while a dispute is open: it is kept.
CREATE VIEW loans.contract_state AS
SELECT c.platform_id, c.contract_no, c.kind, c.subject_no, c.loan_no, c.content_sha256, c.template_code, c.template_version, c.parties,
       c.signed_on, c.ends_on, c.recorded_at, e.disputes_open > 0 AS is_in_dispute,
       CASE WHEN e.disputes_open = 0 THEN
         (greatest(c.ends_on, w.last_repayment_on, x.written_off_on, e.dispute_ended_on) + interval '5 years')::date END AS retain_until
FROM loans.contract c
LEFT JOIN loans.write_off x USING (platform_id, loan_no)
CROSS JOIN LATERAL (SELECT max(m.business_date) AS last_repayment_on FROM loans.money m
                    WHERE m.platform_id = c.platform_id AND m.loan_no = c.loan_no
                      AND m.movement_type IN ('PRINCIPAL', 'INTEREST', 'COMPENSATORY', 'COMPENSATORY_REPAYMENT')) w
CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE e.event = 'DISPUTE_OPENED') - count(*) FILTER (WHERE e.event = 'DISPUTE_ENDED') AS disputes_open,
                           max(e.happened_on) FILTER (WHERE e.event = 'DISPUTE_ENDED') AS dispute_ended_on
                    FROM loans.contract_event e WHERE (e.platform_id, e.contract_no) = (c.platform_id, c.contract_no)) e;

-- The acts. Each takes the request's body (its types were checked by the service) and who acts; all of one loan take turns on its row.
CREATE FUNCTION loans.find_loan(p text, no text) RETURNS loans.loan LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found loans.loan;
BEGIN
  SELECT * INTO found FROM loans.loan l WHERE l.platform_id = p AND l.loan_no = no FOR UPDATE;
  IF found.loan_no IS NULL THEN
    PERFORM work.refuse('LOAN_NOT_FOUND', 'loan_no', no);
  END IF;
  RETURN found;
END $$;

CREATE FUNCTION loans.find_claim(p text, no text) RETURNS loans.claim LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found loans.claim;
BEGIN
  SELECT * INTO found FROM loans.claim c WHERE c.platform_id = p AND c.claim_no = no;
  IF found.claim_no IS NULL THEN
    PERFORM work.refuse('CLAIM_NOT_FOUND', 'claim_no', no);
  END IF;
  PERFORM loans.find_loan(p, found.loan_no);
  RETURN found;
END $$;

CREATE FUNCTION loans.check_past(field text, day date) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- one day ahead: the bank's date may be the next one already
  IF day > (ledger.clock_now() AT TIME ZONE 'UTC')::date + 1 THEN
    PERFORM work.refuse('DATE_IN_FUTURE', field, day::text);
  END IF;
END $$;

CREATE FUNCTION loans.check_customer(p text, customer text, wanted_role text, in_currency text, field text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM registry.account a WHERE a.platform_id = p AND a.customer_no = customer AND a.account_role = wanted_role
                 AND a.currency = in_currency) THEN
    PERFORM work.refuse('UNKNOWN_CUSTOMER', field, customer);
  END IF;
END $$;

-- The order that carried a change of title: posted, not a reversal, not reversed.
CREATE FUNCTION loans.find_order(p text, request text) RETURNS ledger.trade_order LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found ledger.trade_order;
BEGIN
  SELECT * INTO found FROM ledger.trade_order o WHERE o.platform_id = p AND o.request_no = request;
  IF found.order_id IS NULL THEN
    PERFORM work.refuse('UNKNOWN_ORDER', 'request_no', request);
  ELSIF found.reverses_order_id IS NOT NULL OR EXISTS (SELECT FROM ledger.trade_order v WHERE v.reverses_order_id = found.order_id) THEN
    PERFORM work.refuse('ORDER_REVERSED', 'request_no', request);
  ELSIF EXISTS (SELECT FROM loans.claim c WHERE c.order_id = found.order_id) OR EXISTS (SELECT FROM loans.recovery r WHERE r.order_id = found.order_id) THEN
    PERFORM work.refuse('ORDER_USED', 'request_no', request);
  END IF;
  RETURN found;
END $$;

CREATE FUNCTION loans.status_of(loan loans.loan) RETURNS loans.status LANGUAGE sql STABLE AS $$
  SELECT s FROM loans.status s WHERE s.platform_id = loan.platform_id AND s.loan_no = loan.loan_no ORDER BY s.seq DESC LIMIT 1 $$;

CREATE FUNCTION loans.loan_document(p text, no text) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT to_jsonb(s) FROM loans.loan_state s WHERE s.platform_id = p AND s.loan_no = no $$;

CREATE FUNCTION loans.put_terms(loan loans.loan, r jsonb, actor text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.terms := jsonb_populate_record(NULL::loans.terms, r);
BEGIN
  made.platform_id := loan.platform_id; made.loan_no := loan.loan_no; made.actor := actor; made.recorded_at := ledger.clock_now();
  made.valid_from := coalesce(made.valid_from, made.raise_start);
  IF made.raise_end < made.raise_start THEN
    PERFORM work.refuse('BODY_INVALID', 'raise_end', made.raise_end::text);
  END IF;
  SELECT count(*) + 1 INTO made.version FROM loans.terms t WHERE t.platform_id = loan.platform_id AND t.loan_no = loan.loan_no;
  INSERT INTO loans.terms SELECT (made).*;
END $$;

CREATE FUNCTION loans.put_status(loan loans.loan, wanted text, since date, why text, actor text, is_approved boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  last loans.status := loans.status_of(loan);
  rule loans.allowed_status;
BEGIN
  SELECT * INTO rule FROM loans.allowed_status a WHERE a.from_status IS NOT DISTINCT FROM last.status AND a.to_status = wanted;
  IF rule.to_status IS NULL THEN
    PERFORM work.refuse('STATUS_NOT_ALLOWED', 'status', format('%s > %s', coalesce(last.status, 'none'), wanted));
  ELSIF rule.needs_approval AND NOT is_approved THEN
    PERFORM work.refuse('NEEDS_APPROVAL', 'status', wanted);
  ELSIF since < last.valid_from THEN
    PERFORM work.refuse('BODY_INVALID', 'valid_from', since::text);
  END IF;
  PERFORM loans.check_past('valid_from', since);
  INSERT INTO loans.status VALUES (loan.platform_id, loan.loan_no, coalesce(last.seq, 0) + 1, wanted, since, why, ledger.clock_now(), actor);
END $$;

CREATE FUNCTION loans.register(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.loan := jsonb_populate_record(NULL::loans.loan, r);
BEGIN
  PERFORM loans.check_customer(made.platform_id, made.customer_no, 'BORROWERS', made.currency, 'customer_no');
  IF made.project_no IS NOT NULL AND NOT EXISTS (SELECT FROM registry.project j WHERE j.platform_id = made.platform_id AND j.project_no = made.project_no) THEN
    PERFORM work.refuse('UNKNOWN_REFERENCE', 'project_no', made.project_no);
  END IF;
  made.recorded_at := ledger.clock_now(); made.actor := actor;
  INSERT INTO loans.loan SELECT (made).* ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'loan_no', made.loan_no);
  END IF;
  PERFORM loans.put_terms(made, r, actor);
  PERFORM loans.put_status(made, coalesce(r ->> 'status', '0'), coalesce((r ->> 'announced_on')::date, (ledger.clock_now() AT TIME ZONE 'UTC')::date),
                           'registered', actor, false);
  RETURN loans.loan_document(made.platform_id, made.loan_no);
END $$;

CREATE FUNCTION loans.change_terms(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  loan loans.loan := loans.find_loan(r ->> 'platform_id', r ->> 'loan_no');
  status text := (loans.status_of(loan)).status;
BEGIN
  IF status NOT IN ('0', '6') THEN -- once the raise is full the lenders have agreed to the terms
    PERFORM work.refuse('STATE_CONFLICT', 'status', status);
  END IF;
  PERFORM loans.put_terms(loan, r, actor);
  RETURN loans.loan_document(loan.platform_id, loan.loan_no);
END $$;

-- Status DISBURSED is what the ledger says: TENDER movements of the loan into the borrower's account add up to the amount; they make
-- the lenders' claims, one each.
CREATE FUNCTION loans.disburse(loan loans.loan, amount bigint, actor text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tendered record;
  contract bigint;
  opened bigint;
BEGIN
  SELECT coalesce(sum(w.amount_minor), 0)::bigint AS amount, max(w.business_date) AS day, count(*) FILTER (WHERE w.reversal_of IS NULL) AS movements,
         min(a.account_no) FILTER (WHERE w.reversal_of IS NULL AND (a.customer_no IS DISTINCT FROM loan.customer_no OR w.currency <> loan.currency)) AS stranger
  INTO tendered FROM loans.money w JOIN registry.account a ON a.account_id = w.credit_account_id
  WHERE w.platform_id = loan.platform_id AND w.loan_no = loan.loan_no AND w.movement_type = 'TENDER';
  SELECT t.contract_minor INTO contract FROM loans.terms t WHERE t.platform_id = loan.platform_id AND t.loan_no = loan.loan_no
  ORDER BY t.version DESC LIMIT 1;
  IF amount IS NULL THEN
    PERFORM work.refuse('BODY_INVALID', 'disbursed_minor', NULL);
  ELSIF tendered.stranger IS NOT NULL THEN
    PERFORM work.refuse('ORDER_DIFFERS', 'credit_account', tendered.stranger);
  ELSIF tendered.amount <> amount THEN
    PERFORM work.refuse('AMOUNT_DIFFERS', 'disbursed_minor', format('%s, the ledger has %s', amount, tendered.amount));
  ELSIF amount > contract THEN
    PERFORM work.refuse('AMOUNT_EXCEEDS', 'disbursed_minor', format('%s of %s', amount, contract));
  END IF;
  INSERT INTO loans.disbursement VALUES (loan.platform_id, loan.loan_no, amount, tendered.day, ledger.clock_now(), actor);
  INSERT INTO loans.claim
  SELECT loan.platform_id, coalesce(w.claim_no, loan.loan_no || '-C' || row_number() OVER (ORDER BY w.movement_id)), loan.loan_no, 'PRIMARY',
         NULL, a.customer_no, a.account_id, w.amount_minor, w.business_date, w.order_id, w.movement_id, ledger.clock_now(), actor
  FROM loans.money w JOIN registry.account a ON a.account_id = w.debit_account_id
  WHERE w.platform_id = loan.platform_id AND w.loan_no = loan.loan_no AND w.movement_type = 'TENDER' AND w.reversal_of IS NULL
    AND NOT EXISTS (SELECT FROM ledger.movement v WHERE v.reversal_of = w.movement_id)
  ON CONFLICT DO NOTHING;
  SELECT coalesce(sum(c.principal_minor), 0) INTO opened FROM loans.claim c WHERE c.platform_id = loan.platform_id AND c.loan_no = loan.loan_no;
  IF opened <> amount THEN -- a claim number that stands already, or stands twice
    PERFORM work.refuse('NUMBER_TAKEN', 'claim_no', format('claims of %s from %s tendered', opened, amount));
  END IF;
END $$;

-- Days past due at the end of a business date (spec 00 section 0.3): lenders have not received, the borrower has not paid.
CREATE FUNCTION loans.days_past_due(p text, no text, day date, OUT lender_days int, OUT borrower_days int) LANGUAGE sql STABLE AS $$
  WITH paid AS (
    SELECT w.issue_no, coalesce(w.component, CASE w.movement_type WHEN 'PRINCIPAL' THEN 'P' WHEN 'INTEREST' THEN 'I' END) AS component,
           sum(w.amount_minor) FILTER (WHERE w.movement_type IN ('PRINCIPAL', 'INTEREST', 'COMPENSATORY')) AS to_lenders,
           sum(w.amount_minor) FILTER (WHERE w.movement_type IN ('PRINCIPAL', 'INTEREST', 'COMPENSATORY_REPAYMENT')) AS by_borrower
    FROM loans.money w WHERE w.platform_id = p AND w.loan_no = no AND w.business_date <= day GROUP BY 1, 2),
  owed AS (
    SELECT r.due_on, v.due - coalesce(paid.to_lenders, 0) AS to_lenders, v.due - coalesce(paid.by_borrower, 0) AS by_borrower
    FROM loans.plan_row r CROSS JOIN LATERAL (VALUES ('P', r.principal_minor), ('I', r.interest_minor)) v(component, due)
    LEFT JOIN paid ON paid.issue_no = r.issue_no AND paid.component = v.component
    WHERE r.platform_id = p AND r.loan_no = no AND r.due_on < day
      AND r.version = (SELECT max(n.version) FROM loans.plan n WHERE n.platform_id = p AND n.loan_no = no AND n.valid_from <= day))
  SELECT coalesce(day - min(due_on) FILTER (WHERE to_lenders > 0), 0), coalesce(day - min(due_on) FILTER (WHERE by_borrower > 0), 0) FROM owed $$;

CREATE FUNCTION loans.change_status(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  loan loans.loan := loans.find_loan(r ->> 'platform_id', r ->> 'loan_no');
  wanted text := r ->> 'status';
  since date := (r ->> 'valid_from')::date;
  stands loans.loan_state;
  late record;
BEGIN
  PERFORM loans.put_status(loan, wanted, since, r ->> 'reason', actor, false);
  IF wanted = '9' THEN
    PERFORM loans.disburse(loan, (r ->> 'disbursed_minor')::bigint, actor);
  ELSIF wanted = '2' AND EXISTS (SELECT FROM loans.money w WHERE w.platform_id = loan.platform_id AND w.loan_no = loan.loan_no
                                 GROUP BY w.loan_no HAVING sum(w.amount_minor) <> 0) THEN
    PERFORM work.refuse('STATUS_NOT_ALLOWED', 'status', 'money has moved for this loan');
  ELSIF wanted = '3' THEN
    SELECT * INTO stands FROM loans.loan_state s WHERE s.platform_id = loan.platform_id AND s.loan_no = loan.loan_no;
    IF stands.outstanding_principal_minor <> 0 THEN
      PERFORM work.refuse('AMOUNT_DIFFERS', 'status', format('%s of principal is outstanding', stands.outstanding_principal_minor));
    END IF;
  ELSIF wanted = '4' THEN
    SELECT * INTO late FROM loans.days_past_due(loan.platform_id, loan.loan_no, since);
    IF late.lender_days = 0 AND late.borrower_days = 0 THEN
      PERFORM work.refuse('LOAN_NOT_OVERDUE', 'valid_from', since::text);
    END IF;
  END IF;
  RETURN loans.loan_document(loan.platform_id, loan.loan_no);
END $$;

CREATE FUNCTION loans.plan_hash(p text, no text, of_version int) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT sha256(convert_to(string_agg(concat_ws(' ', r.issue_no, to_char(r.due_on, 'YYYY-MM-DD'), r.principal_minor, r.interest_minor, r.fee_minor), E'\n'
                                      ORDER BY r.issue_no), 'UTF8'))
  FROM loans.plan_row r WHERE r.platform_id = p AND r.loan_no = no AND r.version = of_version $$;

-- Why rows cannot be the next version of a plan; null when they can.
CREATE FUNCTION loans.plan_obstacle(loan loans.loan, last_version int, since date, rows jsonb, OUT field text, OUT value text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  lent loans.disbursement;
  total numeric;
  at bigint;
BEGIN
  SELECT * INTO lent FROM loans.disbursement d WHERE d.platform_id = loan.platform_id AND d.loan_no = loan.loan_no;
  SELECT sum(x.principal_minor) INTO total FROM jsonb_to_recordset(rows) AS x(principal_minor bigint);
  IF total IS DISTINCT FROM lent.disbursed_minor THEN
    field := 'rows'; value := format('principal adds up to %s, disbursed were %s', total, lent.disbursed_minor);
    RETURN;
  END IF;
  WITH given AS (
    SELECT x.*, n.n, lag(x.due_on, 1, lent.disbursed_on) OVER (ORDER BY n.n) AS before
    FROM jsonb_array_elements(rows) WITH ORDINALITY n(row, n) CROSS JOIN LATERAL jsonb_to_record(n.row) AS x(issue_no int, due_on date))
  SELECT g.n - 1 INTO at FROM given g WHERE g.issue_no <> g.n OR g.due_on < g.before ORDER BY g.n LIMIT 1;
  IF FOUND THEN
    field := format('rows[%s]', at); value := 'issues count from 1 and fall due one after the other, not before the disbursement';
    RETURN;
  END IF;
  WITH kept AS (
    SELECT r.issue_no, r.due_on, r.principal_minor, r.interest_minor, r.fee_minor FROM loans.plan_row r
    WHERE r.platform_id = loan.platform_id AND r.loan_no = loan.loan_no AND r.version = last_version AND r.due_on < since),
  given AS (
    SELECT x.* FROM jsonb_to_recordset(rows) AS x(issue_no int, due_on date, principal_minor bigint, interest_minor bigint, fee_minor bigint)
    WHERE x.due_on < since)
  SELECT coalesce(k.issue_no, g.issue_no) INTO at FROM kept k FULL JOIN given g USING (issue_no)
  WHERE last_version > 0 AND (k.due_on, k.principal_minor, k.interest_minor, k.fee_minor)
        IS DISTINCT FROM (g.due_on, g.principal_minor, g.interest_minor, g.fee_minor)
  ORDER BY 1 LIMIT 1;
  IF FOUND THEN
    field := format('rows[%s]', at - 1); value := format('what was due before %s stays as it was', since);
  END IF;
END $$;

CREATE FUNCTION loans.put_plan(r jsonb, actor text, is_approved boolean) RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  loan loans.loan := loans.find_loan(r ->> 'platform_id', r ->> 'loan_no');
  status text := (loans.status_of(loan)).status;
  last_version int;
  since date := (r ->> 'valid_from')::date;
  obstacle record;
BEGIN
  SELECT coalesce(max(p.version), 0) INTO last_version FROM loans.plan p WHERE p.platform_id = loan.platform_id AND p.loan_no = loan.loan_no;
  IF status NOT IN ('9', '5', '4', '8') THEN
    PERFORM work.refuse('STATE_CONFLICT', 'status', status);
  ELSIF (last_version = 0) <> (r ->> 'reason' = 'ORIGINAL') THEN
    PERFORM work.refuse('STATE_CONFLICT', 'reason', format('%s after version %s', r ->> 'reason', last_version));
  ELSIF r ->> 'reason' = 'RESTRUCTURING' AND NOT is_approved THEN
    PERFORM work.refuse('NEEDS_APPROVAL', 'reason', 'RESTRUCTURING');
  END IF;
  SELECT * INTO obstacle FROM loans.plan_obstacle(loan, last_version, since, r -> 'rows');
  IF obstacle.field IS NOT NULL THEN
    PERFORM work.refuse('PLAN_DIFFERS', obstacle.field, obstacle.value);
  END IF;
  -- the plan row of loans.plan is told to the audit with the hash of its rows, so the hash is computed from what is given
  INSERT INTO loans.plan
  SELECT loan.platform_id, loan.loan_no, last_version + 1, r ->> 'reason', since, r ->> 'source', coalesce(r -> 'differences', '[]'),
         sha256(convert_to(string_agg(concat_ws(' ', x.issue_no, to_char(x.due_on, 'YYYY-MM-DD'), x.principal_minor, x.interest_minor, x.fee_minor),
                                      E'\n' ORDER BY x.issue_no), 'UTF8')), ledger.clock_now(), actor
  FROM jsonb_to_recordset(r -> 'rows') AS x(issue_no int, due_on date, principal_minor bigint, interest_minor bigint, fee_minor bigint);
  INSERT INTO loans.plan_row
  SELECT loan.platform_id, loan.loan_no, last_version + 1, x.issue_no, x.due_on, x.principal_minor, x.interest_minor, x.fee_minor
  FROM jsonb_to_recordset(r -> 'rows') AS x(issue_no int, due_on date, principal_minor bigint, interest_minor bigint, fee_minor bigint);
  RETURN jsonb_build_object('loan_no', loan.loan_no, 'version', last_version + 1, 'reason', r ->> 'reason', 'valid_from', since,
                            'differences', coalesce(r -> 'differences', '[]'), 'rows', r -> 'rows');
END $$;

CREATE FUNCTION loans.add_plan(r jsonb, actor text) RETURNS jsonb LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT loans.put_plan(r, actor, false) $$;

-- Transfers. What is listed or agreed is reserved on the claim, so nothing is sold twice; title moves when the ledger shows the payment.
CREATE FUNCTION loans.reserved(p text, no text) RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT coalesce((SELECT sum(g.unsold_minor) FROM loans.listing_state g WHERE g.platform_id = p AND g.claim_no = no AND g.state = 'LISTED'), 0)::bigint
       + coalesce((SELECT sum(d.principal_minor) FROM loans.deal_state d WHERE d.platform_id = p AND d.claim_no = no AND d.state = 'AGREED'), 0)::bigint $$;

-- Interest of the running period that belongs to the seller of `principal`: the row's interest by share of the outstanding principal
-- and by days from the last due date (actual days over the days of the period), half-up.
CREATE FUNCTION loans.accrued_share(p text, no text, principal bigint, day date) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce((
    SELECT round(r.interest_minor::numeric * principal / s.outstanding_principal_minor * (day - r.starts_on) / (r.due_on - r.starts_on))
    FROM (SELECT x.*, lag(x.due_on, 1, d.disbursed_on) OVER (ORDER BY x.issue_no) AS starts_on
          FROM loans.plan_row x JOIN loans.disbursement d USING (platform_id, loan_no)
          WHERE x.platform_id = p AND x.loan_no = no
            AND x.version = (SELECT max(n.version) FROM loans.plan n WHERE n.platform_id = p AND n.loan_no = no)) r
    JOIN loans.loan_state s ON s.platform_id = p AND s.loan_no = no AND s.outstanding_principal_minor > 0
    WHERE r.due_on > day AND r.starts_on <= day ORDER BY r.issue_no LIMIT 1), 0)::bigint $$;

CREATE FUNCTION loans.list_claim(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.listing := jsonb_populate_record(NULL::loans.listing, r);
  sold loans.claim := loans.find_claim(made.platform_id, made.claim_no);
  free bigint := loans.claim_outstanding(sold, 'infinity') - loans.reserved(made.platform_id, made.claim_no);
BEGIN
  IF sold.origin = 'SUBROGATED' THEN
    PERFORM work.refuse('STATE_CONFLICT', 'claim_no', made.claim_no);
  ELSIF made.principal_minor > free THEN
    PERFORM work.refuse('AMOUNT_EXCEEDS', 'principal_minor', format('%s of %s', made.principal_minor, free));
  ELSIF made.expires_on < made.listed_on THEN
    PERFORM work.refuse('BODY_INVALID', 'expires_on', made.expires_on::text);
  END IF;
  PERFORM loans.check_past('listed_on', made.listed_on);
  made.recorded_at := ledger.clock_now(); made.actor := actor;
  INSERT INTO loans.listing SELECT (made).* ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'listing_no', made.listing_no);
  END IF;
  RETURN (SELECT to_jsonb(s) FROM loans.listing_state s WHERE s.platform_id = made.platform_id AND s.listing_no = made.listing_no);
END $$;

-- A listing after its loan was locked: what is read here no other sale can change.
CREATE FUNCTION loans.find_listing(p text, no text) RETURNS loans.listing_state LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found loans.listing_state;
  of_claim text;
BEGIN
  SELECT g.claim_no INTO of_claim FROM loans.listing g WHERE g.platform_id = p AND g.listing_no = no;
  IF of_claim IS NULL THEN
    PERFORM work.refuse('RECORD_NOT_FOUND', 'listing_no', no);
  END IF;
  PERFORM loans.find_claim(p, of_claim);
  SELECT * INTO found FROM loans.listing_state s WHERE s.platform_id = p AND s.listing_no = no;
  RETURN found;
END $$;

CREATE FUNCTION loans.withdraw_listing(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  listing loans.listing_state := loans.find_listing(r ->> 'platform_id', r ->> 'listing_no');
BEGIN
  IF listing.state NOT IN ('LISTED', 'EXPIRED') THEN
    PERFORM work.refuse('STATE_CONFLICT', 'listing_no', listing.state);
  END IF;
  INSERT INTO loans.listing_withdrawal VALUES (listing.platform_id, listing.listing_no, r ->> 'reason', ledger.clock_now(), actor);
  RETURN (SELECT to_jsonb(s) FROM loans.listing_state s WHERE s.platform_id = listing.platform_id AND s.listing_no = listing.listing_no);
END $$;

CREATE FUNCTION loans.agree_deal(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.deal := jsonb_populate_record(NULL::loans.deal, r);
  listing loans.listing_state := loans.find_listing(made.platform_id, made.listing_no);
  loan loans.loan := loans.find_loan(made.platform_id, listing.loan_no);
BEGIN
  PERFORM loans.check_customer(made.platform_id, made.buyer_customer_no, 'INVESTOR', loan.currency, 'buyer_customer_no');
  IF listing.state <> 'LISTED' THEN
    PERFORM work.refuse('STATE_CONFLICT', 'listing_no', listing.state);
  ELSIF made.buyer_customer_no IN (listing.seller_customer_no, loan.customer_no) THEN
    PERFORM work.refuse('BUYER_NOT_ALLOWED', 'buyer_customer_no', made.buyer_customer_no);
  ELSIF made.principal_minor > listing.unsold_minor THEN
    PERFORM work.refuse('AMOUNT_EXCEEDS', 'principal_minor', format('%s of %s', made.principal_minor, listing.unsold_minor));
  ELSIF NOT made.agreed_on BETWEEN listing.listed_on AND listing.expires_on THEN
    PERFORM work.refuse('BODY_INVALID', 'agreed_on', made.agreed_on::text);
  END IF;
  PERFORM loans.check_past('agreed_on', made.agreed_on);
  made.accrued_expected_minor := loans.accrued_share(made.platform_id, listing.loan_no, made.principal_minor, made.agreed_on);
  made.accrued_minor := coalesce(made.accrued_minor, made.accrued_expected_minor);
  made.recorded_at := ledger.clock_now(); made.actor := actor;
  INSERT INTO loans.deal SELECT (made).* ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'deal_no', made.deal_no);
  END IF;
  RETURN (SELECT to_jsonb(s) FROM loans.deal_state s WHERE s.platform_id = made.platform_id AND s.deal_no = made.deal_no);
END $$;

CREATE FUNCTION loans.find_deal(p text, no text) RETURNS loans.deal_state LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found loans.deal_state;
  of_listing text;
BEGIN
  SELECT d.listing_no INTO of_listing FROM loans.deal d WHERE d.platform_id = p AND d.deal_no = no;
  IF of_listing IS NULL THEN
    PERFORM work.refuse('RECORD_NOT_FOUND', 'deal_no', no);
  END IF;
  PERFORM loans.find_listing(p, of_listing);
  SELECT * INTO found FROM loans.deal_state s WHERE s.platform_id = p AND s.deal_no = no;
  IF found.state <> 'AGREED' THEN
    PERFORM work.refuse('STATE_CONFLICT', 'deal_no', found.state);
  END IF;
  RETURN found;
END $$;

CREATE FUNCTION loans.cancel_deal(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  deal loans.deal_state := loans.find_deal(r ->> 'platform_id', r ->> 'deal_no');
BEGIN
  INSERT INTO loans.deal_end VALUES (deal.platform_id, deal.deal_no, 'CANCELLED', NULL, NULL, ledger.clock_now(), actor);
  RETURN (SELECT to_jsonb(s) FROM loans.deal_state s WHERE s.platform_id = deal.platform_id AND s.deal_no = deal.deal_no);
END $$;

-- What in an order is not the deal's payment; null when it is: the buyer pays the seller price and accrued interest, one of them the fee.
CREATE FUNCTION loans.deal_obstacle(deal loans.deal_state, carrying bigint, OUT field text, OUT value text) LANGUAGE sql STABLE AS $$
  WITH line AS (
    SELECT m.*, d.customer_no AS payer, c.customer_no AS payee FROM ledger.movement m
    JOIN registry.account d ON d.account_id = m.debit_account_id JOIN registry.account c ON c.account_id = m.credit_account_id
    WHERE m.order_id = carrying),
  total AS (
    SELECT coalesce(sum(amount_minor) FILTER (WHERE movement_type = 'CREDIT_ASSIGNMENT'), 0) AS paid,
           coalesce(sum(amount_minor) FILTER (WHERE movement_type = 'COMMISSION'), 0) AS fee,
           min(movement_type) FILTER (WHERE movement_type NOT IN ('CREDIT_ASSIGNMENT', 'COMMISSION')) AS stranger,
           count(*) FILTER (WHERE movement_type = 'CREDIT_ASSIGNMENT'
             AND (payer, payee, loan_no) IS DISTINCT FROM (deal.buyer_customer_no, deal.seller_customer_no, deal.loan_no)) AS others,
           count(*) FILTER (WHERE movement_type = 'COMMISSION' AND payer NOT IN (deal.buyer_customer_no, deal.seller_customer_no)) AS strange_fees,
           count(DISTINCT claim_no) FILTER (WHERE movement_type = 'CREDIT_ASSIGNMENT') AS claims
    FROM line)
  SELECT f.field, f.value FROM total t CROSS JOIN LATERAL (VALUES
    (1, t.stranger IS NOT NULL, 'movement_type', t.stranger),
    (2, t.others > 0, 'movements', 'the buyer pays the seller for this loan'),
    (3, t.strange_fees > 0, 'movements', 'buyer or seller pays the fee'),
    (4, t.claims > 1, 'claim_no', 'the order names more than one claim'),
    (5, t.paid <> deal.price_minor + deal.accrued_minor, 'price_minor', format('%s, agreed were %s', t.paid, deal.price_minor + deal.accrued_minor)),
    (6, t.fee <> deal.fee_minor, 'fee_minor', format('%s, agreed were %s', t.fee, deal.fee_minor))) f(rank, is_fault, field, value)
  WHERE f.is_fault ORDER BY f.rank LIMIT 1 $$;

CREATE FUNCTION loans.settle_deal(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  deal loans.deal_state := loans.find_deal(r ->> 'platform_id', r ->> 'deal_no');
  sold loans.claim := loans.find_claim(deal.platform_id, deal.claim_no);
  carrying ledger.trade_order := loans.find_order(deal.platform_id, r ->> 'request_no');
  child loans.claim;
  obstacle record;
BEGIN
  SELECT * INTO obstacle FROM loans.deal_obstacle(deal, carrying.order_id);
  IF obstacle.field IS NOT NULL THEN
    PERFORM work.refuse('ORDER_DIFFERS', obstacle.field, obstacle.value);
  ELSIF deal.principal_minor > loans.claim_outstanding(sold, 'infinity') THEN -- repaid in the meantime
    PERFORM work.refuse('AMOUNT_EXCEEDS', 'principal_minor',
                        format('%s of %s', deal.principal_minor, loans.claim_outstanding(sold, 'infinity')));
  END IF;
  SELECT deal.platform_id, coalesce(m.claim_no, deal.claim_no || '-' || deal.deal_no), deal.loan_no, 'TRANSFER', deal.claim_no,
         deal.buyer_customer_no, m.debit_account_id, deal.principal_minor, m.business_date, m.order_id, m.movement_id, ledger.clock_now(), actor
  INTO child FROM ledger.movement m WHERE m.order_id = carrying.order_id AND m.movement_type = 'CREDIT_ASSIGNMENT' ORDER BY m.seq LIMIT 1;
  INSERT INTO loans.claim SELECT (child).* ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'claim_no', child.claim_no);
  END IF;
  INSERT INTO loans.deal_end VALUES (deal.platform_id, deal.deal_no, 'SETTLED', carrying.order_id, child.claim_no, ledger.clock_now(), actor);
  RETURN (SELECT to_jsonb(s) FROM loans.deal_state s WHERE s.platform_id = deal.platform_id AND s.deal_no = deal.deal_no);
END $$;

-- Auto-bid mandates: all of one mandate take turns on its lock.
CREATE FUNCTION loans.find_mandate(p text, no text) RETURNS loans.mandate_state LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found loans.mandate_state;
BEGIN
  PERFORM pg_advisory_xact_lock(7450, hashtext(p || ' ' || no));
  SELECT * INTO found FROM loans.mandate_state s WHERE s.platform_id = p AND s.mandate_no = no;
  RETURN found;
END $$;

CREATE FUNCTION loans.put_mandate(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.mandate := jsonb_populate_record(NULL::loans.mandate, r);
  before loans.mandate_state := loans.find_mandate(made.platform_id, made.mandate_no);
  fault record;
BEGIN
  PERFORM loans.check_customer(made.platform_id, made.customer_no, 'INVESTOR', made.currency, 'customer_no');
  IF before.is_revoked THEN
    PERFORM work.refuse('STATE_CONFLICT', 'mandate_no', 'REVOKED');
  ELSIF coalesce(before.version, 0) + 1 <> made.version THEN
    PERFORM work.refuse('VERSION_STALE', 'version', format('%s follows', coalesce(before.version, 0) + 1));
  ELSIF (before.customer_no, before.currency) <> (made.customer_no, made.currency) THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'mandate_no', made.mandate_no);
  END IF;
  SELECT f.field, f.value INTO fault FROM (VALUES
    ('rate_to', made.rate_to::text, made.rate_to < made.rate_from), ('term_to_months', made.term_to_months::text, made.term_to_months < made.term_from_months),
    ('total_max_minor', made.total_max_minor::text, made.total_max_minor < made.loan_max_minor),
    ('expires_on', made.expires_on::text, made.expires_on < made.valid_from)) f(field, value, is_fault) WHERE f.is_fault LIMIT 1;
  IF FOUND THEN
    PERFORM work.refuse('BODY_INVALID', fault.field, fault.value);
  END IF;
  made.is_revoked := false; made.recorded_at := ledger.clock_now(); made.actor := actor;
  INSERT INTO loans.mandate SELECT (made).*;
  RETURN (SELECT to_jsonb(s) FROM loans.mandate_state s WHERE s.platform_id = made.platform_id AND s.mandate_no = made.mandate_no);
END $$;

CREATE FUNCTION loans.revoke_mandate(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before loans.mandate_state := loans.find_mandate(r ->> 'platform_id', r ->> 'mandate_no');
BEGIN
  IF before.mandate_no IS NULL THEN
    PERFORM work.refuse('RECORD_NOT_FOUND', 'mandate_no', r ->> 'mandate_no');
  ELSIF before.is_revoked THEN
    PERFORM work.refuse('STATE_CONFLICT', 'mandate_no', 'REVOKED');
  END IF;
  INSERT INTO loans.mandate
  SELECT m.platform_id, m.mandate_no, m.version + 1, m.customer_no, m.currency, m.rate_from, m.rate_to, m.term_from_months, m.term_to_months,
         m.loan_max_minor, m.total_max_minor, m.products, m.valid_from, m.expires_on, true, ledger.clock_now(), revoke_mandate.actor
  FROM loans.mandate m WHERE m.platform_id = before.platform_id AND m.mandate_no = before.mandate_no AND m.version = before.version;
  RETURN (SELECT to_jsonb(s) FROM loans.mandate_state s WHERE s.platform_id = before.platform_id AND s.mandate_no = before.mandate_no);
END $$;

-- Would this bid be covered, and by how much could it grow: {"covered", "reasons", "headroom_minor", "version"}.
CREATE FUNCTION loans.mandate_verdict(mandate loans.mandate_state, loan loans.loan_state, amount bigint) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
  WITH used AS (
    SELECT coalesce(sum(u.amount_minor), 0)::bigint AS minor FROM loans.mandate_use u
    WHERE u.platform_id = mandate.platform_id AND u.mandate_no = mandate.mandate_no AND u.loan_no = loan.loan_no),
  room AS (SELECT least(mandate.headroom_minor, greatest(mandate.loan_max_minor - used.minor, 0)) AS minor FROM used),
  day AS (SELECT (ledger.clock_now() AT TIME ZONE 'UTC')::date AS today),
  reason AS (
    SELECT array_agg(f.reason ORDER BY f.reason) AS list FROM room, day CROSS JOIN LATERAL (VALUES
      ('REVOKED', mandate.is_revoked), ('NOT_YET_VALID', day.today < mandate.valid_from), ('EXPIRED', day.today > mandate.expires_on),
      ('CURRENCY', loan.currency <> mandate.currency), ('LOAN_NOT_RAISING', loan.status NOT IN ('0', '6')),
      ('OWN_LOAN', loan.customer_no = mandate.customer_no),
      ('RATE', NOT loan.annual_rate::numeric BETWEEN mandate.rate_from::numeric AND mandate.rate_to::numeric),
      ('TERM', NOT loan.term_months BETWEEN mandate.term_from_months AND mandate.term_to_months),
      ('PRODUCT', cardinality(mandate.products) > 0 AND loan.plan_type <> ALL (mandate.products)),
      ('AMOUNT', amount > room.minor)) f(reason, is_so) WHERE f.is_so)
  SELECT jsonb_build_object('mandate_no', mandate.mandate_no, 'version', mandate.version, 'covered', reason.list IS NULL,
                            'reasons', coalesce(to_jsonb(reason.list), '[]'), 'headroom_minor', room.minor)
  FROM room, reason $$;

CREATE FUNCTION loans.check_mandate(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  mandate loans.mandate_state := loans.find_mandate(r ->> 'platform_id', r ->> 'mandate_no');
  loan loans.loan_state;
BEGIN
  IF mandate.mandate_no IS NULL THEN
    PERFORM work.refuse('RECORD_NOT_FOUND', 'mandate_no', r ->> 'mandate_no');
  END IF;
  SELECT * INTO loan FROM loans.loan_state s WHERE s.platform_id = r ->> 'platform_id' AND s.loan_no = r ->> 'loan_no';
  IF loan.loan_no IS NULL THEN
    PERFORM work.refuse('LOAN_NOT_FOUND', 'loan_no', r ->> 'loan_no');
  END IF;
  RETURN loans.mandate_verdict(mandate, loan, (r ->> 'amount_minor')::bigint);
END $$;

CREATE FUNCTION loans.use_mandate(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  verdict jsonb := loans.check_mandate(r, actor);
  of_mandate loans.mandate_state := loans.find_mandate(r ->> 'platform_id', r ->> 'mandate_no');
BEGIN
  IF NOT (verdict ->> 'covered')::boolean THEN
    PERFORM work.refuse('MANDATE_DOES_NOT_COVER', 'amount_minor', verdict ->> 'reasons');
  ELSIF NOT EXISTS (SELECT FROM ledger.hold_event h JOIN registry.account a USING (account_id)
                    WHERE h.platform_id = r ->> 'platform_id' AND h.hold_no = r ->> 'hold_no' AND h.event_type = 'PLACE'
                      AND h.amount_minor = (r ->> 'amount_minor')::bigint AND a.customer_no = of_mandate.customer_no) THEN
    PERFORM work.refuse('UNKNOWN_HOLD', 'hold_no', r ->> 'hold_no');
  END IF;
  INSERT INTO loans.mandate_use VALUES (r ->> 'platform_id', r ->> 'hold_no', of_mandate.mandate_no, of_mandate.version, r ->> 'loan_no',
                                        (r ->> 'amount_minor')::bigint, ledger.clock_now(), actor) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'hold_no', r ->> 'hold_no');
  END IF;
  RETURN jsonb_set(verdict, '{headroom_minor}', to_jsonb((verdict ->> 'headroom_minor')::bigint - (r ->> 'amount_minor')::bigint));
END $$;

-- Guarantees (spec 05 section 5.10): policy → call → payout by a COMPENSATORY order → the guarantor's own claim → recovery.
CREATE FUNCTION loans.register_guarantee(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.guarantee := jsonb_populate_record(NULL::loans.guarantee, r);
  loan loans.loan := loans.find_loan(made.platform_id, made.loan_no);
BEGIN
  PERFORM loans.check_customer(made.platform_id, made.customer_no, 'GUARANTEECORP', loan.currency, 'customer_no');
  IF made.valid_to < made.valid_from THEN
    PERFORM work.refuse('BODY_INVALID', 'valid_to', made.valid_to::text);
  END IF;
  made.recorded_at := ledger.clock_now(); made.actor := actor;
  INSERT INTO loans.guarantee SELECT (made).* ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'policy_no', made.policy_no);
  END IF;
  RETURN (SELECT to_jsonb(s) FROM loans.guarantee_state s WHERE s.platform_id = made.platform_id AND s.policy_no = made.policy_no);
END $$;

CREATE FUNCTION loans.find_guarantee(p text, no text) RETURNS loans.guarantee_state LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found loans.guarantee_state;
BEGIN
  PERFORM loans.find_loan(g.platform_id, g.loan_no) FROM loans.guarantee g WHERE g.platform_id = p AND g.policy_no = no;
  SELECT * INTO found FROM loans.guarantee_state s WHERE s.platform_id = p AND s.policy_no = no;
  IF found.policy_no IS NULL THEN
    PERFORM work.refuse('RECORD_NOT_FOUND', 'policy_no', no);
  END IF;
  RETURN found;
END $$;

CREATE FUNCTION loans.release_guarantee(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  policy loans.guarantee_state := loans.find_guarantee(r ->> 'platform_id', r ->> 'policy_no');
BEGIN
  IF policy.state = 'RELEASED' OR policy.called_minor > policy.paid_minor OR policy.subrogated_minor > 0 THEN
    PERFORM work.refuse('STATE_CONFLICT', 'policy_no', policy.state);
  END IF;
  PERFORM loans.check_past('released_on', (r ->> 'released_on')::date);
  INSERT INTO loans.guarantee_release VALUES (policy.platform_id, policy.policy_no, (r ->> 'released_on')::date, r ->> 'reason', ledger.clock_now(), actor);
  RETURN (SELECT to_jsonb(s) FROM loans.guarantee_state s WHERE s.platform_id = policy.platform_id AND s.policy_no = policy.policy_no);
END $$;

-- What lenders have not received of one instalment that the policy covers.
CREATE FUNCTION loans.uncovered(policy loans.guarantee_state, issue int) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(sum(CASE WHEN policy.coverage = 'PRINCIPAL' THEN r.principal_minor ELSE r.principal_minor + r.interest_minor END), 0)::bigint
       - coalesce((SELECT sum(w.amount_minor) FROM loans.money w WHERE w.platform_id = policy.platform_id AND w.loan_no = policy.loan_no
                     AND w.issue_no = issue AND w.movement_type IN ('PRINCIPAL', 'INTEREST', 'COMPENSATORY')
                     AND (policy.coverage <> 'PRINCIPAL' OR w.movement_type = 'PRINCIPAL' OR w.component = 'P')), 0)::bigint
  FROM loans.plan_row r WHERE r.platform_id = policy.platform_id AND r.loan_no = policy.loan_no AND r.issue_no = issue
    AND r.version = (SELECT max(n.version) FROM loans.plan n WHERE n.platform_id = policy.platform_id AND n.loan_no = policy.loan_no) $$;

CREATE FUNCTION loans.call_guarantee(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.guarantee_call := jsonb_populate_record(NULL::loans.guarantee_call, r);
  policy loans.guarantee_state := loans.find_guarantee(made.platform_id, made.policy_no);
  room bigint := least(policy.cover_minor - policy.called_minor, loans.uncovered(policy, made.issue_no)
    - (SELECT coalesce(sum(c.called_minor - c.paid_minor), 0) FROM loans.call_state c
       WHERE c.platform_id = policy.platform_id AND c.policy_no = policy.policy_no AND c.issue_no = made.issue_no));
  fell_due date;
BEGIN
  SELECT x.due_on INTO fell_due FROM loans.plan_row x WHERE x.platform_id = policy.platform_id AND x.loan_no = policy.loan_no
    AND x.issue_no = made.issue_no ORDER BY x.version DESC LIMIT 1;
  IF policy.state = 'RELEASED' OR NOT made.called_on BETWEEN policy.valid_from AND policy.valid_to THEN
    PERFORM work.refuse('STATE_CONFLICT', 'policy_no', policy.state);
  ELSIF fell_due IS NULL OR made.called_on < fell_due + policy.waiting_days THEN
    PERFORM work.refuse('CALL_TOO_EARLY', 'called_on', made.called_on::text);
  ELSIF made.called_minor > room THEN
    PERFORM work.refuse('AMOUNT_EXCEEDS', 'called_minor', format('%s of %s', made.called_minor, room));
  ELSIF made.due_on < made.called_on THEN
    PERFORM work.refuse('BODY_INVALID', 'due_on', made.due_on::text);
  END IF;
  PERFORM loans.check_past('called_on', made.called_on);
  made.recorded_at := ledger.clock_now(); made.actor := actor;
  INSERT INTO loans.guarantee_call SELECT (made).* ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'call_no', made.call_no);
  END IF;
  RETURN (SELECT to_jsonb(s) FROM loans.call_state s WHERE s.platform_id = made.platform_id AND s.call_no = made.call_no);
END $$;

-- What an order between guarantor and lenders or borrower and guarantor moved, and the first movement that is not such a one.
CREATE FUNCTION loans.guarantor_order(carrying ledger.trade_order, wanted text, loan text, guarantor text, OUT amount bigint, OUT stranger text,
                                      OUT first_movement ledger.movement) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  SELECT coalesce(sum(m.amount_minor), 0)::bigint,
         min(m.movement_type || ' ' || coalesce(m.loan_no, 'without loan')) FILTER (WHERE m.movement_type <> wanted
           OR m.loan_no IS DISTINCT FROM guarantor_order.loan OR a.customer_no IS DISTINCT FROM guarantor)
  INTO amount, stranger FROM ledger.movement m
  JOIN registry.account a ON a.account_id = CASE wanted WHEN 'COMPENSATORY' THEN m.debit_account_id ELSE m.credit_account_id END
  WHERE m.order_id = carrying.order_id;
  SELECT * INTO first_movement FROM ledger.movement m WHERE m.order_id = carrying.order_id ORDER BY m.seq LIMIT 1;
END $$;

CREATE FUNCTION loans.pay_out(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p text := r ->> 'platform_id';
  policy loans.guarantee_state;
  called loans.call_state;
  carrying ledger.trade_order;
  moved record;
  subrogated text;
BEGIN
  SELECT * INTO called FROM loans.call_state s WHERE s.platform_id = p AND s.call_no = r ->> 'call_no';
  IF called.call_no IS NULL THEN
    PERFORM work.refuse('RECORD_NOT_FOUND', 'call_no', r ->> 'call_no');
  END IF;
  policy := loans.find_guarantee(p, called.policy_no);
  SELECT * INTO called FROM loans.call_state s WHERE s.platform_id = p AND s.call_no = r ->> 'call_no'; -- again, now that others wait
  carrying := loans.find_order(p, r ->> 'request_no');
  SELECT * INTO moved FROM loans.guarantor_order(carrying, 'COMPENSATORY', policy.loan_no, policy.customer_no);
  IF moved.stranger IS NOT NULL THEN
    PERFORM work.refuse('ORDER_DIFFERS', 'movements', moved.stranger);
  ELSIF EXISTS (SELECT FROM ledger.movement m WHERE m.order_id = carrying.order_id AND (m.issue_no IS DISTINCT FROM called.issue_no
                OR m.component IS NULL OR (policy.coverage = 'PRINCIPAL' AND m.component <> 'P'))) THEN
    PERFORM work.refuse('ORDER_DIFFERS', 'issue_no', called.issue_no::text);
  ELSIF moved.amount > called.called_minor - called.paid_minor THEN
    PERFORM work.refuse('AMOUNT_EXCEEDS', 'request_no', format('%s of %s', moved.amount, called.called_minor - called.paid_minor));
  END IF;
  subrogated := coalesce(r ->> 'claim_no', left(policy.policy_no, 40) || '-S' || carrying.order_id);
  INSERT INTO loans.claim VALUES (p, subrogated, policy.loan_no, 'SUBROGATED', NULL, policy.customer_no, (moved.first_movement).debit_account_id,
    moved.amount, carrying.business_date, carrying.order_id, (moved.first_movement).movement_id, ledger.clock_now(), actor) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'claim_no', subrogated);
  END IF;
  INSERT INTO loans.payout VALUES (p, carrying.order_id, called.call_no, moved.amount, carrying.business_date, subrogated, ledger.clock_now(), actor);
  RETURN (SELECT to_jsonb(s) || jsonb_build_object('claim_no', subrogated) FROM loans.call_state s WHERE s.platform_id = p AND s.call_no = called.call_no);
END $$;

CREATE FUNCTION loans.recover(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  owed loans.claim := loans.find_claim(r ->> 'platform_id', r ->> 'claim_no');
  carrying ledger.trade_order := loans.find_order(owed.platform_id, r ->> 'request_no');
  moved record;
  rest bigint := loans.claim_outstanding(owed, 'infinity');
BEGIN
  SELECT * INTO moved FROM loans.guarantor_order(carrying, 'COMPENSATORY_REPAYMENT', owed.loan_no, owed.customer_no);
  IF owed.origin <> 'SUBROGATED' THEN
    PERFORM work.refuse('STATE_CONFLICT', 'claim_no', owed.origin);
  ELSIF moved.stranger IS NOT NULL OR moved.amount = 0 THEN
    PERFORM work.refuse('ORDER_DIFFERS', 'movements', coalesce(moved.stranger, 'none'));
  ELSIF moved.amount > rest THEN
    PERFORM work.refuse('AMOUNT_EXCEEDS', 'request_no', format('%s of %s', moved.amount, rest));
  END IF;
  INSERT INTO loans.recovery VALUES (owed.platform_id, carrying.order_id, owed.claim_no, moved.amount, carrying.business_date, ledger.clock_now(), actor);
  RETURN (SELECT to_jsonb(s) FROM loans.claim_state s WHERE s.platform_id = owed.platform_id AND s.claim_no = owed.claim_no);
END $$;

-- Collateral
CREATE FUNCTION loans.register_collateral(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.collateral := jsonb_populate_record(NULL::loans.collateral, r);
BEGIN
  PERFORM loans.find_loan(made.platform_id, made.loan_no);
  IF NOT EXISTS (SELECT FROM registry.customer c WHERE c.platform_id = made.platform_id AND c.customer_no = made.customer_no) THEN
    PERFORM work.refuse('UNKNOWN_CUSTOMER', 'customer_no', made.customer_no);
  END IF;
  made.recorded_at := ledger.clock_now(); made.actor := actor;
  INSERT INTO loans.collateral SELECT (made).* ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'collateral_no', made.collateral_no);
  END IF;
  RETURN (SELECT to_jsonb(s) FROM loans.collateral_state s WHERE s.platform_id = made.platform_id AND s.collateral_no = made.collateral_no);
END $$;

CREATE FUNCTION loans.find_collateral(p text, no text) RETURNS loans.collateral_state LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found loans.collateral_state;
BEGIN
  PERFORM loans.find_loan(c.platform_id, c.loan_no) FROM loans.collateral c WHERE c.platform_id = p AND c.collateral_no = no;
  SELECT * INTO found FROM loans.collateral_state s WHERE s.platform_id = p AND s.collateral_no = no;
  IF found.collateral_no IS NULL THEN
    PERFORM work.refuse('RECORD_NOT_FOUND', 'collateral_no', no);
  ELSIF found.state = 'DISPOSED' THEN
    PERFORM work.refuse('STATE_CONFLICT', 'collateral_no', found.state);
  END IF;
  RETURN found;
END $$;

CREATE FUNCTION loans.value_collateral(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.valuation := jsonb_populate_record(NULL::loans.valuation, r);
BEGIN
  PERFORM loans.find_collateral(made.platform_id, made.collateral_no);
  PERFORM loans.check_past('valued_on', made.valued_on);
  IF made.valid_until < made.valued_on THEN
    PERFORM work.refuse('BODY_INVALID', 'valid_until', made.valid_until::text);
  END IF;
  SELECT count(*) + 1 INTO made.seq FROM loans.valuation v WHERE v.platform_id = made.platform_id AND v.collateral_no = made.collateral_no;
  made.recorded_at := ledger.clock_now(); made.actor := actor;
  INSERT INTO loans.valuation SELECT (made).*;
  RETURN (SELECT to_jsonb(s) FROM loans.collateral_state s WHERE s.platform_id = made.platform_id AND s.collateral_no = made.collateral_no);
END $$;

CREATE FUNCTION loans.change_lien(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.lien := jsonb_populate_record(NULL::loans.lien, r);
  stands loans.collateral_state := loans.find_collateral(made.platform_id, made.collateral_no);
BEGIN
  PERFORM loans.check_past('happened_on', made.happened_on);
  IF (made.event = 'REGISTERED') <> (stands.state IN ('UNREGISTERED', 'RELEASED')) THEN
    PERFORM work.refuse('STATE_CONFLICT', 'event', format('%s after %s', made.event, stands.state));
  ELSIF made.holder_customer_no IS NOT NULL AND NOT EXISTS (SELECT FROM registry.customer c
        WHERE c.platform_id = made.platform_id AND c.customer_no = made.holder_customer_no) THEN
    PERFORM work.refuse('UNKNOWN_CUSTOMER', 'holder_customer_no', made.holder_customer_no);
  END IF;
  SELECT count(*) + 1 INTO made.seq FROM loans.lien n WHERE n.platform_id = made.platform_id AND n.collateral_no = made.collateral_no;
  made.recorded_at := ledger.clock_now(); made.actor := actor;
  INSERT INTO loans.lien SELECT (made).*;
  RETURN (SELECT to_jsonb(s) FROM loans.collateral_state s WHERE s.platform_id = made.platform_id AND s.collateral_no = made.collateral_no);
END $$;

-- Contracts: the bank keeps the hash of what was signed, and until when it must be kept
CREATE FUNCTION loans.archive_contract(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.contract := jsonb_populate_record(NULL::loans.contract, r);
  must text[];
  missing text;
BEGIN
  SELECT f.loan_no, f.parties INTO made.loan_no, must FROM (
    SELECT 'LOAN' AS kind, l.loan_no AS no, l.loan_no, ARRAY[l.customer_no] AS parties FROM loans.loan l WHERE l.platform_id = made.platform_id
    UNION ALL SELECT 'GUARANTEE', g.policy_no, g.loan_no, ARRAY[g.customer_no] FROM loans.guarantee g WHERE g.platform_id = made.platform_id
    UNION ALL SELECT 'TRANSFER', d.deal_no, d.loan_no, ARRAY[d.seller_customer_no, d.buyer_customer_no] FROM loans.deal_state d WHERE d.platform_id = made.platform_id
    UNION ALL SELECT 'COLLATERAL', c.collateral_no, c.loan_no, ARRAY[c.customer_no] FROM loans.collateral c WHERE c.platform_id = made.platform_id) f
  WHERE f.kind = made.kind AND f.no = made.subject_no;
  IF made.loan_no IS NULL THEN
    PERFORM work.refuse('UNKNOWN_REFERENCE', 'subject_no', made.subject_no);
  ELSIF NOT made.parties @> must THEN
    PERFORM work.refuse('PARTY_MISSING', 'parties', must::text);
  ELSIF made.ends_on < made.signed_on THEN
    PERFORM work.refuse('BODY_INVALID', 'ends_on', made.ends_on::text);
  END IF;
  SELECT min(x) INTO missing FROM unnest(made.parties) x WHERE NOT EXISTS (
    SELECT FROM registry.customer c WHERE c.platform_id = made.platform_id AND c.customer_no = x);
  IF missing IS NOT NULL THEN
    PERFORM work.refuse('UNKNOWN_CUSTOMER', 'parties', missing);
  END IF;
  PERFORM loans.check_past('signed_on', made.signed_on);
  made.recorded_at := ledger.clock_now(); made.actor := actor;
  INSERT INTO loans.contract SELECT (made).* ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM work.refuse('NUMBER_TAKEN', 'contract_no', made.contract_no);
  END IF;
  RETURN (SELECT to_jsonb(s) FROM loans.contract_state s WHERE s.platform_id = made.platform_id AND s.contract_no = made.contract_no);
END $$;

CREATE FUNCTION loans.put_contract_event(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made loans.contract_event := jsonb_populate_record(NULL::loans.contract_event, r);
  stands loans.contract_state;
BEGIN
  PERFORM loans.find_loan(c.platform_id, c.loan_no) FROM loans.contract c WHERE c.platform_id = made.platform_id AND c.contract_no = made.contract_no;
  SELECT * INTO stands FROM loans.contract_state s WHERE s.platform_id = made.platform_id AND s.contract_no = made.contract_no;
  IF stands.contract_no IS NULL THEN
    PERFORM work.refuse('RECORD_NOT_FOUND', 'contract_no', made.contract_no);
  ELSIF made.event = 'DISPUTE_ENDED' AND NOT stands.is_in_dispute OR made.event = 'DISPUTE_OPENED' AND stands.is_in_dispute THEN
    PERFORM work.refuse('STATE_CONFLICT', 'event', made.event);
  END IF;
  made.happened_on := coalesce(made.happened_on, (ledger.clock_now() AT TIME ZONE 'UTC')::date);
  PERFORM loans.check_past('happened_on', made.happened_on);
  SELECT count(*) + 1 INTO made.seq FROM loans.contract_event e WHERE e.platform_id = made.platform_id AND e.contract_no = made.contract_no;
  made.recorded_at := ledger.clock_now(); made.actor := actor;
  INSERT INTO loans.contract_event SELECT (made).*;
  RETURN (SELECT to_jsonb(s) FROM loans.contract_state s WHERE s.platform_id = made.platform_id AND s.contract_no = made.contract_no);
END $$;

-- Is this the content that was signed? Each question is kept with its answer.
CREATE FUNCTION loans.verify_contract(r jsonb, actor text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  signed text;
BEGIN
  SELECT c.content_sha256 INTO signed FROM loans.contract c WHERE c.platform_id = r ->> 'platform_id' AND c.contract_no = r ->> 'contract_no';
  RETURN loans.put_contract_event(jsonb_build_object('platform_id', r ->> 'platform_id', 'contract_no', r ->> 'contract_no',
           'event', CASE WHEN signed = r ->> 'content_sha256' THEN 'VERIFIED' ELSE 'VERIFY_FAILED' END, 'evidence_sha256', r ->> 'content_sha256'), actor)
         || jsonb_build_object('is_same', signed IS NOT DISTINCT FROM r ->> 'content_sha256');
END $$;

-- What two of the bank's people decide: a write-off, a restructuring, the disposal of collateral. Payloads are free JSON, so each
-- value is read with its type, and a proposal that could not be carried out today is refused today.
CREATE FUNCTION loans.payload_amount(payload jsonb, field text) RETURNS bigint LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF jsonb_typeof(payload -> field) IS DISTINCT FROM 'number' OR payload ->> field !~ '^[0-9]{1,15}$' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.' || field, payload ->> field);
  END IF;
  RETURN (payload ->> field)::bigint;
END $$;

CREATE FUNCTION loans.payload_date(payload jsonb, field text) RETURNS date LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF payload ->> field ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' THEN
    RETURN (payload ->> field)::date;
  END IF;
  PERFORM work.refuse('BODY_INVALID', 'payload.' || field, payload ->> field);
EXCEPTION WHEN datetime_field_overflow THEN
  PERFORM work.refuse('BODY_INVALID', 'payload.' || field, payload ->> field);
END $$;

CREATE FUNCTION loans.apply_write_off(asked work.approval, checker text) RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  loan loans.loan := loans.find_loan(asked.platform_id, asked.subject);
  day date := loans.payload_date(asked.payload, 'written_off_on');
  amount bigint := loans.payload_amount(asked.payload, 'principal_minor');
  stands loans.loan_state;
BEGIN
  SELECT * INTO stands FROM loans.loan_state s WHERE s.platform_id = loan.platform_id AND s.loan_no = loan.loan_no;
  IF amount = 0 OR amount <> stands.outstanding_principal_minor THEN
    PERFORM work.refuse('AMOUNT_DIFFERS', 'payload.principal_minor', format('%s, outstanding are %s', amount, stands.outstanding_principal_minor));
  END IF;
  PERFORM loans.put_status(loan, '10', day, asked.reason, checker, true);
  INSERT INTO loans.write_off VALUES (loan.platform_id, loan.loan_no, amount, day, asked.reason, asked.approval_id, ledger.clock_now(), checker);
  RETURN loans.loan_document(loan.platform_id, loan.loan_no);
END $$;

CREATE FUNCTION loans.apply_restructuring(asked work.approval, checker text) RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  rows jsonb := asked.payload -> 'rows';
  one jsonb;
  field text;
BEGIN
  IF jsonb_typeof(rows) IS DISTINCT FROM 'array' OR jsonb_array_length(rows) NOT BETWEEN 1 AND 600 THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.rows', NULL);
  END IF;
  FOR one IN SELECT value FROM jsonb_array_elements(rows) LOOP
    PERFORM loans.payload_date(one, 'due_on');
    FOREACH field IN ARRAY ARRAY['issue_no', 'principal_minor', 'interest_minor', 'fee_minor'] LOOP
      PERFORM loans.payload_amount(one, field);
    END LOOP;
  END LOOP;
  RETURN loans.put_plan(jsonb_build_object('platform_id', asked.platform_id, 'loan_no', asked.subject, 'reason', 'RESTRUCTURING', 'source', 'GIVEN',
                                           'valid_from', loans.payload_date(asked.payload, 'valid_from'), 'rows', rows), checker, true);
END $$;

CREATE FUNCTION loans.apply_disposal(asked work.approval, checker text) RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  stands loans.collateral_state := loans.find_collateral(asked.platform_id, asked.subject);
  made loans.disposal;
  owed loans.loan_state;
  to_guarantors bigint;
BEGIN
  made := ROW(asked.platform_id, asked.subject, loans.payload_date(asked.payload, 'disposed_on'), loans.payload_amount(asked.payload, 'gross_minor'),
              loans.payload_amount(asked.payload, 'costs_minor'), loans.payload_amount(asked.payload, 'to_lenders_minor'),
              loans.payload_amount(asked.payload, 'to_guarantor_minor'), loans.payload_amount(asked.payload, 'to_owner_minor'),
              asked.approval_id, ledger.clock_now(), checker)::loans.disposal;
  SELECT * INTO owed FROM loans.loan_state s WHERE s.platform_id = stands.platform_id AND s.loan_no = stands.loan_no;
  SELECT coalesce(sum(c.outstanding_minor), 0) INTO to_guarantors FROM loans.claim_state c
  WHERE c.platform_id = stands.platform_id AND c.loan_no = stands.loan_no AND c.origin = 'SUBROGATED';
  IF stands.state NOT IN ('REGISTERED', 'TRANSFERRED') OR owed.status NOT IN ('4', '8', '10') THEN
    PERFORM work.refuse('STATE_CONFLICT', 'subject', format('%s, loan in status %s', stands.state, owed.status));
  ELSIF made.gross_minor = 0 OR made.gross_minor - made.costs_minor <> made.to_lenders_minor + made.to_guarantor_minor + made.to_owner_minor THEN
    PERFORM work.refuse('AMOUNT_DIFFERS', 'payload.gross_minor', 'what is left after costs is not what is shared out');
  ELSIF made.to_lenders_minor > owed.outstanding_principal_minor + owed.outstanding_interest_minor THEN
    PERFORM work.refuse('AMOUNT_EXCEEDS', 'payload.to_lenders_minor', made.to_lenders_minor::text);
  ELSIF made.to_guarantor_minor > to_guarantors THEN
    PERFORM work.refuse('AMOUNT_EXCEEDS', 'payload.to_guarantor_minor', made.to_guarantor_minor::text);
  END IF;
  PERFORM loans.check_past('payload.disposed_on', made.disposed_on);
  INSERT INTO loans.disposal SELECT (made).*;
  RETURN to_jsonb(made);
END $$;

-- Checking = carrying out and taking back, so both can never differ.
CREATE FUNCTION loans.rehearse(asked work.approval) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  CASE asked.kind
    WHEN 'LOAN_WRITE_OFF' THEN PERFORM loans.apply_write_off(asked, asked.maker);
    WHEN 'LOAN_RESTRUCTURING' THEN PERFORM loans.apply_restructuring(asked, asked.maker);
    WHEN 'COLLATERAL_DISPOSAL' THEN PERFORM loans.apply_disposal(asked, asked.maker);
  END CASE;
  RAISE EXCEPTION USING ERRCODE = 'FW200';
EXCEPTION WHEN SQLSTATE 'FW200' THEN
  RETURN;
END $$;

INSERT INTO work.kind VALUES
  ('LOAN_WRITE_OFF', '{officer,checker}', '{checker}', 'loans.rehearse', 'loans.apply_write_off', 720),
  ('LOAN_RESTRUCTURING', '{officer,checker}', '{checker}', 'loans.rehearse', 'loans.apply_restructuring', 720),
  ('COLLATERAL_DISPOSAL', '{officer,checker}', '{checker}', 'loans.rehearse', 'loans.apply_disposal', 720);

-- Rows of this schema that are not what the audit chain was told, in any column, or that it was told of and that are gone.
CREATE FUNCTION loans.untold() RETURNS TABLE (row_name text, what text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  one loans.told;
BEGIN
  FOR one IN SELECT * FROM loans.told ORDER BY table_name LOOP
    RETURN QUERY EXECUTE format($q$
      WITH there AS (SELECT concat_ws(' ', t.platform_id, t.%2$I) AS number, to_jsonb(t) AS content FROM loans.%1$I t),
      told AS (SELECT c.subject AS number, c.after AS content FROM audit.change c WHERE c.subject_type = 'loans.' || %1$L)
      SELECT format('%%s %%s', %1$L, number), 'is not what the audit chain was told'
      FROM (SELECT * FROM there EXCEPT SELECT * FROM told) x
      UNION ALL SELECT format('%%s %%s', %1$L, number), 'was told to the audit chain and is gone'
      FROM (SELECT * FROM told EXCEPT SELECT * FROM there) x ORDER BY 1$q$, one.table_name, one.number_column);
  END LOOP;
END $$;

-- Everything of this schema that the movements do not bear out, by name of the check.
CREATE VIEW loans.fault AS
SELECT 'disbursement is what was tendered' AS check_name, format('loan %s %s', d.platform_id, d.loan_no) AS row_name,
       format('disbursed %s, tendered %s', d.disbursed_minor, m.amount) AS what
FROM loans.disbursement d CROSS JOIN LATERAL (
  SELECT coalesce(sum(w.amount_minor), 0) AS amount FROM loans.money w
  WHERE w.platform_id = d.platform_id AND w.loan_no = d.loan_no AND w.movement_type = 'TENDER') m WHERE d.disbursed_minor <> m.amount
UNION ALL
SELECT 'open claims are the outstanding principal', format('loan %s %s', s.platform_id, s.loan_no),
       format('claims %s, outstanding %s', c.amount, s.outstanding_principal_minor)
FROM loans.loan_state s CROSS JOIN LATERAL (
  SELECT coalesce(sum(loans.claim_outstanding(c, 'infinity')), 0) AS amount FROM loans.claim c
  WHERE c.platform_id = s.platform_id AND c.loan_no = s.loan_no AND c.origin <> 'SUBROGATED') c
WHERE s.disbursed_minor IS NOT NULL AND c.amount <> s.outstanding_principal_minor
UNION ALL
SELECT 'no claim is below zero', format('claim %s %s', c.platform_id, c.claim_no), format('%s is outstanding', c.outstanding_minor)
FROM loans.claim_state c WHERE c.outstanding_minor < 0
UNION ALL
SELECT 'claim was opened by its movement', format('claim %s %s', c.platform_id, c.claim_no), 'its movement is another, reversed or not there'
FROM loans.claim c LEFT JOIN loans.money m ON m.movement_id = c.movement_id AND m.platform_id = c.platform_id
WHERE (m.order_id, m.loan_no, m.debit_account_id, m.movement_type, c.opened_on) IS DISTINCT FROM
      (c.order_id, c.loan_no, c.account_id, CASE c.origin WHEN 'PRIMARY' THEN 'TENDER' WHEN 'TRANSFER' THEN 'CREDIT_ASSIGNMENT' ELSE 'COMPENSATORY' END,
       m.business_date)
   OR (c.origin = 'PRIMARY' AND m.amount_minor <> c.principal_minor)
   OR EXISTS (SELECT FROM ledger.movement v WHERE v.reversal_of = c.movement_id)
UNION ALL
SELECT 'principal is paid to a claim of the loan', format('movement %s', m.movement_id), format('claim %s of loan %s', m.claim_no, m.loan_no)
FROM loans.disbursement d JOIN loans.money m USING (platform_id, loan_no)
WHERE (m.movement_type = 'PRINCIPAL' OR (m.movement_type = 'COMPENSATORY' AND m.component IS DISTINCT FROM 'I'))
  AND NOT EXISTS (SELECT FROM loans.claim c WHERE c.platform_id = m.platform_id AND c.claim_no = m.claim_no AND c.loan_no = m.loan_no
                  AND c.account_id = CASE WHEN m.reversal_of IS NULL THEN m.credit_account_id ELSE m.debit_account_id END)
UNION ALL
SELECT 'plan adds up to the disbursed amount', format('plan %s %s version %s', p.platform_id, p.loan_no, p.version),
       format('rows %s, disbursed %s', r.amount, d.disbursed_minor)
FROM loans.plan p JOIN loans.disbursement d USING (platform_id, loan_no) CROSS JOIN LATERAL (
  SELECT coalesce(sum(r.principal_minor), 0) AS amount FROM loans.plan_row r
  WHERE r.platform_id = p.platform_id AND r.loan_no = p.loan_no AND r.version = p.version) r
WHERE r.amount <> d.disbursed_minor OR loans.plan_hash(p.platform_id, p.loan_no, p.version) IS DISTINCT FROM p.rows_hash
UNION ALL
SELECT 'status follows the allowed transitions', format('status %s %s %s', s.platform_id, s.loan_no, s.seq), format('%s after %s', s.status, s.before)
FROM (SELECT s.*, lag(s.status) OVER w AS before, row_number() OVER w AS place FROM loans.status s
      WINDOW w AS (PARTITION BY s.platform_id, s.loan_no ORDER BY s.seq)) s
WHERE s.seq <> s.place OR NOT EXISTS (SELECT FROM loans.allowed_status a WHERE a.from_status IS NOT DISTINCT FROM s.before AND a.to_status = s.status)
   OR (s.status = '9' AND NOT EXISTS (SELECT FROM loans.disbursement d WHERE d.platform_id = s.platform_id AND d.loan_no = s.loan_no))
UNION ALL
SELECT 'deal was paid by its order', format('deal %s %s', d.platform_id, d.deal_no), format('%s: %s', o.field, o.value)
FROM loans.deal_state d JOIN loans.deal_end e USING (platform_id, deal_no)
CROSS JOIN LATERAL (
  SELECT x.field, x.value FROM loans.deal_obstacle(d, e.order_id) x WHERE x.field IS NOT NULL
  UNION ALL SELECT 'request_no', 'the order was reversed' FROM ledger.trade_order v WHERE v.reverses_order_id = e.order_id) o
WHERE e.outcome = 'SETTLED'
UNION ALL
SELECT 'no mandate is used beyond its total', format('mandate %s %s', m.platform_id, m.mandate_no), format('%s of %s', m.used_minor, m.total_max_minor)
FROM loans.mandate_state m WHERE m.used_minor > (SELECT max(v.total_max_minor) FROM loans.mandate v
  WHERE v.platform_id = m.platform_id AND v.mandate_no = m.mandate_no)
UNION ALL
SELECT 'no guarantee pays beyond its cover', format('guarantee %s %s', g.platform_id, g.policy_no),
       format('called %s, paid %s, cover %s', g.called_minor, g.paid_minor, g.cover_minor)
FROM loans.guarantee_state g WHERE g.called_minor > g.cover_minor OR g.paid_minor > g.called_minor OR g.subrogated_minor < 0
UNION ALL
SELECT 'payout and recovery are what their orders moved', format('order %s', x.order_id), format('recorded %s, moved %s', x.amount, m.amount)
FROM (SELECT order_id, paid_minor AS amount, 'COMPENSATORY' AS kind FROM loans.payout
      UNION ALL SELECT order_id, recovered_minor, 'COMPENSATORY_REPAYMENT' FROM loans.recovery) x
CROSS JOIN LATERAL (SELECT coalesce(sum(m.amount_minor), 0) AS amount FROM ledger.movement m WHERE m.order_id = x.order_id AND m.movement_type = x.kind
                    AND NOT EXISTS (SELECT FROM ledger.movement v WHERE v.reversal_of = m.movement_id)) m
WHERE m.amount <> x.amount
UNION ALL
SELECT 'row is what the audit chain was told', u.row_name, u.what FROM loans.untold() u;

CREATE FUNCTION loans.verify() RETURNS SETOF loans.fault LANGUAGE sql STABLE AS $$ SELECT * FROM loans.fault ORDER BY 1, 2 $$;

-- An account with a claim that still has principal cannot be cancelled (registry's four eyes ask this).
CREATE OR REPLACE FUNCTION registry.has_open_claims(account_id bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM loans.claim c WHERE c.account_id = has_open_claims.account_id AND loans.claim_outstanding(c, 'infinity') > 0) $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA loans FROM PUBLIC;
GRANT USAGE ON SCHEMA loans TO service;
GRANT SELECT ON ALL TABLES IN SCHEMA loans TO service;
GRANT EXECUTE ON FUNCTION loans.register, loans.change_terms, loans.change_status, loans.add_plan, loans.list_claim, loans.withdraw_listing,
  loans.agree_deal, loans.cancel_deal, loans.settle_deal, loans.put_mandate, loans.revoke_mandate, loans.check_mandate, loans.use_mandate,
  loans.register_guarantee, loans.release_guarantee, loans.call_guarantee, loans.pay_out, loans.recover, loans.register_collateral,
  loans.value_collateral, loans.change_lien, loans.archive_contract, loans.put_contract_event, loans.verify_contract, loans.claim_outstanding,
  loans.days_past_due, loans.accrued_share, loans.untold, loans.verify, loans.plan_hash, loans.deal_obstacle TO service;
