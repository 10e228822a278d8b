// Chromium shops: a person's clicks in the shop's own page, by the browser's remote control. Arguments: URL of the shop, a folder.
//
// Prints what the receipt says. NODE_PATH has `ws`.
'use strict';
const { spawn } = require('node:child_process');
const events = require('node:events');
const readline = require('node:readline');
const WebSocket = require('ws');

const [url, folder] = process.argv.slice(2);

// Runs in the page. Everything that it waits for is a change of the document.
async function shop() {
  const until = (what, look) => new Promise((resolve, reject) => {
    const seen = () => { try { return look(); } catch { return undefined; } };
    const give = setTimeout(() => reject(new Error(`never seen: ${what}; ${document.querySelector('#notices').textContent}`)), 60_000);
    const check = () => { const found = seen(); if (found) { observer.disconnect(); clearTimeout(give); resolve(found); } };
    const observer = new MutationObserver(check);
    observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    check();
  });
  const $ = (selector) => document.querySelector(selector);
  const price = (sock) => Number(sock.querySelector('.price').textContent.replace(/[^0-9.]/g, ''));

  const socks = await until('socks', () => { const all = [...document.querySelectorAll('.sock')]; return all.length > 3 && all; });
  const images = await Promise.all([...document.images].slice(0, 6).map((image) => { image.loading = 'eager'; return image.decode().then(() => image.naturalWidth > 0); }));
  socks.find((sock) => price(sock) < 50).querySelector('.buy button').click();
  await until('one pair in the cart', () => $('#cart-count').textContent === '1');

  $('#open-account').click();
  const person = $('#register');
  const name = `browser-${Date.now()}`;
  for (const [field, value] of Object.entries({ firstName: 'Eve', lastName: 'Online', email: 'eve@example.com', username: name, password: 'a secret' })) person.elements[field].value = value;
  person.requestSubmit();
  await until('the customer is known', () => $('#open-account').textContent === `Log out ${name}`);

  $('#open-cart').click();
  await until('the cart is open', () => $('#cart').open);
  $('#place-order').click();
  await until('the questions about delivery', () => $('#delivery').open);
  $('#delivery-form').requestSubmit();
  await until('the receipt', () => $('#receipt').open);
  const rows = [...document.querySelectorAll('#receipt .ids tr')].map((row) => [...row.cells].map((cell) => cell.textContent));
  const pods = [...document.querySelectorAll('#receipt .route li')].map((pod) => pod.textContent);
  return { socks: socks.length, images, title: $('#receipt-title').textContent, rows, pods };
}

(async () => {
  const arguments_ = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', `--user-data-dir=${folder}/profile`, '--remote-debugging-port=0', 'about:blank'];
  const environment = { ...process.env, HOME: folder, XDG_CONFIG_HOME: `${folder}/config`, XDG_CACHE_HOME: `${folder}/cache`, DBUS_SESSION_BUS_ADDRESS: 'disabled:' };
  const chromium = spawn('chromium', arguments_, { env: environment, stdio: ['ignore', 'ignore', 'pipe'] });
  let control;
  for await (const line of readline.createInterface({ input: chromium.stderr })) {
    control = /DevTools listening on (ws:\S+)/.exec(line)?.[1];
    if (control) break;
  }
  chromium.stderr.resume();
  const socket = new WebSocket(control);
  await events.once(socket, 'open');
  const waiting = new Map();
  socket.on('message', (data) => {
    const { id, result, error } = JSON.parse(data);
    if (id) waiting.get(id)(error ?? result);
  });
  let last = 0;
  const call = (method, parameters, sessionId) => new Promise((resolve) => {
    waiting.set(++last, resolve);
    socket.send(JSON.stringify({ id: last, method, params: parameters, sessionId }));
  });
  const { targetId } = await call('Target.createTarget', { url });
  const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
  // whatever stands there before the page does not listen: the page's own document is asked for
  let result;
  do {
    result = await call('Runtime.evaluate', { expression: 'location.protocol === "http:" && document.readyState !== "loading"', returnByValue: true }, sessionId);
  } while (!result.result?.value);
  const { result: said, exceptionDetails } = await call('Runtime.evaluate', { expression: `(${shop})()`, awaitPromise: true, returnByValue: true }, sessionId);
  await call('Browser.close');
  await events.once(chromium, 'exit');
  if (exceptionDetails) {
    console.error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    process.exit(1);
  }
  console.log(JSON.stringify(said.value));
  process.exit();
})();
