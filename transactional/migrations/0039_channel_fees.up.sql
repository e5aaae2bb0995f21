-- What a payment company keeps of its settlements (spec 08 section 8.2, break B15): the terms it was registered with, and what the night
-- reads of them. Terms that two people decide on later (`registry.payment_company_terms`) come before those, from their valid_from on.
CREATE TABLE registry.payment_company_fee (
  paycom_id text PRIMARY KEY REFERENCES registry.payment_company,
  fee_terms jsonb NOT NULL CHECK (jsonb_typeof(fee_terms) = 'array'),
  recorded_at timestamptz NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON registry.payment_company_fee
  FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
GRANT SELECT, INSERT ON registry.payment_company_fee TO service;

CREATE VIEW night.channel_fee AS
SELECT m.platform_id, t.paycom_id, t.valid_from, t.version, t.fee_terms, t.recorded_at
FROM (SELECT paycom_id, date '1900-01-01' AS valid_from, 0 AS version, fee_terms, recorded_at FROM registry.payment_company_fee
      UNION ALL
      SELECT paycom_id, valid_from, version, fee_terms, recorded_at FROM registry.payment_company_terms) t
JOIN registry.payment_company_platform m USING (paycom_id);
GRANT SELECT ON night.channel_fee TO jobs;
