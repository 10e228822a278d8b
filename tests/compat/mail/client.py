"""smtplib: plain, with STARTTLS, refused, large, and without waiting for answers. Arguments: address, port, certificate."""

import smtplib
import socket
import ssl
import sys

address, port, certificate = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ME, YOU = "me@client", ["you@server", "they@server"]


def letter(lines):
    return b"From: me@client\r\nTo: you@server\r\nSubject: a letter\r\n\r\n" + b"".join(b"line %d\r\n" % number for number in range(lines))


def say(client, text, *command):
    try:
        print(text, command and client.docmd(*command))
    except smtplib.SMTPException as error:
        print(text, "failed", type(error).__name__, error)


with smtplib.SMTP(address, port, "client", timeout=20) as client:
    print("greeted", client.ehlo("client"))
    say(client, "unknown", "TALK")
    say(client, "checked", "VRFY", "you@server")
    client.mail(ME)
    print("refused", client.rcpt("nobody@server"))
    client.rset()
    for lines in (1, 1000, 300_000):
        client.mail(ME)
        for you in YOU:
            client.rcpt(you)
        print("sent", client.data(letter(lines)))
    # dots at the beginnings of lines are doubled on the way
    client.mail(ME)
    client.rcpt(YOU[0])
    print("dots", client.data(b".\r\n..\r\n...\r\nend"))
    client.mail(ME)
    client.rcpt(YOU[0])
    print("too large", client.data(b"x" * 900 + b"\r\n" + letter(400_000)))

with smtplib.SMTP(address, port, "client", timeout=20) as client:
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    client.ehlo()
    print("without TLS", client.has_extn("auth"))
    print(client.starttls(context=context))
    print(client.ehlo(), client.sock.version())
    print(client.login("tester", "secret"))
    client.mail(ME)
    client.rcpt(YOU[0])
    print("secured", client.data(letter(100_000)))

# pipelining (RFC 2920): all at once, then all answers
with socket.create_connection((address, port), timeout=20) as raw:
    heard = raw.makefile("rb")
    print(heard.readline())
    raw.sendall(b"HELO client\r\nMAIL FROM:<me@client>\r\nRCPT TO:<nobody@server>\r\nRCPT TO:<you@server>\r\nDATA\r\n")
    print([heard.readline() for _ in range(5)])
    raw.sendall(b"one line\r\n.\r\nNOOP\r\nQUIT\r\n")
    raw.shutdown(socket.SHUT_WR)
    print(heard.readlines())

many = [smtplib.SMTP(address, port, "client", timeout=20) for _ in range(30)]
print([client.noop() for client in many][-1], [client.quit() for client in many][-1])
