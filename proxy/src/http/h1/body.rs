//! How far a message body reaches: framing, and a bounded scanner for chunks and trailers.

use crate::http::own::NameReader;

/// How the end of a body is known (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The end of the connection; responses only.
    Close,
    /// `Content-Length`, not zero.
    Length(u64),
    /// No body.
    None,
}

/// The peer broke the chunked framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A chunk's size line: 16 hex digits and an extension. Nobody sends longer ones for an honest reason.
const MAX_SIZE_LINE: u32 = 1024;

/// All trailers of a message together.
const MAX_TRAILERS: u32 = 8 * 1024;

/// Progress through one message body.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Chunked(Chunks),
    Close,
    Done,
    Length(u64),
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Body {
        match framing {
            Framing::Chunked => Body::Chunked(Chunks::default()),
            Framing::Close => Body::Close,
            Framing::Length(length) => Body::Length(length),
            Framing::None => Body::Done,
        }
    }

    /// Whether the whole body was seen.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Body::Done)
    }

    /// Whether the end of the connection is the end of the body.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self, Body::Close)
    }

    /// Whether much is still to come, so that large reads pay.
    pub(crate) fn is_bulky(&self) -> bool {
        matches!(self, Body::Length(left) if *left > 64 * 1024)
    }

    /// How many of these bytes belong to the body.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Body::Chunked(chunks) => {
                let (count, done) = chunks.scan(bytes, None)?;
                if done {
                    *self = Body::Done;
                }
                Ok(count)
            }
            Body::Close => Ok(bytes.len()),
            Body::Done => Ok(0),
            Body::Length(left) => {
                let count = (*left).min(bytes.len() as u64);
                *left -= count;
                if *left == 0 {
                    *self = Body::Done;
                }
                Ok(count as usize)
            }
        }
    }

    /// Like `take`, but hands over the payload without its framing: for a receiver that does not know chunks.
    pub(crate) fn take_payload(&mut self, bytes: &[u8], payload: &mut dyn FnMut(&[u8])) -> Result<usize, Malformed> {
        let Body::Chunked(chunks) = self else {
            let count = self.take(bytes)?;
            payload(&bytes[..count]);
            return Ok(count);
        };
        let (count, done) = chunks.scan(bytes, Some(payload))?;
        if done {
            *self = Body::Done;
        }
        Ok(count)
    }
}

/// Takes the payload as it is found.
type Payload<'a> = Option<&'a mut dyn FnMut(&[u8])>;

/// The scanner's position between any two bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunks {
    place: Place,
    /// Payload left of this chunk, or its size so far.
    left: u64,
    /// Bytes of this line, or of all trailers.
    line: u32,
    /// The name of this trailer.
    name: NameReader,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Size,
    /// Space behind the size: padding, or before an extension.
    SizeSpace,
    Extension,
    SizeLineFeed,
    Payload,
    PayloadReturn,
    PayloadLineFeed,
    TrailerStart,
    TrailerName,
    Trailer,
    TrailerLineFeed,
    EndLineFeed,
}

impl Chunks {
    /// How many bytes belong to the body, and whether it ended with them.
    fn scan(&mut self, bytes: &[u8], mut payload: Payload<'_>) -> Result<(usize, bool), Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            if self.place == Place::Payload {
                let count = self.left.min((bytes.len() - at) as u64) as usize;
                if let Some(payload) = &mut payload {
                    payload(&bytes[at..at + count]);
                }
                at += count;
                self.left -= count as u64;
                if self.left == 0 {
                    self.place = Place::PayloadReturn;
                }
                continue;
            }
            let byte = bytes[at];
            at += 1;
            if self.framing_byte(byte)? {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// One byte outside the payload; true at the end of the message.
    fn framing_byte(&mut self, byte: u8) -> Result<bool, Malformed> {
        self.place = match (self.place, byte) {
            (Place::Size, b'\r') if self.line > 0 => Place::SizeLineFeed,
            (Place::Size | Place::SizeSpace, b';') if self.line > 0 => self.longer(Place::Extension, MAX_SIZE_LINE)?,
            (Place::Size | Place::SizeSpace, b' ' | b'\t') if self.line > 0 => {
                self.longer(Place::SizeSpace, MAX_SIZE_LINE)?
            }
            (Place::Size, byte) => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                // 2^60 bytes are enough, and nothing can overflow.
                if self.left >> 56 != 0 {
                    return Err(Malformed);
                }
                self.left = self.left << 4 | u64::from(digit);
                self.longer(Place::Size, 16)?
            }
            (Place::SizeSpace | Place::Extension, b'\r') => Place::SizeLineFeed,
            (Place::Extension, byte) if is_text(byte) => self.longer(Place::Extension, MAX_SIZE_LINE)?,
            (Place::SizeLineFeed, b'\n') => {
                self.line = 0;
                if self.left == 0 { Place::TrailerStart } else { Place::Payload }
            }
            (Place::PayloadReturn, b'\r') => Place::PayloadLineFeed,
            (Place::PayloadLineFeed, b'\n') => Place::Size,
            (Place::TrailerStart, b'\r') => Place::EndLineFeed,
            // A trailer line begins with a token character: no folding, no empty name.
            (Place::TrailerStart, byte) if is_token(byte) => {
                self.name = NameReader::begin();
                self.name.take(byte);
                self.longer(Place::TrailerName, MAX_TRAILERS)?
            }
            (Place::TrailerName, byte) if is_token(byte) => {
                self.name.take(byte);
                self.longer(Place::TrailerName, MAX_TRAILERS)?
            }
            // Only a proxy of ours might say the one, and none does so in a trailer; the other would be a second framing for
            // whoever takes trailers for headers (RFC 9110 section 6.5.1).
            (Place::TrailerName, b':') if !self.name.is_own() && !self.name.is_framing() => {
                self.longer(Place::Trailer, MAX_TRAILERS)?
            }
            (Place::Trailer, b'\r') => Place::TrailerLineFeed,
            (Place::Trailer, byte) if is_text(byte) => self.longer(Place::Trailer, MAX_TRAILERS)?,
            (Place::TrailerLineFeed, b'\n') => Place::TrailerStart,
            (Place::EndLineFeed, b'\n') => return Ok(true),
            _ => return Err(Malformed),
        };
        Ok(false)
    }

    fn longer(&mut self, place: Place, limit: u32) -> Result<Place, Malformed> {
        self.line += 1;
        if self.line > limit { Err(Malformed) } else { Ok(place) }
    }
}

/// Visible characters, space, tab and obs-text.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(message: &[u8]) -> Result<(usize, bool), Malformed> {
        Chunks::default().scan(message, None)
    }

    #[test]
    fn ends_where_the_message_ends() {
        assert_eq!(whole(b"5\r\nhello\r\n0\r\n\r\nGET"), Ok((15, true)));
        assert_eq!(whole(b"5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\nGET"), Ok((25, true)));
        assert_eq!(whole(b"5  ;a\r\nhello\r\n0 \r\nHosts: y\r\n\r\nGET"), Ok((30, true)));
        assert_eq!(whole(b"0\r\na: minimesh-error: b\r\n\r\nGET"), Ok((27, true)));
        assert_eq!(whole(b"5\r\nhel"), Ok((6, false)));
    }

    #[test]
    fn refuses_what_others_may_read_differently() {
        for bad in [
            b"5\nhello\n0\n\n".as_slice(),
            b"\r\n",
            b";x\r\n",
            b"5\r\nhelloX",
            b"5\r\nhello\n0\r\n\r\n",
            b"-1\r\n",
            b"0x5\r\n",
            b"+5\r\n",
            b"10000000000000000\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\na: b\r\nL5d_Client-Id: me\r\n\r\n",
            b"0\r\nminimesh-error: not_delivered\r\n\r\n",
            b"0\r\n: no name\r\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nnocolon\r\n\r\n",
            b"0\r\nspaced : x\r\n\r\n",
            b"0\r\nContent-Length: 5\r\n\r\n",
            b"0\r\ntransfer_encoding: chunked\r\n\r\n",
            b"0\r\nHost: b\r\n\r\n",
            b"5 0\r\nhello",
            b"5 x;y\r\nhello",
            b"0\r\na: \x00\r\n\r\n",
            b"5\rhello\r\n",
        ] {
            assert_eq!(whole(bad), Err(Malformed), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn lines_and_trailers_are_bounded() {
        let mut long = b"5;".to_vec();
        long.resize(3000, b'x');
        assert_eq!(whole(&long), Err(Malformed));
        let mut trailers = b"0\r\n".to_vec();
        trailers.extend(b"a: b\r\n".repeat(3000));
        assert_eq!(whole(&trailers), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_segmentation_gives_the_same(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            trailer in proptest::bool::ANY,
            cuts in proptest::collection::vec(0usize..400, 0..12),
            next in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut message = Vec::new();
            for chunk in &chunks {
                message.extend(format!("{:x}\r\n", chunk.len()).bytes());
                message.extend(chunk);
                message.extend(b"\r\n");
            }
            message.extend(if trailer { b"0\r\nx: y\r\n\r\n".as_slice() } else { b"0\r\n\r\n" });
            let length = message.len();
            message.extend(&next);

            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(message.len())).collect();
            cuts.push(message.len());
            cuts.sort_unstable();
            let mut body = Body::new(Framing::Chunked);
            let (mut from, mut taken, mut payload) = (0, 0, Vec::new());
            for cut in cuts {
                let count = body.take_payload(&message[from..cut], &mut |part| payload.extend_from_slice(part));
                taken += count.expect("well formed");
                if body.is_done() {
                    break;
                }
                from = cut;
            }
            prop_assert!(body.is_done());
            prop_assert_eq!(taken, length);
            prop_assert_eq!(payload, chunks.concat());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = whole(&bytes);
        }
    }
}
