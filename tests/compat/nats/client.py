"""nats-py: publish and subscribe, queues, requests, large messages, JetStream, drain. Argument: URL."""

import asyncio
import hashlib
import sys

import nats
import nats.errors


async def main():
    one, other = await nats.connect(sys.argv[1]), await nats.connect(sys.argv[1])
    print(one.max_payload, one.is_connected)

    subscription = await one.subscribe("subject.*")
    await one.flush()
    for number in range(10_000):
        await other.publish(f"subject.{number % 3}", f"message {number}".encode())
    await other.flush()
    digest = hashlib.sha256()
    for _ in range(10_000):
        message = await subscription.next_msg(timeout=20)
        digest.update(message.subject.encode() + message.data)
    print(digest.hexdigest())

    async def answer(message):
        await message.respond(b"answer to " + message.data)

    await one.subscribe("service", queue="workers", cb=answer)
    await other.subscribe("service", queue="workers", cb=answer)
    await one.flush()
    await other.flush()
    answers = await asyncio.gather(*(one.request("service", f"{number}".encode(), timeout=20) for number in range(200)))
    print(hashlib.sha256(b",".join(answer.data for answer in answers)).hexdigest())
    try:
        await one.request("nobody", b"", timeout=20)
    except nats.errors.NoRespondersError:
        print("nobody is there")

    large = bytes(index % 251 for index in range(251)) * 4_000
    subscription = await one.subscribe("large")
    await one.flush()
    for _ in range(10):
        await other.publish("large", large, headers={"Name": "value"})
    for _ in range(10):
        message = await subscription.next_msg(timeout=20)
        assert message.data == large and message.headers == {"Name": "value"}
    print("large messages are the same")

    stream = other.jetstream()
    await stream.add_stream(name="stream", subjects=["kept.*"])
    for number in range(500):
        acknowledged = await stream.publish("kept.one", f"{number}".encode(), timeout=20)
    print(acknowledged.seq)
    pull = await one.jetstream().pull_subscribe("kept.*", durable="reader")
    messages = []
    while len(messages) < 500:
        batch = await pull.fetch(100, timeout=20)
        for message in batch:
            await message.ack_sync(timeout=20)
        messages += batch
    print([message.data for message in messages] == [f"{number}".encode() for number in range(500)])
    await one.drain()
    await other.close()


asyncio.run(main())
