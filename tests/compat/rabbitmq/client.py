"""pika: queues, exchanges, confirmed and returned messages, transactions, large bodies, errors, heartbeats. Arguments: address, port."""

import hashlib
import sys

import pika
import pika.exceptions


def connect(**options):
    where = pika.ConnectionParameters(sys.argv[1], int(sys.argv[2]), blocked_connection_timeout=20, **options)
    return pika.BlockingConnection(where)


connection = connect()
channel = connection.channel()
print(channel.queue_declare("queue").method.message_count)

for number in range(5_000):
    channel.basic_publish("", "queue", f"message {number}".encode(), pika.BasicProperties(message_id=str(number), headers={"a": [1, "b"]}))
digest = hashlib.sha256()
for number, (method, properties, body) in enumerate(channel.consume("queue", inactivity_timeout=20), 1):
    digest.update(f"{method.delivery_tag} {method.redelivered} {properties.message_id} {properties.headers} ".encode() + body)
    channel.basic_ack(method.delivery_tag)
    if number == 5_000:
        break
print(digest.hexdigest(), channel.cancel())

confirmed = connection.channel()
confirmed.confirm_delivery()
confirmed.basic_publish("", "queue", b"confirmed", mandatory=True)
try:
    confirmed.basic_publish("", "nowhere", b"returned", mandatory=True)
except pika.exceptions.UnroutableError as error:
    print(error.messages[0].method.reply_text, error.messages[0].body)

channel.exchange_declare("topics", "topic")
bound = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(bound, "topics", "a.*")
for key in ("a.b", "b.a", "a.c"):
    channel.basic_publish("topics", key, key.encode())
print([channel.basic_get(bound, auto_ack=True)[2] for _ in range(3)])

large = bytes(index % 251 for index in range(251)) * 40_000
channel.basic_publish("", "queue", large)
print(channel.basic_get("queue", auto_ack=True)[2], channel.basic_get("queue", auto_ack=True)[2] == large)

transaction = connection.channel()
transaction.tx_select()
transaction.basic_publish("", "queue", b"taken back")
transaction.tx_rollback()
transaction.basic_publish("", "queue", b"given")
transaction.tx_commit()
print(channel.queue_purge("queue").method.message_count)

try:
    connection.channel().queue_declare("missing", passive=True)
except pika.exceptions.ChannelClosedByBroker as closed:
    print(closed.reply_code, closed.reply_text)

# silent until both have said twice that they are there: only that keeps the connection
silent = connect(heartbeat=4)
beats = silent._impl._heartbeat_checker
while beats._heartbeat_frames_received < 2 or beats._heartbeat_frames_sent < 2:
    silent.process_data_events(time_limit=0.1)
print(silent.is_open, silent.channel().queue_declare("queue", passive=True).method.message_count)
silent.close()
try:
    connect(credentials=pika.PlainCredentials("guest", "wrong"))
except pika.exceptions.ProbableAuthenticationError as refused:
    print("refused", type(refused).__name__)
connection.close()
