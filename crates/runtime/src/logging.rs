//! Log lines on stderr. One event is one line and one write; a closed or full stderr loses lines and harms nothing.
//!
//! ```text
//! 2026-11-22T15:34:13.123456Z warn  minimesh_proxy::outbound: connect failed addr=10.42.0.5:80 error="connection refused"
//! ```

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// Flags of every role that logs.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)] // several parts flatten a group of this name into one command line
pub struct Args {
    /// Level, for all or by module: `info`, or `warn,minimesh_proxy=debug`.
    #[arg(long, env = "MINIMESH_LOG_LEVEL", default_value = "info", value_name = "LEVEL", value_parser = parse_level)]
    pub log_level: String,
    /// Form of the lines on stderr.
    #[arg(long, env = "MINIMESH_LOG_FORMAT", default_value = "plain", value_name = "FORMAT")]
    pub log_format: Format,
}

impl Default for Args {
    fn default() -> Args {
        Args { log_level: "info".into(), log_format: Format::Plain }
    }
}

/// Form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// For people.
    Plain,
}

/// Why logging could not begin, or a level not be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another subscriber is in place.
    #[error("logging is set up already")]
    Already,
    /// The text is no level.
    #[error(
        "log level {text:?}: {reason}; use error, warn, info, debug or trace, or a list such as warn,minimesh_proxy=debug"
    )]
    Level {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Changes the level of a running process. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    filter: reload::Handle<Targets, Registry>,
    quiet: &'static [&'static str],
}

impl Handle {
    /// Sets the level, in the syntax of the flag.
    pub fn set(&self, level: &str) -> Result<(), Error> {
        self.filter.reload(filter(level, self.quiet)?).map_err(|_| Error::Already)
    }

    /// The level in force, in the syntax of the flag.
    pub fn current(&self) -> String {
        self.filter.with_current(ToString::to_string).unwrap_or_default()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(…)")
    }
}

/// Installs the process's subscriber. Call it once, first of all.
pub fn init(args: &Args) -> Result<Handle, Error> {
    init_without(args, &[])
}

/// The same without what these modules say, unless the level names them: libraries whose every error this program reports itself.
pub fn init_without(args: &Args, quiet: &'static [&'static str]) -> Result<Handle, Error> {
    let (subscriber, handle) = subscriber(args, quiet, || Stderr)?;
    subscriber.try_init().map_err(|_| Error::Already)?;
    Ok(handle)
}

fn subscriber<W>(
    args: &Args,
    quiet: &'static [&'static str],
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + 'static, Handle), Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(&args.log_level, quiet)?);
    let handle = Handle { filter: handle, quiet };
    // An error of the writer would be printed with eprintln!, which panics when stderr is closed.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).log_internal_errors(false);
    let lines = match args.log_format {
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        Format::Plain => lines.event_format(Plain).boxed(),
    };
    Ok((tracing_subscriber::registry().with(lines.with_filter(filter)), handle))
}

fn parse_level(text: &str) -> Result<String, String> {
    targets(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn targets(text: &str) -> Result<Targets, Error> {
    let refuse = |reason: String| Err(Error::Level { text: text.to_owned(), reason });
    // `Targets` alone would take "inof" as a module to be traced.
    for part in text.split(',').filter(|part| !part.contains('=')) {
        if part.parse::<LevelFilter>().is_err() {
            return refuse(format!("{part:?} is no level"));
        }
    }
    Targets::from_str(text).or_else(|error| refuse(error.to_string()))
}

fn filter(text: &str, quiet: &[&'static str]) -> Result<Targets, Error> {
    let names = |part: &str, module: &str| part.split_once('=').is_some_and(|(name, _)| module.starts_with(name));
    let named = |module: &&&str| text.split(',').any(|part| names(part, module));
    let quiet = quiet.iter().filter(|module| !named(module));
    Ok(targets(text)?.with_targets(quiet.map(|module| (*module, LevelFilter::OFF))))
}

/// Swallows errors: nobody could be told of them.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        SystemTime.format_time(&mut line)?;
        let metadata = event.metadata();
        write!(line, " {} {}:", level(metadata.level()), metadata.target())?;
        let mut fields = Fields { line, result: Ok(()) };
        event.record(&mut MessageOnly(&mut fields));
        event.record(&mut fields);
        fields.result?;
        writeln!(fields.line)
    }
}

fn level(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "error",
        Level::WARN => "warn ",
        Level::INFO => "info ",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Writes ` name=value` for all but the message.
struct Fields<'a> {
    line: Writer<'a>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn put(&mut self, name: &str, value: fmt::Arguments<'_>) {
        if self.result.is_ok() {
            self.result = put_value(&mut self.line, name, &value.to_string());
        }
    }
}

/// Text from elsewhere (a peer, a file) may not forge a line: what could is quoted and escaped.
fn put_value(line: &mut Writer<'_>, name: &str, value: &str) -> fmt::Result {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '"';
    if !value.is_empty() && value.chars().all(plain) {
        return write!(line, " {name}={value}");
    }
    write!(line, " {name}={value:?}")
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != MESSAGE {
            self.put(field.name(), format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != MESSAGE {
            self.put(field.name(), format_args!("{value}"));
        }
    }
}

/// Writes the message alone, first.
struct MessageOnly<'a, 'b>(&'a mut Fields<'b>);

impl Visit for MessageOnly<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE && self.0.result.is_ok() {
            let message = format!("{value:?}").replace(|c: char| c.is_control(), " ");
            self.0.result = write!(self.0.line, " {message}");
        }
    }
}

const MESSAGE: &str = "message";

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use clap::Parser;

    use super::*;

    /// Hands every line to a channel.
    struct Lines(mpsc::Sender<String>);

    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(line).into_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(args: &Args, events: impl FnOnce(&Handle)) -> Vec<String> {
        let (sender, lines) = mpsc::channel();
        let (subscriber, handle) =
            subscriber(args, &["loud_library::client"], move || Lines(sender.clone())).expect("valid level");
        tracing::subscriber::with_default(subscriber, || events(&handle));
        lines.try_iter().collect()
    }

    fn without_time(line: &str) -> &str {
        line.split_once(' ').expect("a line begins with its time").1
    }

    #[test]
    fn a_plain_line_has_level_target_message_and_fields() {
        let lines = logged(&Args::default(), |_| {
            let error = io::Error::other("connection refused");
            tracing::warn!(target: "proxy::outbound", addr = "10.0.0.1:80", %error, attempt = 2, "connect failed");
            tracing::debug!("not shown");
        });
        let lines: Vec<_> = lines.iter().map(|line| without_time(line)).collect();
        let expected =
            "warn  proxy::outbound: connect failed addr=10.0.0.1:80 error=\"connection refused\" attempt=2\n";
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn text_from_elsewhere_cannot_forge_a_line() {
        let lines = logged(&Args::default(), |_| {
            tracing::info!(target: "t", path = "/a\n2026-01-01T00:00:00Z error forged\u{1b}[31m", "one\ntwo");
        });
        assert_eq!(lines.len(), 1);
        let expected = "info  t: one two path=\"/a\\n2026-01-01T00:00:00Z error forged\\u{1b}[31m\"\n";
        assert_eq!(without_time(&lines[0]), expected);
    }

    #[test]
    fn json_is_one_object_per_line() {
        let args = Args { log_format: Format::Json, ..Args::default() };
        let lines = logged(&args, |_| tracing::info!(target: "t", port = 80, "listening"));
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].ends_with("\"level\":\"INFO\",\"message\":\"listening\",\"port\":80,\"target\":\"t\"}\n"),
            "{lines:?}"
        );
    }

    #[test]
    fn the_level_changes_at_run_time_and_by_module() {
        let lines = logged(&Args::default(), |handle| {
            tracing::debug!(target: "a", "before");
            handle.set("warn,a=debug").expect("valid");
            assert_eq!(handle.current(), "loud_library::client=off,a=debug,warn");
            tracing::debug!(target: "a", "after");
            tracing::info!(target: "b", "quiet");
            assert!(handle.set("loud").is_err());
            tracing::debug!(target: "a::b", "still");
        });
        let lines: Vec<_> = lines.iter().map(|line| without_time(line)).collect();
        assert_eq!(lines, ["debug a: after\n", "debug a::b: still\n"]);
    }

    #[test]
    fn a_library_whose_errors_are_reported_anyway_is_silent_until_it_is_named() {
        let lines = logged(&Args::default(), |handle| {
            let fails = |try_number: u32| tracing::error!(target: "loud_library::client", try_number, "failed");
            fails(1);
            handle.set("debug").expect("valid");
            fails(2);
            tracing::warn!(target: "loud_library::tls", "stale roots");
            handle.set("warn,loud_library=error").expect("valid");
            fails(3);
        });
        let lines: Vec<_> = lines.iter().map(|line| without_time(line)).collect();
        assert_eq!(
            lines,
            ["warn  loud_library::tls: stale roots\n", "error loud_library::client: failed try_number=3\n"]
        );
    }

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        log: Args,
    }

    #[test]
    fn flags_are_checked_with_a_helpful_message() {
        let program = Program::try_parse_from(["x", "--log-level", "debug", "--log-format", "json"]).expect("valid");
        assert_eq!((program.log.log_level.as_str(), program.log.log_format), ("debug", Format::Json));
        let error = Program::try_parse_from(["x", "--log-level", "a=b=c"]).expect_err("invalid").to_string();
        assert!(error.contains("use error, warn, info, debug or trace"), "{error}");
    }
}
