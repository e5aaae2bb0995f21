-- The bank's own hand on customers' money. Adjustments (spec 07 section 7.8): a compensating order that reduces a break, with the
-- customer's consent for debits and a second person for all. Legal holds: a court's freeze and deduction, death, dormancy.
-- Money moves through the posting engine only; orders whose numbers begin with ADJ- or LEGAL- and the movements ADJUST_INCREASE,
-- ADJUST_REDUCE, DEDUCT are refused from everybody else, in the tables themselves.

-- How a business date follows from a moment, as the running service knows it: functions here post without a caller's settings.
CREATE TABLE work.day_rule (
  version int PRIMARY KEY,
  zone text NOT NULL,
  cutoff_s int NOT NULL CHECK (cutoff_s BETWEEN 0 AND 86399), -- seconds after midnight
  recorded_at timestamptz NOT NULL
);
CREATE FUNCTION work.keep_day_rule(zone text, cutoff_s int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE newest work.day_rule;
BEGIN
  PERFORM pg_advisory_xact_lock(7432);
  SELECT * INTO newest FROM work.day_rule ORDER BY version DESC LIMIT 1;
  IF (newest.zone, newest.cutoff_s) IS DISTINCT FROM (keep_day_rule.zone, keep_day_rule.cutoff_s) THEN
    INSERT INTO work.day_rule VALUES (coalesce(newest.version, 0) + 1, keep_day_rule.zone, keep_day_rule.cutoff_s, ledger.clock_now());
  END IF;
END $$;
CREATE FUNCTION work.business_date(moment timestamptz) RETURNS date
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT ((moment AT TIME ZONE zone) + (interval '24 hours' - make_interval(secs => cutoff_s)))::date
  FROM work.day_rule ORDER BY version DESC LIMIT 1 $$;

-- One order of the bank's own through the careful posting function; the caller's transaction keeps or drops it whole.
-- movements: [{movement_type, debit_account, credit_account, amount_minor}], place: [{hold_no, account, amount_minor}].
CREATE FUNCTION work.post_order(platform_id text, request_no text, order_type text, currency text, actor text, movements jsonb,
                                place jsonb, release text[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  rule work.day_rule;
  batch jsonb;
BEGIN
  SELECT * INTO STRICT rule FROM work.day_rule ORDER BY version DESC LIMIT 1;
  batch := jsonb_build_object('endpoint', 'work', 'bulk', false, 'zone', rule.zone, 'cutoff', make_interval(secs => rule.cutoff_s),
    'answers', '[]'::jsonb,
    'orders', jsonb_build_array(jsonb_build_object('o', 0, 'platform_id', platform_id, 'request_no', request_no,
      'order_type', order_type, 'currency', currency, 'scope', actor, 'entered_by', actor)),
    'movements', coalesce((SELECT jsonb_agg(value || jsonb_build_object('o', 0, 'seq', ordinality) ORDER BY ordinality)
                           FROM jsonb_array_elements(movements) WITH ORDINALITY), '[]'),
    'holds', coalesce((SELECT jsonb_agg(jsonb_build_object('o', 0, 'position', ordinality - 1, 'hold_no', hold_no, 'event_type', 'RELEASE')
                                        ORDER BY ordinality)
                       FROM unnest(release) WITH ORDINALITY r(hold_no, ordinality)), '[]')
          || coalesce((SELECT jsonb_agg(value || jsonb_build_object('o', 0, 'position', ordinality - 1, 'event_type', 'PLACE')
                                        ORDER BY ordinality)
                       FROM jsonb_array_elements(place) WITH ORDINALITY), '[]'));
  RETURN to_jsonb((ledger.post_all(batch))[1]);
END $$;

-- Who looks into a break; that person does not decide on its adjustments.
CREATE TABLE work.break_assignment (
  assignment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  item_id text NOT NULL CHECK (item_id ~ '^[0-9a-f]{32}$'),
  person text NOT NULL REFERENCES auth.person (login_name),
  actor text NOT NULL REFERENCES auth.person (login_name),
  assigned_at timestamptz NOT NULL
);
CREATE INDEX assignment_of_item ON work.break_assignment (item_id, person);

CREATE TABLE work.adjustment (
  adjustment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  item_id text NOT NULL,
  platform_id text NOT NULL REFERENCES registry.platform,
  account_no text NOT NULL REFERENCES registry.account (account_no),
  direction text NOT NULL CHECK (direction IN ('CREDIT', 'DEBIT')), -- of the customer's account in book B
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  currency text NOT NULL,
  reason_code text NOT NULL CHECK (reason_code IN ('MISSING_CREDIT', 'MISSING_DEBIT', 'DUPLICATE_CREDIT', 'DUPLICATE_DEBIT',
    'WRONG_AMOUNT', 'WRONG_ACCOUNT', 'CHANNEL_CREDIT_LOST', 'FAILED_WITHDRAWAL', 'FEE_ERROR', 'SPLIT_ERROR', 'OTHER')),
  evidence_uri text NOT NULL CHECK (char_length(evidence_uri) BETWEEN 1 AND 500),
  evidence_hash bytea NOT NULL CHECK (octet_length(evidence_hash) = 32),
  residual_minor bigint NOT NULL CHECK (residual_minor <> 0), -- what book B lacked on the account when this was put down
  residual_on date NOT NULL,
  maker text NOT NULL REFERENCES auth.person (login_name),
  created_at timestamptz NOT NULL
);
CREATE INDEX adjustment_of_item ON work.adjustment (item_id, account_no);
CREATE INDEX adjustment_of_platform ON work.adjustment (platform_id, adjustment_id);

-- the state machine; NEW is before the first event, and a state to itself is the first of two checkers
CREATE TABLE work.adjustment_transition (
  transition_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  from_state text NOT NULL,
  to_state text NOT NULL,
  directions text[] NOT NULL,
  UNIQUE (from_state, to_state)
);
INSERT INTO work.adjustment_transition (from_state, to_state, directions) VALUES
  ('NEW', 'DRAFT', '{CREDIT,DEBIT}'),
  ('DRAFT', 'PENDING_CONSENT', '{DEBIT}'),
  ('PENDING_CONSENT', 'CONSENTED', '{DEBIT}'),
  ('PENDING_CONSENT', 'REFUSED', '{DEBIT}'),
  ('PENDING_CONSENT', 'EXPIRED', '{DEBIT}'),
  ('DRAFT', 'PENDING_APPROVAL', '{CREDIT}'),
  ('CONSENTED', 'PENDING_APPROVAL', '{DEBIT}'),
  ('PENDING_APPROVAL', 'PENDING_APPROVAL', '{CREDIT,DEBIT}'),
  ('PENDING_APPROVAL', 'APPROVED', '{CREDIT,DEBIT}'),
  ('PENDING_APPROVAL', 'REJECTED', '{CREDIT,DEBIT}'),
  ('APPROVED', 'SENT_TO_BANK', '{CREDIT,DEBIT}'),
  ('SENT_TO_BANK', 'POSTED', '{CREDIT,DEBIT}'),
  ('SENT_TO_BANK', 'BANK_FAILED', '{CREDIT,DEBIT}'),
  ('BANK_FAILED', 'SENT_TO_BANK', '{CREDIT,DEBIT}'),
  ('POSTED', 'VERIFIED', '{CREDIT,DEBIT}'),
  ('POSTED', 'REOPENED', '{CREDIT,DEBIT}'),
  ('REOPENED', 'VERIFIED', '{CREDIT,DEBIT}'),
  -- taken back by its own desk before money moved
  ('DRAFT', 'REJECTED', '{CREDIT,DEBIT}'),
  ('PENDING_CONSENT', 'REJECTED', '{DEBIT}'),
  ('CONSENTED', 'REJECTED', '{DEBIT}'),
  ('APPROVED', 'REJECTED', '{CREDIT,DEBIT}'),
  ('BANK_FAILED', 'REJECTED', '{CREDIT,DEBIT}');

CREATE TABLE work.adjustment_event (
  adjustment_id bigint REFERENCES work.adjustment,
  seq int,
  state text NOT NULL,
  actor text NOT NULL,
  at timestamptz NOT NULL, -- the service's clock
  detail jsonb NOT NULL DEFAULT '{}',
  transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (adjustment_id, seq)
);

-- A customer's word on a debit: asked once, bound to adjustment and amount, 72 hours. Of tokens only the hash is kept.
CREATE TABLE work.consent_request (
  adjustment_id bigint PRIMARY KEY REFERENCES work.adjustment,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  text_version text NOT NULL CHECK (text_version ~ '^[A-Za-z0-9._:-]{1,64}$'),
  requested_by text NOT NULL,
  recorded_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  CHECK (expires_at = recorded_at + interval '72 hours')
);
CREATE TABLE work.consent_token (
  token_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the newest of a request counts
  adjustment_id bigint NOT NULL REFERENCES work.consent_request,
  token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
  issued_to text NOT NULL,
  issued_at timestamptz NOT NULL
);
CREATE INDEX token_of_adjustment ON work.consent_token (adjustment_id, token_id);
CREATE TABLE work.consent_answer (
  adjustment_id bigint PRIMARY KEY REFERENCES work.consent_request,
  token_id bigint NOT NULL UNIQUE REFERENCES work.consent_token, -- single use
  amount_minor bigint NOT NULL,
  text_version text NOT NULL,
  is_given boolean NOT NULL,
  channel text NOT NULL CHECK (channel IN ('OTP', 'BANK_PASSWORD')),
  signed_at timestamptz NOT NULL,
  actor text NOT NULL,
  recorded_at timestamptz NOT NULL
);

CREATE VIEW work.adjustment_state AS
SELECT a.*, e.seq, e.state, e.at AS state_at, e.actor AS state_actor, e.detail AS state_detail,
       posted.business_date AS posted_on, posted.order_id
FROM work.adjustment a
CROSS JOIN LATERAL (SELECT * FROM work.adjustment_event e WHERE e.adjustment_id = a.adjustment_id ORDER BY e.seq DESC LIMIT 1) e
LEFT JOIN LATERAL (
  SELECT (p.detail ->> 'business_date')::date AS business_date, (p.detail ->> 'order_id')::bigint AS order_id
  FROM work.adjustment_event p WHERE p.adjustment_id = a.adjustment_id AND p.state = 'POSTED') posted ON true;

-- What reached a state on a business date, for the reconciliation report (spec 07 section 7.9).
CREATE VIEW work.adjustment_daily AS
SELECT work.business_date(e.at) AS business_date, a.platform_id, a.adjustment_id, e.seq, e.state, e.actor, e.at, a.item_id,
       a.account_no, a.direction, a.amount_minor, a.currency, a.reason_code, a.maker
FROM work.adjustment a JOIN work.adjustment_event e USING (adjustment_id);

-- What book B lacks on an account because of a break, on the date and in the run given: effects of the other book less those of B,
-- of the item and of what its own adjustments brought about (a movement of B that the platform does not know is an item too).
CREATE FUNCTION work.break_net(item text, account text, platform text, on_date date, in_run bigint, OUT is_open boolean,
                               OUT code text, OUT currency text, OUT net_minor bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH own AS (
    SELECT 'ADJ-' || adjustment_id || '#1' AS match_key FROM work.adjustment a WHERE a.item_id = item AND a.account_no = account),
  counted AS (
    SELECT item AS item_id
    UNION SELECT i.item_id FROM mart.open_item i JOIN own USING (match_key)
    WHERE i.run_id = in_run AND i.business_date = on_date AND i.platform_id = platform AND i.recon_id = 'R3')
  SELECT coalesce(bool_or(e.item_id = item), false), max(e.code) FILTER (WHERE e.item_id = item), max(e.currency),
         coalesce(sum(CASE e.book WHEN 'B' THEN -e.effect_minor ELSE e.effect_minor END), 0)::bigint
  FROM mart.open_item_effect e JOIN counted USING (item_id)
  WHERE e.run_id = in_run AND e.business_date = on_date AND e.platform_id = platform AND e.account_no = account $$;

-- How much of a break on an account may still be adjusted: by the platform's newest complete date, less what other adjustments that
-- are under way take. Signed: above zero book B needs a credit. Refuses a break that is not open there, or is only waiting (B14).
CREATE FUNCTION work.adjustable(item text, account text, platform text, besides bigint, OUT residual_minor bigint, OUT taken_minor bigint,
                                OUT currency text, OUT on_date date)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  shown record;
  net record;
BEGIN
  SELECT n.business_date, n.run_id INTO shown FROM mart.newest_complete n WHERE n.platform_id = platform;
  SELECT * INTO net FROM work.break_net(item, account, platform, shown.business_date, shown.run_id);
  IF net.is_open IS NOT TRUE THEN
    PERFORM work.refuse('UNKNOWN_BREAK', 'item_id', item);
  ELSIF net.code = 'B14' THEN
    PERFORM work.refuse('BREAK_IS_TIMING', 'item_id', item);
  END IF;
  SELECT coalesce(sum(s.amount_minor), 0) INTO taken_minor FROM work.adjustment_state s
  WHERE s.item_id = item AND s.account_no = account AND s.adjustment_id IS DISTINCT FROM besides
    AND s.direction = CASE WHEN net.net_minor > 0 THEN 'CREDIT' ELSE 'DEBIT' END
    AND s.state NOT IN ('REJECTED', 'REFUSED', 'EXPIRED') AND (s.posted_on IS NULL OR s.posted_on > shown.business_date);
  residual_minor := net.net_minor;
  currency := net.currency;
  on_date := shown.business_date;
END $$;

-- A proposed amount in a direction, against what is left of the break; the lock makes adjustments of one break take turns.
CREATE FUNCTION work.check_adjustable(item text, account text, platform text, direction text, amount_minor bigint, besides bigint)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE room record;
BEGIN
  PERFORM pg_advisory_xact_lock(7431, hashtext(concat_ws(' ', item, account)));
  SELECT * INTO room FROM work.adjustable(item, account, platform, besides);
  IF room.residual_minor = 0 OR (direction = 'CREDIT') <> (room.residual_minor > 0) THEN
    PERFORM work.refuse('ADJUSTMENT_WIDENS_BREAK', 'direction', direction);
  ELSIF amount_minor > abs(room.residual_minor) - room.taken_minor THEN
    PERFORM work.refuse('ADJUSTMENT_EXCEEDS_BREAK', 'amount_minor', amount_minor::text);
  END IF;
END $$;

-- The rules of a new adjustment, whoever inserts it.
CREATE FUNCTION work.check_adjustment() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  account registry.account;
  room record;
BEGIN
  PERFORM work.check_person(NEW.maker, '{finance}', 'maker');
  SELECT * INTO account FROM registry.account a WHERE a.account_no = NEW.account_no AND a.platform_id = NEW.platform_id;
  IF NOT FOUND OR account.is_control THEN
    PERFORM work.refuse('UNKNOWN_ACCOUNT', 'account_no', NEW.account_no);
  END IF;
  PERFORM work.check_adjustable(NEW.item_id, NEW.account_no, NEW.platform_id, NEW.direction, NEW.amount_minor, NULL);
  SELECT * INTO room FROM work.adjustable(NEW.item_id, NEW.account_no, NEW.platform_id, NULL);
  IF NEW.currency <> account.currency OR NEW.currency <> room.currency THEN
    PERFORM work.refuse('CURRENCY_MISMATCH', 'currency', NEW.currency);
  END IF;
  NEW.residual_minor := room.residual_minor;
  NEW.residual_on := room.on_date;
  RETURN NEW;
END $$;
CREATE TRIGGER rules BEFORE INSERT ON work.adjustment FOR EACH ROW EXECUTE FUNCTION work.check_adjustment();

-- Whether a person may be (one of) the checkers: role finance, neither maker nor investigator, and not one who has checked already.
CREATE FUNCTION work.check_adjustment_checker(of_adjustment work.adjustment, checker text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM work.check_person(checker, '{finance}', 'checker');
  IF checker = of_adjustment.maker THEN
    PERFORM work.refuse('OWN_APPROVAL', 'checker', checker);
  ELSIF EXISTS (SELECT FROM work.break_assignment b WHERE b.item_id = of_adjustment.item_id AND b.person = checker) THEN
    PERFORM work.refuse('CHECKER_INVESTIGATED', 'checker', checker);
  ELSIF EXISTS (SELECT FROM work.adjustment_event e WHERE e.adjustment_id = of_adjustment.adjustment_id
                AND e.detail ? 'checked' AND e.actor = checker) THEN
    PERFORM work.refuse('CHECKED_BEFORE', 'checker', checker);
  END IF;
END $$;

-- The rules of every step, whoever inserts the event. Approvals carry detail {"checked": true}; PENDING_APPROVAL {"checkers": 1 | 2}.
CREATE FUNCTION work.check_adjustment_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  adjusted work.adjustment;
  before work.adjustment_event;
  is_first_checker boolean;
BEGIN
  SELECT * INTO adjusted FROM work.adjustment a WHERE a.adjustment_id = NEW.adjustment_id FOR UPDATE;
  SELECT * INTO before FROM work.adjustment_event e WHERE e.adjustment_id = NEW.adjustment_id ORDER BY e.seq DESC LIMIT 1;
  IF NEW.seq <> coalesce(before.seq, 0) + 1 OR NOT EXISTS (
    SELECT FROM work.adjustment_transition t
    WHERE t.from_state = coalesce(before.state, 'NEW') AND t.to_state = NEW.state AND adjusted.direction = ANY(t.directions)) THEN
    PERFORM work.refuse('ADJUSTMENT_STATE', 'state', coalesce(before.state, 'NEW') || ' > ' || NEW.state);
  END IF;
  is_first_checker := before.state = 'PENDING_APPROVAL' AND NEW.state = 'PENDING_APPROVAL';
  IF (NEW.detail ? 'checked') <> (NEW.state = 'APPROVED' OR is_first_checker) THEN
    PERFORM work.refuse('ADJUSTMENT_STATE', 'state', NEW.state);
  END IF;
  IF NEW.state = 'PENDING_APPROVAL' AND NOT is_first_checker AND coalesce(NEW.detail ->> 'checkers', '') NOT IN ('1', '2') THEN
    PERFORM work.refuse('ADJUSTMENT_STATE', 'state', NEW.state);
  ELSIF NEW.detail ? 'checked' THEN
    PERFORM work.check_adjustment_checker(adjusted, NEW.actor);
    PERFORM work.check_adjustment_quorum(NEW);
  ELSIF NEW.state IN ('CONSENTED', 'REFUSED', 'EXPIRED', 'SENT_TO_BANK') THEN
    PERFORM work.check_adjustment_consent(adjusted, NEW.state, NEW.at);
  ELSIF NEW.state = 'POSTED' THEN
    PERFORM work.check_adjustment_posted(adjusted);
  END IF;
  RETURN NEW;
END $$;

-- One checker less than needed leaves it PENDING_APPROVAL, the last one makes it APPROVED.
CREATE FUNCTION work.check_adjustment_quorum(step work.adjustment_event) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  needed int;
  checked int;
BEGIN
  SELECT (e.detail ->> 'checkers')::int INTO needed FROM work.adjustment_event e
  WHERE e.adjustment_id = step.adjustment_id AND e.detail ? 'checkers';
  SELECT count(*) INTO checked FROM work.adjustment_event e WHERE e.adjustment_id = step.adjustment_id AND e.detail ? 'checked';
  IF (step.state = 'APPROVED') <> (checked + 1 >= needed) THEN
    PERFORM work.refuse('SECOND_CHECKER_NEEDED', 'checker', step.actor);
  END IF;
END $$;

-- A debit is consented by the customer's answer to this adjustment and amount, and goes to the bank only with it.
CREATE FUNCTION work.check_adjustment_consent(adjusted work.adjustment, state text, at timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  asked work.consent_request;
  answer work.consent_answer;
BEGIN
  SELECT * INTO asked FROM work.consent_request c WHERE c.adjustment_id = adjusted.adjustment_id;
  SELECT * INTO answer FROM work.consent_answer c WHERE c.adjustment_id = adjusted.adjustment_id;
  IF state = 'EXPIRED' THEN
    IF answer IS NOT NULL OR at < asked.expires_at THEN
      PERFORM work.refuse('ADJUSTMENT_STATE', 'state', state);
    END IF;
  ELSIF adjusted.direction = 'DEBIT' AND (
    answer.is_given IS DISTINCT FROM (state <> 'REFUSED') OR answer.amount_minor <> adjusted.amount_minor
    OR asked.amount_minor <> adjusted.amount_minor OR answer.recorded_at >= asked.expires_at) THEN
    PERFORM work.refuse('CONSENT_MISSING', 'adjustment_id', adjusted.adjustment_id::text);
  END IF;
END $$;

-- Posted means: the compensating order is in the ledger, with exactly this one movement.
CREATE FUNCTION work.check_adjustment_posted(adjusted work.adjustment) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM ledger.trade_order o JOIN ledger.movement m USING (order_id)
    JOIN registry.account a ON a.account_no = adjusted.account_no
    WHERE o.platform_id = adjusted.platform_id AND o.request_no = 'ADJ-' || adjusted.adjustment_id
      AND m.amount_minor = adjusted.amount_minor
      AND CASE adjusted.direction WHEN 'CREDIT' THEN m.movement_type = 'ADJUST_INCREASE' AND m.credit_account_id = a.account_id
               ELSE m.movement_type = 'ADJUST_REDUCE' AND m.debit_account_id = a.account_id END) THEN
    PERFORM work.refuse('ADJUSTMENT_STATE', 'state', 'POSTED');
  END IF;
END $$;
CREATE TRIGGER rules BEFORE INSERT ON work.adjustment_event FOR EACH ROW EXECUTE FUNCTION work.check_adjustment_event();

-- One step further, with its audit row.
CREATE FUNCTION work.add_adjustment_event(of_adjustment bigint, to_state text, actor text, detail jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  adjusted work.adjustment;
  before work.adjustment_event;
BEGIN
  SELECT * INTO adjusted FROM work.adjustment a WHERE a.adjustment_id = of_adjustment FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM work.refuse('ADJUSTMENT_NOT_FOUND', 'adjustment_id', of_adjustment::text);
  END IF;
  SELECT * INTO before FROM work.adjustment_event e WHERE e.adjustment_id = of_adjustment ORDER BY e.seq DESC LIMIT 1;
  INSERT INTO work.adjustment_event (adjustment_id, seq, state, actor, at, detail)
  VALUES (of_adjustment, coalesce(before.seq, 0) + 1, to_state, actor, ledger.clock_now(), detail);
  PERFORM audit.record(actor, 'ADJUSTMENT_' || to_state, 'adjustment', of_adjustment::text, adjusted.platform_id,
    CASE WHEN before IS NULL THEN NULL ELSE jsonb_build_object('state', before.state) END,
    CASE WHEN before IS NULL THEN to_jsonb(adjusted) ELSE '{}' END || jsonb_build_object('state', to_state) || detail);
END $$;

CREATE FUNCTION work.assign_break(item_id text, person text, actor text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE made bigint;
BEGIN
  IF NOT EXISTS (SELECT FROM mart.open_item i WHERE i.item_id = assign_break.item_id) THEN
    PERFORM work.refuse('UNKNOWN_BREAK', 'item_id', item_id);
  END IF;
  PERFORM work.check_person(person, '{officer,checker,finance}', 'person');
  INSERT INTO work.break_assignment (item_id, person, actor, assigned_at) VALUES (item_id, person, actor, ledger.clock_now())
  RETURNING assignment_id INTO made;
  PERFORM audit.record(actor, 'BREAK_ASSIGNED', 'break', item_id, NULL, NULL, jsonb_build_object('person', person));
  RETURN made;
END $$;

CREATE FUNCTION work.create_adjustment(item_id text, platform_id text, account_no text, direction text, amount_minor bigint,
                                       currency text, reason_code text, evidence_uri text, evidence_hash bytea, maker text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE made bigint;
BEGIN
  INSERT INTO work.adjustment (item_id, platform_id, account_no, direction, amount_minor, currency, reason_code, evidence_uri,
                               evidence_hash, maker, created_at)
  VALUES (item_id, platform_id, account_no, direction, amount_minor, currency, reason_code, evidence_uri, evidence_hash, maker,
          ledger.clock_now())
  RETURNING adjustment_id INTO made;
  PERFORM work.add_adjustment_event(made, 'DRAFT', maker, '{}');
  RETURN made;
END $$;

-- Ask the customer: the platform hears of it and fetches the token for its customer itself; nobody of the bank ever sees one.
CREATE FUNCTION work.request_consent(of_adjustment bigint, text_version text, actor text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE adjusted work.adjustment;
BEGIN
  PERFORM work.check_person(actor, '{finance}', 'actor');
  PERFORM work.add_adjustment_event(of_adjustment, 'PENDING_CONSENT', actor, jsonb_build_object('text_version', text_version));
  SELECT * INTO STRICT adjusted FROM work.adjustment a WHERE a.adjustment_id = of_adjustment;
  INSERT INTO work.consent_request (adjustment_id, amount_minor, text_version, requested_by, recorded_at, expires_at)
  SELECT of_adjustment, adjusted.amount_minor, request_consent.text_version, actor, at, at + interval '72 hours'
  FROM ledger.clock_now() at;
  PERFORM outbox.append('adjustment.consent_requested', adjusted.platform_id, adjusted.account_no,
    jsonb_build_object('adjustment_id', of_adjustment, 'account_no', adjusted.account_no, 'amount_minor', adjusted.amount_minor,
                       'currency', adjusted.currency, 'reason_code', adjusted.reason_code, 'text_version', text_version));
END $$;

-- A new one-time token takes the place of the one before.
CREATE FUNCTION work.issue_consent_token(of_adjustment bigint, token_hash bytea, actor text) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  adjusted work.adjustment_state;
  asked work.consent_request;
BEGIN
  PERFORM FROM work.adjustment a WHERE a.adjustment_id = of_adjustment FOR UPDATE;
  SELECT * INTO adjusted FROM work.adjustment_state s WHERE s.adjustment_id = of_adjustment;
  SELECT * INTO asked FROM work.consent_request c WHERE c.adjustment_id = of_adjustment;
  IF adjusted.state IS DISTINCT FROM 'PENDING_CONSENT' THEN
    PERFORM work.refuse('ADJUSTMENT_STATE', 'state', coalesce(adjusted.state, 'NEW') || ' > CONSENTED');
  ELSIF asked.expires_at <= ledger.clock_now() THEN
    PERFORM work.refuse('CONSENT_EXPIRED', 'adjustment_id', of_adjustment::text);
  END IF;
  INSERT INTO work.consent_token (adjustment_id, token_hash, issued_to, issued_at)
  VALUES (of_adjustment, token_hash, actor, ledger.clock_now());
  PERFORM audit.record(actor, 'CONSENT_TOKEN_ISSUED', 'adjustment', of_adjustment::text, adjusted.platform_id, NULL, NULL);
  RETURN asked.expires_at;
END $$;

-- The customer's answer: by the newest token of this adjustment, on its amount and text, in time, once.
CREATE FUNCTION work.answer_consent(of_adjustment bigint, token_hash bytea, amount_minor bigint, text_version text, is_given boolean,
                                    channel text, signed_at timestamptz, actor text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  asked work.consent_request;
  newest work.consent_token;
  clock timestamptz := ledger.clock_now();
BEGIN
  PERFORM FROM work.adjustment a WHERE a.adjustment_id = of_adjustment FOR UPDATE;
  SELECT * INTO asked FROM work.consent_request c WHERE c.adjustment_id = of_adjustment;
  SELECT * INTO newest FROM work.consent_token t WHERE t.adjustment_id = of_adjustment ORDER BY token_id DESC LIMIT 1;
  IF newest.token_hash IS DISTINCT FROM answer_consent.token_hash THEN
    PERFORM work.refuse('CONSENT_TOKEN_INVALID', 'token', '');
  ELSIF EXISTS (SELECT FROM work.consent_answer c WHERE c.adjustment_id = of_adjustment) THEN
    PERFORM work.refuse('CONSENT_USED', 'token', '');
  ELSIF clock >= asked.expires_at THEN
    PERFORM work.refuse('CONSENT_EXPIRED', 'adjustment_id', of_adjustment::text);
  ELSIF asked.amount_minor <> answer_consent.amount_minor THEN
    PERFORM work.refuse('CONSENT_DIFFERS', 'amount_minor', amount_minor::text);
  ELSIF asked.text_version <> answer_consent.text_version THEN
    PERFORM work.refuse('CONSENT_DIFFERS', 'text_version', text_version);
  ELSIF signed_at < newest.issued_at OR signed_at > clock THEN
    PERFORM work.refuse('CONSENT_DIFFERS', 'signed_at', signed_at::text);
  END IF;
  INSERT INTO work.consent_answer
  VALUES (of_adjustment, newest.token_id, amount_minor, text_version, is_given, channel, signed_at, actor, clock);
  PERFORM work.add_adjustment_event(of_adjustment, CASE WHEN is_given THEN 'CONSENTED' ELSE 'REFUSED' END, actor,
    jsonb_build_object('channel', channel, 'signed_at', signed_at));
END $$;

-- Consents that nobody gave in time; returns how many ended. Safe to call at any time and by many.
CREATE FUNCTION work.expire_consents(limit_max int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  late record;
  ended int := 0;
BEGIN
  FOR late IN
    SELECT a.adjustment_id FROM work.adjustment a JOIN work.consent_request c USING (adjustment_id)
    WHERE c.expires_at <= ledger.clock_now()
      AND (SELECT s.state FROM work.adjustment_state s WHERE s.adjustment_id = a.adjustment_id) = 'PENDING_CONSENT'
    ORDER BY c.expires_at LIMIT limit_max FOR UPDATE OF a SKIP LOCKED
  LOOP
    -- the lock may have been waited for: the state is read again under it
    IF (SELECT s.state FROM work.adjustment_state s WHERE s.adjustment_id = late.adjustment_id) = 'PENDING_CONSENT' THEN
      PERFORM work.add_adjustment_event(late.adjustment_id, 'EXPIRED', 'clock', '{}');
      ended := ended + 1;
    END IF;
  END LOOP;
  RETURN ended;
END $$;

CREATE FUNCTION work.submit_adjustment(of_adjustment bigint, second_checker_above_minor bigint, actor text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM work.check_person(actor, '{finance}', 'actor');
  PERFORM work.add_adjustment_event(of_adjustment, 'PENDING_APPROVAL', actor, (
    SELECT jsonb_build_object('checkers', CASE WHEN a.amount_minor > second_checker_above_minor THEN 2 ELSE 1 END)
    FROM work.adjustment a WHERE a.adjustment_id = of_adjustment));
END $$;

-- One checker's word. With two checkers the first leaves it PENDING_APPROVAL; either may reject.
CREATE FUNCTION work.decide_adjustment(of_adjustment bigint, approve boolean, note text, actor text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  adjusted work.adjustment_state;
  left_to_check int;
BEGIN
  PERFORM FROM work.adjustment a WHERE a.adjustment_id = of_adjustment FOR UPDATE;
  SELECT * INTO adjusted FROM work.adjustment_state s WHERE s.adjustment_id = of_adjustment;
  IF adjusted.state IS DISTINCT FROM 'PENDING_APPROVAL' THEN
    PERFORM work.refuse('ADJUSTMENT_STATE', 'state', coalesce(adjusted.state, 'NEW') || ' > APPROVED');
  ELSIF NOT approve THEN
    PERFORM work.check_adjustment_checker(a, actor) FROM work.adjustment a WHERE a.adjustment_id = of_adjustment;
    PERFORM work.add_adjustment_event(of_adjustment, 'REJECTED', actor, jsonb_build_object('note', note));
    RETURN;
  END IF;
  PERFORM work.check_adjustable(adjusted.item_id, adjusted.account_no, adjusted.platform_id, adjusted.direction, adjusted.amount_minor,
                                of_adjustment);
  SELECT max((e.detail ->> 'checkers')::int) - count(*) FILTER (WHERE e.detail ? 'checked') INTO left_to_check
  FROM work.adjustment_event e WHERE e.adjustment_id = of_adjustment;
  PERFORM work.add_adjustment_event(of_adjustment, CASE WHEN left_to_check > 1 THEN 'PENDING_APPROVAL' ELSE 'APPROVED' END, actor,
                                    jsonb_build_object('checked', true, 'note', note));
END $$;

-- Taken back before money moved, by anybody of the desk.
CREATE FUNCTION work.withdraw_adjustment(of_adjustment bigint, note text, actor text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM work.check_person(actor, '{finance}', 'actor');
  PERFORM FROM work.adjustment a WHERE a.adjustment_id = of_adjustment FOR UPDATE;
  IF (SELECT s.state FROM work.adjustment_state s WHERE s.adjustment_id = of_adjustment) = 'PENDING_APPROVAL' THEN
    PERFORM work.refuse('ADJUSTMENT_STATE', 'state', 'PENDING_APPROVAL > REJECTED'); -- that is a checker's word
  END IF;
  PERFORM work.add_adjustment_event(of_adjustment, 'REJECTED', actor, jsonb_build_object('note', note, 'withdrawn', true));
END $$;

-- Post the compensating order, once: its number is the adjustment's. What the engine refuses is kept as BANK_FAILED and may be
-- tried again; sending, money and POSTED are one transaction, so a process that dies in between has done nothing.
CREATE FUNCTION work.post_adjustment(of_adjustment bigint, actor text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  adjusted work.adjustment;
  is_credit boolean;
  suspense text;
  answer jsonb;
  code text;
  fault text;
BEGIN
  PERFORM work.check_person(actor, '{finance}', 'actor');
  SELECT * INTO adjusted FROM work.adjustment a WHERE a.adjustment_id = of_adjustment FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM work.refuse('ADJUSTMENT_NOT_FOUND', 'adjustment_id', of_adjustment::text);
  ELSIF (SELECT s.state FROM work.adjustment_state s WHERE s.adjustment_id = of_adjustment) NOT IN ('APPROVED', 'BANK_FAILED') THEN
    PERFORM work.refuse('ADJUSTMENT_STATE', 'state', (SELECT s.state FROM work.adjustment_state s WHERE s.adjustment_id = of_adjustment)
                        || ' > SENT_TO_BANK');
  END IF;
  -- locks in one order everywhere: the break's, the writers', then the audit's; else its sealer stands between two who wait
  PERFORM work.check_adjustable(adjusted.item_id, adjusted.account_no, adjusted.platform_id, adjusted.direction, adjusted.amount_minor,
                                of_adjustment);
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM work.add_adjustment_event(of_adjustment, 'SENT_TO_BANK', actor, jsonb_build_object('request_no', 'ADJ-' || of_adjustment));
  is_credit := adjusted.direction = 'CREDIT';
  SELECT a.account_no INTO suspense FROM registry.account a
  WHERE a.platform_id = adjusted.platform_id AND a.account_role = 'SUSPENSE' AND a.currency = adjusted.currency;
  BEGIN
    answer := work.post_order(adjusted.platform_id, 'ADJ-' || of_adjustment,
      CASE WHEN is_credit THEN 'ADJUST_INCREASE' ELSE 'ADJUST_REDUCE' END, adjusted.currency, actor,
      jsonb_build_array(jsonb_build_object(
        'movement_type', CASE WHEN is_credit THEN 'ADJUST_INCREASE' ELSE 'ADJUST_REDUCE' END,
        'debit_account', CASE WHEN is_credit THEN suspense ELSE adjusted.account_no END,
        'credit_account', CASE WHEN is_credit THEN adjusted.account_no ELSE suspense END, 'amount_minor', adjusted.amount_minor)),
      '[]', '{}');
  EXCEPTION WHEN SQLSTATE 'FW422' THEN
    GET STACKED DIAGNOSTICS code = MESSAGE_TEXT, fault = PG_EXCEPTION_DETAIL;
  END;
  IF answer IS NULL THEN
    PERFORM work.add_adjustment_event(of_adjustment, 'BANK_FAILED', actor, jsonb_build_object('code', code, 'fault', fault::jsonb));
    RETURN 'BANK_FAILED';
  END IF;
  PERFORM work.add_adjustment_event(of_adjustment, 'POSTED', actor,
    jsonb_build_object('order_id', answer -> 'order_id', 'business_date', answer -> 'business_date'));
  IF is_credit THEN
    PERFORM outbox.append('adjustment.credit_notice', adjusted.platform_id, adjusted.account_no,
      jsonb_build_object('adjustment_id', of_adjustment, 'account_no', adjusted.account_no, 'amount_minor', adjusted.amount_minor,
                         'currency', adjusted.currency, 'reason_code', adjusted.reason_code, 'order_id', answer -> 'order_id'));
  END IF;
  RETURN 'POSTED';
END $$;

-- After a publish: what the winning version of the run's newest date says of every posted adjustment of the platform.
-- Break gone or netted out → VERIFIED; still as wide, wider or turned round → REOPENED; smaller → waits for the next.
CREATE FUNCTION work.verify_adjustments(platform text, in_run bigint, OUT verified int, OUT reopened int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  shown date;
  posted record;
  net record;
BEGIN
  verified := 0;
  reopened := 0;
  SELECT max(w.business_date) INTO shown FROM mart.winner w WHERE w.platform_id = platform AND w.run_id = in_run;
  -- all rows before the first audit row: whoever holds one of them may wait for the audit's lock
  PERFORM FROM work.adjustment a WHERE a.platform_id = platform AND a.adjustment_id IN (
    SELECT s.adjustment_id FROM work.adjustment_state s WHERE s.platform_id = platform AND s.state IN ('POSTED', 'REOPENED'))
  ORDER BY a.adjustment_id FOR UPDATE;
  FOR posted IN SELECT * FROM work.adjustment_state s WHERE s.platform_id = platform AND s.state IN ('POSTED', 'REOPENED')
                AND s.posted_on <= shown ORDER BY s.adjustment_id
  LOOP
    SELECT * INTO net FROM work.break_net(posted.item_id, posted.account_no, platform, shown, in_run);
    IF net.net_minor = 0 THEN
      PERFORM work.add_adjustment_event(posted.adjustment_id, 'VERIFIED', 'run:' || in_run, jsonb_build_object('business_date', shown));
      verified := verified + 1;
    ELSIF posted.state = 'POSTED' AND (abs(net.net_minor) >= abs(posted.residual_minor) OR sign(net.net_minor) <> sign(posted.residual_minor))
    THEN
      PERFORM work.add_adjustment_event(posted.adjustment_id, 'REOPENED', 'run:' || in_run,
        jsonb_build_object('business_date', shown, 'net_minor', net.net_minor));
      reopened := reopened + 1;
    END IF;
  END LOOP;
END $$;

-- Legal holds. A freeze is an engine hold of what is there (LEGAL-ID.N) and, while money is still missing or the whole account is
-- frozen, a locked account: nothing leaves, credits come in and are frozen in the order of the queue. Death and dormancy lock only.
CREATE TABLE work.legal_hold (
  legal_hold_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  approval_id bigint NOT NULL REFERENCES work.approval,
  kind text NOT NULL CHECK (kind IN ('FREEZE', 'DEATH', 'DORMANCY')),
  platform_id text NOT NULL REFERENCES registry.platform,
  account_id bigint NOT NULL REFERENCES registry.account,
  order_no text NOT NULL, -- of the court, of the death certificate, or the approval of a dormancy
  authority text NOT NULL CHECK (char_length(authority) BETWEEN 1 AND 200),
  amount_minor bigint CHECK (amount_minor > 0), -- null: the whole account
  priority int NOT NULL CHECK (priority BETWEEN 1 AND 1000), -- lower is served first, then the earlier one
  valid_from date NOT NULL,
  maker text NOT NULL,
  checker text NOT NULL,
  placed_at timestamptz NOT NULL,
  UNIQUE (account_id, kind, authority, order_no),
  CHECK (kind = 'FREEZE' OR amount_minor IS NULL)
);
CREATE TABLE work.legal_event (
  legal_hold_id bigint REFERENCES work.legal_hold,
  seq int,
  event text NOT NULL CHECK (event IN ('PLACED', 'FROZEN', 'UNFROZEN', 'DEDUCTED', 'REDUCED', 'RENEWED', 'BID_RELEASED',
                                       'RELEASED', 'EXPIRED', 'WOKEN')),
  amount_minor bigint CHECK (amount_minor > 0),
  hold_no text, -- the engine's hold that was placed or released
  request_no text, -- the order that did it
  expires_on date, -- PLACED, RENEWED: the last day of a freeze
  actor text NOT NULL,
  approval_id bigint REFERENCES work.approval,
  at timestamptz NOT NULL,
  detail jsonb NOT NULL DEFAULT '{}',
  transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (legal_hold_id, seq),
  CHECK ((event IN ('FROZEN', 'UNFROZEN', 'DEDUCTED', 'REDUCED')) = (amount_minor IS NOT NULL)),
  CHECK ((event IN ('FROZEN', 'UNFROZEN', 'BID_RELEASED')) = (hold_no IS NOT NULL))
);
CREATE INDEX legal_event_of_transaction ON work.legal_event (transaction_id);

CREATE VIEW work.legal_hold_state AS
SELECT h.*, a.account_no, a.currency, s.expires_on, s.frozen_minor, h.amount_minor - s.spent_minor AS wanted_minor,
       CASE WHEN h.kind = 'FREEZE' AND s.ended IS NULL THEN h.amount_minor - s.spent_minor - s.frozen_minor END AS waiting_minor,
       s.deducted_minor, CASE WHEN s.ended IS NOT NULL THEN s.ended WHEN h.amount_minor = s.spent_minor THEN 'FULFILLED' ELSE 'ACTIVE' END
         AS state, s.seq, s.at AS state_at
FROM work.legal_hold h JOIN registry.account a USING (account_id)
CROSS JOIN LATERAL (
  SELECT (array_agg(e.expires_on ORDER BY e.seq DESC) FILTER (WHERE e.expires_on IS NOT NULL))[1] AS expires_on,
         coalesce(sum(CASE e.event WHEN 'FROZEN' THEN e.amount_minor WHEN 'UNFROZEN' THEN -e.amount_minor END), 0)::bigint AS frozen_minor,
         coalesce(sum(e.amount_minor) FILTER (WHERE e.event IN ('DEDUCTED', 'REDUCED')), 0)::bigint AS spent_minor,
         coalesce(sum(e.amount_minor) FILTER (WHERE e.event = 'DEDUCTED'), 0)::bigint AS deducted_minor,
         max(e.event) FILTER (WHERE e.event IN ('RELEASED', 'EXPIRED', 'WOKEN')) AS ended, max(e.seq) AS seq, max(e.at) AS at
  FROM work.legal_event e WHERE e.legal_hold_id = h.legal_hold_id) s;

-- Whether nothing may leave an account: death, dormancy, a freeze of the whole, or one that still waits for money.
CREATE FUNCTION work.is_legally_locked(account bigint) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM work.legal_hold_state s WHERE s.account_id = account AND s.state = 'ACTIVE'
                 AND (s.kind <> 'FREEZE' OR s.waiting_minor IS NULL OR s.waiting_minor > 0)) $$;

-- Money of an account that its owner cannot use because of the law, in minor units: what freezes hold, and of what is otherwise free
-- all that waiting freezes want, or everything when the account is locked as a whole.
CREATE FUNCTION ledger.legal_held(account_id bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(sum(s.frozen_minor), 0)::bigint + CASE
           WHEN bool_or(s.kind <> 'FREEZE' OR s.waiting_minor IS NULL) THEN greatest(max(b.credit_minor - b.debit_minor - b.held_minor), 0)
           ELSE least(coalesce(sum(s.waiting_minor), 0), greatest(max(b.credit_minor - b.debit_minor - b.held_minor), 0)) END::bigint
  FROM work.legal_hold_state s JOIN ledger.balance b USING (account_id)
  WHERE s.account_id = legal_held.account_id AND s.state = 'ACTIVE' $$;

-- One event, with its audit row and word to others. Returns its number in the hold's history.
CREATE FUNCTION work.add_legal_event(of_hold bigint, event text, amount_minor bigint, hold_no text, request_no text, expires_on date,
                                     actor text, approval_id bigint, detail jsonb) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held work.legal_hold;
  made work.legal_event;
BEGIN
  SELECT * INTO STRICT held FROM work.legal_hold h WHERE h.legal_hold_id = of_hold FOR UPDATE;
  INSERT INTO work.legal_event (legal_hold_id, seq, event, amount_minor, hold_no, request_no, expires_on, actor, approval_id, at, detail)
  SELECT of_hold, coalesce(max(e.seq), 0) + 1, add_legal_event.event, add_legal_event.amount_minor, add_legal_event.hold_no,
         add_legal_event.request_no, add_legal_event.expires_on, add_legal_event.actor, add_legal_event.approval_id,
         ledger.clock_now(), add_legal_event.detail
  FROM work.legal_event e WHERE e.legal_hold_id = of_hold RETURNING * INTO made;
  PERFORM audit.record(actor, 'LEGAL_HOLD_' || event, 'legal_hold', of_hold::text, held.platform_id, NULL,
                       jsonb_strip_nulls(to_jsonb(made) - 'transaction_id'));
  IF event NOT IN ('FROZEN', 'UNFROZEN') THEN
    PERFORM outbox.append('account.legal_hold_changed', held.platform_id, held.account_id::text, jsonb_strip_nulls(
      jsonb_build_object('legal_hold_id', of_hold, 'kind', held.kind, 'event', event, 'amount_minor', amount_minor)
      || (SELECT jsonb_build_object('account_no', a.account_no) FROM registry.account a WHERE a.account_id = held.account_id)));
  END IF;
  RETURN made.seq;
END $$;

-- Every change of a legal hold is made behind the writers' lock: nobody sees or uses the account between its steps. At its end the
-- account is locked when the law locks it, else what the registry says; a state that did not change leaves no trace.
CREATE FUNCTION work.settle_legal_state(account bigint, actor text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  recorded text;
  wanted text;
BEGIN
  SELECT coalesce((SELECT s.state FROM ledger.account_state s WHERE s.account_id = account ORDER BY s.version DESC LIMIT 1), 'OPEN')
  INTO recorded;
  SELECT CASE WHEN work.is_legally_locked(account) THEN 'LOCKED' ELSE coalesce(s.status, 'OPEN') END INTO wanted
  FROM registry.account a LEFT JOIN registry.current_account_status s USING (platform_id, account_no) WHERE a.account_id = account;
  UPDATE ledger.balance b SET state = recorded WHERE b.account_id = account AND b.state <> recorded;
  PERFORM ledger.set_account_state(account, wanted, actor);
END $$;

-- One order on a frozen account: lets go the hold's engine holds, moves, and holds `keep` of it again. Leaves the account open for
-- `settle_legal_state` to close.
CREATE FUNCTION work.refreeze(of_hold bigint, keep bigint, deduct bigint, actor text, approval bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held work.legal_hold_state;
  number text;
  let_go record;
  gone text[] := '{}';
  place jsonb := '[]';
  movements jsonb := '[]';
BEGIN
  SELECT * INTO STRICT held FROM work.legal_hold_state s WHERE s.legal_hold_id = of_hold;
  number := format('LEGAL-%s.%s', of_hold, held.seq + 1);
  FOR let_go IN
    SELECT e.hold_no, e.amount_minor FROM work.legal_event e WHERE e.legal_hold_id = of_hold AND e.event = 'FROZEN' AND NOT EXISTS (
      SELECT FROM work.legal_event u WHERE u.legal_hold_id = of_hold AND u.event = 'UNFROZEN' AND u.hold_no = e.hold_no)
    ORDER BY e.seq
  LOOP
    PERFORM work.add_legal_event(of_hold, 'UNFROZEN', let_go.amount_minor, let_go.hold_no, number, NULL, actor, approval, '{}');
    gone := gone || let_go.hold_no;
  END LOOP;
  IF deduct > 0 THEN
    PERFORM work.add_legal_event(of_hold, 'DEDUCTED', deduct, NULL, number, NULL, actor, approval, '{}');
    movements := jsonb_build_array(jsonb_build_object('movement_type', 'DEDUCT', 'debit_account', held.account_no,
      'credit_account', (SELECT a.account_no FROM registry.account a WHERE a.platform_id = held.platform_id
                         AND a.account_role = 'WITHDRAWAL_PAYABLE' AND a.currency = held.currency), 'amount_minor', deduct));
  END IF;
  IF keep > 0 THEN
    PERFORM work.add_legal_event(of_hold, 'FROZEN', keep, number, number, NULL, actor, approval, '{}');
    place := jsonb_build_array(jsonb_build_object('hold_no', number, 'account', held.account_no, 'amount_minor', keep));
  END IF;
  IF cardinality(gone) = 0 AND keep = 0 AND deduct = 0 THEN
    RETURN NULL;
  END IF;
  UPDATE ledger.balance b SET state = 'OPEN' WHERE b.account_id = held.account_id AND b.state = 'LOCKED';
  RETURN work.post_order(held.platform_id, number, CASE WHEN deduct > 0 THEN 'DEDUCT' ELSE 'APPEND_FREEZE' END, held.currency, actor,
                         movements, place, gone);
END $$;

-- What is free goes to the freezes that wait, in their order (轮候冻结); then the account's state follows. Returns what was frozen.
CREATE FUNCTION work.fill_legal_holds(account bigint, actor text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  waiting work.legal_hold_state;
  free bigint;
  filled bigint := 0;
BEGIN
  FOR waiting IN SELECT * FROM work.legal_hold_state s WHERE s.account_id = account AND s.state = 'ACTIVE' AND s.kind = 'FREEZE'
                 AND (s.waiting_minor IS NULL OR s.waiting_minor > 0) ORDER BY s.priority, s.legal_hold_id
  LOOP
    SELECT b.credit_minor - b.debit_minor - b.held_minor INTO free FROM ledger.balance b WHERE b.account_id = account;
    EXIT WHEN free <= 0;
    PERFORM work.refreeze(waiting.legal_hold_id, waiting.frozen_minor + least(free, coalesce(waiting.waiting_minor, free)), 0, actor, NULL);
    filled := filled + least(free, coalesce(waiting.waiting_minor, free));
  END LOOP;
  PERFORM work.settle_legal_state(account, actor);
  RETURN filled;
END $$;

-- Money that came in since: freeze it. Until this has run the account is locked, so it cannot leave. Returns accounts that were filled.
CREATE FUNCTION work.top_up_legal_holds(limit_max int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  short record;
  filled int := 0;
BEGIN
  FOR short IN
    SELECT DISTINCT s.account_id FROM work.legal_hold_state s JOIN ledger.balance b USING (account_id)
    WHERE s.state = 'ACTIVE' AND s.kind = 'FREEZE' AND (s.waiting_minor IS NULL OR s.waiting_minor > 0)
      AND b.credit_minor - b.debit_minor - b.held_minor > 0
    ORDER BY s.account_id LIMIT limit_max
  LOOP
    PERFORM pg_advisory_xact_lock(7401);
    PERFORM work.fill_legal_holds(short.account_id, 'clock');
    filled := filled + 1;
  END LOOP;
  RETURN filled;
END $$;

-- The end of a hold: its money falls to the next freeze in the queue, the account's state follows.
CREATE FUNCTION work.end_legal_hold(of_hold bigint, event text, actor text, approval bigint, detail jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE held work.legal_hold_state;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  SELECT * INTO held FROM work.legal_hold_state s WHERE s.legal_hold_id = of_hold;
  IF held.state IS DISTINCT FROM 'ACTIVE' THEN
    PERFORM work.refuse('LEGAL_HOLD_ENDED', 'legal_hold_id', of_hold::text);
  END IF;
  PERFORM work.refreeze(of_hold, 0, 0, actor, approval);
  PERFORM work.add_legal_event(of_hold, event, NULL, NULL, NULL, NULL, actor, approval, detail);
  PERFORM work.fill_legal_holds(held.account_id, actor);
END $$;

-- Freezes whose last day is over, at the service's clock; returns how many ended.
CREATE FUNCTION work.expire_legal_holds(limit_max int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  late bigint;
  ended int := 0;
BEGIN
  IF NOT EXISTS (SELECT FROM work.legal_hold_state s WHERE s.state = 'ACTIVE'
                 AND s.expires_on < work.business_date(ledger.clock_now())) THEN
    RETURN 0;
  END IF;
  PERFORM pg_advisory_xact_lock(7401);
  FOR late IN SELECT s.legal_hold_id FROM work.legal_hold_state s WHERE s.state = 'ACTIVE'
              AND s.expires_on < work.business_date(ledger.clock_now()) ORDER BY s.expires_on, s.legal_hold_id LIMIT limit_max
  LOOP
    PERFORM work.end_legal_hold(late, 'EXPIRED', 'clock', NULL, '{}');
    ended := ended + 1;
  END LOOP;
  RETURN ended;
END $$;

-- Payloads of proposals. Each reads one field or refuses naming it.
CREATE FUNCTION work.check_payload_fields(payload jsonb, known text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE other text;
BEGIN
  SELECT k INTO other FROM jsonb_object_keys(payload) k WHERE k <> ALL(known) LIMIT 1;
  IF FOUND THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.' || other, 'unknown field');
  END IF;
END $$;
CREATE FUNCTION work.payload_text(payload jsonb, name text, pattern text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF jsonb_typeof(payload -> name) IS DISTINCT FROM 'string' OR (payload ->> name) !~ pattern THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.' || name, payload ->> name);
  END IF;
  RETURN payload ->> name;
END $$;
CREATE FUNCTION work.payload_whole(payload jsonb, name text, at_most bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF jsonb_typeof(payload -> name) IS DISTINCT FROM 'number' OR (payload ->> name) !~ '^[1-9][0-9]{0,15}$'
     OR (payload ->> name)::bigint > at_most THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.' || name, payload ->> name);
  END IF;
  RETURN (payload ->> name)::bigint;
END $$;
CREATE FUNCTION work.payload_date(payload jsonb, name text) RETURNS date
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' AS $$
BEGIN
  RETURN work.payload_text(payload, name, '^[0-9]{4}-[0-9]{2}-[0-9]{2}$')::date;
EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
  PERFORM work.refuse('BODY_INVALID', 'payload.' || name, payload ->> name);
END $$;
CREATE FUNCTION work.payload_account(asked work.approval) RETURNS registry.account
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE account registry.account;
BEGIN
  SELECT * INTO account FROM registry.account a WHERE a.platform_id = asked.platform_id AND NOT a.is_control
    AND a.account_no = work.payload_text(asked.payload, 'account_no', '^[A-Za-z0-9._:-]{1,64}$');
  IF NOT FOUND THEN
    PERFORM work.refuse('UNKNOWN_ACCOUNT', 'payload.account_no', asked.payload ->> 'account_no');
  ELSIF (SELECT b.state FROM ledger.balance b WHERE b.account_id = account.account_id) = 'CLOSED' THEN
    PERFORM work.refuse('ACCOUNT_CLOSED', 'payload.account_no', account.account_no);
  END IF;
  RETURN account;
END $$;
-- The hold that a proposal is about: in force, on the proposal's platform.
CREATE FUNCTION work.payload_hold(asked work.approval, of_kinds text[]) RETURNS work.legal_hold_state
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE held work.legal_hold_state;
BEGIN
  SELECT * INTO held FROM work.legal_hold_state s WHERE s.platform_id = asked.platform_id AND s.kind = ANY(of_kinds)
    AND s.legal_hold_id = work.payload_whole(asked.payload, 'legal_hold_id', 1000000000000000);
  IF NOT FOUND THEN
    PERFORM work.refuse('UNKNOWN_LEGAL_HOLD', 'payload.legal_hold_id', asked.payload ->> 'legal_hold_id');
  ELSIF held.state <> 'ACTIVE' THEN
    PERFORM work.refuse('LEGAL_HOLD_ENDED', 'payload.legal_hold_id', held.legal_hold_id::text);
  END IF;
  RETURN held;
END $$;
-- A bank deposit is frozen for a year at most and then renewed.
CREATE FUNCTION work.payload_expiry(payload jsonb) RETURNS date
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  today date := work.business_date(ledger.clock_now());
  last_day date := work.payload_date(payload, 'expires_on');
BEGIN
  IF last_day < today OR last_day > today + interval '1 year' THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.expires_on', last_day::text);
  END IF;
  RETURN last_day;
END $$;

-- LEGAL_FREEZE {account_no, order_no, court, amount_minor?, priority?, valid_from, expires_on}
CREATE FUNCTION work.check_legal_freeze(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  account registry.account := work.payload_account(asked);
  number text := work.payload_text(asked.payload, 'order_no', '^[^[:cntrl:]]{1,100}$');
  court text := work.payload_text(asked.payload, 'court', '^[^[:cntrl:]]{1,200}$');
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{account_no,order_no,court,amount_minor,priority,valid_from,expires_on}');
  PERFORM work.payload_expiry(asked.payload);
  IF asked.payload ? 'amount_minor' THEN
    PERFORM work.payload_whole(asked.payload, 'amount_minor', 1000000000000000);
  END IF;
  IF asked.payload ? 'priority' THEN
    PERFORM work.payload_whole(asked.payload, 'priority', 1000);
  END IF;
  IF work.payload_date(asked.payload, 'valid_from') > work.business_date(ledger.clock_now()) THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.valid_from', asked.payload ->> 'valid_from');
  END IF;
  IF EXISTS (SELECT FROM work.legal_hold h WHERE h.account_id = account.account_id AND h.kind = 'FREEZE' AND h.authority = court
             AND h.order_no = number) THEN
    PERFORM work.refuse('LEGAL_ORDER_KNOWN', 'payload.order_no', number);
  END IF;
END $$;
CREATE FUNCTION work.apply_legal_freeze(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  account registry.account;
  made bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM work.check_legal_freeze(asked);
  account := work.payload_account(asked);
  INSERT INTO work.legal_hold (approval_id, kind, platform_id, account_id, order_no, authority, amount_minor, priority, valid_from,
                               maker, checker, placed_at)
  VALUES (asked.approval_id, 'FREEZE', asked.platform_id, account.account_id, asked.payload ->> 'order_no', asked.payload ->> 'court',
          (asked.payload ->> 'amount_minor')::bigint, coalesce((asked.payload ->> 'priority')::int, 100),
          (asked.payload ->> 'valid_from')::date, asked.maker, checker, ledger.clock_now())
  RETURNING legal_hold_id INTO made;
  PERFORM work.add_legal_event(made, 'PLACED', NULL, NULL, NULL, (asked.payload ->> 'expires_on')::date, checker, asked.approval_id, '{}');
  PERFORM work.fill_legal_holds(account.account_id, checker);
  RETURN (SELECT jsonb_build_object('legal_hold_id', made, 'frozen_minor', s.frozen_minor, 'waiting_minor', s.waiting_minor)
          FROM work.legal_hold_state s WHERE s.legal_hold_id = made);
END $$;

-- LEGAL_RENEWAL {legal_hold_id, order_no, expires_on}
CREATE FUNCTION work.check_legal_renewal(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{legal_hold_id,order_no,expires_on}');
  PERFORM work.payload_hold(asked, '{FREEZE}');
  PERFORM work.payload_text(asked.payload, 'order_no', '^[^[:cntrl:]]{1,100}$');
  PERFORM work.payload_expiry(asked.payload);
END $$;
CREATE FUNCTION work.apply_legal_renewal(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM work.check_legal_renewal(asked);
  PERFORM work.add_legal_event((asked.payload ->> 'legal_hold_id')::bigint, 'RENEWED', NULL, NULL, NULL,
    (asked.payload ->> 'expires_on')::date, checker, asked.approval_id, jsonb_build_object('order_no', asked.payload -> 'order_no'));
  RETURN asked.payload;
END $$;

-- LEGAL_RELEASE {legal_hold_id, order_no, amount_minor?}: of a freeze a part, of any hold the whole
CREATE FUNCTION work.check_legal_release(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE held work.legal_hold_state;
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{legal_hold_id,order_no,amount_minor}');
  PERFORM work.payload_text(asked.payload, 'order_no', '^[^[:cntrl:]]{1,100}$');
  held := work.payload_hold(asked, '{FREEZE,DEATH,DORMANCY}');
  IF asked.payload ? 'amount_minor' AND coalesce(
    work.payload_whole(asked.payload, 'amount_minor', 1000000000000000) >= held.wanted_minor, true) THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.amount_minor', asked.payload ->> 'amount_minor');
  END IF;
END $$;
CREATE FUNCTION work.apply_legal_release(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held work.legal_hold_state;
  released bigint := (asked.payload ->> 'amount_minor')::bigint;
  reason jsonb := jsonb_build_object('order_no', asked.payload -> 'order_no');
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM work.check_legal_release(asked);
  held := work.payload_hold(asked, '{FREEZE,DEATH,DORMANCY}');
  IF released IS NULL THEN
    PERFORM work.end_legal_hold(held.legal_hold_id, 'RELEASED', checker, asked.approval_id, reason);
  ELSE
    PERFORM work.add_legal_event(held.legal_hold_id, 'REDUCED', released, NULL, NULL, NULL, checker, asked.approval_id, reason);
    IF held.frozen_minor > held.wanted_minor - released THEN
      PERFORM work.refreeze(held.legal_hold_id, held.wanted_minor - released, 0, checker, asked.approval_id);
    END IF;
    PERFORM work.fill_legal_holds(held.account_id, checker);
  END IF;
  RETURN (SELECT jsonb_build_object('state', s.state, 'frozen_minor', s.frozen_minor, 'waiting_minor', s.waiting_minor)
          FROM work.legal_hold_state s WHERE s.legal_hold_id = held.legal_hold_id);
END $$;

-- LEGAL_DEDUCTION {legal_hold_id, order_no, amount_minor, payee_hash}: out of what the freeze holds, to the court's account
CREATE FUNCTION work.check_legal_deduction(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE held work.legal_hold_state;
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{legal_hold_id,order_no,amount_minor,payee_hash}');
  PERFORM work.payload_text(asked.payload, 'order_no', '^[^[:cntrl:]]{1,100}$');
  PERFORM work.payload_text(asked.payload, 'payee_hash', '^[0-9a-f]{64}$');
  held := work.payload_hold(asked, '{FREEZE}');
  IF work.payload_whole(asked.payload, 'amount_minor', 1000000000000000) > held.frozen_minor THEN
    PERFORM work.refuse('DEDUCTION_EXCEEDS_FREEZE', 'payload.amount_minor', asked.payload ->> 'amount_minor');
  END IF;
END $$;
CREATE FUNCTION work.apply_legal_deduction(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held work.legal_hold_state;
  amount bigint;
  posted jsonb;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM work.check_legal_deduction(asked);
  held := work.payload_hold(asked, '{FREEZE}');
  amount := (asked.payload ->> 'amount_minor')::bigint;
  posted := work.refreeze(held.legal_hold_id, held.frozen_minor - amount, amount, checker, asked.approval_id);
  PERFORM work.settle_legal_state(held.account_id, checker);
  PERFORM outbox.append('account.legal_deduction', held.platform_id, held.account_id::text, jsonb_build_object(
    'legal_hold_id', held.legal_hold_id, 'account_no', held.account_no, 'amount_minor', amount, 'currency', held.currency,
    'order_no', asked.payload -> 'order_no', 'payee_hash', asked.payload -> 'payee_hash', 'order_id', posted -> 'order_id'));
  RETURN jsonb_build_object('order_id', posted -> 'order_id', 'request_no', posted -> 'request_no', 'amount_minor', amount);
END $$;

-- CUSTOMER_DEATH {customer_no, certificate_no, issued_by, died_on}: every account of the person, on every platform
CREATE FUNCTION work.check_customer_death(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{customer_no,certificate_no,issued_by,died_on}');
  PERFORM work.payload_text(asked.payload, 'certificate_no', '^[^[:cntrl:]]{1,100}$');
  PERFORM work.payload_text(asked.payload, 'issued_by', '^[^[:cntrl:]]{1,200}$');
  IF work.payload_date(asked.payload, 'died_on') > work.business_date(ledger.clock_now()) THEN
    PERFORM work.refuse('BODY_INVALID', 'payload.died_on', asked.payload ->> 'died_on');
  END IF;
  IF NOT EXISTS (SELECT FROM registry.customer c JOIN registry.party p USING (party_id) WHERE c.platform_id = asked.platform_id
                 AND c.customer_no = work.payload_text(asked.payload, 'customer_no', '^[A-Za-z0-9._:-]{1,64}$')) THEN
    PERFORM work.refuse('UNKNOWN_REFERENCE', 'payload.customer_no', asked.payload ->> 'customer_no');
  END IF;
END $$;
CREATE FUNCTION work.apply_customer_death(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  account registry.account;
  made bigint;
  locked text[] := '{}';
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM work.check_customer_death(asked);
  FOR account IN
    SELECT a.* FROM registry.customer c JOIN registry.customer other USING (party_id)
    JOIN registry.account a ON a.platform_id = other.platform_id AND a.customer_no = other.customer_no
    JOIN ledger.balance b ON b.account_id = a.account_id
    WHERE c.platform_id = asked.platform_id AND c.customer_no = asked.payload ->> 'customer_no' AND b.state <> 'CLOSED'
      AND NOT EXISTS (SELECT FROM work.legal_hold_state s WHERE s.account_id = a.account_id AND s.kind = 'DEATH' AND s.state = 'ACTIVE')
    ORDER BY a.account_no
  LOOP
    INSERT INTO work.legal_hold (approval_id, kind, platform_id, account_id, order_no, authority, amount_minor, priority, valid_from,
                                 maker, checker, placed_at)
    VALUES (asked.approval_id, 'DEATH', account.platform_id, account.account_id, asked.payload ->> 'certificate_no',
            asked.payload ->> 'issued_by', NULL, 1, (asked.payload ->> 'died_on')::date, asked.maker, checker, ledger.clock_now())
    RETURNING legal_hold_id INTO made;
    PERFORM work.add_legal_event(made, 'PLACED', NULL, NULL, NULL, NULL, checker, asked.approval_id, '{}');
    PERFORM work.settle_legal_state(account.account_id, checker);
    locked := locked || account.account_no;
  END LOOP;
  RETURN jsonb_build_object('locked_accounts', locked);
END $$;

-- DEATH_BID_RELEASE {account_no, hold_no}: a bid of a customer who died, let go by decision only
CREATE FUNCTION work.check_death_bid_release(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  account registry.account := work.payload_account(asked);
  number text := work.payload_text(asked.payload, 'hold_no', '^[A-Za-z0-9._:#-]{1,64}$');
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{account_no,hold_no}');
  IF NOT EXISTS (SELECT FROM work.legal_hold_state s WHERE s.account_id = account.account_id AND s.kind = 'DEATH' AND s.state = 'ACTIVE') THEN
    PERFORM work.refuse('UNKNOWN_LEGAL_HOLD', 'payload.account_no', account.account_no);
  ELSIF number LIKE 'LEGAL-%' OR NOT EXISTS (
    SELECT FROM ledger.hold_event h WHERE h.platform_id = asked.platform_id AND h.hold_no = number AND h.account_id = account.account_id
    GROUP BY h.hold_no HAVING sum(CASE h.event_type WHEN 'PLACE' THEN h.amount_minor ELSE -h.amount_minor END) > 0) THEN
    PERFORM work.refuse('UNKNOWN_HOLD', 'payload.hold_no', number);
  END IF;
END $$;
CREATE FUNCTION work.apply_death_bid_release(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  held work.legal_hold_state;
  number text;
  posted jsonb;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM work.check_death_bid_release(asked);
  SELECT * INTO STRICT held FROM work.legal_hold_state s WHERE s.account_id = (work.payload_account(asked)).account_id
    AND s.kind = 'DEATH' AND s.state = 'ACTIVE' ORDER BY s.legal_hold_id LIMIT 1;
  number := format('LEGAL-%s.%s', held.legal_hold_id, held.seq + 1);
  PERFORM work.add_legal_event(held.legal_hold_id, 'BID_RELEASED', NULL, asked.payload ->> 'hold_no', number, NULL, checker,
                               asked.approval_id, '{}');
  posted := work.post_order(held.platform_id, number, 'APPEND_FREEZE', held.currency, checker, '[]', '[]',
                            ARRAY[asked.payload ->> 'hold_no']);
  PERFORM work.fill_legal_holds(held.account_id, checker);
  RETURN jsonb_build_object('order_id', posted -> 'order_id', 'request_no', number);
END $$;

-- The last business date on which the customer did something with the account: brought or took money, bid, bought or sold a claim.
CREATE FUNCTION work.last_customer_activity(account bigint) RETURNS date
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT greatest(
    (SELECT work.business_date(a.recorded_at) FROM registry.account a WHERE a.account_id = account),
    (SELECT m.business_date FROM ledger.entry e JOIN ledger.movement m USING (movement_id) WHERE e.account_id = account
       AND m.movement_type IN ('RECHARGE', 'WITHDRAW', 'TENDER', 'CREDIT_ASSIGNMENT') ORDER BY e.account_version DESC LIMIT 1),
    (SELECT max(h.business_date) FROM ledger.hold_event h WHERE h.account_id = account AND h.event_type = 'PLACE'
       AND h.hold_no NOT LIKE 'LEGAL-%'),
    (SELECT max(work.business_date(e.at)) FROM work.legal_hold h JOIN work.legal_event e USING (legal_hold_id)
       WHERE h.account_id = account AND e.event = 'WOKEN')) $$;
-- Accounts of customers of a platform that are open and have been quiet since before a date, at most `limit_max` after `after_no`.
CREATE FUNCTION work.quiet_accounts(platform text, before date, after_no text, limit_max int)
RETURNS TABLE (account_no text, quiet_since date)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.account_no, work.last_customer_activity(a.account_id) FROM registry.account a JOIN ledger.balance b USING (account_id)
  WHERE a.platform_id = platform AND a.customer_no IS NOT NULL AND NOT a.is_control AND b.state = 'OPEN' AND a.account_no > after_no
    AND work.last_customer_activity(a.account_id) < before
    AND NOT EXISTS (SELECT FROM work.approval_state p WHERE p.kind = 'DORMANCY' AND p.platform_id = platform
                    AND p.subject = a.account_no AND p.state = 'PENDING')
  ORDER BY a.account_no LIMIT limit_max $$;

-- DORMANCY {account_no, quiet_since}: no customer's activity after that date
CREATE FUNCTION work.check_dormancy(asked work.approval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE account registry.account := work.payload_account(asked);
BEGIN
  PERFORM work.check_payload_fields(asked.payload, '{account_no,quiet_since}');
  IF account.customer_no IS NULL OR work.last_customer_activity(account.account_id) > work.payload_date(asked.payload, 'quiet_since') THEN
    PERFORM work.refuse('ACCOUNT_NOT_QUIET', 'payload.quiet_since', work.last_customer_activity(account.account_id)::text);
  ELSIF EXISTS (SELECT FROM work.legal_hold_state s WHERE s.account_id = account.account_id AND s.kind = 'DORMANCY' AND s.state = 'ACTIVE') THEN
    PERFORM work.refuse('LEGAL_ORDER_KNOWN', 'payload.account_no', account.account_no);
  END IF;
END $$;
CREATE FUNCTION work.apply_dormancy(asked work.approval, checker text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  account registry.account;
  made bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  PERFORM work.check_dormancy(asked);
  account := work.payload_account(asked);
  INSERT INTO work.legal_hold (approval_id, kind, platform_id, account_id, order_no, authority, amount_minor, priority, valid_from,
                               maker, checker, placed_at)
  VALUES (asked.approval_id, 'DORMANCY', asked.platform_id, account.account_id, 'DORMANCY-' || asked.approval_id, 'BANK', NULL, 1000,
          work.business_date(ledger.clock_now()), asked.maker, checker, ledger.clock_now())
  RETURNING legal_hold_id INTO made;
  PERFORM work.add_legal_event(made, 'PLACED', NULL, NULL, NULL, NULL, checker, asked.approval_id,
                               jsonb_build_object('quiet_since', asked.payload -> 'quiet_since'));
  PERFORM work.settle_legal_state(account.account_id, checker);
  RETURN jsonb_build_object('legal_hold_id', made);
END $$;
-- A dormant account wakes when its platform shows that the customer was verified; what else locks it stays.
CREATE FUNCTION work.wake_account(account bigint, channel text, evidence_hash text, actor text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE sleeping bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(7401);
  SELECT s.legal_hold_id INTO sleeping FROM work.legal_hold_state s
  WHERE s.account_id = account AND s.kind = 'DORMANCY' AND s.state = 'ACTIVE';
  IF NOT FOUND THEN
    PERFORM work.refuse('ACCOUNT_NOT_DORMANT', 'account_no', (SELECT a.account_no FROM registry.account a WHERE a.account_id = account));
  END IF;
  PERFORM work.end_legal_hold(sleeping, 'WOKEN', actor, NULL, jsonb_build_object('channel', channel, 'evidence_hash', evidence_hash));
  RETURN sleeping;
END $$;

INSERT INTO work.kind VALUES
  ('LEGAL_FREEZE', '{officer,finance}', '{checker,finance}', 'work.check_legal_freeze', 'work.apply_legal_freeze', 72),
  ('LEGAL_RENEWAL', '{officer,finance}', '{checker,finance}', 'work.check_legal_renewal', 'work.apply_legal_renewal', 72),
  ('LEGAL_RELEASE', '{officer,finance}', '{checker,finance}', 'work.check_legal_release', 'work.apply_legal_release', 72),
  ('LEGAL_DEDUCTION', '{officer,finance}', '{checker,finance}', 'work.check_legal_deduction', 'work.apply_legal_deduction', 72),
  ('CUSTOMER_DEATH', '{officer,finance}', '{checker,finance}', 'work.check_customer_death', 'work.apply_customer_death', 720),
  ('DEATH_BID_RELEASE', '{officer,finance}', '{checker,finance}', 'work.check_death_bid_release', 'work.apply_death_bid_release', 720),
  ('DORMANCY', '{officer,finance}', '{checker,finance}', 'work.check_dormancy', 'work.apply_dormancy', 720);

-- What a checker of the ledger compares: adjustments and freezes against the orders, holds and states they stand for.
CREATE FUNCTION work.desk_faults() RETURNS TABLE (fault text, subject text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT 'adjustment and order differ', 'ADJ-' || coalesce(s.adjustment_id::text, substr(o.request_no, 5))
  FROM (SELECT * FROM work.adjustment_state WHERE posted_on IS NOT NULL) s
  FULL JOIN (SELECT * FROM ledger.trade_order WHERE request_no LIKE 'ADJ-%') o
    ON o.request_no = 'ADJ-' || s.adjustment_id AND o.platform_id = s.platform_id
  WHERE (s.order_id, s.amount_minor, s.posted_on) IS DISTINCT FROM (o.order_id, o.amount_minor, o.business_date)
  UNION ALL
  SELECT 'movement without its adjustment or court order', m.movement_id::text FROM ledger.movement m
  WHERE m.movement_type IN ('ADJUST_INCREASE', 'ADJUST_REDUCE', 'DEDUCT') AND NOT EXISTS (
    SELECT FROM ledger.trade_order o JOIN work.adjustment_state s ON s.order_id = o.order_id WHERE o.order_id = m.order_id
    UNION ALL
    SELECT FROM ledger.trade_order o JOIN work.legal_event e ON e.request_no = o.request_no
    WHERE o.order_id = m.order_id AND e.event = 'DEDUCTED' AND e.amount_minor = m.amount_minor)
  UNION ALL
  SELECT 'freeze and engine hold differ', format('LEGAL-%s', h.legal_hold_id)
  FROM work.legal_hold_state h JOIN registry.account a USING (account_id)
  CROSS JOIN LATERAL (
    SELECT coalesce(sum(CASE v.event_type WHEN 'PLACE' THEN v.amount_minor ELSE -v.amount_minor END), 0) AS held_minor
    FROM ledger.hold_event v WHERE v.account_id = h.account_id AND v.hold_no LIKE 'LEGAL-' || h.legal_hold_id || '.%') v
  WHERE v.held_minor <> h.frozen_minor
  UNION ALL
  SELECT 'hold of no freeze', v.hold_no FROM ledger.hold_event v WHERE v.hold_no LIKE 'LEGAL-%' AND NOT EXISTS (
    SELECT FROM work.legal_event e WHERE e.hold_no = v.hold_no AND e.amount_minor = v.amount_minor)
  UNION ALL
  SELECT 'account open that the law locks', a.account_no
  FROM (SELECT DISTINCT account_id FROM work.legal_hold) l JOIN ledger.balance b USING (account_id) JOIN registry.account a USING (account_id)
  WHERE b.state = 'OPEN' AND work.is_legally_locked(l.account_id) $$;

-- The guards. WHEN keeps them off every other row: an order's or movement's insert pays two comparisons.
CREATE FUNCTION work.guard_order() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM work.adjustment_state s JOIN work.adjustment_event e USING (adjustment_id, seq)
    WHERE NEW.request_no ~ '^ADJ-[0-9]{1,18}$' AND s.adjustment_id = substr(NEW.request_no, 5)::bigint AND s.platform_id = NEW.platform_id
      AND s.state = 'SENT_TO_BANK' AND e.transaction_id = pg_current_xact_id()
    UNION ALL
    SELECT FROM work.legal_event e JOIN work.legal_hold h USING (legal_hold_id)
    WHERE e.transaction_id = pg_current_xact_id() AND e.request_no = NEW.request_no AND h.platform_id = NEW.platform_id) THEN
    PERFORM ledger.refuse('REQUEST_NO_RESERVED', 0, 'request_no', NEW.request_no);
  END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION work.guard_movement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.reversal_of IS NOT NULL OR NOT EXISTS (
    SELECT FROM ledger.trade_order o JOIN work.adjustment a ON o.request_no = 'ADJ-' || a.adjustment_id
    JOIN registry.account c ON c.account_no = a.account_no
    WHERE o.order_id = NEW.order_id AND a.amount_minor = NEW.amount_minor AND NEW.seq = 1
      AND CASE a.direction WHEN 'CREDIT' THEN NEW.movement_type = 'ADJUST_INCREASE' AND NEW.credit_account_id = c.account_id
               ELSE NEW.movement_type = 'ADJUST_REDUCE' AND NEW.debit_account_id = c.account_id END
    UNION ALL
    SELECT FROM ledger.trade_order o JOIN work.legal_event e ON e.request_no = o.request_no JOIN work.legal_hold h USING (legal_hold_id)
    WHERE o.order_id = NEW.order_id AND e.transaction_id = pg_current_xact_id() AND e.event = 'DEDUCTED' AND NEW.movement_type = 'DEDUCT'
      AND e.amount_minor = NEW.amount_minor AND h.account_id = NEW.debit_account_id) THEN
    PERFORM ledger.refuse('MOVEMENT_BY_DESK_ONLY', 0, 'movement_type', NEW.movement_type);
  END IF;
  RETURN NEW;
END $$;
-- Holds of a freeze are placed and let go by the freeze alone, and bids of a customer who died by decision alone.
CREATE FUNCTION work.guard_hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- the common case first, by one look-up: a bid let go on an account of somebody alive
  IF NEW.hold_no NOT LIKE 'LEGAL-%'
     AND NOT EXISTS (SELECT FROM work.legal_hold h WHERE h.account_id = NEW.account_id AND h.kind = 'DEATH') THEN
    RETURN NEW;
  ELSIF EXISTS (SELECT FROM work.legal_event e WHERE e.transaction_id = pg_current_xact_id() AND e.hold_no = NEW.hold_no) THEN
    RETURN NEW;
  ELSIF NEW.hold_no LIKE 'LEGAL-%' THEN
    PERFORM ledger.refuse('HOLD_NO_RESERVED', 0, 'hold_no', NEW.hold_no);
  ELSIF EXISTS (SELECT FROM work.legal_hold_state s WHERE s.account_id = NEW.account_id AND s.kind = 'DEATH' AND s.state = 'ACTIVE') THEN
    PERFORM ledger.refuse('CUSTOMER_DIED', 0, 'hold_no', NEW.hold_no);
  END IF;
  RETURN NEW;
END $$;
-- A locked account is not opened or closed by others while the law locks it.
CREATE FUNCTION work.guard_state() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM work.legal_event e JOIN work.legal_hold h USING (legal_hold_id)
             WHERE e.transaction_id = pg_current_xact_id() AND h.account_id = NEW.account_id) THEN
    RETURN NEW;
  ELSIF NEW.state <> 'LOCKED' AND work.is_legally_locked(NEW.account_id) THEN
    PERFORM work.refuse('LEGALLY_LOCKED', 'state', NEW.state);
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER desk_orders BEFORE INSERT ON ledger.trade_order FOR EACH ROW
  WHEN (NEW.request_no LIKE 'ADJ-%' OR NEW.request_no LIKE 'LEGAL-%') EXECUTE FUNCTION work.guard_order();
CREATE TRIGGER desk_movements BEFORE INSERT ON ledger.movement FOR EACH ROW
  WHEN (NEW.movement_type IN ('ADJUST_INCREASE', 'ADJUST_REDUCE', 'DEDUCT')) EXECUTE FUNCTION work.guard_movement();
CREATE TRIGGER desk_holds BEFORE INSERT ON ledger.hold_event FOR EACH ROW
  WHEN (NEW.event_type <> 'PLACE' OR NEW.hold_no LIKE 'LEGAL-%') EXECUTE FUNCTION work.guard_hold();
CREATE TRIGGER desk_state BEFORE UPDATE OF state ON ledger.balance FOR EACH ROW EXECUTE FUNCTION work.guard_state();

DO $$
DECLARE kept text;
BEGIN
  FOREACH kept IN ARRAY ARRAY['work.day_rule', 'work.break_assignment', 'work.adjustment_transition', 'work.adjustment', 'work.adjustment_event', 'work.consent_request',
    'work.consent_token', 'work.consent_answer', 'work.legal_hold', 'work.legal_event'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', kept);
  END LOOP;
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA work FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION ledger.legal_held FROM PUBLIC;
GRANT USAGE ON SCHEMA work TO jobs, reader;
GRANT SELECT ON work.adjustment_daily TO service, jobs, reader, web;
GRANT SELECT ON work.break_assignment, work.adjustment, work.adjustment_event, work.adjustment_state,
  work.consent_request, work.consent_answer, work.legal_hold, work.legal_event, work.legal_hold_state TO service, web;
GRANT EXECUTE ON FUNCTION work.business_date TO service, jobs, reader, web;
GRANT EXECUTE ON FUNCTION work.keep_day_rule, work.assign_break, work.create_adjustment, work.request_consent, work.issue_consent_token,
  work.answer_consent, work.expire_consents, work.submit_adjustment, work.decide_adjustment, work.withdraw_adjustment,
  work.post_adjustment, work.top_up_legal_holds, work.expire_legal_holds, work.quiet_accounts, work.wake_account, ledger.legal_held
  TO service;
GRANT EXECUTE ON FUNCTION work.desk_faults TO service;
GRANT EXECUTE ON FUNCTION ledger.legal_held TO web, reader;
GRANT EXECUTE ON FUNCTION work.verify_adjustments TO jobs, service;
