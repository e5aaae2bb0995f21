-- Who there is (spec 02 section 2.4): rows are added, never changed, by role service.
CREATE TABLE registry.platform (
  platform_id text PRIMARY KEY,
  name text NOT NULL,
  legal_name text NOT NULL,
  currency text NOT NULL,
  pack_id text NOT NULL,
  onboarded_on date NOT NULL,
  recorded_at timestamptz NOT NULL
);
CREATE TABLE registry.payment_company (
  paycom_id text PRIMARY KEY,
  name text NOT NULL,
  recorded_at timestamptz NOT NULL
);
CREATE TABLE registry.payment_company_platform (
  paycom_id text REFERENCES registry.payment_company,
  platform_id text REFERENCES registry.platform,
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (paycom_id, platform_id)
);
CREATE TABLE registry.party (
  party_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  party_ref text NOT NULL UNIQUE,
  party_type text NOT NULL,
  id_hash text NOT NULL,
  name_masked text NOT NULL,
  phone_masked text,
  recorded_at timestamptz NOT NULL
);
CREATE TABLE registry.customer (
  platform_id text REFERENCES registry.platform,
  customer_no text,
  party_id bigint NOT NULL REFERENCES registry.party,
  roles text[] NOT NULL,
  opened_on date NOT NULL,
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (platform_id, customer_no)
);
CREATE TABLE registry.account_role (
  account_role text PRIMARY KEY,
  is_control boolean NOT NULL
);
CREATE TABLE registry.account (
  account_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_no text NOT NULL UNIQUE,
  platform_id text NOT NULL REFERENCES registry.platform,
  account_role text NOT NULL REFERENCES registry.account_role,
  is_control boolean NOT NULL,
  currency text NOT NULL,
  customer_no text,
  paycom_id text REFERENCES registry.payment_company,
  recorded_at timestamptz NOT NULL,
  FOREIGN KEY (platform_id, customer_no) REFERENCES registry.customer
);

INSERT INTO registry.account_role
SELECT role, false FROM unnest(ARRAY['INVESTOR', 'BORROWERS', 'GUARANTEECORP', 'INTERMEDIATOR', 'COLLABORATOR', 'SUPPLIER',
  'PLATFORM_COMPENSATORY', 'PLATFORM_MARKETING', 'PLATFORM_PROFIT', 'PLATFORM_INCOME', 'PLATFORM_INTEREST',
  'PLATFORM_ALTERNATIVE_RECHARGE', 'PLATFORM_FUNDS_TRANSFER', 'PLATFORM_URGENT']) role
UNION ALL
SELECT role, true FROM unnest(ARRAY['SPECIAL_ACCOUNT', 'CHANNEL_RECEIVABLE', 'WITHDRAWAL_PAYABLE', 'OWN_FUNDS', 'SUSPENSE']) role;

GRANT SELECT, INSERT ON registry.platform, registry.payment_company, registry.payment_company_platform, registry.party,
  registry.customer, registry.account TO service;
GRANT SELECT ON registry.account_role TO service;
GRANT SELECT ON registry.platform, registry.payment_company TO reader;
