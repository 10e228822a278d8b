//! Flags of what is recorded, and where it goes.

use clap::ValueEnum;

use super::line::Format;
use super::transport::Collector;

/// Flags of the access log and of traces.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)] // several parts flatten a group of this name into one command line
pub struct Args {
    /// A line on stdout for every finished request and opaque connection
    #[arg(long, value_name = "FORMAT", env = "MINIMESH_ACCESS_LOG", value_enum, default_value_t = AccessLogFormat::Off)]
    pub access_log: AccessLogFormat,

    /// Record query strings, in the access log and in spans
    #[arg(long, env = "MINIMESH_ACCESS_LOG_QUERY")]
    pub access_log_query: bool,

    /// Record the values of these request headers, in the access log and in spans, e.g. user-agent,referer
    #[arg(
        long,
        value_name = "NAME",
        env = "MINIMESH_ACCESS_LOG_HEADERS",
        value_delimiter = ',',
        value_parser = header_name
    )]
    pub access_log_headers: Vec<String>,

    /// Send a span of every request whose trace is sampled to this OpenTelemetry collector
    #[arg(long, value_name = "URL", env = "MINIMESH_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<Collector>,

    /// How the collector is spoken to
    #[arg(long, value_name = "PROTOCOL", env = "MINIMESH_OTLP_PROTOCOL", value_enum, default_value_t = OtlpProtocol::Grpc)]
    pub otlp_protocol: OtlpProtocol,
}

/// How access log lines look, if at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AccessLogFormat {
    /// Apache's combined format
    Apache,
    /// One JSON object per line
    Json,
    /// No access log
    #[default]
    Off,
}

/// OTLP's transports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OtlpProtocol {
    /// gRPC, as on port 4317
    #[default]
    Grpc,
    /// HTTP/1.1 with protobuf, as on port 4318
    Http,
}

impl AccessLogFormat {
    pub(super) fn format(self) -> Option<Format> {
        match self {
            AccessLogFormat::Apache => Some(Format::Apache),
            AccessLogFormat::Json => Some(Format::Json),
            AccessLogFormat::Off => None,
        }
    }
}

/// Lower-case: headers are compared without regard to case.
fn header_name(text: &str) -> Result<String, String> {
    let name = text.trim().to_ascii_lowercase();
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(name),
        Err(_) => Err("is no name of a header".to_owned()),
    }
}
