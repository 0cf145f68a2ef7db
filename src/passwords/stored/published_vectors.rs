//! Published test vectors.

use super::{StoredHash, blocking};

fn matches(stored: &str, password: &[u8]) -> bool {
    let hash = StoredHash::parse(stored, None).unwrap_or_else(|error| panic!("{stored}: {error}"));
    blocking::matches(&hash, password)
}

/// From OpenBSD's and Openwall's published test vectors.
#[test]
fn bcrypt_vectors() {
    for (stored, password) in [
        (
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            &b"U*U"[..],
        ),
        (
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
            b"U*U*",
        ),
        (
            "$2b$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a",
            b"U*U*U",
        ),
        (
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy",
            b"",
        ),
        (
            "$2b$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe",
            b"a",
        ),
        (
            "$2b$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i",
            b"abc",
        ),
        (
            "$2b$06$.rCVZVOThsIa97pEDOxvGuRRgzG64bvtJ0938xuqzv18d3ZpQhstC",
            b"abcdefghijklmnopqrstuvwxyz",
        ),
        (
            "$2b$06$fPIsBO8qRqkjj273rfaOI.HtSV9jLDpTbZn782DC6/t7qT67P6FfO",
            b"~!@#$%^&*()      ~!@#$%^&*()PNBFRD",
        ),
        (
            "$2b$05$/OK.fbVrR/bpIqNJ5ianF.swQOIzjOiJ9GHEPuhEkvqrUyvWhEMx6",
            &b"\xaa".repeat(72),
        ),
    ] {
        assert!(matches(stored, password), "{stored}");
        assert!(!matches(stored, b"something else"), "{stored}");
    }
}

/// From passlib's documentation of `bcrypt_sha256` and its test suite.
#[test]
fn passlib_vectors() {
    let long = "abc123".repeat(12);
    for (stored, password) in [
        (
            "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
            "password",
        ),
        (
            "$bcrypt-sha256$v=2,t=2b,r=5$E/e/2AOhqM5W/KJTFQzLce$WFPIZKtDDTriqWwlmRFfHiOTeheAZWe",
            "",
        ),
        (
            "$bcrypt-sha256$v=2,t=2b,r=5$5Hg1DKFqPE8C2aflZ5vVoe$wOK1VFFtS8IGTrGa7.h5fs0u84qyPbS",
            "password",
        ),
        (
            "$bcrypt-sha256$v=2,t=2b,r=5$X1g1nh3g0v4h6970O68cxe$zu1cloESVFIOsUIo7fCEgkdHaI9SSue",
            &long,
        ),
        (
            "$bcrypt-sha256$v=2,t=2b,r=5$X1g1nh3g0v4h6970O68cxe$CBF9csfEdW68xv3DwE6xSULXMtqEFP.",
            &format!("{long}qwr"),
        ),
        (
            "$bcrypt-sha256$v=2,t=2b,r=5$X1g1nh3g0v4h6970O68cxe$zC/1UDUG2ofEXB6Onr2vvyFzfhEOS3S",
            &format!("{long}xyz"),
        ),
    ] {
        assert!(matches(stored, password.as_bytes()), "{stored}");
        assert!(!matches(stored, b"something else"), "{stored}");
    }
}
