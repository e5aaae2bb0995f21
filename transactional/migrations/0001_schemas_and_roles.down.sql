-- Roles stay: other databases of the cluster may use them.
DROP SCHEMA night, mart, run, api, ledger, registry;
DROP SCHEMA catalog CASCADE;
