//! Writes the partner API's OpenAPI document:
//! `cargo run -p partner-api --example openapi > functions/partner-api/openapi.json`.
#![expect(clippy::print_stdout, reason = "it writes a document")]

fn main() {
    println!("{:#}", partner_api::document());
}
