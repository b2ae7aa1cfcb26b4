//! What people write, against the tools of the image.
#![cfg_attr(feature = "link", no_main)]

use aios_abi::tool::Effect;
use aios_agentd::catalog::Catalog;
use aios_agentd::understand::{Understood, likely, nearest, understand};
use aios_agentd::{order, schema};
use aios_fuzz::fuzz_target;
use std::sync::LazyLock;

static CATALOG: LazyLock<Catalog> =
    LazyLock::new(|| Catalog::new(aios_toold::tool::all().iter().map(|tool| tool.info()).collect()));
static SERVICES: LazyLock<Vec<String>> =
    LazyLock::new(|| ["agentd", "console", "inferd", "netd", "toold"].map(str::to_owned).to_vec());

fuzz_target!(|sentence: &str| {
    if let Understood::Calls(calls) = understand(sentence, &CATALOG, &SERVICES) {
        for call in calls {
            assert!(schema::is_complete(&call.tool.properties, &call.args), "an argument is missing");
        }
    }
    if let Some(call) = likely(sentence, &CATALOG, &SERVICES) {
        assert_eq!(call.tool.info.effect, Effect::Read, "a guess would change something");
    }
    assert!(nearest(sentence, &CATALOG, &SERVICES).iter().all(|(_, score)| score.is_finite()));
    // The same as the arguments of each tool that this text can be.
    for tool in &CATALOG.tools {
        let order = order::parse(&format!("{} {sentence}", tool.info.name), &CATALOG);
        assert_eq!(order.map(|order| &order.tool.info.name), Some(&tool.info.name));
    }
});
