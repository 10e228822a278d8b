//! AMQP 0-9-1's frames: type, channel, length, payload, end octet. Integers are big-endian.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::wire::stream::{Stream, invalid};

/// What the client sends before anything else.
pub(super) const HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";

/// A method: class and number, as the specification counts them.
pub(super) type Method = (u16, u16);

pub(super) const START: Method = (10, 10);
pub(super) const START_OK: Method = (10, 11);
pub(super) const TUNE: Method = (10, 30);
pub(super) const TUNE_OK: Method = (10, 31);
pub(super) const OPEN: Method = (10, 40);
pub(super) const OPEN_OK: Method = (10, 41);
pub(super) const CLOSE: Method = (10, 50);
pub(super) const CLOSE_OK: Method = (10, 51);
pub(super) const CHANNEL_OPEN: Method = (20, 10);
pub(super) const CHANNEL_OPEN_OK: Method = (20, 11);
pub(super) const DECLARE: Method = (50, 10);
pub(super) const DECLARE_OK: Method = (50, 11);
pub(super) const CONSUME: Method = (60, 20);
pub(super) const CONSUME_OK: Method = (60, 21);
pub(super) const PUBLISH: Method = (60, 40);
pub(super) const DELIVER: Method = (60, 60);
pub(super) const ACK: Method = (60, 80);
pub(super) const CONFIRM: Method = (85, 10);
pub(super) const CONFIRM_OK: Method = (85, 11);

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Body(Vec<u8>),
    /// Length of the body that follows and the message's id.
    Header(u64, String),
    Heartbeat,
    Method(Method, Vec<u8>),
}

impl Frame {
    /// The arguments of a certain method.
    pub(super) fn expect(self, method: Method) -> io::Result<Arguments> {
        match self {
            Frame::Method(found, arguments) if found == method => Ok(Arguments { bytes: arguments, at: 0 }),
            other => Err(invalid(format!("{other:?} instead of method {method:?}"))),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Frame::Body(body) => (3, body.clone()),
            Frame::Header(length, id) => {
                let mut payload = Builder::default();
                payload.u16(60).u16(0).u64(*length).u16(MESSAGE_ID).short(id);
                (2, payload.0)
            }
            Frame::Heartbeat => (8, Vec::new()),
            Frame::Method((class, number), arguments) => {
                (1, [&class.to_be_bytes()[..], &number.to_be_bytes(), arguments].concat())
            }
        };
        let channel: u16 = match self {
            Frame::Heartbeat | Frame::Method((10, _), _) => 0,
            _ => 1,
        };
        let length = (payload.len() as u32).to_be_bytes();
        [&[kind][..], &channel.to_be_bytes(), &length, &payload, &[END]].concat()
    }
}

/// Reads one frame.
pub(super) async fn read(stream: &mut Stream) -> io::Result<Frame> {
    let kind = stream.read_u8().await?;
    stream.read_u16().await?;
    let length = stream.read_u32().await?;
    if length > MOST_BYTES {
        return Err(invalid(format!("a frame of {length} bytes")));
    }
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    if stream.read_u8().await? != END {
        return Err(invalid("a frame that does not end"));
    }
    let mut arguments = Arguments { bytes: payload, at: 0 };
    match kind {
        1 => {
            let method = (arguments.u16()?, arguments.u16()?);
            Ok(Frame::Method(method, arguments.bytes.split_off(4)))
        }
        2 => {
            arguments.u32()?;
            let length = arguments.u64()?;
            let id = if arguments.u16()? & MESSAGE_ID == 0 { String::new() } else { arguments.short()? };
            Ok(Frame::Header(length, id))
        }
        3 => Ok(Frame::Body(arguments.bytes)),
        8 => Ok(Frame::Heartbeat),
        other => Err(invalid(format!("a frame of type {other}"))),
    }
}

/// Writes frames in one go.
pub(super) async fn write(stream: &mut Stream, frames: &[Frame]) -> io::Result<()> {
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    stream.write_all(&bytes).await
}

/// A content: header and body, as it follows `publish` and `deliver`.
pub(super) fn content(id: &str, body: Vec<u8>) -> [Frame; 2] {
    [Frame::Header(body.len() as u64, id.to_owned()), Frame::Body(body)]
}

/// Reads the content that follows `publish` or `deliver`.
pub(super) async fn read_content(stream: &mut Stream) -> io::Result<(String, Vec<u8>)> {
    let Frame::Header(length, id) = read(stream).await? else {
        return Err(invalid("a message without header"));
    };
    let mut body = Vec::new();
    while (body.len() as u64) < length {
        match read(stream).await? {
            Frame::Body(piece) if (body.len() + piece.len()) as u64 <= length.min(MOST_BYTES.into()) => {
                body.extend(piece)
            }
            _ => return Err(invalid("a message whose body does not fit its header")),
        }
    }
    Ok((id, body))
}

/// Reads a method's arguments.
#[derive(Debug)]
pub(super) struct Arguments {
    bytes: Vec<u8>,
    at: usize,
}

impl Arguments {
    fn take(&mut self, length: usize) -> io::Result<&[u8]> {
        let bytes = self.bytes.get(self.at..self.at + length).ok_or_else(|| invalid("arguments that are too short"))?;
        self.at += length;
        Ok(bytes)
    }

    fn number(&mut self, length: usize) -> io::Result<u64> {
        Ok(self.take(length)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    pub(super) fn u16(&mut self) -> io::Result<u16> {
        self.number(2).map(|value| value as u16)
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        self.number(4).map(|value| value as u32)
    }

    pub(super) fn u64(&mut self) -> io::Result<u64> {
        self.number(8)
    }

    /// A text of up to 255 bytes.
    pub(super) fn short(&mut self) -> io::Result<String> {
        let length = self.number(1)? as usize;
        self.text(length)
    }

    /// A text of up to 4 GiB; frames are shorter.
    pub(super) fn long(&mut self) -> io::Result<String> {
        let length = self.u32()? as usize;
        self.text(length)
    }

    pub(super) fn skip(&mut self, length: usize) -> io::Result<()> {
        self.take(length).map(drop)
    }

    fn text(&mut self, length: usize) -> io::Result<String> {
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| invalid("a text that is no UTF-8"))
    }
}

/// Writes a method's arguments.
#[derive(Debug, Default)]
pub(super) struct Builder(pub(super) Vec<u8>);

impl Builder {
    pub(super) fn u8(&mut self, value: u8) -> &mut Builder {
        self.0.push(value);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Builder {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Builder {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Builder {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// At most 255 bytes of a text; the shop's are shorter.
    pub(super) fn short(&mut self, text: &str) -> &mut Builder {
        let bytes = &text.as_bytes()[..text.len().min(255)];
        self.0.push(bytes.len() as u8);
        self.0.extend(bytes);
        self
    }

    pub(super) fn long(&mut self, text: &str) -> &mut Builder {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self
    }

    pub(super) fn method(&mut self, method: Method) -> Frame {
        Frame::Method(method, std::mem::take(&mut self.0))
    }
}

/// A method without arguments.
pub(super) fn bare(method: Method) -> Frame {
    Frame::Method(method, Vec::new())
}

const END: u8 = 0xce;
/// Bit of the message id in a content header's property flags.
const MESSAGE_ID: u16 = 0x80;
/// RabbitMQ's frame_max.
const MOST_BYTES: u32 = 131_072;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_the_eight_bytes_of_the_specification() {
        assert_eq!(Frame::Heartbeat.encode(), [8, 0, 0, 0, 0, 0, 0, 0xce]);
    }

    #[test]
    fn arguments_are_read_as_written_and_no_further() {
        let mut builder = Builder::default();
        let frame = builder.u16(7).short("shipping-task").u64(1 << 40).long("x").method(PUBLISH);
        let mut arguments = frame.expect(PUBLISH).unwrap();
        assert_eq!((arguments.u16().unwrap(), arguments.short().unwrap()), (7, "shipping-task".to_owned()));
        assert_eq!((arguments.u64().unwrap(), arguments.long().unwrap()), (1 << 40, "x".to_owned()));
        assert!(arguments.u16().is_err());
    }

    #[test]
    fn another_method_than_expected_is_an_error() {
        assert!(bare(OPEN_OK).expect(TUNE).is_err());
    }
}
