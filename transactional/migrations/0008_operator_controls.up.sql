-- What operators may do to the night, each with a reason and a second person (decision 0004). Rows are added, never changed.
CREATE SCHEMA ops;

-- which sender sends which kind of file: the law for WITHOUT_FILE; a test compares it with ingest.kinds
CREATE TABLE ops.file_sender (
  file_kind text PRIMARY KEY,
  sender_role text NOT NULL CHECK (sender_role IN ('PLATFORM', 'PAYMENT_COMPANY', 'BANK', 'BUREAU'))
);
INSERT INTO ops.file_sender
SELECT kind, 'PLATFORM' FROM unnest(ARRAY['orders', 'postings', 'balances', 'loans', 'plans', 'claims', 'status', 'customers',
  'payments']) kind
UNION ALL SELECT kind, 'PAYMENT_COMPANY' FROM unnest(ARRAY['channel', 'settlement']) kind
UNION ALL SELECT 'statement', 'BANK'
UNION ALL SELECT kind, 'BUREAU' FROM unnest(ARRAY['industry', 'reputation']) kind;

CREATE TABLE ops.control (
  control_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('HOLD', 'RESUME', 'RERUN', 'WITHOUT_FILE')),
  platform_id text REFERENCES registry.platform,
  business_date date,
  sender_id text CHECK (sender_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
  file_kind text REFERENCES ops.file_sender,
  reason text NOT NULL CHECK (reason ~ '\S' AND length(reason) <= 500),
  maker text NOT NULL CHECK (maker ~ '\S'),
  proposed_at timestamptz NOT NULL,
  CHECK ((kind IN ('RERUN', 'WITHOUT_FILE')) = (platform_id IS NOT NULL)),
  CHECK ((kind IN ('RERUN', 'WITHOUT_FILE')) = (business_date IS NOT NULL)),
  CHECK ((kind = 'WITHOUT_FILE') = (sender_id IS NOT NULL)),
  CHECK ((kind = 'WITHOUT_FILE') = (file_kind IS NOT NULL))
);
CREATE TABLE ops.control_decision (
  control_id bigint PRIMARY KEY REFERENCES ops.control,
  decision_no bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  decision text NOT NULL CHECK (decision IN ('APPROVED', 'REJECTED')),
  checker text NOT NULL CHECK (checker ~ '\S'),
  note text CHECK (note ~ '\S' AND length(note) <= 500),
  decided_at timestamptz NOT NULL,
  -- the newest run at that moment: runs after it were opened after the decision, also when the clock stood still between them
  last_run_id bigint NOT NULL,
  CHECK (decision = 'APPROVED' OR note IS NOT NULL)
);
-- the runs that execute a control, each put down when it was opened, and how it ended: one row for ever
CREATE TABLE ops.control_run (
  control_id bigint REFERENCES ops.control_decision,
  run_id bigint UNIQUE REFERENCES run.run,
  started_at timestamptz NOT NULL DEFAULT ledger.clock_now(),
  PRIMARY KEY (control_id, run_id)
);
CREATE TABLE ops.control_done (
  control_id bigint PRIMARY KEY REFERENCES ops.control_decision,
  run_id bigint REFERENCES run.run,
  outcome text NOT NULL CHECK (outcome IN ('PUBLISHED', 'REFUSED')),
  detail text NOT NULL,
  done_at timestamptz NOT NULL DEFAULT ledger.clock_now(),
  CHECK (outcome = 'REFUSED' OR run_id IS NOT NULL)
);

CREATE FUNCTION ops.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'rows of %.% are kept as they were written', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'FW403';
END $$;
DO $$
DECLARE kept text;
BEGIN
  FOREACH kept IN ARRAY ARRAY['control', 'control_decision', 'control_run', 'control_done'] LOOP
    EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON ops.%I FOR EACH STATEMENT EXECUTE FUNCTION ops.refuse_change()',
                   kept || '_is_kept', kept);
  END LOOP;
END $$;

-- refusals: the message is the sentence for people, DETAIL the code for programs
CREATE FUNCTION ops.refuse(code text, sentence text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%', sentence USING ERRCODE = 'FW422', DETAIL = code;
END $$;

-- four eyes hold for whoever inserts, the owner of the table included
CREATE FUNCTION ops.second_person() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM ops.control c WHERE c.control_id = NEW.control_id AND lower(btrim(c.maker)) = lower(btrim(NEW.checker))) THEN
    PERFORM ops.refuse('OWN_CONTROL', format('control %s was proposed by %s: a second person decides it', NEW.control_id, NEW.checker));
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER second_person_decides BEFORE INSERT ON ops.control_decision FOR EACH ROW EXECUTE FUNCTION ops.second_person();

-- only what was approved is executed
CREATE FUNCTION ops.only_approved() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM ops.control_decision d WHERE d.control_id = NEW.control_id AND d.decision = 'APPROVED') THEN
    PERFORM ops.refuse('NOT_APPROVED', format('control %s is not approved: nothing may execute it', NEW.control_id));
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER approved_runs BEFORE INSERT ON ops.control_run FOR EACH ROW EXECUTE FUNCTION ops.only_approved();
CREATE TRIGGER approved_done BEFORE INSERT ON ops.control_done FOR EACH ROW EXECUTE FUNCTION ops.only_approved();

CREATE VIEW ops.control_state AS
SELECT c.control_id, c.kind, c.platform_id, c.business_date, c.sender_id, c.file_kind, c.reason, c.maker, c.proposed_at,
       CASE WHEN n.control_id IS NOT NULL THEN 'DONE' ELSE coalesce(d.decision, 'PENDING') END AS state,
       d.checker, d.note, d.decided_at, d.last_run_id, n.run_id, n.outcome, n.detail, n.done_at
FROM ops.control c LEFT JOIN ops.control_decision d USING (control_id) LEFT JOIN ops.control_done n USING (control_id);

-- the hold in force at a moment: the newest approved HOLD or RESUME decided by then, if it is a HOLD
CREATE FUNCTION ops.hold_at(at timestamptz) RETURNS TABLE (control_id bigint, since timestamptz, reason text, maker text, checker text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT newest.control_id, newest.decided_at, newest.reason, newest.maker, newest.checker FROM (
    SELECT c.control_id, c.kind, c.reason, c.maker, d.checker, d.decided_at
    FROM ops.control c JOIN ops.control_decision d USING (control_id)
    WHERE c.kind IN ('HOLD', 'RESUME') AND d.decision = 'APPROVED' AND d.decided_at <= at
    ORDER BY d.decision_no DESC LIMIT 1) newest
  WHERE newest.kind = 'HOLD' $$;

-- The hold in force now; until the caller's transaction ends no control is decided, so what it does next is before or after
-- every decision and never beside one. Statements of a volatile function see what was committed while it waited.
CREATE FUNCTION ops.hold_now() RETURNS TABLE (control_id bigint, since timestamptz, reason text, maker text, checker text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(7408);
  RETURN QUERY SELECT * FROM ops.hold_at('infinity');
END $$;

-- Propose: what is named must exist; then the row is added. Roles write through these two functions only.
CREATE FUNCTION ops.propose_control(of_kind text, of_platform text, of_date date, of_sender text, of_file_kind text, why text,
                                    by_maker text, bank text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  since date;
  role_of_sender text;
  new_id bigint;
BEGIN
  IF of_platform IS NOT NULL THEN
    SELECT onboarded_on INTO since FROM registry.platform WHERE platform_id = of_platform;
    IF NOT FOUND THEN
      PERFORM ops.refuse('UNKNOWN_PLATFORM', format('there is no platform %s', of_platform));
    ELSIF of_date < since THEN
      PERFORM ops.refuse('BEFORE_ONBOARDING', format('%s lies before %s, when %s was onboarded', of_date, since, of_platform));
    END IF;
  END IF;
  IF of_kind = 'RERUN' AND NOT EXISTS (SELECT FROM run.published WHERE platform_id = of_platform AND business_date = of_date) THEN
    PERFORM ops.refuse('NOT_PUBLISHED', format('%s of %s is not published yet: the night will do it by itself', of_date, of_platform));
  ELSIF of_kind = 'HOLD' AND EXISTS (SELECT FROM ops.hold_at('infinity')) THEN
    PERFORM ops.refuse('HELD_ALREADY', 'the night is held already');
  ELSIF of_kind = 'RESUME' AND NOT EXISTS (SELECT FROM ops.hold_at('infinity')) THEN
    PERFORM ops.refuse('NOT_HELD', 'the night is not held: there is nothing to resume');
  ELSIF of_kind = 'WITHOUT_FILE' THEN
    SELECT sender_role INTO role_of_sender FROM ops.file_sender WHERE file_kind = of_file_kind;
    IF NOT FOUND THEN
      PERFORM ops.refuse('UNKNOWN_FILE_KIND', format('there is no file kind %s', of_file_kind));
    ELSIF NOT (CASE role_of_sender
        WHEN 'PLATFORM' THEN of_sender = of_platform
        WHEN 'BANK' THEN of_sender = bank
        WHEN 'BUREAU' THEN of_sender = 'BUREAU'
        ELSE EXISTS (SELECT FROM registry.payment_company_platform WHERE paycom_id = of_sender AND platform_id = of_platform) END) THEN
      PERFORM ops.refuse('UNKNOWN_SENDER', format('%s sends no %s file about %s', of_sender, of_file_kind, of_platform));
    END IF;
  END IF;
  INSERT INTO ops.control (kind, platform_id, business_date, sender_id, file_kind, reason, maker, proposed_at)
  VALUES (of_kind, of_platform, of_date, of_sender, of_file_kind, btrim(why), by_maker, ledger.clock_now()) RETURNING control_id INTO new_id;
  RETURN new_id;
END $$;

-- Decide: alone with every run that is being opened or published (ops.hold_now), so that its time says what they saw.
CREATE FUNCTION ops.decide_control(of_control bigint, by_checker text, is_approved boolean, with_note text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before ops.control_decision;
BEGIN
  PERFORM pg_advisory_xact_lock(7408);
  IF NOT EXISTS (SELECT FROM ops.control WHERE control_id = of_control) THEN
    PERFORM ops.refuse('UNKNOWN_CONTROL', format('there is no control %s', of_control));
  END IF;
  SELECT * INTO before FROM ops.control_decision WHERE control_id = of_control;
  IF FOUND THEN
    PERFORM ops.refuse('DECIDED_ALREADY', format('control %s was %s by %s', of_control, lower(before.decision), before.checker));
  END IF;
  INSERT INTO ops.control_decision (control_id, decision, checker, note, decided_at, last_run_id)
  SELECT of_control, CASE WHEN is_approved THEN 'APPROVED' ELSE 'REJECTED' END, by_checker, nullif(btrim(with_note), ''),
         ledger.clock_now(), coalesce(max(run_id), 0) FROM run.run;
END $$;

-- what the night reads: files that it does not wait for, each from the moment of its approval on
CREATE VIEW night.file_waiver AS
SELECT c.platform_id, c.business_date, c.sender_id, c.file_kind, d.decided_at, d.last_run_id, c.control_id, c.reason, c.maker, d.checker
FROM ops.control c JOIN ops.control_decision d USING (control_id)
WHERE c.kind = 'WITHOUT_FILE' AND d.decision = 'APPROVED';

REVOKE EXECUTE ON FUNCTION ops.propose_control(text, text, date, text, text, text, text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION ops.decide_control(bigint, text, boolean, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION ops.hold_at(timestamptz), ops.hold_now() FROM PUBLIC;
GRANT USAGE ON SCHEMA ops TO service, jobs, reader;
GRANT EXECUTE ON FUNCTION ops.propose_control(text, text, date, text, text, text, text, text) TO service;
GRANT EXECUTE ON FUNCTION ops.decide_control(bigint, text, boolean, text) TO service;
GRANT EXECUTE ON FUNCTION ops.hold_at(timestamptz), ops.hold_now() TO service, jobs, reader;
GRANT SELECT ON ops.control_state, ops.file_sender TO service, jobs, reader;
GRANT SELECT, INSERT ON ops.control_run, ops.control_done TO jobs;
GRANT SELECT ON night.file_waiver TO jobs;
