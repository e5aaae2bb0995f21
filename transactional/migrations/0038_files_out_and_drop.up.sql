-- Files that the bank sends, files that were dropped for it, and until when each file must have come (contracts section 3).
CREATE SCHEMA files;

-- One row a file that was written for a receiver; its number is taken in the transaction that writes it, so none is ever missing.
CREATE TABLE files.outbound (
  outbound_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  receiver_id text NOT NULL CHECK (receiver_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$'),
  platform_id text NOT NULL REFERENCES registry.platform,
  kind text NOT NULL CHECK (kind IN ('results', 'breaks', 'confirmation', 'notice')),
  business_date date NOT NULL,
  run_id bigint NOT NULL REFERENCES run.run,
  sequence_no bigint NOT NULL CHECK (sequence_no > 0),
  replaces_sequence_no bigint,
  file_name text NOT NULL,
  sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  body_sha256 text NOT NULL CHECK (body_sha256 ~ '^[0-9a-f]{64}$'), -- of the lines below the header: what was told, without its number
  row_count bigint NOT NULL CHECK (row_count >= 0),
  control_sum numeric(38, 0) NOT NULL,
  written_at timestamptz NOT NULL,
  UNIQUE (receiver_id, kind, sequence_no),
  UNIQUE (receiver_id, platform_id, kind, business_date, run_id),
  FOREIGN KEY (receiver_id, kind, replaces_sequence_no) REFERENCES files.outbound (receiver_id, kind, sequence_no),
  CHECK (replaces_sequence_no < sequence_no)
);
CREATE INDEX outbound_by_date ON files.outbound (business_date, receiver_id);
CREATE TABLE files.outbound_event (
  outbound_id bigint REFERENCES files.outbound,
  seq int CHECK (seq > 0),
  state text NOT NULL CHECK (state IN ('WRITTEN', 'ACKNOWLEDGED', 'REJECTED', 'RESENT')),
  actor text NOT NULL CHECK (actor ~ '\S'),
  at timestamptz NOT NULL,
  reason text CHECK (length(reason) <= 500),
  PRIMARY KEY (outbound_id, seq)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON files.outbound FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON files.outbound_event
  FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

CREATE VIEW files.outbound_state AS
SELECT o.*, e.state, e.at AS state_at, e.actor, e.reason, e.seq,
       (SELECT r.sequence_no FROM files.outbound r WHERE r.receiver_id = o.receiver_id AND r.kind = o.kind
          AND r.replaces_sequence_no = o.sequence_no) AS replaced_by_sequence_no
FROM files.outbound o
JOIN LATERAL (SELECT * FROM files.outbound_event n WHERE n.outbound_id = o.outbound_id ORDER BY n.seq DESC LIMIT 1) e USING (outbound_id);

-- The next number of a receiver and kind; until the caller's transaction ends nobody else takes one.
CREATE FUNCTION files.take_number(of_receiver text, of_kind text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7460, hashtext(of_receiver || '/' || of_kind));
  RETURN (SELECT coalesce(max(sequence_no), 0) + 1 FROM files.outbound WHERE receiver_id = of_receiver AND kind = of_kind);
END $$;

CREATE FUNCTION files.put_down(of_receiver text, of_platform text, of_kind text, of_date date, of_run bigint, number bigint, name text,
                               file_sha256 text, of_body_sha256 text, rows bigint, total numeric, by_actor text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before files.outbound;
  made files.outbound;
BEGIN
  IF number <> files.take_number(of_receiver, of_kind) THEN
    PERFORM work.refuse('SEQUENCE_TAKEN', 'sequence_no', number::text);
  END IF;
  SELECT * INTO before FROM files.outbound o WHERE o.receiver_id = of_receiver AND o.platform_id = of_platform AND o.kind = of_kind
    AND o.business_date = of_date ORDER BY o.sequence_no DESC LIMIT 1;
  IF before.body_sha256 = of_body_sha256 THEN
    PERFORM work.refuse('SENT_ALREADY', 'sequence_no', before.sequence_no::text);
  ELSIF before.run_id >= of_run THEN
    PERFORM work.refuse('OTHER_CONTENT_OF_RUN', 'run_id', of_run::text);
  END IF;
  INSERT INTO files.outbound (receiver_id, platform_id, kind, business_date, run_id, sequence_no, replaces_sequence_no, file_name, sha256,
                              body_sha256, row_count, control_sum, written_at)
  VALUES (of_receiver, of_platform, of_kind, of_date, of_run, number, before.sequence_no, name, file_sha256, of_body_sha256, rows, total,
          ledger.clock_now()) RETURNING * INTO made;
  INSERT INTO files.outbound_event VALUES (made.outbound_id, 1, 'WRITTEN', by_actor, made.written_at, NULL);
  PERFORM audit.record(by_actor, 'FILE_WRITTEN', 'outbound_file', of_receiver || '/' || name, of_platform, NULL, to_jsonb(made));
  PERFORM outbox.append('file.written', of_platform, of_receiver || '/' || of_kind, to_jsonb(made) - 'outbound_id' - 'body_sha256');
  RETURN made.outbound_id;
END $$;

-- What a receiver said of a file, or that it was written once more. The same answer twice changes nothing; an acknowledged file is done.
CREATE FUNCTION files.note_outbound(of_outbound bigint, new_state text, by_actor text, why text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  file files.outbound;
  last files.outbound_event;
BEGIN
  SELECT * INTO file FROM files.outbound WHERE outbound_id = of_outbound FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM work.refuse('NOT_FOUND', 'outbound_id', of_outbound::text);
  END IF;
  SELECT * INTO last FROM files.outbound_event e WHERE e.outbound_id = of_outbound ORDER BY e.seq DESC LIMIT 1;
  IF last.state = new_state AND new_state <> 'RESENT' AND last.reason IS NOT DISTINCT FROM nullif(btrim(why), '') THEN
    RETURN false;
  ELSIF last.state = 'ACKNOWLEDGED' OR (last.state = 'REJECTED' AND new_state <> 'RESENT') OR new_state = 'WRITTEN' THEN
    PERFORM work.refuse('STATE_CONFLICT', 'state', last.state);
  ELSIF new_state = 'REJECTED' AND nullif(btrim(why), '') IS NULL THEN
    PERFORM work.refuse('BODY_INVALID', 'reason', 'a rejection says why');
  END IF;
  INSERT INTO files.outbound_event VALUES (of_outbound, last.seq + 1, new_state, by_actor, ledger.clock_now(), nullif(btrim(why), ''));
  PERFORM audit.record(by_actor, 'FILE_' || new_state, 'outbound_file', file.receiver_id || '/' || file.file_name, file.platform_id,
                       jsonb_build_object('state', last.state), jsonb_build_object('state', new_state, 'reason', nullif(btrim(why), '')));
  RETURN true;
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA files FROM PUBLIC;
GRANT USAGE ON SCHEMA files TO jobs, reader, service;
GRANT EXECUTE ON FUNCTION files.take_number, files.put_down, files.note_outbound TO jobs;
GRANT SELECT ON files.outbound, files.outbound_event, files.outbound_state TO jobs, reader, service;

-- What was taken out of the drop folders: one row a file as it was dropped (`dropped_at` tells a second sending from the first).
CREATE TABLE files.arrival (
  arrival_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sender_id text NOT NULL,
  drop_name text NOT NULL,
  sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  dropped_at timestamptz NOT NULL,
  arrived_at timestamptz NOT NULL, -- by the service's clock where that is simulated, else when its name was given
  size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
  outcome text NOT NULL CHECK (outcome IN ('LANDED', 'QUARANTINED')),
  business_date date,
  file_name text,
  reason_code text,
  reason text,
  collected_at timestamptz NOT NULL,
  UNIQUE (sender_id, drop_name, sha256, dropped_at),
  CHECK ((outcome = 'LANDED') = (business_date IS NOT NULL AND file_name IS NOT NULL)),
  CHECK ((outcome = 'QUARANTINED') = (reason_code IS NOT NULL AND reason IS NOT NULL))
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON files.arrival FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Puts an arrival down once and gives when it arrived: asked again for the same one, the same time.
CREATE FUNCTION files.arrive(of_sender text, name text, of_sha256 text, dropped timestamptz, arrived timestamptz, bytes bigint,
                             of_outcome text, of_date date, landed_as text, code text, why text) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_at timestamptz;
BEGIN
  INSERT INTO files.arrival (sender_id, drop_name, sha256, dropped_at, arrived_at, size_bytes, outcome, business_date, file_name,
                             reason_code, reason, collected_at)
  VALUES (of_sender, name, of_sha256, dropped, arrived, bytes, of_outcome, of_date, landed_as, code, why, ledger.clock_now())
  ON CONFLICT (sender_id, drop_name, sha256, dropped_at) DO NOTHING;
  SELECT a.arrived_at INTO found_at FROM files.arrival a
  WHERE a.sender_id = of_sender AND a.drop_name = name AND a.sha256 = of_sha256 AND a.dropped_at = dropped;
  RETURN found_at;
END $$;

-- Until when a kind of file must have come, in versions decided by two people: of one sender, or of every sender ('*') of the kind.
-- Where there is none it is the night's `files_deadline` on the day after.
CREATE TABLE files.deadline (
  sender_id text NOT NULL CHECK (sender_id = '*' OR sender_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
  file_kind text NOT NULL REFERENCES ops.file_sender,
  version int NOT NULL CHECK (version > 0),
  days_after int NOT NULL CHECK (days_after BETWEEN 0 AND 31),
  counts_working_days boolean NOT NULL,
  due_time time NOT NULL,
  valid_from date NOT NULL,
  maker text NOT NULL,
  checker text NOT NULL,
  approval_id bigint NOT NULL REFERENCES work.approval,
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (sender_id, file_kind, version)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON files.deadline FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Subject SENDER/KIND (sender * for all), payload {days_after, counts_working_days, due_time HH:MM, valid_from}; dates that are over keep theirs.
CREATE FUNCTION files.check_deadline(asked work.approval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p jsonb := asked.payload;
BEGIN
  IF asked.subject !~ '^(\*|[A-Za-z0-9._:-]{1,64})/[a-z]+$' OR asked.platform_id IS NOT NULL THEN
    PERFORM work.refuse('BODY_INVALID', 'subject', asked.subject);
  ELSIF NOT EXISTS (SELECT FROM ops.file_sender WHERE file_kind = split_part(asked.subject, '/', 2)) THEN
    PERFORM work.refuse('BODY_INVALID', 'subject', split_part(asked.subject, '/', 2));
  ELSIF (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(p) k) IS DISTINCT FROM
        ARRAY['counts_working_days', 'days_after', 'due_time', 'valid_from'] THEN
    PERFORM work.refuse('BODY_INVALID', 'payload', 'counts_working_days, days_after, due_time, valid_from');
  ELSIF jsonb_typeof(p -> 'counts_working_days') <> 'boolean' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.counts_working_days', p ->> 'counts_working_days');
  ELSIF jsonb_typeof(p -> 'days_after') <> 'number' OR p ->> 'days_after' !~ '^([0-9]|[12][0-9]|3[01])$' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.days_after', p ->> 'days_after');
  ELSIF coalesce(p ->> 'due_time', '') !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.due_time', p ->> 'due_time');
  ELSIF coalesce(p ->> 'valid_from', '') !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.valid_from', p ->> 'valid_from');
  END IF;
  BEGIN
    IF (p ->> 'valid_from')::date < work.business_date(ledger.clock_now()) THEN
      PERFORM work.refuse('BODY_INVALID', 'payload.valid_from', p ->> 'valid_from');
    END IF;
  EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.valid_from', p ->> 'valid_from');
  END;
END $$;
CREATE FUNCTION files.apply_deadline(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p jsonb := asked.payload;
  before files.deadline;
  made files.deadline;
BEGIN
  PERFORM files.check_deadline(asked);
  PERFORM pg_advisory_xact_lock(7461);
  SELECT * INTO before FROM files.deadline d WHERE d.sender_id || '/' || d.file_kind = asked.subject ORDER BY d.version DESC LIMIT 1;
  INSERT INTO files.deadline
  VALUES (split_part(asked.subject, '/', 1), split_part(asked.subject, '/', 2), coalesce(before.version, 0) + 1, (p ->> 'days_after')::int,
          (p ->> 'counts_working_days')::boolean, (p ->> 'due_time')::time, (p ->> 'valid_from')::date, asked.maker, checker,
          asked.approval_id, ledger.clock_now())
  RETURNING * INTO made;
  PERFORM audit.record(checker, 'FILE_DEADLINE_CHANGED', 'file_deadline', asked.subject, NULL,
                       CASE WHEN before.version IS NOT NULL THEN to_jsonb(before) END, to_jsonb(made));
  RETURN jsonb_build_object('version', made.version, 'valid_from', made.valid_from);
END $$;
INSERT INTO work.kind VALUES
  ('FILE_DEADLINE', '{officer,checker}', '{checker}', 'files.check_deadline', 'files.apply_deadline', 720);

REVOKE EXECUTE ON FUNCTION files.arrive, files.check_deadline, files.apply_deadline FROM PUBLIC;
GRANT EXECUTE ON FUNCTION files.arrive TO jobs;
GRANT SELECT ON files.arrival, files.deadline TO jobs, reader, service;
