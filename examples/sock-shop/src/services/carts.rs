//! What each shopper has chosen. Calls `carts-db`.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    directory::Directory,
    http::{Answer, Failure, Request, Trail},
    ids,
    serve::{Manners, Service},
    wire::documents::Documents,
};

#[derive(Debug)]
pub(crate) struct Carts {
    documents: Documents,
}

impl Carts {
    pub(crate) fn new(directory: Directory) -> Carts {
        Carts { documents: Documents::new("carts-db", directory) }
    }

    async fn items(&self, customer: &str, trail: &Trail) -> Result<Vec<Value>, Failure> {
        let cart = self.documents.get("cart", customer, trail).await?.unwrap_or_default();
        Ok(cart["items"].as_array().cloned().unwrap_or_default())
    }

    async fn keep(&self, customer: &str, items: &[Value], trail: &Trail) -> Result<(), Failure> {
        self.documents.put("cart", &json!({ "id": customer, "customerId": customer, "items": items }), trail).await
    }

    /// Adds to what is there (`POST`) or sets the quantity (`PATCH`).
    async fn change(&self, customer: &str, request: &Request, adding: bool) -> Result<Value, Failure> {
        let wanted: Value = request.json()?;
        let id = wanted["itemId"].as_str().filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Failure::bad_request("itemId is missing"))?;
        let quantity = wanted["quantity"].as_u64().unwrap_or(1);
        let mut items = self.items(customer, &request.trail).await?;
        let place = items.iter().position(|item| item["itemId"] == id);
        let before = place.and_then(|place| items[place]["quantity"].as_u64()).unwrap_or(0);
        let quantity = if adding { before.saturating_add(quantity) } else { quantity };
        if quantity == 0 || quantity > MOST_OF_ONE || (place.is_none() && items.len() >= MOST_ITEMS) {
            let reason = format!("a cart holds 1 to {MOST_OF_ONE} of up to {MOST_ITEMS} different socks");
            return Err(Failure::bad_request(reason));
        }
        let item = json!({
            "id": place.map_or_else(ids::object_id, |place| items[place]["id"].as_str().unwrap_or_default().to_owned()),
            "itemId": id,
            "quantity": quantity,
            "unitPrice": wanted["unitPrice"].as_f64().unwrap_or_default(),
        });
        match place {
            Some(place) => items[place] = item.clone(),
            None => items.push(item.clone()),
        }
        self.keep(customer, &items, &request.trail).await?;
        Ok(item)
    }

    async fn remove(&self, customer: &str, id: &str, trail: &Trail) -> Result<(), Failure> {
        let mut items = self.items(customer, trail).await?;
        items.retain(|item| item["itemId"] != id);
        self.keep(customer, &items, trail).await
    }

    /// Moves what an anonymous session collected into a customer's cart.
    async fn merge(&self, customer: &str, request: &Request) -> Result<(), Failure> {
        let session = request.parameter("sessionId").ok_or_else(|| Failure::bad_request("sessionId is missing"))?;
        let theirs = self.items(session, &request.trail).await?;
        if theirs.is_empty() || session == customer {
            return Ok(());
        }
        let mut items = self.items(customer, &request.trail).await?;
        for item in theirs {
            match items.iter_mut().find(|known| known["itemId"] == item["itemId"]) {
                Some(known) => {
                    let both = known["quantity"].as_u64().unwrap_or(0) + item["quantity"].as_u64().unwrap_or(0);
                    known["quantity"] = json!(both.min(MOST_OF_ONE));
                }
                None => items.push(item),
            }
        }
        items.truncate(MOST_ITEMS);
        self.keep(customer, &items, &request.trail).await?;
        self.documents.delete("cart", session, &request.trail).await
    }
}

impl Service for Carts {
    const NAME: &'static str = "carts";
    const MANNERS: Manners = Manners::TOMCAT;

    async fn serve(&self, request: &Request) -> Result<Answer, Failure> {
        let trail = &request.trail;
        let (method, path) = request.route();
        let (status, body) = match (method, path.as_slice()) {
            ("GET", ["carts", customer]) => {
                let items = self.items(customer, trail).await?;
                (StatusCode::OK, json!({ "id": customer, "customerId": customer, "items": items }))
            }
            ("DELETE", ["carts", customer]) => {
                self.documents.delete("cart", customer, trail).await?;
                (StatusCode::ACCEPTED, Value::Null)
            }
            ("GET", ["carts", customer, "items"]) => (StatusCode::OK, json!(self.items(customer, trail).await?)),
            ("POST", ["carts", customer, "items"]) => {
                (StatusCode::CREATED, self.change(customer, request, true).await?)
            }
            ("PATCH", ["carts", customer, "items"]) => {
                (StatusCode::ACCEPTED, self.change(customer, request, false).await?)
            }
            ("GET", ["carts", customer, "items", id]) => {
                let found = self.items(customer, trail).await?.into_iter().find(|item| item["itemId"] == *id);
                (StatusCode::OK, found.ok_or_else(|| Failure::not_found("item in this cart"))?)
            }
            ("DELETE", ["carts", customer, "items", id]) => {
                self.remove(customer, id, trail).await?;
                (StatusCode::ACCEPTED, Value::Null)
            }
            ("GET", ["carts", customer, "merge"]) => {
                self.merge(customer, request).await?;
                (StatusCode::ACCEPTED, Value::Null)
            }
            _ => return Err(Failure::not_found("page in carts")),
        };
        Ok(Answer::json(&body).with_status(status).chunked())
    }
}

const MOST_OF_ONE: u64 = 99;
const MOST_ITEMS: usize = 50;
