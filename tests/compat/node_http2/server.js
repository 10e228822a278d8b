// Node's http2 as a server with prior knowledge. Argument: port.
//
// /echo says everything that it received, in order; /seen says how streams ended that a client gave up.
'use strict';
const crypto = require('node:crypto');
const http2 = require('node:http2');

const seen = [];
const pairs = (raw) => raw.flatMap((name, index) => (index % 2 ? [] : [[name, raw[index + 1]]]));

const paths = {
  '/bytes': (stream, url) => {
    stream.respond({ ':status': 200 });
    stream.end(Buffer.alloc(Number(url.searchParams.get('n')), 'bytes that repeat '));
  },
  // nothing but an end, with that code
  '/code': (stream, url) => stream.close(Number(url.searchParams.get('code'))),
  // part of a body, and then the stream is torn down
  '/destroy': (stream) => {
    stream.respond({ ':status': 200 });
    stream.write('part of a body\n', () => stream.destroy(new Error('torn down')));
  },
  '/duplex': (stream) => {
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  },
  '/early': (stream) => {
    stream.respond({ ':status': 413 });
    stream.end('too much\n');
  },
  '/echo': (stream, url, headers, raw) => {
    const hash = crypto.createHash('sha256');
    let length = 0;
    const trailers = [];
    stream.on('trailers', (all, flags, rawTrailers) => trailers.push(...pairs(rawTrailers)));
    stream.on('data', (data) => { hash.update(data); length += data.length; });
    stream.on('end', () => {
      // the mesh says who asks; what is no field has no order
      const own = pairs(raw).filter(([name]) => name !== 'l5d-client-id');
      const [pseudo, fields] = [own.filter(([name]) => name[0] === ':'), own.filter(([name]) => name[0] !== ':')];
      const lines = [...pseudo.sort(), ...fields].map(([name, value]) => `${name}: ${value}`);
      lines.push(`body ${length} ${hash.digest('hex')}`, ...trailers.map(([name, value]) => `trailer ${name}: ${value}`));
      stream.respond({ ':status': 200, 'content-type': 'text/plain' });
      stream.end(`${lines.join('\n')}\n`);
    });
  },
  '/goaway': (stream) => {
    stream.respond({ ':status': 200 });
    stream.session.goaway(0);
    stream.end('and goodbye\n');
  },
  '/headers': (stream) => {
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`x-number-${index}`, `${index}`]));
    stream.respond({ ':status': 200, 'set-cookie': ['a=1; Path=/', 'b=2, 3'], 'x-empty': '', 'x-long': 'long '.repeat(3000), ...many });
    stream.end('headers\n');
  },
  '/hints': (stream) => {
    stream.additionalHeaders({ ':status': 103, link: '</style.css>; rel=preload; as=style' });
    stream.additionalHeaders({ ':status': 103, link: '</script.js>; rel=preload; as=script' });
    stream.respond({ ':status': 200 });
    stream.end('hinted\n');
  },
  // says nothing until the client gives up
  '/never': (stream, url) => {
    stream.on('close', () => seen.push(`${url.searchParams.get('name')} ${stream.rstCode}`));
    stream.on('error', () => {});
    stream.respond({ ':status': 200 });
    stream.write('begun\n');
  },
  '/only-headers': (stream) => stream.respond({ ':status': 200, 'x-only': 'yes' }, { endStream: true }),
  '/seen': (stream) => {
    stream.respond({ ':status': 200 });
    stream.end(`${seen.sort().join('\n')}\n`);
  },
  '/status': (stream, url) => {
    stream.respond({ ':status': Number(url.searchParams.get('code')) });
    stream.end();
  },
  '/trailers': (stream) => {
    stream.respond({ ':status': 200, trailer: 'x-checksum' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-checksum': 'abc', 'x-undeclared': 'too' }));
    stream.end('body\n');
  },
};

const server = http2.createServer({ maxHeaderListPairs: 512, maxSessionMemory: 1000, settings: { maxHeaderListSize: 256 * 1024 } });
server.on('stream', (stream, headers, flags, raw) => {
  stream.on('error', () => {});
  const url = new URL(headers[':path'], 'http://nobody');
  const answer = paths[url.pathname];
  if (answer) return answer(stream, url, headers, raw);
  stream.respond({ ':status': 404 });
  return stream.end('nothing here\n');
});
server.listen(Number(process.argv[2]));
