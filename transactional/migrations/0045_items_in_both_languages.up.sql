-- What an open item says and asks for, in Chinese beside English; empty for runs of before.
ALTER TABLE mart.open_item ADD COLUMN explanation_zh text, ADD COLUMN suggested_action_zh text;
