//! Rows in MySQL's manner: the server speaks first (handshake v10), then the client asks with COM_QUERY.
//!
//! Packets are MySQL's (3 bytes length LE, 1 byte sequence); of SQL only the catalogue's own questions are understood, and
//! nobody is authenticated.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::{Pool, Server, Session, Stream, invalid, next_command};
use crate::{
    directory::Directory,
    http::{Failure, Trail},
    pod,
    stop::Stop,
};

/// A client of the row database.
#[derive(Debug)]
pub(crate) struct Rows(Pool<Conversation>);

/// A row as text, in the order of the columns.
pub(crate) type Row = Vec<String>;

impl Rows {
    pub(crate) fn new(host: &'static str, directory: Directory) -> Rows {
        Rows(Pool::new(host, PORT, directory))
    }

    /// Rows that answer a query.
    pub(crate) async fn query(&self, sql: String, trail: &Trail) -> Result<Vec<Row>, Failure> {
        let (pod, rows) = self.0.exchange(&sql).await?;
        trail.note(&pod);
        Ok(rows)
    }
}

/// One connection of a client.
#[derive(Debug)]
struct Conversation {
    stream: Stream,
    pod: String,
}

impl Session for Conversation {
    type Command = String;
    type Reply = (String, Vec<Row>);

    async fn open(mut stream: Stream) -> io::Result<Conversation> {
        let (sequence, greeting) = read(&mut stream).await?;
        let version = greeting.strip_prefix(&[10]).and_then(|rest| rest.split(|byte| *byte == 0).next());
        let version = version.ok_or_else(|| invalid("a greeting other than handshake v10"))?;
        let version = String::from_utf8_lossy(version).into_owned();
        let mut response = Vec::new();
        response.extend((PROTOCOL_41 | CONNECT_WITH_DB).to_le_bytes());
        response.extend((MOST_BYTES as u32).to_le_bytes());
        response.push(UTF8);
        response.extend([0; 23]);
        response.extend(b"catalogue_user\0\0socksdb\0");
        write(&mut stream, sequence.wrapping_add(1), &response).await?;
        match read(&mut stream).await?.1.first() {
            Some(0) => {
                Ok(Conversation { stream, pod: version.split_once(FLAVOUR).map_or("", |(_, pod)| pod).to_owned() })
            }
            _ => Err(invalid("the server refused the login")),
        }
    }

    async fn exchange(&mut self, sql: &String) -> io::Result<(String, Vec<Row>)> {
        let mut command = vec![COM_QUERY];
        command.extend(sql.as_bytes());
        write(&mut self.stream, 0, &command).await?;
        let (_, head) = read(&mut self.stream).await?;
        let columns = match head.as_slice() {
            [ERR, ..] => return Err(invalid(String::from_utf8_lossy(head.get(9..).unwrap_or_default()))),
            [columns @ 1..=250] => usize::from(*columns),
            _ => return Err(invalid("a result without columns")),
        };
        for _ in 0..columns {
            read(&mut self.stream).await?;
        }
        if !is_eof(&read(&mut self.stream).await?.1) {
            return Err(invalid("a result whose columns do not end"));
        }
        let mut rows = Vec::new();
        loop {
            let (_, packet) = read(&mut self.stream).await?;
            if is_eof(&packet) {
                return Ok((self.pod.clone(), rows));
            }
            let mut rest = packet.as_slice();
            rows.push((0..columns).map(|_| take_text(&mut rest)).collect::<io::Result<Row>>()?);
        }
    }
}

/// A table that the server knows.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Row>,
}

/// The row database.
#[derive(Debug)]
pub(crate) struct Tables(pub(crate) Vec<Table>);

impl Tables {
    /// `SELECT * FROM table [WHERE column = 'value']`, any case of the words.
    fn select(&self, sql: &str) -> Result<(&Table, Vec<&Row>), String> {
        let words: Vec<&str> = sql.split_whitespace().collect();
        let upper = |at: usize| words.get(at).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
        if upper(0) != "SELECT" || upper(1) != "*" || upper(2) != "FROM" {
            return Err("only SELECT * FROM is understood".to_owned());
        }
        let name = words.get(3).copied().unwrap_or_default();
        let table = self.0.iter().find(|table| table.name == name).ok_or_else(|| format!("no table {name}"))?;
        if words.len() == 4 {
            return Ok((table, table.rows.iter().collect()));
        }
        let column = table.columns.iter().position(|column| Some(column) == words.get(5));
        let value = words.get(7).and_then(|word| word.strip_prefix('\'')?.strip_suffix('\''));
        match (upper(4).as_str(), column, upper(6).as_str(), value, words.len()) {
            ("WHERE", Some(column), "=", Some(value), 8) => {
                Ok((table, table.rows.iter().filter(|row| row[column] == value).collect()))
            }
            _ => Err("only WHERE column = 'value' is understood".to_owned()),
        }
    }

    fn result(&self, sql: &str) -> Vec<Vec<u8>> {
        let (table, rows) = match self.select(sql) {
            Ok(found) => found,
            Err(reason) => return vec![[&[ERR, 0x28, 0x04][..], b"#42000", reason.as_bytes()].concat()],
        };
        let mut packets = vec![vec![table.columns.len() as u8]];
        for column in table.columns {
            let mut packet = Vec::new();
            for text in ["def", "socksdb", table.name, table.name, column, column] {
                put_text(&mut packet, text);
            }
            // length of what follows, character set, length, type VAR_STRING, flags, decimals, filler
            packet.extend([12, UTF8, 0, 0, 4, 0, 0, 253, 0, 0, 0, 0, 0]);
            packets.push(packet);
        }
        packets.push(EOF.to_vec());
        for row in rows {
            let mut packet = Vec::new();
            row.iter().for_each(|text| put_text(&mut packet, text));
            packets.push(packet);
        }
        packets.push(EOF.to_vec());
        packets
    }
}

impl Server for Tables {
    async fn serve(&self, mut stream: Stream, mut stop: Stop) -> io::Result<()> {
        write(&mut stream, 0, &greeting()).await?;
        if !next_command(&mut stream, &mut stop, false).await? {
            return Ok(());
        }
        let (sequence, login) = read(&mut stream).await?;
        if login.len() < 32 {
            return Err(invalid("a login that is too short"));
        }
        write(&mut stream, sequence.wrapping_add(1), &OK).await?;
        let mut served = false;
        while next_command(&mut stream, &mut stop, served).await? {
            served = true;
            let (sequence, command) = read(&mut stream).await?;
            let packets = match command.split_first() {
                Some((&COM_QUERY, sql)) => self.result(&String::from_utf8_lossy(sql)),
                Some((&COM_PING, _)) => vec![OK.to_vec()],
                _ => return Ok(()),
            };
            let mut bytes = Vec::new();
            for (place, packet) in packets.iter().enumerate() {
                bytes.extend(framed(sequence.wrapping_add(1).wrapping_add(place as u8), packet));
            }
            stream.write_all(&bytes).await?;
        }
        Ok(())
    }
}

/// Handshake v10, the first bytes on a connection.
fn greeting() -> Vec<u8> {
    let mut packet = vec![10];
    packet.extend(format!("5.7.0{FLAVOUR}{}\0", pod::name()).as_bytes());
    packet.extend([1, 0, 0, 0]);
    packet.extend(b"minimesh\0");
    let capabilities = PROTOCOL_41 | CONNECT_WITH_DB;
    packet.extend((capabilities as u16).to_le_bytes());
    packet.extend([UTF8, 2, 0]);
    packet.extend(((capabilities >> 16) as u16).to_le_bytes());
    packet.push(21);
    packet.extend([0; 10]);
    packet.extend(b"stand-in-sho\0");
    packet
}

async fn read(stream: &mut Stream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
    if length > MOST_BYTES {
        return Err(invalid(format!("a packet of {length} bytes")));
    }
    let mut packet = vec![0; length];
    stream.read_exact(&mut packet).await?;
    Ok((head[3], packet))
}

async fn write(stream: &mut Stream, sequence: u8, packet: &[u8]) -> io::Result<()> {
    stream.write_all(&framed(sequence, packet)).await
}

fn framed(sequence: u8, packet: &[u8]) -> Vec<u8> {
    let length = (packet.len() as u32).to_le_bytes();
    [&length[..3], &[sequence], packet].concat()
}

fn is_eof(packet: &[u8]) -> bool {
    packet.first() == Some(&EOF[0]) && packet.len() < 9
}

/// Length-encoded text; the shop's fit into 16 bits.
fn put_text(packet: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ 0..=250 => packet.push(length as u8),
        length => {
            packet.push(0xfc);
            packet.extend((length as u16).to_le_bytes());
        }
    }
    packet.extend(text.as_bytes());
}

fn take_text(rest: &mut &[u8]) -> io::Result<String> {
    let short = || invalid("a row that is too short");
    let (length, after) = match *rest {
        [0xfc, low, high, after @ ..] => (usize::from(*low) | usize::from(*high) << 8, after),
        [length @ 0..=250, after @ ..] => (usize::from(*length), after),
        _ => return Err(short()),
    };
    let (text, after) = after.split_at_checked(length).ok_or_else(short)?;
    *rest = after;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// MySQL's port.
const PORT: u16 = 3306;
const COM_QUERY: u8 = 3;
const COM_PING: u8 = 14;
const ERR: u8 = 0xff;
const OK: [u8; 7] = [0, 0, 0, 2, 0, 0, 0];
const EOF: [u8; 5] = [0xfe, 0, 0, 2, 0];
const UTF8: u8 = 33;
const PROTOCOL_41: u32 = 0x200;
const CONNECT_WITH_DB: u32 = 8;
const MOST_BYTES: usize = 1024 * 1024;
/// Between version and pod in the greeting.
const FLAVOUR: &str = "-stand-in-";

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        let row = |id: &str, name: &str| vec![id.to_owned(), name.to_owned()];
        Tables(vec![Table {
            name: "sock",
            columns: &["sock_id", "name"],
            rows: vec![row("1", "Holy"), row("2", "x".repeat(300).as_str())],
        }])
    }

    #[test]
    fn selects_all_rows_or_one() {
        let tables = tables();
        assert_eq!(tables.select("select * from sock").unwrap().1.len(), 2);
        assert_eq!(tables.select("SELECT * FROM sock WHERE sock_id = '1'").unwrap().1[0][1], "Holy");
        for refused in ["", "DROP TABLE sock", "SELECT * FROM shoe", "SELECT * FROM sock WHERE sock_id = '1' OR 1=1"] {
            assert!(tables.select(refused).is_err(), "{refused}");
        }
    }

    #[tokio::test]
    async fn the_server_speaks_first_and_answers_a_query() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (_sender, stop) = Stop::pulled_by_hand();
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            tables().serve(tokio::io::BufReader::new(stream), stop).await
        };
        let client = async {
            let rows = Rows::new("catalogue-db", Directory::fixed([("catalogue-db", PORT, addr)]));
            let trail = Trail::default();
            let all = rows.query("SELECT * FROM sock".to_owned(), &trail).await.unwrap();
            assert_eq!(all, tables().0[0].rows);
            assert_eq!(trail.names(), [pod::name()]);
            let one = rows.query("SELECT * FROM sock WHERE sock_id = '9'".to_owned(), &trail).await.unwrap();
            assert_eq!(one, Vec::<Row>::new());
        };
        let (server, ()) = tokio::join!(server, client);
        server.unwrap();
    }
}
