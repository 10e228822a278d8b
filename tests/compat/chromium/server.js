// Serves page.html and everything that it asks for. Argument: port.
'use strict';
const events = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const zlib = require('node:zlib');
const { WebSocketServer } = require('ws');

const file = (name, type) => (request, response) => {
  response.writeHead(200, { 'Content-Type': type, 'Cache-Control': 'no-store' });
  fs.createReadStream(path.join(__dirname, name)).pipe(response);
};
const done = new events.EventEmitter();
const pieces = new events.EventEmitter();
const image = '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>';

const paths = {
  '/': file('page.html', 'text/html; charset=utf-8'),
  '/abort': (request, response) => {
    response.writeHead(200, { 'Content-Length': 1000 });
    response.write('part', () => response.destroy());
  },
  '/abort-chunked': (request, response) => {
    response.write('part', () => response.destroy());
  },
  '/bytes': (request, response, query) => response.end(Buffer.alloc(Number(query.get('n')), 'bytes that repeat ')),
  '/cached': (request, response) => {
    const headers = { ETag: '"one"', 'Cache-Control': 'max-age=60' };
    if (request.headers['if-none-match'] === '"one"') return response.writeHead(304, headers).end();
    return response.writeHead(200, headers).end('a cached text');
  },
  '/compressed': (request, response) => {
    response.writeHead(200, { 'Content-Encoding': 'gzip', 'Content-Type': 'text/plain' });
    response.end(zlib.gzipSync('a text that is compressed on its way '.repeat(10_000)));
  },
  '/cookies': (request, response) => {
    response.writeHead(200, { 'Set-Cookie': ['a=1', 'b=2; HttpOnly; SameSite=Strict'] });
    response.end(request.headers.cookie ?? 'none');
  },
  '/done': (request, response) => {
    done.emit('done');
    response.end();
  },
  '/echo': (request, response) => {
    const { method, url, httpVersion, headers } = request;
    response.writeHead(200, 'Fine By Me', { 'Content-Type': 'text/plain' });
    response.end(`${method} ${url} ${httpVersion} ${headers.host} ${headers['x-case']} ${headers['accept-encoding']}`);
  },
  '/events': (request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    for (let number = 1; number <= 5; number++) response.write(`id: ${number}\ndata: event ${number}\n\n`);
  },
  '/image.svg': (request, response) => {
    response.writeHead(200, { 'Content-Type': 'image/svg+xml', 'Cache-Control': 'no-store' });
    response.end(image);
  },
  '/length': (request, response) => {
    let length = 0;
    request.on('data', (data) => { length += data.length; });
    request.on('end', () => response.end(`${length} ${request.headers['content-type']}`));
  },
  '/page.js': file('page.js', 'text/javascript; charset=utf-8'),
  // goes on as long as somebody sends pieces
  '/pieces': (request, response, query) => {
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    response.write('from the first on: ');
    pieces.on(query.get('name'), (text) => response.write(`piece ${text}, `));
  },
  '/piece': (request, response, query) => {
    pieces.emit(query.get('name'), query.get('text'));
    response.end();
  },
  '/redirect': (request, response) => response.writeHead(302, { Location: '/echo?redirected' }).end(),
  '/style.css': (request, response) => response.writeHead(200, { 'Content-Type': 'text/css' }).end('ol { color: rgb(1, 2, 3) }'),
  '/when-done': (request, response) => done.once('done', () => response.writeHead(200, { 'Content-Type': 'image/svg+xml' }).end(image)),
};

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://nobody');
  const answer = paths[url.pathname];
  if (answer) return answer(request, response, url.searchParams);
  return response.writeHead(404).end('nothing here');
});
new WebSocketServer({ server }).on('connection', (socket) => {
  socket.on('message', (data, binary) => socket.send(data, { binary }));
});
server.listen(Number(process.argv[2]));
