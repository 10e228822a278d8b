//! What a shopper sees: the page, and the API behind it. Calls `catalogue`, `carts`, `orders`, `user` and `session-db`.

use std::rc::Rc;

use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    client::{Call, Client, Reply, sweep_for_ever},
    directory::Directory,
    http::{Answer, Failure, Request, Trail},
    ids, pod,
    serve::{Service, cookie},
    wire::sessions::Sessions,
};

#[derive(Debug)]
pub(crate) struct FrontEnd {
    client: Rc<Client>,
    sessions: Sessions,
}

/// Who is shopping.
#[derive(Clone, Debug)]
struct Session {
    id: String,
    /// Customer id and username, once logged in.
    customer: Option<(String, String)>,
    /// Not yet known to the browser and to `session-db`.
    fresh: bool,
}

impl Session {
    fn new() -> Session {
        Session { id: ids::hex(&ids::bytes::<16>()), customer: None, fresh: true }
    }

    /// Carts are kept by customer, or by session before there is one.
    fn cart(&self) -> &str {
        self.customer.as_ref().map_or(&self.id, |(id, _)| id)
    }

    fn customer(&self) -> Result<&str, Failure> {
        let customer = self.customer.as_ref().map(|(id, _)| id.as_str());
        customer.ok_or_else(|| Failure::unauthorized("log in first"))
    }
}

impl FrontEnd {
    pub(crate) fn new(directory: Directory) -> FrontEnd {
        let client = Rc::new(Client::new(directory.clone()));
        tokio::task::spawn_local(sweep_for_ever(client.clone()));
        FrontEnd { client, sessions: Sessions::new("session-db", directory) }
    }

    async fn session(&self, request: &Request) -> Result<Session, Failure> {
        let known = cookie(&request.headers, SESSION_COOKIE).filter(|id| id.len() == 32);
        let Some(id) = known.filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())) else {
            return Ok(Session::new());
        };
        let Some(text) = self.sessions.get(&key(id)).await? else { return Ok(Session::new()) };
        let stored: Value = serde_json::from_str(&text).unwrap_or_default();
        let word = |name: &str| stored[name].as_str().map(str::to_owned);
        Ok(Session { id: id.to_owned(), customer: word("customerId").zip(word("username")), fresh: false })
    }

    /// Remembers a session and tells the browser; cookies stay separate headers.
    async fn remember(&self, session: &Session, answer: Answer) -> Result<Answer, Failure> {
        let (customer, username) = session.customer.clone().unzip();
        let stored = json!({ "customerId": customer, "username": username });
        self.sessions.set(&key(&session.id), &stored.to_string(), SESSION_SECONDS).await?;
        let answer = answer
            .with_header("set-cookie", format!("{SESSION_COOKIE}={}; Path=/; HttpOnly; SameSite=Lax", session.id));
        Ok(match customer {
            Some(customer) => answer.with_header("set-cookie", format!("logged_in={customer}; Path=/; SameSite=Lax")),
            None => answer,
        })
    }

    async fn remember_if_fresh(&self, session: &Session, answer: Answer) -> Result<Answer, Failure> {
        if session.fresh { self.remember(session, answer).await } else { Ok(answer) }
    }

    /// Passes an answer of the catalogue through as it is.
    async fn catalogue(&self, request: &Request) -> Result<Answer, Failure> {
        let reply = self.client.fetch(Call::get("catalogue", &*request.target), &request.trail).await?;
        Ok(passed_on(&reply))
    }

    async fn cart(&self, request: &Request, path: &[&str]) -> Result<Answer, Failure> {
        let (session, trail) = (self.session(request).await?, &request.trail);
        let cart = session.cart();
        let items = format!("/carts/{cart}/items");
        let answer = match (request.method.as_str(), path) {
            ("GET", []) => Answer::json(&self.client.json(Call::get("carts", items), trail).await?),
            ("POST", []) => {
                let item = self.priced(request).await?;
                let item = self.client.json(Call::post("carts", items, &item), trail).await?;
                Answer::json(&item).with_status(StatusCode::CREATED)
            }
            ("POST", ["update"]) => {
                let item = self.priced(request).await?;
                let call = Call::get("carts", items).with_method(Method::PATCH).with_json(&item);
                Answer::json(&self.client.json(call, trail).await?).with_status(StatusCode::ACCEPTED)
            }
            ("DELETE", []) => {
                self.client
                    .fetch(Call::get("carts", format!("/carts/{cart}")).with_method(Method::DELETE), trail)
                    .await?;
                Answer::json(&Value::Null).with_status(StatusCode::ACCEPTED)
            }
            ("DELETE", [id]) if is_word(id) => {
                let call = Call::get("carts", format!("{items}/{id}")).with_method(Method::DELETE);
                self.client.fetch(call, trail).await?;
                Answer::json(&Value::Null).with_status(StatusCode::ACCEPTED)
            }
            _ => return Err(Failure::not_found("page in the cart")),
        };
        self.remember_if_fresh(&session, answer).await
    }

    /// The item that a shopper names, with the catalogue's price: shoppers do not make prices.
    async fn priced(&self, request: &Request) -> Result<Value, Failure> {
        let wanted: Value = request.json()?;
        let id = wanted["id"].as_str().filter(|id| is_word(id)).ok_or_else(|| Failure::bad_request("id is missing"))?;
        let sock = self.client.json(Call::get("catalogue", format!("/catalogue/{id}")), &request.trail).await?;
        Ok(json!({ "itemId": id, "unitPrice": sock["price"], "quantity": wanted["quantity"].as_u64().unwrap_or(1) }))
    }

    async fn login(&self, request: &Request) -> Result<Answer, Failure> {
        let before = self.session(request).await?;
        let mut call = Call::get("user", "/login");
        let given = request.headers.get(header::AUTHORIZATION).cloned();
        call.headers.extend(given.map(|value: HeaderValue| (header::AUTHORIZATION, value)));
        let user = self.client.json(call, &request.trail).await?["user"].take();
        self.welcome(&user, &before, request).await
    }

    async fn register(&self, request: &Request) -> Result<Answer, Failure> {
        let before = self.session(request).await?;
        let mut wanted: Value = request.json()?;
        let made = self.client.json(Call::post("user", "/register", &wanted), &request.trail).await?;
        wanted["id"] = made["id"].clone();
        Ok(self.welcome(&wanted, &before, request).await?.with_status(StatusCode::CREATED))
    }

    /// A new session for a customer, with what the old one had in its cart.
    async fn welcome(&self, user: &Value, before: &Session, request: &Request) -> Result<Answer, Failure> {
        let (Some(id), Some(username)) = (user["id"].as_str(), user["username"].as_str()) else {
            return Err(Failure::unreachable("user", "a customer without id"));
        };
        if before.customer.is_none() && !before.fresh {
            let merge = format!("/carts/{id}/merge?sessionId={}", before.id);
            self.client.fetch(Call::get("carts", merge), &request.trail).await?;
        }
        let session = Session { customer: Some((id.to_owned(), username.to_owned())), ..Session::new() };
        let answer = Answer::json(&json!({ "id": id, "username": username }));
        self.remember(&session, answer).await
    }

    /// Places an order from the customer's cart, first address and first card.
    async fn order(&self, request: &Request) -> Result<Answer, Failure> {
        let (session, trail) = (self.session(request).await?, &request.trail);
        let id = session.customer()?;
        let customer = self.client.json(Call::get("user", format!("/customers/{id}")), trail).await?;
        let (address, card) = (self.first("addresses", id, trail).await?, self.first("cards", id, trail).await?);
        let wanted = json!({
            "customer": customer["_links"]["self"]["href"],
            "address": address["_links"]["self"]["href"],
            "card": card["_links"]["self"]["href"],
            "items": format!("http://carts/carts/{id}/items"),
        });
        let mut order = self.client.json(Call::post("orders", "/orders", &wanted), trail).await?;
        self.client.fetch(Call::get("carts", format!("/carts/{id}")).with_method(Method::DELETE), trail).await?;
        let others = trail.names().into_iter().filter(|name| name != pod::name());
        let served: Vec<String> = std::iter::once(pod::name().to_owned()).chain(others).collect();
        order["servedBy"] = json!(served);
        Ok(Answer::json(&order).with_status(StatusCode::CREATED))
    }

    async fn first(&self, kind: &str, customer: &str, trail: &Trail) -> Result<Value, Failure> {
        let mut found = self.owned(kind, customer, trail).await?;
        if found.is_empty() {
            let what = if kind == "cards" { "card" } else { "address" };
            let detail = format!("add {} first", if kind == "cards" { "a card" } else { "an address" });
            return Err(Failure::new(StatusCode::CONFLICT, &format!("{what}_missing"), detail));
        }
        Ok(found.swap_remove(0))
    }

    async fn owned(&self, kind: &str, customer: &str, trail: &Trail) -> Result<Vec<Value>, Failure> {
        let mut found = self.client.json(Call::get("user", format!("/customers/{customer}/{kind}")), trail).await?;
        let name = if kind == "cards" { "card" } else { "address" };
        Ok(match found["_embedded"][name].take() {
            Value::Array(found) => found,
            _ => Vec::new(),
        })
    }

    async fn account(&self, request: &Request, kind: &str) -> Result<Answer, Failure> {
        let session = self.session(request).await?;
        let id = session.customer()?;
        if request.method == Method::GET {
            let mut found = self.owned(kind, id, &request.trail).await?;
            for card in found.iter_mut().filter(|card| card["longNum"].is_string()) {
                let digits: Vec<char> = card["longNum"].as_str().unwrap_or_default().chars().collect();
                card["longNum"] = json!(digits[digits.len().saturating_sub(4)..].iter().collect::<String>());
            }
            return Ok(Answer::json(&json!(found)));
        }
        let mut wanted: Value = request.json()?;
        if !wanted.is_object() {
            return Err(Failure::bad_request("an object is expected"));
        }
        wanted["userID"] = json!(id);
        let made = self.client.json(Call::post("user", format!("/{kind}"), &wanted), &request.trail).await?;
        Ok(Answer::json(&made).with_status(StatusCode::CREATED))
    }

    async fn orders(&self, request: &Request) -> Result<Answer, Failure> {
        let session = self.session(request).await?;
        let path = format!("/orders/search/customerId?sort=date&custId={}", session.customer()?);
        let found = self.client.json(Call::get("orders", path), &request.trail).await?;
        Ok(Answer::json(&found["_embedded"]["customerOrders"]))
    }

    async fn whoami(&self, request: &Request) -> Result<Answer, Failure> {
        let session = self.session(request).await?;
        let (id, username) = session.customer.clone().unzip();
        let answer = Answer::json(&json!({ "customerId": id, "username": username, "pod": pod::name() }));
        self.remember_if_fresh(&session, answer).await
    }

    async fn logout(&self, request: &Request) -> Result<Answer, Failure> {
        let session = Session::new();
        let answer = Answer::json(&json!({ "customerId": null, "pod": pod::name() }));
        let answer = answer.with_header("set-cookie", "logged_in=; Path=/; Max-Age=0; SameSite=Lax");
        // the old session ends: nobody who kept its cookie is logged in
        if let Some(old) = cookie(&request.headers, SESSION_COOKIE).filter(|id| is_word(id)) {
            self.sessions.set(&key(old), "{}", 1).await?;
        }
        self.remember(&session, answer).await
    }
}

impl Service for FrontEnd {
    const NAME: &'static str = "front-end";

    async fn serve(&self, request: &Request) -> Result<Answer, Failure> {
        let (method, path) = request.route();
        match (method, path.as_slice()) {
            ("GET", []) => Ok(page("text/html; charset=utf-8", include_str!("../../page/index.html"))),
            ("GET", ["style.css"]) => Ok(page("text/css; charset=utf-8", include_str!("../../page/style.css"))),
            ("GET", ["shop.js"]) => Ok(page("text/javascript; charset=utf-8", include_str!("../../page/shop.js"))),
            ("GET", ["favicon.svg" | "favicon.ico"]) => {
                Ok(page("image/svg+xml", include_str!("../../page/favicon.svg")))
            }
            ("GET", ["catalogue", ..] | ["tags"]) => self.catalogue(request).await,
            (_, ["cart", rest @ ..]) => self.cart(request, rest).await,
            ("GET" | "POST", ["login"]) => self.login(request).await,
            ("POST", ["register"]) => self.register(request).await,
            ("POST", ["logout"]) => self.logout(request).await,
            ("GET", ["session"]) => self.whoami(request).await,
            ("GET" | "POST", [kind @ ("addresses" | "cards")]) => self.account(request, kind).await,
            ("GET", ["orders"]) => self.orders(request).await,
            ("POST", ["orders"]) => self.order(request).await,
            _ => Err(Failure::not_found("page")),
        }
    }
}

/// A file of the page. It loads nothing from elsewhere and runs no script but its own.
fn page(content_type: &'static str, text: &'static str) -> Answer {
    Answer::new(content_type, text)
        .with_header("cache-control", "no-cache")
        .with_header("content-security-policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'")
        .with_header("x-content-type-options", "nosniff")
}

fn passed_on(reply: &Reply) -> Answer {
    let content_type = match reply.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) {
        Some(b"image/svg+xml") => "image/svg+xml",
        _ => "application/json; charset=utf-8",
    };
    let answer = Answer::new(content_type, reply.body.clone()).with_status(reply.status);
    match reply.headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok()) {
        Some(value) => answer.with_header("cache-control", value),
        None => answer,
    }
}

/// What may become a segment of a path.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn key(session: &str) -> String {
    format!("sess:{session}")
}

/// The original's cookie.
const SESSION_COOKIE: &str = "md.sid";
const SESSION_SECONDS: u64 = 3600;
