SELECT 'one' AS text, 2 AS number, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();
DROP TABLE IF EXISTS numbers;
CREATE TABLE numbers (number integer PRIMARY KEY, text text);
\copy numbers FROM 'rows.csv' CSV
SELECT count(*), sum(number), md5(string_agg(text, ',' ORDER BY number)) FROM numbers;
\copy (SELECT * FROM numbers ORDER BY number) TO 'back.csv' CSV
\! cmp rows.csv back.csv && echo the same rows came back
BEGIN;
DELETE FROM numbers WHERE number > 10;
SELECT count(*) FROM numbers;
ROLLBACK;
SELECT count(*) FROM numbers;
PREPARE find (integer) AS SELECT text FROM numbers WHERE number = $1;
EXECUTE find (4711);
SELECT length(repeat('large ', 2000000)), md5(repeat('large ', 2000000));
SELECT * FROM nowhere;
SELECT 1 / 0;
LISTEN channel;
NOTIFY channel, 'heard by oneself';
SELECT 1;
SET statement_timeout = '200ms';
SELECT pg_sleep(20);
