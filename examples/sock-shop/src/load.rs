//! Shoppers: an open loop of short visits at a bounded rate, spread so that every edge of the shop carries traffic.
//!
//! Each answer is checked (what was put into a cart is in it, an order's total is right, no id comes twice). Owns no number
//! that the mesh reports; its summary is its own view.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet, VecDeque},
    pin::pin,
    rc::Rc,
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    Error,
    client::{Call, Client, Reply, sweep_for_ever},
    directory::Directory,
    http::{Trail, encode_base64},
    ids,
    services::orders::POSTAGE,
    startup::wait_for_peers,
    stop::Stop,
};

/// How shoppers come.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)] // several parts flatten a group of this name into one command line
pub struct Args {
    /// Visits per second; a visit is one to twelve requests.
    #[arg(long, env = "MINIMESH_SHOP_RATE", default_value_t = 20.0, value_name = "PER_SECOND")]
    rate: f64,
    /// Stop after this many seconds.
    #[arg(long, env = "MINIMESH_SHOP_DURATION", value_name = "SECONDS")]
    duration: Option<u64>,
    /// Where the shop is.
    #[arg(long, env = "MINIMESH_SHOP_TARGET", default_value = "front-end:80", value_name = "HOST:PORT")]
    target: String,
    /// Send nothing: the pod is only there to be entered.
    #[arg(long, env = "MINIMESH_SHOP_IDLE")]
    idle: bool,
}

/// Runs until the duration is over or the process is asked to stop; fails if any answer was wrong.
pub(crate) async fn run(args: Args, directory: Directory, mut stop: Stop) -> Result<(), Error> {
    if args.idle || args.rate <= 0.0 {
        stop.asked().await;
        return Ok(());
    }
    let (host, port) = target(&args.target)?;
    if !wait_for_peers(&[(&host, port)], &directory, stop.clone()).await {
        return Ok(());
    }
    let client = Rc::new(Client::new(directory));
    tokio::task::spawn_local(sweep_for_ever(client.clone()));
    let shop = Rc::new(Shop { client, host, port, tally: RefCell::default(), stop: stop.clone() });
    let mut visits = JoinSet::new();
    let mut ticks = interval(Duration::from_secs_f64(1.0 / args.rate.min(MOST_PER_SECOND)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let begun = Instant::now();
    let mut end = pin!(async {
        match args.duration {
            Some(seconds) => sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    });
    let mut number = 0u64;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                number += 1;
                if visits.len() >= MOST_AT_ONCE {
                    shop.tally.borrow_mut().skipped += 1;
                } else {
                    visits.spawn_local(visit(shop.clone(), number));
                }
            }
            Some(_) = visits.join_next() => {}
            () = &mut end => break,
            () = stop.asked() => break,
        }
    }
    // what is in flight is finished; a shop that goes down with us is not waited for
    let patience = if stop.is_asked() { Duration::from_secs(3) } else { Duration::from_secs(15) };
    let _ = timeout(patience, async { while visits.join_next().await.is_some() {} }).await;
    shop.tally.borrow().conclude(begun.elapsed())
}

fn target(text: &str) -> Result<(String, u16), Error> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parts.ok_or_else(|| Error(format!("sock-shop load: --target {text:?} is no HOST:PORT")))
}

/// The shop as its shoppers know it.
#[derive(Debug)]
struct Shop {
    client: Rc<Client>,
    host: String,
    port: u16,
    tally: RefCell<Tally>,
    stop: Stop,
}

/// What happened.
#[derive(Debug, Default)]
struct Tally {
    visits: BTreeMap<&'static str, u64>,
    requests: u64,
    skipped: u64,
    failed: u64,
    /// The first failures, in words.
    samples: Vec<String>,
    seen: HashSet<String>,
    order: VecDeque<String>,
}

impl Tally {
    /// An id that a service assigned; false if it was seen before.
    fn is_new(&mut self, id: &str) -> bool {
        if self.order.len() >= MOST_IDS {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.seen.remove(&oldest));
        }
        self.order.push_back(id.to_owned());
        self.seen.insert(id.to_owned())
    }

    fn conclude(&self, elapsed: Duration) -> Result<(), Error> {
        let visits: u64 = self.visits.values().sum();
        let kinds: Vec<String> = self.visits.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let summary = format!(
            "{visits} visits ({}) and {} requests in {:.0} s, {} skipped, {} failed",
            kinds.join(", "),
            self.requests,
            elapsed.as_secs_f64(),
            self.skipped,
            self.failed
        );
        if self.failed == 0 {
            println!("load: {summary}");
            return Ok(());
        }
        Err(Error(format!("load: {summary}; the first: {}", self.samples.join("; "))))
    }
}

/// One visit: a shopper of its own, who does one kind of thing.
async fn visit(shop: Rc<Shop>, number: u64) {
    let mut shopper = Shopper { shop: shop.clone(), cookie: None };
    let dice = ids::below(100);
    let (kind, outcome) = match dice {
        // the first visits touch every edge, so that the table is full at once
        _ if number <= 2 => ("order", shopper.order().await),
        0..=44 => ("browse", shopper.browse().await),
        45..=54 => ("picture", shopper.pictures(dice == 45).await),
        55..=79 => ("cart", shopper.cart().await),
        80..=84 => ("register", shopper.register().await),
        85..=89 => ("account", shopper.account().await),
        _ => ("order", shopper.order().await),
    };
    let mut tally = shop.tally.borrow_mut();
    *tally.visits.entry(kind).or_default() += 1;
    if let Err(reason) = outcome
        // the shop may be going down with us
        && !shop.stop.is_asked()
    {
        tally.failed += 1;
        tracing::warn!(kind, %reason, "a visit failed");
        if tally.samples.len() < MOST_SAMPLES {
            tally.samples.push(format!("{kind}: {reason}"));
        }
    }
}

struct Shopper {
    shop: Rc<Shop>,
    cookie: Option<String>,
}

type Outcome<T = ()> = Result<T, String>;

impl Shopper {
    async fn call(&mut self, method: Method, path: &str, body: Option<Value>, expected: StatusCode) -> Outcome<Reply> {
        let shop = self.shop.clone();
        let mut call = Call::get(&shop.host, path).with_method(method.clone());
        if let Some(body) = body {
            call = call.with_json(&body);
        }
        call.port = shop.port;
        let text = |text: &str| HeaderValue::from_str(text).ok();
        if let Some(cookie) = self.cookie.as_deref().and_then(text) {
            call.headers.insert(header::COOKIE, cookie);
        }
        if let Some(login) = path.strip_prefix("/login#") {
            call.path = "/login".to_owned();
            let basic = format!("Basic {}", encode_base64(login.as_bytes()));
            call.headers.extend(text(&basic).map(|value| (header::AUTHORIZATION, value)));
        }
        let trail = Trail::default();
        call.headers.extend(text(&ids::object_id()).map(|id| (header::HeaderName::from_static("x-request-id"), id)));
        shop.tally.borrow_mut().requests += 1;
        let reply = shop.client.call(call, &trail).await.map_err(|failure| failure.detail)?;
        for value in reply.headers.get_all(header::SET_COOKIE) {
            let pair = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            if pair.starts_with("md.sid=") {
                self.cookie = Some(pair.to_owned());
            }
        }
        if reply.status != expected {
            let body: String = String::from_utf8_lossy(&reply.body).chars().take(200).collect();
            return Err(format!("{method} {path}: {} {body}", reply.status));
        }
        Ok(reply)
    }

    async fn get(&mut self, path: &str) -> Outcome<Value> {
        let reply = self.call(Method::GET, path, None, StatusCode::OK).await?;
        reply.json("front-end").map_err(|failure| format!("GET {path}: {}", failure.detail))
    }

    async fn post(&mut self, path: &str, body: Value) -> Outcome<Value> {
        let reply = self.call(Method::POST, path, Some(body), StatusCode::CREATED).await?;
        reply.json("front-end").map_err(|failure| format!("POST {path}: {}", failure.detail))
    }

    async fn socks(&mut self) -> Outcome<Vec<Value>> {
        match self.get("/catalogue").await? {
            Value::Array(socks) if !socks.is_empty() => Ok(socks),
            other => Err(format!("GET /catalogue: {other}")),
        }
    }

    async fn browse(&mut self) -> Outcome {
        if ids::below(4) == 0 {
            self.call(Method::GET, "/", None, StatusCode::OK).await?;
        }
        let tags = self.get("/tags").await?;
        let tags = tags["tags"].as_array().cloned().unwrap_or_default();
        let tag = tags.get(ids::below(tags.len())).and_then(Value::as_str).ok_or("there are no tags")?.to_owned();
        let found = self.get(&format!("/catalogue?size=6&page=1&tags={tag}&order=price")).await?;
        let size = self.get(&format!("/catalogue/size?tags={tag}")).await?;
        let found = found.as_array().cloned().unwrap_or_default();
        if found.is_empty() || found.len() as u64 != size["size"].as_u64().unwrap_or_default().min(6) {
            return Err(format!("{} socks tagged {tag}, but the size is {size}", found.len()));
        }
        let id = found[ids::below(found.len())]["id"].as_str().unwrap_or_default().to_owned();
        let sock = self.get(&format!("/catalogue/{id}")).await?;
        if sock["id"] == id.as_str() { Ok(()) } else { Err(format!("asked for {id}, got {}", sock["id"])) }
    }

    async fn pictures(&mut self, large: bool) -> Outcome {
        let socks = self.socks().await?;
        let path = match socks[ids::below(socks.len())]["imageUrl"][0].as_str() {
            Some(path) if !large => path.to_owned(),
            _ => "/catalogue/images/loom.svg".to_owned(),
        };
        let picture = self.call(Method::GET, &path, None, StatusCode::OK).await?;
        if picture.body.starts_with(b"<svg") && picture.body.ends_with(b"</svg>") {
            return Ok(());
        }
        Err(format!("{path}: {} bytes that are no picture", picture.body.len()))
    }

    /// Puts socks into the cart and looks whether they are there.
    async fn cart(&mut self) -> Outcome {
        let (id, quantity) = self.choose().await?;
        self.expect_in_cart(&id, quantity).await?;
        let more = json!({ "id": id, "quantity": quantity + 1 });
        self.call(Method::POST, "/cart/update", Some(more), StatusCode::ACCEPTED).await?;
        self.expect_in_cart(&id, quantity + 1).await?;
        self.call(Method::DELETE, &format!("/cart/{id}"), None, StatusCode::ACCEPTED).await?;
        match self.get("/cart").await?.as_array().map(Vec::len) {
            Some(0) => Ok(()),
            _ => Err("the cart is not empty after its only item was removed".to_owned()),
        }
    }

    async fn choose(&mut self) -> Outcome<(String, u64)> {
        let socks = self.socks().await?;
        // dear ones would be declined when several are bought
        let cheap: Vec<&Value> =
            socks.iter().filter(|sock| sock["price"].as_f64().is_some_and(|price| price < 50.0)).collect();
        let id = cheap.get(ids::below(cheap.len())).and_then(|sock| sock["id"].as_str()).ok_or("no sock is cheap")?;
        let (id, quantity) = (id.to_owned(), 1 + ids::below(3) as u64);
        self.post("/cart", json!({ "id": id, "quantity": quantity })).await?;
        Ok((id, quantity))
    }

    async fn expect_in_cart(&mut self, id: &str, quantity: u64) -> Outcome {
        let cart = self.get("/cart").await?;
        let found = cart.as_array().into_iter().flatten().find(|item| item["itemId"] == id);
        match found.and_then(|item| item["quantity"].as_u64()) {
            Some(found) if found == quantity => Ok(()),
            found => Err(format!("the cart has {found:?} of {id}, not {quantity}")),
        }
    }

    async fn register(&mut self) -> Outcome {
        let username = format!("shopper-{}", ids::object_id());
        let wanted = json!({ "username": username, "password": "knit", "firstName": "Sam", "lastName": "Shopper", "email": "sam@sock-shop.example" });
        let made = self.post("/register", wanted).await?;
        self.expect_new(&made["id"], "customer")?;
        let address =
            json!({ "street": "Loop", "number": "1", "city": "Heelbronn", "postcode": "74072", "country": "Germany" });
        let address = self.post("/addresses", address).await?;
        self.expect_new(&address["id"], "address")?;
        let card = self.post("/cards", json!({ "longNum": "4000123412341234", "expires": "11/30" })).await?;
        self.expect_new(&card["id"], "card")?;
        match self.get("/addresses").await?.as_array().map(Vec::len) {
            Some(1) => Ok(()),
            found => Err(format!("a new customer has {found:?} addresses, not one")),
        }
    }

    async fn account(&mut self) -> Outcome {
        self.call(Method::GET, "/login#user:wrong", None, StatusCode::UNAUTHORIZED).await?;
        self.get("/login#user:password").await?;
        let me = self.get("/session").await?;
        if me["username"] != "user" {
            return Err(format!("logged in as user, but the session says {me}"));
        }
        self.get("/orders").await?;
        self.get("/cards").await.map(drop)
    }

    /// Registers, fills the cart, orders, and finds the order again.
    async fn order(&mut self) -> Outcome {
        let (id, quantity) = self.choose().await?;
        self.register().await?;
        // the cart came along from before the registration
        self.expect_in_cart(&id, quantity).await?;
        let order = self.post("/orders", json!({})).await?;
        let price = order["items"][0]["unitPrice"].as_f64().unwrap_or_default();
        let total = order["total"].as_f64().unwrap_or_default();
        if (price * quantity as f64 + POSTAGE - total).abs() > 0.005 {
            return Err(format!("{quantity} at {price} and postage make {total}"));
        }
        self.expect_new(&order["id"], "order")?;
        self.expect_new(&order["payment"]["authorisationID"], "authorisation")?;
        self.expect_new(&order["shipment"]["id"], "shipment")?;
        let message = format!("{}/{}", order["shipment"]["messageId"], order["servedBy"]);
        self.expect_new(&Value::String(message), "message")?;
        let orders = self.get("/orders").await?;
        if orders[0]["id"] == order["id"] { Ok(()) } else { Err(format!("order {} is not found again", order["id"])) }
    }

    fn expect_new(&self, id: &Value, kind: &str) -> Outcome {
        let id = id.as_str().filter(|id| !id.is_empty()).ok_or_else(|| format!("the {kind} has no id"))?;
        match self.shop.tally.borrow_mut().is_new(&format!("{kind}/{id}")) {
            true => Ok(()),
            false => Err(format!("the {kind} id {id} was given twice")),
        }
    }
}

/// Load is for seeing traffic, not for measuring capacity.
const MOST_PER_SECOND: f64 = 1000.0;
/// Visits at once; when the shop is slower than shoppers come, further ones are skipped and counted.
const MOST_AT_ONCE: usize = 64;
/// Ids remembered to find duplicates.
const MOST_IDS: usize = 20_000;
const MOST_SAMPLES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::in_shop;

    #[tokio::test]
    async fn every_kind_of_visit_finds_the_shop_as_it_expects_it() {
        in_shop(async |story| {
            let (_sender, stop) = Stop::pulled_by_hand();
            let client = Rc::new(Client::new(story.directory));
            let shop = Rc::new(Shop { client, host: "front-end".into(), port: 80, tally: RefCell::default(), stop });
            let visitor = || Shopper { shop: shop.clone(), cookie: None };
            visitor().browse().await.unwrap();
            visitor().pictures(false).await.unwrap();
            visitor().pictures(true).await.unwrap();
            visitor().cart().await.unwrap();
            visitor().register().await.unwrap();
            visitor().account().await.unwrap();
            visitor().order().await.unwrap();
            visitor().order().await.unwrap();
        })
        .await;
    }

    #[test]
    fn an_id_that_comes_twice_is_noticed() {
        let mut tally = Tally::default();
        assert!(tally.is_new("order/1") && tally.is_new("card/1") && !tally.is_new("order/1"));
    }

    #[test]
    fn a_target_is_a_host_and_a_port() {
        assert_eq!(target("front-end:80").unwrap(), ("front-end".to_owned(), 80));
        assert!(target("front-end").is_err());
    }
}
