"""PyMySQL: many rows, large values, several results of one call, a connection that is killed. Arguments: address, port."""

import hashlib
import sys

import pymysql
import pymysql.constants.CLIENT


def connect():
    flags = pymysql.constants.CLIENT.MULTI_STATEMENTS
    return pymysql.connect(host=sys.argv[1], port=int(sys.argv[2]), user="tester", password="secret", database="tests",
                           client_flag=flags, read_timeout=20, max_allowed_packet=64 << 20)


one, other = connect(), connect()
with one.cursor() as cursor:
    cursor.execute("SELECT %s + %s", (1, 2))
    print(cursor.fetchall())
    cursor.execute("SELECT * FROM numbers ORDER BY number")
    rows = cursor.fetchall()
    print(len(rows), hashlib.sha256(repr(rows).encode()).hexdigest())
    cursor.execute("SELECT 1; SELECT 2; SELECT 3")
    results = [cursor.fetchall()]
    while cursor.nextset():
        results.append(cursor.fetchall())
    print(results)
    large = bytes(index % 251 for index in range(251)) * 20_000
    cursor.execute("CREATE TEMPORARY TABLE large (data LONGBLOB)")
    cursor.execute("INSERT INTO large VALUES (_binary %s)", (large,))
    cursor.execute("SELECT data FROM large")
    print(cursor.fetchone()[0] == large)
    cursor.executemany("REPLACE INTO numbers VALUES (%s, %s)", [(number, f"new {number}") for number in range(20_000)])
    one.commit()
with one.cursor(pymysql.cursors.SSCursor) as unbuffered:
    unbuffered.execute("SELECT number FROM numbers ORDER BY number")
    print(sum(number for (number,) in unbuffered))

for _ in range(20):
    again = connect()
    again.ping(reconnect=False)
    again.close()
with other.cursor() as cursor:
    cursor.execute("KILL %s", (one.thread_id(),))
try:
    one.ping(reconnect=False)
    print("not killed")
except pymysql.err.Error:
    # which of the errors depends on whether the end has come before the question has gone
    print("killed")
