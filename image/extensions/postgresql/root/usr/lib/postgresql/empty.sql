-- One transaction with the dump that follows, which ends it.
SET client_min_messages = error;
BEGIN;
-- All that people keep in a database is in its schemas, but for large objects and what belongs to the database itself.
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT nspname FROM pg_namespace
        WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%'
    LOOP
        EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', name);
    END LOOP;
    FOR name IN SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'
    LOOP
        EXECUTE format('DROP EXTENSION IF EXISTS %I CASCADE', name);
    END LOOP;
    FOR name IN SELECT pubname FROM pg_publication
    LOOP
        EXECUTE format('DROP PUBLICATION IF EXISTS %I', name);
    END LOOP;
    FOR name IN SELECT evtname FROM pg_event_trigger
    LOOP
        EXECUTE format('DROP EVENT TRIGGER IF EXISTS %I', name);
    END LOOP;
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
END $$;
-- As every database has it from its beginning; a dump says only what differs.
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
COMMENT ON SCHEMA public IS 'standard public schema';
GRANT USAGE ON SCHEMA public TO PUBLIC;
