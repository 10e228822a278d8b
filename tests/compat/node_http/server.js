// Node's http as a server, with the corners of HTTP/1 that its users use. Argument: port.
//
// /echo says everything that it received, in order and in the case in which it came.
'use strict';
const crypto = require('node:crypto');
const http = require('node:http');
const { WebSocketServer } = require('ws');

const pairs = (raw) => raw.flatMap((name, index) => (index % 2 ? [] : [[name, raw[index + 1]]]));
// what neighbours say about their connection is not compared, and the mesh says who asks
const about = (raw) => pairs(raw).filter(([name]) => !/^(connection|keep-alive|l5d-client-id)$/i.test(name));

const paths = {
  // part of a body, and then the connection is torn down
  '/abort': (request, response) => {
    response.writeHead(200, { 'Content-Length': 1000 });
    response.write('part of a body\n', () => response.destroy());
  },
  '/abort-chunked': (request, response) => {
    response.write('part of a body\n', () => response.destroy());
  },
  '/bytes': (request, response, url) => {
    response.end(Buffer.alloc(Number(url.searchParams.get('n')), 'bytes that repeat '));
  },
  '/chunked': (request, response) => {
    const chunks = request.httpVersion === '1.1';
    response.writeHead(200, { 'Content-Type': 'text/plain', ...(chunks && { Trailer: 'X-Checksum, X-Twice' }) });
    for (const piece of ['one', 'two', 'three']) response.write(`${piece}\n`);
    if (chunks) response.addTrailers([['X-Checksum', 'abc'], ['X-Twice', '1'], ['X-Twice', '2']]);
    response.end();
  },
  // ends with its connection: no length, no chunks
  '/close': (request, response) => {
    response.useChunkedEncodingByDefault = false;
    response.removeHeader('Transfer-Encoding');
    response.shouldKeepAlive = false;
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    response.write('until the end\n');
    response.end('of the connection\n');
  },
  '/duplex': (request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    request.pipe(response);
  },
  '/echo': (request, response) => {
    const hash = crypto.createHash('sha256');
    let length = 0;
    request.on('data', (data) => { hash.update(data); length += data.length; });
    request.on('end', () => {
      const { method, url, httpVersion } = request;
      const lines = [`${method} ${url} HTTP/${httpVersion}`];
      for (const [name, value] of about(request.rawHeaders)) lines.push(`${name}: ${value}`);
      lines.push(`body ${length} ${hash.digest('hex')}`);
      for (const [name, value] of pairs(request.rawTrailers)) lines.push(`trailer ${name}: ${value}`);
      response.writeHead(200, { 'content-TYPE': 'text/plain; charset=latin1' });
      response.end(`${lines.join('\n')}\n`, 'latin1');
    });
  },
  // refuses without reading
  '/early': (request, response) => {
    response.writeHead(413, { 'Content-Type': 'text/plain' });
    response.end('too much\n');
  },
  // goes without a word
  '/hang-up': (request) => request.socket.destroy(),
  '/headers': (request, response) => {
    const many = Array.from({ length: 100 }, (_, index) => [`X-Number-${index}`, `${index}`]).flat();
    response.writeHead(200, 'Fine By Me', [
      'X-CaSe', 'Kept', 'x-twice', 'one', 'Content-Type', 'text/plain', 'X-Twice', 'two', 'X-Empty', '',
      'Set-Cookie', 'a=1; Path=/', 'Set-Cookie', 'b=2, 3', 'X-Text', 'd\u00e9j\u00e0 vu', 'X-Long', 'long '.repeat(3000),
      'X-Spaces', 'a   b', 'Server', 'somebody/1.0', ...many, 'Content-Length', '8',
    ]);
    response.end('headers\n');
  },
  '/hints': (request, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style', 'x-hint': 'first' });
    response.writeEarlyHints({ link: '</script.js>; rel=preload; as=script' });
    response.writeProcessing();
    response.end('hinted\n');
  },
  '/status': (request, response, url) => {
    response.writeHead(Number(url.searchParams.get('code')), url.searchParams.get('reason') ?? '');
    response.end();
  },
  // who asks, as a server may know it
  '/who': (request, response) => {
    const { 'l5d-client-id': identity, upgrade, 'http2-settings': settings, connection } = request.headers;
    const { remoteAddress } = request.socket;
    response.end(`${JSON.stringify({ identity, upgrade, settings, connection, remoteAddress })}\n`);
  },
};

function serve(request, response) {
  const url = new URL(request.url, 'http://nobody');
  const answer = paths[url.pathname];
  if (answer) return answer(request, response, url);
  response.writeHead(404, { 'Content-Type': 'text/plain' });
  response.end('nothing here\n');
}

const server = http.createServer({ maxHeaderSize: 128 * 1024 }, serve);
// asked with `Expect: 100-continue`
server.on('checkContinue', (request, response) => {
  if (request.url !== '/early') response.writeContinue();
  serve(request, response);
});
// CONNECT: whatever is named, what comes through the tunnel is served here
server.on('connect', (request, socket, head) => {
  socket.on('error', () => socket.destroy());
  if (request.url === 'forbidden:1') return socket.end('HTTP/1.1 403 Not To Me\r\nContent-Length: 3\r\n\r\nno\n');
  socket.write(`HTTP/1.1 200 Connection Established\r\nX-Asked: ${request.url}\r\n\r\n`);
  socket.unshift(head);
  return server.emit('connection', socket);
});
const sockets = new WebSocketServer({ noServer: true });
sockets.on('connection', (socket) => {
  socket.on('message', (data, binary) => socket.send(data, { binary }));
});
server.on('upgrade', (request, socket, head) => {
  socket.on('error', () => socket.destroy());
  if (/websocket/i.test(request.headers.upgrade)) {
    return sockets.handleUpgrade(request, socket, head, (opened) => sockets.emit('connection', opened));
  }
  if (/h2c/i.test(request.headers.upgrade)) return socket.end(`HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nasked for ${request.headers.upgrade}\n`);
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\nX-Upgraded: Yes\r\n\r\n');
  socket.write(head);
  return socket.pipe(socket);
});
server.listen(Number(process.argv[2]));
