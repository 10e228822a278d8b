//! The plan in nft's language, for `--print`: what `nft list table ip minimesh` would show.

use std::fmt;

use super::plan::{Chain, Family, Hook, Match, Plan, Rule, Table, Verdict};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tables.iter().try_for_each(|table| table.fmt(f))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {{", self.name())?;
        for chain in &self.chains {
            write_chain(f, chain, self.family)?;
        }
        writeln!(f, "}}")
    }
}

fn write_chain(f: &mut fmt::Formatter<'_>, chain: &Chain, family: Family) -> fmt::Result {
    let hook = match chain.hook {
        Hook::Output => "output",
        Hook::Prerouting => "prerouting",
    };
    writeln!(f, "\tchain {hook} {{\n\t\ttype nat hook {hook} priority dstnat; policy accept;")?;
    for rule in &chain.rules {
        writeln!(f, "\t\t{}", RuleText(rule, family))?;
    }
    writeln!(f, "\t}}")
}

/// A rule needs its family to be written: `ip daddr` or `ip6 daddr`.
pub(super) struct RuleText<'a>(pub(super) &'a Rule, pub(super) Family);

impl fmt::Display for RuleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RuleText(rule, family) = self;
        let ports = rule.matches.iter().any(|one| matches!(one, Match::DestinationPort(_)));
        for one in &rule.matches {
            match (one, family) {
                (Match::Destination(net), Family::Ip) => write!(f, "ip daddr {net} ")?,
                (Match::Destination(net), Family::Ip6) => write!(f, "ip6 daddr {net} ")?,
                (Match::DestinationPort(range), _) if range.start() == range.end() => {
                    write!(f, "tcp dport {} ", range.start())?;
                }
                (Match::DestinationPort(range), _) => write!(f, "tcp dport {}-{} ", range.start(), range.end())?,
                (Match::FromLoopback, _) => write!(f, "iifname \"lo\" ")?,
                (Match::Mark(mark), _) => write!(f, "meta mark {mark:#010x} ")?,
                (Match::Tcp, _) if ports => {} // `tcp dport` says it
                (Match::Tcp, _) => write!(f, "meta l4proto tcp ")?,
                (Match::ToLoopback, _) => write!(f, "oifname \"lo\" ")?,
                (Match::Uid(uid), _) => write!(f, "meta skuid {uid} ")?,
            }
        }
        match rule.verdict {
            Verdict::Redirect(port) => write!(f, "counter redirect to :{port}"),
            Verdict::Return => write!(f, "counter return"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::Args;
    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn printed(line: &str) -> String {
        let words = std::iter::once("redirect").chain(line.split_whitespace());
        Plan::from(&Command::parse_from(words).args).to_string()
    }

    #[test]
    fn the_default_plan_exempts_the_proxys_user_and_our_ports() {
        let expected = "table ip minimesh {
	chain output {
		type nat hook output priority dstnat; policy accept;
		meta skuid 2102 counter return
		oifname \"lo\" counter return
		meta l4proto tcp counter redirect to :4140
	}
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		iifname \"lo\" counter return
		tcp dport 4140 counter return
		tcp dport 4143 counter return
		tcp dport 4191 counter return
		meta l4proto tcp counter redirect to :4143
	}
}
";
        // with nothing skipped, both families have the same rules
        assert_eq!(printed(""), format!("{expected}{}", expected.replace("table ip ", "table ip6 ")));
    }

    #[test]
    fn skip_lists_and_marks_come_before_the_redirect() {
        let text = printed(
            "--exempt-mark 2102 --skip-subnets 10.9.8.7/16,fd00::/8 --skip-outbound-ports 25,70-79 --skip-inbound-ports 22",
        );
        let (ip, ip6) = text.split_once("table ip6").expect("two tables");
        assert!(ip6.contains("ip6 daddr fd00::/8 counter return"), "{text}");
        let rules: Vec<&str> = ip.lines().map(str::trim).filter(|line| line.contains("counter")).collect();
        assert_eq!(
            rules,
            [
                "meta mark 0x00000836 counter return",
                "oifname \"lo\" counter return",
                "ip daddr 10.9.0.0/16 counter return",
                "tcp dport 25 counter return",
                "tcp dport 70-79 counter return",
                "meta l4proto tcp counter redirect to :4140",
                "iifname \"lo\" counter return",
                "tcp dport 4140 counter return",
                "tcp dport 4143 counter return",
                "tcp dport 4191 counter return",
                "tcp dport 22 counter return",
                "meta l4proto tcp counter redirect to :4143",
            ]
        );
    }
}
