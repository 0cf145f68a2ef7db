//! Certificates of a private authority.

use native_tls::Identity;
use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Builder, X509Name, X509NameBuilder,
        extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName},
    },
};

/// A private certificate authority.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// A certificate and its key in PEM.
pub struct Certified {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        let key = new_key();
        let name = name("Test authority");
        let mut builder = builder(&name, &name, &key);
        let constraints = BasicConstraints::new().critical().ca().build();
        builder
            .append_extension(constraints.expect("an extension"))
            .expect("an extension");
        builder
            .sign(&key, MessageDigest::sha256())
            .expect("a signature");
        Self {
            certificate: builder.build(),
            key,
        }
    }

    /// The authority's certificate, for the file of `SSL_CERT_FILE`.
    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().expect("PEM")
    }

    /// A server's certificate for one host, a name or an IP address.
    pub fn certify(&self, host: &str) -> Identity {
        let Certified { certificate, key } = self.certify_pem(host);
        Identity::from_pkcs8(&certificate, &key).expect("an identity")
    }

    /// The same in PEM, for other programs.
    pub fn certify_pem(&self, host: &str) -> Certified {
        let key = new_key();
        let mut builder = builder(&name(host), self.certificate.subject_name(), &key);
        let mut names = SubjectAlternativeName::new();
        match host.parse::<std::net::IpAddr>() {
            Ok(_) => names.ip(host),
            Err(_) => names.dns(host),
        };
        let names = names.build(&builder.x509v3_context(Some(&self.certificate), None));
        let usage = ExtendedKeyUsage::new().server_auth().build();
        for extension in [names, usage] {
            builder
                .append_extension(extension.expect("an extension"))
                .expect("an extension");
        }
        builder
            .sign(&self.key, MessageDigest::sha256())
            .expect("a signature");
        Certified {
            certificate: builder.build().to_pem().expect("PEM"),
            key: key.private_key_to_pem_pkcs8().expect("PEM"),
        }
    }
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key")
}

fn name(text: &str) -> X509Name {
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_text("CN", text).expect("a name");
    name.build()
}

fn builder(
    subject: &X509Name,
    issuer: &openssl::x509::X509NameRef,
    key: &PKey<Private>,
) -> X509Builder {
    let mut serial = BigNum::new().expect("a number");
    serial
        .rand(127, MsbOption::MAYBE_ZERO, false)
        .expect("a number");
    let days = |n| Asn1Time::days_from_now(n).expect("a time");
    let mut builder = X509Builder::new().expect("a certificate");
    let built = builder
        .set_version(2)
        .and_then(|()| builder.set_serial_number(&*serial.to_asn1_integer()?))
        .and_then(|()| builder.set_subject_name(subject))
        .and_then(|()| builder.set_issuer_name(issuer))
        .and_then(|()| builder.set_not_before(&days(0)))
        .and_then(|()| builder.set_not_after(&days(2)))
        .and_then(|()| builder.set_pubkey(key));
    built.expect("a certificate");
    builder
}
