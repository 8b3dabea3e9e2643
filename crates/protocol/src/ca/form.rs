//! Registration forms: what is asked, and whether the answers fit.

use crate::messages::cert::FailedItem;
use crate::messages::reg_form::{
    ACTIVATION_CODE, FormAnswer, FormField, HOLDER, RegFormData, RequestType,
};
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

const HOLDER_CHARS_MAX: u32 = 40;
const ACTIVATION_CODE_CHARS_MAX: u32 = 64;

/// The form for cardholders: name on the card and activation code.
#[must_use]
pub fn cardholder(policy_text: &str) -> RegFormData {
    let holder = FormField {
        name: HOLDER.to_owned(),
        description: "Name on the card".to_owned(),
        length_max: HOLDER_CHARS_MAX,
        required: true,
        invisible: false,
    };
    let code = activation_code("Activation code from the bank that issued the card");
    form("cardholder-1", vec![holder, code], policy_text)
}

/// The form for merchants: the acquirer's activation code.
#[must_use]
pub fn merchant(policy_text: &str) -> RegFormData {
    form(
        "merchant-1",
        vec![activation_code("Activation code from the acquirer")],
        policy_text,
    )
}

/// The form for gateways: the brand's activation code.
#[must_use]
pub fn gateway(policy_text: &str) -> RegFormData {
    form(
        "gateway-1",
        vec![activation_code("Activation code from the brand")],
        policy_text,
    )
}

/// The form for a request of this type. Whoever shows a certificate is asked neither for a code nor for the
/// name on the card: the certificate says who it is.
#[must_use]
pub fn asked(form: &RegFormData, request_type: RequestType) -> RegFormData {
    let mut form = form.clone();
    if request_type.has_certificate() {
        form.reg_form_id.push_str("-certified");
        form.fields
            .retain(|field| field.name != ACTIVATION_CODE && field.name != HOLDER);
    }
    form
}

fn form(id: &str, fields: Vec<FormField>, policy_text: &str) -> RegFormData {
    RegFormData {
        reg_form_id: id.to_owned(),
        fields,
        policy_text: policy_text.to_owned(),
    }
}

fn activation_code(description: &str) -> FormField {
    FormField {
        name: ACTIVATION_CODE.to_owned(),
        description: description.to_owned(),
        length_max: ACTIVATION_CODE_CHARS_MAX,
        required: true,
        invisible: true,
    }
}

/// Answers that fit their form. Wiped when dropped.
#[derive(Default)]
pub(crate) struct Answers(BTreeMap<String, Zeroizing<String>>);

impl Answers {
    /// The answer to a field, trimmed; empty when it was left out.
    pub(crate) fn take(&mut self, name: &str) -> Zeroizing<String> {
        self.0.remove(name).unwrap_or_default()
    }

    /// What is left: answers to fields of the operator's own.
    pub(crate) fn rest(self) -> BTreeMap<String, Zeroizing<String>> {
        self.0
    }
}

/// The most items that an answer names; the rest comes when they are mended.
const FAILED_ITEMS_MAX: usize = 32;

/// Compares answers with their form, whose policy was `accepted` or not: the error lists what is to be mended.
pub(crate) fn check(
    form: &RegFormData,
    accepted: bool,
    answers: &[FormAnswer],
) -> Result<Answers, Vec<FailedItem>> {
    let mut given = Answers::default();
    let mut doubled = BTreeSet::new();
    let mut unasked = Vec::new();
    for (place, answer) in answers.iter().enumerate() {
        let value = Zeroizing::new(answer.value.trim().to_owned());
        if !form.fields.iter().any(|field| field.name == answer.name) {
            unasked.push(place);
        } else if given.0.insert(answer.name.clone(), value).is_some() {
            doubled.insert(answer.name.as_str());
        }
    }
    let of_fields = form.fields.iter().enumerate().filter_map(|(place, field)| {
        if doubled.contains(field.name.as_str()) {
            return Some((place, "one answer is enough".to_owned()));
        }
        let value = given.0.get(&field.name).map_or("", |value| value.as_str());
        Some((place, complaint(field, value)?))
    });
    let after_fields = form.fields.len();
    let of_policy =
        (!accepted).then(|| (after_fields, "the form's policy is not accepted".to_owned()));
    let beyond = (after_fields.saturating_add(1)..).zip(unasked);
    let of_nothing = beyond.map(|(number, place)| {
        let text = format!("the form does not ask for answer {place}");
        (number, text)
    });
    let failed: Vec<FailedItem> = of_fields
        .chain(of_policy)
        .chain(of_nothing)
        .take(FAILED_ITEMS_MAX)
        .map(|(number, item_reason)| FailedItem {
            item_number: u32::try_from(number).unwrap_or(u32::MAX),
            item_reason,
        })
        .collect();
    if failed.is_empty() {
        Ok(given)
    } else {
        Err(failed)
    }
}

fn complaint(field: &FormField, value: &str) -> Option<String> {
    if value.is_empty() {
        return field.required.then(|| "an answer is needed".to_owned());
    }
    if u32::try_from(value.chars().count()).map_or(true, |chars| chars > field.length_max) {
        return Some(format!("at most {} characters", field.length_max));
    }
    value
        .chars()
        .any(char::is_control)
        .then(|| "no line breaks or control characters".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn answer(name: &str, value: &str) -> FormAnswer {
        FormAnswer {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    fn complaints(answers: &[FormAnswer]) -> Vec<u32> {
        numbers(check(&cardholder("policy"), true, answers))
    }

    fn numbers(checked: Result<Answers, Vec<FailedItem>>) -> Vec<u32> {
        let failed = checked.err().unwrap_or_default();
        failed.iter().map(|item| item.item_number).collect()
    }

    #[test]
    fn every_answer_that_does_not_fit_is_named_by_its_place_in_the_form() {
        assert_eq!(complaints(&[]), [0, 1]);
        assert_eq!(
            complaints(&[answer(HOLDER, "  "), answer(ACTIVATION_CODE, "1234")]),
            [0]
        );
        assert_eq!(
            complaints(&[
                answer(HOLDER, &"x".repeat(41)),
                answer(ACTIVATION_CODE, "1234")
            ]),
            [0]
        );
        assert_eq!(
            complaints(&[answer(HOLDER, "Alice"), answer(ACTIVATION_CODE, "12\n34")]),
            [1]
        );
        assert!(complaints(&[answer(HOLDER, "Alice"), answer(ACTIVATION_CODE, "1234")]).is_empty());
    }

    #[test]
    fn answers_that_the_form_does_not_ask_for_or_that_come_twice_are_named() {
        let full = || vec![answer(HOLDER, "Alice"), answer(ACTIVATION_CODE, "1234")];
        let with = |more: &[FormAnswer]| complaints(&[full().as_slice(), more].concat());
        assert_eq!(with(&[answer("mother", "Eve")]), [3]);
        assert_eq!(with(&[answer("mother", ""), answer("pet", "cat")]), [3, 4]);
        assert_eq!(with(&[answer(HOLDER, "Bob")]), [0]);
        let many: Vec<FormAnswer> = (0..100).map(|_| answer("mother", "Eve")).collect();
        assert_eq!(with(&many).len(), FAILED_ITEMS_MAX);
    }

    #[test]
    fn policy_that_is_not_accepted_is_named_after_the_fields() {
        let form = cardholder("policy");
        let full = [answer(HOLDER, "Alice"), answer(ACTIVATION_CODE, "1234")];
        assert_eq!(numbers(check(&form, false, &full)), [2]);
        assert_eq!(numbers(check(&form, false, &[])), [0, 1, 2]);
    }

    #[test]
    fn answers_to_fields_of_the_operators_own_are_left_for_the_bank() {
        let mut form = cardholder("policy");
        form.fields.push(FormField {
            name: "birthday".to_owned(),
            required: false,
            ..activation_code("Date of birth")
        });
        let full = [
            answer(HOLDER, "Alice"),
            answer(ACTIVATION_CODE, "1234"),
            answer("birthday", " 1990-01-01 "),
        ];
        let mut answers = check(&form, true, &full).unwrap();
        answers.take(HOLDER);
        answers.take(ACTIVATION_CODE);
        let rest = answers.rest();
        assert_eq!(rest.len(), 1);
        assert_eq!(**rest.get("birthday").unwrap(), "1990-01-01");
    }
}
