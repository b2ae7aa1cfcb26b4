use super::*;
use aios_words::schema::Field;
use proptest::prelude::*;
use serde_json::{Map, json};

impl Grammar {
    /// Lengths of all beginnings of the text that fit the node.
    fn ends(&self, node: &Node, text: &str) -> Vec<usize> {
        match node {
            Node::Literal(literal) if text.starts_with(literal.as_str()) => vec![literal.len()],
            Node::Literal(_) => Vec::new(),
            Node::Rule(name) => self.ends(self.rule(name).expect("the rule exists"), text),
            Node::All(nodes) => nodes.iter().fold(vec![0], |starts, node| {
                let after =
                    |start: usize| self.ends(node, &text[start..]).into_iter().map(move |e| start + e);
                starts.into_iter().flat_map(after).collect()
            }),
            Node::OneOf(nodes) => nodes.iter().flat_map(|node| self.ends(node, text)).collect(),
            Node::Maybe(node) => std::iter::once(0).chain(self.ends(node, text)).collect(),
            Node::Pieces => {
                let runs = (0..self.pieces.len()).flat_map(|from| {
                    (from + 1..=self.pieces.len()).map(move |to| self.pieces[from..to].concat())
                });
                runs.filter(|run| text.starts_with(run.as_str())).map(|run| run.len()).collect()
            }
        }
    }

    fn accepts(&self, text: &str) -> bool {
        self.ends(&self.rules[0].1, text).contains(&text.len())
    }

    /// Some text that fits; `choices` decide.
    fn some(&self, node: &Node, choices: &mut impl Iterator<Item = usize>) -> String {
        let choices = &mut *choices;
        let mut choose = |n: usize| choices.next().unwrap_or(0) % n;
        match node {
            Node::Literal(literal) => literal.clone(),
            Node::Rule(name) => self.some(self.rule(name).expect("the rule exists"), choices),
            Node::All(nodes) => nodes.iter().map(|node| self.some(node, choices)).collect(),
            Node::OneOf(nodes) => {
                let n = choose(nodes.len());
                self.some(&nodes[n], choices)
            }
            Node::Maybe(node) => match choose(2) {
                0 => String::new(),
                _ => self.some(node, choices),
            },
            Node::Pieces => {
                let from = choose(self.pieces.len());
                let count = 1 + choose(self.pieces.len() - from);
                self.pieces[from..from + count].concat()
            }
        }
    }
}

fn field(name: &str, shape: Shape, required: bool) -> Field {
    Field { name: name.into(), shape, required, nullable: false, default: None }
}

fn grammar(fields: Vec<Field>, known: Value, question: &str) -> Result<Grammar, Misfit> {
    let known = known.as_object().cloned().expect("an object");
    let offers = known.into_iter().map(|(name, value)| (name, Offer::only(value))).collect();
    Grammar::of(&Arguments { fields }, &offers, &Words::of(question), Texts::Words)
}

#[test]
fn objects_in_a_list_have_arguments_of_their_own() {
    let schema = json!({"type": "object", "properties": {
        "to": {"type": "string"},
        "through": {"type": "array", "minItems": 1, "items": {"type": "object", "properties": {
            "gateway": {"type": "string"}, "weight": {"type": "integer", "minimum": 1},
        }, "required": ["gateway"]}},
        "peers": {"type": "array", "items": {"type": "object", "properties": {
            "keep": {"type": "integer", "minimum": 1000},
        }, "required": ["keep"]}},
    }, "required": ["to", "through"]});
    let arguments = Arguments::parse(&schema.to_string()).expect("a schema");
    let words = Words::of("10.0.0.0/8 through 10.1.1.1 and 10.1.1.2, 4 to 1");
    let grammar = Grammar::of(&arguments, &Offers::new(), &words, Texts::Pieces).expect("a grammar");
    for (text, fits) in [
        (r#"{"to":"10.0.0.0/8","through":[{"gateway":"10.1.1.1"}]}"#, true),
        (r#"{"to":"10.0.0.0/8","through":[{"gateway":"10.1.1.1","weight":4},{"gateway":"10.1.1.2"}]}"#, true),
        (r#"{"to":"10.0.0.0/8","through":[]}"#, false),
        (r#"{"to":"10.0.0.0/8","through":[{"weight":4}]}"#, false),
        (r#"{"to":"10.0.0.0/8","through":[{"gateway":"192.168.0.1"}]}"#, false),
        // The question says nothing that an item of these could be.
        (r#"{"to":"10.0.0.0/8","through":[{"gateway":"10.1.1.1"}],"peers":[{"keep":4}]}"#, false),
    ] {
        assert_eq!(grammar.accepts(text), fits, "{text}");
    }
}

#[test]
fn what_is_offered_is_all_there_is() {
    let fields = vec![field("name", Shape::Text, true), field("all", Shape::Truth, false)];
    let offers = [
        ("name".to_owned(), Offer { values: vec![json!("a"), json!("b")], may_be_absent: false }),
        ("all".to_owned(), Offer { values: Vec::new(), may_be_absent: true }),
    ];
    let arguments = Arguments { fields };
    let grammar = Grammar::of(&arguments, &offers.into(), &Words::of("c"), Texts::Pieces).expect("a grammar");
    assert!(grammar.accepts(r#"{"name":"a"}"#) && grammar.accepts(r#"{"name":"b"}"#));
    assert!(!grammar.accepts(r#"{"name":"c"}"#) && !grammar.accepts(r#"{"name":"a","all":true}"#));
}

#[test]
fn a_text_is_a_run_of_words_of_the_question() {
    let grammar =
        grammar(vec![field("name", Shape::Text, true)], json!({}), "Is Gateway.lan up?").expect("a grammar");
    for fits in ["Is", "Gateway.lan", "gateway.lan", "Gateway.lan up", "up"] {
        assert!(grammar.accepts(&format!("{{\"name\":\"{fits}\"}}")), "{fits}\n{grammar}");
    }
    for no in ["", "gateway", "example.org", "up?", "Is up"] {
        assert!(!grammar.accepts(&format!("{{\"name\":\"{no}\"}}")), "{no}");
    }
    assert!(!grammar.accepts("{}"));
}

#[test]
fn a_text_of_a_form_is_what_the_question_has_of_it() {
    let schema = json!({"type": "object", "properties": {
        "peers": {"type": "array", "items": {
            "type": "object",
            "properties": {
                "key": {"type": "string", "pattern": "^[A-Z]{4}=$"},
                "net": {"type": "string", "pattern": "^[0-9.]+/[0-9]+$"},
            },
            "required": ["key"],
        }},
    }});
    let arguments = Arguments::parse(&schema.to_string()).expect("is a schema");
    let grammar = |question: &str| {
        Grammar::of(&arguments, &Offers::new(), &Words::of(question), Texts::Pieces).expect("a grammar")
    };
    let some = grammar("let ABCD= in with 10.0.0.0/8");
    for (text, fits) in [
        (r#"{"peers":[{"key":"ABCD=","net":"10.0.0.0/8"}]}"#, true),
        (r#"{"peers":[{"key":"ABCD="}]}"#, true),
        (r#"{"peers":[{"key":"10.0.0.0/8"}]}"#, false),
        (r#"{"peers":[{"key":"ABCD=","net":"0.0/8"}]}"#, false),
    ] {
        assert_eq!(some.accepts(text), fits, "{text}");
    }
    // Where nothing looks like a key there is no peer.
    assert_eq!(grammar("the peers come later, 10.0.0.0/8").only().as_deref(), Some("{}"));
}

#[test]
fn numbers_come_from_the_question_and_keep_their_bounds() {
    let limit = field("limit", Shape::Whole { min: 1, max: 100 }, false);
    let some = grammar(vec![limit.clone()], json!({}), "the top 5 of 500").expect("a grammar");
    assert!(some.accepts("{\"limit\":5}") && some.accepts("{}") && !some.accepts("{\"limit\":500}"));
    let none = grammar(vec![limit.clone()], json!({}), "the biggest").expect("a grammar");
    assert_eq!(none.only().as_deref(), Some("{}"));
    let error =
        grammar(vec![Field { required: true, ..limit }], json!({}), "kill it").expect_err("is missing");
    assert_eq!(error.to_string(), "limit: the question does not name a whole number from 1 to 100");
}

#[test]
fn known_arguments_stay() {
    let known = grammar(vec![field("name", Shape::Text, true)], json!({"name": "a\"b"}), "which?")
        .expect("a grammar");
    assert_eq!(known.only().as_deref(), Some(r#"{"name":"a\"b"}"#));
}

#[test]
fn the_notation_is_lark() {
    let fields =
        vec![field("kind", Shape::Word(vec!["a".into(), "b".into()]), false), field("x", Shape::Text, true)];
    let grammar = grammar(fields, json!({}), "say \"c:\\d\"").expect("a grammar");
    assert_eq!(
        grammar.to_string(),
        r#"start: "{" (field_0 tail_1 | field_1 tail_2) "}"
tail_1: "," field_1
tail_2: ""
field_0: "\"kind\":" ("\"a\"" | "\"b\"")
field_1: "\"x\":" "\"" (span_0 | span_1) "\""
span_0: "say" (" \\\"" span_1)?
span_1: "c:\\\\d"
"#
    );
}

#[test]
fn pieces_are_one_terminal() {
    let fields = vec![field("x", Shape::Text, true)];
    let grammar = Grammar::of(&Arguments { fields }, &Offers::new(), &Words::of("rm \"a-1\""), Texts::Pieces);
    let grammar = grammar.expect("a grammar");
    assert!(grammar.accepts(r#"{"x":"a-1"}"#) && grammar.accepts(r#"{"x":"1"}"#));
    assert!(!grammar.accepts(r#"{"x":""}"#) && !grammar.accepts(r#"{"x":"a1"}"#));
    assert_eq!(
        grammar.to_string(),
        r#"start: "{" (field_0 tail_1) "}"
tail_1: ""
field_0: "\"x\":" "\"" PIECES "\""
PIECES: ROW & /.*[^ ].*/
ROW: %regex {"substring_chunks": ["rm"," ","\\\"","a","-","1","\\\""]}
"#
    );
}

fn form(pattern: &str) -> Shape {
    let schema = json!({"type": "object", "properties": {"x": {"type": "string", "pattern": pattern}}});
    Arguments::parse(&schema.to_string()).expect("is a schema").fields.remove(0).shape
}

fn shapes() -> impl Strategy<Value = Shape> {
    let plain = prop_oneof![
        Just(Shape::Text),
        Just(form("^[a-f]+[0-9.]*$")),
        Just(Shape::Truth),
        (-5i64..5, 0i64..50).prop_map(|(min, more)| Shape::Whole { min, max: min + more }),
        proptest::collection::vec("[a-z\"\\\\]{1,4}", 1..4).prop_map(Shape::Word),
    ];
    let object = proptest::collection::vec((plain.clone(), any::<bool>()), 1..3).prop_map(|all| {
        let fields = all.into_iter().enumerate();
        let fields = fields.map(|(n, (shape, required))| field(&format!("o{n}"), shape, required));
        Shape::Object(Arguments { fields: fields.collect() })
    });
    prop_oneof![
        4 => plain.clone(),
        1 => (prop_oneof![3 => plain, 1 => object], 0usize..3, 0usize..3)
            .prop_map(|(item, min, more)| Shape::List { item: Box::new(item), min, max: min + more }),
    ]
}

fn arguments() -> impl Strategy<Value = Arguments> {
    proptest::collection::vec((shapes(), any::<bool>()), 0..5).prop_map(|all| {
        let name = |n: usize| format!("f\"{n}");
        let fields = all.into_iter().enumerate();
        Arguments { fields: fields.map(|(n, (shape, required))| field(&name(n), shape, required)).collect() }
    })
}

/// A value of the shape that the question contains, if there is one.
fn some_value(shape: &Shape, words: &Words, choices: &mut impl Iterator<Item = usize>) -> Option<Value> {
    let mut pick = |n: usize| choices.next().unwrap_or(0).checked_rem(n);
    Some(match shape {
        Shape::Text => words.words.get(pick(words.words.len())?)?.core.clone().into(),
        Shape::Pattern(pattern) => {
            let fit = words.of_form(pattern);
            (*fit.get(pick(fit.len())?)?).into()
        }
        Shape::Truth => (pick(2)? == 1).into(),
        Shape::Word(all) => all.get(pick(all.len())?)?.clone().into(),
        Shape::Whole { min, max } => {
            let fit: Vec<i64> = words.numbers.iter().copied().filter(|n| (*min..=*max).contains(n)).collect();
            (*fit.get(pick(fit.len())?)?).into()
        }
        Shape::List { item, min, max } => {
            some_value(item, words, choices)?;
            let mut pick = |n: usize| choices.next().unwrap_or(0).checked_rem(n);
            let count = min + pick(max - min + 1)?;
            (0..count).map(|_| some_value(item, words, choices)).collect::<Option<Vec<_>>>()?.into()
        }
        Shape::Object(arguments) => {
            let value = |field: &Field| Some((field.name.clone(), some_value(&field.shape, words, choices)?));
            let object = arguments.fields.iter().map(value).collect::<Option<Map<String, Value>>>()?;
            // As the grammar writes it: fields in the schema's order.
            object.into()
        }
    })
}

/// The fixed words anywhere in a shape.
fn words_of(shape: &Shape, all: &mut Vec<String>) {
    match shape {
        Shape::Word(words) => all.extend(words.iter().cloned()),
        Shape::List { item, .. } => words_of(item, all),
        Shape::Object(arguments) => arguments.fields.iter().for_each(|field| words_of(&field.shape, all)),
        _ => {}
    }
}

/// The texts anywhere in a value.
fn texts_of(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::String(text) => all.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts_of(item, all)),
        Value::Object(fields) => fields.values().for_each(|value| texts_of(value, all)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn whatever_fits_the_grammar_fits_the_schema(
        arguments in arguments(),
        texts in prop_oneof![Just(Texts::Words), Just(Texts::Pieces)],
        question in "[a-zA-Z0-9\"\\\\?.äß ]{0,30}",
        choices in proptest::collection::vec(any::<usize>(), 0..60),
    ) {
        let words = Words::of(&question);
        if let Ok(grammar) = Grammar::of(&arguments, &Offers::new(), &words, texts) {
            let text = grammar.some(&grammar.rules[0].1, &mut choices.into_iter());
            prop_assert!(grammar.accepts(&text));
            let value: Value = serde_json::from_str(&text).expect("is JSON");
            let object = value.as_object().expect("is an object");
            prop_assert_eq!(arguments.check(object), Ok(()));
            let (mut fixed, mut said) = (Vec::new(), Vec::new());
            arguments.fields.iter().for_each(|field| words_of(&field.shape, &mut fixed));
            object.values().for_each(|value| texts_of(value, &mut said));
            for text in said {
                // A piece can be blank; `fill` refuses that.
                let is_blank = texts == Texts::Pieces && text.trim().is_empty();
                prop_assert!(
                    fixed.contains(&text) || is_blank || words.contains(&text), "{:?} in {:?}", text, question
                );
            }
        }
    }

    #[test]
    fn whatever_the_question_says_for_the_schema_fits_the_grammar(
        arguments in arguments(),
        texts in prop_oneof![Just(Texts::Words), Just(Texts::Pieces)],
        question in "[a-z0-9\"\\\\?. ]{1,30}",
        choices in proptest::collection::vec(any::<usize>(), 0..60),
    ) {
        let words = Words::of(&question);
        let mut choices = choices.into_iter();
        let mut pairs = Vec::new();
        for field in &arguments.fields {
            if !field.required && choices.next().unwrap_or(0) % 2 == 0 {
                continue;
            }
            match some_value(&field.shape, &words, &mut choices) {
                Some(value) => pairs.push(format!("{}:{value}", Value::from(field.name.as_str()))),
                // The question has nothing for it.
                None => return Ok(()),
            }
        }
        let text = format!("{{{}}}", pairs.join(","));
        let grammar = Grammar::of(&arguments, &Offers::new(), &words, texts);
        if let Ok(grammar) = grammar {
            prop_assert!(grammar.accepts(&text), "{}\n{}", text, grammar);
        }
    }
}
