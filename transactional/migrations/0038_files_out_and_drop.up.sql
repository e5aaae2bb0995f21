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
