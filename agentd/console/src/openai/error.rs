//! How failures reach the client: a status, and `{"error": {"message", "type", "param", "code"}}`. Clients choose their
//! exception by the status (openai-python, README, "Handling errors").

use crate::error::ApiError;
use aios_abi::CallError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A failure of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Error {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// For programs, where there is a word.
    pub(super) code: Option<&'static str>,
    /// Where in the request it is wrong: `messages[2].content`.
    pub(super) param: Option<String>,
    /// One sentence for people.
    pub(super) message: String,
}

impl Error {
    /// 400: a member of the request cannot be taken.
    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let (param, message) = (param.into(), message.into());
        let message = if param.is_empty() { message } else { format!("{param}: {message}") };
        let param = Some(param).filter(|param| !param.is_empty());
        Self { status: StatusCode::BAD_REQUEST, code: None, param, message }
    }

    /// 404: no model has this name.
    pub(super) fn no_model(id: &str, ready: &[String]) -> Self {
        let message = match ready.is_empty() {
            true => format!("there is no model {id:?}, and none is ready at present"),
            false => format!("there is no model {id:?}; ready are {}", ready.join(", ")),
        };
        let (code, param) = (Some("model_not_found"), Some("model".into()));
        Self { status: StatusCode::NOT_FOUND, code, param, message }
    }

    /// 404: no route has this path.
    pub(super) fn unknown_route() -> Self {
        let message = "there is no such route; those that are there: GET /v1/models, POST /v1/chat/completions, \
                       /v1/completions and /v1/embeddings";
        Self { code: Some("unknown_url"), ..CallError::not_found(message).into() }
    }

    /// 405: the route is for another method.
    pub(super) fn wrong_method() -> Self {
        let message = "this route is for another method".into();
        Self { status: StatusCode::METHOD_NOT_ALLOWED, code: None, param: None, message }
    }

    /// What kind of failure it was, in the API's words.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// The body.
    pub(super) fn to_json(&self) -> Value {
        let Self { code, param, message, .. } = self;
        json!({ "error": { "message": message, "type": self.kind(), "param": param, "code": code } })
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        let code = match error.status {
            StatusCode::UNAUTHORIZED => Some("invalid_api_key"),
            StatusCode::TOO_MANY_REQUESTS => Some("rate_limit_exceeded"),
            StatusCode::BAD_REQUEST => None,
            _ => Some(error.code),
        };
        Self { status: error.status, code, param: None, message: error.message }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        ApiError::from(error).into()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
        let (name, value) = match self.status {
            // RFC 6750, section 3: how to come in.
            StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Bearer"),
            // Answers take seconds.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => (header::RETRY_AFTER, "2"),
            _ => return response,
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_abi::ErrorCode;

    #[test]
    fn a_failure_has_the_status_that_clients_choose_their_exception_by() {
        let told = |code: ErrorCode| {
            let error = Error::from(CallError::new(code, "why"));
            (error.status.as_u16(), error.to_json()["error"]["type"].clone())
        };
        assert_eq!(told(ErrorCode::Invalid), (400, json!("invalid_request_error")));
        assert_eq!(told(ErrorCode::Busy), (429, json!("rate_limit_error")));
        assert_eq!(told(ErrorCode::Unavailable), (503, json!("server_error")));
        assert_eq!(told(ErrorCode::Timeout), (504, json!("server_error")));
        assert_eq!(told(ErrorCode::Failed), (500, json!("server_error")));
        assert_eq!(
            Error::invalid("n", "1 is taken").to_json(),
            json!({ "error": { "message": "n: 1 is taken", "type": "invalid_request_error", "param": "n", "code": null } })
        );
    }
}
