//! The console: the appliance's HTTPS server, with its pages and the API that the pages and `aiosctl`
//! use.
//!
//! It owns accounts and logins and vouches for people towards toold and agentd; it decides nothing
//! else. Whatever it is asked goes to the daemon that knows, over the ABI, on the person's behalf.
//!
//! | module | what it is |
//! |---|---|
//! | [`claim`], [`lockout`], [`password`] | who may come in |
//! | [`people`], [`accounts`] | what may be done to accounts; the socket at which the broker asks for it |
//! | [`store`] | accounts, sessions and tokens on disk |
//! | [`cert`], [`listen`] | the certificate, connections and their limits |
//! | [`local`] | assistants on the machine itself |
//! | [`auth`] | from a request to a person |
//! | [`api`] | the routes |
//! | `openai` | the models as programs for OpenAI's API ask them |
//! | [`machine`], [`overview`] | what the overview shows |
//! | [`json`], [`sse`] | how answers are put |
//! | [`assets`] | the pages |

#![forbid(unsafe_code)]

pub mod accounts;
pub mod address;
pub mod api;
pub mod assets;
pub mod auth;
pub mod cert;
pub mod claim;
pub mod error;
pub mod json;
pub mod listen;
pub mod local;
pub mod lockout;
pub mod machine;
mod openai;
pub mod overview;
pub mod password;
pub mod people;
pub mod sse;
pub mod state;
pub mod store;
pub mod uploads;
