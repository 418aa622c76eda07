//! Serving strangers: whatever stands in a URL becomes a request.

use lambda_http::{
    Adapter, Body, Error, LambdaEvent, Request, Response, Service, lambda_runtime,
    request::LambdaRequest, tower::util::MapRequest,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Serves API Gateway's events for ever.
///
/// API Gateway hands paths over decoded, and `lambda_http` panics on what can't stand in a URI then. Anybody can send that, and
/// each such answer would be a 500 that wakes somebody; so it is encoded again first.
pub async fn serve<'a, S>(service: S) -> Result<(), Error>
where
    S: Service<Request, Response = Response<Body>, Error = Error> + Send + 'a,
    S::Future: Send + 'a,
{
    let adapter = Adapter::from(service);
    lambda_runtime::run(MapRequest::new(adapter, writable)).await
}

fn writable(mut event: LambdaEvent<LambdaRequest>) -> LambdaEvent<LambdaRequest> {
    if let LambdaRequest::ApiGatewayV2(request) = &mut event.payload {
        let texts = [&mut request.raw_path, &mut request.raw_query_string];
        for text in texts.into_iter().flatten() {
            *text = utf8_percent_encode(text, UNWRITABLE).to_string();
        }
    }
    event
}

/// What can't stand in a path or a query. What is percent-encoded already stays as it is.
const UNWRITABLE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
