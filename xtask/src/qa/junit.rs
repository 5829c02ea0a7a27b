//! Reading what cargo-nextest writes as JUnit.

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

/// All tests of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Run {
    pub(super) tests: Vec<Test>,
    /// From the first test's start to the last one's end.
    pub(super) seconds: f64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Test {
    /// The binary and the path of the test in it.
    pub(super) name: String,
    pub(super) seconds: f64,
    pub(super) outcome: TestOutcome,
    /// What it said, where it failed.
    pub(super) output: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum TestOutcome {
    #[default]
    Passed,
    Failed,
    Skipped,
}

impl Run {
    pub(super) fn count(&self, outcome: TestOutcome) -> usize {
        self.tests.iter().filter(|test| test.outcome == outcome).count()
    }
}

/// Reads it, or says what is wrong with it.
pub(super) fn read(xml: &str) -> Result<Run, String> {
    let mut reader = Reader::from_str(xml);
    let (mut run, mut test, mut inside) = (Run::default(), None::<Test>, Inside::Other);
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Eof => break,
            Event::Start(tag) => open(&tag, &mut run, &mut test, &mut inside)?,
            Event::Empty(tag) => {
                open(&tag, &mut run, &mut test, &mut inside)?;
                close(tag.name().as_ref(), &mut run, &mut test, &mut inside);
            }
            Event::End(tag) => close(tag.name().as_ref(), &mut run, &mut test, &mut inside),
            Event::Text(text) => {
                let text = text.xml10_content().map_err(|error| error.to_string())?;
                said(&mut test, inside, &text);
            }
            Event::CData(text) => said(&mut test, inside, &String::from_utf8_lossy(&text)),
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| error.to_string())?;
                let letter = reference.resolve_char_ref().ok().flatten().map(String::from);
                let letter =
                    letter.or_else(|| quick_xml::escape::resolve_xml_entity(&name).map(str::to_owned));
                said(&mut test, inside, &letter.unwrap_or_default());
            }
            _ => {}
        }
    }
    if run == Run::default() {
        return Err("it holds no tests".to_owned());
    }
    Ok(run)
}

/// Where text stands that is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Output,
    Other,
}

fn open(
    tag: &BytesStart<'_>,
    run: &mut Run,
    test: &mut Option<Test>,
    inside: &mut Inside,
) -> Result<(), String> {
    let value = |name: &str| -> Result<Option<String>, String> {
        let found = tag.try_get_attribute(name).map_err(|error| error.to_string())?;
        found
            .map(|found| {
                found.normalized_value(quick_xml::XmlVersion::Implicit1_0).map(|value| value.into_owned())
            })
            .transpose()
            .map_err(|error| error.to_string())
    };
    let seconds = |value: Option<String>| value.and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    match tag.name().as_ref() {
        b"testsuites" => run.seconds = seconds(value("time")?),
        b"testcase" => {
            let (class, name) = (value("classname")?.unwrap_or_default(), value("name")?.unwrap_or_default());
            *test = Some(Test {
                name: format!("{class} {name}"),
                seconds: seconds(value("time")?),
                ..Test::default()
            });
        }
        // A test that passed at a second try has its first failure as flakyFailure.
        b"failure" | b"error" => {
            if let Some(test) = test {
                test.outcome = TestOutcome::Failed;
            }
        }
        b"skipped" => {
            if let Some(test) = test {
                test.outcome = TestOutcome::Skipped;
            }
        }
        b"system-out" | b"system-err" => *inside = Inside::Output,
        _ => {}
    }
    Ok(())
}

fn close(tag: &[u8], run: &mut Run, test: &mut Option<Test>, inside: &mut Inside) {
    match tag {
        b"testcase" => run.tests.extend(test.take().map(|mut test| {
            if test.outcome != TestOutcome::Failed {
                test.output.clear();
            }
            test
        })),
        b"system-out" | b"system-err" => *inside = Inside::Other,
        _ => {}
    }
}

fn said(test: &mut Option<Test>, inside: Inside, text: &str) {
    if let (Some(test), Inside::Output) = (test, inside) {
        test.output.push_str(text);
    }
}

#[cfg(test)]
mod tests_of_junit {
    use super::*;

    const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="1" errors="0" uuid="0" timestamp="2026-11-26T21:50:00Z" time="1.5">
    <testsuite name="pkg::api" tests="3" disabled="0" errors="0" failures="1">
        <testcase name="a::b" classname="pkg::api" timestamp="2026-11-26T21:50:00Z" time="0.25">
        </testcase>
        <testcase name="c" classname="pkg::api" time="1.25">
            <failure message="panicked" type="test failure with exit code 101">words of it</failure>
            <system-out>one &lt;two&gt; &amp; &#38;</system-out>
            <system-err>thread &apos;c&apos; panicked</system-err>
        </testcase>
        <testcase name="d" classname="pkg::api" time="0.0"><skipped/></testcase>
    </testsuite>
</testsuites>"#;

    #[test]
    fn tests_are_counted_and_what_failed_keeps_its_words() {
        let run = read(XML).unwrap();
        assert_eq!(run.seconds, 1.5);
        let counts = [TestOutcome::Passed, TestOutcome::Failed, TestOutcome::Skipped].map(|of| run.count(of));
        assert_eq!(counts, [1, 1, 1]);
        let failed = &run.tests[1];
        assert_eq!((failed.name.as_str(), failed.seconds), ("pkg::api c", 1.25));
        assert_eq!(failed.output, "one <two> & &thread 'c' panicked");
        assert_eq!(run.tests[0].output, "");
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        for xml in ["", "<testsuites", "<html></html>"] {
            assert!(read(xml).is_err(), "{xml:?}");
        }
    }
}
