//! What can be asked on the command line. Verbs and options are public, and stay.

use std::{collections::BTreeSet, ffi::OsString, num::NonZeroUsize, path::PathBuf};

use api::Level;
use clap::{
    ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
    error::ErrorKind,
};
use fleet::{FleetRef, Stage};

use crate::{
    dlq, operation, quarantine,
    setup::Setup,
    subscription,
    when::{Moment, Span, parse_moment, parse_span},
};

/// Asks a Kingpin stack why its fleets are in their states, invites fleets, keeps them out or lets them in.
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

impl Arguments {
    /// What a command line says. The error is wrong usage.
    pub(crate) fn read(
        line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let arguments = Self::try_parse_from(line)?;
        let wrong = match &arguments.command {
            Command::Invite(invite) => invite.wrong(),
            Command::Fleet(Fleet::Override(over)) => over.wrong().map(str::to_owned),
            Command::Quarantine(verb) => verb.wrong().map(str::to_owned),
            Command::Dlq(verb) => verb.wrong().map(str::to_owned),
            Command::Fleet(_)
            | Command::Setup(_)
            | Command::Subscription(_)
            | Command::Uninvite { .. }
            | Command::Contract(_)
            | Command::Doctor(_)
            | Command::Link(_)
            | Command::Operation(_)
            | Command::Policy(_)
            | Command::Reconcile(_)
            | Command::Status => None,
        };
        match wrong {
            Some(wrong) => Err(Self::command().error(ErrorKind::ArgumentConflict, wrong)),
            None => Ok(arguments),
        }
    }
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
    /// Ask about fleets, and decide about them
    #[command(subcommand)]
    Fleet(Fleet),
    /// See to it that a fleet is invited, and show the link to give to it
    Invite(Invite),
    /// Take a fleet's invitation and its link back, without asking
    Uninvite {
        /// The fleet's reference, as you gave it to Catena
        #[arg(value_name = "REF", value_parser = parse_fleet)]
        fleet: FleetRef,
    },
    /// See to the links that fleets were given
    #[command(subcommand)]
    Link(Link),
    /// What Catena says that it sends, held against what is read of it
    #[command(subcommand)]
    Contract(Contract),
    /// Check a stack and its way to Catena and back, and say what to do about what is wrong
    #[command(after_help = DOCTOR)]
    Doctor(Doctor),
    /// Writes by fleets' providers: which there are, and what became of them
    #[command(subcommand)]
    Operation(operation::Verb),
    /// By which rules the stack computes
    #[command(subcommand)]
    Policy(Policy),
    /// Compare all of Catena's lists with the stack's records, from the next sweep on
    #[command(after_help = RECONCILE)]
    Reconcile(Reconcile),
    /// From a fresh deployment to the first invited fleet: credentials, subscriptions, a signed probe, an invitation
    #[command(after_help = SETUP)]
    Setup(Setup),
    /// Webhook subscriptions at Catena: which there should be, how they do, and their key
    #[command(subcommand)]
    Subscription(subscription::Verb),
    /// What can't be processed and was set aside: look at it, send it again, or drop it
    #[command(subcommand)]
    Quarantine(quarantine::Verb),
    /// What failed too often: look at it, or send it again
    #[command(subcommand)]
    Dlq(dlq::Verb),
    /// The whole at a glance: fleets, queues, what waits and what was set aside
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Link {
    /// Give a fleet another link, because the old one leaked for example: that one leads nowhere from then on
    #[command(after_help = ROTATE)]
    Rotate {
        /// The fleet's reference, as you gave it to Catena
        #[arg(value_name = "REF", value_parser = parse_fleet)]
        fleet: FleetRef,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Contract {
    /// Compare Catena's schemas of events with what this version reads of them
    #[command(after_help = CONTRACT_CHECK)]
    Check(ContractCheck),
}

/// Which schemas are compared.
#[derive(Debug, Args)]
pub(crate) struct ContractCheck {
    /// Only this event, such as invitation.created; may be repeated
    #[arg(long = "event", value_name = "NAME")]
    pub(crate) events: Vec<String>,
    /// What an earlier check printed with --json: versions that are new since then are told
    #[arg(long, value_name = "FILE")]
    pub(crate) since: Option<PathBuf>,
}

/// How thorough and how strict.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Send no signed delivery of our own to the webhook's URL
    #[arg(long)]
    pub(crate) no_probe: bool,
    /// Warnings count as failures
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// What the partner decided once for all fleets, setting by setting
    #[command(after_help = POLICY)]
    Show,
}

/// Whether a comparison begins, or only what is due is told.
#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// Change nothing and ask Catena nothing: list what is due now, and what would be asked
    #[arg(long, conflicts_with = "anew")]
    pub(crate) dry_run: bool,
    /// Begin again with the first list, also if a comparison is running or can't be read
    #[arg(long)]
    pub(crate) anew: bool,
    /// With --dry-run: this many fleets and as many keys at most
    #[arg(long, value_name = "N", default_value = "100", requires = "dry_run")]
    pub(crate) limit: NonZeroUsize,
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
    /// Everything that was news about a fleet, or decided by operators
    History {
        /// The fleet's reference, as you gave it to Catena
        #[arg(value_name = "REF", value_parser = parse_fleet)]
        fleet: FleetRef,
    },
    /// Which fleets are where
    List(List),
    /// Whether a fleet may in and what of its data may be read, as the partner API answers it
    Access {
        /// The fleet's reference, as you gave it to Catena
        #[arg(value_name = "REF", value_parser = parse_fleet)]
        fleet: FleetRef,
    },
    /// Look now at all that Catena holds of a fleet
    #[command(after_help = RECHECK)]
    Recheck {
        /// The fleet's reference, as you gave it to Catena
        #[arg(value_name = "REF", value_parser = parse_fleet)]
        fleet: FleetRef,
    },
    /// Keep a fleet out or let it in, with your identity, a reason and an end; or lift that
    Override(Override),
}

/// Whom to invite with what. What is left out is left to the fleet, and permissions to the stack.
#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// Your reference for the fleet: letters, digits, _ and -, at most 64
    #[arg(value_name = "REF", value_parser = parse_fleet)]
    pub(crate) fleet: FleetRef,
    /// The fleet's name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where Catena may write to the fleet
    #[arg(long)]
    pub(crate) email: Option<String>,
    /// The fleet's number at a regulator
    #[arg(long, value_name = "ID", requires = "regulatory_id_type")]
    pub(crate) regulatory_id: Option<String>,
    /// Which regulator: DOT, MC, EASA, …
    #[arg(long, value_name = "TYPE", requires = "regulatory_id")]
    pub(crate) regulatory_id_type: Option<String>,
    /// In E.164, such as +15125550100
    #[arg(long)]
    pub(crate) phone: Option<String>,
    /// The fleet's own pages
    #[arg(long, value_name = "URL")]
    pub(crate) website: Option<String>,
    /// ISO 3166-1 alpha-3, such as USA
    #[arg(long, value_name = "CODE")]
    pub(crate) country: Option<String>,
    /// What is asked of the fleet, such as vehicle=read or message=read_write; may be repeated
    #[arg(long = "permission", value_name = "RESOURCE=LEVEL", value_parser = parse_permission)]
    pub(crate) permissions: Vec<(String, Level)>,
    /// A provider that the fleet may choose, by Catena's source name; may be repeated, and without it all of them
    #[arg(long = "provider", value_name = "SOURCE")]
    pub(crate) providers: Vec<String>,
    /// Ask it again though it declined, or though what it shared is over
    #[arg(long)]
    pub(crate) reopen: bool,
}

impl Invite {
    /// Asks for what the stack asks every fleet for.
    pub(crate) fn of(fleet: FleetRef, name: Option<String>) -> Self {
        Self {
            fleet,
            name,
            email: None,
            regulatory_id: None,
            regulatory_id_type: None,
            phone: None,
            website: None,
            country: None,
            permissions: Vec::new(),
            providers: Vec::new(),
            reopen: false,
        }
    }

    fn wrong(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        let twice = self
            .permissions
            .iter()
            .find(|(resource, _)| !seen.insert(resource));
        twice.map(|(resource, _)| format!("--permission names {resource} twice: give it one level"))
    }
}

/// What is decided about a fleet.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["block", "grant", "lift"])))]
pub(crate) struct Override {
    /// The fleet's reference, as you gave it to Catena
    #[arg(value_name = "REF", value_parser = parse_fleet)]
    pub(crate) fleet: FleetRef,
    /// Keep it out, whatever else holds
    #[arg(long)]
    pub(crate) block: bool,
    /// Let it in, until --until
    #[arg(long)]
    pub(crate) grant: bool,
    /// Lift what was decided: a block, a grant, or both
    #[arg(long, value_name = "KIND", num_args = 0..=1, conflicts_with_all = ["reason", "until"])]
    pub(crate) lift: Option<Option<Kind>>,
    /// Why, for whoever asks later; at most 500 bytes
    #[arg(long, value_name = "TEXT", required_unless_present = "lift")]
    pub(crate) reason: Option<String>,
    /// The first moment without it: 2026-05-04T08:00:00Z, 2026-05-04 (its first moment, UTC) or +7d
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true)]
    pub(crate) until: Option<Moment>,
}

impl Override {
    fn wrong(&self) -> Option<&'static str> {
        (self.grant && self.until.is_none()).then_some(
            "what lets a fleet in must end: give --until with a time that lies ahead, such as --until +7d",
        )
    }
}

/// Which decision is lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// What keeps it out.
    Block,
    /// What lets it in.
    Grant,
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

pub(crate) fn parse_fleet(text: &str) -> Result<FleetRef, String> {
    let most = FleetRef::LONGEST;
    FleetRef::parse(text).ok_or_else(|| {
        format!("a fleet's reference has 1 to {most} bytes and no control characters")
    })
}

fn parse_permission(text: &str) -> Result<(String, Level), String> {
    let level = |text| match text {
        "read" => Some(Level::Read),
        "read_write" => Some(Level::ReadWrite),
        _ => None,
    };
    let split = text
        .split_once('=')
        .and_then(|(resource, text)| Some((resource.to_owned(), level(text)?)));
    split
        .filter(|(resource, _)| !resource.is_empty())
        .ok_or_else(|| "write RESOURCE=read or RESOURCE=read_write".to_owned())
}

fn stages() -> impl TypedValueParser<Value = Stage> {
    PossibleValuesParser::new(Stage::ALL.map(Stage::as_str)).try_map(|name| {
        let found = Stage::ALL.into_iter().find(|stage| stage.as_str() == name);
        found.ok_or("no stage")
    })
}

const ROTATE: &str = "\
Example: `kingpin link rotate FLEET-42` prints FLEET-42's new link, to be given to it. Its invitation stays as it is, and
Catena isn't asked. Whoever opens the old link is told whom to ask for another one.";

const SETUP: &str = "\
Example: `kingpin setup --credentials catena.json --invite FLEET-42 --name \"Acme Trucking\"` puts Catena's credentials into the stack's
secret, tries them, makes the webhook subscriptions with the stack's signing key, sends one signed delivery to the stack's own webhook, and
invites FLEET-42. It asks nothing, and may be run again at any time: what is done stays done. Exit code 1 says that a step failed, and the
last line which.";

const POLICY: &str = "\
Example: `kingpin policy show --stack kingpin` lists each setting by its name in the template and in JSON, with its value and what
it means. `--json` prints the policy as the functions are given it.";

const CONTRACT_CHECK: &str = "\
Example: `kingpin contract check --event invitation.created` tells what of that event's schema at Catena isn't read here, and what is
read and isn't in it. Without --event it is all events that Kingpin subscribes to.

`kingpin contract check --json > known.json`, and later `kingpin contract check --since known.json`: which schemas have a new version.

Breaking: events may go into quarantine by it. Degrading: something isn't learned any more. Exit codes: 0 nothing breaks, 1 something
does or can't be read, 2 wrong usage.";

const DOCTOR: &str = "\
Example: `kingpin doctor --stack kingpin` checks the stack's outputs, Catena's credentials and what they allow, clocks, the signing keys,
the webhook's URL by a signed delivery that changes nothing, subscriptions, queues and what waits.

Dead letters are looked at, and stay where they are. Exit codes: 0 nothing fails (with --strict: and nothing is warned of), 1 something
does, 2 wrong usage.";

const RECHECK: &str = "\
Example: `kingpin fleet recheck FLEET-42` makes FLEET-42 due at once, and has the reconciler look at it within seconds. Nothing but
what Catena answers changes its record.";

const RECONCILE: &str = "\
Example: `kingpin reconcile --dry-run` lists which fleets are due, why, and what Catena would be asked for about each.

`kingpin reconcile` makes the next sweep, if sweeps are enabled (template parameter Sweep), begin what otherwise happens once a day:
whatever exists at Catena and not here is taken in, and what differs is healed. `kingpin status` tells how far it is.";

const WHERE: &str = "\
Which stack: --stack NAME or KINGPIN_STACK names a deployed one, found with the usual AWS variables and profiles; without
them it is the local one that `cargo xtask up` started.

Credentials: those of the environment, of a profile (keys and roles), of a container or an instance. For single sign-on
and credential_process, export them: eval \"$(aws configure export-credentials --profile NAME --format env)\".
They need cloudformation:DescribeStacks, and
  for `invite`, `uninvite`, `link rotate`, `fleet access` and `fleet override`: execute-api:Invoke on those routes of the
  partner API;
  for `policy show`: nothing else;
  for `contract check`: secretsmanager:GetSecretValue on Catena's credentials;
  for `doctor`: those of `status`, secretsmanager:GetSecretValue on Catena's credentials and the signing keys, and sqs:ReceiveMessage
  on the three queues of dead letters; what it may not see it says;
  for `operation` dynamodb:BatchGetItem on the table, and to list also dynamodb:Query and dynamodb:Scan on its indexes;
  for the others: dynamodb:BatchGetItem and dynamodb:Query on the table and its indexes; for `status` also dynamodb:GetItem and
  sqs:GetQueueAttributes; for `reconcile` and `fleet recheck` dynamodb:GetItem and (but for --dry-run) dynamodb:UpdateItem; and
  for `fleet recheck` sqs:SendMessage on the tasks queue;
  for `quarantine` dynamodb:Query on the table; to show and release also dynamodb:BatchGetItem, to release and drop also
  dynamodb:DeleteItem, to release also sqs:SendMessage on the events queue;
  for `subscription` dynamodb:GetItem on the table and secretsmanager:GetSecretValue on Catena's credentials and the signing keys; to
  change any also dynamodb:UpdateItem and, on the signing keys, secretsmanager:PutSecretValue;
  for `setup` the same, secretsmanager:PutSecretValue on Catena's credentials, and execute-api:Invoke to invite;
  for `dlq` sqs:GetQueueAttributes, sqs:ReceiveMessage and sqs:ChangeMessageVisibility on the dead-letter queue; to redrive also
  sqs:DeleteMessage there, and sqs:SendMessage on the events queue.

Exit codes: 0 done, 1 failed, no such fleet or something left, 2 wrong usage.";

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
            &["kingpin", "link"],
            &["kingpin", "link", "rotate"],
            &["kingpin", "link", "rotate", "a\nb"],
            &["kingpin", "policy"],
            &["kingpin", "contract"],
            &["kingpin", "contract", "check", "invitation.created"],
            &["kingpin", "doctor", "FLEET-42"],
            &["kingpin", "fleet", "recheck"],
            &["kingpin", "fleet", "recheck", "a\nb"],
            &["kingpin", "reconcile", "FLEET-42"],
            &["kingpin", "reconcile", "--limit", "3"],
            &["kingpin", "reconcile", "--dry-run", "--limit", "0"],
            &["kingpin", "reconcile", "--dry-run", "--anew"],
            &["kingpin", "invite"],
            &["kingpin", "invite", "F", "--permission", "vehicle"],
            &["kingpin", "invite", "F", "--permission", "vehicle=write"],
            &["kingpin", "invite", "F", "--permission", "=read"],
            &["kingpin", "invite", "F", "--regulatory-id", "7"],
            &["kingpin", "invite", "F", "--regulatory-id-type", "DOT"],
            &["kingpin", "fleet", "override", "F"],
            &["kingpin", "fleet", "override", "F", "--reason", "x"],
            &["kingpin", "fleet", "override", "F", "--block"],
            &["kingpin", "fleet", "override", "F", "--lift", "all"],
            &[
                "kingpin", "fleet", "override", "F", "--lift", "--reason", "x",
            ],
            &[
                "kingpin", "fleet", "override", "F", "--lift", "--until", "+1d",
            ],
            &[
                "kingpin", "fleet", "override", "F", "--block", "--grant", "--reason", "x",
            ],
            &["kingpin", "fleet", "override", "F", "--block", "--lift"],
        ] {
            let error = Arguments::read(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }

    #[test]
    fn a_grant_without_an_end_is_refused_with_a_sentence() {
        let line = [
            "kingpin", "fleet", "override", "F", "--grant", "--reason", "x",
        ];
        let error = Arguments::read(line).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let told = error.to_string();
        assert!(told.contains("must end: give --until"), "{told}");
        assert!(Arguments::read(line.iter().chain(&["--until", "+7d"])).is_ok());
    }

    #[test]
    fn a_permission_is_asked_for_once() {
        let line = ["kingpin", "invite", "F", "--permission", "vehicle=read"];
        assert!(Arguments::read(line).is_ok());
        let twice = ["--permission", "vehicle=read_write"];
        let told = Arguments::read(line.iter().chain(&twice)).unwrap_err();
        assert!(told.to_string().contains("vehicle twice"), "{told}");
    }

    #[test]
    fn the_help_names_the_permission_that_the_new_verbs_need() {
        let help = Arguments::command().render_help().to_string();
        assert!(help.contains("execute-api:Invoke"), "{help}");
        assert!(help.contains("`link rotate`"), "{help}");
    }

    /// What the example that a verb's help shows is read as.
    fn example(verb: &[&str], example: &str) -> Command {
        let mut command = Arguments::command();
        let named = verb.iter().try_fold(&mut command, |command, name| {
            command.find_subcommand_mut(name)
        });
        let help = named.unwrap().render_help().to_string();
        assert!(help.contains(&format!("`{example}`")), "{help}");
        // Every second part is in quotation marks.
        let parts = example.split('"').enumerate();
        let words = parts.flat_map(|(place, part)| match place % 2 {
            0 => part.split_whitespace().collect(),
            _ => vec![part],
        });
        Arguments::read(words).unwrap().command
    }

    #[test]
    fn rotate_shows_an_example_that_is_read() {
        match example(&["link", "rotate"], "kingpin link rotate FLEET-42") {
            Command::Link(Link::Rotate { fleet }) => assert_eq!(fleet.as_str(), "FLEET-42"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn verbs_about_looks_show_examples_that_are_read() {
        match example(&["fleet", "recheck"], "kingpin fleet recheck FLEET-42") {
            Command::Fleet(Fleet::Recheck { fleet }) => assert_eq!(fleet.as_str(), "FLEET-42"),
            other => panic!("{other:?}"),
        }
        match example(&["reconcile"], "kingpin reconcile --dry-run") {
            Command::Reconcile(it) => assert!(it.dry_run && it.limit.get() == 100),
            other => panic!("{other:?}"),
        }
        let check = "kingpin contract check --event invitation.created";
        match example(&["contract", "check"], check) {
            Command::Contract(Contract::Check(it)) => assert_eq!(it.events, ["invitation.created"]),
            other => panic!("{other:?}"),
        }
        match example(&["doctor"], "kingpin doctor --stack kingpin") {
            Command::Doctor(it) => assert!(!it.no_probe && !it.strict),
            other => panic!("{other:?}"),
        }
        let show = example(&["policy", "show"], "kingpin policy show --stack kingpin");
        assert!(matches!(show, Command::Policy(Policy::Show)));
    }

    #[test]
    fn verbs_about_what_failed_show_examples_that_are_read() {
        for (verb, line) in [
            (
                ["quarantine", "list"],
                "kingpin quarantine list --since 7d --reason future",
            ),
            (
                ["quarantine", "show"],
                "kingpin quarantine show 2026-11-21/3f9a",
            ),
            (
                ["quarantine", "release"],
                "kingpin quarantine release --all --since 24h --dry-run",
            ),
            (
                ["quarantine", "drop"],
                "kingpin quarantine drop 2026-11-21/3f9a",
            ),
            (["dlq", "list"], "kingpin dlq list --queue tasks"),
            (
                ["dlq", "redrive"],
                "kingpin dlq redrive --limit 100 --dry-run",
            ),
        ] {
            let read = example(&verb, line);
            assert!(
                matches!(read, Command::Quarantine(_) | Command::Dlq(_)),
                "{read:?}"
            );
        }
    }

    #[test]
    fn verbs_about_operations_show_examples_that_are_read() {
        for (verb, line) in [
            (
                "list",
                "kingpin operation list --fleet FLEET-42 --status failed --since 7d",
            ),
            (
                "show",
                "kingpin operation show 5f0c2a9be1d34c7788a1b2c3d4e5f607",
            ),
            (
                "explain",
                "kingpin operation explain --fleet FLEET-42 --key order-7",
            ),
        ] {
            let read = example(&["operation", verb], line);
            assert!(matches!(read, Command::Operation(_)), "{read:?}");
        }
    }

    #[test]
    fn which_operation_is_said() {
        for (line, told) in [
            ("operation show", "required"),
            ("operation show 5f0c", "32 hexadecimal digits"),
            ("operation explain --fleet FLEET-42", "--key"),
            ("operation explain --key order-7", "--fleet"),
            (
                "operation show 5f0c2a9be1d34c7788a1b2c3d4e5f607 --fleet F --key K",
                "cannot be used",
            ),
            ("operation list --status done", "refused"),
            ("operation list --resource driver", "fuel_transaction"),
            ("operation list --since soon", "2h or 7d"),
        ] {
            let words = ["kingpin"].into_iter().chain(line.split(' '));
            let error = Arguments::read(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn setup_shows_an_example_that_is_read() {
        let line =
            "kingpin setup --credentials catena.json --invite FLEET-42 --name \"Acme Trucking\"";
        let read = example(&["setup"], line);
        assert!(format!("{read:?}").contains("Acme Trucking"), "{read:?}");
    }

    #[test]
    fn verbs_about_subscriptions_show_examples_that_are_read() {
        for (verb, line) in [
            ("plan", "kingpin subscription plan"),
            ("apply", "kingpin subscription apply"),
            ("status", "kingpin subscription status --json"),
            ("rotate", "kingpin subscription rotate --wait 30m"),
            ("replay", "kingpin subscription replay --dry-run"),
            (
                "adopt",
                "kingpin subscription adopt 247b2dea-a030-48b7-9a05-ee33c1b6ab0a",
            ),
            ("delete", "kingpin subscription delete --all"),
        ] {
            let read = example(&["subscription", verb], line);
            assert!(matches!(read, Command::Subscription(_)), "{read:?}");
        }
    }

    #[test]
    fn which_subscriptions_are_deleted_is_said() {
        for line in [
            "subscription",
            "subscription delete",
            "subscription delete 247b2dea --all",
            "subscription adopt",
            "subscription rotate --wait soon",
            "setup --name Acme",
        ] {
            let words = ["kingpin"].into_iter().chain(line.split(' '));
            let error = Arguments::read(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn what_can_not_be_moved_back_or_chosen_is_wrong_usage() {
        for (line, told) in [
            ("dlq redrive --queue tasks", "due again"),
            ("dlq redrive --queue publisher", "places in the stream"),
            ("quarantine release", "say which"),
            ("quarantine release 2026-11-21/3f9a --all", "cannot be used"),
            ("quarantine release --since 1d", "give --all"),
            ("quarantine drop 2026-11-21/3f9a --since 1d", "give --all"),
            ("quarantine drop 3f9a", "2026-11-21/3f9a"),
            (
                "quarantine list --since 1d --day 2026-11-21",
                "cannot be used",
            ),
            ("quarantine release --all --per-second 0", "--per-second"),
        ] {
            let words = ["kingpin"].into_iter().chain(line.split(' '));
            let error = Arguments::read(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(told), "{line}: {error}");
        }
    }
}
