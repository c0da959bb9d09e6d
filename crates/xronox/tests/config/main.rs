//! Configurations: what loads, what does not, and what is said about it.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod broken;
mod builders;
mod files;
mod masking;
mod servers;
mod shapes;
mod switched_on;

use serde_json::{Map, Value};
use xronox::{Config, ConfigLoader, Error};

/// The variables of every test.
fn variable(name: &str) -> Option<String> {
    let value = match name {
        "MONGO_URI" => "mongodb://ann:hush@db1,db2/?replicaSet=rs0",
        "REDIS_URI" => "redis://:hush@cache:6379/0",
        "S3_ENDPOINT" => "https://s3.amazonaws.com",
        "S3_REGION" => "us-east-1",
        "S3_BUCKET" => "my-app-bucket",
        "AZURE_ACCOUNT_NAME" => "myaccount",
        "ALERT_HOOK" => "https://hooks.example/hush",
        "SECRET" | "SIGNING_KEY" | "AZURE_ACCOUNT_KEY" => "hush",
        "EMPTY" => "",
        _ if name.ends_with("ACCESS_KEY_ID") || name.ends_with("ACCESS_KEY") => "AKIA",
        _ if name.ends_with("SECRET_KEY") => "hush",
        _ => return None,
    };
    Some(value.to_owned())
}

fn load(value: Value) -> Result<Config, Error> {
    ConfigLoader::new().variables(variable).from_value(value)
}

fn table(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}
