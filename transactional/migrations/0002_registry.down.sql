DROP TABLE registry.account, registry.account_role, registry.customer, registry.party, registry.payment_company_platform,
  registry.payment_company, registry.platform;
