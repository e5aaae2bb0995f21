-- Borrowers' caps, asked before a loan is published and kept when it is registered (spec 03: rules C1, C2, C5; Art. 17). A loan counts
-- with its contract amount while it is announced, raising or full, and with its outstanding principal once it is disbursed.
CREATE SCHEMA limits;
CREATE TABLE limits.cap (
  pack_id text NOT NULL,
  rule_id text NOT NULL CHECK (rule_id ~ '^[A-Z][0-9]{1,2}$'),
  party_type text NOT NULL,
  version int NOT NULL CHECK (version >= 1),
  scope text NOT NULL CHECK (scope IN ('PLATFORM', 'ALL')), -- of one platform, or of every platform under supervision
  currency text NOT NULL,
  cap_minor bigint NOT NULL CHECK (cap_minor > 0),
  valid_from date NOT NULL,
  source text NOT NULL,
  actor text NOT NULL,
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (pack_id, rule_id, party_type, version)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON limits.cap FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
-- CNY 200,000 and 1,000,000 of a natural person, 1,000,000 and 5,000,000 of a legal person or other organisation
INSERT INTO limits.cap
SELECT 'CN_2017', rule_id, party_type, 1, scope, 'CNY', yuan * 100, '2016-08-24', 'Interim Measures 2016, Art. 17', 'pack', '2016-08-24'
FROM (VALUES ('C1', 'PLATFORM', 'N', 200000), ('C2', 'ALL', 'N', 1000000), ('C1', 'PLATFORM', 'E', 1000000), ('C2', 'ALL', 'E', 5000000),
             ('C1', 'PLATFORM', 'O', 1000000), ('C2', 'ALL', 'O', 5000000)) AS law(rule_id, scope, party_type, yuan);

-- Everybody registered under one identity is one borrower.
CREATE FUNCTION limits.same_person(party bigint) RETURNS bigint[] LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT array_agg(other.party_id) FROM registry.party mine JOIN registry.party other USING (party_type, id_hash) WHERE mine.party_id = party $$;

-- What a borrower owes or is about to, in one currency, on one platform or (null) on all; one loan may be left out.
CREATE FUNCTION limits.exposure(parties bigint[], in_currency text, on_platform text, but_platform text, but_loan text) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(sum(CASE WHEN s.status IN ('0', '6', '1') THEN s.contract_minor WHEN s.status = '2' THEN 0
                           ELSE greatest(s.outstanding_principal_minor, 0) END), 0)::bigint
  FROM registry.customer c JOIN loans.loan_state s USING (platform_id, customer_no)
  WHERE c.party_id = ANY(parties) AND s.currency = in_currency AND (on_platform IS NULL OR c.platform_id = on_platform)
    AND (s.platform_id, s.loan_no) IS DISTINCT FROM (but_platform, but_loan) $$;

-- May this borrower take so much more? A party type without a cap of its own has the strictest; a pack without caps allows all.
CREATE FUNCTION limits.verdict(on_platform text, customer text, in_currency text, amount bigint, but_loan text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  who record;
  rules jsonb;
BEGIN
  SELECT c.party_id, p.party_type, f.pack_id INTO who
  FROM registry.customer c JOIN registry.party p USING (party_id) JOIN registry.platform f USING (platform_id)
  WHERE c.platform_id = on_platform AND c.customer_no = customer;
  IF NOT FOUND THEN
    PERFORM work.refuse('CUSTOMER_NOT_FOUND', 'customer_no', customer);
  END IF;
  SELECT jsonb_agg(to_jsonb(asked) || jsonb_build_object('headroom_minor', asked.cap_minor - asked.exposure_minor,
                     'allow', asked.exposure_minor + amount <= asked.cap_minor) ORDER BY asked.rule_id)
  INTO rules
  FROM (
    SELECT law.pack_id, law.rule_id, law.version, law.scope, law.cap_minor, law.source,
           limits.exposure(limits.same_person(who.party_id), in_currency, CASE law.scope WHEN 'PLATFORM' THEN on_platform END,
                           on_platform, but_loan) AS exposure_minor
    FROM (
      SELECT DISTINCT ON (now.rule_id) now.* FROM (
        SELECT DISTINCT ON (k.rule_id, k.party_type) k.* FROM limits.cap k
        WHERE k.pack_id = who.pack_id AND k.currency = in_currency AND k.valid_from <= (ledger.clock_now() AT TIME ZONE 'UTC')::date
        ORDER BY k.rule_id, k.party_type, k.version DESC) now
      ORDER BY now.rule_id, now.party_type <> who.party_type, now.cap_minor) law) asked;
  RETURN jsonb_build_object(
    'allow', coalesce((SELECT bool_and((rule ->> 'allow')::boolean) FROM jsonb_array_elements(rules) rule), true),
    'headroom_minor', (SELECT CASE WHEN count(*) > 0 THEN greatest(min((rule ->> 'headroom_minor')::bigint), 0) END FROM jsonb_array_elements(rules) rule),
    -- the rule with the least headroom is the one that decides
    'decided_by', (SELECT rule FROM jsonb_array_elements(rules) rule ORDER BY (rule ->> 'headroom_minor')::bigint, rule ->> 'rule_id' LIMIT 1),
    'rules', coalesce(rules, '[]'));
END $$;

-- No loan is registered, and no terms are raised, past a cap: whoever registers for one person takes turns.
CREATE FUNCTION limits.keep_caps() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  borrower record;
  verdict jsonb;
BEGIN
  SELECT l.customer_no, l.currency, p.party_type || ' ' || p.id_hash AS identity INTO STRICT borrower
  FROM loans.loan l JOIN registry.customer c USING (platform_id, customer_no) JOIN registry.party p USING (party_id)
  WHERE l.platform_id = NEW.platform_id AND l.loan_no = NEW.loan_no;
  PERFORM pg_advisory_xact_lock(7450, hashtext(borrower.identity));
  verdict := limits.verdict(NEW.platform_id, borrower.customer_no, borrower.currency, NEW.contract_minor, NEW.loan_no);
  IF NOT (verdict ->> 'allow')::boolean THEN
    PERFORM work.refuse('CAP_EXCEEDED', 'contract_minor', concat_ws(' ', verdict #>> '{decided_by,pack_id}', verdict #>> '{decided_by,rule_id}',
      'allows', verdict ->> 'headroom_minor', 'more'));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER caps_are_kept AFTER INSERT ON loans.terms FOR EACH ROW EXECUTE FUNCTION limits.keep_caps();

-- A cap changes by two people: {"pack_id", "rule_id", "party_type", "cap_minor", "valid_from", "source"}; it must exist already.
CREATE FUNCTION limits.changed_cap(asked work.approval, by_whom text) RETURNS limits.cap
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made limits.cap;
BEGIN
  SELECT * INTO made FROM limits.cap k WHERE (k.pack_id, k.rule_id, k.party_type) =
    (asked.payload ->> 'pack_id', asked.payload ->> 'rule_id', asked.payload ->> 'party_type') ORDER BY k.version DESC LIMIT 1;
  IF NOT FOUND THEN
    PERFORM work.refuse('UNKNOWN_REFERENCE', 'payload', asked.payload ->> 'rule_id');
  ELSIF jsonb_typeof(asked.payload -> 'cap_minor') IS DISTINCT FROM 'number' OR (asked.payload ->> 'cap_minor') !~ '^[1-9][0-9]{0,15}$' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.cap_minor', asked.payload ->> 'cap_minor');
  ELSIF coalesce(asked.payload ->> 'valid_from', '') !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' OR coalesce(asked.payload ->> 'source', '') = '' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload', 'valid_from and source are needed');
  END IF;
  made.version := made.version + 1;
  made.cap_minor := (asked.payload ->> 'cap_minor')::bigint;
  made.valid_from := (asked.payload ->> 'valid_from')::date;
  made.source := asked.payload ->> 'source';
  made.actor := by_whom;
  made.recorded_at := ledger.clock_now();
  RETURN made;
EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
  PERFORM work.refuse('BODY_INVALID', 'payload.valid_from', asked.payload ->> 'valid_from');
END $$;
CREATE FUNCTION limits.check_cap_change(asked work.approval) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM limits.changed_cap(asked, asked.maker);
END $$;
CREATE FUNCTION limits.apply_cap_change(asked work.approval, checker text) RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made limits.cap := limits.changed_cap(asked, checker);
BEGIN
  INSERT INTO limits.cap SELECT (made).*;
  PERFORM audit.record(checker, 'CAP_CHANGED', 'cap', concat_ws(' ', made.pack_id, made.rule_id, made.party_type), NULL, NULL, to_jsonb(made));
  RETURN to_jsonb(made);
END $$;
INSERT INTO work.kind VALUES ('CAP_CHANGE', '{officer,checker}', '{checker}', 'limits.check_cap_change', 'limits.apply_cap_change', 720);

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA limits FROM PUBLIC;
GRANT USAGE ON SCHEMA limits TO service;
GRANT SELECT ON limits.cap TO service;
GRANT EXECUTE ON FUNCTION limits.verdict TO service;
