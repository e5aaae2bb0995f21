DROP FUNCTION loans.put_bid, loans.take_turn;
DROP VIEW loans.bid_state;
DROP TABLE loans.bid;
