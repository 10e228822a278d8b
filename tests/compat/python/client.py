"""requests, httpx, aiohttp and websockets, each against gunicorn, uvicorn and hypercorn. Prints what an application sees."""

import asyncio
import hashlib
import sys

import aiohttp
import httpx
import requests
import websockets.asyncio.client
import websockets.exceptions

SERVERS = dict(zip(("gunicorn", "uvicorn", "hypercorn"), sys.argv[1:]))
# what neighbours say about their connection
OWN = {"connection", "keep-alive"}


def shown(status, reason, headers, body):
    print(status, reason)
    for name, value in headers:
        if name.lower() not in OWN:
            print(f"{name}: {value}"[:200])
    print(body.decode("latin-1") if len(body) < 3000 else f"{len(body)} {hashlib.sha256(body).hexdigest()}")


def pieces():
    for number in range(10):
        yield b"%d " % number * 1000


CASES = [
    ("GET", "/echo?a=%20b&c", {}),
    ("GET", "/echo", {"headers": {"X-Text": "some text", "x-Lower-UPPER": "Kept", "X-Empty": ""}}),
    ("DELETE", "/echo", {}),
    ("OPTIONS", "/echo", {}),
    ("HEAD", "/echo", {}),
    ("POST", "/echo", {"json": {"a": [1, 2]}}),
    ("POST", "/echo", {"data": {"field": "value", "other": "ümlaut"}}),
    ("PUT", "/echo", {"data": b"large " * 500_000}),
    ("GET", "/headers", {}),
    ("GET", "/redirect", {}),
    ("GET", "/bytes?n=500", {}),
    ("GET", "/length?n=100000", {}),
    ("GET", "/status?code=204", {}),
    ("GET", "/status?code=304", {}),
    ("GET", "/status?code=404", {}),
    ("GET", "/status?code=503", {}),
]


def with_requests(base):
    with requests.Session() as session:
        for method, path, options in CASES:
            print(f"\n-- requests {method} {path}")
            answer = session.request(method, base + path, timeout=20, **options)
            shown(answer.status_code, answer.reason, answer.raw.headers.items(), answer.content)
        print("\n-- requests, a body in chunks")
        answer = session.post(base + "/echo", data=pieces(), timeout=20)
        shown(answer.status_code, answer.reason, answer.raw.headers.items(), answer.content)


def with_httpx(base, **versions):
    with httpx.Client(timeout=20, follow_redirects=True, **versions) as client:
        for method, path, options in CASES:
            print(f"\n-- httpx {method} {path}")
            options = {("content" if isinstance(value, bytes) else name): value for name, value in options.items()}
            answer = client.request(method, base + path, **options)
            print(answer.http_version)
            shown(answer.status_code, answer.reason_phrase, [(name.decode(), value.decode("latin-1")) for name, value in answer.headers.raw], answer.content)
        print("\n-- httpx, a body in chunks")
        answer = client.post(base + "/echo", content=pieces())
        shown(answer.status_code, answer.reason_phrase, answer.headers.multi_items(), answer.content)


async def with_aiohttp(base, duplex):
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for method, path, options in CASES:
            print(f"\n-- aiohttp {method} {path}")
            async with session.request(method, base + path, **options) as answer:
                raw = [(name.decode(), value.decode("latin-1")) for name, value in answer.raw_headers]
                shown(answer.status, answer.reason, raw, await answer.read())

        async def one(number):
            async with session.post(f"{base}/echo?{number}", data=b"x" * number * 100) as answer:
                return f"{answer.status} {hashlib.sha256(await answer.read()).hexdigest()}"

        print("\n-- aiohttp, a hundred at once")
        print("\n".join(await asyncio.gather(*map(one, range(100)))))
        if duplex:
            print("\n-- aiohttp, both directions at once")
            await both_directions(session, base)


async def both_directions(session, base):
    """A piece is sent when the one before has come back: nothing may wait for an end."""
    heard = asyncio.Queue()

    async def lines():
        yield b"0\n"
        for number in range(1, 20):
            await heard.get()
            yield b"%d\n" % number

    async with session.post(base + "/duplex", data=lines()) as answer:
        while line := await answer.content.readline():
            print(line.decode().strip())
            heard.put_nowait(line)


async def with_websockets(base):
    print("\n-- websockets")
    async with websockets.asyncio.client.connect(f"ws{base[4:]}/socket", subprotocols=["one", "two"]) as socket:
        print(socket.subprotocol)
        for message in ("text", b"\x00\xff", "x" * 100_000, b"large " * 100_000, ""):
            await socket.send(message)
            answer = await socket.recv()
            print(type(answer).__name__, len(answer), answer == message)
        await (await socket.ping(b"are you there"))
        await socket.send("close")
        try:
            await socket.recv()
        except websockets.exceptions.ConnectionClosed as closed:
            print(closed.rcvd)
    try:
        async with websockets.asyncio.client.connect(f"ws{base[4:]}/refused"):
            print("not refused")
    except websockets.exceptions.InvalidStatus as refused:
        print("refused", refused.response.status_code)


for name, address in SERVERS.items():
    base = f"http://{address}"
    print(f"\n==== {name}")
    with_requests(base)
    with_httpx(base)
    if name == "hypercorn":
        print("\n-- HTTP/2 with prior knowledge")
        with_httpx(base, http1=False, http2=True)
    asyncio.run(with_aiohttp(base, duplex=name != "gunicorn"))
    if name != "gunicorn":
        asyncio.run(with_websockets(base))
