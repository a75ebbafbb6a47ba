//! How a failed call looks in Rust: a `tonic::Status`, its details read with tonic-types.

use std::error::Error;
use std::iter::successors;

use serde_json::{Map, Value, json};
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

/// ERROR of conformance/README.md.
pub fn describe(status: &Status) -> Value {
    let mut error = Map::new();
    error.insert("code".into(), code_name(code(status)).into());
    error.insert("message".into(), status.message().into());
    error.insert("log".into(), status.to_string().into());
    let details = status.get_error_details();
    if let Some(info) = details.error_info().filter(|info| info.domain == "parley.v1") {
        error.insert("reason".into(), info.reason.as_str().into());
        error.insert("metadata".into(), json!(info.metadata));
    }
    if let Some(bad) = details.bad_request() {
        let fields: Vec<_> = bad.field_violations.iter().map(|v| v.field.as_str()).collect();
        error.insert("fields".into(), json!(fields));
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        error.insert("retry_delay_ms".into(), json!(delay.as_millis() as u64));
    }
    error.into()
}

/// tonic says CANCELLED when the deadline set with `set_timeout` passes here before the server's word of it arrives;
/// what is behind it tells.
fn code(status: &Status) -> Code {
    let causes = successors(status.source(), |&cause| cause.source());
    match causes.into_iter().any(|cause| cause.is::<TimeoutExpired>()) {
        true => Code::DeadlineExceeded,
        false => status.code(),
    }
}

/// `InvalidArgument` as INVALID_ARGUMENT.
fn code_name(code: Code) -> String {
    let camel = format!("{code:?}");
    if code == Code::Ok {
        return camel.to_uppercase();
    }
    let mut name = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
