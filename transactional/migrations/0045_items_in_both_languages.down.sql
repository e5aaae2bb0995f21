ALTER TABLE mart.open_item DROP COLUMN explanation_zh, DROP COLUMN suggested_action_zh;
