//! Values of every kind, drawn from a seed: valid ones to be found, and look-alikes.

/// SplitMix64: the same values on every machine.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ x >> 31) % bound as u64) as usize
    }

    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// `#` is a digit, `%` one from 2, `{x8}` eight of an alphabet.
    pub fn fill(&mut self, form: &str) -> String {
        let mut out = String::new();
        let mut rest = form;
        while let Some(at) = rest.find(['#', '%', '{']) {
            out.push_str(&rest[..at]);
            let (sign, count, next) = match &rest[at..=at] {
                "{" => {
                    let end = at + rest[at..].find('}').expect("a closing brace");
                    (
                        &rest[at + 1..at + 2],
                        rest[at + 2..end].parse().expect("a count"),
                        end + 1,
                    )
                }
                sign => (sign, 1, at + 1),
            };
            out.push_str(&self.many(sign, count));
            rest = &rest[next..];
        }
        out.push_str(rest);
        out
    }

    /// So many of an alphabet: `#` digits, `x` `X` hexadecimal, `l` `u` letters, `L` `U`
    /// letters of one case and digits, `a` letters and digits.
    pub fn many(&mut self, sign: &str, count: usize) -> String {
        let of: &[u8] = match sign {
            "#" => b"0123456789",
            "%" => b"23456789",
            "x" => b"0123456789abcdef",
            "X" => b"0123456789ABCDEF",
            "l" => b"abcdefghijklmnopqrstuvwxyz",
            "u" => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            "L" => b"abcdefghijklmnopqrstuvwxyz0123456789",
            "U" => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
            _ => b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
        };
        (0..count)
            .map(|_| char::from(of[self.below(of.len())]))
            .collect()
    }
}

pub fn email(dice: &mut Dice, held_out: bool) -> String {
    let first = dice.pick(&[
        "jane",
        "li.wei",
        "o.brien",
        "m_kowalska",
        "amira",
        "j-p.martin",
        "sven",
        "dev+ci",
        "info",
    ]);
    let last = dice.pick(&["", "", ".doe", "1987", "_42", ".tanaka"]);
    let host = match held_out {
        false => dice.pick(&[
            "example.com",
            "example.org",
            "mail.example.net",
            "firma.de",
            "exemple.fr",
            "example.co.uk",
            "corp.example.io",
        ]),
        true => dice.pick(&[
            "post.example.com.br",
            "uni-example.ac.at",
            "example.museum",
            "x1.example.dev",
            "müller-example.de",
            "EXAMPLE.ORG",
        ]),
    };
    format!("{first}{last}@{host}")
}

/// Forms that stand for themselves, and forms that need a word next to them.
pub fn phone(dice: &mut Dice, held_out: bool, told: bool) -> String {
    let form = match (held_out, told) {
        (false, false) => dice.pick(&[
            "(%##) %##-####",
            "%##-%##-####",
            "%##.%##.####",
            "+1 %## %## ####",
            "+1-%##-%##-####",
            "1-%##-%##-####",
            "%##-%##-####x###",
            "001-%##-%##-####",
            "+1(%##)%##-####",
            "(%##)%##-####",
            "+1%##%######",
            "020 7### ####",
            "+44 20 7### ####",
            "+44 (0)20 7### ####",
            "07### ######",
            "(01632) 960###",
            "0161 ### ####",
            "+447########%",
            "+49 30 ########",
            "030 ########",
            "0171 #######",
            "+49 (0)171 #######",
            "030/########",
            "(089) ######",
            "+49 89 ######-##",
            "01 ## ## ## ##",
            "+33 1 ## ## ## ##",
            "06.##.##.##.##",
            "+33 (0)6 ## ## ## ##",
            "+34 6## ### ###",
            "+34 91 ### ## ##",
            "+39 06 ########",
            "06 ########",
            "06-########",
            "020-#######",
            "+31 6 ########",
            "+31 (0)20 ### ####",
            "044 ### ## ##",
            "+41 44 ### ## ##",
            "0660 ### ## ##",
            "0472 ## ## ##",
            "+32 472 ## ## ##",
            "+48 6## ### ###",
            "+420 6## ### ###",
            "08-### ### ##",
            "+46 8 ### ### ##",
            "070-### ## ##",
            "+47 9# ## ## ##",
            "+45 ## ## ## ##",
            "040 ### ####",
            "+358 40 ### ####",
            "+7 (495) ###-##-##",
            "8 (495) ###-##-##",
            "+55 11 9####-####",
            "(11) 9####-####",
            "+91 98### #####",
            "+91-98########",
            "03-####-####",
            "090-####-####",
            "+81 3-####-####",
            "+86 138 #### ####",
            "138 #### ####",
            "010-####-####",
            "02-###-####",
            "02 #### ####",
            "(02) #### ####",
            "04## ### ###",
            "+61 4## ### ###",
            "082 ### ####",
            "+27 82 ### ####",
            "050-#######",
            "0532 ### ## ##",
        ]),
        (true, false) => dice.pick(&[
            "+353 1 ### ####",
            "087 ### ####",
            "+351 91# ### ###",
            "+36 1 ### ####",
            "06 1 ### ####",
            "+30 21# ### ####",
            "+52 55 #### ####",
            "+54 11 ####-####",
            "011 ####-####",
            "0812-####-####",
            "0917 ### ####",
            "+65 9### ####",
            "081 ### ####",
            "+380 44 ### ## ##",
            "0803 ### ####",
            "021 ### ####",
            "051-###-###",
            "+354 5## ####",
            "+966 5# ### ####",
            "+971 50 ### ####",
            "(%##) %##-#### ext. ###",
            "%## %## ####",
            "+1 (%##) %##-#### x##",
            "+63-917-###-####",
            "0049 30 ########",
            "0033 6 ## ## ## ##",
            "+43 1 ### ## ##",
            "00 44 20 7### ####",
            "+84 9# ### ## ##",
            "+234 803 ### ####",
            "01##/######",
            "+598 2### ####",
            "(0##) ### ####",
            "+852 9### ####",
        ]),
        (false, true) => dice.pick(&[
            "6## ### ###",
            "91 ### ## ##",
            "3## #######",
            "%## ### ###",
            "%# ## ## ##",
            "%##%######",
            "%##-####",
            "01########",
            "%#-##-##-##",
            "9#### #####",
            "13########%",
        ]),
        (true, true) => dice.pick(&[
            "21# ### ###",
            "55 #### ####",
            "%##-###-###",
            "%### ####",
            "0%########",
            "%# ### ## ##",
            "%## ## ###",
        ]),
    };
    dice.fill(form)
}

/// Appends the digit that makes the sum right.
fn luhn(digits: &str) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(nth, byte)| {
            let digit = u32::from(byte - b'0');
            match nth % 2 {
                0 if digit > 4 => digit * 2 - 9,
                0 => digit * 2,
                _ => digit,
            }
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

pub fn card(dice: &mut Dice, held_out: bool) -> String {
    let form = match held_out {
        false => dice.pick(&[
            "4##############",
            "51#############",
            "37############",
            "6011###########",
            "2223###########",
            "3530###########",
        ]),
        true => dice.pick(&[
            "36###########",
            "62#############",
            "6759###########",
            "34############",
            "65#############",
            "2203###########",
        ]),
    };
    let number = luhn(&dice.fill(form));
    let split = |lengths: &[usize], by: &str| {
        let mut at = 0;
        let parts: Vec<&str> = lengths
            .iter()
            .map(|length| {
                at += length;
                &number[at - length..at]
            })
            .collect();
        parts.join(by)
    };
    match (number.len(), dice.below(3)) {
        (16, 0) => split(&[4, 4, 4, 4], " "),
        (16, 1) => split(&[4, 4, 4, 4], "-"),
        (15, 0) => split(&[4, 6, 5], " "),
        (14, 0) => split(&[4, 6, 4], " "),
        _ => number,
    }
}

pub fn iban(dice: &mut Dice, held_out: bool) -> String {
    let (country, form) = match held_out {
        false => [
            ("DE", "##################"),
            ("GB", "{u4}##############"),
            ("FR", "##########{U11}##"),
            ("NL", "{u4}##########"),
            ("ES", "####################"),
            ("IT", "{u1}##########{U12}"),
        ][dice.below(6)],
        true => [
            ("CH", "#####{U12}"),
            ("PL", "########################"),
            ("BE", "############"),
            ("MT", "{u4}#####{U18}"),
            ("SA", "##{U18}"),
            ("NO", "###########"),
        ][dice.below(6)],
    };
    let body = dice.fill(form);
    let rest = format!("{body}{country}00")
        .bytes()
        .fold(0u32, |rest, byte| match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
        });
    let whole = format!("{country}{:02}{body}", 98 - rest);
    match dice.below(2) {
        0 => whole,
        _ => whole
            .as_bytes()
            .chunks(4)
            .map(|four| std::str::from_utf8(four).unwrap_or(""))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

pub fn ssn(dice: &mut Dice) -> String {
    let area = [dice.below(665) + 1, dice.below(233) + 667][dice.below(2)];
    format!(
        "{area:03}-{:02}-{:04}",
        dice.below(99) + 1,
        dice.below(9999) + 1
    )
}

pub fn address(dice: &mut Dice, held_out: bool) -> String {
    let octet = |dice: &mut Dice| dice.below(256);
    match (held_out, dice.below(3)) {
        (false, 0) => dice.fill("2001:db8:{x4}:{x4}:{x4}:{x4}:{x4}:{x4}"),
        (true, 0) => dice.fill("fe80::{x1}:{x4}:{x4}"),
        (true, 1) => format!(
            "::ffff:{}.{}.{}.{}",
            octet(dice),
            octet(dice),
            octet(dice),
            octet(dice)
        ),
        _ => format!(
            "{}.{}.{}.{}",
            dice.below(223) + 1,
            octet(dice),
            octet(dice),
            octet(dice)
        ),
    }
}

pub fn passport(dice: &mut Dice, held_out: bool) -> String {
    let form = match held_out {
        false => dice.pick(&[
            "#########",
            "{u1}########",
            "{u2}#######",
            "##{u2}#####",
            "C##X##T##",
        ]),
        true => dice.pick(&[
            "{u1}#######",
            "{u2}######",
            "########",
            "{u3}######",
            "K####X###",
        ]),
    };
    dice.fill(form)
}

/// Keys by provider: what they look like.
pub fn key(dice: &mut Dice, held_out: bool) -> String {
    let tuned: &[(&str, &str, usize)] = &[
        ("AKIA", "U", 16),
        ("ghp_", "a", 36),
        ("glpat-", "a", 20),
        ("xoxb-", "#", 12),
        ("sk_live_", "a", 24),
        ("AIza", "a", 35),
        ("sk-ant-api03-", "a", 93),
        ("sk-proj-", "a", 100),
        ("hf_", "a", 34),
        ("npm_", "a", 36),
        ("pypi-AgEIcHlwaS5vcmc", "a", 70),
        ("SG.", "a", 22),
        ("dop_v1_", "x", 64),
        ("dapi", "x", 32),
        ("glsa_", "a", 32),
        ("hvs.", "a", 95),
        ("dp.pt.", "a", 43),
        ("lin_api_", "a", 40),
        ("shpat_", "x", 32),
        ("sq0atp-", "a", 22),
        ("dckr_pat_", "a", 27),
        ("key-", "x", 32),
        ("NRAK-", "U", 27),
        ("rubygems_", "x", 48),
        ("pul-", "x", 40),
        ("SK", "x", 32),
    ];
    let held: &[(&str, &str, usize)] = &[
        ("ASIA", "U", 16),
        ("gho_", "a", 36),
        ("github_pat_", "a", 82),
        ("rk_live_", "a", 24),
        ("GOCSPX-", "a", 28),
        ("sk-", "a", 48),
        ("gsk_", "a", 52),
        ("r8_", "a", 37),
        ("pplx-", "a", 48),
        ("xkeysib-", "x", 64),
        ("figd_", "a", 40),
        ("tskey-auth-", "a", 24),
        ("PMAK-", "x", 24),
        ("sntryu_", "x", 64),
        ("pscale_tkn_", "a", 43),
        ("FLWSECK_TEST-", "x", 12),
        ("shippo_live_", "x", 40),
        ("EZAK", "a", 54),
        ("LTAI", "a", 20),
        ("ATATT3", "a", 186),
        ("rdme_", "L", 70),
        ("sgp_", "x", 40),
        ("duffel_test_", "a", 43),
        ("nvapi-", "a", 64),
        ("bkua_", "x", 40),
        ("AKCp", "a", 69),
    ];
    let of = if held_out { held } else { tuned };
    let (prefix, sign, count) = of[dice.below(of.len())];
    let rest = dice.many(sign, count);
    match prefix {
        "xoxb-" => format!(
            "{prefix}{rest}-{}-{}",
            dice.many("#", 12),
            dice.many("a", 24)
        ),
        "SG." => format!("{prefix}{rest}.{}", dice.many("a", 43)),
        "glsa_" => format!("{prefix}{rest}_{}", dice.many("x", 8)),
        "xkeysib-" => format!("{prefix}{rest}-{}", dice.many("a", 16)),
        "PMAK-" => format!("{prefix}{rest}-{}", dice.many("x", 34)),
        _ => format!("{prefix}{rest}"),
    }
}

pub fn jwt(dice: &mut Dice) -> String {
    let head = dice.pick(&[
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "eyJhbGciOiJSUzI1NiJ9",
        "eyJraWQiOiJhYmMiLCJhbGciOiJFUzI1NiJ9",
    ]);
    let length = 40 + dice.below(200);
    format!(
        "{head}.eyJ{}.{}",
        dice.many("a", length),
        dice.many("a", 43)
    )
}

pub fn private_key(dice: &mut Dice) -> String {
    let label = dice.pick(&["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "]);
    let lines: Vec<String> = (0..4 + dice.below(20))
        .map(|_| dice.many("a", 64))
        .collect();
    format!(
        "-----BEGIN {label}PRIVATE KEY-----\n{}\n-----END {label}PRIVATE KEY-----",
        lines.join("\n")
    )
}

pub fn password(dice: &mut Dice) -> String {
    let form = dice.pick(&[
        "{l5}##!",
        "{u1}{l5}###",
        "p4ss-{l4}##",
        "{a10}#{l1}",
        "{u1}{l6}@####",
        "{l2}##{l2}##{l2}##",
    ]);
    dice.fill(form)
}

pub fn random_secret(dice: &mut Dice, held_out: bool) -> String {
    let (sign, count) = match held_out {
        false => [("a", 32), ("x", 32), ("L", 40), ("a", 24)][dice.below(4)],
        true => [("a", 20), ("x", 40), ("a", 64), ("L", 26)][dice.below(4)],
    };
    dice.many(sign, count)
}

/// Things that are nobody's data and no secret.
pub fn innocent(dice: &mut Dice) -> String {
    let form = dice.pick(&[
        "order ##########",
        "invoice no. ####-######",
        "2024-##-## ##:##:##",
        "17########",
        "17###########",
        "{x8}-{x4}-4{x3}-a{x3}-{x12}",
        "commit {x40}",
        "sha256:{x64}",
        "version %.#.##",
        "v%.##.#.#",
        "release %.#.#.#",
        "$#,###.##",
        "% ### ### EUR",
        "EUR %.###,##",
        "##.##.2023",
        "%#/%#/2024",
        "ISBN 978-#-###-#####-#",
        "tracking 1Z{U1}##{U1}####%###",
        "lat ##.######, lon -##.######",
        "pages ###-###",
        "row ######, column ##",
        "f(x) = #x + ##",
        "0x{X8}",
        "color: #{X6};",
        "std::vector<uint##_t> v(###);",
        "section %.%.#.#",
        "ticket ABC-#####",
        "RFC ####",
        "git clone git@example.com:team/repo.git",
        "@user##",
        "size ####x####",
        "##:##:##.###",
        "port ####",
        "% ### ### inhabitants",
        "192.168.#",
        "ratio #:##",
        "part number ###-####-##",
        "IMG_2024####_######.jpg",
        "E-##-####-#",
        "model XPS-#####",
        "iso-8859-#",
        "##% of ####",
        "room #-###",
        "{a76}",
        "cache_key: {L20}",
        "integrity sha512-{a53}",
        "trace_id={x32}",
        "the password is required",
        "password: must be at least ## characters",
        "token limit ####",
        "api_key = os.environ['API_KEY']",
        "secret = getenv(\"SECRET_##\")",
        "Authorization: Bearer <token>",
    ]);
    dice.fill(form)
}
