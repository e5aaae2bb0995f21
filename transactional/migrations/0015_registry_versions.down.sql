DELETE FROM work.kind WHERE kind IN ('PLATFORM_TERMS', 'PLATFORM_STATUS', 'PACK_ACTIVATION', 'PAYMENT_COMPANY_TERMS', 'PAYMENT_MAPPING', 'WHITE_LIST',
  'CUSTOMER_STATUS', 'ACCOUNT_LOCK', 'ACCOUNT_ACTIVATE', 'ACCOUNT_CANCEL', 'PLATFORM_ONBOARDING', 'PLATFORM_LEAVING');
DROP TRIGGER platform_trades ON ledger.trade_order;
DROP TRIGGER first_version ON registry.platform;
DROP TRIGGER first_version ON registry.party;
DROP TRIGGER first_version ON registry.customer;
DROP TRIGGER first_version ON registry.account;
DROP FUNCTION registry.disbursement_obstacles, registry.upsert_account, registry.upsert_customer, registry.upsert, registry.apply_leaving,
  registry.post_opening, registry.apply_onboarding, registry.open_platform, registry.check_platform_state, registry.rehearse,
  registry.apply_account_status, registry.day_of, registry.apply_version, registry.has_open_claims, registry.check_customer_status,
  registry.check_complaint, registry.check_project_status, registry.check_project, registry.check_white_list, registry.check_bound_card,
  registry.check_bank_account, registry.check_related_party, registry.put, registry.check_status, registry.append_version, registry.first_version;
DROP TABLE registry.final_statement, registry.party_duplicate, registry.party_identity;
DO $$
DECLARE gone text;
BEGIN
  FOR gone IN SELECT subject FROM registry.subject LOOP
    EXECUTE format('DROP VIEW registry.current_%1$I; DROP TABLE registry.%1$I', gone);
  END LOOP;
END $$;
DROP INDEX registry.account_of_platform;
DROP TABLE registry.allowed_status, registry.subject;
DROP FUNCTION registry.is_masked, registry.take_turn;
