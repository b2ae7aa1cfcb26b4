-- Of each file that was applied, its name and its SHA-256 hash. While one is, it stands in `begun`, which is compared at the
-- end of the transaction: a file that ends the transaction itself, in the middle, fails there.
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS aios;
CREATE TABLE IF NOT EXISTS aios.migration (
    name text PRIMARY KEY,
    hash text NOT NULL,
    applied timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS aios.begun (
    name text REFERENCES aios.migration DEFERRABLE INITIALLY DEFERRED
);
INSERT INTO aios.begun VALUES (:'name');
RESET client_min_messages;
