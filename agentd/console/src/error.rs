//! How failures reach the client: a status, and `{"code", "message"}`.

use aios_abi::{CallError, ErrorCode};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A failure of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// For programs.
    pub code: &'static str,
    /// One sentence for people.
    pub message: String,
}

/// The body of a failure.
#[derive(Debug, Serialize)]
struct Body<'a> {
    code: &'a str,
    message: &'a str,
}

impl ApiError {
    /// 401: nobody is logged in.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, code: "unauthenticated", message: message.into() }
    }

    /// 403: the password was right and only serves to choose another.
    pub fn password_due() -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: "password_due",
            message: "this password was made for you and only serves to choose one of your own: do that first (in the \
                      console, or with `aiosctl password`)"
                .into(),
        }
    }

    /// 413: the body is longer than what is read.
    pub fn too_large(limit: usize) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: ErrorCode::Invalid.as_str(),
            message: format!("the body has more than {limit} bytes; send less at once"),
        }
    }

    /// 429: too much at once.
    pub fn busy(message: impl Into<String>) -> Self {
        CallError::new(ErrorCode::Busy, message).into()
    }

    /// The body as JSON text, for places that are no HTTP response.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "code": self.code, "message": self.message })
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        let status = match error.code {
            ErrorCode::Invalid => StatusCode::BAD_REQUEST,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::Denied => StatusCode::FORBIDDEN,
            ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::Cancelled | ErrorCode::Conflict => StatusCode::CONFLICT,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Busy => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, code: error.code.as_str(), message: error.message }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body { code: self.code, message: &self.message };
        (self.status, Json(body)).into_response()
    }
}
