// Node's http2 as a client with prior knowledge. Argument: URL of server.js. Prints what an application sees.
'use strict';
const crypto = require('node:crypto');
const events = require('node:events');
const http2 = require('node:http2');

const base = process.argv[2];
const say = (...words) => console.log(...words);
const pairs = (raw) => raw.flatMap((name, index) => (index % 2 ? [] : [[name, raw[index + 1]]]));
const digest = (data) => (data.length < 2000 ? JSON.stringify(data.toString('latin1')) : crypto.createHash('sha256').update(data).digest('hex'));
const once = async (emitter, event) => (await events.once(emitter, event))[0];

function connect() {
  const session = http2.connect(base, { maxHeaderListPairs: 512, maxSessionMemory: 1000, settings: { maxHeaderListSize: 256 * 1024, enablePush: false } });
  // so that a stream that nobody reads does not keep the others from being read: that is up to the client
  session.on('connect', () => session.setLocalWindowSize(64 * 1024 * 1024));
  session.on('error', (error) => say('session failed', error.code));
  // Node leaves out the brackets of an IPv6 address: what is left is no authority (RFC 3986, 3.2.2), and is refused on the way
  const request = session.request.bind(session);
  session.request = (headers, options) => request({ ':authority': new URL(base).host, ...headers }, options);
  return session;
}

// Sends a request, prints all of its answer, resolves when the stream is gone.
function ask(session, path, headers = {}, body = undefined, trailers = undefined) {
  say(`\n-- ${headers[':method'] ?? 'GET'} ${path.slice(0, 100)}`);
  return new Promise((resolve) => {
    const stream = session.request({ ':path': path, ...headers }, { endStream: body === undefined, waitForTrailers: trailers !== undefined });
    const pieces = [];
    stream.on('headers', (head, flags, raw) => say('information', JSON.stringify(pairs(raw))));
    stream.on('continue', () => say('continue'));
    stream.on('response', (head, flags, raw) => {
      for (const [name, value] of pairs(raw)) say(`${name}: ${value.slice(0, 200)} (${value.length})`);
    });
    stream.on('trailers', (head, flags, raw) => say('trailers', JSON.stringify(pairs(raw))));
    stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.on('data', (data) => pieces.push(data));
    stream.on('error', (error) => say('failed', error.code, error.message));
    stream.on('close', () => {
      const data = Buffer.concat(pieces);
      say('body', data.length, digest(data), 'code', stream.rstCode);
      resolve();
    });
    if (body !== undefined) stream.end(body);
  });
}

async function requests(session) {
  await ask(session, '/echo?a=%20b&c');
  await ask(session, '/echo', { 'x-twice': ['one', 'two'], 'x-empty': '', 'user-agent': 'somebody', te: 'trailers' });
  await ask(session, '/echo', { cookie: ['a=1', 'b=2'], ':authority': 'somebody.example' });
  await ask(session, '/echo', { ':method': 'POST', 'content-length': 5 }, 'small');
  await ask(session, '/echo', { ':method': 'POST' }, Buffer.alloc(5_000_000, 'large '));
  await ask(session, '/echo', { ':method': 'POST', trailer: 'x-after' }, 'before', { 'x-after': 'a trailer of a request' });
  for (const method of ['HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'QUERY']) await ask(session, '/echo', { ':method': method });
  for (const path of ['/headers', '/trailers', '/hints', '/only-headers', '/bytes?n=20000000', '/nowhere']) await ask(session, path);
  for (const code of [204, 205, 304, 404, 418, 599]) await ask(session, `/status?code=${code}`);
  await ask(session, '/echo', { 'x-long': 'x'.repeat(40_000) });
  await ask(session, '/early', { ':method': 'POST' }, 'short');
}

// Every code that a server may end a stream with.
async function codes(session) {
  for (const code of [1, 2, 5, 7, 8, 11, 13]) await ask(session, `/code?code=${code}`);
  await ask(session, '/destroy');
  await ask(session, '/echo?after-all-these');
}

// And every code that a client may give up with.
async function givenUp(session) {
  // the server remembers them, and may have been asked before, over another family
  const who = new URL(base).hostname.includes(':') ? 'six' : 'four';
  for (const code of [1, 2, 5, 8, 11]) {
    const stream = session.request({ ':path': `/never?name=client-${who}-${code}` });
    stream.on('error', () => {});
    await once(stream, 'data');
    await new Promise((resolve) => stream.close(code, resolve));
  }
  const looks = async () => {
    const stream = session.request({ ':path': '/seen' });
    let text = '';
    stream.on('data', (data) => { text += data; });
    await once(stream, 'end');
    return text.split('\n').filter((line) => line.startsWith(`client-${who}-`));
  };
  let lines = [];
  while (lines.length < 5) lines = await looks();
  say('\n-- what the server saw of streams that were given up');
  say(lines.join('\n'));
}

async function duplex(session) {
  say('\n-- both directions at once');
  const stream = session.request({ ':path': '/duplex', ':method': 'POST' });
  await once(stream, 'response');
  for (let number = 0; number < 20; number++) {
    stream.write(`${number}`);
    say('heard', (await once(stream, 'data')).toString());
  }
  stream.end();
  stream.resume();
  await once(stream, 'close');
}

// Nobody reads one stream while a hundred others come and go on the same connection.
async function slow(session) {
  say('\n-- a stream that nobody reads');
  const large = session.request({ ':path': '/bytes?n=30000000' });
  await once(large, 'response');
  const one = () => new Promise((resolve) => {
    const stream = session.request({ ':path': '/bytes?n=1000' });
    let length = 0;
    stream.on('data', (data) => { length += data.length; });
    stream.on('close', () => resolve(length));
    stream.on('error', () => {});
  });
  let good = 0;
  for (let number = 0; number < 100; number++) good += (await one()) === 1000;
  const hash = crypto.createHash('sha256');
  let length = 0;
  for await (const data of large) { hash.update(data); length += data.length; }
  say(good, 'small ones, and then', length, hash.digest('hex'));
}

async function atOnce(session) {
  say('\n-- five hundred at once');
  const one = (index) => new Promise((resolve) => {
    const stream = session.request({ ':path': `/echo?${index}`, ':method': 'POST' });
    const hash = crypto.createHash('sha256');
    stream.on('data', (data) => hash.update(data));
    stream.on('error', (error) => resolve(error.message));
    stream.on('end', () => resolve(`${index} ${hash.digest('hex')}`));
    stream.end('x'.repeat(index * 50));
  });
  for (const result of await Promise.all(Array.from({ length: 500 }, (_, index) => one(index)))) say(result);
}

// What the server says about its connection is for its neighbour; what it still answers is for us.
async function goodbye() {
  say('\n-- a server that says goodbye');
  const session = connect();
  await ask(session, '/goaway');
  session.destroy();
  const another = connect();
  await ask(another, '/echo?another-session');
  another.destroy();
}

async function ping(session) {
  const [error, payload] = await new Promise((resolve) => session.ping(Buffer.from('12345678'), (failed, took, data) => resolve([failed, data])));
  say('\n-- ping', error, payload.toString());
}

(async () => {
  const session = connect();
  for (const part of [requests, codes, givenUp, duplex, slow, atOnce, ping]) await part(session);
  session.destroy();
  await goodbye();
  process.exit();
})();
