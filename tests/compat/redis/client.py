"""redis-py: pipelines, RESP3, publish and subscribe, blocking reads. Arguments: address, port."""

import hashlib
import sys
import threading

import redis

address, port = sys.argv[1], int(sys.argv[2])

for protocol in (2, 3):
    print("protocol", protocol)
    client = redis.Redis(address, port, protocol=protocol, socket_timeout=20)
    client.flushall()
    print(client.ping(), client.set("key", "value"), client.get("key"))
    client.hset("hash", mapping={"a": 1, "b": 2})
    print(sorted(client.hgetall("hash").items()))

    pipeline = client.pipeline(transaction=False)
    for number in range(20_000):
        pipeline.set(f"many:{number}", number)
        pipeline.get(f"many:{number}")
    answers = pipeline.execute()
    print(len(answers), hashlib.sha256(repr(answers).encode()).hexdigest())

    with client.pipeline() as transaction:
        transaction.watch("key")
        transaction.multi()
        transaction.append("key", " and more")
        transaction.get("key")
        print(transaction.execute())

    large = bytes(index % 251 for index in range(251)) * 40_000
    client.set("large", large)
    print(client.get("large") == large)

    subscriber = client.pubsub()
    subscriber.subscribe("channel")
    print(subscriber.get_message(timeout=20))
    heard = []
    thread = threading.Thread(target=lambda: heard.extend(message["data"] for _, message in zip(range(1000), subscriber.listen())))
    thread.start()
    for number in range(1000):
        client.publish("channel", number)
    thread.join()
    print(len(heard), heard[:3], heard[-1])
    subscriber.close()

    popped = []
    thread = threading.Thread(target=lambda: popped.append(redis.Redis(address, port, protocol=protocol).blpop("queue", 20)))
    thread.start()
    while not any("cmd=blpop" in str(other["cmd"]) or other["cmd"] == "blpop" for other in client.client_list()):
        pass
    client.rpush("queue", "pushed")
    thread.join()
    print(popped)
    client.close()
