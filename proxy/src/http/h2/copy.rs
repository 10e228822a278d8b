//! A copy of a request that went through: sent once more, whole, to somebody whose answer nobody reads.

use std::future::poll_fn;

use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;

use super::{Outgoing, Sender};
use crate::http::h2::Slot;

/// The body of a request, as far as it was kept: all of it.
#[derive(Clone, Debug)]
pub(crate) struct Copied {
    pub(super) data: Vec<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
}

/// Sends a request and takes its answer to the end.
pub(crate) async fn send_copy(slot: &Slot, outgoing: &Outgoing, copy: &Copied) -> Result<(), h2::Error> {
    let empty = copy.data.is_empty() && copy.trailers.is_none();
    let Some(sent) = slot.send(outgoing.request(), empty) else { return Err(Reason::REFUSED_STREAM.into()) };
    let (response, mut up) = sent?;
    for chunk in &copy.data {
        send_chunk(&mut up, chunk.clone()).await?;
    }
    match &copy.trailers {
        _ if empty => {}
        Some(trailers) => up.send_trailers(trailers.clone())?,
        None => up.send_data(Bytes::new(), true)?,
    }
    let mut body = response.await?.into_body();
    while let Some(data) = body.data().await {
        let length = data?.len();
        // fails only on a stream that is gone, whose window nobody needs
        let _ = body.flow_control().release_capacity(length);
    }
    Ok(())
}

async fn send_chunk(up: &mut Sender, mut chunk: Bytes) -> Result<(), h2::Error> {
    while !chunk.is_empty() {
        up.reserve_capacity(chunk.len());
        let room = match up.capacity() {
            0 => poll_fn(|cx| up.poll_capacity(cx)).await.unwrap_or(Err(Reason::CANCEL.into()))?,
            room => room,
        };
        up.send_data(chunk.split_to(room.min(chunk.len())), false)?;
    }
    Ok(())
}
