//! Whether a model's chat template renders. A template is a program that came with a file from anywhere, so it gets no
//! function that reaches outside, and a bounded number of steps.

use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, context};

/// Steps that a template may take for two messages; real ones take some hundred.
const FUEL: u64 = 200_000;
/// Bytes of what comes out.
const MOST: usize = 1 << 20;
/// What is said in the conversation that is rendered.
const QUESTION: &str = "which disk is full?";

/// Render it for a short conversation.
///
/// # Errors
/// Why it cannot be rendered, in one sentence.
pub(crate) fn render(template: &str) -> Result<(), String> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    environment.set_unknown_method_callback(method);
    environment.add_function("raise_exception", |text: String| {
        Err::<Value, _>(Error::new(ErrorKind::InvalidOperation, text))
    });
    environment.add_function("strftime_now", |_: String| "2026-01-01".to_owned());
    let message = |role: &str, content: &str| context! { role => role, content => content };
    let render = |messages: Vec<Value>| {
        let given = context! { messages => messages, add_generation_prompt => true, bos_token => "", eos_token => "" };
        environment.render_str(template, given)
    };
    let (system, user) = (message("system", "Be brief."), message("user", QUESTION));
    // Some models know no system's words, and say so.
    let text = match render(vec![system, user.clone()]).or_else(|_| render(vec![user])) {
        // What only other renderers know is no fault of the template; the health test shows whether the engine takes it.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnknownMethod
                    | ErrorKind::UnknownFilter
                    | ErrorKind::UnknownFunction
                    | ErrorKind::UnknownTest
            ) =>
        {
            return Ok(());
        }
        Err(error) => {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            let line = error.line().map_or(String::new(), |line| format!(" (line {line} of the template)"));
            return Err(format!("the chat template does not render: {detail}{line}"));
        }
        Ok(text) => text,
    };
    match text {
        text if text.len() > MOST => {
            Err("the chat template makes more than a MiB of two short messages".into())
        }
        text if !text.contains(QUESTION) => {
            Err("the chat template leaves the question out, so the model would never see it".into())
        }
        _ => Ok(()),
    }
}

/// The methods of Python's strings and dictionaries that templates call.
fn method(_: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let unknown = || Error::from(ErrorKind::UnknownMethod);
    if value.kind() == ValueKind::Map {
        return match name {
            "items" => Ok(value
                .try_iter()?
                .map(|key| {
                    let item = value.get_item(&key).unwrap_or_default();
                    Value::from(vec![key, item])
                })
                .collect()),
            "keys" => Ok(value.try_iter()?.collect()),
            "get" => {
                let (key, default): (Value, Option<Value>) = from_args(args)?;
                let found = value.get_item(&key)?;
                Ok(if found.is_undefined() { default.unwrap_or_else(|| Value::from(())) } else { found })
            }
            _ => Err(unknown()),
        };
    }
    let text = value.as_str().ok_or_else(unknown)?;
    let first = || args.first().and_then(Value::as_str);
    let cut = |c: char| first().map_or(c.is_whitespace(), |set| set.contains(c));
    Ok(match (name, first()) {
        ("strip", _) => text.trim_matches(cut).into(),
        ("lstrip", _) => text.trim_start_matches(cut).into(),
        ("rstrip", _) => text.trim_end_matches(cut).into(),
        ("upper", _) => text.to_uppercase().into(),
        ("lower", _) => text.to_lowercase().into(),
        ("title" | "capitalize", _) => text.into(),
        ("startswith", Some(part)) => text.starts_with(part).into(),
        ("endswith", Some(part)) => text.ends_with(part).into(),
        ("split", Some(part)) if !part.is_empty() => text.split(part).map(Value::from).collect(),
        ("split", None) => text.split_whitespace().map(Value::from).collect(),
        ("replace", Some(old)) if !old.is_empty() => {
            text.replace(old, args.get(1).and_then(Value::as_str).unwrap_or_default()).into()
        }
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn templates_that_models_really_have_render() {
        for template in [
            "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
            "{%- if messages[0]['role'] == 'system' -%}{{ raise_exception('System role not supported') }}{%- endif -%}{%- for message in messages %}{{ message.content.strip() }}{% endfor %}",
            "{%- set ns = namespace(n=0) -%}{%- for m in messages[::-1] -%}{%- set ns.n = ns.n + 1 -%}{{ m.content | trim }}{%- endfor -%}",
            "{% macro say(m) %}[{{ m['content'] | tojson }}]{% endmacro %}{% for m in messages %}{{ say(m) }}{{ m.content.split('<')[0] }}{% endfor %}",
        ] {
            assert_eq!(render(template), Ok(()), "{template}");
        }
    }

    #[test]
    fn one_that_is_broken_forgets_the_question_or_never_ends_is_one_sentence() {
        for (template, why) in [
            ("{% for message in messages %}{{ message.content", "does not render: "),
            ("{{ messages[0].content.x.y.z }}", "does not render: "),
            ("hello", "leaves the question out"),
            (
                "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
                "does not render: ",
            ),
            ("{{ raise_exception('no') }}", "does not render: no"),
        ] {
            let said = render(template).expect_err(template);
            assert!(said.contains(why) && !said.contains('\n'), "{template}: {said}");
        }
    }

    proptest! {
        #[test]
        fn any_template_is_taken(text in "[{}% a-z()'.|]{0,200}") {
            let _ = render(&text);
        }
    }
}
