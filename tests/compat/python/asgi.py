"""An ASGI application: says what it received, streams in both directions, speaks WebSocket."""

import hashlib
from urllib.parse import parse_qs

# what neighbours say about their connection, and what the mesh adds
OWN = {b"connection", b"l5d-client-id"}


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        return await websocket(scope, receive, send)
    return await http(scope, receive, send)


async def http(scope, receive, send):
    async def answer(status, headers, body=b"", more=False):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": more})

    path, query = scope["path"], parse_qs(scope["query_string"].decode())
    if path == "/duplex":
        await answer(200, [], more=True)
        async for piece in body_of(receive):
            await send({"type": "http.response.body", "body": b"heard " + piece, "more_body": True})
        return await send({"type": "http.response.body"})
    if path == "/bytes":
        await answer(200, [], more=True)
        for _ in range(int(query["n"][0])):
            await send({"type": "http.response.body", "body": b"bytes that repeat " * 1000, "more_body": True})
        return await send({"type": "http.response.body"})
    if path == "/length":
        body = b"bytes of known length " * int(query["n"][0])
        return await answer(200, [(b"content-length", b"%d" % len(body))], body)
    if path == "/headers":
        cookies = [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2, 3")]
        return await answer(201, [(b"x-case", b"kept"), *cookies, (b"x-text", "d\u00e9j\u00e0 vu".encode("latin-1")), (b"x-long", b"long-" * 1000)], b"headers\n")
    if path == "/redirect":
        return await answer(307, [(b"location", b"/echo?redirected")])
    if path == "/status":
        return await answer(int(query["code"][0]), [])
    body = b"".join([piece async for piece in body_of(receive)])
    lines = [f"{scope['method']} {scope['raw_path'].decode()} {scope['query_string'].decode()} {scope['http_version']}".encode()]
    lines += [name + b": " + value for name, value in scope["headers"] if name not in OWN]
    lines += [f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode()]
    return await answer(200, [(b"content-type", b"text/plain")], b"\n".join(lines) + b"\n")


async def body_of(receive):
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def websocket(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/refused":
        return await send({"type": "websocket.close", "code": 4403})
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "close":
            return await send({"type": "websocket.close", "code": 4001, "reason": "as you wish"})
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
