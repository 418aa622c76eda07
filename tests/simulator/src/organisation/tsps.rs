//! Providers that Catena supports (contract 3.5), and those that it doesn't support yet (contract 3.6).

use serde_json::{Value, json};

use super::query::Query;

/// `GET /v2/orgs/tsps`: a plain array.
pub(super) fn list(query: &Query) -> Vec<Value> {
    let fits = |tsp: &Value, name: &str| query.one(name).is_none_or(|wanted| tsp[name] == wanted);
    all()
        .into_iter()
        .filter(|tsp| fits(tsp, "slug") && fits(tsp, "source_name"))
        .collect()
}

pub(super) fn get(id: &str) -> Option<Value> {
    all().into_iter().find(|tsp| tsp["id"] == id)
}

/// `GET /v2/orgs/external-tsps`: a plain array. Its fields aren't documented; these are those that an integration request
/// repeats.
pub(super) fn list_external(query: &Query) -> Vec<Value> {
    let wanted = query.one("q").unwrap_or_default().to_lowercase();
    EXTERNAL
        .iter()
        .filter(|(_, name, _)| name.to_lowercase().contains(&wanted))
        .map(|(id, name, status)| json!({"id": id, "name": name, "compliance_status": status}))
        .collect()
}

/// A provider that a fleet can connect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Supported {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) slug: &'static str,
    pub(super) source_name: &'static str,
}

pub(super) fn supported() -> impl Iterator<Item = Supported> {
    TSPS.iter()
        .map(|&(id, name, slug, source_name, _)| Supported {
            id,
            name,
            slug,
            source_name,
        })
}

/// A provider of the external registry that a fleet can only request.
#[derive(Clone, Debug)]
pub(super) struct Unsupported {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// For paths: the registry has none.
    pub(super) slug: String,
    pub(super) compliance_status: &'static str,
}

pub(super) fn unsupported() -> impl Iterator<Item = Unsupported> {
    let is_supported = |id: &str| TSPS.iter().any(|(.., ext_tsp_id)| *ext_tsp_id == Some(id));
    EXTERNAL
        .iter()
        .filter(move |(id, ..)| !is_supported(id))
        .map(|&(id, name, compliance_status)| Unsupported {
            id,
            name,
            slug: name.to_lowercase().replace(' ', "-"),
            compliance_status,
        })
}

fn all() -> Vec<Value> {
    TSPS.iter().map(tsp).collect()
}

fn tsp(&(id, name, slug, source_name, ext_tsp_id): &Tsp) -> Value {
    json!({
        "name": name,
        "description": null,
        "websites": null,
        "source_name": source_name,
        "status": "active",
        "conn_type": if source_name == "hos247" { "company_id" } else { "oauth2" },
        "is_sandbox": source_name == "catena_simulator",
        "logo_url": null,
        "logo_dark_url": null,
        "id": id,
        "slug": slug,
        "ext_tsp_id": ext_tsp_id,
        "created_at": "2024-01-15T09:00:00Z",
        "updated_at": "2025-11-20T16:45:00Z",
        "registry": "fmcsa",
        "compliance_status": "compliant",
    })
}

/// Id, name, slug, source name, id in the external registry.
type Tsp = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
);

/// Two share a source name, as white labels do.
#[rustfmt::skip]
const TSPS: [Tsp; 5] = [
    ("0d5df06e-3f7e-4f36-89b3-5e537c3d514a", "Samsara", "samsara", "samsara", None),
    ("3b1d4c52-7a0e-4f63-8a51-2f9c6d7e8b10", "Geotab", "geotab", "geotab", None),
    ("7e1d2c3b-4a59-4687-9687-a5b4c3d2e1f0", "Nomad ELD", "nomad-eld", "hos247", Some(NOMAD)),
    ("a94b7d20-51c3-4e8f-b6d2-0c1e3f5a7b92", "HOS247", "hos247", "hos247", None),
    ("c0ffee00-1234-4abc-8def-0123456789ab", "Catena Simulator", "catena-simulator", "catena_simulator", None),
];
const NOMAD: &str = "019d6a63-e072-7bcf-a03b-e51a72a4c855";
/// The first of [`EXTERNAL`]: what an integration request is for unless told.
pub(super) const REQUESTED: (&str, &str, &str) = EXTERNAL[0];
const EXTERNAL: [(&str, &str, &str); 3] = [
    (NOMAD, "Nomad ELD", "compliant"),
    (
        "019d6a63-e072-7bcf-a03b-e51a72a4c856",
        "Prairie Logs",
        "compliant",
    ),
    (
        "019d6a63-e072-7bcf-a03b-e51a72a4c857",
        "Old Road ELD",
        "non_compliant",
    ),
];
