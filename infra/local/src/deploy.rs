//! Deploys the template to the local AWS: uploads the binaries, creates the stack, and makes
//! sure that what a stack can silently lack there (routes, expiry) really exists.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::aws::Aws;
use crate::template::{Code, Template};

/// A deployed stack.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The outputs of the template.
    pub outputs: BTreeMap<String, String>,
    /// The name that each resource got, by its name in the template.
    pub resources: BTreeMap<String, String>,
    /// The functions, by package.
    pub functions: BTreeMap<String, Deployed>,
}

/// A deployed function.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The name that it got.
    pub name: String,
    /// The binary that it runs.
    pub binary: PathBuf,
    /// Its settings: what the template says, and what was added with [`configure`].
    pub environment: BTreeMap<String, String>,
}

impl Deployment {
    /// An output of the template, which names what is missing.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("template.yaml has no output `{name}`"))
    }
}

/// Uploads each function's binary, found by its package's name in `binaries`.
pub async fn upload(aws: &Aws, template: &Template, binaries: &Path) -> Result<()> {
    aws.s3_put(&format!("/{BUCKET}"), Vec::new()).await?;
    for function in template.functions()? {
        let binary = binaries.join(&function.package);
        let bytes = fs::read(&binary).with_context(|| {
            format!(
                "{} can't be read: build it with `cargo build --workspace`",
                binary.display()
            )
        })?;
        let path = format!("/{BUCKET}/{}", key(&function.package));
        aws.s3_put(&path, zipped(&bytes)?).await?;
    }
    Ok(())
}

/// Creates the stack from what was uploaded, and waits until it is complete.
pub async fn create(
    aws: &Aws,
    stack: &str,
    template: &Template,
    binaries: &Path,
    parameters: &BTreeMap<String, String>,
) -> Result<Deployment> {
    let deployed = template.with_code(|function| Code {
        bucket: BUCKET.to_owned(),
        key: key(&function.package),
    })?;
    // By way of S3, as `sam deploy` does: a request takes 51,200 bytes of it only.
    let place = format!("/{BUCKET}/template.json");
    aws.s3_put(&place, deployed.json().to_string().into_bytes())
        .await?;
    let mut input = vec![
        ("StackName".to_owned(), stack.to_owned()),
        ("TemplateURL".to_owned(), aws.endpoint().to_owned() + &place),
        (
            "Capabilities.member.1".to_owned(),
            "CAPABILITY_IAM".to_owned(),
        ),
        // For the SAM transform; `sam deploy` needs only the first.
        (
            "Capabilities.member.2".to_owned(),
            "CAPABILITY_AUTO_EXPAND".to_owned(),
        ),
    ];
    for (index, (name, value)) in parameters.iter().enumerate() {
        let member = format!("Parameters.member.{}", index + 1);
        input.push((format!("{member}.ParameterKey"), name.clone()));
        input.push((format!("{member}.ParameterValue"), value.clone()));
    }
    let input: Vec<(&str, &str)> = input
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    aws.cloudformation("CreateStack", &input).await?;
    let outputs = wait_until_complete(aws, stack).await?;

    let text = aws
        .cloudformation("DescribeStackResources", &[("StackName", stack)])
        .await?;
    let resources: BTreeMap<String, String> = members(&text, "LogicalResourceId")?
        .into_iter()
        .filter_map(|mut member| {
            let id = member.remove("LogicalResourceId")?;
            Some((id, member.remove("PhysicalResourceId")?))
        })
        .collect();

    let mut functions = BTreeMap::new();
    for function in template.functions()? {
        let name = resources
            .get(&function.logical_id)
            .with_context(|| format!("{} was not deployed", function.logical_id))?;
        let deployed = Deployed {
            environment: environment(aws, name).await?,
            binary: binaries.join(&function.package),
            name: name.clone(),
        };
        functions.insert(function.package, deployed);
    }
    Ok(Deployment {
        outputs,
        resources,
        functions,
    })
}

/// Asserts that every route of the template exists and leads to an integration.
pub async fn assert_routes(aws: &Aws, template: &Template, deployment: &Deployment) -> Result<()> {
    for route in template.routes()? {
        let api = &deployment.resources[&route.api];
        let found = aws
            .rest(
                "apigateway",
                Method::GET,
                &format!("/v2/apis/{api}/routes"),
                None,
            )
            .await?;
        let exists = found["items"].as_array().into_iter().flatten().any(|item| {
            item["routeKey"] == route.key.as_str()
                && item["target"]
                    .as_str()
                    .is_some_and(|target| target.starts_with("integrations/"))
        });
        if !exists {
            bail!(
                "the local API {} lacks the route `{}`: it has {}; spell the route out with \
                 AWS::ApiGatewayV2 resources in template.yaml",
                route.api,
                route.key,
                found["items"]
            );
        }
    }
    Ok(())
}

/// Turns on the expiry of items, which the local CloudFormation leaves out, and asserts it.
pub async fn enable_expiry(aws: &Aws, template: &Template, deployment: &Deployment) -> Result<()> {
    for (table, attribute) in template.expiring_tables() {
        let name = &deployment.resources[&table];
        let described = || aws.dynamodb("DescribeTimeToLive", json!({"TableName": name}));
        let wanted = json!({"TimeToLiveStatus": "ENABLED", "AttributeName": attribute});
        // Should it ever learn to, a second call would be an error.
        if described().await?["TimeToLiveDescription"] != wanted {
            let specification = json!({"AttributeName": attribute, "Enabled": true});
            aws.dynamodb(
                "UpdateTimeToLive",
                json!({"TableName": name, "TimeToLiveSpecification": specification}),
            )
            .await?;
        }
        let found = described().await?;
        if found["TimeToLiveDescription"] != wanted {
            bail!("the local table {table} doesn't let items expire by `{attribute}`: {found}");
        }
    }
    Ok(())
}

/// Makes the concurrency of event source mappings a number. CloudFormation turns the text of a
/// parameter into what a property needs; the local one doesn't, and then polls no queue at all.
pub async fn mend_mappings(aws: &Aws, template: &Template, deployment: &Deployment) -> Result<()> {
    for id in template.ids_of("AWS::Lambda::EventSourceMapping") {
        let path = format!(
            "/2015-03-31/event-source-mappings/{}",
            deployment.resources[id]
        );
        let found = aws.rest("lambda", Method::GET, &path, None).await?;
        let maximum = &found["ScalingConfig"]["MaximumConcurrency"];
        if let Some(maximum) = maximum.as_str().and_then(|text| text.parse::<u64>().ok()) {
            let input = json!({"ScalingConfig": {"MaximumConcurrency": maximum}});
            aws.rest("lambda", Method::PUT, &path, Some(input)).await?;
        }
    }
    Ok(())
}

/// Adds settings to a deployed function.
pub async fn configure(
    aws: &Aws,
    function: &mut Deployed,
    settings: &BTreeMap<String, String>,
) -> Result<()> {
    function.environment.extend(settings.clone());
    let path = format!("/2015-03-31/functions/{}/configuration", function.name);
    let input = json!({"Environment": {"Variables": function.environment}});
    aws.rest("lambda", Method::PUT, &path, Some(input)).await?;
    Ok(())
}

async fn environment(aws: &Aws, function: &str) -> Result<BTreeMap<String, String>> {
    let path = format!("/2015-03-31/functions/{function}/configuration");
    let found = aws.rest("lambda", Method::GET, &path, None).await?;
    match &found["Environment"]["Variables"] {
        Value::Null => Ok(BTreeMap::new()),
        variables => Ok(serde_json::from_value(variables.clone())?),
    }
}

async fn wait_until_complete(aws: &Aws, stack: &str) -> Result<BTreeMap<String, String>> {
    let start = Instant::now();
    loop {
        let text = aws
            .cloudformation("DescribeStacks", &[("StackName", stack)])
            .await?;
        let status = members(&text, "StackStatus")?
            .into_iter()
            .find_map(|mut member| member.remove("StackStatus"))
            .unwrap_or_default();
        match status.as_str() {
            "CREATE_COMPLETE" => {
                return Ok(members(&text, "OutputKey")?
                    .into_iter()
                    .filter_map(|mut output| {
                        let key = output.remove("OutputKey")?;
                        Some((key, output.remove("OutputValue")?))
                    })
                    .collect());
            }
            "CREATE_IN_PROGRESS" | "REVIEW_IN_PROGRESS" if start.elapsed() < COMPLETE_WITHIN => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            _ => bail!(
                "the stack was not created ({status}): {}",
                failure(aws, stack).await?
            ),
        }
    }
}

/// Which resource failed, and why.
async fn failure(aws: &Aws, stack: &str) -> Result<String> {
    let text = aws
        .cloudformation("DescribeStackEvents", &[("StackName", stack)])
        .await?;
    let mut reasons: Vec<String> = members(&text, "ResourceStatus")?
        .into_iter()
        .filter(|event| {
            event
                .get("ResourceStatus")
                .is_some_and(|status| status.ends_with("_FAILED"))
        })
        .map(|event| {
            let field = |name| event.get(name).map_or("?", String::as_str);
            format!(
                "{} ({}): {}",
                field("LogicalResourceId"),
                field("ResourceType"),
                field("ResourceStatusReason")
            )
        })
        .collect();
    if reasons.is_empty() {
        reasons.push("no resource reports a failure; see ministack.log".to_owned());
    }
    Ok(reasons.join("; "))
}

/// The elements of an answer that have a child of this name, as name-value pairs.
fn members(xml: &str, child: &str) -> Result<Vec<BTreeMap<String, String>>> {
    let document = roxmltree::Document::parse(xml).context("CloudFormation answered no XML")?;
    Ok(document
        .descendants()
        .filter(|node| {
            node.children()
                .any(|found| found.tag_name().name() == child)
        })
        .map(|node| {
            node.children()
                .filter(roxmltree::Node::is_element)
                .map(|found| {
                    let text = found.text().unwrap_or_default().trim().to_owned();
                    (found.tag_name().name().to_owned(), text)
                })
                .collect()
        })
        .collect())
}

/// A deployment package: the binary as `bootstrap`. Not compressed, because it stays here.
fn zipped(binary: &[u8]) -> Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::with_capacity(binary.len() + 1024)));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .unix_permissions(0o755);
    archive.start_file("bootstrap", options)?;
    archive.write_all(binary)?;
    Ok(archive.finish()?.into_inner())
}

fn key(package: &str) -> String {
    format!("{package}.zip")
}

const BUCKET: &str = "kingpin-code";
const COMPLETE_WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_an_answer_are_read_by_name() {
        let xml = "<R xmlns=\"http://example/\"><Stacks><member><StackStatus>CREATE_COMPLETE\
                   </StackStatus><Outputs><member><OutputKey>A</OutputKey><OutputValue>1\
                   </OutputValue></member><member><OutputKey>B</OutputKey><OutputValue/>\
                   </member></Outputs></member></Stacks></R>";
        let outputs = members(xml, "OutputKey").unwrap();
        let values: Vec<_> = outputs
            .iter()
            .map(|output| (output["OutputKey"].as_str(), output["OutputValue"].as_str()))
            .collect();
        assert_eq!(values, [("A", "1"), ("B", "")]);
        assert_eq!(members(xml, "StackStatus").unwrap().len(), 1);
    }
}
