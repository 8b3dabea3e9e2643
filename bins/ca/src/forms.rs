//! What applicants are asked: forms from the configuration, and those that are built in where none is configured.

use std::borrow::Cow;

use anyhow::ensure;
use openset_pki::Role;
use openset_protocol::BrandId;
use openset_protocol::ca::form;
use openset_protocol::ids::Language;
use openset_protocol::messages::reg_form::{
    ACTIVATION_CODE, FormField, HOLDER, RegFormData, RequestType,
};
use serde::Deserialize;

use crate::config::Kind;

/// The most fields of a form.
const FIELDS_MAX: usize = 20;
/// The longest name of a field, in characters.
const NAME_CHARS_MAX: usize = 40;
/// The longest description of a field, in characters.
const DESCRIPTION_CHARS_MAX: usize = 200;
/// The longest answer that a form may ask for, in characters.
const ANSWER_CHARS_MAX: u32 = 400;
/// The longest policy, in characters.
const POLICY_CHARS_MAX: usize = 8_000;

/// Which requests a form is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Those of applicants who have no certificate yet.
    #[default]
    Initial,
    /// Those of applicants who show a certificate that they have.
    Renewal,
}

/// `[[forms]]`: a form for applicants of a kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormOptions {
    /// Who is asked.
    pub kind: Kind,
    /// Only for this brand; for all that have no form of their own if absent.
    pub brand: Option<BrandId>,
    /// The language that it is written in.
    #[serde(default = "Language::english")]
    pub language: Language,
    /// Which requests it is for.
    #[serde(default)]
    pub request: Request,
    /// What applicants accept.
    pub policy_text: String,
    /// What is asked.
    #[serde(default)]
    pub fields: Vec<FieldOptions>,
}

/// `[[forms.fields]]`: one field.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldOptions {
    /// Its name in messages.
    pub name: String,
    /// What to show beside it.
    pub description: String,
    /// The longest answer, in characters.
    pub length_max: u32,
    /// Whether it must be answered.
    #[serde(default)]
    pub required: bool,
    /// Whether the answer must not be shown while it is typed.
    #[serde(default)]
    pub invisible: bool,
}

/// All forms.
#[derive(Debug)]
pub(crate) struct Forms {
    configured: Vec<Configured>,
    cardholder: RegFormData,
    merchant: RegFormData,
    gateway: RegFormData,
}

#[derive(Debug)]
struct Configured {
    kind: Kind,
    brand: Option<BrandId>,
    language: Language,
    request: Request,
    form: RegFormData,
}

impl Forms {
    /// The configured forms, and the built-in ones with the configured policy.
    pub(crate) fn new(options: &[FormOptions], policy_text: &str) -> anyhow::Result<Self> {
        check_policy("policy_text", policy_text)?;
        let mut configured: Vec<Configured> = Vec::new();
        for (number, options) in (1_usize..).zip(options) {
            let form = Configured::new(number, options)?;
            if let Some(first) = configured.iter().position(|held| held.is_for_same(&form)) {
                anyhow::bail!(
                    "form {number}: form {} is for the same kind, brand, language and request; leave one",
                    first.saturating_add(1)
                );
            }
            configured.push(form);
        }
        Ok(Self {
            configured,
            cardholder: form::cardholder(policy_text),
            merchant: form::merchant(policy_text),
            gateway: form::gateway(policy_text),
        })
    }

    /// The form for a request: the brand's own go before those for all brands; of these the one in the language,
    /// then one in the same language of another region, then the first. Where none is configured for renewals, they
    /// have the policy of the form for first requests, and nothing is asked.
    pub(crate) fn choose(
        &self,
        brand: &BrandId,
        language: &Language,
        request_type: RequestType,
    ) -> Cow<'_, RegFormData> {
        let role = request_type.role();
        let find = |request| self.find(role, request, brand, language);
        if !request_type.has_certificate() {
            return Cow::Borrowed(find(Request::Initial).unwrap_or_else(|| self.built_in(role)));
        }
        match (find(Request::Renewal), find(Request::Initial)) {
            (Some(form), _) => Cow::Borrowed(form),
            (None, Some(form)) => Cow::Owned(RegFormData {
                fields: Vec::new(),
                ..form.clone()
            }),
            (None, None) => Cow::Borrowed(self.built_in(role)),
        }
    }

    fn find(
        &self,
        role: Role,
        request: Request,
        brand: &BrandId,
        language: &Language,
    ) -> Option<&RegFormData> {
        let fitting = |of: Option<&BrandId>| -> Vec<&Configured> {
            let fits = |held: &&Configured| {
                held.kind.is(role) && held.request == request && held.brand.as_ref() == of
            };
            self.configured.iter().filter(fits).collect()
        };
        let mut forms = fitting(Some(brand));
        if forms.is_empty() {
            forms = fitting(None);
        }
        let exact = |held: &&&Configured| same(held.language.as_str(), language.as_str());
        let related = |held: &&&Configured| same(primary(&held.language), primary(language));
        let chosen = forms
            .iter()
            .find(exact)
            .or_else(|| forms.iter().find(related))
            .or_else(|| forms.first());
        chosen.map(|held| &held.form)
    }

    fn built_in(&self, role: Role) -> &RegFormData {
        match role {
            Role::Merchant => &self.merchant,
            Role::Gateway => &self.gateway,
            _ => &self.cardholder,
        }
    }
}

fn primary(language: &Language) -> &str {
    language.as_str().split('-').next().unwrap_or_default()
}

/// Letter case tells no languages apart.
fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn check_policy(of: &str, text: &str) -> anyhow::Result<()> {
    let policy_chars = text.chars().count();
    ensure!(
        (1..=POLICY_CHARS_MAX).contains(&policy_chars),
        "{of}: a policy has 1 to {POLICY_CHARS_MAX} characters"
    );
    Ok(())
}

impl Configured {
    fn is_for_same(&self, other: &Self) -> bool {
        (self.kind, self.request, &self.brand) == (other.kind, other.request, &other.brand)
            && same(self.language.as_str(), other.language.as_str())
    }

    fn new(number: usize, options: &FormOptions) -> anyhow::Result<Self> {
        let named = |name: &str| options.fields.iter().find(|field| field.name == name);
        check_policy(&format!("form {number}"), &options.policy_text)?;
        ensure!(
            options.fields.len() <= FIELDS_MAX,
            "form {number}: a form has at most {FIELDS_MAX} fields"
        );
        for field in &options.fields {
            field.check(number)?;
            let of_this_name = options.fields.iter().filter(|held| held.name == field.name);
            ensure!(
                of_this_name.count() == 1,
                "form {number}: two fields are called {:?}",
                field.name
            );
        }
        let needs = |name: &str| named(name).is_some_and(|field| field.required);
        match options.request {
            Request::Initial => {
                ensure!(
                    needs(ACTIVATION_CODE),
                    "form {number}: who has no certificate is known by a required field {ACTIVATION_CODE:?}"
                );
                ensure!(
                    options.kind != Kind::Cardholder || needs(HOLDER),
                    "form {number}: the issuer is told the required field {HOLDER:?}"
                );
            }
            Request::Renewal => ensure!(
                named(ACTIVATION_CODE).is_none() && named(HOLDER).is_none(),
                "form {number}: whoever shows a certificate is asked neither for a code nor for a name"
            ),
        }
        let kind = match options.kind {
            Kind::Cardholder => "cardholder",
            Kind::Merchant => "merchant",
            Kind::Gateway => "gateway",
        };
        let form = RegFormData {
            reg_form_id: format!("{kind}-{}-{number}", options.language.as_str()),
            fields: options.fields.iter().map(FormField::from).collect(),
            policy_text: options.policy_text.clone(),
        };
        Ok(Self {
            kind: options.kind,
            brand: options.brand.clone(),
            language: options.language.clone(),
            request: options.request,
            form,
        })
    }
}

impl FieldOptions {
    fn check(&self, number: usize) -> anyhow::Result<()> {
        let name_fits = (1..=NAME_CHARS_MAX).contains(&self.name.len())
            && self.name.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(
            name_fits,
            "form {number}: a field's name has 1 to {NAME_CHARS_MAX} ASCII characters without spaces"
        );
        ensure!(
            self.description.chars().count() <= DESCRIPTION_CHARS_MAX,
            "form {number}: a field's description has at most {DESCRIPTION_CHARS_MAX} characters"
        );
        ensure!(
            (1..=ANSWER_CHARS_MAX).contains(&self.length_max),
            "form {number}: length_max is 1 to {ANSWER_CHARS_MAX}"
        );
        Ok(())
    }
}

impl From<&FieldOptions> for FormField {
    fn from(field: &FieldOptions) -> Self {
        Self {
            name: field.name.clone(),
            description: field.description.clone(),
            length_max: field.length_max,
            required: field.required,
            invisible: field.invisible,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn field(name: &str, required: bool) -> FieldOptions {
        FieldOptions {
            name: name.to_owned(),
            description: String::new(),
            length_max: 40,
            required,
            invisible: false,
        }
    }

    fn options(language: &str, policy: &str) -> FormOptions {
        FormOptions {
            kind: Kind::Cardholder,
            brand: None,
            language: language.parse().unwrap(),
            request: Request::Initial,
            policy_text: policy.to_owned(),
            fields: vec![field(HOLDER, true), field(ACTIVATION_CODE, true)],
        }
    }

    fn chosen(forms: &Forms, brand: &str, language: &str, kind: RequestType) -> String {
        let (brand, language) = (brand.parse().unwrap(), language.parse().unwrap());
        let form = forms.choose(&brand, &language, kind);
        form.policy_text.clone()
    }

    #[test]
    fn a_form_is_chosen_by_kind_brand_language_and_request() {
        let all = [
            options("en", "general"),
            options("de-AT", "austrian"),
            FormOptions {
                brand: Some("Visa".parse().unwrap()),
                ..options("fr", "visa")
            },
            FormOptions {
                request: Request::Renewal,
                fields: Vec::new(),
                ..options("en", "again")
            },
        ];
        let forms = Forms::new(&all, "built in").unwrap();
        let card = RequestType::CardInitialSig;
        assert_eq!(chosen(&forms, "MasterCard", "de-at", card), "austrian");
        assert_eq!(chosen(&forms, "MasterCard", "de-CH", card), "austrian");
        assert_eq!(chosen(&forms, "MasterCard", "it", card), "general");
        assert_eq!(chosen(&forms, "Visa", "de-AT", card), "visa");
        let renewal = RequestType::CardRenewalSig;
        assert_eq!(chosen(&forms, "Visa", "fr", renewal), "again");
        let merchant = RequestType::MerInitialBoth;
        assert_eq!(chosen(&forms, "Visa", "fr", merchant), "built in");
    }

    #[test]
    fn forms_that_nobody_could_answer_or_that_ask_nobody_who_he_is_are_refused() {
        let refused = |options: FormOptions| Forms::new(&[options], "built in").is_err();
        let with = |fields: Vec<FieldOptions>| FormOptions {
            fields,
            ..options("en", "policy")
        };
        let code = || field(ACTIVATION_CODE, true);
        assert!(!refused(options("en", "policy")));
        assert!(refused(options("en", "")));
        assert!(refused(with(vec![field(HOLDER, true)])));
        assert!(refused(with(vec![
            field(HOLDER, true),
            field(ACTIVATION_CODE, false)
        ])));
        assert!(refused(with(vec![code()])));
        assert!(refused(with(vec![field(HOLDER, true), code(), code()])));
        assert!(refused(FormOptions {
            request: Request::Renewal,
            ..options("en", "policy")
        }));
        let endless = FieldOptions {
            length_max: 401,
            ..field("more", false)
        };
        assert!(refused(with(vec![field(HOLDER, true), code(), endless])));
    }

    #[test]
    fn renewals_without_a_form_of_their_own_ask_nothing_and_have_the_policy_of_first_requests() {
        let forms = Forms::new(&[options("de", "Regeln")], "built in").unwrap();
        let brand = "Visa".parse().unwrap();
        let english = Language::english();
        let form = forms.choose(&brand, &english, RequestType::CardRenewalSig);
        assert_eq!(
            (form.policy_text.as_str(), form.fields.len()),
            ("Regeln", 0)
        );
        let form = forms.choose(&brand, &english, RequestType::MerRenewalBoth);
        assert_eq!(form.policy_text, "built in");
    }

    #[test]
    fn two_forms_for_the_same_requests_are_refused() {
        let refused = |other: FormOptions| {
            let both = [options("en", "one"), other];
            Forms::new(&both, "built in").map_err(|error| error.to_string())
        };
        assert_eq!(
            refused(options("EN", "other")).unwrap_err(),
            "form 2: form 1 is for the same kind, brand, language and request; leave one"
        );
        assert!(refused(options("en-GB", "other")).is_ok());
        let visa = FormOptions {
            brand: Some("Visa".parse().unwrap()),
            ..options("en", "other")
        };
        assert!(refused(visa).is_ok());
    }

    #[test]
    fn texts_that_are_too_long_are_refused() {
        let refused = |options: FormOptions| Forms::new(&[options], "built in").is_err();
        let long = "x".repeat(POLICY_CHARS_MAX);
        assert!(!refused(options("en", &long)));
        assert!(refused(options("en", &format!("{long}x"))));
        assert!(Forms::new(&[], &format!("{long}x")).is_err());
        let with = |more: FieldOptions| {
            let mut options = options("en", "policy");
            options.fields.push(more);
            options
        };
        assert!(refused(with(field(&"x".repeat(41), false))));
        assert!(refused(with(field("two words", false))));
        let described = FieldOptions {
            description: "x".repeat(201),
            ..field("more", false)
        };
        assert!(refused(with(described)));
        let mut many = options("en", "policy");
        many.fields
            .extend((0..19).map(|number| field(&number.to_string(), false)));
        assert!(refused(many));
    }
}
