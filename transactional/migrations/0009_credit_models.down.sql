DROP TABLE mart.score;
DROP FUNCTION credit.models_at(timestamptz);
DROP VIEW credit.model_state;
DROP FUNCTION credit.decide_model(text, text, boolean, text);
DROP FUNCTION credit.register_model(text, text, date, jsonb, text);
DROP TABLE credit.model_decision, credit.model;
DROP FUNCTION credit.second_person();
DROP FUNCTION credit.refuse_change();
DROP SCHEMA credit;
