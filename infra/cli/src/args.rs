//! What can be asked on the command line. Verbs and options are public, and stay.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use fleet::{FleetRef, Stage};

use crate::when::{Moment, Span, parse_moment, parse_span};

/// Asks a Kingpin stack why its fleets are in their states. It only reads.
#[derive(Debug, Parser)]
#[command(name = "kingpin", version, after_help = WHERE)]
pub(crate) struct Arguments {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which stack is asked.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which stack")]
pub(crate) struct Place {
    /// A deployed CloudFormation stack (else KINGPIN_STACK, else the local stack)
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) stack: Option<String>,
    /// The description of a local stack (else target/local/stack.json, here or above)
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "stack")]
    pub(crate) local: Option<PathBuf>,
    /// A profile of the AWS configuration files
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The stack's AWS region
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) region: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask about fleets
    #[command(subcommand)]
    Fleet(Fleet),
    /// The whole at a glance: fleets, queues, what waits and what was set aside
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Fleet {
    /// A fleet as it stands, in codes
    Show {
        /// The fleet's reference, as you gave it to Catena
        #[arg(value_name = "REF", value_parser = parse_fleet)]
        fleet: FleetRef,
    },
    /// Why a fleet is in its state, what led there and what comes next, in words
    Explain {
        /// The fleet's reference, as you gave it to Catena
        #[arg(value_name = "REF", value_parser = parse_fleet)]
        fleet: FleetRef,
        /// About another time: 2026-05-04T08:00:00Z, 2026-05-04 (its first moment, UTC), -3d or +7d
        #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true)]
        at: Option<Moment>,
    },
    /// Everything that was news about a fleet
    History {
        /// The fleet's reference, as you gave it to Catena
        #[arg(value_name = "REF", value_parser = parse_fleet)]
        fleet: FleetRef,
    },
    /// Which fleets are where
    List(List),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Those in this stage
    #[arg(long, value_parser = stages())]
    pub(crate) stage: Option<Stage>,
    /// Those for which something has been due for longer than this (24h)
    #[arg(long, value_name = "DURATION", value_parser = parse_span, num_args = 0..=1, default_missing_value = "24h")]
    pub(crate) stuck: Option<Span>,
    /// Those whose admission, agreement, override or invitation ends within this, 7d for example
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    pub(crate) ending_within: Option<Span>,
    /// This many at most
    #[arg(long, value_name = "N", default_value = "100")]
    pub(crate) limit: NonZeroUsize,
}

fn parse_fleet(text: &str) -> Result<FleetRef, String> {
    let most = FleetRef::LONGEST;
    FleetRef::parse(text).ok_or_else(|| {
        format!("a fleet's reference has 1 to {most} bytes and no control characters")
    })
}

fn stages() -> impl TypedValueParser<Value = Stage> {
    PossibleValuesParser::new(Stage::ALL.map(Stage::as_str)).try_map(|name| {
        let found = Stage::ALL.into_iter().find(|stage| stage.as_str() == name);
        found.ok_or("no stage")
    })
}

const WHERE: &str = "\
Which stack: --stack NAME or KINGPIN_STACK names a deployed one, found with the usual AWS variables and profiles; without
them it is the local one that `cargo xtask up` started.

Credentials: those of the environment, of a profile (keys and roles), of a container or an instance. For single sign-on
and credential_process, export them: eval \"$(aws configure export-credentials --profile NAME --format env)\".
They need cloudformation:DescribeStacks; dynamodb:BatchGetItem and dynamodb:Query on the table and its indexes;
sqs:GetQueueAttributes for `status`.

Exit codes: 0 done, 1 failed or no such fleet, 2 wrong usage.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::when::DAY;

    fn list(arguments: &[&str]) -> List {
        let line = ["kingpin", "fleet", "list"].iter().chain(arguments);
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Fleet(Fleet::List(list)) => list,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_commands_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_time_may_begin_with_a_minus() {
        let line = ["kingpin", "fleet", "explain", "FLEET-42", "--at", "-3d"];
        let Command::Fleet(Fleet::Explain { at, .. }) =
            Arguments::try_parse_from(line).unwrap().command
        else {
            panic!("not explain");
        };
        assert_eq!(at, Some(Moment::Later(Span(-3 * DAY))));
    }

    #[test]
    fn stuck_alone_means_a_day() {
        assert_eq!(list(&[]).stuck, None);
        assert_eq!(list(&["--stuck"]).stuck, Some(Span(DAY)));
        assert_eq!(
            list(&["--stuck", "2d", "--json"]).stuck,
            Some(Span(2 * DAY))
        );
        assert_eq!(
            list(&["--stage", "reconnect_ready"]).stage,
            Some(Stage::ReconnectReady)
        );
    }

    #[test]
    fn wrong_usage_is_told_from_failure() {
        for line in [
            &["kingpin"][..],
            &["kingpin", "fleet", "show"],
            &["kingpin", "fleet", "show", "a\nb"],
            &["kingpin", "fleet", "list", "--stage", "lost"],
            &["kingpin", "fleet", "list", "--limit", "0"],
            &["kingpin", "status", "--stack", "a", "--local", "b"],
        ] {
            let error = Arguments::try_parse_from(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }
}
