//! Documents in MongoDB's manner: messages of OP_MSG's framing with JSON for BSON; the client speaks first.
//!
//! ```text
//! length u32 LE | request id u32 | response to u32 | opcode 2013 u32 | flags u32 | section kind 0 u8 | JSON
//! ```
//!
//! Owns the store of `carts-db`, `orders-db` and `user-db`, and the client that the services use. Memory is bounded: the
//! oldest document of a full collection goes.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    io,
};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::stream::{Pool, Server, Session, Stream, invalid, next_command};
use crate::{
    directory::Directory,
    http::{Failure, Trail},
    pod,
    stop::Stop,
};

/// A client of one document database.
#[derive(Debug)]
pub(crate) struct Documents(Pool<Conversation>);

impl Documents {
    pub(crate) fn new(host: &'static str, directory: Directory) -> Documents {
        Documents(Pool::new(host, PORT, directory))
    }

    /// Documents of a collection whose fields equal the filter's; oldest first.
    pub(crate) async fn find(&self, collection: &str, filter: Value, trail: &Trail) -> Result<Vec<Value>, Failure> {
        let mut reply = self.command(json!({ "find": collection, "filter": filter }), trail).await?;
        match reply.get_mut("documents").map(Value::take) {
            Some(Value::Array(documents)) => Ok(documents),
            _ => Err(Failure::unreachable(self.0.host(), "a reply without documents")),
        }
    }

    /// The document with this id.
    pub(crate) async fn get(&self, collection: &str, id: &str, trail: &Trail) -> Result<Option<Value>, Failure> {
        Ok(self.find(collection, json!({ "id": id }), trail).await?.pop())
    }

    /// Inserts or replaces by `id`.
    pub(crate) async fn put(&self, collection: &str, document: &Value, trail: &Trail) -> Result<(), Failure> {
        self.command(json!({ "replace": collection, "document": document }), trail).await.map(drop)
    }

    pub(crate) async fn delete(&self, collection: &str, id: &str, trail: &Trail) -> Result<(), Failure> {
        self.command(json!({ "delete": collection, "id": id }), trail).await.map(drop)
    }

    async fn command(&self, command: Value, trail: &Trail) -> Result<Value, Failure> {
        let reply = self.0.exchange(&command).await?;
        trail.note(reply.get("pod").and_then(Value::as_str).unwrap_or_default());
        match reply.get("ok").and_then(Value::as_u64) {
            Some(1) => Ok(reply),
            _ => Err(Failure::unreachable(self.0.host(), reply.get("errmsg").unwrap_or(&Value::Null))),
        }
    }
}

/// One connection of a client.
#[derive(Debug)]
struct Conversation {
    stream: Stream,
    next_id: u32,
}

impl Session for Conversation {
    type Command = Value;
    type Reply = Value;

    async fn open(stream: Stream) -> io::Result<Conversation> {
        let mut conversation = Conversation { stream, next_id: 1 };
        conversation.exchange(&json!({ "hello": 1, "client": pod::name() })).await?;
        Ok(conversation)
    }

    async fn exchange(&mut self, command: &Value) -> io::Result<Value> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        write(&mut self.stream, &Message { id, response_to: 0, body: command.clone() }).await?;
        let reply = read(&mut self.stream).await?;
        if reply.response_to != id {
            return Err(invalid("a reply to another request"));
        }
        Ok(reply.body)
    }
}

/// A document database.
#[derive(Debug, Default)]
pub(crate) struct Store(RefCell<HashMap<String, Collection>>);

#[derive(Debug, Default)]
struct Collection {
    documents: BTreeMap<u64, Value>,
    places: HashMap<String, u64>,
    next: u64,
    /// The first ones, which came with the shop and never go.
    seeds: usize,
}

impl Store {
    /// A store that begins with these documents, which are never evicted.
    pub(crate) fn seeded(seeds: Vec<(&'static str, Value)>) -> Store {
        let store = Store::default();
        for (collection, document) in seeds {
            let mut collections = store.0.borrow_mut();
            let collection = collections.entry(collection.to_owned()).or_default();
            if collection.replace(document) {
                collection.seeds += 1;
            }
        }
        store
    }

    fn execute(&self, command: &Value) -> Value {
        let verb = VERBS.iter().find(|verb| command.get(**verb).is_some());
        let outcome = match verb.map(|verb| (*verb, &command[*verb])) {
            Some(("hello" | "ping", _)) => Ok(json!({})),
            Some((verb, Value::String(collection))) => self.on_collection(verb, collection, command),
            _ => Err("no such command"),
        };
        let mut reply = outcome.unwrap_or_else(|reason| json!({ "ok": 0, "errmsg": reason }));
        if reply.get("ok").is_none() {
            reply["ok"] = json!(1);
        }
        reply["pod"] = json!(pod::name());
        reply
    }

    fn on_collection(&self, verb: &str, name: &str, command: &Value) -> Result<Value, &'static str> {
        let mut collections = self.0.borrow_mut();
        if !collections.contains_key(name) && collections.len() >= MOST_COLLECTIONS {
            return Err("too many collections");
        }
        let collection = collections.entry(name.to_owned()).or_default();
        match verb {
            "find" => Ok(json!({ "documents": collection.find(&command["filter"]) })),
            "replace" if command["document"]["id"].is_string() => {
                collection.replace(command["document"].clone());
                Ok(json!({ "n": 1 }))
            }
            "delete" => Ok(json!({ "n": usize::from(collection.delete(command["id"].as_str().unwrap_or_default())) })),
            _ => Err("a document needs an id"),
        }
    }
}

impl Collection {
    fn find(&self, filter: &Value) -> Vec<Value> {
        let no_filter = serde_json::Map::new();
        let filter = filter.as_object().unwrap_or(&no_filter);
        let matches = |document: &Value| filter.iter().all(|(key, value)| document.get(key) == Some(value));
        if let Some(id) = filter.get("id").and_then(Value::as_str) {
            let found = self.places.get(id).and_then(|place| self.documents.get(place));
            return found.filter(|document| matches(document)).cloned().into_iter().collect();
        }
        self.documents.values().filter(|document| matches(document)).take(MOST_FOUND).cloned().collect()
    }

    /// True when the document is new.
    fn replace(&mut self, document: Value) -> bool {
        let id = document["id"].as_str().unwrap_or_default().to_owned();
        if let Some(place) = self.places.get(&id) {
            self.documents.insert(*place, document);
            return false;
        }
        if self.documents.len() >= MOST_DOCUMENTS + self.seeds {
            let oldest = self.documents.keys().nth(self.seeds).copied();
            if let Some(evicted) = oldest.and_then(|place| self.documents.remove(&place)) {
                self.places.remove(evicted["id"].as_str().unwrap_or_default());
            }
        }
        self.documents.insert(self.next, document);
        self.places.insert(id, self.next);
        self.next += 1;
        true
    }

    fn delete(&mut self, id: &str) -> bool {
        match self.places.get(id) {
            Some(place) if *place >= self.seeds as u64 => {
                self.documents.remove(place);
                self.places.remove(id);
                true
            }
            _ => false,
        }
    }
}

impl Server for Store {
    async fn serve(&self, mut stream: Stream, mut stop: Stop) -> io::Result<()> {
        let mut replies = 0u32;
        // the first is a greeting
        while next_command(&mut stream, &mut stop, replies > 1).await? {
            let request = read(&mut stream).await?;
            replies = replies.wrapping_add(1);
            let body = self.execute(&request.body);
            write(&mut stream, &Message { id: replies, response_to: request.id, body }).await?;
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
struct Message {
    id: u32,
    response_to: u32,
    body: Value,
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
    let length = stream.read_u32_le().await? as usize;
    if !(HEAD..=MOST_BYTES).contains(&length) {
        return Err(invalid(format!("a message of {length} bytes")));
    }
    let mut rest = vec![0; length - 4];
    stream.read_exact(&mut rest).await?;
    let word = |at: usize| rest[at..at + 4].iter().rev().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
    if word(8) != OP_MSG || rest[16] != 0 {
        return Err(invalid("an operation other than OP_MSG"));
    }
    let body = serde_json::from_slice(&rest[17..]).map_err(|error| invalid(error.to_string()))?;
    Ok(Message { id: word(0), response_to: word(4), body })
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &Message) -> io::Result<()> {
    let body = message.body.to_string();
    let length = u32::try_from(HEAD + body.len()).map_err(|_| invalid("a message of more than 4 GiB"))?;
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    for word in [length, message.id, message.response_to, OP_MSG, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.push(0);
    bytes.extend(body.as_bytes());
    stream.write_all(&bytes).await
}

/// MongoDB's port.
const PORT: u16 = 27017;
const OP_MSG: u32 = 2013;
/// Five words and the section's kind.
const HEAD: usize = 21;
const MOST_BYTES: usize = 4 * 1024 * 1024;
const VERBS: [&str; 5] = ["delete", "find", "hello", "ping", "replace"];
const MOST_COLLECTIONS: usize = 16;
/// Per collection, besides the seeds: a demo that runs for days must not grow.
const MOST_DOCUMENTS: usize = 2000;
/// A shopper with more orders than this sees the oldest.
const MOST_FOUND: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_goes_both_ways() {
        let message = Message { id: 7, response_to: 3, body: json!({ "find": "cart" }) };
        let mut bytes = Vec::new();
        write(&mut bytes, &message).await.unwrap();
        assert_eq!(bytes[..4], (bytes.len() as u32).to_le_bytes());
        assert_eq!(bytes[12..16], 2013u32.to_le_bytes());
        assert_eq!(read(&mut bytes.as_slice()).await.unwrap(), message);
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        for bytes in [&[255; 40][..], &[0; 40], b"GET / HTTP/1.1\r\nHost: carts-db\r\n\r\n"] {
            assert!(read(&mut &bytes[..]).await.is_err());
        }
    }

    #[test]
    fn replaces_by_id_finds_by_field_and_deletes() {
        let store = Store::default();
        store.execute(&json!({ "replace": "cart", "document": { "id": "a", "who": "x" } }));
        store.execute(&json!({ "replace": "cart", "document": { "id": "b", "who": "y" } }));
        store.execute(&json!({ "replace": "cart", "document": { "id": "a", "who": "y" } }));
        let found = store.execute(&json!({ "find": "cart", "filter": { "who": "y" } }));
        assert_eq!(found["documents"], json!([{ "id": "a", "who": "y" }, { "id": "b", "who": "y" }]));
        assert_eq!(store.execute(&json!({ "delete": "cart", "id": "a" }))["n"], 1);
        assert_eq!(store.execute(&json!({ "find": "cart", "filter": { "id": "a" } }))["documents"], json!([]));
        assert_eq!(store.execute(&json!({ "drop": "cart" }))["ok"], 0);
    }

    #[test]
    fn a_full_collection_loses_its_oldest_document_and_keeps_its_seeds() {
        let store = Store::seeded(vec![("user", json!({ "id": "seed" }))]);
        for i in 0..=MOST_DOCUMENTS {
            store.execute(&json!({ "replace": "user", "document": { "id": format!("{i}") } }));
        }
        let has =
            |id: &str| store.execute(&json!({ "find": "user", "filter": { "id": id } }))["documents"] != json!([]);
        assert!(has("seed") && !has("0") && has("1") && has(&MOST_DOCUMENTS.to_string()));
    }
}
