//! Protocol Buffers on the wire: fields of a message, without a schema.

use crate::Failure;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'b> {
    /// Text, bytes, or a message.
    Bytes(&'b [u8]),
    Fixed32(u32),
    Fixed64(u64),
    Varint(u64),
}

impl<'b> Field<'b> {
    pub(super) fn bytes(self) -> Result<&'b [u8], Failure> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            other => Err(format!("{other:?} where bytes belong").into()),
        }
    }
}

/// Fields of a message, with their numbers, in order.
pub(super) fn fields(mut message: &[u8]) -> Result<Vec<(u64, Field<'_>)>, Failure> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let value = match key & 7 {
            0 => Field::Varint(varint(&mut message)?),
            1 => Field::Fixed64(u64::from_le_bytes(take(&mut message, 8)?.try_into()?)),
            2 => {
                let length = usize::try_from(varint(&mut message)?)?;
                Field::Bytes(take(&mut message, length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(take(&mut message, 4)?.try_into()?)),
            other => return Err(format!("wire type {other}").into()),
        };
        found.push((key >> 3, value));
    }
    Ok(found)
}

/// Every occurrence of a field.
pub(super) fn field<'m, 'b>(
    message: &'m [(u64, Field<'b>)],
    tag: u64,
) -> impl Iterator<Item = Field<'b>> + use<'m, 'b> {
    message.iter().filter(move |(own, _)| *own == tag).map(|(_, value)| *value)
}

/// A number; 0 where it is not there.
pub(super) fn number(message: &[(u64, Field<'_>)], tag: u64) -> Result<u64, Failure> {
    match field(message, tag).last() {
        None => Ok(0),
        Some(Field::Varint(number) | Field::Fixed64(number)) => Ok(number),
        Some(Field::Fixed32(number)) => Ok(number.into()),
        Some(other) => Err(format!("{other:?} where a number belongs").into()),
    }
}

/// A text; empty where it is not there.
pub(super) fn text(message: &[(u64, Field<'_>)], tag: u64) -> Result<String, Failure> {
    let bytes = field(message, tag).last().map_or(Ok(&[][..]), Field::bytes)?;
    Ok(std::str::from_utf8(bytes)?.to_owned())
}

fn take<'b>(message: &mut &'b [u8], count: usize) -> Result<&'b [u8], Failure> {
    let (taken, rest) = message.split_at_checked(count).ok_or("a message that is cut short")?;
    *message = rest;
    Ok(taken)
}

fn varint(message: &mut &[u8]) -> Result<u64, Failure> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number that does not end".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_wire_type_are_read() {
        // the examples of the encoding's own description, and one of each of the rest
        let message = [&b"\x08\x96\x01\x12\x07testing\x1d\x01\x00\x00\x00\x21"[..], &2_u64.to_le_bytes()].concat();
        let expected =
            [(1, Field::Varint(150)), (2, Field::Bytes(b"testing")), (3, Field::Fixed32(1)), (4, Field::Fixed64(2))];
        assert_eq!(fields(&message).unwrap(), expected);
        assert_eq!((number(&expected, 1).unwrap(), number(&expected, 9).unwrap()), (150, 0));
        assert_eq!(text(&expected, 2).unwrap(), "testing");
        for end in 1..message.len() {
            let whole = [3, 12, 17].contains(&end);
            assert_eq!(fields(&message[..end]).is_ok(), whole, "{end}");
        }
    }
}
