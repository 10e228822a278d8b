// Node's http as a client. Argument: URL of server.js. Prints what an application sees.
'use strict';
const crypto = require('node:crypto');
const events = require('node:events');
const http = require('node:http');
const net = require('node:net');
const WebSocket = require('ws');

const base = new URL(process.argv[2]);
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
const say = (...words) => console.log(...words);
const pairs = (raw) => raw.flatMap((name, index) => (index % 2 ? [] : [[name, raw[index + 1]]]));
const about = (raw) => pairs(raw).filter(([name]) => !/^(connection|keep-alive)$/i.test(name));
const digest = (data) => (data.length < 2000 ? JSON.stringify(data.toString('latin1')) : crypto.createHash('sha256').update(data).digest('hex'));
const once = async (emitter, event) => (await events.once(emitter, event))[0];

// Sends a request, prints all of its answer, resolves when it has ended, well or not.
function ask(path, options = {}, body = [], trailers = undefined) {
  say(`\n-- ${options.method ?? 'GET'} ${path.slice(0, 100)}`);
  return new Promise((resolve) => {
    const request = http.request(new URL(path, base), { agent, ...options });
    request.on('information', (head) => say('information', head.statusCode, head.statusMessage, JSON.stringify(about(head.rawHeaders))));
    request.on('continue', () => { say('continue'); send(); });
    request.on('error', (error) => { say('failed', error.code); resolve(); });
    request.on('response', (response) => {
      say(response.httpVersion, response.statusCode, JSON.stringify(response.statusMessage));
      for (const [name, value] of about(response.rawHeaders)) say(`${name}: ${value.slice(0, 200)} (${value.length})`);
      const pieces = [];
      response.on('data', (data) => pieces.push(data));
      response.on('error', (error) => say('answer failed', error.code));
      response.on('close', () => {
        const data = Buffer.concat(pieces);
        say('body', data.length, digest(data), response.complete ? 'complete' : 'incomplete', JSON.stringify(pairs(response.rawTrailers)));
        resolve();
      });
    });
    const send = () => {
      for (const piece of body) request.write(piece);
      if (trailers) request.addTrailers(trailers);
      request.end();
    };
    if (/100-continue/.test(options.headers?.Expect)) request.flushHeaders(); else send();
  });
}

async function requests() {
  await ask('/echo?a=%20b&c');
  await ask('/echo', { headers: ['x-LOWER-upper', 'Kept', 'X-Twice', 'one', 'Y', 'between', 'X-Twice', 'two', 'Host', 'somebody.example'] });
  await ask('/echo', { headers: { 'X-Text': 'd\u00e9j\u00e0 vu', 'X-Empty': '' } });
  await ask('/echo', { method: 'POST', headers: { 'Content-Length': 5 } }, ['small']);
  await ask('/echo', { method: 'POST' }, ['in ', 'three ', 'chunks']);
  await ask('/echo', { method: 'POST', headers: { Trailer: 'X-After' } }, ['before'], { 'X-After': 'a trailer of a request' });
  await ask('/echo', { method: 'POST' }, [Buffer.alloc(5_000_000, 'large ')]);
  await ask('/echo', { method: 'PUT', headers: { Expect: '100-continue', 'Content-Length': 4 } }, ['body']);
  await ask('/early', { method: 'PUT', headers: { Expect: '100-continue', 'Content-Length': 4 } }, ['body']);
  for (const method of ['HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'QUERY', 'M-SEARCH']) await ask('/echo', { method });
  for (const path of ['/headers', '/chunked', '/close', '/hints', '/bytes?n=20000000', '/abort', '/abort-chunked', '/nowhere']) await ask(path);
  for (const code of [204, 205, 304, 404, 418, 599]) await ask(`/status?code=${code}&reason=Some%20Words`);
  await ask('/status?code=200&reason=');
  await ask('/echo', { headers: { 'X-Long': 'x'.repeat(60_000) } });
}

// A piece is sent when the one before has come back: nothing may wait for an end.
async function duplex() {
  say('\n-- both directions at once');
  const request = http.request(new URL('/duplex', base), { method: 'POST', agent });
  request.write('0');
  const response = await once(request, 'response');
  for (let number = 0; number < 20; number++) {
    const data = await once(response, 'data');
    say('heard', data.toString());
    request.write(`${number + 1}`);
  }
  request.end();
  response.resume();
  await once(response, 'end');
}

async function left() {
  say('\n-- a client that leaves');
  const request = http.get(new URL('/bytes?n=30000000', base), { agent });
  request.on('error', () => {});
  const response = await once(request, 'response');
  await once(response, 'data');
  request.destroy();
  await once(response, 'close').catch(() => {});
  say('left', response.complete);
  await ask('/echo?after-leaving');
}

async function atOnce() {
  say('\n-- two hundred at once');
  const one = (index) => new Promise((resolve) => {
    const request = http.request(new URL(`/echo?${index}`, base), { method: 'POST', agent }, (response) => {
      const pieces = [];
      response.on('data', (data) => pieces.push(data));
      response.on('end', () => resolve(`${response.statusCode} ${crypto.createHash('sha256').update(Buffer.concat(pieces)).digest('hex')}`));
    });
    request.on('error', (error) => resolve(error.code));
    request.end('x'.repeat(index * 100));
  });
  for (const result of await Promise.all(Array.from({ length: 200 }, (_, index) => one(index)))) say(result);
}

// Three requests in one write: their answers come in order.
async function pipelined() {
  say('\n-- pipelined');
  const socket = net.connect(base.port, base.hostname);
  const post = 'POST /echo?2 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody';
  socket.write(`GET /echo?1 HTTP/1.1\r\nHost: x\r\n\r\n${post}GET /echo?3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  let text = '';
  socket.on('data', (data) => { text += data.toString('latin1'); });
  await once(socket, 'close');
  say(text.split('\r\n').filter((line) => !/^(connection|keep-alive|date):/i.test(line)).join('\n'));
}

async function upgrade() {
  say('\n-- another protocol on the same connection');
  const request = http.get(new URL('/', base), { headers: { Connection: 'Upgrade', Upgrade: 'echo' }, agent: false });
  const [response, socket, head] = await new Promise((resolve) => request.on('upgrade', (...all) => resolve(all)));
  say(response.statusCode, response.statusMessage, JSON.stringify(about(response.rawHeaders)), head.length);
  for (let number = 0; number < 5; number++) {
    socket.write(`${number}`);
    say('heard', (await once(socket, 'data')).toString());
  }
  socket.end();
  socket.resume();
  await once(socket, 'close');
}

async function websocket() {
  say('\n-- websocket');
  const socket = new WebSocket(new URL('/socket', base));
  socket.on('upgrade', (response) => say(response.statusCode, response.statusMessage));
  await once(socket, 'open');
  const heard = () => new Promise((resolve) => socket.once('message', (data, binary) => resolve(`${binary} ${data.length} ${digest(data)}`)));
  for (const message of ['text', Buffer.from([0, 255]), 'x'.repeat(100_000), Buffer.alloc(3_000_000, 'large '), '']) {
    const answer = heard();
    socket.send(message);
    say(await answer);
  }
  const pong = once(socket, 'pong');
  socket.ping('are you there');
  say('pong', (await pong).toString());
  socket.close(4000, 'enough');
  const [code, reason] = await new Promise((resolve) => socket.on('close', (...all) => resolve(all)));
  say('closed', code, reason.toString());
}

async function tunnel() {
  say('\n-- CONNECT');
  const request = http.request({ host: base.hostname, port: base.port, method: 'CONNECT', path: 'inside.example:80', agent: false });
  request.end();
  const [response, socket] = await new Promise((resolve) => request.on('connect', (...all) => resolve(all)));
  say(response.statusCode, response.statusMessage, JSON.stringify(about(response.rawHeaders)));
  const inner = http.get({ path: '/echo?inside', headers: { Host: 'inside.example' }, createConnection: () => socket });
  const answer = await once(inner, 'response');
  say(answer.statusCode);
  answer.resume();
  await once(answer, 'end');
  socket.destroy();
}

(async () => {
  for (const part of [requests, duplex, left, atOnce, pipelined, upgrade, websocket, tunnel]) await part();
  agent.destroy();
})();
