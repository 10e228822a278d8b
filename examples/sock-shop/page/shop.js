// The page of the Sock Shop: asks front-end, shows what comes, says in words what went wrong. No framework, nothing loaded
// from elsewhere.
"use strict";

const POSTAGE = 4.99;
const state = { tag: "", order: "id", socks: new Map(), cart: [], user: null, pods: new Map(), requests: [] };
const $ = (id) => document.getElementById(id);
const money = (value) => new Intl.NumberFormat("en", { style: "currency", currency: "USD" }).format(value);

// ---------------------------------------------------------------------------------------------------- elements

/** An element with properties and children; texts never become HTML. */
function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function show(dialog) {
  if (!dialog.open) dialog.showModal();
  // a modal dialog covers everything else: notices move into it, so that they are seen and read out
  dialog.append($("notices"));
}

function closeAll() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

// ---------------------------------------------------------------------------------------------------- requests

/** What codes of the shop and of the mesh's proxies mean for a shopper. */
const WORDS = {
  card_missing: "There is no card yet.",
  address_missing: "There is no address yet.",
  connect_refused: "A part of the shop refuses connections. It may be restarting: try again in a moment.",
  connect_timeout: "A part of the shop cannot be reached. Try again in a moment.",
  discovery_unavailable: "The mesh does not know yet where this part of the shop is. Try again in a moment.",
  name_taken: "Somebody else has this user name.",
  no_endpoints: "No pod of this part of the shop is ready. It may be starting: try again in a moment.",
  no_route: "The mesh has a route for this service, but no rule for this request.",
  not_delivered: "The request did not reach the service. Try again.",
  payment_declined: "The payment was declined.",
  policy_denied: "The mesh’s policy does not allow this connection.",
  request_timeout: "The answer took too long. Try again in a moment.",
  tls_expired: "A certificate in the mesh has expired: the connection was refused.",
  tls_identity_mismatch: "The pod that answered is not who it should be: the connection was refused.",
  tls_unknown_issuer: "A certificate in the mesh has the wrong issuer: the connection was refused.",
  upstream_failed: "A part of the shop did not answer. Try again in a moment.",
};

class Trouble extends Error {
  constructor(title, detail, code) {
    super(title);
    Object.assign(this, { detail, code });
  }
}

async function ask(method, path, body, headers = {}) {
  const started = performance.now();
  let response;
  try {
    const json = body === undefined ? {} : { "content-type": "application/json" };
    response = await fetch(path, { method, headers: { ...json, ...headers }, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    remember(method, path, "lost", started, []);
    throw new Trouble("The shop cannot be reached.", "Is the demo still running? Start it with “minimesh demo” and reload this page.", "");
  }
  const pods = (response.headers.get("x-served-by") || "").split(",").map((name) => name.trim()).filter(Boolean);
  remember(method, path, response.status, started, pods);
  const text = await response.text();
  if (response.ok) return text ? JSON.parse(text) : null;
  throw trouble(response, text);
}

/** RFC 9457 problems, the shop's own or a proxy's, in words. */
function trouble(response, text) {
  let problem = {};
  try { problem = JSON.parse(text) || {}; } catch { /* not every answer is JSON */ }
  const code = response.headers.get("minimesh-error") || problem.code || "";
  const known = WORDS[code];
  const title = known || problem.detail || problem.title || `The shop answered ${response.status}.`;
  const said = [known && problem.detail, problem.from && `From: ${problem.from}.`, code && `Code: ${code}.`];
  return new Trouble(title[0].toUpperCase() + title.slice(1), said.filter(Boolean).join(" "), code);
}

function remember(method, path, status, started, pods) {
  const took = Math.round(performance.now() - started);
  state.requests.unshift({ method, path, status, took, pods });
  state.requests.length = Math.min(state.requests.length, 8);
  for (const pod of pods) state.pods.set(pod, (state.pods.get(pod) || 0) + 1);
  drawJourney();
}

function drawJourney() {
  const most = Math.max(1, ...state.pods.values());
  const pods = [...state.pods].sort(([a], [b]) => a.localeCompare(b));
  $("pods").replaceChildren(...pods.map(([pod, count]) =>
    make("li", {}, make("span", { title: pod }, pod), make("b", {}, String(count)), make("progress", { max: most, value: count, ariaLabel: `${pod}: ${count} requests` }))));
  $("requests").replaceChildren(...state.requests.map(({ method, path, status, took, pods }) => {
    const bad = typeof status !== "number" || status >= 400;
    return make("li", {},
      make("div", { className: "call" }, make("span", {}, `${method} ${path}`),
        make("span", {}, make("span", { className: bad ? "bad" : "" }, String(status)), ` · ${took} ms`)),
      make("div", { className: "path" }, pods.join(" → ") || "nobody answered"));
  }));
}

// ---------------------------------------------------------------------------------------------------- notices

function notice(title, detail = "", bad = false) {
  const box = make("div", { className: bad ? "notice bad" : "notice" },
    make("div", {}, make("strong", {}, title), detail ? make("p", {}, detail) : null),
    make("button", { type: "button", ariaLabel: "Dismiss", onclick: () => box.remove() }, "×"));
  $("notices").append(box);
  while ($("notices").children.length > 3) $("notices").firstChild.remove();
  setTimeout(() => box.remove(), bad ? 12000 : 3500);
}

/** Runs what a click asks for; trouble becomes a notice, and the button cannot be pressed twice. */
function doing(action) {
  return async (event) => {
    event?.preventDefault();
    const button = event?.submitter || (event?.currentTarget instanceof HTMLButtonElement ? event.currentTarget : null);
    const form = event?.currentTarget instanceof HTMLFormElement ? event.currentTarget : null;
    if (button) button.disabled = true;
    try {
      await action(form ? Object.fromEntries(new FormData(form)) : event);
    } catch (error) {
      notice(error instanceof Trouble ? error.message : "This page made a mistake.", error instanceof Trouble ? error.detail : String(error), true);
    } finally {
      if (button) button.disabled = false;
    }
  };
}

// ---------------------------------------------------------------------------------------------------- catalogue

async function loadTags() {
  const { tags } = await ask("GET", "/tags");
  const choose = (tag) => doing(async () => {
    state.tag = tag;
    for (const button of $("tags").children) button.setAttribute("aria-pressed", String(button.dataset.tag === tag));
    await loadSocks();
  });
  $("tags").replaceChildren(...["", ...tags].map((tag) => {
    const button = make("button", { type: "button", onclick: choose(tag) }, tag || "all");
    button.dataset.tag = tag;
    button.setAttribute("aria-pressed", String(tag === state.tag));
    return button;
  }));
}

async function loadSocks() {
  const socks = await ask("GET", `/catalogue?size=100&order=${state.order}&tags=${encodeURIComponent(state.tag)}`);
  for (const sock of socks) state.socks.set(sock.id, sock);
  $("found").textContent = `${socks.length} ${socks.length === 1 ? "kind" : "kinds"}${state.tag ? ` tagged “${state.tag}”` : ""}`;
  $("grid").replaceChildren(...socks.map(card));
}

function card(sock) {
  return make("li", { className: "sock" },
    make("button", { type: "button", className: "look", onclick: doing(() => details(sock.id)) },
      make("img", { src: sock.imageUrl[0], alt: "", width: 200, height: 190, loading: "lazy" }),
      make("strong", {}, sock.name), make("span", {}, sock.tag.join(", "))),
    make("div", { className: "buy" }, make("span", { className: "price" }, money(sock.price)),
      make("button", { type: "button", className: "quiet", ariaLabel: `Add ${sock.name} to the cart`, onclick: doing(() => add(sock.id, 1)) }, "Add")));
}

async function details(id) {
  const sock = await ask("GET", `/catalogue/${encodeURIComponent(id)}`);
  state.socks.set(sock.id, sock);
  const quantity = make("input", { type: "number", min: 1, max: 99, value: 1, id: "quantity" });
  const pictures = sock.imageUrl.map((url, at) => make("img", { src: url, alt: at === 0 ? `${sock.name}, one sock` : `${sock.name}, a pair`, width: 180, height: 220 }));
  $("details-body").replaceChildren(
    make("div", { className: "sheet-head" }, make("h2", { id: "details-name" }, sock.name),
      make("button", { type: "button", className: "close", ariaLabel: "Close", onclick: () => $("details").close() }, "×")),
    make("div", { className: "detail" },
      make("div", { className: "pictures" }, ...pictures),
      make("div", { className: "text" },
        make("p", {}, sock.description),
        make("ul", { className: "chips", ariaLabel: "Tags" }, ...sock.tag.map((tag) => make("li", {}, tag))),
        make("p", { className: "hint" }, sock.count === 1 ? "The last pair." : `${sock.count} in stock.`),
        make("span", { className: "price" }, money(sock.price)),
        make("div", { className: "add" }, make("label", {}, "Pairs", quantity),
          make("button", { type: "button", className: "primary", onclick: doing(async () => {
            await add(sock.id, Math.min(99, Math.max(1, Math.round(Number(quantity.value)) || 1)));
            $("details").close();
          }) }, "Add to the cart")))));
  show($("details"));
}

// ---------------------------------------------------------------------------------------------------- cart

async function add(id, quantity) {
  await ask("POST", "/cart", { id, quantity });
  await loadCart();
  notice(`${state.socks.get(id)?.name || id} is in your cart.`);
}

async function loadCart() {
  state.cart = (await ask("GET", "/cart")) || [];
  const missing = state.cart.filter((item) => !state.socks.has(item.itemId));
  for (const item of missing) state.socks.set(item.itemId, await ask("GET", `/catalogue/${encodeURIComponent(item.itemId)}`));
  drawCart();
}

function drawCart() {
  const pairs = state.cart.reduce((sum, item) => sum + item.quantity, 0);
  const goods = state.cart.reduce((sum, item) => sum + item.quantity * item.unitPrice, 0);
  $("cart-count").textContent = String(pairs);
  $("open-cart").setAttribute("aria-label", `Cart, ${pairs} ${pairs === 1 ? "pair" : "pairs"}`);
  $("cart-empty").hidden = pairs > 0;
  $("place-order").hidden = pairs === 0;
  $("cart-items").replaceChildren(...state.cart.map(line));
  const sums = [["Socks", goods], ["Postage", POSTAGE], ["In all", goods + POSTAGE]];
  $("cart-sums").replaceChildren(...(pairs ? sums : []).flatMap(([name, value], at) => {
    const className = at === 2 ? "sum" : "";
    return [make("dt", { className }, name), make("dd", { className }, money(value))];
  }));
}

function line(item) {
  const sock = state.socks.get(item.itemId);
  const name = sock?.name || item.itemId;
  const set = (quantity) => doing(async () => {
    if (quantity > 0) await ask("POST", "/cart/update", { id: item.itemId, quantity });
    else await ask("DELETE", `/cart/${encodeURIComponent(item.itemId)}`);
    await loadCart();
  });
  return make("li", {},
    make("img", { src: sock?.imageUrl[0] || "/favicon.svg", alt: "", width: 60, height: 66 }),
    make("strong", {}, name), make("span", { className: "price" }, money(item.quantity * item.unitPrice)),
    make("div", { className: "stepper" },
      make("button", { type: "button", ariaLabel: `One pair of ${name} less`, onclick: set(item.quantity - 1) }, "−"),
      make("output", { ariaLabel: `${item.quantity} pairs` }, String(item.quantity)),
      make("button", { type: "button", ariaLabel: `One pair of ${name} more`, onclick: set(item.quantity + 1), disabled: item.quantity >= 99 }, "+"),
      make("button", { type: "button", className: "remove", onclick: set(0), ariaLabel: `Remove ${name}` }, "remove")));
}

// ---------------------------------------------------------------------------------------------------- account

async function loadSession() {
  state.user = (await ask("GET", "/session")).username || null;
  $("open-account").textContent = state.user ? `Log out ${state.user}` : "Log in";
}

function askWho(why) {
  $("account-why").hidden = !why;
  $("account-why").textContent = why || "";
  show($("account"));
  document.querySelector("#login input").focus();
}

async function welcome() {
  await loadSession();
  await loadCart();
  $("account").close();
  notice(`Welcome, ${state.user}.`, state.cart.length ? "Your cart came along." : "");
}

async function login({ username, password }) {
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  await ask("POST", "/login", {}, { authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` });
  await welcome();
}

async function register(form) {
  await ask("POST", "/register", form);
  await welcome();
}

async function logout() {
  await ask("POST", "/logout", {});
  await loadSession();
  await loadCart();
  notice("Logged out.");
}

// ---------------------------------------------------------------------------------------------------- orders

async function placeOrder() {
  if (!state.user) return askWho("Log in or register, then place the order: your cart comes along.");
  const [addresses, cards] = [await ask("GET", "/addresses"), await ask("GET", "/cards")];
  if (addresses.length === 0 || cards.length === 0) return askDelivery(addresses.length === 0, cards.length === 0);
  const order = await ask("POST", "/orders", {});
  await loadCart();
  closeAll();
  receipt(order);
}

/** Only what is missing is asked for; what is hidden must not be required. */
function askDelivery(address, card) {
  for (const [fields, wanted] of [[$("address-fields"), address], [$("card-fields"), card]]) {
    fields.hidden = !wanted;
    fields.disabled = !wanted;
  }
  show($("delivery"));
}

async function deliver({ street, number, postcode, city, country, longNum, expires }) {
  if (!$("address-fields").disabled) await ask("POST", "/addresses", { street, number, postcode, city, country });
  if (!$("card-fields").disabled) await ask("POST", "/cards", { longNum, expires });
  $("delivery").close();
  await placeOrder();
}

function receipt(order) {
  const ids = [
    ["Order", order.id, "orders"],
    ["Customer", order.customerId, "user"],
    ["Payment authorisation", order.payment.authorisationID, "payment"],
    ["Shipment", order.shipment.id, "shipping"],
    ["Queue message", order.shipment.messageId, `rabbitmq, queue ${order.shipment.queue}`],
  ];
  const row = ([name, id, by]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, make("code", {}, id)), make("td", {}, `given by ${by}`));
  const pods = order.servedBy || [];
  $("receipt-body").replaceChildren(
    make("div", { className: "sheet-head" },
      make("div", { className: "receipt-head" }, make("span", { className: "tick", ariaHidden: "true" }, "✓"),
        make("div", {}, make("h2", { id: "receipt-title" }, "Ordered. Thank you!"),
          make("p", { className: "hint" }, `${money(order.total)} with postage, to ${order.address.street} ${order.address.number}, ${order.address.city}`))),
      make("button", { type: "button", className: "close", ariaLabel: "Close", onclick: () => $("receipt").close() }, "×")),
    make("p", {}, "One click, and these services each did their part. The numbers are theirs:"),
    make("table", { className: "ids" }, make("tbody", {}, ...ids.map(row))),
    pods.length ? make("h3", {}, `The ${pods.length} pods that took part`) : null,
    pods.length ? make("ol", { className: "route" }, ...pods.map((pod) => make("li", {}, pod))) : null);
  show($("receipt"));
}

async function showOrders() {
  if (!state.user) return askWho("Log in to see your orders.");
  const orders = (await ask("GET", "/orders")) || [];
  const entry = (order) => make("li", { className: "plain" },
    make("strong", {}, new Date(order.date).toLocaleString()), make("span", { className: "price" }, money(order.total)),
    make("span", { className: "hint" }, order.items.map((item) => `${item.quantity} × ${state.socks.get(item.itemId)?.name || item.itemId}`).join(", ")),
    make("button", { type: "button", className: "quiet", onclick: () => receipt(order) }, "Receipt"));
  $("orders-list").replaceChildren(...(orders.length ? orders.slice(0, 50).map(entry) : [make("li", { className: "plain empty" }, "No orders yet.")]));
  show($("orders"));
}

// ---------------------------------------------------------------------------------------------------- start

for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    const open = document.querySelectorAll("dialog[open]");
    (open[open.length - 1] || document.body).append($("notices"));
  });
}
$("open-cart").addEventListener("click", doing(async () => { await loadCart(); show($("cart")); }));
$("open-orders").addEventListener("click", doing(showOrders));
$("open-account").addEventListener("click", doing(() => (state.user ? logout() : askWho(""))));
$("place-order").addEventListener("click", doing(placeOrder));
$("login").addEventListener("submit", doing(login));
$("register").addEventListener("submit", doing(register));
$("delivery-form").addEventListener("submit", doing(deliver));
$("order").addEventListener("change", doing(async (event) => { state.order = event.target.value; await loadSocks(); }));

doing(async () => {
  await Promise.all([loadTags(), loadSocks()]);
  await loadSession();
  await loadCart();
})();
