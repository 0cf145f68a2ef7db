//! Test vectors made by the libraries of other services: bcrypt 4.0.1, passlib 1.7.4,
//! Werkzeug 3.1.9, Django 5.2.19, argon2-cffi 25.1.0, PHP 8.2.36 as called by WordPress 6.8,
//! Flask-Security 5.9.2, and bcrypt-ruby 3.1.18 as called by Devise 4.8.

use zeroize::Zeroizing;

use super::{
    Pepper,
    PepperScheme::{self, Devise, FlaskSecurity},
    StoredHash, UnreadableHash,
    Verdict::{self, Outdated, Right, Wrong},
    blocking, peppered,
};
use crate::domain::Password;

const PLAIN: &str = "Correct-Horse 7!";
const EMPTY: &str = "";
const ACCENTS: &str = "pässwörd ☃ 密码";
/// 100 bytes.
const LONG: &str = concat!(
    "01234567890123456789012345678901234567890123456789",
    "01234567890123456789012345678901234567890123456789"
);

/// Hashes at the lowest parameters, with their passwords.
#[rustfmt::skip]
pub(super) const VECTORS: [(&str, &str); 84] = [
    // bcrypt 2a.
    ("$2a$04$CshIw/h86YEgnehncf0eNORO3vnVuNc7sMAnO9UN6baKXk0jvJYlq", PLAIN),
    ("$2a$04$qQ0fz9FNqOpvnaZyZrldi.u2/cA1yIQ4OI7Uo99aNm/bRC2duC5i2", EMPTY),
    ("$2a$04$aQ1/D6yGMdRkIGqVPBJ.5.gXwVi49f.unPLgxnHEp/7e0a0SDPf0m", ACCENTS),
    // bcrypt 2b.
    ("$2b$04$xRf6Bf.XKCoz4LkjmwRYReM0gH8aUCy4dPebvQ56vq8ZXvQhLYXd.", PLAIN),
    ("$2b$04$Ak3qyYRcFOgf80ELdGcsXOvm/8vW8uFe8zybWiNIlhDGJhyYxCfEa", EMPTY),
    ("$2b$04$1jMysaEnhOnUVSZHVraOQOMliWXrW1x6AHZnJsuEpBqb8xE8THCCi", ACCENTS),
    // passlib bcrypt 2y.
    ("$2y$04$d.JlfYbbc4hp1FbHq.SZWOCut8BJWTnkD2dNXC9QzydUd6/ufB.12", PLAIN),
    ("$2y$04$7RFoV6t17BpW.J4QBFye1ex5jW3eHrlDl7tOiIyoO7k0nY0XsGbfS", EMPTY),
    ("$2y$04$.oo9G9rL8a7GlNoIycbFcubZwguKmuB6PzQTPJyoJM3LnMpNqunxq", ACCENTS),
    // Django bcrypt.
    ("bcrypt$$2b$04$LEy31Lne1KdXMeVve2ANz.yQcWb5ot26tnsTw9MeCkAgFrcgTB8Mm", PLAIN),
    ("bcrypt$$2b$04$sbx/OvV/AgTqKNghw6XAGem2SuIFi3UpRapnrnhaP60eClrmnUn8G", EMPTY),
    ("bcrypt$$2b$04$zAh6JkNtBHLD70eMmK72keyaD5avouY4hTsRD.YgN02CsNQtmj9HW", ACCENTS),
    // passlib bcrypt_sha256 v1 2b.
    ("$bcrypt-sha256$2b,4$.97szDyVq6Sr0mXuM8B5Xu$vkZNFv.TWKgdEQh/IlZR4FVQsRqrNEy", PLAIN),
    ("$bcrypt-sha256$2b,4$jTQEDGgM8nkOew4kqqw31u$h5JexWecW7p1sGTOehUWc3oAb8fgOd6", EMPTY),
    ("$bcrypt-sha256$2b,4$wlu.Mply6sr9UIsefq0E/O$xj97rUWNduiSTldq8VWaWhRcnndZTCO", ACCENTS),
    ("$bcrypt-sha256$2b,4$J0rhuFdEhvNJj4W2I8/cA.$QlMZGoB7szsmjz9SConCCPEvpxn9owS", LONG),
    // passlib bcrypt_sha256 v1 2a.
    ("$bcrypt-sha256$2a,4$lFldm1.ig0V5V3TbAuObhu$aWg9o7A18iEGLYAe5alD/J4PNqBQkvW", PLAIN),
    ("$bcrypt-sha256$2a,4$OJRSDLj3SdVxH6MUwDLrS.$xVP6yHOTPr1sxVz8fReuHroEzyCVAUa", EMPTY),
    ("$bcrypt-sha256$2a,4$l.Cfa6RDb3VnFa4DMy/QA.$oWbxOxerdFXf8ZJEYO61Y5cU80384ZC", ACCENTS),
    ("$bcrypt-sha256$2a,4$rwk5SF9sbvJl9t6D.T.uV.$rv2CtNmTlyz6ChRpU7cAPcdarKfjYkq", LONG),
    // passlib bcrypt_sha256 v2.
    ("$bcrypt-sha256$v=2,t=2b,r=4$nvPy1ECQxG5z/qjTYz8EiO$XWIBGfRpN.ErKv6CMIKbCMi477DDcpq", PLAIN),
    ("$bcrypt-sha256$v=2,t=2b,r=4$eo8JcaZp6KTbnsArQAuYIO$nXTgO/dBUHDE/35Hb2lXst2kfZec5r.", EMPTY),
    ("$bcrypt-sha256$v=2,t=2b,r=4$AlTRDAsb9v9khsXMtIxMte$PaqLgodbxfuZEZTQdB1JHLjMmdT76bG", ACCENTS),
    ("$bcrypt-sha256$v=2,t=2b,r=4$ysK0jlIeuxJf46oudcs1Fu$tL0Hb7kEccykIQSn9i1XLDQX2Prs2La", LONG),
    // Django bcrypt_sha256.
    ("bcrypt_sha256$$2b$04$V0gYtaHIhuz8N8tadU.thuqkpm.j6/7rGouXQsRPGLDIxc5t.VjQ2", PLAIN),
    ("bcrypt_sha256$$2b$04$DRMuZbQiYSOj06tsRLQE5epz1hrCqbB6Q5KpxHU86xeiIEo8/j2AC", EMPTY),
    ("bcrypt_sha256$$2b$04$qQjETVZmvLgZ/TAINzwR5et0QgqQXToerLV5BjpJT6JkV98cUL9fy", ACCENTS),
    ("bcrypt_sha256$$2b$04$VEQHJ13dkp15eB7QqDrbmutTjiNr04267HfiOOfOORGA8g4PeuTRK", LONG),
    // Werkzeug scrypt.
    ("scrypt:16:2:3$U3EDKQNuJduKbN9o$1edbe409cb94a9025e00ee09f76c635e92b554cbde6cb4fff5339c87126cb3728f6cb939db91169ed6e63b7c23e47330d68e14ea7a370393996529380a1f220f", PLAIN),
    ("scrypt:16:2:3$K2rl7zilupL3HnOH$023c717a72338591dcd19e59287fbd6ef51e19d4b6017be718779a02d4a850c3f6bcfe71fd4c706b2bc56ecc1bdde289a9eba8d5749d4920a8bd5e2351879f74", EMPTY),
    ("scrypt:16:2:3$al0RBCsIG8iiXjo9$b2df87eaef4f4ae6c28626fabe602fbe4f15a9cebf15358ccb9d2e4d6ff655d51a800e7f5c22fceecb22bfbb9f9e87bfc8ff9d33d00abc8adf1dabd38d17dfeb", ACCENTS),
    ("scrypt:16:2:3$NhJezSpQKw97jnGE$da2db4a2bcbbecc312091985669ed05af69295274b99e68b3da326fa05fe08b393a21d4438137bd1b1bc827145a446b7e1889483cfc4a79a08354b3c9a736dd1", LONG),
    // Werkzeug pbkdf2.
    ("pbkdf2:sha256:10$nMYJikzV$e86bd136155bf0ba76aa5508a7106c430fdf005222651cbf5931bde91698b7cd", PLAIN),
    ("pbkdf2:sha256:10$IRBD8jFr$b4f060d7c5da21b80954198f60e21d66fa9343b1d9742dbca9d0f533f0a53db0", EMPTY),
    ("pbkdf2:sha256:10$hBLyHLEW$d2d6a85fdaa73c20f1806d70c505c9ed851210c3bce4cc03dc87da48675cdf7d", ACCENTS),
    ("pbkdf2:sha256:10$1BzbxPEP$3e54016fc19b62cb972633a56256eefb57f9f261b8c782e820659916a74f0ab7", LONG),
    // Django pbkdf2_sha256.
    ("pbkdf2_sha256$7$0gIDZbkX3LtSSYcPglilyO$xt6UeF6Amn4rhpNgIi1gr+rJ7xC3l8KMtGGg5jgG0hE=", PLAIN),
    ("pbkdf2_sha256$7$JXBire1u1ZtyFLK4vbg3u9$jRbhojJLC7cMlfvorWKDa/BuSfde0pfzWAfbduonqvE=", EMPTY),
    ("pbkdf2_sha256$7$C95JyuWvX7Y3VwSxtsD1ta$C44SCNogfh1jGyky3CvsZZI0Y/ui0Lr3BXTqKiVPkHQ=", ACCENTS),
    ("pbkdf2_sha256$7$P3rhi6RZ2w5Jt66urgxLUY$gtpvPgVRcQrnsEyEJrBzd0cCScDoQbOi6H/SgiGsUEM=", LONG),
    // argon2-cffi.
    ("$argon2id$v=19$m=16,t=2,p=2$28f/ASCXGifF8McKhC7p0Q$SGlbEUguAq9BoCjpzPX7agsMRWzNeXNgIahaz2hDdFE", PLAIN),
    ("$argon2id$v=19$m=16,t=2,p=2$rGodf/KDSnJnAvXAfXxM5g$yxgGdqXN6NBSkrm0CoG9FyLfHghUGJjIn8cW7fWAyTA", EMPTY),
    ("$argon2id$v=19$m=16,t=2,p=2$ob87HdmJTZWfRlP1fe0UcQ$y9KV2cExOodElkglgbhzroaSElCI/cjfCmRLcBAwkz4", ACCENTS),
    ("$argon2id$v=19$m=16,t=2,p=2$1eswGvqVDGjCUAY5TrBmPw$hWkQVUhjfCAk4uX25EKdvXPFQ+lRyEowcuY57I2gkHU", LONG),
    // passlib argon2.
    ("$argon2id$v=19$m=64,t=1,p=1$JgSgFAKgNMbYe+99jzFm7A$44aXLm/BWd15AKXJG4rj1A", PLAIN),
    ("$argon2id$v=19$m=64,t=1,p=1$UwphbM353xsjhJDSOsdYSw$QL6vMqPv+0yZzpGDSLE8Og", EMPTY),
    ("$argon2id$v=19$m=64,t=1,p=1$wzgnxJhzbg1hLGXM+d9bCw$V6zUCJUCNSifMEeY5Hic/A", ACCENTS),
    ("$argon2id$v=19$m=64,t=1,p=1$/r/XWuudk7J27l2L0fr/nw$/SBd4REbDpv1vellq86F8Q", LONG),
    // Django argon2.
    ("argon2$argon2id$v=19$m=32,t=2,p=3$cFZGQlo3YnpBSWxWZ281ZkFqOHVIRw$OAAY2kQ9Sxw/uXpI5Q/Z3tHGxitzgB0gV0+uK1cTacE", PLAIN),
    ("argon2$argon2id$v=19$m=32,t=2,p=3$RmtMNHdvazE0MHRiVk5rb0lmcFlITA$g2eflLLOMVgCA58HceU54Di/fM2owPohOFXT360h1k4", EMPTY),
    ("argon2$argon2id$v=19$m=32,t=2,p=3$bER6M3NTTDJ3MzNBRmJ1Q0lZTlYzMg$lTYOp5JvOBtD5pACHN5QTEiJ/7t2WZFh0MrOlh/MNV4", ACCENTS),
    ("argon2$argon2id$v=19$m=32,t=2,p=3$TmlIYnM0VEh6UGpnVk1WS05tOTJlRg$QV1unaqUSJo67kYe+mFowqNei0JUJq4eQ9uswm2FMGo", LONG),
    // WordPress, of the password as its login form sends it.
    ("$wp$2y$04$LbWhAss6PWvHjkhA7sAHJedeF.Nbqb0GgVc3WPxmt7M1R.w/6ZoY2", PLAIN),
    ("$wp$2y$04$EAmuueg0YhLPlE8C65na/.IPdwyOCKEvIZzbyUglFTHwgHcurbuTG", EMPTY),
    ("$wp$2y$04$kttnFfgwbMgOXDn1FgdaO.11JkUSJxf9ouSj/gjH/N6ztQxiyeVte", ACCENTS),
    ("$wp$2y$04$aDH5EviyXpkfQoi9o4sdtOAvx/MZsYWlluvv1d/F66IfXLKFTxMSe", LONG),
    // Werkzeug pbkdf2 with SHA-512.
    ("pbkdf2:sha512:10$qVHKdyUibisQGJRW$18850c53fa032ab13fef63938eab146f666bf33ded555129dde39b63ed8cdb3f21b2d0f95d676e41bf70c7b5bbb155d16b15bb779c939a7c9e7a783ccabbfd9d", PLAIN),
    ("pbkdf2:sha512:10$RG2bNhSTjflrbhun$9cac981d112247a55e7767d9b1b1b1dcca2cb15373b21abfb5c47a2ca1531b12724a38d26def3abebcb6a30f2058e3d1f3696f1878cd11a859325e86fe77d56a", EMPTY),
    ("pbkdf2:sha512:10$Yx8zmNaMYwCkkQ02$e7b94c97cbd8a720ac2357663afbb0c62472f39b1f6f264fcf7e794ee71e26be7bd0f63acf42a3acaf7e1664de34c858137210793ea3038ce27fef6e9d6b9c7d", ACCENTS),
    ("pbkdf2:sha512:10$3q7FHs5SVF5llNMk$094025bbd6f306e2e855ff8d1263d2bb92b43c1ca0984b48bc65ed989e7284f26f4de57482f452cee0308665a9b9a51d0f1476a49d16eec52ce8ec428938c79f", LONG),
    // Werkzeug pbkdf2 with SHA-1.
    ("pbkdf2:sha1:10$ee1KfzQ73iLPQtYG$8a4bd7a3a62afafeadd46b41f2cdd1f56118b1b4", PLAIN),
    ("pbkdf2:sha1:10$gEBXlr81p0MxWRrx$7dec683b4f5ebff5c720d6e3c8d05a3418d32b95", EMPTY),
    ("pbkdf2:sha1:10$bPUkvGN2yW8we72F$23701bd56ac57afdb73b1366133fdba4a9614a71", ACCENTS),
    ("pbkdf2:sha1:10$6vCXWUVsuzUfUKQI$369930c9c7ea854f0353c855e2f3b554e1320cff", LONG),
    // Django pbkdf2_sha1.
    ("pbkdf2_sha1$7$nPrSZqWqtrXfS2BNqIA24e$uNIAGF03RTF+ImYmV+KSiSHQwP0=", PLAIN),
    ("pbkdf2_sha1$7$nFkzguV9I1Uq2v87I31ZKq$QdcMDPnPgh86K9h6kcCGL3H82xI=", EMPTY),
    ("pbkdf2_sha1$7$Z4ltZs6haALxJ9DiHIkS5K$XJB7mvwerx/ntwOK36/j75J/2Js=", ACCENTS),
    ("pbkdf2_sha1$7$QA2hHhmpDuYwmYQf2j2MRa$DZmUF/4JUB4DwPTguqYy2a3bhCk=", LONG),
    // Django scrypt.
    ("scrypt$16$BLklb8vBqWNSU2QfULpzAS$2$3$a/OhcjZ/AUPX2EKIXN1/VEFR11XDUd65wAb/xSYDb2zVXDmF7HnTE0c6+rYK6AN2ZD5owyPe8VbnqrFGBP6uFQ==", PLAIN),
    ("scrypt$16$Pe8ccf5CkFzAaugbPjdg2M$2$3$OYXMeVjXgsuF9VNRkcs8CJIBwmL0QV0T8Sm1aXHmBegUNVxKhPhdBvJvaOjhFLkSxg6PbDZulbz80FOl62ZLxw==", EMPTY),
    ("scrypt$16$VHRe4zGc6ze7qmAYR2hhut$2$3$nFWmTdg0tBmuT/jc+If1AWW0GT49LJuYpRYjij86RCYJ7Ok5b1UT9X7GZWxxStT0iZvG0H0aW4nvbppZKAh/DA==", ACCENTS),
    ("scrypt$16$BJQxR9UTMvnDbKfmUIuHa9$2$3$KRCkcQJmncPEwbcxezvy/UEEhAAqEDN+KJOMe0in1+DwuVl/i+k9vtszPWlj3QMjo6vboNmQYSae72hj4wtleQ==", LONG),
    // passlib pbkdf2_sha1, pbkdf2_sha256 and pbkdf2_sha512.
    ("$pbkdf2$7$2bu3llKKsXbO2VsrJcSYUw$wyXUMw8OPW3jI6TAwDNl9oX1GLk", PLAIN),
    ("$pbkdf2$7$1/r/vzcmBGCM0boXIuS8Vw$0qeaacKKKHvZ/8eAd6Wk9aFDIwY", EMPTY),
    ("$pbkdf2$7$QyilNGbsPWdszXmvdQ4BYA$0wR7i7Gnq5FZvXRu2XGh4hnO6u4", ACCENTS),
    ("$pbkdf2$7$vFfq/Z9TCgFgrHVOaW2NsQ$DiLbgSSUGRkhHJFHAfkVFQlESPs", LONG),
    ("$pbkdf2-sha256$7$.v9/j5Gydk4pxfg/J2TsPQ$IZzpheQIuL8wjcde9zG1CnSyUPZEHnXkaoxGgj1FQyE", PLAIN),
    ("$pbkdf2-sha256$7$cA5BqNVaK2UshdB6791bKw$Pih47TBORx4F8Qdti0CGom4RtOozXbIgQaenC41NDxg", EMPTY),
    ("$pbkdf2-sha256$7$d45RirEWQuid09r7n1OqNQ$FmMpHNWWTafTFw79JuxsS.ftsxYYt4b2crDHt3GATIw", ACCENTS),
    ("$pbkdf2-sha256$7$NaZ0rnWO0VrLuZcy5hwjpA$SJ7l8DIoUcRPrepx7OJCyzIqqvifw2VxYPiR3NlrPIo", LONG),
    ("$pbkdf2-sha512$7$mhPivBeCcM4ZYwyhlNL6Hw$Nw65EbCpbeZQsDvl8IUrvI15gvOaQv2Eqcon4gAU8JFR9vsSZMDt2i.3OHx4ADzODItqivTWrIDw31QHOUHxqg", PLAIN),
    ("$pbkdf2-sha512$7$HyMkhPA.hzDm3Lv3HgMAoA$Wb/VXhOD0aI6tvTTGg5D86P1ZQPZFckYRJPOEPNjjEMSQwmzsJwq7ce2iF7wis7WWpjS47e4cd4Fl.f87ASy8w", EMPTY),
    ("$pbkdf2-sha512$7$eO89xzgnJOT8n9N6T8mZUw$VwZjCVwmKPoNCpiu/df8PYndto76pORkqMPaCA2ugzegw1KA3IVOoKp3n7/Bv184px2Ox2duThsfoa4UlK3a0w", ACCENTS),
    ("$pbkdf2-sha512$7$.b.3tjbm/B/DeE/JmROC8A$EnN6QFcfdjCRa4kw2y7NFBJHk8Pfh/9qLiAVdUN6n/2OPD3kPFv0ynvOxYBuz6lo3baPz5IlcnNj5qhUBodMFg", LONG),
];

/// Hashes with the pepper [`FLASK_SECRET`] or [`DEVISE_SECRET`].
#[rustfmt::skip]
const PEPPERED: [(PepperScheme, &str, &str); 10] = [
    (FlaskSecurity, "$2b$04$II.E.RByJaxd0Ly805tMme7aGRnJri7mmw62kei4JY1fY7eDQXY0S", PLAIN),
    (FlaskSecurity, "$2b$04$LmNzpJ9ksHF8wemqewhe3.DWs4jOhtKAes7Ns7V6rQkXXuu0PKhPq", ACCENTS),
    (FlaskSecurity, "$2b$04$TT4D0G2HLwNr5PGQ6H7XT.BnXyroCZHpJBqBAAsfZx.kVD7Zcisyy", LONG),
    (FlaskSecurity, "$2b$04$Xghc7PMv4P0nxrdm5zuzB.mcShhnG0nGd3AsY5.dv/ZWcYG2bh/CW", DECOMPOSED),
    (FlaskSecurity, "$pbkdf2-sha512$7$6J2TMiaE0JqzNoZQivE.Rw$6eFDeCNkdRFRMiFrXBzB2fwykyn6jF2N5aes0H6lSQqy2c6cthDSqMtvwIT2NMHqcphCLG4junZHtLAfyYr9uw", PLAIN),
    (FlaskSecurity, "$pbkdf2-sha512$7$3fsfY8yZU2rtvZey1vo/pw$Q0A1koPI//qjhwYHw01drlm60rl/vf5gynaLXNmzfbZtWeSHLTiFaiKWp9BuypRYQC3cm7XkMeD29Qd6bcDPug", LONG),
    (Devise, "$2a$04$s.Eirs.ZK2Xi93vJRi2Zj.Ts8tRct2UUyUVDVU4BeqY8HpzvrOL3K", PLAIN),
    (Devise, "$2a$04$E5DWLixL43Z7Ft0nPW4hXuo3Yyu28tr4WhXofd.plzqbge.5OiCNG", EMPTY),
    (Devise, "$2a$04$3bWd5uiBGVD1E/X43Hl9i.WaxSE9YRjDAKHNHrn86R7UUq2adQdOa", ACCENTS),
    (Devise, "$2a$04$GlsLVYk68Bpxg3zkw3zX8eX0KdGM6XJBNwBEgn1kzoWtWzGX4Zrv2", DECOMPOSED),
];

const FLASK_SECRET: &str = "146585145368132386173505678016728509634";
const DEVISE_SECRET: &str = "4d2f8a9c0b1e6f7a3c5d8e9f0a1b2c3d4e5f60718293a4b5c6d7e8f9012345678";
const DECOMPOSED: &str = "cafe\u{301} au lait";

/// Hashes of `cafe\u{301} au lait`, which is not in NFC.
const UNNORMALIZED: [&str; 19] = [
    "$2a$04$emNdLXkRa0BY2/Id1qPdBOhMxSxQCJF.mJ7BJlQnzIxcm7U2GaCGi",
    "$2b$04$MJmRHZd/gKL5911V1EPbx.zNj/dpinFfeTe4IF1XzdXVgjdC54MKe",
    "$2y$04$8LlpGiAlJMkiHNExOT0/uesuFL9JOFI1O6OYl9pw32NkrXOSpmPR6",
    "bcrypt$$2b$04$4MkBXyOm3dwfRHmyAnfib.NT3tvwcsXfG8qAmmcpQ1i149GiUZVRG",
    "$bcrypt-sha256$2b,4$S2tBqp0vHbUOpycJgkb3/.$jLP87pnSVUlmJODgynNdyThnFFA6uh2",
    "$bcrypt-sha256$2a,4$sRYnOGxFM.RqOwtixf62xO$ub/7z0vrkslwdm/W4ZBgYz0kb2iBbeO",
    "$bcrypt-sha256$v=2,t=2b,r=4$tsFPHJ1wBbugoQFhxM8ree$iOPEJSzexGC3O3Y955COjXd.gksJ5/G",
    "bcrypt_sha256$$2b$04$FCyGSuFxBb61CqP1TxS5m.5SJFjJqrb/VPYLPe8xbaUW0XE/j1cY.",
    "scrypt:16:2:3$4lXYpi0ggyNc6wNt$fcd042948bfafb8bdb9b228946088104cfd54ca60b937993736851d9c3a06b337722d72232d94b5b17847a66951d4e040a3ad612230686752a1279c8ba6852c4",
    "pbkdf2:sha256:10$sUJPD53S$84f54e202ba474d8b6a6ec453753c6dfab5b72968aa2f553769b1dcc50598ca8",
    "pbkdf2_sha256$7$lA7UNFh89fIBA0ZIxze8ui$H6Y5T4wh9lObJFw7BMSuNU7T4xi86ThWQjXXBEqqWrA=",
    "$argon2id$v=19$m=16,t=2,p=2$C+R0w8Yk0BFUQVS1RBGMHw$9wPdG1Doji+JWP9plzBl5WTcB7AmelhWVSP0Bw4uMcA",
    "$argon2id$v=19$m=64,t=1,p=1$ImQMwRgjZMy5FyJkrNXauw$dx0wOqrJMjBVBopS/dkFvw",
    "argon2$argon2id$v=19$m=32,t=2,p=3$dkE4dlNlemtrQXZqUWFJVlYzMU5PVQ$89n1T5WXpXC8SmJw9tg4kG3k1dwofcpyHJ797+1AMAo",
    "$wp$2y$04$hPv6AON3p/0cwjwiT3gbEeuG3bJ9DrD2VwOptWWc4wRt8wlXkXWSa",
    "pbkdf2:sha512:10$etZwrFStL9qEoatj$53d6e2f0b3795f26b139386475ea92f3eae097496611b1e9715b7a131a86e23b01ed792f897ebb18034d4835bb1764aa578db1d9736fc5219929d4e41c0540af",
    "pbkdf2_sha1$7$zV5seWUjJAI1Kgu2JLdI3B$HOgGM+7UT6WU5XNoAry7U2Jn5OM=",
    "scrypt$16$z1Jcou9c1UDW2QS0hujSTy$2$3$IBbh9hkcgzDH4CKelN/LqB4bkSUeNqgaJMDdka66befgpy0HOnUBYLjtLW0/SGTjAP4Qiige0rDDpGL2DIZ+Sw==",
    "$pbkdf2-sha512$7$slbqndPaO.c8h5ASQuidcw$oYks2Br95WswqYT.SWUyoq5tb6hs7HQrV75zhJdYua/jjC0H5jUtAsFdv4RQRzf0kMzgptbr4TQImadEKAw1Ww",
];

fn read(stored: &str) -> StoredHash {
    StoredHash::parse(stored, None).unwrap_or_else(|error| panic!("{stored}: {error}"))
}

fn verdict(stored: &str, password: &str) -> Verdict {
    blocking::verdict(&read(stored), &Password::new(password.to_owned()), 4)
}

/// Whether this service would write a hash of this format for the password.
fn is_current(stored: &str, password: &str) -> bool {
    if password == LONG {
        stored.starts_with("$bcrypt-sha256$v=2,")
    } else {
        stored.starts_with("$2b$")
    }
}

#[test]
fn a_foreign_hash_matches_its_password_only() {
    for (stored, password) in VECTORS {
        let right = if is_current(stored, password) {
            Right
        } else {
            Outdated
        };
        assert_eq!(verdict(stored, password), right, "{stored}");
        let swapped_case: String = password
            .chars()
            .map(|c| {
                if c.is_lowercase() {
                    c.to_ascii_uppercase()
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect();
        for other in [
            swapped_case,
            format!("{password} "),
            format!(" {password}"),
            format!("{password}\0"),
            format!("{password}\0{password}"),
            format!("{password}x"),
            password.chars().skip(1).collect(),
            password.chars().take(72).collect(),
            password.replace('ä', "a\u{308}x"),
        ] {
            // WordPress ignores white space around a password.
            let is_same = stored.starts_with("$wp") && other.trim_matches(' ') == password;
            if other != password && !is_same {
                assert_eq!(verdict(stored, &other), Wrong, "{stored} {other:?}");
            }
        }
    }
}

/// Hashes of PLAIN. The newest defaults of PBKDF2 take seconds in a test build, so one of
/// 2019 is computed instead.
#[test]
fn the_default_parameters_of_other_services_are_accepted() {
    for stored in [
        // Werkzeug 3 and 1.
        "scrypt:32768:8:1$Bd9yIHSVrMSYzzkr$5fecb8641e6c180cf3a23b2bf25f9b615c1f777688b64c457b86f9977eb08407f7450f1098227cb1191ed0ade1c354612ec9e4a9d20cc7e4199cfac6ff192ad2",
        "pbkdf2:sha256:150000$yJZQmBGq$05c12e71a6c14efe1cd9c03421a23490aa49d5ffabb1b934e8e7f6287b43131b",
        // argon2-cffi and Django.
        "$argon2id$v=19$m=65536,t=3,p=4$UulYbpqL2NaN45O1Cz6khg$Rmm4tpGetwz5uY4BolDYvB/bCWlYXAxebawAr54MNbg",
        "argon2$argon2id$v=19$m=102400,t=2,p=8$RldPWnkxNTdkcVNUWXRPRlBYVGc3aw$xvMHSx5srFUzrgYGq/DuGVeXiCgFQGWM7Qlx7hj45pk",
    ] {
        assert_eq!(verdict(stored, PLAIN), Outdated, "{stored}");
    }
    for stored in [
        "$bcrypt-sha256$2b,12$wxWV5kTz4MfTOVMNkDi/Ke$Nc8yYYrmPcJQ81/33jD3He6C9.JHax.",
        "bcrypt_sha256$$2b$12$zleXVbirQTImIDbuKavnFuf7Y2WAgefwaPgwbJBuh0A0wBm7OYa0q",
        "pbkdf2:sha256:1000000$7dtoI9xyd0GcQywR$e45f2de149b717e1159f7f0a67451bf7447b8e9d21f0c5ffcf9219edc93f0e43",
        "pbkdf2_sha256$1000000$RKk9PDB02pUN7dPI1XTa21$l/uyYxxj+2n3pOmQZTxiuh/9gZuLSng8fT2fu/2Qa/Y=",
    ] {
        assert!(StoredHash::parse(stored, None).is_ok(), "{stored}");
    }
}

#[test]
fn a_hash_of_an_unnormalised_password_matches_the_presented_form() {
    let [decomposed, composed] = ["cafe\u{301} au lait", "caf\u{E9} au lait"];
    for stored in UNNORMALIZED {
        assert_eq!(verdict(stored, decomposed), Outdated, "{stored}");
        assert_eq!(verdict(stored, composed), Wrong, "{stored}");
    }
}

/// WordPress escapes quotes and backslashes before hashing, and ignores white space around a
/// password. A hash that includes the white space must not replace one without it.
#[test]
fn a_password_is_read_as_by_a_wordpress_form() {
    let quoted = "$wp$2y$04$n.I.u0ZegkPWfPCVR2v9z.6DKjTqZJOXELFCeTjdsHXcMIsRGWJLq";
    assert_eq!(verdict(quoted, "it's \"so\\so\""), Outdated);
    for wrong in ["it\\'s \\\"so\\\\so\\\"", "its so\\so", "it's \"so\\so"] {
        assert_eq!(verdict(quoted, wrong), Wrong, "{wrong}");
    }
    let plain = "$wp$2y$04$LbWhAss6PWvHjkhA7sAHJedeF.Nbqb0GgVc3WPxmt7M1R.w/6ZoY2";
    for same in [
        "Correct-Horse 7! ",
        "\tCorrect-Horse 7!\r\n",
        " Correct-Horse 7!\x0B",
    ] {
        assert_eq!(verdict(plain, same), Right, "{same:?}");
    }
    for wrong in [
        "Correct-Horse 7!\0",
        "Correct-Horse  7!",
        "\u{A0}Correct-Horse 7!",
    ] {
        assert_eq!(verdict(plain, wrong), Wrong, "{wrong:?}");
    }
}

#[test]
fn a_pepper_belongs_to_its_hash() {
    let pepper = |secret: &str| Pepper::new(Zeroizing::new(secret.to_owned()));
    for (scheme, hash, password) in PEPPERED {
        let secret = match scheme {
            FlaskSecurity => FLASK_SECRET,
            Devise => DEVISE_SECRET,
        };
        let stored = peppered(hash, scheme);
        let verdict = |secret: &str, password: &str| {
            let stored = StoredHash::parse(stored.expose(), Some(&pepper(secret))).unwrap();
            blocking::verdict(&stored, &Password::new(password.to_owned()), 4)
        };
        assert_eq!(verdict(secret, password), Outdated, "{hash} {password}");
        for other in [
            format!("{password} "),
            format!("{password}\0"),
            format!("{password}x"),
            password.chars().skip(1).collect(),
        ] {
            if other != password {
                assert_eq!(verdict(secret, &other), Wrong, "{hash} {other:?}");
            }
        }
        assert_eq!(verdict("another secret", password), Wrong, "{hash}");
        assert_eq!(
            StoredHash::parse(stored.expose(), None).err(),
            Some(UnreadableHash::NoPepper(scheme))
        );
        // Without the scheme, the hash matches another password.
        assert_eq!(
            blocking::verdict(&read(hash), &Password::new(password.to_owned()), 4),
            Wrong
        );
    }
    // bcrypt would not read the part after 72 bytes.
    let stored = peppered(PEPPERED[6].1, Devise);
    let stored = StoredHash::parse(stored.expose(), Some(&pepper(DEVISE_SECRET))).unwrap();
    let long = "x".repeat(73);
    assert_eq!(blocking::verdict(&stored, &Password::new(long), 4), Wrong);
}
