//! The socks on sale. Calls `catalogue-db`.

use serde_json::{Value, json};

use super::pictures;
use crate::{
    directory::Directory,
    http::{Answer, Failure, Request},
    serve::Service,
    wire::rows::{Row, Rows},
};

/// Columns of the table `sock`.
pub(crate) const COLUMNS: &[&str] =
    &["sock_id", "name", "description", "price", "count", "image_url_1", "image_url_2", "tag_name"];

#[derive(Debug)]
pub(crate) struct Catalogue {
    rows: Rows,
}

impl Catalogue {
    pub(crate) fn new(directory: Directory) -> Catalogue {
        Catalogue { rows: Rows::new("catalogue-db", directory) }
    }

    async fn socks(&self, request: &Request) -> Result<Vec<Value>, Failure> {
        let rows = self.rows.query("SELECT * FROM sock".to_owned(), &request.trail).await?;
        let wanted: Vec<&str> =
            request.parameter("tags").unwrap_or_default().split(',').filter(|tag| !tag.is_empty()).collect();
        let mut rows: Vec<&Row> =
            rows.iter().filter(|row| wanted.is_empty() || row[7].split(',').any(|tag| wanted.contains(&tag))).collect();
        let number = |row: &Row, column: usize| row[column].parse::<f64>().unwrap_or_default();
        match request.parameter("order").unwrap_or("id") {
            "id" => {}
            "name" => rows.sort_by(|a, b| a[1].cmp(&b[1])),
            "price" => rows.sort_by(|a, b| number(a, 3).total_cmp(&number(b, 3))),
            "count" => rows.sort_by(|a, b| number(b, 4).total_cmp(&number(a, 4))),
            other => return Err(Failure::bad_request(format!("order={other}: id, name, price or count"))),
        }
        Ok(rows.into_iter().map(sock).collect())
    }

    async fn page(&self, request: &Request) -> Result<Answer, Failure> {
        let number = |name: &str, default: usize| match request.parameter(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Failure::bad_request(format!("{name}={text} is no number"))),
        };
        let (page, size) = (number("page", 1)?.max(1), number("size", MOST_SOCKS)?.min(MOST_SOCKS));
        let socks: Vec<Value> =
            self.socks(request).await?.into_iter().skip((page - 1).saturating_mul(size)).take(size).collect();
        Ok(Answer::json(&json!(socks)))
    }

    async fn one(&self, request: &Request, id: &str) -> Result<Answer, Failure> {
        // the id goes into a query: nothing but what our ids are made of
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Failure::not_found("sock"));
        }
        let rows = self.rows.query(format!("SELECT * FROM sock WHERE sock_id = '{id}'"), &request.trail).await?;
        rows.first().map(|row| Answer::json(&sock(row))).ok_or_else(|| Failure::not_found("sock"))
    }
}

impl Service for Catalogue {
    const NAME: &'static str = "catalogue";

    async fn serve(&self, request: &Request) -> Result<Answer, Failure> {
        let (method, path) = request.route();
        match (method, path.as_slice()) {
            ("GET", ["catalogue"]) => self.page(request).await,
            ("GET", ["catalogue", "size"]) => {
                Ok(Answer::json(&json!({ "size": self.socks(request).await?.len(), "err": null })))
            }
            ("GET", ["catalogue", "images", name]) => {
                pictures::picture(name).ok_or_else(|| Failure::not_found("picture"))
            }
            ("GET", ["catalogue", id]) => self.one(request, id).await,
            ("GET", ["tags"]) => {
                let rows = self.rows.query("SELECT * FROM tag".to_owned(), &request.trail).await?;
                let tags: Vec<&String> = rows.iter().filter_map(|row| row.first()).collect();
                Ok(Answer::json(&json!({ "tags": tags, "err": null })))
            }
            _ => Err(Failure::not_found("page in the catalogue")),
        }
    }
}

fn sock(row: &Row) -> Value {
    json!({
        "id": row[0],
        "name": row[1],
        "description": row[2],
        "price": row[3].parse::<f64>().unwrap_or_default(),
        "count": row[4].parse::<u64>().unwrap_or_default(),
        "imageUrl": [row[5], row[6]],
        "tag": row[7].split(',').collect::<Vec<_>>(),
    })
}

/// Per page; the shop has fewer.
const MOST_SOCKS: usize = 100;
