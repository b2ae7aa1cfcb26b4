SELECT to_regclass('aios.migration') IS NOT NULL AS known \gset
\if :known
SELECT name || ' ' || hash FROM aios.migration ORDER BY name COLLATE "C";
\endif
