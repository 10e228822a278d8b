//! Sessions in Redis's manner: RESP2 with the commands that a session store uses.

use std::{cell::RefCell, collections::HashMap, io, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::stream::{Pool, Server, Session, Stream, invalid, next_command};
use crate::{directory::Directory, http::Failure, stop::Stop};

/// A client of the session store.
#[derive(Debug)]
pub(crate) struct Sessions(Pool<Conversation>);

impl Sessions {
    pub(crate) fn new(host: &'static str, directory: Directory) -> Sessions {
        Sessions(Pool::new(host, PORT, directory))
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<String>, Failure> {
        match self.0.exchange(&words(["GET", key])).await? {
            Reply::Text(text) => Ok(Some(text)),
            Reply::Nothing => Ok(None),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Sets a key that expires after `seconds`.
    pub(crate) async fn set(&self, key: &str, value: &str, seconds: u64) -> Result<(), Failure> {
        match self.0.exchange(&words(["SET", key, value, "EX", &seconds.to_string()])).await? {
            Reply::Status(_) => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn unexpected(&self, reply: &Reply) -> Failure {
        Failure::unreachable(self.0.host(), format!("{reply:?}"))
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// One connection of a client.
#[derive(Debug)]
struct Conversation(Stream);

impl Session for Conversation {
    type Command = Vec<String>;
    type Reply = Reply;

    async fn open(stream: Stream) -> io::Result<Conversation> {
        Ok(Conversation(stream))
    }

    async fn exchange(&mut self, command: &Vec<String>) -> io::Result<Reply> {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for word in command {
            bytes.extend(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        self.0.write_all(&bytes).await?;
        let line = read_line(&mut self.0).await?;
        match line.split_at_checked(1) {
            Some(("+", status)) => Ok(Reply::Status(status.to_owned())),
            Some(("-", reason)) => Ok(Reply::Error(reason.to_owned())),
            Some((":", number)) => Ok(Reply::Number(number.parse().map_err(|_| invalid("no number"))?)),
            Some(("$", "-1")) => Ok(Reply::Nothing),
            Some(("$", length)) => Ok(Reply::Text(read_bulk(&mut self.0, length).await?)),
            _ => Err(invalid("a reply that is not RESP")),
        }
    }
}

/// What a session store answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reply {
    Error(String),
    Nothing,
    Number(i64),
    Status(String),
    Text(String),
}

impl Reply {
    fn encode(&self) -> String {
        match self {
            Reply::Error(reason) => format!("-ERR {reason}\r\n"),
            Reply::Nothing => "$-1\r\n".to_owned(),
            Reply::Number(number) => format!(":{number}\r\n"),
            Reply::Status(status) => format!("+{status}\r\n"),
            Reply::Text(text) => format!("${}\r\n{text}\r\n", text.len()),
        }
    }
}

/// The session store. Keys expire; the one that expires first goes when the store is full.
#[derive(Debug, Default)]
pub(crate) struct Keys(RefCell<HashMap<String, (String, Instant)>>);

impl Keys {
    fn execute(&self, command: &[String], now: Instant) -> Reply {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let Some((verb, arguments)) = words.split_first() else {
            return Reply::Error("empty command".to_owned());
        };
        let mut keys = self.0.borrow_mut();
        let live = |entry: &&(String, Instant)| entry.1 > now;
        match (verb.to_ascii_uppercase().as_str(), arguments) {
            ("PING", []) => Reply::Status("PONG".to_owned()),
            ("GET", [key]) => keys.get(*key).filter(live).map_or(Reply::Nothing, |(text, _)| Reply::Text(text.clone())),
            ("EXISTS", [key]) => Reply::Number(keys.get(*key).filter(live).is_some().into()),
            ("DEL", [key]) => Reply::Number(keys.remove(*key).is_some().into()),
            ("DBSIZE", []) => Reply::Number(keys.len() as i64),
            ("SET", [key, value, options @ ..]) => {
                let Some(life) = expiry(options) else {
                    return Reply::Error("syntax error".to_owned());
                };
                if keys.len() >= MOST_KEYS && !keys.contains_key(*key) {
                    let first = keys.iter().min_by_key(|(_, (_, end))| *end).map(|(key, _)| key.clone());
                    first.and_then(|key| keys.remove(&key));
                }
                keys.insert((*key).to_owned(), ((*value).to_owned(), now + life));
                Reply::Status("OK".to_owned())
            }
            _ => Reply::Error(format!("unknown command '{}'", verb.chars().take(32).collect::<String>())),
        }
    }
}

fn expiry(options: &[&str]) -> Option<Duration> {
    match options {
        [] => Some(FOR_EVER),
        [option, seconds] if option.eq_ignore_ascii_case("EX") => {
            Some(Duration::from_secs(seconds.parse().ok()?).min(FOR_EVER))
        }
        _ => None,
    }
}

impl Server for Keys {
    async fn serve(&self, mut stream: Stream, mut stop: Stop) -> io::Result<()> {
        let mut served = false;
        while next_command(&mut stream, &mut stop, served).await? {
            served = true;
            let line = read_line(&mut stream).await?;
            let count: usize = line.strip_prefix('*').and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
            if count > MOST_WORDS {
                stream.write_all(Reply::Error("protocol error".to_owned()).encode().as_bytes()).await?;
                return Ok(());
            }
            let mut command = Vec::with_capacity(count);
            for _ in 0..count {
                let line = read_line(&mut stream).await?;
                let length = line.strip_prefix('$').ok_or_else(|| invalid("a word that is no bulk string"))?;
                command.push(read_bulk(&mut stream, length).await?);
            }
            let reply = self.execute(&command, Instant::now());
            stream.write_all(reply.encode().as_bytes()).await?;
        }
        Ok(())
    }
}

/// A line without its CR LF.
async fn read_line(stream: &mut Stream) -> io::Result<String> {
    let mut line = Vec::new();
    (&mut *stream).take(MOST_LINE).read_until(b'\n', &mut line).await?;
    let text = line.strip_suffix(b"\r\n").ok_or_else(|| match line.is_empty() {
        true => io::ErrorKind::UnexpectedEof.into(),
        false => invalid("a line that does not end"),
    })?;
    String::from_utf8(text.to_vec()).map_err(|_| invalid("a line that is no UTF-8"))
}

async fn read_bulk(stream: &mut Stream, length: &str) -> io::Result<String> {
    let length = length.parse::<usize>().ok().filter(|length| *length <= MOST_BYTES);
    let mut bytes = vec![0; length.ok_or_else(|| invalid("a bulk string's length"))? + 2];
    stream.read_exact(&mut bytes).await?;
    if !bytes.ends_with(b"\r\n") {
        return Err(invalid("a bulk string that is longer than it said"));
    }
    bytes.truncate(bytes.len() - 2);
    String::from_utf8(bytes).map_err(|_| invalid("a value that is no UTF-8"))
}

/// Redis's port.
const PORT: u16 = 6379;
const MOST_WORDS: usize = 16;
const MOST_LINE: u64 = 1024;
const MOST_BYTES: usize = 64 * 1024;
/// Sessions at once.
const MOST_KEYS: usize = 5000;
/// Without EX: a year is for ever in a demo.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keys: &Keys, line: &str, now: Instant) -> Reply {
        keys.execute(&line.split(' ').map(str::to_owned).collect::<Vec<_>>(), now)
    }

    #[test]
    fn a_key_lives_until_it_expires() {
        let (keys, now) = (Keys::default(), Instant::now());
        assert_eq!(run(&keys, "set a 1 ex 10", now), Reply::Status("OK".into()));
        assert_eq!(run(&keys, "GET a", now), Reply::Text("1".into()));
        assert_eq!(run(&keys, "GET a", now + Duration::from_secs(11)), Reply::Nothing);
        assert_eq!(run(&keys, "DEL a", now), Reply::Number(1));
        assert!(matches!(run(&keys, "FLUSHALL", now), Reply::Error(_)));
    }

    #[test]
    fn a_full_store_drops_the_key_that_expires_first() {
        let (keys, now) = (Keys::default(), Instant::now());
        run(&keys, "SET first 1 EX 5", now);
        for i in 0..MOST_KEYS {
            run(&keys, &format!("SET k{i} 1 EX 100"), now);
        }
        assert_eq!(run(&keys, "GET first", now), Reply::Nothing);
        assert_eq!(run(&keys, "DBSIZE", now), Reply::Number(MOST_KEYS as i64));
    }

    #[tokio::test]
    async fn a_client_sets_and_gets() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (_sender, stop) = Stop::pulled_by_hand();
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            Keys::default().serve(tokio::io::BufReader::new(stream), stop).await
        };
        let client = async {
            let sessions = Sessions::new("session-db", Directory::fixed([("session-db", PORT, addr)]));
            assert_eq!(sessions.get("sess:1").await.unwrap(), None);
            sessions.set("sess:1", "a b\r\nc", 60).await.unwrap();
            assert_eq!(sessions.get("sess:1").await.unwrap().as_deref(), Some("a b\r\nc"));
        };
        let (server, ()) = tokio::join!(server, client);
        server.unwrap();
    }
}
