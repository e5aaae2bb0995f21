-- Work on breaks (spec 07 section 7.4): what people say of an open item, whatever run shows it. An item's number holds neither run nor
-- rule version, so a re-run keeps this. OPEN is an item without events.
CREATE TABLE work.break_transition (
  transition_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  from_state text NOT NULL,
  to_state text NOT NULL,
  way text NOT NULL CHECK (way IN ('PERSON', 'APPROVAL', 'NIGHT')),
  UNIQUE (from_state, to_state, way)
);
INSERT INTO work.break_transition (from_state, to_state, way)
SELECT before, 'INVESTIGATING', 'PERSON' FROM unnest(ARRAY['OPEN', 'REOPENED', 'INVESTIGATING']) before
UNION ALL SELECT before, 'RESOLVED', way FROM unnest(ARRAY['OPEN', 'INVESTIGATING', 'REOPENED']) before, unnest(ARRAY['PERSON', 'NIGHT']) way
UNION ALL SELECT before, after, 'APPROVAL' FROM unnest(ARRAY['OPEN', 'INVESTIGATING', 'REOPENED']) before, unnest(ARRAY['ACCEPTED', 'WRITTEN_OFF']) after
UNION ALL SELECT before, 'REOPENED', way FROM unnest(ARRAY['RESOLVED', 'ACCEPTED', 'WRITTEN_OFF']) before, unnest(ARRAY['PERSON', 'NIGHT']) way;

CREATE TABLE work.break_event (
  break_event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  item_id text NOT NULL CHECK (item_id ~ '^[0-9a-f]{32}$'),
  platform_id text NOT NULL,
  state text NOT NULL,
  actor text NOT NULL,
  at timestamptz NOT NULL, -- the service's clock
  note text NOT NULL CHECK (char_length(note) BETWEEN 1 AND 500),
  code text NOT NULL, -- of the item when this was said, with the amount open and the run that showed it
  amount_minor bigint NOT NULL,
  currency text NOT NULL,
  run_id bigint NOT NULL,
  approval_id bigint REFERENCES work.approval
);
CREATE INDEX event_of_break ON work.break_event (item_id, break_event_id DESC);
CREATE TABLE work.write_off_limit (
  currency text NOT NULL,
  version int NOT NULL,
  amount_max_minor bigint NOT NULL CHECK (amount_max_minor >= 0),
  approval_id bigint NOT NULL REFERENCES work.approval,
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (currency, version)
);
CREATE VIEW work.break_state AS
SELECT DISTINCT ON (item_id) item_id, state, actor, at, note, code, amount_minor, run_id, approval_id
FROM work.break_event ORDER BY item_id, break_event_id DESC;

-- The newest published date of each platform that is complete, and the newest of all, on which files may be missing.
CREATE VIEW run.newest AS
WITH winning AS (
  SELECT DISTINCT ON (platform_id, business_date) platform_id, business_date, run_id, state, version, published_at
  FROM run.published ORDER BY platform_id, business_date, (state = 'COMPLETE') DESC, version DESC)
SELECT platform_id, business_date, run_id, state, published_at,
       business_date = max(business_date) FILTER (WHERE state = 'COMPLETE') OVER (PARTITION BY platform_id) AS is_newest_complete,
       business_date = max(business_date) OVER (PARTITION BY platform_id) AS is_newest
FROM winning;
-- Working days within which an item of a severity is to be settled (spec 07 section 7.4); INFO is none.
CREATE FUNCTION work.sla_working_days(severity text) RETURNS int LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE severity WHEN 'CRITICAL' THEN 0 WHEN 'HIGH' THEN 1 WHEN 'MEDIUM' THEN 3 WHEN 'LOW' THEN 10 END $$;
-- Severity rises one step at 2, 8 and 31 working days; what only informs stays so.
CREATE FUNCTION work.escalated(severity text, age_working_days int) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN severity = 'INFO' THEN 'INFO' ELSE (ARRAY['LOW', 'MEDIUM', 'HIGH', 'CRITICAL'])[least(4,
    array_position(ARRAY['LOW', 'MEDIUM', 'HIGH', 'CRITICAL'], severity)
    + (age_working_days >= 2)::int + (age_working_days >= 8)::int + (age_working_days >= 31)::int)] END $$;
CREATE VIEW work.current_break AS
SELECT i.item_id, i.platform_id, i.business_date, i.run_id, i.recon_id, i.code, i.opened_code, i.severity,
       work.escalated(i.severity, i.age_working_days) AS escalated_severity, i.match_key, i.account_no, i.currency, i.amount_minor, i.opened_on,
       i.age_working_days, work.sla_working_days(i.severity) AS sla_working_days,
       coalesce(i.age_working_days > work.sla_working_days(i.severity), false) AS is_overdue, i.rule_version, i.explanation,
       i.nearest_candidate, i.suggested_action, i.evidence, coalesce(s.state, 'OPEN') AS state, s.actor AS state_actor, s.at AS state_at,
       s.note AS state_note, a.person AS investigator
FROM mart.open_item i
JOIN run.newest n ON n.platform_id = i.platform_id AND n.business_date = i.business_date AND n.run_id = i.run_id
LEFT JOIN work.break_state s USING (item_id)
LEFT JOIN LATERAL (SELECT b.person FROM work.break_assignment b WHERE b.item_id = i.item_id ORDER BY b.assignment_id DESC LIMIT 1) a ON true
WHERE n.is_newest_complete OR (n.is_newest AND i.code = 'B24');

CREATE FUNCTION work.break_now(item text) RETURNS work.current_break
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE found_item work.current_break;
BEGIN
  SELECT * INTO found_item FROM work.current_break b WHERE b.item_id = item ORDER BY b.business_date DESC LIMIT 1;
  IF NOT FOUND THEN
    PERFORM work.refuse(CASE WHEN EXISTS (SELECT FROM mart.open_item i WHERE i.item_id = item) THEN 'BREAK_NOT_OPEN' ELSE 'BREAK_NOT_FOUND' END,
                        'item_id', item);
  END IF;
  RETURN found_item;
END $$;
CREATE FUNCTION work.add_break_event(shown work.current_break, to_state text, way text, actor text, note text, approval bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before text := coalesce((SELECT s.state FROM work.break_state s WHERE s.item_id = shown.item_id), 'OPEN');
  made bigint;
BEGIN
  IF NOT EXISTS (SELECT FROM work.break_transition t WHERE t.from_state = before AND t.to_state = add_break_event.to_state
                 AND t.way = add_break_event.way) THEN
    PERFORM work.refuse('STATE_CONFLICT', 'state', before);
  END IF;
  INSERT INTO work.break_event (item_id, platform_id, state, actor, at, note, code, amount_minor, currency, run_id, approval_id)
  VALUES (shown.item_id, shown.platform_id, to_state, actor, ledger.clock_now(), note, shown.code, shown.amount_minor, shown.currency,
          shown.run_id, approval)
  RETURNING break_event_id INTO made;
  PERFORM audit.record(actor, 'BREAK_' || to_state, 'break', shown.item_id, shown.platform_id, jsonb_build_object('state', before),
                       jsonb_build_object('state', to_state, 'note', note, 'code', shown.code, 'amount_minor', shown.amount_minor));
  RETURN made;
END $$;
-- A person's own word: investigating, resolved (the next night judges it), or open again.
CREATE FUNCTION work.move_break(item text, to_state text, actor text, note text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7431, hashtext(item));
  RETURN work.add_break_event(work.break_now(item), to_state, 'PERSON', actor, note, NULL);
END $$;

-- Accepting a difference, or writing it off up to the currency's limit, is decided by a second person who does not look into it.
CREATE FUNCTION work.check_break_end(asked work.approval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p jsonb := asked.payload;
  shown work.current_break;
  most bigint;
BEGIN
  IF (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(p) k) IS DISTINCT FROM ARRAY['amount_minor', 'currency']
     OR jsonb_typeof(p -> 'amount_minor') <> 'number' OR jsonb_typeof(p -> 'currency') <> 'string' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload', 'amount_minor and currency, as the item shows them');
  END IF;
  shown := work.break_now(asked.subject);
  IF asked.platform_id IS DISTINCT FROM shown.platform_id THEN
    PERFORM work.refuse('BODY_INVALID', 'platform_id', shown.platform_id);
  ELSIF p ->> 'amount_minor' <> shown.amount_minor::text OR p ->> 'currency' <> shown.currency THEN
    PERFORM work.refuse('BREAK_DIFFERS', 'amount_minor', format('%s %s', shown.amount_minor, shown.currency));
  ELSIF shown.code IN ('B20', 'B21', 'B24', 'B25') THEN -- totals and files are put right, nobody agrees to them
    PERFORM work.refuse('BREAK_STAYS', 'code', shown.code);
  ELSIF NOT EXISTS (SELECT FROM work.break_transition t WHERE t.from_state = shown.state AND t.way = 'APPROVAL') THEN
    PERFORM work.refuse('STATE_CONFLICT', 'state', shown.state);
  END IF;
  IF asked.kind = 'BREAK_WRITE_OFF' THEN
    SELECT l.amount_max_minor INTO most FROM work.write_off_limit l WHERE l.currency = shown.currency ORDER BY l.version DESC LIMIT 1;
    IF shown.amount_minor > coalesce(most, 0) THEN
      PERFORM work.refuse('WRITE_OFF_EXCEEDED', 'amount_minor', format('at most %s', coalesce(most, 0)));
    END IF;
  END IF;
END $$;
CREATE FUNCTION work.apply_break_end(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE to_state text := CASE asked.kind WHEN 'BREAK_WRITE_OFF' THEN 'WRITTEN_OFF' ELSE 'ACCEPTED' END;
BEGIN
  PERFORM pg_advisory_xact_lock(7431, hashtext(asked.subject));
  PERFORM work.check_break_end(asked);
  IF EXISTS (SELECT FROM work.break_assignment b WHERE b.item_id = asked.subject AND b.person = checker) THEN
    PERFORM work.refuse('CHECKER_INVESTIGATED', 'checker', checker);
  END IF;
  RETURN jsonb_build_object('state', to_state, 'break_event_id',
    work.add_break_event(work.break_now(asked.subject), to_state, 'APPROVAL', checker, asked.reason, asked.approval_id));
END $$;
CREATE FUNCTION work.check_write_off_limit(asked work.approval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE p jsonb := asked.payload;
BEGIN
  IF (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(p) k) IS DISTINCT FROM ARRAY['amount_max_minor', 'currency']
     OR jsonb_typeof(p -> 'amount_max_minor') <> 'number' OR p ->> 'amount_max_minor' !~ '^[0-9]{1,18}$' OR p ->> 'currency' IS DISTINCT FROM asked.subject
     OR p ->> 'currency' !~ '^[A-Z]{3}$' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload', 'amount_max_minor and currency, which is the subject');
  END IF;
END $$;
CREATE FUNCTION work.apply_write_off_limit(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE made work.write_off_limit;
BEGIN
  PERFORM work.check_write_off_limit(asked);
  INSERT INTO work.write_off_limit
  SELECT asked.subject, coalesce(max(l.version), 0) + 1, (asked.payload ->> 'amount_max_minor')::bigint, asked.approval_id, ledger.clock_now()
  FROM work.write_off_limit l WHERE l.currency = asked.subject
  RETURNING * INTO made;
  PERFORM audit.record(checker, 'WRITE_OFF_LIMIT', 'currency', asked.subject, NULL, NULL, to_jsonb(made));
  RETURN to_jsonb(made) - 'recorded_at';
END $$;
INSERT INTO work.kind VALUES
  ('BREAK_ACCEPTANCE', '{officer,finance}', '{checker,finance}', 'work.check_break_end', 'work.apply_break_end', 72),
  ('BREAK_WRITE_OFF', '{officer,finance}', '{checker,finance}', 'work.check_break_end', 'work.apply_break_end', 72),
  ('WRITE_OFF_LIMIT', '{officer,finance}', '{checker,finance}', 'work.check_write_off_limit', 'work.apply_write_off_limit', 720);

-- After a publish: what was called resolved and is still there, or was accepted with another amount, is open again; what people work on
-- and is gone is resolved. A second time there is nothing left to do.
CREATE FUNCTION work.review_breaks(of_run bigint) RETURNS TABLE (reopened int, resolved int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  item record;
  shown work.current_break;
  newest date;
BEGIN
  reopened := 0;
  resolved := 0;
  FOR item IN
    SELECT s.*, e.platform_id, e.currency FROM work.break_state s
    JOIN LATERAL (SELECT b.platform_id, b.currency FROM work.break_event b WHERE b.item_id = s.item_id LIMIT 1) e ON true
    WHERE EXISTS (SELECT FROM run.newest n WHERE n.run_id = of_run AND n.platform_id = e.platform_id AND n.is_newest_complete)
    ORDER BY s.item_id
  LOOP
    PERFORM pg_advisory_xact_lock(7431, hashtext(item.item_id));
    SELECT n.business_date INTO STRICT newest FROM run.newest n WHERE n.platform_id = item.platform_id AND n.is_newest_complete;
    SELECT * INTO shown FROM work.current_break b WHERE b.item_id = item.item_id ORDER BY b.business_date DESC LIMIT 1;
    IF FOUND AND item.state = 'RESOLVED' AND newest >= work.business_date(item.at) THEN
      PERFORM work.add_break_event(shown, 'REOPENED', 'NIGHT', 'night', format('still open on %s', shown.business_date), NULL);
      reopened := reopened + 1;
    ELSIF FOUND AND item.state IN ('ACCEPTED', 'WRITTEN_OFF') AND (shown.code, shown.amount_minor) IS DISTINCT FROM (item.code, item.amount_minor) THEN
      PERFORM work.add_break_event(shown, 'REOPENED', 'NIGHT', 'night',
        format('%s of %s was agreed to, %s of %s is open', item.code, item.amount_minor, shown.code, shown.amount_minor), NULL);
      reopened := reopened + 1;
    ELSIF shown.item_id IS NULL AND item.state IN ('INVESTIGATING', 'REOPENED') THEN
      shown := NULL;
      shown.item_id := item.item_id;
      shown.platform_id := item.platform_id;
      shown.code := item.code;
      shown.amount_minor := 0;
      shown.currency := item.currency;
      shown.run_id := of_run;
      PERFORM work.add_break_event(shown, 'RESOLVED', 'NIGHT', 'night', format('not open any more on %s', newest), NULL);
      resolved := resolved + 1;
    END IF;
  END LOOP;
  RETURN NEXT;
END $$;

DO $$
DECLARE kept text;
BEGIN
  FOREACH kept IN ARRAY ARRAY['work.break_transition', 'work.break_event', 'work.write_off_limit'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', kept);
  END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION work.break_now, work.add_break_event, work.move_break, work.check_break_end, work.apply_break_end,
  work.check_write_off_limit, work.apply_write_off_limit, work.review_breaks, work.sla_working_days, work.escalated FROM PUBLIC;
GRANT SELECT ON work.break_event, work.break_state, work.current_break, work.write_off_limit, run.newest TO service, web, reader;
GRANT SELECT ON work.break_event, work.write_off_limit, work.break_transition, run.newest TO jobs;
GRANT EXECUTE ON FUNCTION work.sla_working_days, work.escalated TO service, web, reader;
GRANT USAGE ON SCHEMA mart, run TO service;
GRANT SELECT ON mart.open_item, mart.open_item_effect, mart.file_control, run.published TO service;
GRANT EXECUTE ON FUNCTION work.move_break TO service;
GRANT EXECUTE ON FUNCTION work.review_breaks TO jobs, service;
