DROP VIEW night.channel_fee;
DROP TABLE registry.payment_company_fee;
