//! Hashes of other services.

/// Hashes of [`FOREIGN_PASSWORD`] by other services, with their lowest parameters; from the
/// vectors in `src/passwords/stored/vectors.rs`.
#[rustfmt::skip]
pub const FOREIGN: [&str; 9] = [
    "$2a$04$CshIw/h86YEgnehncf0eNORO3vnVuNc7sMAnO9UN6baKXk0jvJYlq",
    "$2y$04$d.JlfYbbc4hp1FbHq.SZWOCut8BJWTnkD2dNXC9QzydUd6/ufB.12",
    "$bcrypt-sha256$2b,4$.97szDyVq6Sr0mXuM8B5Xu$vkZNFv.TWKgdEQh/IlZR4FVQsRqrNEy",
    "$bcrypt-sha256$v=2,t=2b,r=4$nvPy1ECQxG5z/qjTYz8EiO$XWIBGfRpN.ErKv6CMIKbCMi477DDcpq",
    "bcrypt_sha256$$2b$04$V0gYtaHIhuz8N8tadU.thuqkpm.j6/7rGouXQsRPGLDIxc5t.VjQ2",
    "scrypt:16:2:3$U3EDKQNuJduKbN9o$1edbe409cb94a9025e00ee09f76c635e92b554cbde6cb4fff5339c87126cb3728f6cb939db91169ed6e63b7c23e47330d68e14ea7a370393996529380a1f220f",
    "pbkdf2:sha256:10$nMYJikzV$e86bd136155bf0ba76aa5508a7106c430fdf005222651cbf5931bde91698b7cd",
    "pbkdf2_sha256$7$0gIDZbkX3LtSSYcPglilyO$xt6UeF6Amn4rhpNgIi1gr+rJ7xC3l8KMtGGg5jgG0hE=",
    "$argon2id$v=19$m=16,t=2,p=2$28f/ASCXGifF8McKhC7p0Q$SGlbEUguAq9BoCjpzPX7agsMRWzNeXNgIahaz2hDdFE",
];
pub const FOREIGN_PASSWORD: &str = "Correct-Horse 7!";
