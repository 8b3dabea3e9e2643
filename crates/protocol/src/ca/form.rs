//! Registration forms: what is asked, and whether the answers fit.

use crate::Rejection;
use crate::messages::cert::FailedItem;
use crate::messages::reg_form::{
    ACTIVATION_CODE, FormAnswer, FormField, HOLDER, RegFormData, RequestType,
};
use std::collections::BTreeMap;
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
}

/// Compares answers with their form: the inner error lists the answers to be mended.
///
/// # Errors
/// [`Rejection::Malformed`] for answers to fields that the form does not have, or two to one field: no
/// software that has read the form sends them.
pub(crate) fn check(
    form: &RegFormData,
    answers: &[FormAnswer],
) -> Result<Result<Answers, Vec<FailedItem>>, Rejection> {
    let mut given = Answers::default();
    for answer in answers {
        let asked = form.fields.iter().any(|field| field.name == answer.name);
        let value = Zeroizing::new(answer.value.trim().to_owned());
        if !asked || given.0.insert(answer.name.clone(), value).is_some() {
            return Err(Rejection::Malformed(
                "reg_form has an answer that the form does not ask for".to_owned(),
            ));
        }
    }
    let failed: Vec<FailedItem> = (0_u32..)
        .zip(&form.fields)
        .filter_map(|(item_number, field)| {
            let item_reason = complaint(
                field,
                given.0.get(&field.name).map_or("", |value| value.as_str()),
            )?;
            Some(FailedItem {
                item_number,
                item_reason,
            })
        })
        .collect();
    Ok(if failed.is_empty() {
        Ok(given)
    } else {
        Err(failed)
    })
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
        let result = check(&cardholder("policy"), answers).unwrap();
        result
            .err()
            .unwrap_or_default()
            .iter()
            .map(|item| item.item_number)
            .collect()
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
    fn answers_that_the_form_does_not_ask_for_are_refused() {
        let form = cardholder("policy");
        assert!(check(&form, &[answer("mother", "Eve")]).is_err());
        assert!(check(&form, &[answer(HOLDER, "Alice"), answer(HOLDER, "Bob")]).is_err());
    }
}
