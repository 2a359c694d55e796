//! Names of linear layers in a sensitivity table: `layers.0.q`, …, `layers.3.down`, `head`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::model::{Place, Role};

const HEAD: &str = "head";

/// The name of `place`.
pub fn name(place: Place) -> String {
    match place {
        Place::Layer(layer, role) => format!("layers.{layer}.{}", role_name(role)),
        Place::Head => HEAD.to_owned(),
    }
}

/// The place of this name.
fn parse(name: &str) -> Option<Place> {
    if name == HEAD {
        return Some(Place::Head);
    }
    let (layer, role) = name.strip_prefix("layers.")?.split_once('.')?;
    let role = Role::ALL.into_iter().find(|&known| role_name(known) == role)?;
    Some(Place::Layer(layer.parse().ok()?, role))
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Q => "q",
        Role::K => "k",
        Role::V => "v",
        Role::O => "o",
        Role::Gate => "gate",
        Role::Up => "up",
        Role::Down => "down",
    }
}

/// For `#[serde(with)]`.
pub fn serialize<S: Serializer>(place: &Place, serializer: S) -> Result<S::Ok, S::Error> {
    name(*place).serialize(serializer)
}

/// For `#[serde(with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Place, D::Error> {
    let name = String::deserialize(deserializer)?;
    parse(&name).ok_or_else(|| {
        D::Error::custom(format!("no linear layer is named `{name}`; names are like `layers.0.q`, or `{HEAD}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        let layers = Role::ALL.map(|role| Place::Layer(role as usize, role));
        for place in layers.into_iter().chain([Place::Head]) {
            assert_eq!(parse(&name(place)), Some(place));
        }
        assert_eq!(name(Place::Layer(3, Role::Down)), "layers.3.down");
        for wrong in ["", "heads", "layers.q", "layers.-1.q", "layers.0.w", "0.q"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
