//! The tools that toold declares, and what their declarations teach about questions.

use crate::lexicon::{self, Lexicon};
use crate::pattern::{self, Pattern};
use crate::schema::{self, Property};
use aios_abi::infer::ToolBrief;
use aios_abi::tool::{Effect, ToolInfo};

/// A tool.
#[derive(Debug, PartialEq)]
pub struct Tool {
    /// Its declaration.
    pub info: ToolInfo,
    /// Its arguments.
    pub properties: Vec<Property>,
    /// Its sentences.
    pub patterns: Vec<Pattern>,
}

/// All tools.
#[derive(Debug)]
pub struct Catalog {
    /// The tools, as toold lists them.
    pub tools: Vec<Tool>,
    /// Their words.
    pub lexicon: Lexicon,
}

impl Catalog {
    /// Learn from declarations.
    pub fn new(infos: Vec<ToolInfo>) -> Self {
        let tools: Vec<Tool> = infos
            .into_iter()
            .map(|info| {
                let properties = schema::properties(&info.args_schema);
                let patterns = pattern::learn(&properties, &info.examples);
                Tool { info, properties, patterns }
            })
            .collect();
        let sentences: Vec<Vec<Vec<String>>> = tools
            .iter()
            .map(|tool| {
                let mut sentences: Vec<_> =
                    tool.patterns.iter().map(|p| lexicon::pattern(&p.parts)).collect();
                sentences.push(lexicon::sentence(&tool.info.summary));
                sentences.push(lexicon::sentence(&tool.info.name.replace('.', " ")));
                sentences
            })
            .collect();
        Self { lexicon: Lexicon::learn(&sentences), tools }
    }

    /// The tool of this name.
    pub fn by_name(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.info.name == name)
    }

    /// Whether this word is the verb of a tool that changes something.
    pub fn changes(&self, word: &str) -> bool {
        let verb = |tool: &&Tool| tool.info.name.rsplit('.').next() == Some(word);
        self.tools.iter().filter(|tool| tool.info.effect != Effect::Read).any(|tool| verb(&tool))
    }

    /// Of each tool what a model chooses it by: its sentences. With the schemas of all it would be too long for a packet.
    pub fn briefs(&self) -> Vec<ToolBrief> {
        let sentences = |tool: &Tool| {
            let mut brief = tool.brief();
            brief.args_schema.clear();
            brief.examples.iter_mut().for_each(|example| example.args.clear());
            brief
        };
        self.tools.iter().map(sentences).collect()
    }
}

impl Tool {
    /// What a model is told of it.
    pub fn brief(&self) -> ToolBrief {
        self.info.clone().into()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The tools of the image.
    pub(crate) fn catalog() -> Catalog {
        Catalog::new(aios_toold::tool::all().iter().map(|tool| tool.info()).collect())
    }

    #[test]
    fn what_all_tools_are_chosen_by_fits_into_a_packet() {
        let sentences = catalog().briefs();
        let bytes: usize = sentences
            .iter()
            .map(|tool| {
                let asks: usize = tool.examples.iter().map(|example| example.ask.len() + 4).sum();
                tool.name.len() + tool.summary.len() + asks + 8
            })
            .sum();
        // The question is in it, too.
        assert!(bytes < aios_abi::frame::MAX_PACKET * 9 / 10, "{bytes} bytes of sentences");
    }
}
