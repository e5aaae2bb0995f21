-- Credit models: which artefact files are models, who made them, who approved them (architecture section 8, law 5), and the scores
-- that pages read. Rows are added, never changed.
CREATE SCHEMA credit;

CREATE TABLE credit.model (
  model_id text PRIMARY KEY CHECK (model_id ~ '^SC-[0-9a-f]{16}$'),
  sha256 text NOT NULL UNIQUE CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  trained_to date NOT NULL,
  metrics jsonb NOT NULL,
  maker text NOT NULL CHECK (maker ~ '\S' AND length(maker) <= 64),
  registered_at timestamptz NOT NULL
);
-- the newest decision counts: an approved model may be rejected later, and from then on scores no more
CREATE TABLE credit.model_decision (
  model_id text NOT NULL REFERENCES credit.model,
  decision_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  decision text NOT NULL CHECK (decision IN ('APPROVED', 'REJECTED')),
  checker text NOT NULL CHECK (checker ~ '\S' AND length(checker) <= 64),
  note text NOT NULL CHECK (note ~ '\S' AND length(note) <= 500),
  decided_at timestamptz NOT NULL
);
CREATE INDEX model_decision_by_model ON credit.model_decision (model_id, decision_no DESC);

CREATE FUNCTION credit.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'rows of %.% are kept as they were written', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'FW403';
END $$;
CREATE TRIGGER model_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON credit.model
  FOR EACH STATEMENT EXECUTE FUNCTION credit.refuse_change();
CREATE TRIGGER model_decision_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON credit.model_decision
  FOR EACH STATEMENT EXECUTE FUNCTION credit.refuse_change();

-- four eyes hold for whoever inserts, the owner of the table included
CREATE FUNCTION credit.second_person() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM credit.model m WHERE m.model_id = NEW.model_id AND lower(btrim(m.maker)) = lower(btrim(NEW.checker))) THEN
    RAISE EXCEPTION 'model % was made by %: a second person decides it', NEW.model_id, NEW.checker
      USING ERRCODE = 'FW422', DETAIL = 'OWN_MODEL';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER second_person_decides BEFORE INSERT ON credit.model_decision FOR EACH ROW EXECUTE FUNCTION credit.second_person();

-- Register a draft; false when this very file is registered already.
CREATE FUNCTION credit.register_model(of_model text, of_sha256 text, to_date date, with_metrics jsonb, by_maker text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known text;
BEGIN
  INSERT INTO credit.model VALUES (of_model, of_sha256, to_date, with_metrics, by_maker, ledger.clock_now())
  ON CONFLICT (model_id) DO NOTHING;
  IF FOUND THEN
    RETURN true;
  END IF;
  SELECT sha256 INTO known FROM credit.model WHERE model_id = of_model;
  IF known <> of_sha256 THEN
    RAISE EXCEPTION 'model % is registered with another file, sha256 %', of_model, known USING ERRCODE = 'FW422', DETAIL = 'OTHER_FILE';
  END IF;
  RETURN false;
END $$;

-- Decide on a model; false when that is its state already.
CREATE FUNCTION credit.decide_model(of_model text, by_checker text, is_approved boolean, with_note text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wanted text := CASE WHEN is_approved THEN 'APPROVED' ELSE 'REJECTED' END;
  newest text;
BEGIN
  PERFORM pg_advisory_xact_lock(7409);
  IF NOT EXISTS (SELECT FROM credit.model WHERE model_id = of_model) THEN
    RAISE EXCEPTION 'there is no model %', of_model USING ERRCODE = 'FW422', DETAIL = 'UNKNOWN_MODEL';
  END IF;
  SELECT decision INTO newest FROM credit.model_decision WHERE model_id = of_model ORDER BY decision_no DESC LIMIT 1;
  IF newest = wanted THEN
    RETURN false;
  END IF;
  INSERT INTO credit.model_decision (model_id, decision, checker, note, decided_at)
  VALUES (of_model, wanted, by_checker, btrim(with_note), ledger.clock_now());
  RETURN true;
END $$;

CREATE VIEW credit.model_state AS
SELECT m.model_id, m.sha256, m.trained_to, m.metrics, m.maker, m.registered_at, coalesce(d.decision, 'DRAFT') AS state, d.checker,
       d.note, d.decided_at
FROM credit.model m
LEFT JOIN LATERAL (
  SELECT * FROM credit.model_decision d WHERE d.model_id = m.model_id ORDER BY decision_no DESC LIMIT 1) d ON true;

-- The models that were approved at a moment, newest approval first.
CREATE FUNCTION credit.models_at(at timestamptz)
RETURNS TABLE (model_id text, sha256 text, trained_to date, metrics jsonb, maker text, checker text, decided_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT m.model_id, m.sha256, m.trained_to, m.metrics, m.maker, d.checker, d.decided_at
  FROM credit.model m
  CROSS JOIN LATERAL (
    SELECT * FROM credit.model_decision d WHERE d.model_id = m.model_id AND d.decided_at <= at ORDER BY decision_no DESC LIMIT 1) d
  WHERE d.decision = 'APPROVED' ORDER BY d.decision_no DESC $$;

CREATE TABLE mart.score (
  business_date date, run_id bigint, platform_id text, borrower_ref text, subject_hash text, model_id text, points int,
  pd numeric(12, 9), band text, reason_1 text, reason_2 text, reason_3 text, reason_4 text, feature_as_of timestamptz,
  PRIMARY KEY (run_id, business_date, platform_id, borrower_ref)
);
CREATE INDEX score_by_points ON mart.score (run_id, business_date, platform_id, points, borrower_ref);

REVOKE EXECUTE ON FUNCTION credit.register_model(text, text, date, jsonb, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION credit.decide_model(text, text, boolean, text) FROM PUBLIC;
GRANT USAGE ON SCHEMA credit TO service, jobs, reader;
GRANT EXECUTE ON FUNCTION credit.register_model(text, text, date, jsonb, text) TO jobs;
GRANT EXECUTE ON FUNCTION credit.decide_model(text, text, boolean, text) TO service;
GRANT SELECT ON credit.model, credit.model_decision, credit.model_state TO service, jobs, reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON mart.score TO jobs;
GRANT SELECT ON mart.score TO reader;
