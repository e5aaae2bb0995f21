DROP VIEW mart.current_file_control, mart.current_indicator, mart.current_balance_equation, mart.current_open_item_effect,
  mart.current_open_item, mart.newest, mart.winner;
DROP TABLE mart.indicator, mart.balance_equation, mart.file_control, mart.open_item_effect, mart.open_item;
DROP TABLE run.projected, run.published, run.step, run.run;
