//! Authorises payments. Calls nobody.

use serde_json::{Value, json};

use crate::{
    http::{Answer, Failure, Request},
    ids,
    serve::Service,
};

#[derive(Debug)]
pub(crate) struct Payment;

impl Service for Payment {
    const NAME: &'static str = "payment";

    async fn serve(&self, request: &Request) -> Result<Answer, Failure> {
        let (method, path) = request.route();
        let ("POST", ["paymentAuth"]) = (method, path.as_slice()) else {
            return Err(Failure::not_found("page in payment"));
        };
        let wanted: Value = request.json()?;
        let amount = wanted["amount"].as_f64().filter(|amount| *amount > 0.0);
        let amount = amount.ok_or_else(|| Failure::bad_request("Invalid payment amount"))?;
        let authorised = amount <= MOST;
        let message = match authorised {
            true => "Payment authorised".to_owned(),
            false => format!("Payment declined: amount exceeds {MOST:.2}"),
        };
        let id = authorised.then(|| format!("auth-{}", ids::hex(&ids::bytes::<8>())));
        Ok(Answer::json(&json!({ "authorised": authorised, "authorisationID": id, "message": message })))
    }
}

/// Above this a payment is declined, so that a shopper can see a refusal. The original declines at 105.
const MOST: f64 = 500.0;
