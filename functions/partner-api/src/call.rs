//! What a request says: who calls, which operation, with which parameters and body.

use api::FieldProblem;
use fleet::FleetRef;
use lambda_http::{Request, RequestExt, http::HeaderValue, request::RequestContext};
use serde::de::DeserializeOwned;

use crate::{
    operation::Operation,
    refusal::{Kind, Refusal},
};

/// A request whose caller is known.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    request: &'a Request,
    pub(crate) operation: Operation,
    /// The ARN of the IAM principal that signed the request, as API Gateway proved it.
    pub(crate) caller: String,
}

impl<'a> Call<'a> {
    /// Refuses what has no caller: every route asks for IAM authorisation, so a request without is one that came another way.
    pub(crate) fn of(request: &'a Request) -> Result<Self, Refusal> {
        let nobody = || {
            Refusal::new(
                Kind::NoCaller,
                "The request came without an authorizer's context: it was not signed with AWS Signature Version 4, \
                 or a route without IAM authorisation leads here.",
            )
        };
        let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
            return Err(nobody());
        };
        let iam = context.authorizer.as_ref().and_then(|it| it.iam.as_ref());
        let caller = iam.and_then(|iam| iam.user_arn.clone());
        let caller = caller
            .filter(|arn| arn.starts_with("arn:"))
            .ok_or_else(nobody)?;
        let route_key = context.route_key.as_deref().unwrap_or_default();
        let operation = Operation::of(route_key).ok_or_else(|| {
            Refusal::new(
                Kind::NoRoute,
                format!("No operation belongs to the route `{route_key}`."),
            )
        })?;
        Ok(Self {
            request,
            operation,
            caller,
        })
    }

    /// The fleet that the path names.
    pub(crate) fn fleet(&self) -> Result<FleetRef, Refusal> {
        FleetRef::parse(&self.fleet_ref()).ok_or_else(|| Refusal::field(FLEET_REF, READABLE_REF))
    }

    /// The fleet that the path names and that is to be invited: what goes into URLs and comes back in events is kept plain.
    pub(crate) fn new_fleet(&self) -> Result<FleetRef, Refusal> {
        let text = self.fleet_ref();
        let good = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
        let plain = (1..=64).contains(&text.len()) && text.bytes().all(good);
        FleetRef::parse(&text).filter(|_| plain).ok_or_else(|| {
            Refusal::field(
                FLEET_REF,
                "write 1 to 64 letters (A-Z, a-z), digits, _ and -",
            )
        })
    }

    fn fleet_ref(&self) -> String {
        let parameters = self.request.path_parameters_ref();
        let text = parameters.and_then(|it| it.first(FLEET_REF));
        text.unwrap_or_default().to_owned()
    }

    /// The operation that the path names.
    pub(crate) fn operation_id(&self) -> Option<&str> {
        let parameters = self.request.path_parameters_ref()?;
        parameters.first(OPERATION_ID).filter(|id| {
            let digit = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
            id.len() == 32 && id.bytes().all(digit)
        })
    }

    /// The caller's key: the same key of a fleet is the same operation.
    pub(crate) fn idempotency_key(&self) -> Result<&str, Refusal> {
        let mut values = self.request.headers().get_all(IDEMPOTENCY_KEY).iter();
        let key = values.next().map(HeaderValue::as_bytes).unwrap_or_default();
        let key = std::str::from_utf8(key).ok().filter(|key| {
            let visible = key.bytes().all(|it| it.is_ascii_graphic());
            (1..=255).contains(&key.len()) && visible
        });
        key.filter(|_| values.next().is_none()).ok_or_else(|| {
            Refusal::field(
                IDEMPOTENCY_KEY,
                "this header is required, once: write 1 to 255 visible ASCII characters, such as a UUID that is new for each write",
            )
        })
    }

    /// The body.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let body: &[u8] = self.request.body();
        if body.len() > LARGEST_BODY {
            return Err(Refusal::new(
                Kind::UnreadableBody,
                format!(
                    "The body has {} bytes; write at most {LARGEST_BODY}.",
                    body.len()
                ),
            ));
        }
        // First whether it is JSON at all: only then a field can be to blame.
        let value: serde_json::Value = serde_json::from_slice(body).map_err(|error| {
            Refusal::new(
                Kind::UnreadableBody,
                format!("The body is no JSON: {error}."),
            )
        })?;
        if !value.is_object() {
            return Err(Refusal::field("(body)", "write a JSON object"));
        }
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { "(body)" } else { &path };
            Refusal::field(field, error.inner().to_string())
        })
    }

    /// Refuses a body that says something, of an operation that takes none: it would be ignored.
    pub(crate) fn no_body(&self) -> Result<(), Refusal> {
        if self.request.body().is_empty() {
            return Ok(());
        }
        let fields: serde_json::Map<String, serde_json::Value> = self.body()?;
        match fields.keys().next() {
            None => Ok(()),
            Some(field) => Err(Refusal::field(field, "this takes no fields")),
        }
    }

    /// A parameter of the query, at most once.
    pub(crate) fn parameter(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let parameters = self.request.query_string_parameters_ref();
        let values = parameters.and_then(|it| it.all(name)).unwrap_or_default();
        match values[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(Refusal::field(name, "give it once")),
        }
    }

    /// A parameter of the query that is read by `read`, or else isn't `expected`.
    pub(crate) fn parameter_as<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.parameter(name)? else {
            return Ok(None);
        };
        read(text)
            .map(Some)
            .ok_or_else(|| Refusal::field(name, format!("write {expected}")))
    }

    /// Refuses parameters that the operation doesn't know: misspelt ones would be ignored.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        let parameters = self.request.query_string_parameters_ref();
        let names = parameters.into_iter().flat_map(|it| it.iter());
        let unknown = names
            .map(|(name, _)| name)
            .find(|name| !known.contains(name));
        match unknown {
            None => Ok(()),
            Some(name) => {
                let known = match known {
                    [] => "this takes none".to_owned(),
                    known => format!("this takes {}", known.join(", ")),
                };
                let problem =
                    FieldProblem::new(name, format!("there is no such parameter; {known}"));
                Err(Refusal::fields(vec![problem]))
            }
        }
    }
}

const FLEET_REF: &str = "fleet_ref";
const OPERATION_ID: &str = "operation_id";
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// What a reference that can be read should be: see [`FleetRef::parse`].
pub(crate) const READABLE_REF: &str = "write 1 to 256 bytes without control characters";
/// A hundred of the longest references fit.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;
