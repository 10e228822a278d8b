"""pg8000: prepared statements, large values, notifications between two connections, a query that is cancelled. Arguments: address, port."""

import hashlib
import sys

import pg8000.native

address, port = sys.argv[1], int(sys.argv[2])


def connect():
    return pg8000.native.Connection("tester", host=address, port=port, database="postgres", password="secret", ssl_context=None, timeout=20)


one, other = connect(), connect()
print(one.run("SELECT :a::integer + :b::integer", a=1, b=2))
statement = one.prepare("SELECT text FROM numbers WHERE number = :number")
print([statement.run(number=number)[0][0] for number in range(1, 500, 50)])
large = bytes(index % 251 for index in range(251)) * 20_000
print(one.run("SELECT length(:value::bytea), md5(:value::bytea)", value=large))
print(one.run("SELECT :value::bytea", value=large)[0][0] == large)
rows = one.run("SELECT * FROM numbers ORDER BY number")
print(len(rows), hashlib.sha256(repr(rows).encode()).hexdigest())

one.run("LISTEN channel")
for number in range(10):
    other.run(f"NOTIFY channel, 'number {number}'")
one.run("SELECT 1")
print([payload for _, _, payload in one.notifications])

one.run("SET statement_timeout = '200ms'")
try:
    one.run("SELECT pg_sleep(20)")
except pg8000.exceptions.DatabaseError as error:
    print(error.args[0]["M"])
victim = one.run("SELECT pg_backend_pid()")[0][0]
print(other.run("SELECT pg_terminate_backend(:victim)", victim=victim))
try:
    one.run("SELECT 1")
    print("not terminated")
except (pg8000.exceptions.DatabaseError, pg8000.exceptions.InterfaceError) as error:
    print("terminated")
other.close()
