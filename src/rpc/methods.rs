//! The methods of all gRPC services, looked up by the path of a request.

use tonic::Status;

use super::status;
use crate::proto::{METHODS, Method};

/// Read-only methods of services that are not declared in `proto/`.
const READ_ONLY_ELSEWHERE: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The path of `GetUserBySession`.
pub(crate) const CHECK: &str = "/bienvenue.v1.AuthService/GetUserBySession";

/// The path of `BatchGetUserBySession`.
pub(crate) const BATCH_CHECK: &str = "/bienvenue.v1.AuthService/BatchGetUserBySession";

/// The method of this path in `proto/`.
fn find(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}

/// Whether `proto/` declares a method of this path.
pub fn is_known(path: &str) -> bool {
    find(path).is_some()
}

/// The methods of a service, by its full name.
pub fn of_service(service: &str) -> impl Iterator<Item = &'static Method> {
    METHODS
        .iter()
        .filter(move |method| method.service == service)
}

/// The status of a call of an unknown method. It lists the methods of the service, since
/// first callers often mistake the case or a word.
pub(crate) fn unknown(service: &str) -> Status {
    let names: Vec<&str> = of_service(service).map(|method| method.name).collect();
    let names = names.join(", ");
    status::unimplemented(format!("{service} has no such method; it has {names}"))
}

/// Whether a method changes nothing but the time of a session's last use.
pub fn is_read_only(path: &str) -> bool {
    read_only_path(path).is_some()
}

/// The path of a [read-only](is_read_only) method as a static string, which saves its copy.
pub fn read_only_path(path: &str) -> Option<&'static str> {
    let declared = find(path).filter(|method| method.is_read_only);
    let elsewhere = || READ_ONLY_ELSEWHERE.into_iter().find(|known| *known == path);
    declared.map(|method| method.path).or_else(elsewhere)
}

/// Whether success of this method proves that the caller has an account.
pub fn proves_account(path: &str) -> bool {
    find(path).is_some_and(|method| method.proves_account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_exactly() {
        assert!(is_known(CHECK) && is_known(BATCH_CHECK));
        for method in METHODS {
            assert!(is_known(method.path), "{method:?}");
            assert_eq!(is_read_only(method.path), method.is_read_only);
            assert_eq!(proves_account(method.path), method.proves_account);
        }
        for path in [
            "",
            "/",
            "/bienvenue.v1.AuthService/login",
            "/bienvenue.v1.AuthService/Login/",
            "bienvenue.v1.AuthService/Login",
            "/other.Service/Login",
        ] {
            assert!(!is_known(path), "{path}");
            assert!(!is_read_only(path) && !proves_account(path), "{path}");
        }
        assert!(is_read_only("/grpc.health.v1.Health/Check"));
        assert!(!is_read_only("/grpc.health.v1.Health/check"));
    }

    #[test]
    fn a_service_has_its_own_methods() {
        let names = of_service("bienvenue.v1.AdminService").map(|method| method.name);
        assert_eq!(names.collect::<Vec<_>>(), ["WatchRevocations"]);
        let others = METHODS
            .iter()
            .filter(|method| method.service != "bienvenue.v1.AdminService");
        assert!(of_service("bienvenue.v1.AuthService").eq(others));
    }
}
