"""aiosmtpd: the server speaks first, and offers TLS of its own. Says of each message what it was. Arguments: certificate, key."""

import asyncio
import hashlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

LIMIT = 4_000_000


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 welcome"

    async def handle_DATA(self, server, session, envelope):
        secured = "secured" if session.ssl else "open"
        digest = hashlib.sha256(envelope.content).hexdigest()
        return f"250 2.0.0 {secured} {envelope.mail_from} {len(envelope.rcpt_tos)} {len(envelope.content)} {digest}"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b"tester" and data.password == b"secret")


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*sys.argv[1:])

    def session():
        return SMTP(Handler(), hostname="server", tls_context=context, data_size_limit=LIMIT, enable_SMTPUTF8=True,
                    authenticator=authenticate, auth_require_tls=True)

    server = await asyncio.get_running_loop().create_server(session, "0.0.0.0", 2525)
    await server.serve_forever()


asyncio.run(main())
