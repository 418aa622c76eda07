//! What the logs of a browser tell.

use std::collections::HashSet;

use serde_json::Value;

/// What is known of the page that is shown, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// The last page's answer.
    pub(crate) status: Option<u16>,
    /// Bytes over the wire for the last page.
    pub(crate) bytes: u64,
    /// Not told yet.
    pub(crate) problems: Vec<String>,
    /// Addresses of pages that were answered with an error.
    refused: Vec<String>,
    /// Requests that aren't the page's own, such as that of its icon.
    others: HashSet<String>,
}

impl Events {
    /// Takes in one entry of the log of network and navigation.
    pub(crate) fn network(&mut self, entry: &Value, frame: &str) {
        let message = entry["message"].as_str().unwrap_or_default();
        let message: Value = serde_json::from_str(message).unwrap_or_default();
        let event = &message["message"]["params"];
        let page = event["type"] == "Document" && event["frameId"] == frame;
        let id = event["requestId"].as_str().unwrap_or_default();
        match message["message"]["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                if event["type"] == "Other" {
                    self.others.insert(id.to_owned());
                }
                let redirected = &event["redirectResponse"];
                if page && redirected.is_null() {
                    self.bytes = 0;
                    self.status = None;
                }
                self.bytes += length(redirected);
            }
            "Network.responseReceived" if page => {
                let status = event["response"]["status"].as_u64();
                self.status = status.and_then(|status| status.try_into().ok());
                if self.status >= Some(400) {
                    let url = event["response"]["url"].as_str();
                    self.refused.push(url.unwrap_or_default().to_owned());
                }
            }
            "Network.loadingFinished" if !self.others.remove(id) => self.bytes += length(event),
            // The console tells of everything else that failed.
            "Network.loadingFailed" if event["type"] == "Document" && event["canceled"] != true => {
                let error = event["errorText"].as_str().unwrap_or_default();
                self.problems.push(format!("page not loaded: {error}"));
            }
            _ => {}
        }
    }

    /// Takes in the console, after the log of the same time. A page's own status is no problem: it may well be meant.
    pub(crate) fn console(&mut self, entries: &[Value]) {
        for entry in entries {
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            let (level, source, message) = (text("level"), text("source"), text("message"));
            let meant = self.refused.iter().position(|url| {
                let rest = message.strip_prefix(url.as_str());
                source == "network" && rest.is_some_and(|rest| rest.starts_with(ANSWERED))
            });
            if let Some(meant) = meant {
                self.refused.swap_remove(meant);
            } else if ["SEVERE", "WARNING"].contains(&level) {
                self.problems.push(format!("{source}: {message}"));
            }
        }
    }
}

fn length(event: &Value) -> u64 {
    let length = event["encodedDataLength"].as_f64();
    // Whole numbers, though JavaScript's.
    length.unwrap_or_default() as u64
}

/// After an address, in the console.
const ANSWERED: &str = " - Failed to load resource: the server responded with a status of ";
