// @grpc/grpc-js as a server. Argument: port.
'use strict';
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const path = require('node:path');

const { talk } = grpc.loadPackageDefinition(loader.loadSync(path.join(__dirname, 'talk.proto'), { defaults: true }));
const cancelled = new Set();

function trailers(call) {
  const metadata = new grpc.Metadata();
  metadata.set('trailing', 'after everything');
  metadata.set('seen-bin', call.metadata.get('given-bin')[0] ?? Buffer.from('nothing'));
  return metadata;
}

const implementation = {
  // `number` is a status to fail with, if it is one
  Say(call, done) {
    const { text, data, number } = call.request;
    if (text === 'wait') {
      call.on('cancelled', () => cancelled.add('say'));
      return undefined;
    }
    if (text === 'who gave up') return done(null, { text: [...cancelled].sort().join(' ') });
    if (number) return done({ code: number, details: `failed with ${number}: d\u00e9j\u00e0 vu`, metadata: trailers(call) });
    const leading = new grpc.Metadata();
    leading.set('leading', 'before everything');
    call.sendMetadata(leading);
    return done(null, { text: `heard ${text} and ${call.metadata.get('given')}`, data }, trailers(call));
  },
  Collect(call, done) {
    let text = '';
    let number = 0;
    call.on('data', (words) => { text = words.text; number++; });
    call.on('end', () => done(null, { text: `at last ${text}`, number }, trailers(call)));
  },
  Recite(call) {
    const { text, data, number } = call.request;
    call.on('cancelled', () => cancelled.add('recite'));
    let index = 0;
    const on = () => {
      while (index < number && !call.cancelled) if (!call.write({ text, data, number: ++index })) return call.once('drain', on);
      if (text === 'break off') return call.emit('error', { code: grpc.status.DATA_LOSS, details: 'broken off', metadata: trailers(call) });
      return call.end(trailers(call));
    };
    on();
  },
  Discuss(call) {
    call.on('cancelled', () => cancelled.add('discuss'));
    call.on('data', ({ text }) => call.write({ text: `heard ${text}` }));
    call.on('end', () => call.end(trailers(call)));
  },
};

const server = new grpc.Server({ 'grpc.max_receive_message_length': -1 });
server.addService(talk.Talk.service, implementation);
server.bindAsync(`0.0.0.0:${process.argv[2]}`, grpc.ServerCredentials.createInsecure(), (error) => { if (error) throw error; });
