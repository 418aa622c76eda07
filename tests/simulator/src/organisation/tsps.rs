//! Providers that Catena supports (contract 3.5), and those that it doesn't support yet (contract 3.6).

use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::query::Query;
use crate::envelope::{microsecond_text, uuid_v7};

/// The supported providers: those of the table, and those that went live since.
pub(super) struct Tsps(Vec<Supported>);

/// A provider that a fleet can connect.
#[derive(Clone, Debug)]
pub(super) struct Supported {
    pub(super) id: Uuid,
    pub(super) name: &'static str,
    pub(super) slug: String,
    pub(super) source_name: String,
    ext_tsp_id: Option<&'static str>,
    compliance_status: &'static str,
    created_at: String,
    updated_at: String,
}

/// A provider of the external registry; without a [`Supported`] for it, a fleet can only request it.
#[derive(Clone, Debug)]
pub(super) struct Unsupported {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// For paths: the registry has none.
    pub(super) slug: String,
    pub(super) compliance_status: &'static str,
}

impl Default for Tsps {
    fn default() -> Self {
        Self(TSPS.iter().map(tabled).collect())
    }
}

impl Tsps {
    /// `GET /v2/orgs/tsps`: a plain array.
    pub(super) fn list(&self, query: &Query) -> Vec<Value> {
        let fits = |name: &str, value: &str| query.one(name).is_none_or(|wanted| value == wanted);
        self.0
            .iter()
            .filter(|tsp| fits("slug", &tsp.slug) && fits("source_name", &tsp.source_name))
            .map(Supported::read)
            .collect()
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&Supported> {
        self.0.iter().find(|tsp| tsp.id == id)
    }

    pub(super) fn of_external(&self, ext_tsp_id: &str) -> Option<&Supported> {
        self.0.iter().find(|tsp| tsp.ext_tsp_id == Some(ext_tsp_id))
    }

    pub(super) fn supported(&self) -> impl Iterator<Item = &Supported> {
        self.0.iter()
    }

    pub(super) fn unsupported(&self) -> impl Iterator<Item = Unsupported> {
        externals().filter(|external| self.of_external(external.id).is_none())
    }

    /// A provider of the registry is supported from now on. Answers its id.
    pub(super) fn add(&mut self, external: &Unsupported, now: OffsetDateTime) -> Uuid {
        let id = uuid_v7(now);
        self.0.push(Supported {
            id,
            name: external.name,
            slug: external.slug.clone(),
            source_name: external.slug.replace('-', "_"),
            ext_tsp_id: Some(external.id),
            compliance_status: external.compliance_status,
            created_at: microsecond_text(now),
            updated_at: microsecond_text(now),
        });
        id
    }
}

impl Supported {
    /// `TspRead`.
    pub(super) fn read(&self) -> Value {
        json!({
            "name": self.name,
            "description": null,
            "websites": null,
            "source_name": self.source_name,
            "status": "active",
            "conn_type": if self.source_name == "hos247" { "company_id" } else { "oauth2" },
            "is_sandbox": self.source_name == "catena_simulator",
            "logo_url": null,
            "logo_dark_url": null,
            "id": self.id,
            "slug": self.slug,
            "ext_tsp_id": self.ext_tsp_id,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "registry": "fmcsa",
            "compliance_status": self.compliance_status,
        })
    }
}

/// `GET /v2/orgs/external-tsps`: a plain array. Its fields aren't documented; these are those that an integration request
/// repeats.
pub(super) fn list_external(query: &Query) -> Vec<Value> {
    let wanted = query.one("q").unwrap_or_default().to_lowercase();
    externals()
        .filter(|external| external.name.to_lowercase().contains(&wanted))
        .map(
            |Unsupported {
                 id,
                 name,
                 compliance_status,
                 ..
             }| {
                json!({"id": id, "name": name, "compliance_status": compliance_status})
            },
        )
        .collect()
}

/// A provider of the registry by its id, its name or its slug here.
pub(super) fn external(provider: &str) -> Option<Unsupported> {
    externals().find(|it| [it.id, it.name, &it.slug].contains(&provider))
}

fn externals() -> impl Iterator<Item = Unsupported> {
    EXTERNAL
        .iter()
        .map(|&(id, name, compliance_status)| Unsupported {
            id,
            name,
            slug: name.to_lowercase().replace(' ', "-"),
            compliance_status,
        })
}

fn tabled(&(id, name, slug, source_name, ext_tsp_id): &Tsp) -> Supported {
    Supported {
        id: Uuid::from_u128(id),
        name,
        slug: slug.to_owned(),
        source_name: source_name.to_owned(),
        ext_tsp_id,
        compliance_status: "compliant",
        created_at: "2024-01-15T09:00:00Z".to_owned(),
        updated_at: "2025-11-20T16:45:00Z".to_owned(),
    }
}

/// Id, name, slug, source name, id in the external registry.
type Tsp = (
    u128,
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
);

/// Two share a source name, as white labels do.
#[rustfmt::skip]
const TSPS: [Tsp; 5] = [
    (0x0d5d_f06e_3f7e_4f36_89b3_5e53_7c3d_514a, "Samsara", "samsara", "samsara", None),
    (0x3b1d_4c52_7a0e_4f63_8a51_2f9c_6d7e_8b10, "Geotab", "geotab", "geotab", None),
    (0x7e1d_2c3b_4a59_4687_9687_a5b4_c3d2_e1f0, "Nomad ELD", "nomad-eld", "hos247", Some(NOMAD)),
    (0xa94b_7d20_51c3_4e8f_b6d2_0c1e_3f5a_7b92, "HOS247", "hos247", "hos247", None),
    (0xc0ff_ee00_1234_4abc_8def_0123_4567_89ab, "Catena Simulator", "catena-simulator", "catena_simulator", None),
];
const NOMAD: &str = "019d6a63-e072-7bcf-a03b-e51a72a4c855";
/// What an integration request is for unless told: a provider that isn't supported yet, or the request would be live already
/// (contract 3.6).
pub(super) const REQUESTED: External = EXTERNAL[1];
/// Id, name, compliance status.
type External = (&'static str, &'static str, &'static str);
const EXTERNAL: [External; 4] = [
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
    // What a demo leaves to be requested.
    (
        "019d6a63-e072-7bcf-a03b-e51a72a4c858",
        "Blue Mesa Telematics",
        "compliant",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_requested_unless_told_is_not_supported() {
        let tsps = Tsps::default();
        let unsupported: Vec<_> = tsps.unsupported().map(|it| it.id).collect();
        assert!(unsupported.contains(&REQUESTED.0), "{unsupported:?}");
    }
}
