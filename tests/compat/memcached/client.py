"""pymemcache: many keys in one request, pipelined sets without answers, large values, many connections. Arguments: address, port."""

import hashlib
import sys
import threading

from pymemcache import serde
from pymemcache.client.base import Client, PooledClient

where = (sys.argv[1], int(sys.argv[2]))
client = Client(where, timeout=20, connect_timeout=20)
client.flush_all(noreply=False)
print(client.set("key", "value", noreply=False), client.get("key"), client.get("missing"))
print(client.add("key", "other", noreply=False), client.append("key", " more", noreply=False), client.get("key"))
print(client.set("number", "41", noreply=False), client.incr("number", 1), client.decr("number", 2))
value, token = client.gets("key")
print(client.cas("key", "swapped", token, noreply=False), client.cas("key", "late", token, noreply=False), client.get("key"))

many = {f"many:{number}": f"value {number}" for number in range(5_000)}
print(client.set_many(many, noreply=False))
found = client.get_many(list(many))
print(len(found), hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest())

# nothing is answered until the last
for number in range(20_000):
    client.set(f"silent:{number}", b"x" * (number % 100), noreply=True)
print(len(client.get("silent:19999")))

large = bytes(index % 251 for index in range(251)) * 20_000
print(client.set("large", large, noreply=False), client.get("large") == large)
try:
    client.set("larger", b"x" * (9 << 20), noreply=False)
except Exception as error:
    print("too large:", type(error).__name__)
print(client.version() is not None)

pool = PooledClient(where, max_pool_size=20, serde=serde.pickle_serde, timeout=20)
answers = {}


def work(number):
    for turn in range(50):
        pool.set(f"thread:{number}", [number, turn], noreply=False)
        answers[number] = pool.get(f"thread:{number}")


threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(answers.items()))
client.quit()
