"""A WSGI application: says what it received, and answers in the ways that WSGI knows."""

import hashlib
from urllib.parse import parse_qs

# what the mesh and the machine add
OWN = {"HTTP_L5D_CLIENT_ID", "HTTP_CONNECTION"}


def application(environ, start_response):
    path, query = environ["PATH_INFO"], parse_qs(environ["QUERY_STRING"])
    if path == "/bytes":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return (b"bytes that repeat " * 1000 for _ in range(int(query["n"][0])))
    if path == "/length":
        body = b"bytes of known length " * int(query["n"][0])
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    if path == "/headers":
        cookies = [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2, 3")]
        start_response("201 Made Here", [("X-CaSe", "Kept"), *cookies, ("X-Text", "d\u00e9j\u00e0 vu"), ("X-Long", "long-" * 1000)])
        return [b"headers\n"]
    if path == "/redirect":
        start_response("307 Temporary Redirect", [("Location", "/echo?redirected")])
        return [b""]
    if path == "/status":
        start_response(f"{query['code'][0]} Reason", [])
        return [b""]
    body = environ["wsgi.input"].read()
    lines = [f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}"]
    lines += sorted(f"{name}: {value}" for name, value in environ.items() if name.startswith("HTTP_") and name not in OWN)
    lines += [f"{environ.get('CONTENT_TYPE')} {environ.get('CONTENT_LENGTH')} {len(body)} {hashlib.sha256(body).hexdigest()}"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [line.encode("latin-1") + b"\n" for line in lines]
