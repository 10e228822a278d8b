// Runs in the browser: asks in every way that a page can ask, and writes what it sees into the page.
const list = document.querySelector('#said');
const say = (text) => list.append('\n', Object.assign(document.createElement('li'), { textContent: text }), '\n');
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
// crypto.subtle is for secure origins only
const sum = (bytes) => bytes.reduce((hash, byte) => Math.imul(hash ^ byte, 16777619) >>> 0, 2166136261);

const steps = {
  async style() { say(getComputedStyle(list).color); },
  async get() {
    const answer = await fetch('/echo?a=%20b', { headers: { 'X-Case': 'Kept' } });
    say(`${answer.status} ${answer.statusText} ${await answer.text()}`);
  },
  async post() {
    const form = new FormData();
    form.set('field', 'value');
    for (const body of ['text', new Uint8Array(3_000_000).fill(7), new URLSearchParams({ a: '1 2' })]) {
      say(await (await fetch('/length', { method: 'POST', body })).text());
    }
  },
  async large() {
    const bytes = new Uint8Array(await (await fetch('/bytes?n=20000000')).arrayBuffer());
    say(`${bytes.length} ${sum(bytes)}`);
  },
  // compressed on its way
  async compressed() {
    const answer = await fetch('/compressed');
    say(`${answer.headers.get('content-encoding')} ${sum(new TextEncoder().encode(await answer.text()))}`);
  },
  async images() {
    const load = (number) => new Promise((resolve) => {
      const image = new Image();
      image.onload = () => resolve(image.naturalWidth);
      image.onerror = () => resolve('failed');
      image.src = `/image.svg?${number}`;
    });
    say((await Promise.all(Array.from({ length: 60 }, (_, number) => load(number)))).join(' '));
  },
  // piece by piece: each is asked for when the one before has come
  async stream() {
    const reader = (await fetch('/pieces?name=x')).body.pipeThrough(new TextDecoderStream()).getReader();
    let heard = '';
    for (let number = 0; number < 10; number++) {
      await fetch(`/piece?name=x&text=${number}`, { method: 'POST' });
      while (!heard.includes(`piece ${number}`)) heard += (await reader.read()).value;
    }
    await reader.cancel();
    say(heard);
  },
  async events() {
    const source = new EventSource('/events');
    const heard = [];
    await new Promise((resolve) => {
      source.onmessage = ({ data, lastEventId }) => {
        heard.push(`${lastEventId} ${data}`);
        if (heard.length === 5) resolve();
      };
    });
    source.close();
    say(heard.join(', '));
  },
  async socket() {
    const socket = new WebSocket(`ws://${location.host}/socket`, ['one', 'two']);
    socket.binaryType = 'arraybuffer';
    await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: () => reject(new Error('not opened')) }));
    const next = () => new Promise((resolve) => { socket.onmessage = ({ data }) => resolve(data); });
    for (const message of ['text', 'x'.repeat(200_000), new Uint8Array([0, 255]).buffer]) {
      const answer = next();
      socket.send(message);
      const data = await answer;
      say(typeof data === 'string' ? `${socket.protocol} ${data.length} ${data === message}` : `${socket.protocol} ${hex(data)}`);
    }
    const closed = new Promise((resolve) => { socket.onclose = resolve; });
    socket.close(4000, 'enough');
    const { code, reason, wasClean } = await closed;
    say(`${code} ${reason} ${wasClean}`);
  },
  async cached() {
    for (const cache of ['default', 'no-cache', 'reload']) {
      const answer = await fetch('/cached', { cache });
      say(`${cache} ${answer.status} ${await answer.text()}`);
    }
  },
  async cookies() {
    await fetch('/cookies');
    say(await (await fetch('/cookies')).text());
  },
  async redirected() {
    const answer = await fetch('/redirect');
    say(`${answer.redirected} ${new URL(answer.url).pathname}`);
  },
  async broken() {
    for (const path of ['/abort', '/abort-chunked', '/nowhere']) {
      say(`${path} ${await fetch(path).then((answer) => answer.text().then((text) => `${answer.status} ${text}`)).catch((error) => error.message)}`);
    }
  },
  async given_up() {
    const controller = new AbortController();
    const answer = await fetch('/bytes?n=30000000', { signal: controller.signal });
    controller.abort();
    say(await answer.text().then(() => 'came', (error) => error.name));
  },
};

for (const [name, step] of Object.entries(steps)) {
  await step().catch((error) => say(`${name} failed: ${error.message}`));
}
await fetch('/done', { method: 'POST' });
