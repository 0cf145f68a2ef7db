//! The methods of all gRPC services, looked up by the path of a request.

use tonic::Status;

use super::status;
use crate::proto::{METHODS, Method};

/// Methods without side effects in services that are not declared in `proto/`.
const QUIET_ELSEWHERE: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

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

/// Whether success of this method changes nothing, so that it has no line in the log unless
/// the level is debug.
pub fn is_quiet(path: &str) -> bool {
    quiet_path(path).is_some()
}

/// The path of a [quiet](is_quiet) method as a static string, which saves its copy.
pub fn quiet_path(path: &str) -> Option<&'static str> {
    let declared = find(path).filter(|method| method.is_quiet);
    let elsewhere = || QUIET_ELSEWHERE.into_iter().find(|quiet| *quiet == path);
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
        for method in METHODS {
            assert!(is_known(method.path), "{method:?}");
            assert_eq!(is_quiet(method.path), method.is_quiet);
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
            assert!(!is_quiet(path) && !proves_account(path), "{path}");
        }
        assert!(is_quiet("/grpc.health.v1.Health/Check"));
        assert!(!is_quiet("/grpc.health.v1.Health/check"));
    }

    #[test]
    fn a_service_has_its_own_methods() {
        let names = of_service("bienvenue.v1.AdminService").map(|method| method.name);
        assert_eq!(names.collect::<Vec<_>>(), ["WatchRevocations"]);
        assert_eq!(of_service("bienvenue.v1.AuthService").count(), 11);
    }
}
