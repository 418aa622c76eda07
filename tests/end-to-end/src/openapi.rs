//! The partner API against its OpenAPI document, by schemathesis: no server error, no undocumented answer.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use local::{Options, aws, stack::root};
use serde_json::json;

use crate::{
    drills::scale,
    partner::Partner,
    partner_writes::{connected, submit},
    stack::Running,
};

/// What is checked of each answer. Not `unsupported_method`: API Gateway answers 404, not 405, to a method that no route has. Nor
/// `positive_data_acceptance`: no schema says which cursors were given out, and which times lie ahead.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection";

/// What came of it; `None` if schemathesis isn't there.
pub(crate) async fn run() -> Option<String> {
    let schemathesis = Options::default().tools.join("api/bin/st");
    if !schemathesis.exists() {
        let required = std::env::var_os("CI").is_some();
        assert!(
            !required,
            "schemathesis is missing: `cargo xtask test` installs it"
        );
        return None;
    }
    let running = Running::start(&[]).await;
    // The fleets of the document's examples, and the write.
    let partner = Partner::of(running);
    let (status, _) = partner.put("FLEET-42", "", json!({})).await;
    assert_eq!(status, 201);
    connected(&partner, "FLEET-43").await;
    let document = partner_api::document();
    let write = &document["paths"]["/fleets/{fleet_ref}/operations"]["post"];
    let body = &write["requestBody"]["content"]["application/json"]["example"];
    let parameters = write["parameters"].as_array().unwrap();
    let key = parameters.iter().find(|it| it["in"] == "header").unwrap();
    let key = key["example"].as_str().unwrap();
    let (status, sent) = submit(&partner, "FLEET-43", key, body.clone()).await;
    let get = &document["paths"]["/operations/{operation_id}"]["get"];
    assert_eq!(
        (status, &sent["id"]),
        (202, &get["parameters"][0]["example"])
    );
    let running = partner.running;

    let folder = tempfile::tempdir().unwrap();
    let answers = folder.path().join("answers.json");
    let root = root();
    let mut command = Command::new(schemathesis);
    command
        .current_dir(folder.path())
        .args(["run", "--url", &running.stack.url(""), "--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing", "--seed", "7"])
        .args(["--max-examples", &scale(15, 300).to_string()])
        .args([
            "--request-timeout",
            "30",
            "--generation-database",
            "none",
            "--no-color",
        ])
        .arg(root.join("functions/partner-api/openapi.json"))
        .env(
            "SCHEMATHESIS_HOOKS",
            root.join("tests/end-to-end/openapi/hooks.py"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(aws::CREDENTIALS)
        .env("AWS_REGION", aws::REGION)
        .env("ANSWERS", &answers)
        .stdin(Stdio::null());
    let found = tokio::task::spawn_blocking(move || command.output()).await;
    let found = found.unwrap().unwrap();
    let said = String::from_utf8_lossy(&found.stdout);
    assert!(
        found.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&found.stderr)
    );
    let answers = read(&answers);
    for (operation, answers) in &answers {
        let good: u64 = answers
            .iter()
            .filter(|(status, _)| status.starts_with('2'))
            .map(|(_, n)| n)
            .sum();
        assert!(
            good > 0,
            "{operation} was never answered 2xx: {answers:?}\n{said}"
        );
    }
    assert_eq!(
        answers.len(),
        partner_api::Operation::ALL.len(),
        "{answers:?}"
    );
    let calls: u64 = answers.values().flat_map(BTreeMap::values).sum();
    Some(format!(
        "schemathesis made {calls} calls; answers by operation and status: {answers:?}"
    ))
}

fn read(file: &Path) -> BTreeMap<String, BTreeMap<String, u64>> {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}
