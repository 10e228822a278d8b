//! Places orders. Calls `user`, `carts`, `payment`, `shipping` and `orders-db`.

use std::rc::Rc;

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    calendar,
    client::{Call, Client, sweep_for_ever},
    directory::Directory,
    http::{Answer, Failure, Request, Trail},
    ids,
    serve::{Manners, Service},
    wire::documents::Documents,
};

#[derive(Debug)]
pub(crate) struct Orders {
    client: Rc<Client>,
    documents: Documents,
}

impl Orders {
    pub(crate) fn new(directory: Directory) -> Orders {
        let client = Rc::new(Client::new(directory.clone()));
        tokio::task::spawn_local(sweep_for_ever(client.clone()));
        Orders { client, documents: Documents::new("orders-db", directory) }
    }

    /// The life of an order: look everything up, authorise the payment, ship, remember.
    async fn place(&self, request: &Request) -> Result<Value, Failure> {
        let (wanted, trail): (Value, &Trail) = (request.json()?, &request.trail);
        let (customer, address, card, items) = tokio::join!(
            self.follow(&wanted, "customer", "user", trail),
            self.follow(&wanted, "address", "user", trail),
            self.follow(&wanted, "card", "user", trail),
            self.follow(&wanted, "items", "carts", trail),
        );
        let (customer, address, mut card, items) = (customer?, address?, card?, items?);
        if items.as_array().is_none_or(Vec::is_empty) {
            return Err(Failure::bad_request("the cart is empty"));
        }
        let total = total(&items);
        mask(&mut card);

        let payment = self.pay(&customer, &address, &card, total, trail).await?;
        let id = ids::object_id();
        let shipment = json!({ "id": id, "name": customer["id"] });
        let shipment = self.client.json(Call::post("shipping", "/shipping", &shipment), trail).await?;

        let order = json!({
            "id": id, "customerId": customer["id"], "customer": customer, "address": address, "card": card,
            "items": items, "payment": payment, "shipment": shipment, "date": calendar::now(), "total": total,
        });
        self.documents.put("order", &order, trail).await?;
        Ok(order)
    }

    /// Fetches what a link of the request names. Links lead to the shop's own services and nowhere else.
    async fn follow(&self, wanted: &Value, field: &str, host: &'static str, trail: &Trail) -> Result<Value, Failure> {
        let link = wanted[field].as_str().unwrap_or_default();
        let rest = link.strip_prefix("http://").and_then(|rest| rest.strip_prefix(host));
        let path = rest.map(|rest| rest.strip_prefix(":80").unwrap_or(rest)).filter(|path| path.starts_with('/'));
        let path = path.ok_or_else(|| Failure::bad_request(format!("{field}: {link:?} is no link to {host}")))?;
        let mut found = self.client.json(Call::get(host, path), trail).await?;
        if let Some(fields) = found.as_object_mut() {
            fields.remove("_links");
        }
        Ok(found)
    }

    async fn pay(
        &self,
        customer: &Value,
        address: &Value,
        card: &Value,
        total: f64,
        trail: &Trail,
    ) -> Result<Value, Failure> {
        let wanted = json!({ "customer": customer, "address": address, "card": card, "amount": total });
        let payment = self.client.json(Call::post("payment", "/paymentAuth", &wanted), trail).await?;
        if payment["authorised"] != true {
            let reason = payment["message"].as_str().unwrap_or("Payment declined").to_owned();
            return Err(Failure::new(StatusCode::NOT_ACCEPTABLE, "payment_declined", reason));
        }
        Ok(payment)
    }
}

impl Service for Orders {
    const NAME: &'static str = "orders";
    const MANNERS: Manners = Manners::TOMCAT;

    async fn serve(&self, request: &Request) -> Result<Answer, Failure> {
        let (method, path) = request.route();
        let (status, body) = match (method, path.as_slice()) {
            ("POST", ["orders"]) => (StatusCode::CREATED, Box::pin(self.place(request)).await?),
            ("GET", ["orders", "search", "customerId"]) => {
                let customer = request.parameter("custId").ok_or_else(|| Failure::bad_request("custId is missing"))?;
                let mut orders =
                    self.documents.find("order", json!({ "customerId": customer }), &request.trail).await?;
                orders.reverse();
                (StatusCode::OK, json!({ "_embedded": { "customerOrders": orders } }))
            }
            ("GET", ["orders", id]) => {
                let found = self.documents.get("order", id, &request.trail).await?;
                (StatusCode::OK, found.ok_or_else(|| Failure::not_found("order"))?)
            }
            _ => return Err(Failure::not_found("page in orders")),
        };
        Ok(Answer::json(&body).with_status(status).chunked())
    }
}

/// What the items cost, and the postage; in whole cents.
fn total(items: &Value) -> f64 {
    let price =
        |item: &Value| item["unitPrice"].as_f64().unwrap_or_default() * item["quantity"].as_f64().unwrap_or_default();
    let sum: f64 = items.as_array().into_iter().flatten().map(price).sum();
    ((sum + POSTAGE) * 100.0).round() / 100.0
}

/// Keeps the last four digits of a card.
fn mask(card: &mut Value) {
    let digits: Vec<char> = card["longNum"].as_str().unwrap_or_default().chars().collect();
    let last: String = digits[digits.len().saturating_sub(4)..].iter().collect();
    card["longNum"] = json!(format!("•••• {last}"));
}

/// As in the original.
pub(crate) const POSTAGE: f64 = 4.99;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_in_cents_and_has_postage() {
        let items = json!([{ "unitPrice": 17.32, "quantity": 3 }, { "unitPrice": 7.99, "quantity": 1 }]);
        assert_eq!(total(&items), 64.94);
    }

    #[test]
    fn a_card_shows_its_last_digits() {
        let mut card = json!({ "longNum": "5953580604169678" });
        mask(&mut card);
        assert_eq!(card["longNum"], "•••• 9678");
    }
}
