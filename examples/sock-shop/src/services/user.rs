//! Customers, their addresses and cards. Calls `user-db`.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::{
    directory::Directory,
    http::{Answer, Failure, Request, Trail, decode_base64},
    ids,
    serve::Service,
    wire::documents::Documents,
};

#[derive(Debug)]
pub(crate) struct User {
    documents: Documents,
}

impl User {
    pub(crate) fn new(directory: Directory) -> User {
        User { documents: Documents::new("user-db", directory) }
    }

    async fn login(&self, request: &Request) -> Result<Answer, Failure> {
        let (username, password) =
            credentials(request).ok_or_else(|| Failure::unauthorized("log in with a name and a password"))?;
        let found = self.documents.find("customer", json!({ "username": username }), &request.trail).await?;
        let known = found.first().filter(|customer| fits(customer, &password));
        let customer = known.ok_or_else(|| Failure::unauthorized("no customer has this name and password"))?;
        Ok(Answer::json(&json!({ "user": self.shown("customers", customer, request) })))
    }

    async fn register(&self, request: &Request) -> Result<Answer, Failure> {
        let wanted: Value = request.json()?;
        let text =
            |name: &str| wanted[name].as_str().unwrap_or_default().trim().chars().take(MOST_TEXT).collect::<String>();
        let (username, password) = (text("username"), wanted["password"].as_str().unwrap_or_default());
        if username.is_empty() || password.is_empty() || password.len() > MOST_TEXT || username.contains(':') {
            return Err(Failure::bad_request("a username without colon and a password are needed"));
        }
        if !self.documents.find("customer", json!({ "username": username }), &request.trail).await?.is_empty() {
            return Err(Failure::new(StatusCode::CONFLICT, "name_taken", format!("the name {username} is taken")));
        }
        let (salt, hash) = hashed(password);
        let id = ids::object_id();
        let customer = json!({
            "id": id, "username": username, "firstName": text("firstName"), "lastName": text("lastName"),
            "email": text("email"), "salt": salt, "password": hash,
        });
        self.documents.put("customer", &customer, &request.trail).await?;
        Ok(Answer::json(&json!({ "id": id })).with_status(StatusCode::CREATED))
    }

    async fn add(
        &self,
        kind: &'static str,
        collection: &str,
        fields: &[&str],
        request: &Request,
    ) -> Result<Answer, Failure> {
        let wanted: Value = request.json()?;
        let owner = wanted["userID"].as_str().unwrap_or_default();
        if self.documents.get("customer", owner, &request.trail).await?.is_none() {
            return Err(Failure::not_found("customer"));
        }
        let id = ids::object_id();
        let mut document = json!({ "id": id, "userID": owner });
        for field in fields {
            let text: String = wanted[field].as_str().unwrap_or_default().trim().chars().take(MOST_TEXT).collect();
            if text.is_empty() {
                return Err(Failure::bad_request(format!("{field} is missing ({kind})")));
            }
            document[field] = json!(text);
        }
        self.documents.put(collection, &document, &request.trail).await?;
        Ok(Answer::json(&json!({ "id": id })).with_status(StatusCode::CREATED))
    }

    async fn one(&self, kind: &str, id: &str, request: &Request) -> Result<Answer, Failure> {
        let collection = collection(kind).ok_or_else(|| Failure::not_found("page in user"))?;
        let found = self.documents.get(collection, id, &request.trail).await?;
        let document = found.ok_or_else(|| Failure::not_found(collection))?;
        Ok(Answer::json(&self.shown(kind, &document, request)))
    }

    async fn list(&self, kind: &str, filter: Value, request: &Request) -> Result<Answer, Failure> {
        let collection = collection(kind).ok_or_else(|| Failure::not_found("page in user"))?;
        let found = self.documents.find(collection, filter, &request.trail).await?;
        let shown: Vec<Value> = found.iter().map(|document| self.shown(kind, document, request)).collect();
        Ok(Answer::json(&json!({ "_embedded": { collection: shown } })))
    }

    /// A document without its secrets, with links that follow the request's `Host`.
    fn shown(&self, kind: &str, document: &Value, request: &Request) -> Value {
        let mut shown = document.clone();
        if let Some(fields) = shown.as_object_mut() {
            fields.remove("password");
            fields.remove("salt");
        }
        let host = request.header("host").unwrap_or("user");
        let own = format!("http://{host}/{kind}/{}", document["id"].as_str().unwrap_or_default());
        shown["_links"] = match kind {
            "customers" => json!({
                "self": { "href": own },
                "addresses": { "href": format!("{own}/addresses") },
                "cards": { "href": format!("{own}/cards") },
            }),
            _ => json!({ "self": { "href": own } }),
        };
        shown
    }

    async fn remove(&self, kind: &str, id: &str, trail: &Trail) -> Result<Answer, Failure> {
        let collection = collection(kind).ok_or_else(|| Failure::not_found("page in user"))?;
        self.documents.delete(collection, id, trail).await?;
        Ok(Answer::json(&json!({ "status": true })))
    }
}

impl Service for User {
    const NAME: &'static str = "user";

    async fn serve(&self, request: &Request) -> Result<Answer, Failure> {
        let (method, path) = request.route();
        match (method, path.as_slice()) {
            ("GET", ["login"]) => self.login(request).await,
            ("POST", ["register"]) => self.register(request).await,
            ("POST", ["addresses"]) => {
                let fields = ["street", "number", "city", "postcode", "country"];
                self.add("addresses", "address", &fields, request).await
            }
            ("POST", ["cards"]) => self.add("cards", "card", &["longNum", "expires"], request).await,
            ("GET", ["customers", id, kind @ ("addresses" | "cards")]) => {
                self.list(kind, json!({ "userID": id }), request).await
            }
            ("GET", [kind]) => self.list(kind, json!({}), request).await,
            ("GET", [kind, id]) => self.one(kind, id, request).await,
            ("DELETE", [kind @ ("addresses" | "cards"), id]) => self.remove(kind, id, &request.trail).await,
            _ => Err(Failure::not_found("page in user")),
        }
    }
}

fn collection(kind: &str) -> Option<&'static str> {
    match kind {
        "addresses" => Some("address"),
        "cards" => Some("card"),
        "customers" => Some("customer"),
        _ => None,
    }
}

/// Name and password of a Basic `Authorization`.
fn credentials(request: &Request) -> Option<(String, String)> {
    let value = request.header(header::AUTHORIZATION.as_str())?;
    let decoded = decode_base64(value.strip_prefix("Basic ")?.trim())?;
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

/// Salt and hash of a password.
pub(crate) fn hashed(password: &str) -> (String, String) {
    let salt = ids::hex(&ids::bytes::<16>());
    let mut hash = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt.as_bytes(), password.as_bytes(), &mut hash);
    (salt, ids::hex(&hash))
}

fn fits(customer: &Value, password: &str) -> bool {
    let (Some(salt), Some(hash)) = (customer["salt"].as_str(), customer["password"].as_str()) else { return false };
    let pairs =
        hash.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or_default(), 16));
    let Ok(hash) = pairs.collect::<Result<Vec<u8>, _>>() else { return false };
    pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt.as_bytes(), password.as_bytes(), &hash).is_ok()
}

/// Few: what is guarded are the passwords of a demo, and logging in must not load the machine that shows it.
const ROUNDS: NonZeroU32 = NonZeroU32::new(2048).expect("it is not zero");
const MOST_TEXT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_only() {
        let (salt, hash) = hashed("password");
        let customer = json!({ "salt": salt, "password": hash });
        assert!(fits(&customer, "password"));
        assert!(!fits(&customer, "passwore"));
        assert!(!fits(&json!({}), ""));
    }
}
