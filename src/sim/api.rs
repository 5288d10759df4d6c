//! The API's documents: a user, and the devices that every simulated account has.

use hyper::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::call::Reply;
use super::fault::Place;

/// Where the token endpoint is, and where the API.
pub(super) const TOKEN_PATH: &str = "/oauth/token";
pub(super) const USERS_ME_PATH: &str = "/v1/users/me";

pub(super) fn place(method: &Method, path: &str) -> Option<Place> {
    match path {
        TOKEN_PATH => Some(Place::OAuth),
        USERS_ME_PATH => Some(Place::UsersMe),
        "/v1/devices" => Some(Place::Devices),
        "/v1/accounts/me/app-integrations" if *method == Method::PATCH => Some(Place::LinkPatch),
        "/v1/accounts/me/app-integrations" => Some(Place::LinkPost),
        _ => None,
    }
}

pub(super) fn user(account: &str) -> Reply {
    let mark = &digest(account)[..6];
    let attributes = json!({
        "first_name": "Sim",
        "last_name": mark,
        "email": format!("sim-{mark}@example.com"),
        "phone_number": Value::Null,
    });
    Reply::json(200, &json!({ "data": { "type": "users", "id": account, "attributes": attributes } }))
}

pub(super) fn devices(account: &str) -> Reply {
    let names = ["Front door", "Garage"];
    let device = |(id, name): (&String, &str)| {
        let status = json!({ "online": true });
        json!({ "type": "devices", "id": id, "attributes": { "name": name, "status": status } })
    };
    let data: Vec<Value> = device_ids(account).iter().zip(names).map(device).collect();
    Reply::json(200, &json!({ "data": data }))
}

/// As long as Ring's.
pub fn device_ids(account: &str) -> [String; 2] {
    let digest = digest(account);
    [0, 1].map(|number| format!("ava1.ring.device.sim.{number}.{digest}{}", &digest[..24]))
}

fn digest(account: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(account))
}
