//! Reads `template.yaml`: which functions there are, which binary each runs, and which routes
//! lead to it. The gateway and the deployment know nothing that isn't written there.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

/// A SAM template, in JSON's long form (`!Ref x` as `{"Ref": "x"}`).
#[derive(Clone, Debug)]
pub struct Template(Value);

/// A function of the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name in the template.
    pub logical_id: String,
    /// The package, and so the binary, that it runs (`Metadata.BuildProperties.Binary`).
    pub package: String,
}

/// A route of an HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The route key, e.g. `POST /webhooks/catena`.
    pub key: String,
    /// The API that it belongs to, by its name in the template.
    pub api: String,
    /// The package of the function that it leads to.
    pub package: String,
    /// Whom it lets in.
    pub authorization: Authorization,
}

/// Whom a route lets in (`AuthorizationType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Everybody: `NONE`.
    None,
    /// Who signs with a key of AWS: `AWS_IAM`. See [`crate::authorization`].
    AwsIam,
}

/// Where the code of a function was uploaded to.
#[derive(Clone, Debug)]
pub struct Code {
    /// The S3 bucket.
    pub bucket: String,
    /// The key in the bucket.
    pub key: String,
}

impl Template {
    /// Reads a template file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{} can't be read", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no template", path.display()))
    }

    /// Parses a template.
    pub fn parse(text: &str) -> Result<Self> {
        let documents = Yaml::load_from_str(text)?;
        let [document] = documents.as_slice() else {
            bail!("expected one YAML document, found {}", documents.len());
        };
        Ok(Self(json_from(document)?))
    }

    /// The template in JSON.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// Whether the template has this parameter.
    pub fn has_parameter(&self, name: &str) -> bool {
        self.0["Parameters"].get(name).is_some()
    }

    /// The functions with a binary of this workspace.
    pub fn functions(&self) -> Result<Vec<Function>> {
        let functions = self
            .resources_of(FUNCTION_TYPES)
            .map(|(id, resource)| {
                let package = resource["Metadata"]["BuildProperties"]["Binary"]
                    .as_str()
                    .with_context(|| {
                        format!("{id}: `Metadata.BuildProperties.Binary` names no binary")
                    })?;
                Ok(Function {
                    logical_id: id.to_owned(),
                    package: package.to_owned(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        if functions.is_empty() {
            bail!("the template has no function");
        }
        Ok(functions)
    }

    /// The routes of all HTTP APIs, each with the function that its integration leads to. Every
    /// one has to say whom it lets in, also where AWS would take `NONE` for granted.
    pub fn routes(&self) -> Result<Vec<Route>> {
        let functions = self.functions()?;
        self.resources_of(&["AWS::ApiGatewayV2::Route"])
            .map(|(id, route)| {
                let properties = &route["Properties"];
                let key = properties["RouteKey"]
                    .as_str()
                    .with_context(|| format!("{id}: no `RouteKey`"))?;
                let api = references(&properties["ApiId"])
                    .into_iter()
                    .next()
                    .with_context(|| format!("{id}: `ApiId` refers to no API"))?;
                let integration = references(&properties["Target"])
                    .into_iter()
                    .find(|name| self.type_of(name) == Some("AWS::ApiGatewayV2::Integration"))
                    .with_context(|| format!("{id}: `Target` refers to no integration"))?;
                let uri =
                    references(&self.0["Resources"][&integration]["Properties"]["IntegrationUri"]);
                let function = functions
                    .iter()
                    .find(|function| uri.contains(&function.logical_id))
                    .with_context(|| {
                        format!("{integration}: `IntegrationUri` refers to no function")
                    })?;
                Ok(Route {
                    key: key.to_owned(),
                    api,
                    package: function.package.clone(),
                    authorization: authorization(&properties["AuthorizationType"])
                        .with_context(|| id.to_owned())?,
                })
            })
            .collect()
    }

    /// The tables that let items expire: name in the template and attribute.
    pub fn expiring_tables(&self) -> Vec<(String, String)> {
        self.resources_of(&["AWS::DynamoDB::Table"])
            .filter_map(|(id, table)| {
                let attribute = &table["Properties"]["TimeToLiveSpecification"]["AttributeName"];
                Some((id.to_owned(), attribute.as_str()?.to_owned()))
            })
            .collect()
    }

    /// The names of the resources of this type.
    pub fn ids_of(&self, kind: &str) -> Vec<&str> {
        self.resources_of(&[kind]).map(|(id, _)| id).collect()
    }

    /// The template with every function's code in S3.
    pub fn with_code(&self, code: impl Fn(&Function) -> Code) -> Result<Self> {
        let mut document = self.0.clone();
        for function in self.functions()? {
            let Code { bucket, key } = code(&function);
            let resource = &mut document["Resources"][&function.logical_id];
            let serverless = resource["Type"] == "AWS::Serverless::Function";
            let properties = &mut resource["Properties"];
            if serverless {
                properties["CodeUri"] = json!({"Bucket": bucket, "Key": key});
            } else {
                properties["Code"] = json!({"S3Bucket": bucket, "S3Key": key});
            }
        }
        Ok(Self(document))
    }

    fn resources_of(&self, types: &[&str]) -> impl Iterator<Item = (&str, &Value)> {
        self.0["Resources"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, resource)| {
                resource["Type"]
                    .as_str()
                    .is_some_and(|found| types.contains(&found))
            })
            .map(|(id, resource)| (id.as_str(), resource))
    }

    fn type_of(&self, logical_id: &str) -> Option<&str> {
        self.0["Resources"][logical_id]["Type"].as_str()
    }
}

fn authorization(kind: &Value) -> Result<Authorization> {
    match kind {
        Value::Null => bail!("no `AuthorizationType`, write `NONE` if everybody may call it"),
        Value::String(kind) if kind == "NONE" => Ok(Authorization::None),
        Value::String(kind) if kind == "AWS_IAM" => Ok(Authorization::AwsIam),
        other => bail!("`AuthorizationType` is {other}, known are `NONE` and `AWS_IAM`"),
    }
}

/// The names that a value refers to: `Ref`, `Fn::GetAtt` and the `${…}` of `Fn::Sub`.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value) {
                ("Ref", Value::String(id)) => vec![id.clone()],
                ("Fn::GetAtt", Value::Array(path)) => path
                    .first()
                    .and_then(Value::as_str)
                    .map(str::to_owned)
                    .into_iter()
                    .collect(),
                ("Fn::Sub", Value::String(text)) => substitutions(text),
                (_, other) => references(other),
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn substitutions(text: &str) -> Vec<String> {
    text.split("${")
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
        .map(|name| name.split('.').next().unwrap_or(name).to_owned())
        .collect()
}

fn json_from(yaml: &Yaml<'_>) -> Result<Value> {
    Ok(match yaml {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => json!(value),
            Scalar::Integer(value) => json!(value),
            Scalar::FloatingPoint(value) => json!(value.into_inner()),
            Scalar::String(value) => json!(value),
        },
        Yaml::Sequence(items) => items.iter().map(json_from).collect::<Result<Value>>()?,
        Yaml::Mapping(fields) => {
            let mut object = Map::new();
            for (name, value) in fields {
                // A numeric key such as an account id is a string in JSON.
                let name = match json_from(name)? {
                    Value::String(name) => name,
                    Value::Number(number) => number.to_string(),
                    other => bail!("{other} can't be a key"),
                };
                object.insert(name, json_from(value)?);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tag, value) => long_form(&tag.suffix, json_from(value)?),
        Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => {
            return Err(anyhow!("YAML that a template doesn't need: {yaml:?}"));
        }
    })
}

fn long_form(tag: &str, value: Value) -> Value {
    match (tag, value) {
        ("Ref" | "Condition", value) => json!({ tag: value }),
        ("GetAtt", Value::String(path)) => match path.split_once('.') {
            Some((id, attribute)) => json!({"Fn::GetAtt": [id, attribute]}),
            None => json!({"Fn::GetAtt": [path]}),
        },
        (_, value) => json!({ format!("Fn::{tag}"): value }),
    }
}

const FUNCTION_TYPES: &[&str] = &["AWS::Serverless::Function", "AWS::Lambda::Function"];

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Architecture: {Type: String, Default: arm64}
Resources:
  Ingest:
    Type: AWS::Serverless::Function
    Metadata:
      BuildMethod: rust-cargolambda
      BuildProperties: {Binary: webhook-ingest}
    Properties:
      CodeUri: .
      Timeout: 3
      Role: !GetAtt IngestRole.Arn
  Processor:
    Type: AWS::Lambda::Function
    Metadata: {BuildProperties: {Binary: event-processor}}
  Integration:
    Type: AWS::ApiGatewayV2::Integration
    Properties:
      IntegrationUri: !Sub arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Ingest.Arn}/invocations
  Route:
    Type: AWS::ApiGatewayV2::Route
    Properties:
      ApiId: !Ref Api
      RouteKey: POST /webhooks/catena
      AuthorizationType: NONE
      Target: !Join ["/", [integrations, !Ref Integration]]
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      TimeToLiveSpecification: {AttributeName: expires_at, Enabled: true}
  Role:
    Condition: Never
    Type: AWS::IAM::Role
    Properties:
      Enabled: !If [Never, !Select [0, !GetAZs ""], !Ref AWS::NoValue]
      Nested: !Not [!Condition Never]
"#;

    #[test]
    fn tags_become_their_long_form() {
        let template = Template::parse(TEMPLATE).unwrap();
        let resources = &template.json()["Resources"];
        assert_eq!(
            resources["Ingest"]["Properties"]["Role"],
            json!({"Fn::GetAtt": ["IngestRole", "Arn"]})
        );
        assert_eq!(
            resources["Role"]["Properties"],
            json!({
                "Enabled": {"Fn::If": ["Never", {"Fn::Select": [0, {"Fn::GetAZs": ""}]}, {"Ref": "AWS::NoValue"}]},
                "Nested": {"Fn::Not": [{"Condition": "Never"}]},
            })
        );
        assert_eq!(
            template.json()["AWSTemplateFormatVersion"],
            json!("2010-09-09")
        );
        assert!(template.has_parameter("Architecture") && !template.has_parameter("Other"));
    }

    #[test]
    fn functions_are_found_by_their_binary() {
        let functions = Template::parse(TEMPLATE).unwrap().functions().unwrap();
        let found: Vec<_> = functions
            .iter()
            .map(|function| (function.logical_id.as_str(), function.package.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("Ingest", "webhook-ingest"),
                ("Processor", "event-processor")
            ]
        );
    }

    #[test]
    fn routes_lead_through_their_integration_to_a_function() {
        let routes = Template::parse(TEMPLATE).unwrap().routes().unwrap();
        let expected = Route {
            key: "POST /webhooks/catena".to_owned(),
            api: "Api".to_owned(),
            package: "webhook-ingest".to_owned(),
            authorization: Authorization::None,
        };
        assert_eq!(routes, [expected]);
    }

    #[test]
    fn a_route_says_whom_it_lets_in() {
        let routes = |kind: &str| {
            let changed = TEMPLATE.replace("AuthorizationType: NONE", kind);
            Template::parse(&changed).unwrap().routes()
        };
        let found = routes("AuthorizationType: AWS_IAM").unwrap();
        assert_eq!(found[0].authorization, Authorization::AwsIam);
        for (kind, expected) in [
            (
                "Other: x",
                "Route: no `AuthorizationType`, write `NONE` if everybody may call it",
            ),
            (
                "AuthorizationType: JWT",
                "Route: `AuthorizationType` is \"JWT\", known are `NONE` and `AWS_IAM`",
            ),
            (
                "AuthorizationType: !Ref Kind",
                "Route: `AuthorizationType` is {\"Ref\":\"Kind\"}, known are `NONE` and `AWS_IAM`",
            ),
        ] {
            assert_eq!(format!("{:#}", routes(kind).unwrap_err()), expected);
        }
    }

    #[test]
    fn a_route_that_leads_nowhere_is_an_error_that_names_it() {
        let broken = TEMPLATE.replace("!Ref Integration", "!Ref Table");
        let error = Template::parse(&broken).unwrap().routes().unwrap_err();
        assert_eq!(
            error.to_string(),
            "Route: `Target` refers to no integration"
        );
    }

    #[test]
    fn tables_that_expire_are_found() {
        let template = Template::parse(TEMPLATE).unwrap();
        assert_eq!(
            template.expiring_tables(),
            [("Table".to_owned(), "expires_at".to_owned())]
        );
    }

    #[test]
    fn code_is_rewritten_for_both_kinds_of_function() {
        let template = Template::parse(TEMPLATE)
            .unwrap()
            .with_code(|function| Code {
                bucket: "code".to_owned(),
                key: function.package.clone(),
            })
            .unwrap();
        let resources = &template.json()["Resources"];
        assert_eq!(
            resources["Ingest"]["Properties"]["CodeUri"],
            json!({"Bucket": "code", "Key": "webhook-ingest"})
        );
        assert_eq!(
            resources["Processor"]["Properties"]["Code"],
            json!({"S3Bucket": "code", "S3Key": "event-processor"})
        );
    }
}
