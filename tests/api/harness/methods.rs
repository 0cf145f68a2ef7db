//! The methods of `AuthService`, from the server's descriptors, so that tests of all methods
//! include new ones.

use bienvenue::proto;
use prost::{Message as _, encoding};
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};
use tonic::{Status, transport::Channel};

use super::{
    NEW_PASSWORD, PASSWORD,
    raw::{self, frame},
};

/// A well-formed handle that belongs to no session.
pub const UNKNOWN_HANDLE: &str = "00000000-0000-4000-8000-000000000000";

/// A method and its request message.
pub struct Method {
    pub name: String,
    request: DescriptorProto,
}

/// Every method, in the order of the proto.
pub fn methods() -> Vec<Method> {
    let files = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("descriptors");
    let mut services = files.file.iter().flat_map(|file| &file.service);
    let service = services
        .find(|service| service.name() == "AuthService")
        .expect("the service");
    let message = |name: &str| {
        let short = name.rsplit('.').next();
        let mut messages = files.file.iter().flat_map(|file| &file.message_type);
        let message = messages.find(|message| Some(message.name()) == short);
        message.expect("a message").clone()
    };
    service
        .method
        .iter()
        .map(|method| Method {
            name: method.name().to_owned(),
            request: message(method.input_type()),
        })
        .collect()
}

/// The methods whose request has a field.
pub fn methods_with(field: &str) -> Vec<Method> {
    let methods: Vec<Method> = methods()
        .into_iter()
        .filter(|method| method.request.field.iter().any(|one| one.name() == field))
        .collect();
    assert!(!methods.is_empty(), "no method has {field}");
    methods
}

impl Method {
    pub fn path(&self) -> String {
        format!("/bienvenue.v1.AuthService/{}", self.name)
    }

    /// A request with this value in one field and valid values in its other text fields.
    pub fn request_with(&self, field: &str, value: &str) -> Vec<u8> {
        self.request(|name| match name {
            name if name == field => value,
            "handle" => UNKNOWN_HANDLE,
            "password" | "current_password" => PASSWORD,
            "new_password" => NEW_PASSWORD,
            _ => "",
        })
    }

    /// A request with this value in all text fields.
    pub fn request_full_of(&self, value: &str) -> Vec<u8> {
        self.request(|_| value)
    }

    /// A request with a text for each text field, by its name.
    fn request<'a>(&self, text: impl Fn(&str) -> &'a str) -> Vec<u8> {
        let mut request = Vec::new();
        for field in &self.request.field {
            if field.r#type() == Type::String {
                let tag = u32::try_from(field.number()).expect("a field number");
                encoding::string::encode(tag, &text(field.name()).to_owned(), &mut request);
            }
        }
        request
    }

    /// Sends a request; returns its status.
    pub async fn call(&self, channel: &Channel, request: &[u8]) -> Status {
        let headers = [("content-type", "application/grpc")];
        let response = raw::h2(channel, "POST", &self.path(), &headers, frame(request)).await;
        raw::status_of(&response)
    }
}
