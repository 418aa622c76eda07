//! Puts the local stack together.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use simulator::Simulator;
use tempfile::TempDir;

use crate::aws::{self, Aws};
use crate::deploy::{self, Deployment};
use crate::gateway::{Gateway, Target};
use crate::ministack::{MiniStack, free_port, require_free};
use crate::template::Template;
use crate::watch::Watch;
use crate::wire::Wire;

/// How to start a stack. [`Options::default`] is what `cargo xtask up` does: free ports, the
/// workspace's `template.yaml`, the binaries next to this one.
#[derive(Clone, Debug)]
pub struct Options {
    /// The template to deploy.
    pub template: PathBuf,
    /// The name of the stack.
    pub stack_name: String,
    /// Parameters of the template that differ from their defaults. `Architecture` is this
    /// machine's unless given.
    pub parameters: BTreeMap<String, String>,
    /// Settings that are added to those of every function.
    pub environment: BTreeMap<String, String>,
    /// The folder that has the functions' binaries, by package.
    pub binaries: PathBuf,
    /// The folder that has the virtual environments (`cargo xtask` makes them).
    pub tools: PathBuf,
    /// The folder for `stack.json`, and for the logs of the last run.
    pub folder: PathBuf,
    /// The port of the webhook's URL.
    pub port: Option<u16>,
    /// The port of the local AWS.
    pub aws_port: Option<u16>,
    /// The port of the simulator.
    pub simulator_port: Option<u16>,
    /// Run the functions from their sources under `cargo lambda watch`, with hot reload.
    pub watch: bool,
    /// Leave it as a first deployment leaves a stack: nothing is subscribed, and Catena's credentials aren't in their secret but in
    /// [`CREDENTIALS_JSON`], for `kingpin setup`.
    pub fresh: bool,
    /// Told about each step that is over.
    pub report: fn(&str, Duration),
}

impl Default for Options {
    fn default() -> Self {
        let binaries = binaries();
        let target = binaries.parent().unwrap_or(&binaries).to_owned();
        let tools = std::env::var_os("KINGPIN_TOOLS").map(PathBuf::from);
        Self {
            template: root().join("template.yaml"),
            stack_name: "kingpin".to_owned(),
            parameters: BTreeMap::new(),
            environment: BTreeMap::new(),
            tools: tools.unwrap_or_else(|| target.join("tools")),
            folder: target.join("local"),
            binaries,
            port: None,
            aws_port: None,
            simulator_port: None,
            watch: false,
            fresh: false,
            report: |_, _| {},
        }
    }
}

/// A running stack. All of its processes end when it is dropped, and also when this process is
/// killed.
#[derive(Debug)]
pub struct Stack {
    /// The local AWS, for asking it things.
    pub aws: Aws,
    /// Between the functions and the local AWS; a lane per package.
    pub wire: Wire,
    /// Stands in for Catena.
    pub simulator: Simulator,
    /// What was deployed.
    pub deployment: Deployment,
    /// The key that the simulator signs with, as the template generated it.
    pub signing_key: String,
    webhook_url: String,
    stack_json: PathBuf,
    gateway: Gateway,
    // Before MiniStack, because the functions that it runs call MiniStack.
    watch: Option<Watch>,
    ministack: MiniStack,
    run: Run,
}

impl Stack {
    /// Starts everything and writes `stack.json`.
    pub async fn start(options: Options) -> Result<Self> {
        require_free(options.port, "the webhook's URL")?;
        require_free(options.aws_port, "the local AWS")?;
        require_free(options.simulator_port, "the simulator")?;
        let mut steps = Steps::new(options.report);
        let run = Run::new(&options.folder)?;
        let template = Template::read(&options.template)?;
        let routes = template.routes()?;

        let ministack = MiniStack::start(&options.tools, run.path(), options.aws_port).await?;
        let aws = ministack.aws()?;
        steps.done("start MiniStack");

        deploy::upload(&aws, &template, &options.binaries).await?;
        steps.done("upload the functions");

        let mut parameters = options.parameters.clone();
        if template.has_parameter("Architecture") {
            let architecture = if cfg!(target_arch = "aarch64") {
                "arm64"
            } else {
                "x86_64"
            };
            parameters
                .entry("Architecture".to_owned())
                .or_insert(architecture.to_owned());
        }
        // Chosen before anything listens there, because the template is told.
        let gateway_port = options.port.map_or_else(free_port, Ok)?;
        let simulator_port = options.simulator_port.map_or_else(free_port, Ok)?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        for (name, value) in [
            ("CatenaApiUrl", url(simulator_port)),
            (
                "CatenaTokenUrl",
                url(simulator_port) + simulator::TOKEN_PATH,
            ),
            ("PublicBaseUrl", url(gateway_port)),
            ("ConnectOrigins", url(simulator_port)),
            ("PartnerName", "Example Freight".to_owned()),
            ("PartnerContact", "onboarding@example.com".to_owned()),
        ] {
            if template.has_parameter(name) {
                parameters.entry(name.to_owned()).or_insert(value);
            }
        }
        let name = &options.stack_name;
        let mut deployment =
            deploy::create(&aws, name, &template, &options.binaries, &parameters).await?;
        deploy::assert_routes(&aws, &template, &deployment).await?;
        deploy::enable_expiry(&aws, &template, &deployment).await?;
        deploy::mend_mappings(&aws, &template, &deployment).await?;
        for (package, function) in &deployment.functions {
            ministack.name_output(&function.name, package)?;
        }
        steps.done("deploy template.yaml");

        let wire = Wire::new(ministack.url())?;
        let mut watch = None;
        if options.watch {
            let mut settings = Wire::environment(&wire.lane("watch").await?);
            settings.extend(union(&deployment)?);
            settings.extend(options.environment.clone());
            let running = Watch::start(
                &options.tools,
                &root(),
                run.path(),
                ministack.url(),
                &settings,
            )
            .await?;
            for (package, function) in &mut deployment.functions {
                let url = running.invoke_url(package);
                let proxy = BTreeMap::from([("MINISTACK_LAMBDA_PROXY_URL".to_owned(), url)]);
                deploy::configure(&aws, function, &proxy).await?;
                function.environment.extend(settings.clone());
            }
            watch = Some(running);
            steps.done("start cargo lambda watch");
        } else {
            for (package, function) in &mut deployment.functions {
                let mut settings = Wire::environment(&wire.lane(package).await?);
                settings.extend(options.environment.clone());
                deploy::configure(&aws, function, &settings).await?;
            }
        }

        let targets = routes.into_iter().map(|route| {
            let function = &deployment.functions[&route.package];
            Target {
                invoke_url: match &watch {
                    Some(watch) => watch.invoke_url(&route.package),
                    None => lambda_url(ministack.url(), &function.name),
                },
                key: route.key,
                authorization: route.authorization,
            }
        });
        let gateway = Gateway::start(Some(gateway_port), targets.collect()).await?;
        let webhook_url = gateway.url(WEBHOOK_PATH);

        let signing_key = signing_key(&aws, deployment.output("KeyringSecretId")?).await?;
        let listen = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let simulator = Simulator::start(simulator::Config {
            listen: Some(listen(simulator_port)),
            webhook_url: webhook_url.clone(),
            signing_key: signing_key.clone(),
        })
        .await?;
        if options.fresh {
            simulator.clear_subscriptions();
            let file = options.folder.join(CREDENTIALS_JSON);
            fs::write(&file, credentials())
                .with_context(|| format!("{} can't be written", file.display()))?;
        } else {
            give_credentials(&aws, deployment.output("CatenaSecretId")?).await?;
        }
        steps.done("start gateway and simulator");

        let mut stack = Self {
            aws,
            wire,
            simulator,
            deployment,
            signing_key,
            webhook_url,
            stack_json: options.folder.join(STACK_JSON),
            gateway,
            watch,
            ministack,
            run,
        };
        stack.write_stack_json(name)?;
        Ok(stack)
    }

    /// Where the simulator sends webhooks to.
    pub fn webhook_url(&self) -> &str {
        &self.webhook_url
    }

    /// The URL of a path of the gateway.
    pub fn url(&self, path: &str) -> String {
        self.gateway.url(path)
    }

    /// The file that describes the stack to other programs.
    pub fn stack_json(&self) -> &Path {
        &self.stack_json
    }

    /// The folder that has the logs while the stack runs.
    pub fn logs_folder(&self) -> PathBuf {
        self.run.path().join("logs")
    }

    /// The folder that has the logs after the stack's end.
    pub fn last_logs_folder(&self) -> PathBuf {
        self.stack_json.with_file_name("logs")
    }

    /// The name of the table.
    pub fn table(&self) -> Result<&str> {
        self.deployment.output("TableName")
    }

    /// The lines that a function printed so far, by package; nothing is left out. Under
    /// `cargo lambda watch`, those of all functions.
    pub fn logs(&self, package: &str) -> Vec<String> {
        let text = match (&self.watch, self.deployment.functions.get(package)) {
            (Some(watch), _) => watch.output(),
            (None, Some(function)) => self.ministack.function_output(&function.name),
            (None, None) => String::new(),
        };
        text.lines().map(str::to_owned).collect()
    }

    /// A function's log lines that are JSON, parsed.
    pub fn log_records(&self, package: &str) -> Vec<Value> {
        self.logs(package)
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Ends everything: nothing listens any more, and no process is left.
    pub fn stop(self) {
        // Dropping does it; the name is for those who read the caller.
        drop(self);
    }

    fn write_stack_json(&mut self, name: &str) -> Result<()> {
        let functions: BTreeMap<&String, Value> = self
            .deployment
            .functions
            .iter()
            .map(|(package, function)| {
                let mut environment = function.environment.clone();
                environment.remove("MINISTACK_LAMBDA_PROXY_URL");
                environment.insert(
                    "AWS_ENDPOINT_URL".to_owned(),
                    self.aws.endpoint().to_owned(),
                );
                environment.insert("AWS_REGION".to_owned(), aws::REGION.to_owned());
                for (name, value) in aws::CREDENTIALS.iter().chain(&LAMBDA) {
                    environment.insert((*name).to_owned(), (*value).to_owned());
                }
                environment.insert("AWS_LAMBDA_FUNCTION_NAME".to_owned(), package.clone());
                let described = json!({"binary": function.binary, "environment": environment});
                (package, described)
            })
            .collect();
        let policy = self.deployment.output("Policy")?;
        let mut policy: Value = serde_json::from_str(policy).context("the policy is no JSON")?;
        // The template has its numbers as texts, because CloudFormation's needn't be JSON's.
        for value in policy
            .as_object_mut()
            .into_iter()
            .flat_map(|it| it.values_mut())
        {
            if let Some(number) = value.as_str().and_then(|text| text.parse::<f64>().ok()) {
                let whole = number.fract() == 0.0;
                *value = if whole {
                    json!(number as i64)
                } else {
                    json!(number)
                };
            }
        }
        let document = json!({
            "webhook_url": self.webhook_url,
            "partner_api_url": self.url(""),
            "public_url": self.deployment.output("PublicUrl")?,
            "simulator_url": self.simulator.url(),
            "aws_endpoint_url": self.aws.endpoint(),
            "region": aws::REGION,
            "stack_name": name,
            "table_name": self.table()?,
            "policy": policy,
            "events_queue_url": self.deployment.output("EventsQueueUrl")?,
            "tasks_queue_url": self.deployment.output("TasksQueueUrl")?,
            "events_dlq_url": self.deployment.output("EventsDeadLetterQueueUrl")?,
            "tasks_dlq_url": self.deployment.output("TasksDeadLetterQueueUrl")?,
            "publisher_dlq_url": self.deployment.output("PublisherDeadLetterQueueUrl")?,
            "event_bus_name": self.deployment.output("EventBusName")?,
            "keyring_secret_id": self.deployment.output("KeyringSecretId")?,
            "catena_secret_id": self.deployment.output("CatenaSecretId")?,
            "catena_api_url": self.deployment.output("CatenaApiUrl")?,
            "catena_token_url": self.deployment.output("CatenaTokenUrl")?,
            "signing_key": self.signing_key,
            "functions": functions,
        });
        self.run.describe(&format!("{document:#}\n"))
    }
}

/// A folder of this run alone, so that stacks side by side don't meet. Its logs stay behind as
/// those of the last run.
#[derive(Debug)]
struct Run {
    temporary: TempDir,
    /// Held as long as the run lives, however it ends.
    _lock: File,
}

impl Run {
    fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("{} can't be made", folder.display()))?;
        Self::clear_away_the_killed(folder);
        let temporary = tempfile::Builder::new()
            .prefix(RUN_PREFIX)
            .tempdir_in(folder)?;
        let lock = File::create(temporary.path().join(LOCK))?;
        lock.lock()?;
        Ok(Self {
            temporary,
            _lock: lock,
        })
    }

    /// A run that was killed couldn't remove its folder, nor `stack.json`.
    fn clear_away_the_killed(folder: &Path) {
        let (alive, killed): (Vec<PathBuf>, Vec<PathBuf>) =
            Self::all(folder).partition(|run| Self::is_alive(run));
        for run in killed {
            let _ = fs::remove_dir_all(run);
        }
        if alive.is_empty() {
            let _ = fs::remove_file(folder.join(STACK_JSON));
        }
    }

    /// Writes `stack.json`: the newest stack's, if several run side by side in one folder.
    fn describe(&self, text: &str) -> Result<()> {
        let mine = self.path().join(STACK_JSON);
        fs::write(&mine, text).with_context(|| format!("{} can't be written", mine.display()))?;
        self.publish(&mine)
    }

    /// In one go, so that a reader never sees half of it.
    fn publish(&self, described: &Path) -> Result<()> {
        let public = self.folder().join(STACK_JSON);
        let new = self.path().join("stack.json.new");
        fs::copy(described, &new)
            .and_then(|_| fs::rename(&new, &public))
            .with_context(|| format!("{} can't be written", public.display()))
    }

    fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Where this run's folder and those of others are.
    fn folder(&self) -> &Path {
        self.path().parent().unwrap_or(self.path())
    }

    fn all(folder: &Path) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(RUN_PREFIX))
            .map(|entry| entry.path())
    }

    fn is_alive(run: &Path) -> bool {
        File::open(run.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_err())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let public = self.folder().join(STACK_JSON);
        let mine = fs::read(self.path().join(STACK_JSON));
        if mine.is_ok_and(|mine| fs::read(&public).is_ok_and(|public| public == mine)) {
            let others = Self::all(self.folder())
                .filter(|run| run != self.path() && Self::is_alive(run))
                .map(|run| run.join(STACK_JSON));
            let modified = |path: &PathBuf| fs::metadata(path)?.modified();
            let newest = others.max_by_key(|path| modified(path).ok());
            let handed_on = newest.is_some_and(|other| self.publish(&other).is_ok());
            if !handed_on {
                let _ = fs::remove_file(public);
            }
        }
        let last = self.folder().join("logs");
        let _ = fs::remove_dir_all(&last);
        let _ = fs::rename(self.path().join("logs"), last);
    }
}

struct Steps {
    report: fn(&str, Duration),
    since: Instant,
}

impl Steps {
    fn new(report: fn(&str, Duration)) -> Self {
        Self {
            report,
            since: Instant::now(),
        }
    }

    fn done(&mut self, name: &str) {
        (self.report)(name, self.since.elapsed());
        self.since = Instant::now();
    }
}

/// The root of the repository. Cargo tells where the package is that it runs or tests, and all
/// packages are two levels deep; so a moved or copied clone finds itself.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.ancestors().nth(2).unwrap_or(&package).to_owned()
}

/// The folder that cargo put this workspace's binaries in: that of this program, or above it for
/// a test.
fn binaries() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let folder = program.parent().unwrap_or(&program);
    if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder).to_owned()
    } else {
        folder.to_owned()
    }
}

fn lambda_url(aws_url: &str, function: &str) -> String {
    format!("{aws_url}/2015-03-31/functions/{function}/invocations")
}

/// The settings of all functions as one environment, which is all that `cargo lambda watch` has.
fn union(deployment: &Deployment) -> Result<BTreeMap<String, String>> {
    let mut union = BTreeMap::new();
    for (package, function) in &deployment.functions {
        for (name, value) in &function.environment {
            let former = union.insert(name.clone(), value.clone());
            anyhow::ensure!(
                former.is_none_or(|former| former == *value),
                "{package}: {name} differs from another function's, but `cargo lambda watch` \
                 gives all functions the same settings; give it another name"
            );
        }
    }
    Ok(union)
}

/// What the simulator's token endpoint takes.
fn credentials() -> String {
    let (id, secret) = (simulator::CLIENT_ID, simulator::CLIENT_SECRET);
    json!({ "client_id": id, "client_secret": secret }).to_string()
}

/// Puts the simulator's credentials where an operator puts Catena's.
async fn give_credentials(aws: &Aws, secret: &str) -> Result<()> {
    let put = json!({"SecretId": secret, "SecretString": credentials()});
    aws.secrets_manager("PutSecretValue", put).await.map(drop)
}

async fn signing_key(aws: &Aws, secret: &str) -> Result<String> {
    let found = aws
        .secrets_manager("GetSecretValue", json!({"SecretId": secret}))
        .await?;
    let keyring = found["SecretString"].as_str().unwrap_or_default();
    let keyring: Value = serde_json::from_str(keyring).context("the keyring is no JSON")?;
    let key = keyring["shared"].as_str();
    Ok(key
        .context("the generated keyring has no key `shared`")?
        .to_owned())
}

const WEBHOOK_PATH: &str = "/webhooks/catena";
/// The simulator's credentials, beside `stack.json` of a fresh stack.
pub const CREDENTIALS_JSON: &str = "catena.json";
const STACK_JSON: &str = "stack.json";
/// What Lambda sets besides, and the runtime insists on.
const LAMBDA: [(&str, &str); 2] = [
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
];
const RUN_PREFIX: &str = "run-";
const LOCK: &str = "lock";
