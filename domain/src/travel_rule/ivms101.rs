//! The interVASP messaging standard IVMS101 (2020): who pays and who is paid. <https://www.intervasp.org/>
//!
//! The parts of the data model that the travel rule asks for, by its names. Local and phonetic spellings of names are left out; unknown
//! fields are refused. No type here has `Debug` or `Display`, all are wiped when dropped, and errors name fields, never values.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The largest payload, in bytes of JSON.
pub const MAX_PAYLOAD: usize = 32 * 1024;
const MAX_PERSONS: usize = 10;
const MAX_ITEMS: usize = 5;

macro_rules! personal {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }
    )*};
}

personal! {
    Ivms101 {
        originator: Originator,
        beneficiary: Beneficiary,
        #[serde(default, rename = "originatingVASP", skip_serializing_if = "Option::is_none")]
        originating_vasp: Option<OriginatingVasp>,
        #[serde(default, rename = "beneficiaryVASP", skip_serializing_if = "Option::is_none")]
        beneficiary_vasp: Option<BeneficiaryVasp>,
    }
    Originator {
        originator_persons: Vec<Person>,
        /// The accounts or addresses that pay.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        account_number: Vec<String>,
    }
    Beneficiary {
        beneficiary_persons: Vec<Person>,
        /// The accounts or addresses that are paid.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        account_number: Vec<String>,
    }
    OriginatingVasp {
        #[serde(rename = "originatingVASP")]
        originating_vasp: Person,
    }
    BeneficiaryVasp {
        #[serde(rename = "beneficiaryVASP")]
        beneficiary_vasp: Person,
    }
    /// One of the two.
    Person {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        natural_person: Option<NaturalPerson>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        legal_person: Option<LegalPerson>,
    }
    NaturalPerson {
        name: NaturalNames,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        geographic_address: Vec<Address>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        national_identification: Option<NationalId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        customer_identification: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        date_and_place_of_birth: Option<BirthPlace>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        country_of_residence: Option<String>,
    }
    NaturalNames {
        name_identifier: Vec<NaturalName>,
    }
    NaturalName {
        primary_identifier: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secondary_identifier: Option<String>,
        /// `ALIA`, `BIRT`, `MAID`, `LEGL` or `MISC`.
        name_identifier_type: String,
    }
    LegalPerson {
        name: LegalNames,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        geographic_address: Vec<Address>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        customer_identification: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        national_identification: Option<NationalId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        country_of_registration: Option<String>,
    }
    LegalNames {
        name_identifier: Vec<LegalName>,
    }
    LegalName {
        legal_person_name: String,
        /// `LEGL`, `SHRT` or `TRAD`.
        legal_person_name_identifier_type: String,
    }
    Address {
        /// `HOME`, `BIZZ` or `GEOG`.
        address_type: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        department: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub_department: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        street_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        building_number: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        building_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        floor: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        post_box: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        post_code: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        town_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        town_location_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        district_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        country_sub_division: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        address_line: Vec<String>,
        /// ISO 3166-1 alpha-2.
        country: String,
    }
    NationalId {
        national_identifier: String,
        /// `ARNU`, `CCPT`, `RAID`, `DRLC`, `FIIN`, `TXID`, `SOCS`, `IDCD`, `LEIX` or `MISC`.
        national_identifier_type: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        country_of_issue: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        registration_authority: Option<String>,
    }
    BirthPlace {
        /// `YYYY-MM-DD`.
        date_of_birth: String,
        place_of_birth: String,
    }
}

/// Which field is wrong, and how it must be. Never what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {must}")]
pub struct InvalidIvms101 {
    pub field: String,
    pub must: &'static str,
}

type Checked = Result<(), InvalidIvms101>;

fn must(ok: bool, field: impl FnOnce() -> String, must: &'static str) -> Checked {
    if ok { Ok(()) } else { Err(InvalidIvms101 { field: field(), must }) }
}

/// One of the lengths that the standard knows.
#[derive(Clone, Copy)]
enum Max {
    Of16,
    Of35,
    Of50,
    Of70,
    Of100,
}

impl Max {
    const fn rule(self) -> (usize, &'static str) {
        match self {
            Self::Of16 => (16, "must be 1 to 16 characters without control characters"),
            Self::Of35 => (35, "must be 1 to 35 characters without control characters"),
            Self::Of50 => (50, "must be 1 to 50 characters without control characters"),
            Self::Of70 => (70, "must be 1 to 70 characters without control characters"),
            Self::Of100 => (100, "must be 1 to 100 characters without control characters"),
        }
    }
}

fn text(value: &str, max: Max, field: impl FnOnce() -> String) -> Checked {
    let (most, rule) = max.rule();
    let ok =
        !value.trim().is_empty() && value.chars().count() <= most && !value.chars().any(char::is_control);
    must(ok, field, rule)
}

fn optional(value: Option<&String>, max: Max, field: impl FnOnce() -> String) -> Checked {
    value.map_or(Ok(()), |value| text(value, max, field))
}

fn code(value: &str, of: &[&str], field: impl FnOnce() -> String) -> Checked {
    must(of.contains(&value), field, "is not a code of IVMS101 for this field")
}

fn country(value: &str, field: impl FnOnce() -> String) -> Checked {
    let ok = value.len() == 2 && value.bytes().all(|b| b.is_ascii_uppercase());
    must(ok, field, "must be an ISO 3166-1 alpha-2 code, such as CH")
}

fn few(count: usize, max: usize, field: impl FnOnce() -> String) -> Checked {
    must(count <= max, field, "has too many items")
}

/// `YYYY-MM-DD`, of a day that exists.
fn is_date(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let digits = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
    if !(digits(year, 4) && digits(month, 2) && digits(day, 2)) {
        return false;
    }
    let number = |part: &str| part.parse::<u32>().unwrap_or(0);
    let (year, month, day) = (number(year), number(month), number(day));
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    year >= 1800 && (1..=days).contains(&day)
}

impl Ivms101 {
    /// Bounds and codes of every field that is there. What is missing is told by [`Self::lacks`].
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn validate(&self) -> Checked {
        persons(&self.originator.originator_persons, "originator.originatorPersons")?;
        accounts(&self.originator.account_number, "originator.accountNumber")?;
        persons(&self.beneficiary.beneficiary_persons, "beneficiary.beneficiaryPersons")?;
        accounts(&self.beneficiary.account_number, "beneficiary.accountNumber")?;
        if let Some(vasp) = &self.originating_vasp {
            vasp.originating_vasp.validate("originatingVASP.originatingVASP")?;
        }
        if let Some(vasp) = &self.beneficiary_vasp {
            vasp.beneficiary_vasp.validate("beneficiaryVASP.beneficiaryVASP")?;
        }
        Ok(())
    }

    /// What the travel rule asks for and is not there, by field: names and accounts of both sides, and what else tells the originator apart
    /// (constraints C1 and C4 of IVMS101). Empty: it can be told.
    pub fn lacks(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let originators = &self.originator.originator_persons;
        if originators.is_empty() {
            missing.push("originator.originatorPersons".to_owned());
        }
        for (n, person) in originators.iter().enumerate() {
            if !person.is_identified() {
                missing.push(format!(
                    "originator.originatorPersons[{n}]: an address, a national or customer identification, or date and place of birth"
                ));
            }
        }
        if self.originator.account_number.is_empty() {
            missing.push("originator.accountNumber".to_owned());
        }
        if self.beneficiary.beneficiary_persons.is_empty() {
            missing.push("beneficiary.beneficiaryPersons".to_owned());
        }
        if self.beneficiary.account_number.is_empty() {
            missing.push("beneficiary.accountNumber".to_owned());
        }
        missing
    }
}

fn persons(persons: &[Person], field: &str) -> Checked {
    few(persons.len(), MAX_PERSONS, || field.to_owned())?;
    persons.iter().enumerate().try_for_each(|(n, person)| person.validate(&format!("{field}[{n}]")))
}

fn accounts(accounts: &[String], field: &str) -> Checked {
    few(accounts.len(), MAX_ITEMS, || field.to_owned())?;
    accounts
        .iter()
        .enumerate()
        .try_for_each(|(n, account)| text(account, Max::Of100, || format!("{field}[{n}]")))
}

fn addresses(addresses: &[Address], field: &str) -> Checked {
    few(addresses.len(), MAX_ITEMS, || format!("{field}.geographicAddress"))?;
    addresses
        .iter()
        .enumerate()
        .try_for_each(|(n, address)| address.validate(&format!("{field}.geographicAddress[{n}]")))
}

impl Person {
    fn validate(&self, field: &str) -> Checked {
        match (&self.natural_person, &self.legal_person) {
            (Some(natural), None) => natural.validate(&format!("{field}.naturalPerson")),
            (None, Some(legal)) => legal.validate(&format!("{field}.legalPerson")),
            _ => must(false, || field.to_owned(), "must be either a naturalPerson or a legalPerson"),
        }
    }

    fn is_identified(&self) -> bool {
        let natural = self.natural_person.as_ref().is_some_and(|person| {
            !person.geographic_address.is_empty()
                || person.national_identification.is_some()
                || person.customer_identification.is_some()
                || person.date_and_place_of_birth.is_some()
        });
        natural
            || self.legal_person.as_ref().is_some_and(|person| {
                !person.geographic_address.is_empty()
                    || person.national_identification.is_some()
                    || person.customer_identification.is_some()
            })
    }
}

impl NaturalPerson {
    fn validate(&self, field: &str) -> Checked {
        let names = &self.name.name_identifier;
        let of = || format!("{field}.name.nameIdentifier");
        few(names.len(), MAX_ITEMS, of)?;
        for name in names {
            text(&name.primary_identifier, Max::Of100, || of() + ".primaryIdentifier")?;
            optional(name.secondary_identifier.as_ref(), Max::Of100, || of() + ".secondaryIdentifier")?;
            code(&name.name_identifier_type, &["ALIA", "BIRT", "MAID", "LEGL", "MISC"], || {
                of() + ".nameIdentifierType"
            })?;
        }
        let legal = names.iter().any(|name| name.name_identifier_type == "LEGL");
        must(legal, of, "needs a name of the type LEGL")?;
        addresses(&self.geographic_address, field)?;
        if let Some(id) = &self.national_identification {
            id.validate(&format!("{field}.nationalIdentification"))?;
        }
        optional(self.customer_identification.as_ref(), Max::Of50, || {
            format!("{field}.customerIdentification")
        })?;
        if let Some(birth) = &self.date_and_place_of_birth {
            let of = || format!("{field}.dateAndPlaceOfBirth.dateOfBirth");
            must(is_date(&birth.date_of_birth), of, "must be a date as YYYY-MM-DD")?;
            text(&birth.place_of_birth, Max::Of70, || format!("{field}.dateAndPlaceOfBirth.placeOfBirth"))?;
        }
        self.country_of_residence
            .as_ref()
            .map_or(Ok(()), |value| country(value, || format!("{field}.countryOfResidence")))
    }
}

impl LegalPerson {
    fn validate(&self, field: &str) -> Checked {
        let names = &self.name.name_identifier;
        let of = || format!("{field}.name.nameIdentifier");
        few(names.len(), MAX_ITEMS, of)?;
        for name in names {
            text(&name.legal_person_name, Max::Of100, || of() + ".legalPersonName")?;
            code(&name.legal_person_name_identifier_type, &["LEGL", "SHRT", "TRAD"], || {
                of() + ".legalPersonNameIdentifierType"
            })?;
        }
        let legal = names.iter().any(|name| name.legal_person_name_identifier_type == "LEGL");
        must(legal, of, "needs a name of the type LEGL")?;
        addresses(&self.geographic_address, field)?;
        if let Some(id) = &self.national_identification {
            let field = format!("{field}.nationalIdentification");
            id.validate(&field)?;
            // Constraint C7.
            let of_companies = ["RAID", "MISC", "LEIX", "TXID"];
            code(&id.national_identifier_type, &of_companies, || format!("{field}.nationalIdentifierType"))?;
        }
        optional(self.customer_identification.as_ref(), Max::Of50, || {
            format!("{field}.customerIdentification")
        })?;
        self.country_of_registration
            .as_ref()
            .map_or(Ok(()), |value| country(value, || format!("{field}.countryOfRegistration")))
    }
}

impl Address {
    fn validate(&self, field: &str) -> Checked {
        code(&self.address_type, &["HOME", "BIZZ", "GEOG"], || format!("{field}.addressType"))?;
        let parts = [
            ("department", Max::Of50, &self.department),
            ("subDepartment", Max::Of70, &self.sub_department),
            ("streetName", Max::Of70, &self.street_name),
            ("buildingNumber", Max::Of16, &self.building_number),
            ("buildingName", Max::Of35, &self.building_name),
            ("floor", Max::Of70, &self.floor),
            ("postBox", Max::Of16, &self.post_box),
            ("room", Max::Of70, &self.room),
            ("postCode", Max::Of16, &self.post_code),
            ("townName", Max::Of35, &self.town_name),
            ("townLocationName", Max::Of35, &self.town_location_name),
            ("districtName", Max::Of35, &self.district_name),
            ("countrySubDivision", Max::Of35, &self.country_sub_division),
        ];
        for (name, max, part) in parts {
            optional(part.as_ref(), max, || format!("{field}.{name}"))?;
        }
        few(self.address_line.len(), 7, || format!("{field}.addressLine"))?;
        for line in &self.address_line {
            text(line, Max::Of70, || format!("{field}.addressLine"))?;
        }
        // Constraint C8.
        let building = self.building_number.is_some() || self.building_name.is_some();
        let whole = !self.address_line.is_empty() || (self.street_name.is_some() && building);
        must(
            whole,
            || field.to_owned(),
            "needs addressLine, or streetName with buildingNumber or buildingName",
        )?;
        country(&self.country, || format!("{field}.country"))
    }
}

impl NationalId {
    fn validate(&self, field: &str) -> Checked {
        text(&self.national_identifier, Max::Of35, || format!("{field}.nationalIdentifier"))?;
        let codes = ["ARNU", "CCPT", "RAID", "DRLC", "FIIN", "TXID", "SOCS", "IDCD", "LEIX", "MISC"];
        code(&self.national_identifier_type, &codes, || format!("{field}.nationalIdentifierType"))?;
        optional(self.registration_authority.as_ref(), Max::Of50, || {
            format!("{field}.registrationAuthority")
        })?;
        self.country_of_issue
            .as_ref()
            .map_or(Ok(()), |value| country(value, || format!("{field}.countryOfIssue")))
    }
}
