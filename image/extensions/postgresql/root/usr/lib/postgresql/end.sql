RESET ROLE;
INSERT INTO aios.migration (name, hash) VALUES (:'name', :'hash');
DELETE FROM aios.begun;
