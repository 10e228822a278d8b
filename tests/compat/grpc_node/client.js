// @grpc/grpc-js as a client. Argument: address of server.js. Prints what an application sees.
'use strict';
const crypto = require('node:crypto');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const path = require('node:path');

const { talk } = grpc.loadPackageDefinition(loader.loadSync(path.join(__dirname, 'talk.proto'), { defaults: true }));
const options = { 'grpc.max_receive_message_length': -1, 'grpc.enable_retries': 0 };
const connect = () => new talk.Talk(process.argv[2], grpc.credentials.createInsecure(), options);
const say = (...words) => console.log(...words);
const digest = (data) => `${data.length} ${crypto.createHash('sha256').update(data).digest('hex').slice(0, 16)}`;
const shown = (metadata) => JSON.stringify(Object.entries(metadata.getMap()).filter(([name]) => name !== 'date' && name !== 'user-agent').sort());

function given() {
  const metadata = new grpc.Metadata();
  metadata.set('given', 'a value');
  metadata.set('given-bin', Buffer.from([0, 255, 10]));
  return metadata;
}

// Watches a call and says what happens to it; resolves at its status.
function watch(call) {
  return new Promise((resolve) => {
    call.on('metadata', (metadata) => say('metadata', shown(metadata)));
    call.on('error', () => {});
    // how long it took, and where it went, is no two times the same
    call.on('status', ({ code, details, metadata }) => { say('status', code, details.replace(/ after .*/, ''), shown(metadata)); resolve(code); });
  });
}

async function unary(client, words, extra = {}) {
  say(`\n-- unary ${words.text} ${words.number ?? ''}`);
  const call = client.Say(words, given(), extra, (error, answer) => { if (answer) say(answer.text, digest(answer.data)); });
  await watch(call);
}

async function clientStream(client) {
  say('\n-- a stream of the client');
  const call = client.Collect(given(), (error, answer) => { if (answer) say(answer.text, answer.number); });
  const ended = watch(call);
  for (let number = 0; number < 1000; number++) call.write({ text: `word ${number}` });
  call.end();
  await ended;
}

async function serverStream(client, words) {
  say(`\n-- a stream of the server: ${words.text}`);
  const call = client.Recite(words, given());
  const hash = crypto.createHash('sha256');
  let count = 0;
  call.on('data', ({ text, data, number }) => { hash.update(`${text} ${number}`).update(data); count++; });
  await watch(call);
  say(count, hash.digest('hex'));
}

// A word is sent when the answer to the one before has come: nothing may wait for an end.
async function discussion(client) {
  say('\n-- streams in both directions');
  const call = client.Discuss(given());
  const ended = watch(call);
  let number = 0;
  call.on('data', ({ text }) => {
    say(text);
    if (++number < 20) call.write({ text: `${number}` }); else call.end();
  });
  call.write({ text: '0' });
  await ended;
}

async function givingUp(client) {
  say('\n-- giving up');
  const deadline = (milliseconds) => ({ deadline: Date.now() + milliseconds });
  // both ends keep the time: which of them speaks first is chance
  say('a deadline', await new Promise((resolve) => client.Say({ text: 'wait' }, deadline(1000), (error) => resolve(error.code))));
  const call = client.Recite({ text: 'long', data: Buffer.alloc(1000), number: 1_000_000 });
  const ended = watch(call);
  call.once('data', () => call.cancel());
  say('cancelled', await ended);
  const discussed = client.Discuss();
  const over = watch(discussed);
  discussed.once('data', () => discussed.cancel());
  discussed.write({ text: 'only one' });
  say('cancelled', await over);
  const ask = () => new Promise((resolve) => client.Say({ text: 'who gave up' }, (error, answer) => resolve(answer.text)));
  let who = '';
  while (who.split(' ').length < 3) who = await ask();
  say('the server saw:', who);
}

async function atOnce(client) {
  say('\n-- three hundred at once');
  const one = (number) => new Promise((resolve) => {
    client.Say({ text: `${number}`, data: Buffer.alloc(number * 100, 'x') }, (error, answer) => resolve(error ? error.message : `${answer.text} ${digest(answer.data)}`));
  });
  for (const answer of await Promise.all(Array.from({ length: 300 }, (_, number) => one(number)))) say(answer);
}

(async () => {
  const client = connect();
  await unary(client, { text: 'hello' });
  await unary(client, { text: 'large', data: Buffer.alloc(5_000_000, 'large ') });
  for (let code = 1; code <= 16; code++) await unary(client, { text: 'fail', number: code });
  await clientStream(client);
  await serverStream(client, { text: 'verse', number: 1000 });
  await serverStream(client, { text: 'large', data: Buffer.alloc(100_000, 'large '), number: 100 });
  await serverStream(client, { text: 'break off', number: 10 });
  await discussion(client);
  await givingUp(client);
  await atOnce(client);
  client.close();
})();
