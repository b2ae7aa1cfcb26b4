//! The API as an OpenAPI 3.1 document: one operation a tool, with the schemas of its declaration, and the console's own
//! routes.

use super::routes::{Answer as Form, Field, Route, all};
use super::{Answer, App};
use crate::auth::Login;
use crate::openai;
use aios_abi::schema;
use aios_abi::tool::{Effect, ToolInfo};
use axum::extract::State;
use serde_json::{Map, Value, json};

/// Where the routes are.
const BASE: &str = "/api/v1";

pub(super) async fn show(State(app): App, login: Login) -> Answer<axum::Json<Value>> {
    let tools = app.tools(&login.person).await?;
    Ok(axum::Json(document(&tools, &app.version)))
}

/// Whose manners a route has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum House {
    /// The console's own.
    Own,
    /// OpenAI's: members that are not known are ignored, and failures have another form.
    OpenAi,
}

/// The document of a machine with these tools.
pub fn document(tools: &[ToolInfo], version: &str) -> Value {
    let mut paths = Map::new();
    for (house, base, routes) in [(House::Own, BASE, all()), (House::OpenAi, openai::BASE, openai::routes())]
    {
        for route in routes {
            let method = route.method.as_str().to_lowercase();
            // What axum takes with its slashes is one parameter all the same.
            let path = route.path.replace("{*", "{");
            paths.insert(format!("{base}{path}"), json!({ method: own(&route, house) }));
        }
    }
    for info in tools {
        paths.insert(format!("{BASE}/tools/{}", info.name), json!({ "post": tool(info) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "aiOS appliance",
            "version": version,
            "description": "The console's API. A tool's operation takes its arguments in `args`; a change also takes the \
                            reason in `why`, with `dry_run` it only says what would be changed, and under an \
                            `idempotency_key` it is made once, however often it is asked for."
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": crate::auth::COOKIE }
            },
            "responses": {
                "Failure": {
                    "description": "It was refused, or it failed",
                    "content": { "application/json": { "schema": {
                        "type": "object",
                        "properties": {
                            "code": { "type": "string", "description": "For programs" },
                            "message": { "type": "string", "description": "One sentence for people" }
                        },
                        "required": ["code", "message"]
                    } } }
                },
                "OpenAiFailure": {
                    "description": "It was refused, or it failed",
                    "content": { "application/json": { "schema": {
                        "type": "object",
                        "properties": { "error": {
                            "type": "object",
                            "properties": {
                                "message": { "type": "string", "description": "One sentence for people" },
                                "type": { "type": "string", "description": "What kind of failure" },
                                "param": { "type": ["string", "null"], "description": "Where in the request" },
                                "code": { "type": ["string", "null"], "description": "For programs" }
                            },
                            "required": ["message", "type", "param", "code"]
                        } },
                        "required": ["error"]
                    } } }
                }
            }
        }
    })
}

/// The operation of a tool.
fn tool(info: &ToolInfo) -> Value {
    let family = info.name.split('.').next().unwrap_or_default();
    let changes = info.effect != Effect::Read;
    let mut properties = Map::new();
    properties.insert("args".into(), schema::arguments(info).into());
    match changes {
        true => {
            properties.extend(schema::of_a_change());
            properties.insert(schema::ASKED.into(), schema::asked());
        }
        false => drop(properties.insert(schema::WHY.into(), schema::why())),
    }
    let body = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    let examples: Map<String, Value> = info
        .examples
        .iter()
        .enumerate()
        .map(|(index, example)| {
            let mut value = json!({ "args": crate::json::value(&example.args) });
            if changes {
                value[schema::WHY] = example.ask.clone().into();
            }
            (format!("{}", index + 1), json!({ "summary": example.ask, "value": value }))
        })
        .collect();
    json!({
        "operationId": info.name,
        "tags": [family],
        "summary": info.summary,
        "description": format!("Touches {}. Needs the role {}.", info.touches.join(", "), info.role.as_str()),
        "x-aios-number": info.number,
        "x-aios-effect": info.effect,
        "x-aios-role": info.role,
        "x-aios-timeout-ms": info.timeout_ms,
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": body, "examples": examples } }
        },
        "responses": {
            "200": {
                "description": "What it came to",
                "content": { "application/json": { "schema": schema::answer(info) } }
            },
            "default": { "$ref": "#/components/responses/Failure" }
        }
    })
}

/// The operation of a route that is no tool's.
fn own(route: &Route, house: House) -> Value {
    let (tag, failure) = match house {
        House::Own => ("console", "#/components/responses/Failure"),
        House::OpenAi => ("openai", "#/components/responses/OpenAiFailure"),
    };
    let content = match route.answer {
        Form::Json(kind) => json!({ "application/json": { "schema": { "type": kind } } }),
        Form::Events => json!({ "text/event-stream": { "schema": { "type": "string" } } }),
        Form::Lines => json!({ "application/jsonl": { "schema": { "type": "string" } } }),
    };
    let path = route.path.replace("{*", "{");
    let parameters: Vec<Value> = route
        .parameters
        .iter()
        .map(|field| {
            let in_path = path.contains(&format!("{{{}}}", field.name));
            json!({
                "name": field.name, "in": if in_path { "path" } else { "query" }, "required": field.is_required,
                "description": field.what, "schema": { "type": field.kind }
            })
        })
        .collect();
    let mut operation = json!({
        "tags": [tag],
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": route.summary, "content": content },
            "default": { "$ref": failure }
        }
    });
    if !route.body.is_empty() {
        operation["requestBody"] = json!({
            "required": true, "content": { "application/json": { "schema": body(route.body, house) } }
        });
    }
    if route.method == axum::http::Method::PUT {
        let bytes = json!({ "schema": { "type": "string", "format": "binary" } });
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/octet-stream": bytes } });
    }
    if route.is_open {
        operation["security"] = json!([]);
    }
    operation
}

fn body(fields: &[Field], house: House) -> Value {
    let property = |field: &Field| {
        let mut schema = json!({ "description": field.what });
        if !field.kind.is_empty() {
            schema["type"] = field.kind.into();
        }
        (field.name.to_owned(), schema)
    };
    let required: Vec<&str> =
        fields.iter().filter(|field| field.is_required).map(|field| field.name).collect();
    json!({
        "type": "object",
        "properties": fields.iter().map(property).collect::<Map<_, _>>(),
        "required": required,
        "additionalProperties": house == House::OpenAi
    })
}
