//! Texts around the values: prose, mail, logs, code, in several languages.

use crate::phrases::attacks;
use crate::values::{self, Dice};
use jupiter_detect::detectors::Kind;
use std::ops::Range;

pub struct Sample {
    pub text: String,
    pub labels: Vec<(Kind, Range<usize>)>,
}

/// `{}` is where the value goes.
const PLAIN: [&[&str]; 2] = [
    &[
        "Please update my record: {}. Thanks!",
        "{}",
        "Hi team,\nthe customer sent this: {}\nRegards, Ann",
        "Summarise the following ticket. \"Customer says {} no longer works.\"",
        "Bitte ändern Sie den Eintrag auf {}, danke.",
        "Merci de noter {} pour le dossier.",
        "El cliente indicó {} en el formulario.",
        "請將資料更新為 {}，謝謝。",
        "{\"role\":\"user\",\"value\":\"{}\"}",
        "name,value\nSmith,{}\n",
    ],
    &[
        "Could you double-check {}? It bounced.",
        "Notes from the meeting ({}): follow up next week",
        "> forwarded: {}\n> thanks",
        "Пожалуйста, замените на {}.",
        "Per favore aggiorna con {} entro oggi",
        "- [ ] verify {}; then close",
        "<td>{}</td>",
        "前回の値は {} でした。",
    ],
];

const PHONE: [&[&str]; 2] = [
    &[
        "My phone number is {}.",
        "Call me at {} after five.",
        "Tel.: {}",
        "Mobile: {}\nOffice closed",
        "Telefon {} (Mo-Fr)",
        "Vous pouvez m'appeler au {}.",
        "Mi teléfono es {}, gracias",
        "Мой телефон {}.",
        "我的手机号是{}。",
        "fax {}",
    ],
    &[
        "You can reach me on {} any time",
        "text {} when you arrive",
        "WhatsApp {}",
        "Ruf mich unter {} an, Handy geht immer: {}",
        "Il mio numero di cellulare è {}",
        "Contact number: {}",
        "Please dial {} and ask for Tom",
        "電話 {}",
    ],
];

const PASSPORT: [&[&str]; 2] = [
    &[
        "My passport number is {}.",
        "Passport no. {}, issued 2019",
        "Reisepass {}",
        "Passeport n° {}",
        "Número de pasaporte: {}",
    ],
    &[
        "Passport: {}",
        "passport ID {} expired",
        "numero di passaporto {}",
        "паспорт {}",
        "Paspoortnummer {}",
    ],
];

const KEY: [&[&str]; 2] = [
    &[
        "export TOKEN={}",
        "const key = \"{}\";",
        "curl -H 'Authorization: Bearer {}' https://api.example.com",
        "my key is {} please keep it",
        "{\"token\": \"{}\"}",
        "{}",
    ],
    &[
        "set the header to {} and retry",
        "os.environ['K'] = '{}'",
        "auth: {}\n",
        "`{}` stopped working",
        "--token={} --verbose",
    ],
];

const SECRET: [&[&str]; 2] = [
    &[
        "api_key = \"{}\"",
        "secret: {}",
        "clientSecret: '{}',",
        "DATADOG_API_KEY={}",
        "Authorization: Bearer {}",
        "access_token=\"{}\"",
        "aws_secret_access_key = {}",
    ],
    &[
        "\"apiKey\": \"{}\"",
        "AUTH_TOKEN='{}'",
        "x-api-key: {}",
        "heroku.token={}",
        "the signing secret is {}",
        "set algolia_key to \"{}\"",
        "export MY_SERVICE_SECRET={}",
    ],
];

const PASSWORD: [&[&str]; 2] = [
    &[
        "password: {}",
        "DB_PASSWORD={}",
        "\"password\": \"{}\"",
        "postgres://app:{}@db.example.com:5432/app",
        "pwd='{}'",
        "Server=db;User Id=sa;Password={};",
    ],
    &[
        "passwd = \"{}\"",
        "my password is {}",
        "mongodb+srv://root:{}@cluster0.example.net/test",
        "passwort: {}",
        "https://bot:{}@git.example.com/x.git",
        "contraseña: {}",
    ],
];

pub fn samples(held_out: bool) -> Vec<Sample> {
    let mut dice = Dice::new(if held_out { 20_261_126 } else { 4 });
    let side = usize::from(held_out);
    let mut samples = Vec::new();
    let mut add = |kind: Kind, sentence: &str, value: String| {
        let mut text = String::new();
        let mut labels = Vec::new();
        // Braces of JSON are no places.
        let mut rest = sentence;
        while let Some(at) = rest.find("{}") {
            text.push_str(&rest[..at]);
            labels.push((kind, text.len()..text.len() + value.len()));
            text.push_str(&value);
            rest = &rest[at + 2..];
        }
        text.push_str(rest);
        samples.push(Sample { text, labels });
    };
    for _ in 0..400 {
        let plain = dice.pick(PLAIN[side]);
        let value = values::email(&mut dice, held_out);
        add(Kind::Email, plain, value);
        let plain = dice.pick(PLAIN[side]);
        let value = values::phone(&mut dice, held_out, false);
        add(Kind::Phone, plain, value);
        let told = dice.pick(PHONE[side]);
        let both = dice.below(2) == 0;
        let value = values::phone(&mut dice, held_out, both);
        add(Kind::Phone, told, value);
        let plain = dice.pick(PLAIN[side]);
        let value = values::card(&mut dice, held_out);
        add(Kind::CreditCard, plain, value);
        let plain = dice.pick(PLAIN[side]);
        let value = values::iban(&mut dice, held_out);
        add(Kind::Iban, plain, value);
        let plain = dice.pick(PLAIN[side]);
        let value = values::ssn(&mut dice);
        add(Kind::Ssn, plain, value);
        let plain = dice.pick(PLAIN[side]);
        let value = values::address(&mut dice, held_out);
        add(Kind::IpAddress, plain, value);
        let sentence = dice.pick(PASSPORT[side]);
        let value = values::passport(&mut dice, held_out);
        add(Kind::Passport, sentence, value);
        let sentence = dice.pick(KEY[side]);
        let value = values::key(&mut dice, held_out);
        add(Kind::ApiKey, sentence, value);
        let sentence = dice.pick(KEY[side]);
        let value = values::jwt(&mut dice);
        add(Kind::Jwt, sentence, value);
        let plain = dice.pick(PLAIN[side]);
        let value = values::private_key(&mut dice);
        add(Kind::PrivateKey, plain, value);
        let sentence = dice.pick(PASSWORD[side]);
        let value = values::password(&mut dice);
        add(Kind::Password, sentence, value);
        let sentence = dice.pick(SECRET[side]);
        let value = values::random_secret(&mut dice, held_out);
        add(Kind::HighEntropySecret, sentence, value);
    }
    for _ in 0..4000 {
        let plain = dice.pick(PLAIN[side]);
        let value = values::innocent(&mut dice);
        samples.push(Sample {
            text: plain.replace("{}", &value),
            labels: Vec::new(),
        });
    }
    for (kind, attack) in attacks(held_out) {
        samples.push(Sample {
            text: (*attack).to_owned(),
            labels: vec![(*kind, 0..attack.len())],
        });
    }
    samples
}
