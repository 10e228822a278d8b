//! The whole shop in one process on loopback: one listener per service, names from a list.

use std::{future::Future, net::SocketAddr};

use ::http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::LocalSet};

use crate::{
    Role,
    client::{Call, Client, Reply},
    directory::Directory,
    http::{Trail, encode_base64},
    part,
    stop::Stop,
};

/// Every service, started.
pub(crate) struct Shop {
    pub(crate) directory: Directory,
    client: Client,
    cookie: Option<String>,
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    front_end: SocketAddr,
}

impl Shop {
    async fn open() -> Shop {
        let parts = [
            ("carts", Role::Carts),
            ("carts-db", Role::CartsDb),
            ("catalogue", Role::Catalogue),
            ("catalogue-db", Role::CatalogueDb),
            ("front-end", Role::FrontEnd),
            ("orders", Role::Orders),
            ("orders-db", Role::OrdersDb),
            ("payment", Role::Payment),
            ("queue-master", Role::QueueMaster),
            ("rabbitmq", Role::Rabbitmq),
            ("session-db", Role::SessionDb),
            ("shipping", Role::Shipping),
            ("user", Role::User),
            ("user-db", Role::UserDb),
        ];
        let (stop, watch) = Stop::pulled_by_hand();
        let mut listeners = Vec::new();
        let mut names = Vec::new();
        for (name, role) in parts {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let addr = listener.local_addr().unwrap();
            let port = if name == "front-end" { 80 } else { role.port().unwrap() };
            names.push((name, port, addr));
            listeners.push((role, listener));
        }
        let front_end = names.iter().find(|(name, _, _)| *name == "front-end").unwrap().2;
        let directory = Directory::fixed(names);
        let mut tasks = Vec::new();
        for (role, listener) in listeners {
            let (directory, watch) = (directory.clone(), watch.clone());
            tasks.push(tokio::task::spawn_local(async move { part(&role, listener, directory, watch).await }));
        }
        Shop { client: Client::new(directory.clone()), directory, cookie: None, stop, tasks, front_end }
    }

    async fn call(&mut self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut call = Call::get("front-end", path).with_method(method);
        if let Some(body) = body {
            call = call.with_json(&body);
        }
        call.headers.extend(self.cookie.as_ref().map(|cookie| (header::COOKIE, cookie.parse().unwrap())));
        let login = format!("Basic {}", encode_base64(b"user:password"));
        call.headers.insert(header::AUTHORIZATION, login.parse().unwrap());
        let reply = self.client.call(call, &Trail::default()).await.unwrap();
        for value in reply.headers.get_all(header::SET_COOKIE) {
            let pair = value.to_str().unwrap().split(';').next().unwrap();
            if pair.starts_with("md.sid=") {
                self.cookie = Some(pair.to_owned());
            }
        }
        reply
    }

    async fn json(&mut self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let reply = self.call(method, path, body).await;
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }
}

pub(crate) async fn in_shop<F: Future<Output = ()>>(story: impl FnOnce(Shop) -> F) {
    LocalSet::new().run_until(async { story(Shop::open().await).await }).await;
}

#[tokio::test]
async fn an_order_runs_the_whole_call_graph_and_returns_every_id() {
    in_shop(async |mut shop| {
        let (_, socks) = shop.json("GET", "/catalogue?tags=geek&order=price", None).await;
        assert!(socks.as_array().unwrap().len() >= 3);
        let item = json!({ "id": "mesh-teal", "quantity": 2, "unitPrice": 0.01 });
        assert_eq!(shop.json("POST", "/cart", Some(item)).await.0, StatusCode::CREATED);
        assert_eq!(shop.json("GET", "/login", None).await.0, StatusCode::OK);
        let (_, cart) = shop.json("GET", "/cart", None).await;
        assert_eq!((&cart[0]["itemId"], &cart[0]["quantity"]), (&json!("mesh-teal"), &json!(2)));

        let (status, order) = shop.json("POST", "/orders", Some(json!({}))).await;
        assert_eq!(status, StatusCode::CREATED, "{order}");
        // the catalogue makes the price, not the shopper
        assert_eq!(order["total"], json!(2.0 * 18.0 + 4.99));
        assert_eq!(order["card"]["longNum"], "•••• 9678");
        for id in ["/id", "/customerId", "/payment/authorisationID", "/shipment/id", "/shipment/messageId"] {
            assert!(order.pointer(id).is_some_and(|id| !id.as_str().unwrap_or_default().is_empty()), "{id}: {order}");
        }
        assert!(order["servedBy"].as_array().is_some_and(|pods| !pods.is_empty()));
        let (_, orders) = shop.json("GET", "/orders", None).await;
        assert_eq!(orders[0]["id"], order["id"]);
        assert_eq!(shop.json("GET", "/cart", None).await.1, json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_shopper_without_login_or_address_is_told_what_is_missing() {
    in_shop(async |mut shop| {
        let (status, problem) = shop.json("POST", "/orders", Some(json!({}))).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthorized")));
        let person = json!({ "username": "new", "password": "x", "firstName": "N", "lastName": "E", "email": "w" });
        assert_eq!(shop.json("POST", "/register", Some(person.clone())).await.0, StatusCode::CREATED);
        let (status, problem) = shop.json("POST", "/orders", Some(json!({}))).await;
        assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("address_missing")));
        let (status, problem) = shop.json("POST", "/register", Some(person)).await;
        assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("name_taken")));
    })
    .await;
}

#[tokio::test]
async fn a_payment_above_the_limit_is_declined_in_words() {
    in_shop(async |mut shop| {
        shop.json("GET", "/login", None).await;
        shop.json("POST", "/cart", Some(json!({ "id": "stars-violet", "quantity": 9 }))).await;
        let (status, problem) = shop.json("POST", "/orders", Some(json!({}))).await;
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_ACCEPTABLE, &json!("payment_declined")));
        assert!(problem["detail"].as_str().unwrap().contains("exceeds"));
    })
    .await;
}

#[tokio::test]
async fn the_page_and_its_pictures_are_served_without_a_login() {
    in_shop(async |mut shop| {
        for path in ["/", "/style.css", "/shop.js", "/favicon.svg", "/health", "/metrics", "/tags"] {
            assert_eq!(shop.call("GET", path, None).await.status, StatusCode::OK, "{path}");
        }
        let picture = shop.call("GET", "/catalogue/images/mesh-teal.svg", None).await;
        assert_eq!(picture.headers["content-type"], "image/svg+xml");
        assert!(shop.call("GET", "/catalogue/images/loom.svg", None).await.body.len() > 1_000_000);
        assert_eq!(shop.json("GET", "/catalogue/no'pe", None).await.0, StatusCode::NOT_FOUND);
        assert_eq!(shop.json("GET", "/etc/passwd", None).await.0, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_connection_to_carts_closes_after_a_hundred_requests_and_shoppers_do_not_notice() {
    in_shop(async |mut shop| {
        for _ in 0..150 {
            assert_eq!(shop.json("GET", "/cart", None).await.0, StatusCode::OK);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn services_drain_and_end_when_asked_to() {
    in_shop(async |mut shop| {
        assert_eq!(shop.json("GET", "/session", None).await.0, StatusCode::OK);
        shop.stop.send_replace(true);
        for task in shop.tasks {
            task.await.unwrap();
        }
        assert!(tokio::net::TcpStream::connect(shop.front_end).await.is_err());
    })
    .await;
}
