//! The bounded label values: every word that a counter of the data path can carry.
//!
//! One enum per label, one line per value. A value from a request or a peer never becomes a label.

/// Declares an enum whose values are label words, in order of their cells.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$value_doc])* $value,)* }

        impl $name {
            /// All values, in the order of their cells.
            pub const ALL: &'static [$name] = &[$($name::$value,)*];

            /// How many values there are.
            pub const COUNT: usize = $name::ALL.len();

            /// The label's word.
            pub fn word(self) -> &'static str {
                match self { $($name::$value => $word,)* }
            }
        }
    };
}

words! {
    /// How a response is counted.
    Classification {
        /// 5xx, made by a proxy or not, and responses that broke.
        Failure = "failure",
        /// Everything else.
        Success = "success",
    }
}

impl Classification {
    /// What a gRPC status counts as: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS are the server's failures,
    /// the others say something to the client (Linkerd's classes).
    pub fn of_grpc(status: u8) -> Classification {
        match status {
            2 | 4 | 13 | 14 | 15 => Classification::Failure,
            _ => Classification::Success,
        }
    }
}

words! {
    /// How a TCP connection ended; the `errno` label of `tcp_close_total`, empty when clean.
    CloseReason {
        /// Both directions ended with FIN.
        Clean = "",
        /// A drain's deadline.
        DrainForced = "drain_forced",
        /// EPIPE.
        BrokenPipe = "EPIPE",
        /// Policy turned against an open connection.
        Policy = "policy",
        /// The peer broke HTTP/2, or flooded us with its frames.
        Protocol = "protocol",
        /// ECONNRESET, ECONNABORTED.
        Reset = "ECONNRESET",
        /// ETIMEDOUT, and idle time-outs of ours.
        TimedOut = "ETIMEDOUT",
        /// A TLS alert or a malformed record.
        Tls = "tls",
        /// Ended without close_notify on a mesh connection.
        Truncated = "truncated",
        /// Everything else.
        Other = "other",
    }
}

impl CloseReason {
    /// The reason behind an input or output error.
    pub fn of(error: &std::io::Error) -> CloseReason {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::BrokenPipe => CloseReason::BrokenPipe,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => CloseReason::Reset,
            ErrorKind::TimedOut => CloseReason::TimedOut,
            ErrorKind::UnexpectedEof => CloseReason::Truncated,
            ErrorKind::InvalidData => CloseReason::Tls,
            _ => CloseReason::Other,
        }
    }
}

words! {
    /// How connecting to an endpoint, or to the application, went.
    Connected {
        /// TCP (and TLS, where the endpoint is meshed) established.
        Ok = "ok",
        /// ECONNREFUSED.
        Refused = "refused",
        /// No answer within the connect time-out, or no route.
        Unreachable = "unreachable",
        /// The TLS handshake failed.
        Tls = "tls",
    }
}

words! {
    /// Why a conversation with the control plane failed.
    ControlFailure {
        /// No address answered, or the connection broke.
        Unreachable = "unreachable",
        /// TLS: the control plane is not who it must be, or refuses our certificate.
        Tls = "tls",
        /// A certificate is outside its validity by this host's clock.
        Clock = "clock",
        /// The token file cannot be read.
        TokenFile = "token_file",
        /// The control plane refused: token, certificate or request.
        Refused = "refused",
        /// The control plane is not ready, or is overloaded.
        Unavailable = "unavailable",
        /// What it said is not the protocol.
        Protocol = "protocol",
    }
}

words! {
    /// What became of a report.
    ReportResult {
        /// Taken.
        Accepted = "accepted",
        /// Not taken; the next one says it all again.
        Failed = "failed",
    }
}

words! {
    /// What a connection turned out to carry.
    Detected {
        /// HTTP/1.0 or HTTP/1.1.
        Http1 = "http/1",
        /// The HTTP/2 preface.
        Http2 = "http/2",
        /// The mesh's own TLS (inbound).
        Mesh = "mesh",
        /// Bytes that are none of the known protocols.
        Opaque = "opaque",
        /// The server's bytes came first.
        ServerFirst = "server_first",
        /// The connection ended before it said anything.
        Silent = "silent",
        /// The application's own TLS.
        Tls = "tls",
    }
}

words! {
    /// TLS handshakes, by kind.
    Handshake {
        /// With certificates.
        Full = "full",
        /// From a ticket.
        Resumed = "resumed",
    }
}

words! {
    /// Why inbound refused a connection or a request.
    Refusal {
        /// Application TLS on a strict port.
        ForeignTls = "foreign_tls",
        /// The original destination is one of our own ports, or the connection was not redirected.
        Loop = "loop",
        /// The original destination is no address of this pod.
        NotOurAddress = "not_our_address",
        /// Outside the cluster networks, where the policy demands inside.
        OutsideCluster = "outside_cluster",
        /// Plaintext on a strict port.
        Plaintext = "plaintext",
        /// The policy denies everyone, or is not understood.
        PolicyDenied = "policy_denied",
        /// `minimesh-raw/1` on a port with HTTP-level policy.
        RawOnHttp = "raw_on_http",
        /// The TLS handshake failed or the peer's certificate was not accepted.
        Tls = "tls",
    }
}

words! {
    /// Why a request or connection was tried again.
    RetryReason {
        /// close_notify from the far proxy before any response byte.
        CloseNotify = "close_notify",
        /// ECONNREFUSED.
        ConnectRefused = "connect_refused",
        /// No answer within the connect time-out, or no route.
        ConnectTimeout = "connect_timeout",
        /// The connection ended before an answer, and the route asks for another attempt.
        Disconnected = "disconnected",
        /// The stream was above GOAWAY's last id.
        GoAway = "goaway",
        /// The far proxy's `minimesh-error: not_delivered`, believed over mTLS only.
        NotDelivered = "not_delivered",
        /// The stream was reset with REFUSED_STREAM.
        Refused = "refused_stream",
        /// The answer had a code that the route lists.
        Status = "status",
        /// The attempt took longer than the route allows.
        Timeout = "timeout",
        /// The connection ended before any byte of an answer, and the method may be repeated.
        Unanswered = "unanswered",
    }
}

words! {
    /// Why a request that the route wants to be sent again was not.
    RetrySkipped {
        /// As often as the route allows it was.
        Attempts = "attempts",
        /// The target's budget is used up.
        Budget = "budget",
        /// More of its body was sent than is held for a repetition.
        NotHeld = "not_held",
    }
}

words! {
    /// What became of the copy of a request.
    MirrorResult {
        /// Somebody answered it.
        Answered = "answered",
        /// It could not be sent, or was not answered.
        Failed = "failed",
        /// Too many copies are on their way already.
        Overflow = "overflow",
        /// More of its body was sent than is held for a copy, or the request did not come to its end.
        TooLarge = "too_large",
    }
}

words! {
    /// Connections that detection opened early.
    EarlyConnect {
        /// The client turned out to speak HTTP: closed unused.
        Unused = "unused",
        /// Carried the connection.
        Used = "used",
    }
}

/// The status codes that get a series of their own (IANA's registry); any other counts as its class.
pub const STATUS_CODES: [u16; 62] = [
    100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400,
    401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425,
    426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];

/// gRPC's status codes, which are their own labels: 0 to 16.
pub(crate) const GRPC_CELLS: usize = 17;

/// Labels of what [`STATUS_CODES`] leaves over.
pub(crate) const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "invalid"];

/// Cells that statuses need.
pub(crate) const STATUS_CELLS: usize = STATUS_CODES.len() + STATUS_CLASSES.len();

/// The cell of a status.
pub(crate) fn status_cell(status: u16) -> usize {
    match STATUS_CELL_OF.get(usize::from(status)) {
        Some(0) | None => STATUS_CELLS - 1,
        Some(cell) => usize::from(*cell) - 1,
    }
}

/// The `status_code` label of a cell.
pub(crate) fn status_label(cell: usize) -> std::borrow::Cow<'static, str> {
    match STATUS_CODES.get(cell) {
        Some(code) => code.to_string().into(),
        None => STATUS_CLASSES[(cell - STATUS_CODES.len()).min(STATUS_CLASSES.len() - 1)].into(),
    }
}

/// Cell plus one by status; 0: out of range.
const STATUS_CELL_OF: [u8; 600] = {
    let mut table = [0; 600];
    let mut status = 100;
    while status < 600 {
        table[status] = (STATUS_CODES.len() + status / 100) as u8;
        status += 1;
    }
    let mut cell = 0;
    while cell < STATUS_CODES.len() {
        table[STATUS_CODES[cell] as usize] = cell as u8 + 1;
        cell += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_of_a_bounded_set_of_labels() {
        assert_eq!(status_label(status_cell(200)), "200");
        assert_eq!(status_label(status_cell(511)), "511");
        assert_eq!(status_label(status_cell(299)), "2xx");
        assert_eq!(status_label(status_cell(599)), "5xx");
        assert_eq!(status_label(status_cell(99)), "invalid");
        assert_eq!(status_label(status_cell(999)), "invalid");
        for status in 0..=u16::MAX {
            assert!(status_cell(status) < STATUS_CELLS);
        }
    }
}
